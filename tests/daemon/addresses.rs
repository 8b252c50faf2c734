//! Hosts and ports in every form in which Go's client takes or refuses them, over real sockets: what is asked is what was
//! typed, or nothing.
//!
//! Ports 80 and 53 and `/etc` are the test's own: it runs itself once more in a network and file system of its own,
//! which needs no root (`unshare`). Where that cannot be had it says so and tests nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use simple_dns::rdata::{A, RData};
use simple_dns::{RCODE, TYPE};
use support::api::active;
use support::discovery::name_server::{Act, server_at};
use support::peers::Peer;
use support::scraped::Scraped;
use support::system::own_network::{Files, runs_elsewhere};
use support::wait_until;
use tempfile::TempDir;

const PORT: u16 = 37999;

const FILES: Files<'_> = Files {
    resolv_conf: "nameserver 127.0.0.1\noptions attempts:1\n",
    hosts: "127.0.0.1 localhost box.home\n10.0.0.1 nowhere\n",
};

/// Heads of all requests, each with the address that it came to.
type Heads = Arc<Mutex<Vec<(SocketAddr, String)>>>;

/// Everything that can be asked in this network: a page at each of the ports.
fn start_servers() -> Heads {
    let heads = Heads::default();
    for host in [[127, 0, 0, 1].into(), Ipv6Addr::LOCALHOST.into()] {
        for port in [80, 443, PORT] {
            let listener = TcpListener::bind(SocketAddr::new(host, port)).expect("a network of its own");
            let heads = Arc::clone(&heads);
            thread::Builder::new().spawn(move || serve(&listener, &heads)).unwrap();
        }
    }
    server_at(([127, 0, 0, 1], 53).into(), |asked| {
        let is_known = asked.name.to_lowercase().ends_with(".lan") || asked.name.ends_with(".corp.local");
        match (is_known, asked.record_type) {
            (true, TYPE::A) => {
                Act::Say(RCODE::NoError, vec![RData::A(A { address: u32::from_be_bytes([127, 0, 0, 1]) })])
            }
            (true, _) => Act::Say(RCODE::NoError, Vec::new()),
            (false, _) => Act::Say(RCODE::NameError, Vec::new()),
        }
    });
    heads
}

fn serve(listener: &TcpListener, heads: &Heads) {
    let address = listener.local_addr().unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut head = Vec::new();
        let mut piece = [0; 2048];
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut piece) {
                Ok(n_read) if n_read > 0 => head.extend_from_slice(&piece[..n_read]),
                _ => break,
            }
        }
        heads.lock().unwrap().push((address, String::from_utf8_lossy(&head).into_owned()));
        let page = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nConnection: close\r\n\r\na 1\n";
        let _ = stream.write_all(page.as_bytes());
    }
}

fn config(targets: &[&str], more: &str) -> String {
    let mut text = "global: {scrape_interval: 2s, scrape_timeout: 2s}\nscrape_configs:\n".to_owned();
    for (idx, target) in targets.iter().enumerate() {
        let target = serde_json::to_string(target).unwrap();
        text += &format!(
            "- {{job_name: j{idx}, metrics_path: /m{idx}, basic_auth: {{username: u, password: hunter2}}, \
             static_configs: [{{targets: [{target}]}}]}}\n"
        );
    }
    text + more
}

