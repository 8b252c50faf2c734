//! Secrets stay where they belong: with the host that they are meant for, and out of everything that is printed.

use std::fs;
use std::sync::Arc;

use support::command::finish;
use support::scraped::{Scraped, free_address, write_whole};
use support::tls::endpoint::{Endpoint, redirect, reply};
use support::tls::setup::{Setup, get};
use support::{PATIENCE, wait_until};
use tempfile::TempDir;

/// In every secret.
const MARK: &str = "hunter2marked";

#[test]
fn no_secret_follows_a_redirect_to_another_host() {
    let there = Endpoint::plain(|_| reply(200, "Content-Type: application/json\r\n", "[]"));
    let away = format!("http://{}/elsewhere", there.at("127.0.0.1"));
    let here = Endpoint::plain(move |_| redirect(307, &away));
    let at = here.at("localhost");
    let config = format!(
        "
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: scraped
  http_headers: {{X-Key: {{secrets: [{MARK}]}}, Cookie: {{values: ['session={MARK}']}}, Authorization-Too: {{values: [open]}}}}
  static_configs: [{{targets: ['{at}']}}]
- job_name: consul
  consul_sd_configs: [{{server: '{at}', token: {MARK}, refresh_interval: 1s}}]
- job_name: basic
  http_sd_configs: [{{url: 'http://{at}/sd', refresh_interval: 1s, basic_auth: {{username: a, password: {MARK}}}}}]
- job_name: bearer
  docker_sd_configs: [{{host: 'http://u:{MARK}@{at}', refresh_interval: 1s}}]
remote_write:
- url: http://{at}/write
  headers: {{X-Scope-OrgID: {MARK}, X-Api-Key: {MARK}}}
  queue_config: {{batch_send_deadline: 1s}}
"
    );
    let _scraped = Scraped::start(&config);
    let asked_for = |endpoint: &Endpoint, path: &str| {
        endpoint.requests().iter().any(|request| request.head.contains(path))
    };
    wait_until("all have asked", || {
        ["/metrics", "/v1/", "/sd", "/_ping", "/write"].iter().all(|path| asked_for(&here, path))
            && there.requests().iter().any(|request| request.head.starts_with("POST"))
            && there.requests().len() >= 8
    });
    for request in there.requests() {
        assert!(!request.head.contains(MARK), "{}", request.head);
        assert_eq!(request.values("Authorization"), [""; 0], "{}", request.head);
    }
    // They do arrive where they are meant to.
    for line in ["X-Consul-Token: ", "X-Scope-OrgID: ", "X-Api-Key: ", "X-Key: ", "Cookie: session="] {
        let line = format!("{line}{MARK}").to_ascii_lowercase();
        let has_line = |head: &str| head.to_ascii_lowercase().contains(&line);
        assert!(here.requests().iter().any(|request| has_line(&request.head)), "{line}");
    }
}

#[test]
fn a_secret_in_a_body_is_not_posted_to_another_host() {
    let there = Endpoint::plain(|_| reply(200, "", "{\"access_token\": \"t\"}"));
    let target = Endpoint::plain(|_| reply(200, "", "ok"));
    for status in [307, 308] {
        let away = format!("http://{}/token", there.at("127.0.0.1"));
        let server = Endpoint::plain(move |_| redirect(status, &away));
        let setup = Setup::new(&[]);
        let yaml = format!(
            "oauth2: {{client_id: a, client_secret: {MARK}, token_url: 'http://{}/token'}}",
            server.at("localhost")
        );
        let mut client = setup.client(&format!("http://{}/", target.at("localhost")), &yaml);
        let error = get(&mut client, PATIENCE).expect_err("no token");
        assert!(error.contains("another host than the secret in the request is meant for"), "{error}");
        assert!(!error.contains(MARK), "{error}");
        assert!(server.requests().len() >= 2, "by header and by parameters");
    }
    assert_eq!((there.requests().len(), target.requests().len()), (0, 0));
    // Another path of the same host is asked.
    let server = Endpoint::plain(|request| match request.head.starts_with("POST /token ") {
        true => redirect(307, "/moved"),
        false => reply(200, "Content-Type: application/json\r\n", "{\"access_token\": \"t\"}"),
    });
    let setup = Setup::new(&[]);
    let yaml = format!(
        "oauth2: {{client_id: a, client_secret: {MARK}, token_url: 'http://{}/token'}}",
        server.at("localhost")
    );
    let mut client = setup.client(&format!("http://{}/", target.at("localhost")), &yaml);
    get(&mut client, PATIENCE).expect("a token and a page");
    assert_eq!(target.last().values("Authorization"), ["Bearer t"]);
}

/// A secret in every key that can hold one; `AT` refuses connections or answers nonsense.
const EVERYWHERE: &str = "
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- job_name: basic
  basic_auth: {username: a, password: MARK}
  proxy_url: http://a:MARK@AT
  proxy_connect_header: {X-Proxy: [MARK]}
  static_configs: [{targets: ['AT']}]
- job_name: bearer
  authorization: {type: Token, credentials: MARK}
  scheme: https
  proxy_url: http://a:MARK@AT
  static_configs: [{targets: ['AT']}]
- job_name: old
  bearer_token: MARK
  static_configs: [{targets: ['AT']}]
- job_name: headers
  http_headers: {X-Key: {secrets: [MARK]}, X-Api-Key: {values: [MARK]}, Cookie: {values: [MARK]}}
  static_configs: [{targets: ['AT']}]
