//! Real receivers: Prometheus by remote write 1.0 and 2.0, VictoriaMetrics; their query APIs return what was stored.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::command::query;
use support::peers::Peer;
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets};
use support::{PATIENCE, wait_until};

const SECTION: &str = "  queue_config: {batch_send_deadline: 100ms, max_backoff: 100ms}\n";

fn victoria_metrics(dir: &Path) -> Peer {
    Peer::start("victoria-metrics", "VICTORIA_METRICS", dir, "/health", |address| {
        vec![
            format!("-storageDataPath={}", dir.join("data").display()),
            format!("-httpListenAddr={address}"),
            "-inmemoryDataFlushInterval=1s".to_owned(),
        ]
    })
}

/// Milliseconds and value of `fake_scrapes_total` as the peer has them.
fn at_peer(peer: &Peer) -> Vec<(i64, String)> {
    let answer = peer.get("/api/v1/query?query=fake_scrapes_total%5B1h%5D");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let Some(series) = answer["data"]["result"].as_array().unwrap().first() else { return Vec::new() };
    assert_eq!(series["metric"]["site"], "edge", "{answer}");
    let samples = series["values"].as_array().unwrap().iter();
    samples
        .filter(|it| it[1] != "NaN")
        .map(|it| ((it[0].as_f64().unwrap() * 1000.0).round() as i64, it[1].as_str().unwrap().to_owned()))
        .collect()
}

fn check(peer: &Peer, section: &str, path: &str) {
    let targets = FakeTargets::start();
    targets.set("/a", Behaviour::Counter);
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, external_labels: {{site: edge}}}}\n\
         remote_write:\n- url: http://{}{path}\n{SECTION}{section}\
         scrape_configs:\n- job_name: a\n  metrics_path: /a\n  static_configs: [{{targets: ['{}']}}]\n",
        peer.address(),
        targets.address()
    );
    let scraped = Scraped::start(&config);
    wait_until("scrapes", || targets.n_requests("/a") >= 15);
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(!scraped.stderr().contains("remote write 2.0"), "{}", scraped.stderr());
    assert!(scraped.stop().success());
    // A scrape that failed on a busy machine leaves a marker, which a range does not show.
    let mut stored: Vec<(i64, String)> = query(&data, "fake_scrapes_total").into_values().flatten().collect();
    stored.retain(|(_, value)| value != "NaN");
    assert!(stored.len() >= 5, "{stored:?}");
    let start = Instant::now();
    while at_peer(peer) != stored && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(at_peer(peer), stored, "{}", peer.log());
    drop(dir);
}

#[test]
fn prometheus_has_every_sample() {
    let dir = tempfile::tempdir().unwrap();
    for (message, number) in [("prometheus.WriteRequest", 1), ("io.prometheus.write.v2.Request", 2)] {
        let peer = Peer::server("global: {scrape_interval: 1h}\n", &dir.path().join(number.to_string()), &[]);
        check(&peer, &format!("  protobuf_message: {message}\n"), "/api/v1/write");
    }
}

#[test]
fn victoria_metrics_has_every_sample() {
    let dir = tempfile::tempdir().unwrap();
    check(&victoria_metrics(dir.path()), "", "/api/v1/write");
}