/// Forms of host and port, each with the header `Host` that a scrape of it has, or why there is none.
const FORMS: &[(&str, Result<&str, &str>)] = &[
    ("127.0.0.1:37999", Ok("127.0.0.1:37999")),
    ("127.0.0.1", Ok("127.0.0.1")),
    ("127.0.0.1:", Ok("127.0.0.1")),
    ("127.0.0.1:00037999", Ok("127.0.0.1:00037999")),
    ("[::1%lo]:37999", Ok("[::1]:37999")),
    ("[::1%1]:37999", Ok("[::1]:37999")),
    ("[::1%lo]", Ok("[::1]")),
    ("[::1]", Ok("[::1]")),
    ("::1:37999", Ok("::1:37999")),
    ("::1%lo:37999", Ok("::1%lo:37999")),
    ("[::ffff:127.0.0.1]:37999", Ok("[::ffff:127.0.0.1]:37999")),
    (":37999", Ok(":37999")),
    ("0.0.0.0:37999", Ok("0.0.0.0:37999")),
    ("[::]:37999", Ok("[::]:37999")),
    ("LOCALHOST:37999", Ok("LOCALHOST:37999")),
    ("box.home:37999", Ok("box.home:37999")),
    ("NAS.Lan.:37999", Ok("NAS.Lan.:37999")),
    ("my_host.lan:37999", Ok("my_host.lan:37999")),
    ("esp.corp.local:37999", Ok("esp.corp.local:37999")),
    ("küche.lan:37999", Ok("xn--kche-0ra.lan:37999")),
    ("KÜCHE.lan:37999", Ok("xn--KCHE-gna.lan:37999")),
    ("日本。lan:37999", Ok("xn--lan-7y3bw78zcvb:37999")),
    ("127.0.0.1:91OO", Err("parse \"URL\": invalid port \":91OO\" after host")),
    ("127.0.0.1:http", Err("parse \"URL\": invalid port \":http\" after host")),
    ("127.0.0.1:-1", Err("parse \"URL\": invalid port \":-1\" after host")),
    ("127.0.0.1:+80", Err("parse \"URL\": invalid port \":+80\" after host")),
    ("127.0.0.1:80 ", Err("parse \"URL\": invalid port \":80%20\" after host")),
    ("[::1]:8O", Err("parse \"URL\": invalid port \":8O\" after host")),
    ("127.0.0.1:65536", Err("Get \"URL\": dial tcp: address 65536: invalid port")),
    ("127.0.0.1:90900", Err("Get \"URL\": dial tcp: address 90900: invalid port")),
    ("[::1]:99999999999999999999", Err("Get \"URL\": dial tcp: address 99999999999999999999: invalid port")),
    ("nas.lan:99999", Err("Get \"URL\": dial tcp: address 99999: invalid port")),
    ("127.0.0.1:0", Err("Get \"URL\": dial tcp 127.0.0.1:0: connect: connection refused")),
    ("[fe80::1%lo]:1", Err("Get \"URL\": dial tcp [fe80::1%lo]:1: connect: network is unreachable")),
    ("127.1:37999", Err("Get \"URL\": dial tcp: lookup 127.1: no such host")),
    ("2130706433:37999", Err("Get \"URL\": dial tcp: lookup 2130706433: no such host")),
    ("0x7f.1:37999", Err("Get \"URL\": dial tcp: lookup 0x7f.1 on 127.0.0.1:53: no such host")),
    ("127.0.0.01:37999", Err("Get \"URL\": dial tcp: lookup 127.0.0.01: no such host")),
    ("::1", Err("Get \"URL\": dial tcp: lookup :: no such host")),
    ("ü_x.lan:37999", Err("Get \"URL\": dial tcp: lookup ü_x.lan: no such host")),
    ("host..lan:37999", Err("Get \"URL\": dial tcp: lookup host..lan: no such host")),
    ("a b:80", Err("parse \"URL\": invalid URL escape \"%20\"")),
    ("127.0.0.1:80?x=1", Err("parse \"URL\": invalid port \":80%3Fx=1\" after host")),
    ("user:pw@127.0.0.1:37999", Err("parse \"URL\": invalid URL escape \"%40\"")),
    ("user@127.0.0.1:37999", Err("parse \"URL\": invalid URL escape \"%40\"")),
];