- job_name: files
  authorization: {credentials_file: secret}
  http_headers: {X-Key: {files: [secret]}}
  tls_config: {key_file: secret, cert_file: secret}
  scheme: https
  static_configs: [{targets: ['AT']}]
- job_name: key
  scheme: https
  tls_config: {cert: nonsense, key: MARK}
  static_configs: [{targets: ['AT']}]
- job_name: oauth2
  oauth2:
    client_id: a
    client_secret: MARK
    token_url: http://a:MARK@AT/token?api_key=MARK
    endpoint_params: {password: MARK}
    proxy_url: http://a:MARK@AT
  static_configs: [{targets: ['AT']}]
- job_name: signed
  oauth2:
    client_id: a
    grant_type: urn:ietf:params:oauth:grant-type:jwt-bearer
    client_certificate_key: MARK
    token_url: http://a:MARK@AT/token
  static_configs: [{targets: ['AT']}]
- job_name: consul
  consul_sd_configs:
  - {server: AT, token: MARK, refresh_interval: 1s}
  - {server: AT, username: a, password: MARK, refresh_interval: 1s}
- job_name: http
  http_sd_configs:
  - {url: 'http://a:MARK@AT/sd?token=MARK', refresh_interval: 1s}
- job_name: docker
  docker_sd_configs:
  - {host: 'http://a:MARK@AT', refresh_interval: 1s}
  - {host: 'tcp://a:MARK@AT', refresh_interval: 1s}
- job_name: kubernetes
  kubernetes_sd_configs:
  - {role: pod, api_server: 'http://a:MARK@AT', authorization: {credentials: MARK}}
remote_write:
- url: http://a:MARK@AT/write?db=x&api_key=MARK&p=MARK
  headers: {X-Api-Key: MARK, X-Auth-Token: MARK}
  basic_auth: {username: a, password: MARK}
  queue_config: {batch_send_deadline: 1s}
- url: http://AT/other?token=MARK
  authorization: {credentials: MARK}
  queue_config: {batch_send_deadline: 1s}
- url: http://AT/amazon
  sigv4: {region: r, access_key: AK, secret_key: MARK}
- url: http://AT/microsoft
  azuread: {oauth: {client_id: 00000000-0000-0000-0000-000000000000, client_secret: MARK, tenant_id: t}}
";

#[test]
fn a_secret_in_any_key_is_printed_nowhere() {
    let strange = Endpoint::plain(|_| reply(500, "", "broken"));
    for at in [free_address(), strange.at("127.0.0.1")] {
        // What is named like nothing is shown: `p` is no secret.
        let config = EVERYWHERE.replace("&p=MARK", "&p=shown").replace("AT", &at).replace("MARK", MARK);
        // The name of a header has it in it.
        let config = config.replace(&format!("X-Auth-Token: {MARK}"), &format!("'X-Auth-Token': {MARK}"));
        let dir = Arc::new(TempDir::with_prefix("scraped-test-").expect("a directory"));
        let path = write_whole(dir.path(), "scraped.yml", &config);
        write_whole(dir.path(), "secret", MARK);
        let mut command = std::process::Command::new(support::program());
        command.args(["check", "config", path.to_str().expect("text")]);
        let checked = finish(&mut command);
        let printed = format!("{checked:?}");
        assert!(!printed.contains(MARK), "check config: {printed}");
        let scraped = Scraped::start_in(Arc::clone(&dir), &["--log.level=debug"]);
        wait_until("all have failed", || {
            let targets = scraped.get("/api/v1/targets").body;
            let log = scraped.stderr();
            targets.matches("\"health\":\"down\"").count() >= 8
                && ["consul", "docker", "http", "remote_write"].iter().all(|word| log.contains(word))
        });
        let mut all = vec![("the log", scraped.stderr())];
        for path in [
            "/",
            "/flags",
            "/targets",
            "/status",
            "/config",
            "/service-discovery",
            "/metrics",
            "/api/v1/targets",
            "/api/v1/status/config",
            "/api/v1/status/flags",
            "/api/v1/status/runtimeinfo",
            "/api/v1/targets/metadata",
            "/api/v1/scrape_pools",
        ] {
            all.push((path, scraped.get(path).body));
        }
        let bundle = |name: &str, arguments: &[&str]| {
            let file = dir.path().join(name);
            let mut command = std::process::Command::new(support::program());
            let made = finish(command.arg("support-bundle").args(arguments).arg(&file));
            assert_eq!(made.code, Some(0), "{made:?}");
            let archive = String::from_utf8_lossy(&fs::read(file).expect("an archive")).into_owned();
            archive + &format!("{made:?}")
        };
        let url = format!("--url=http://{}", scraped.address());
        all.push(("a bundle", bundle("running.tar", &[&url])));
        let nobody = format!("--url=http://{}", free_address());
        let file = format!("--config.file={}", path.display());
        all.push(("a bundle of a file", bundle("stopped.tar", &[&nobody, &file])));
        for (what, text) in all {
            for line in text.lines().filter(|line| line.contains(MARK)) {
                let at = line.find(MARK).unwrap_or(0);
                let start = line[..at].char_indices().rev().nth(120).map_or(0, |(idx, _)| idx);
                assert!(!line.contains(MARK), "{what}: …{}", &line[start..at + MARK.len()]);
            }
        }
        let kept = fs::read_dir(dir.path().join("data")).expect("a data directory");
        assert!(kept.count() > 0);
    }
}
