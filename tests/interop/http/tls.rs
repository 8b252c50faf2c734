//! The same configuration, the same servers: what Prometheus' agent says of TLS and credentials, and what we say.
//!
//! Needs a real Prometheus (`scripts/peers`, or `PROMETHEUS=`).

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use serde_json::Value;
use support::peers::{Peer, is_trouble_on_the_way};
use support::scraped::Scraped;
use support::tls::endpoint::{Endpoint, reply, server_tls};
use support::tls::{Authority, Validity};
use support::wait_until;
use tempfile::TempDir;

/// Scrape URL and job → `up`, or the error.
type Verdicts = BTreeMap<String, String>;

fn verdicts(answer: &str) -> Verdicts {
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    let targets = answer["data"]["activeTargets"].as_array().expect("an array").iter();
    let verdict = |target: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let error = text(&target["lastError"]);
        // The second of the scrape is in it.
        let error = match error.split_once("current time ") {
            Some((before, after)) => {
                format!("{before}…{}", after.get("2026-01-01T00:00:00".len()..).unwrap_or(""))
            }
            None => error,
        };
        // Prometheus has the zone of the machine, we have UTC.
        let error = error.replace("+00:00", "Z").replace("…Z", "…");
        (text(&target["scrapePool"]), if error.is_empty() { text(&target["health"]) } else { error })
    };
    targets.map(verdict).collect()
}

#[test]
fn both_say_the_same_of_the_same_servers() {
    let (good, other) = (Authority::new("good"), Authority::new("other"));
    let tls = |authority: &Authority, names: &[&str], validity, clients: Option<&Authority>| {
        let endpoint =
            Endpoint::tls(server_tls(&authority.issue(names, validity), clients, &[&TLS12, &TLS13]));
        endpoint.answer(|_| reply(200, "Content-Type: text/plain\r\n", "a 1\n"));
        endpoint
    };
    let known = tls(&good, &["localhost"], Validity::Now, None);
    let unknown = tls(&other, &["localhost"], Validity::Now, None);
    let expired = tls(&good, &["localhost"], Validity::Past, None);
    let early = tls(&good, &["localhost"], Validity::Future, None);
    let named = tls(&good, &["a.example", "*.b.example"], Validity::Now, None);
    let numbered = tls(&good, &["127.0.0.2"], Validity::Now, None);
    let choosy = tls(&good, &["localhost"], Validity::Now, Some(&good));
    let (ours, theirs) = (good.issue(&["client"], Validity::Now), other.issue(&["client"], Validity::Now));

    let dir = Arc::new(TempDir::with_prefix("scraped-test-").expect("a directory"));
    let write = |name: &str, content: &str| fs::write(dir.path().join(name), content).expect("writable");
    write("ca.pem", &good.pem);
    write("ours.pem", &ours.cert_pem);
    write("ours.key", &ours.key_pem);
    write("theirs.pem", &theirs.cert_pem);
    write("theirs.key", &theirs.key_pem);
    write("password", "hunter2\n");
    let trust = "tls_config: {ca_file: ca.pem}";
    let mut config = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
    for (job, at, settings) in [
        ("known", known.at("localhost"), trust),
        ("careless", unknown.at("localhost"), "tls_config: {insecure_skip_verify: true}"),
        ("unknown", unknown.at("localhost"), trust),
        ("system", unknown.at("localhost"), "honor_labels: false"),
        ("expired", expired.at("localhost"), trust),
        ("early", early.at("localhost"), trust),
        ("named", named.at("localhost"), trust),
        ("renamed", named.at("localhost"), "tls_config: {ca_file: ca.pem, server_name: x.b.example}"),
        ("numbered", numbered.at("127.0.0.1"), trust),
        ("nameless", known.at("127.0.0.1"), trust),
        (
            "choosy",
            choosy.at("localhost"),
            "tls_config: {ca_file: ca.pem, cert_file: ours.pem, key_file: ours.key}",
        ),
        ("uninvited", choosy.at("localhost"), trust),
        (
            "strange",
            choosy.at("localhost"),
            "tls_config: {ca_file: ca.pem, cert_file: theirs.pem, key_file: theirs.key}",
        ),
        ("old", known.at("localhost"), "tls_config: {ca_file: ca.pem, max_version: TLS12}"),
        (
            "basic",
            known.at("localhost"),
            "tls_config: {ca_file: ca.pem}, metrics_path: /basic, basic_auth: {username: a, password_file: password}",
        ),
        (
            "bearer",
            known.at("localhost"),
            "tls_config: {ca_file: ca.pem}, metrics_path: /bearer, authorization: {credentials: x}",
        ),
        (
            "headers",
            known.at("localhost"),
            "tls_config: {ca_file: ca.pem}, metrics_path: /headers, http_headers: {x-key: {values: [a], secrets: [b], files: [password]}}",
        ),
    ] {
        config.push_str(&format!(
            "- {{job_name: {job}, scheme: https, enable_http2: false, {settings}, static_configs: [{{targets: ['{at}']}}]}}\n"
        ));
    }
    write("scraped.yml", &config);
    let peer = Peer::agent(&dir.path().join("scraped.yml"), &dir.path().join("peer"));
    let scraped = Scraped::start_in(Arc::clone(&dir), &[]);
    let [mut want, mut got] = [Verdicts::new(), Verdicts::new()];
    let is_final = |verdict: &String| verdict != "unknown" && !is_trouble_on_the_way(verdict);
    let is_settled = |verdicts: &Verdicts| verdicts.len() == 17 && verdicts.values().all(is_final);
    wait_until("everything was scraped by both", || {
        want = verdicts(&peer.get("/api/v1/targets?state=active"));
        got = verdicts(&scraped.get("/api/v1/targets?state=active").body);
        is_settled(&want) && is_settled(&got)
    });
    assert_eq!(got, want, "ours first");
    assert_eq!(got.values().filter(|verdict| *verdict == "up").count(), 8, "{got:#?}");
    for path in ["/basic", "/bearer", "/headers"] {
        let requests = known.requests();
        let asked = requests.iter().filter(|request| request.head.starts_with(&format!("GET {path} ")));
        // From its second scrape on Prometheus 3.5 sends `http_headers` once more with each.
        let (theirs, ours): (Vec<_>, Vec<_>) =
            asked.partition(|request| request.head.contains("User-Agent: Prometheus"));
        let asked: Vec<_> = theirs.into_iter().take(1).chain(ours).collect();
        let sent: Vec<_> =
            asked.iter().map(|request| (request.values("Authorization"), request.values("X-Key"))).collect();
        assert!(sent.len() >= 2 && sent.iter().all(|one| *one == sent[0]), "{path}: {asked:#?}");
        assert_ne!(sent[0], (Vec::new(), Vec::new()), "{path}");
    }
    assert!(!scraped.get("/api/v1/status/config").body.contains("hunter2"));
}