#[test]
fn what_is_typed_is_asked_or_nothing() {
    if runs_elsewhere(module_path!(), "what_is_typed_is_asked_or_nothing", &FILES) {
        return;
    }
    let heads = start_servers();
    let targets: Vec<&str> = FORMS.iter().map(|(target, _)| *target).collect();
    let scraped = Scraped::start(&config(&targets, ""));
    let of_job = |idx: usize| active(&scraped, &format!("j{idx}")).pop();
    for (idx, (target, want)) in FORMS.iter().enumerate() {
        wait_until(target, || of_job(idx).is_some_and(|it| it.health != "unknown"));
        let found = of_job(idx).unwrap();
        let instance = target.replace(":pw@", ":xxxxx@");
        assert_eq!(found.labels["instance"], instance);
        let path = format!("GET /m{idx} ");
        let asked: Vec<(SocketAddr, String)> =
            heads.lock().unwrap().iter().filter(|(_, head)| head.starts_with(&path)).cloned().collect();
        match want {
            Ok(host) => {
                assert_eq!(found.last_error, "", "{target}");
                let port = if host.ends_with("37999") { PORT } else { 80 };
                for (address, head) in asked {
                    assert_eq!(address.port(), port, "{target}");
                    assert!(head.contains(&format!("\r\nHost: {host}\r\n")), "{target}: {head}");
                }
            }
            Err(words) => {
                assert_eq!(
                    found.last_error,
                    words.replace("\"URL\"", &format!("{:?}", found.scrape_url)),
                    "{target}"
                );
                assert!(asked.is_empty(), "{target}: {asked:?}");
            }
        }
    }
    assert!(!scraped.get("/api/v1/targets").body.contains("user:pw"), "a password is shown");
    compare_with_prometheus(&targets, &scraped);
}

/// Health, URL and error of each target are those of a real agent; it says more of the address where its page cannot
/// show it, and shows passwords.
fn compare_with_prometheus(targets: &[&str], scraped: &Scraped) {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let path = dir.path().join("prometheus.yml");
    fs::write(&path, config(targets, "")).unwrap();
    let prometheus = Peer::agent(&path, &dir.path().join("peer"));
    let theirs = || {
        let answer: Value = serde_json::from_str(&prometheus.get("/api/v1/targets")).unwrap();
        let targets = answer["data"]["activeTargets"].as_array().unwrap().iter();
        let text = |target: &Value, name: &str| target[name].as_str().unwrap().to_owned();
        let of = |target: &Value| {
            let shown = ["health", "scrapeUrl", "lastError"].map(|name| text(target, name));
            (text(target, "scrapePool"), shown)
        };
        targets.map(of).collect::<BTreeMap<String, [String; 3]>>()
    };
    wait_until("all were scraped by the real one", || {
        let theirs = theirs();
        theirs.len() == targets.len() && theirs.values().all(|[health, ..]| health != "unknown")
    });
    let theirs = theirs();
    for (idx, target) in targets.iter().enumerate() {
        let ours = active(scraped, &format!("j{idx}")).remove(0);
        let [health, url, error] = &theirs[&format!("j{idx}")];
        if target.contains(":pw@") {
            assert_eq!(health, "down");
            continue;
        }
        assert_eq!((&ours.health, &ours.scrape_url), (health, url), "{target}");
        let error =
            error.split(": address ").next().filter(|_| error.contains("in address")).unwrap_or(error);
        assert_eq!(&ours.last_error, error, "{target}");
    }
}

