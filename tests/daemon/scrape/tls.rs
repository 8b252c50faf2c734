//! The daemon with secrets and certificates: scrapes over TLS, takes up new files by itself, and prints no secret.

use std::fs;
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use support::api::active;
use support::scraped::Scraped;
use support::tls::endpoint::{Endpoint, Request, reply, server_tls};
use support::tls::{Authority, Pair, Validity};
use support::wait_until;
use tempfile::TempDir;

/// What must never be printed, as it is and as basic authentication has it.
const SECRETS: [&str; 5] =
    ["hunter2", "Z3Vlc3Q6aHVudGVyMg==", "Ym94Omh1bnRlcjI=", "ZWRnZTpodW50ZXIy", "PRIVATE KEY"];

const CONFIG: &str = "
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs:
- job_name: tls
  scheme: https
  basic_auth: {username: guest, password_file: password}
  tls_config: {ca_file: ca.pem, cert_file: client.pem, key_file: client.key}
  http_headers: {X-Key: {secrets: [hunter2]}}
  static_configs: [{targets: ['ADDRESS']}]
- job_name: inline
  scheme: https
  authorization: {type: Token, credentials: hunter2}
  tls_config: {insecure_skip_verify: true, cert_file: client.pem, key_file: client.key}
  static_configs: [{targets: ['ADDRESS']}]
- job_name: broken
  scheme: https
  bearer_token: hunter2
  tls_config: {ca_file: missing.pem}
  static_configs: [{targets: ['ADDRESS']}]
- job_name: token
  oauth2: {client_id: box, client_secret: hunter2, token_url: 'http://TOKENS/good'}
  static_configs: [{targets: ['PLAIN']}]
- job_name: no_token
  oauth2: {client_id: box, client_secret_file: inline_secret, token_url: 'http://me:hunter2@TOKENS/bad'}
  static_configs: [{targets: ['PLAIN']}]
- job_name: token_server_away
  oauth2: {client_id: box, client_secret: hunter2, token_url: 'http://me:hunter2@127.0.0.1:1/'}
  static_configs: [{targets: ['PLAIN']}]
- job_name: proxied
  proxy_url: http://edge:hunter2@PLAIN
  proxy_connect_header: {X-Key: [hunter2]}
  static_configs: [{targets: ['box.example']}]
- job_name: tunnel
  scheme: https
  proxy_url: http://edge:hunter2@PLAIN
  proxy_connect_header: {X-Key: [hunter2]}
  static_configs: [{targets: ['box.example']}]
- job_name: proxy_away
  proxy_url: socks5://edge:hunter2@127.0.0.1:1
  static_configs: [{targets: ['box.example']}]
remote_write:
- url: http://me:hunter2@127.0.0.1:1/write
  oauth2: {client_id: box, client_secret: hunter2, token_url: 'http://TOKENS/bad'}
";

fn page_for(request: &Request) -> support::tls::endpoint::Reply {
    let authorization = request.values("Authorization");
    match authorization.as_slice() {
        [one]
            if ["Basic Z3Vlc3Q6aHVudGVyMg==", "Token hunter2", "Bearer hunter2 of today"]
                .contains(&one.as_str()) =>
        {
            reply(200, "Content-Type: text/plain\r\n", "a 1\n")
        }
        _ => reply(401, "", "who are you?"),
    }
}

