//! A real proxy between `scraped` and its targets: plain HTTP, CONNECT, a password; and Prometheus' agent beside it.
//!
//! Needs tinyproxy and Prometheus (`scripts/peers`, or `TINYPROXY=` and `PROMETHEUS=`).

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use serde_json::Value;
use support::peers::{Peer, program};
use support::scraped::Scraped;
use support::tls::endpoint::{Endpoint, reply, server_tls};
use support::tls::{Authority, Validity};
use support::wait_until;
use tempfile::TempDir;

/// A running tinyproxy.
struct Tinyproxy {
    child: Child,
    port: u16,
}

impl Tinyproxy {
    /// One that wants a login if `login` says so, and lets through nothing but loopback.
    fn start(dir: &Path, name: &str, login: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        drop(listener);
        let config = dir.join(format!("{name}.conf"));
        let log = dir.join(format!("{name}.log"));
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nViaProxyName \"edge\"\nLogLevel Connect\n\
             LogFile \"{}\"\n{login}\n",
            log.display()
        );
        fs::write(&config, text).expect("writable");
        let child = Command::new(program("tinyproxy", "TINYPROXY"))
            .arg("-d")
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program can be started");
        wait_until("the proxy listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port }
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Job → `up`, or the error.
fn verdicts(answer: &str) -> BTreeMap<String, String> {
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let targets = answer["data"]["activeTargets"].as_array().expect("an array").iter();
    let verdict = |target: &Value| {
        let error = text(&target["lastError"]);
        (text(&target["scrapePool"]), if error.is_empty() { text(&target["health"]) } else { error })
    };
    targets.map(verdict).collect()
}

#[test]
fn targets_behind_a_real_proxy_are_scraped() {
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").expect("a directory"));
    let open = Tinyproxy::start(dir.path(), "open", "");
    let guarded = Tinyproxy::start(dir.path(), "guarded", "BasicAuth edge hunter2");
    let authority = Authority::new("good");
    let page = |_: &_| reply(200, "Content-Type: text/plain\r\n", "a 1\n");
    let plain = Endpoint::plain(page);
    let direct = Endpoint::plain(page);
    let pair = authority.issue(&["localhost"], Validity::Now);
    let tls = Endpoint::tls(server_tls(&pair, None, &[&TLS12, &TLS13]));
    tls.answer(page);
    let write = |name: &str, content: &str| fs::write(dir.path().join(name), content).expect("writable");
    write("ca.pem", &authority.pem);
    let mut config = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
    let mut add = |job: &str, target: &Endpoint, scheme: &str, more: &str| {
        config.push_str(&format!(
            "- job_name: {job}\n  scheme: {scheme}\n  enable_http2: false\n  tls_config: {{ca_file: ca.pem}}\n  {more}\n  \
             static_configs: [{{targets: ['{}']}}]\n",
            target.at("localhost")
        ));
    };
    let at =
        |userinfo: &str, proxy: &Tinyproxy| format!("proxy_url: http://{userinfo}127.0.0.1:{}", proxy.port);
    add("plain", &plain, "http", &at("", &open));
    add("plain_with_login", &plain, "http", &at("edge:hunter2@", &guarded));
    add("plain_without_login", &plain, "http", &at("", &guarded));
    add("tunnel", &tls, "https", &at("", &open));
    add("tunnel_with_login", &tls, "https", &at("edge:hunter2@", &guarded));
    add("tunnel_without_login", &tls, "https", &at("", &guarded));
    add("tunnel_with_wrong_login", &tls, "https", &at("edge:hunter3@", &guarded));
    add("excepted", &direct, "http", &format!("{}\n  no_proxy: other.example", at("", &guarded)));
    write("scraped.yml", &config);
    let ours = Scraped::start_in(Arc::clone(&dir), &[]);
    let theirs = Peer::agent(&dir.path().join("scraped.yml"), &dir.path().join("agent"));
    let targets = "/api/v1/targets?state=active";
    // Where we say more.
    let more = ["tunnel_without_login", "tunnel_with_wrong_login"];
    let is_done = |verdicts: &BTreeMap<String, String>| {
        verdicts.len() == 8 && !verdicts.values().any(|verdict| verdict == "unknown")
    };
    wait_until("both to say the same", || {
        let (we_say, they_say) = (verdicts(&ours.get(targets).body), verdicts(&theirs.get(targets)));
        is_done(&we_say)
            && is_done(&they_say)
            && we_say.iter().all(|(job, ours)| {
                let theirs = &they_say[job];
                let is_meant = more.contains(&job.as_str())
                    && theirs.ends_with(": Proxy Authentication Required")
                    && ours.ends_with(" refused CONNECT: 407 Proxy Authentication Required");
                is_meant || ours == theirs
            })
    });
    for job in ["plain", "plain_with_login", "tunnel", "tunnel_with_login", "excepted"] {
        assert_eq!(verdicts(&ours.get(targets).body)[job], "up", "{job}");
    }
    let via = plain.requests().iter().filter(|request| !request.values("Via").is_empty()).count();
    assert!(via > 0, "{}", plain.last().head);
    assert!(direct.last().values("Via").is_empty(), "{}", direct.last().head);
    assert!(!plain.last().head.contains("hunter2"), "what the proxy is told is not the target's business");
}