#[test]
fn credentials_never_reach_another_port() {
    if runs_elsewhere(module_path!(), "credentials_never_reach_another_port", &FILES) {
        return;
    }
    let heads = start_servers();
    let good = format!(
        "- {{job_name: good, static_configs: [{{targets: ['127.0.0.1:{PORT}']}}]}}\n\
         - {{job_name: by_proxy, proxy_url: 'http://p:hunter2@127.0.0.1:90900', static_configs: [{{targets: \
         ['127.0.0.1:{PORT}']}}]}}\n\
         - {{job_name: by_socks, proxy_url: 'socks5://p:hunter2@127.0.0.1:65616', static_configs: [{{targets: \
         ['127.0.0.1:{PORT}']}}]}}\n\
         - {{job_name: by_token, oauth2: {{client_id: a, client_secret: hunter2, token_url: 'http://127.0.0.1:8O/t'}}, \
         static_configs: [{{targets: ['127.0.0.1:{PORT}']}}]}}\n\
         - {{job_name: by_late_token, oauth2: {{client_id: a, client_secret: hunter2, token_url: \
         'http://127.0.0.1:65616/t'}}, static_configs: [{{targets: ['127.0.0.1:{PORT}']}}]}}\n\
         - {{job_name: by_http, http_sd_configs: [{{url: 'http://u:hunter2@127.0.0.1:65616/sd', refresh_interval: \
         1s}}]}}\n\
         - {{job_name: by_consul, consul_sd_configs: [{{server: '127.0.0.1:85OO', token: hunter2, refresh_interval: \
         1s}}]}}\n\
         - {{job_name: by_docker, docker_sd_configs: [{{host: 'tcp://127.0.0.1:65616', basic_auth: {{username: u, \
         password: hunter2}}, refresh_interval: 1s}}]}}\n\
         remote_write:\n- url: http://127.0.0.1:90900/api/v1/write\n  authorization: {{credentials: hunter2}}\n"
    );
    let bad = ["127.0.0.1:91OO", "127.0.0.1:65616", "[::1]:-1", "127.0.0.1:http", "localhost:90900"];
    let scraped = Scraped::start(&config(&bad, &good));
    let last_error =
        |job: &str| active(&scraped, job).first().map(|it| it.last_error.clone()).unwrap_or_default();
    wait_until("the good target is up", || active(&scraped, "good").iter().any(|it| it.health == "up"));
    for (job, words) in [
        ("j0", "invalid port \":91OO\" after host"),
        ("j4", "dial tcp: address 90900: invalid port"),
        ("by_proxy", "proxyconnect tcp: dial tcp: address 90900: invalid port"),
        ("by_socks", "dial tcp: address 65616: invalid port"),
        ("by_token", "invalid port \":8O\" after host"),
        ("by_late_token", "dial tcp: address 65616: invalid port"),
    ] {
        wait_until(job, || last_error(job).contains(words));
    }
    for words in
        ["address 65616: invalid port", "invalid port \\\":85OO\\\" after host", "90900: invalid port"]
    {
        let plain = words.replace('\\', "");
        wait_until(&plain, || scraped.stderr().contains(words) || scraped.stderr().contains(&plain));
    }
    let heads = heads.lock().unwrap();
    let others: BTreeMap<u16, &str> = heads
        .iter()
        .filter(|(address, _)| address.port() != PORT)
        .map(|(address, head)| (address.port(), head.as_str()))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(!scraped.stderr().contains("hunter2"));
}

#[test]
fn a_redirect_to_what_is_no_port_is_not_followed() {
    use support::targets::{Behaviour, FakeTargets};
    let targets = FakeTargets::start();
    let location = "http://user:hunter2@127.0.0.1:91OO/metrics";
    targets.set("/away", Behaviour::Redirects(302, location.to_owned()));
    targets.set("/far", Behaviour::Redirects(302, "//127.0.0.1:65536/metrics".to_owned()));
    let job = |name: &str| {
        let at = targets.address();
        format!("- {{job_name: {name}, metrics_path: /{name}, static_configs: [{{targets: ['{at}']}}]}}\n")
    };
    let jobs = job("away") + &job("far");
    let scraped = Scraped::start(&format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{jobs}"
    ));
    let last_error =
        |job: &str| active(&scraped, job).first().map(|it| it.last_error.clone()).unwrap_or_default();
    wait_until("the redirects are refused", || ["away", "far"].iter().all(|job| !last_error(job).is_empty()));
    let at = targets.address();
    let shown = "http://user:xxxxx@127.0.0.1:91OO/metrics";
    assert_eq!(
        last_error("away"),
        format!(
            "Get \"http://{at}/away\": failed to parse Location header {shown:?}: parse {shown:?}: invalid port \":91OO\" \
             after host"
        )
    );
    assert_eq!(
        last_error("far"),
        "Get \"http://127.0.0.1:65536/metrics\": dial tcp: address 65536: invalid port"
    );
}