#[test]
fn scrapes_over_tls_follow_new_files_and_print_no_secret() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let pair = servers.issue(&["localhost"], Validity::Now);
    let client = clients.issue(&["client"], Validity::Now);
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").expect("a directory"));
    let endpoint = Endpoint::tls(server_tls(&pair, Some(&clients), &[&TLS12, &TLS13]));
    endpoint.answer(page_for);
    let write = |name: &str, content: &str| fs::write(dir.path().join(name), content).expect("writable");
    let plain = Endpoint::plain(page_for);
    // What it was told, it tells others.
    let tokens = Endpoint::plain(|request| match request.head.starts_with("POST /good ") {
        true => reply(200, "", r#"{"access_token":"hunter2 of today"}"#),
        false => reply(400, "Content-Type: text/html\r\n", "client box with the secret hunter2 is unknown"),
    });
    let config = CONFIG.replace("ADDRESS", &endpoint.at("localhost"));
    let config = config.replace("PLAIN", &plain.at("localhost")).replace("TOKENS", &tokens.at("localhost"));
    write("scraped.yml", &config);
    write("inline_secret", "hunter2");
    write("ca.pem", &servers.pem);
    write("client.pem", &client.cert_pem);
    write("client.key", &client.key_pem);
    write("password", "wrong");
    let scraped =
        Scraped::start_in(Arc::clone(&dir), &["--log.level=debug", "--storage.remote.flush-deadline=1s"]);
    let state = |job: &str| {
        let mut targets = active(&scraped, job);
        targets.pop().map(|target| (target.health, target.last_error)).unwrap_or_default()
    };
    let is_up = |job: &str| state(job).0 == "up";
    wait_until("the inline job is up", || is_up("inline"));
    wait_until("the password is wrong", || {
        state("tls").1.starts_with("server returned HTTP status 401 Whatever")
    });
    wait_until("the broken job says why", || {
        let (_, error) = state("broken");
        error.contains(": unable to use specified CA cert: unable to read file ")
            && error.contains("missing.pem")
    });
    write("password", "hunter2\n");
    wait_until("the new password is taken up", || is_up("tls"));
    // The server's certificate comes from another authority, then the file that says whom to trust does.
    let others = Authority::new("others");
    let pair = others.issue(&["localhost"], Validity::Now);
    endpoint.set_tls(server_tls(&pair, Some(&clients), &[&TLS12, &TLS13]));
    endpoint.close_connections();
    wait_until("the new authority is unknown", || {
        state("tls")
            .1
            .ends_with("tls: failed to verify certificate: x509: certificate signed by unknown authority")
    });
    write("ca.pem", &others.pem);
    wait_until("the new authority is taken up", || is_up("tls"));
    write("missing.pem", &others.pem);
    wait_until("the file is found", || {
        state("broken").1.ends_with(": remote error: tls: certificate required")
    });

    wait_until("the job with a token is up", || is_up("token"));
    for (job, error) in [
        (
            "no_token",
            "oauth2: cannot fetch token: 400 Whatever\nResponse: client box with the secret <secret> is",
        ),
        (
            "token_server_away",
            "Post \"http://me:***@127.0.0.1:1/\": dial tcp 127.0.0.1:1: connect: connection refused",
        ),
        ("proxied", "server returned HTTP status 401 Whatever"),
        ("tunnel", "refused CONNECT: 401 Whatever"),
        ("proxy_away", "proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused"),
    ] {
        wait_until(error, || state(job).1.contains(error));
    }
    let asked = plain.last().head;
    assert!(plain.requests().iter().any(|request| request.head.contains("ZWRnZTpodW50ZXIy")), "{asked}");

    let mut printed = scraped.stderr();
    for path in [
        "/api/v1/status/config",
        "/api/v1/targets",
        "/",
        "/config",
        "/flags",
        "/service-discovery",
        "/targets",
        "/status",
        "/metrics",
    ] {
        printed.push_str(&scraped.get(path).body);
    }
    assert!(printed.contains("secret"), "{printed}");
    for secret in SECRETS {
        assert!(!printed.contains(secret), "{secret} is printed");
    }
    assert!(scraped.stop().success());
}

#[test]
fn what_the_system_trusts_by_itself_is_trusted() {
    let authority = Authority::new("not in the store");
    let itself = Pair::self_signed(&["localhost"], Validity::Now);
    let leaf = authority.issue(&["localhost"], Validity::Now);
    let named = authority.issue(&["box.example"], Validity::Now);
    let stranger = authority.issue(&["localhost"], Validity::Now);
    let trusted = [&itself, &leaf, &named];
    let cases = [
        ("itself", &itself, ""),
        ("leaf", &leaf, ""),
        ("named", &named, "is valid for box.example, not localhost"),
        ("stranger", &stranger, "certificate signed by unknown authority"),
    ];
    let mut config = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
    let mut endpoints = Vec::new();
    for (job, pair, _) in cases {
        let endpoint = Endpoint::tls(server_tls(pair, None, &[&TLS12, &TLS13]));
        endpoint.answer(|_| reply(200, "Content-Type: text/plain\r\n", "a 1\n"));
        config.push_str(&format!(
            "- {{job_name: {job}, scheme: https, static_configs: [{{targets: ['{}']}}]}}\n",
            endpoint.at("localhost")
        ));
        endpoints.push(endpoint);
    }
    let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
    let at = |name: &str| dir.path().join(name);
    fs::write(at("store.pem"), trusted.map(|pair| pair.cert_pem.as_str()).concat()).expect("writable");
    fs::create_dir(at("store")).expect("a directory");
    for (idx, pair) in trusted.iter().enumerate() {
        fs::write(at("store").join(format!("{idx}.pem")), &pair.cert_pem).expect("writable");
    }
    // One file, or a directory of them; beside the other kind that the system has.
    for (variable, store) in
        [("SSL_CERT_FILE", "store.pem"), ("SSL_CERT_FILE", "store"), ("SSL_CERT_DIR", "store")]
    {
        let scraped = Scraped::spawn_under((variable, at(store).to_str().expect("text")), &config).ready();
        for (job, _, error) in cases {
            let mut target = None;
            // A busy machine may need more than a second for a handshake.
            wait_until(&format!("{job} was scraped"), || {
                target = active(&scraped, job).pop();
                target.as_ref().is_some_and(|t| t.health != "unknown" && !t.last_error.contains("deadline"))
            });
            let is_right = target.as_ref().is_some_and(|t| {
                t.health == if error.is_empty() { "up" } else { "down" } && t.last_error.contains(error)
            });
            assert!(is_right, "{job} under {variable}={store}: {target:?}");
        }
    }
}
