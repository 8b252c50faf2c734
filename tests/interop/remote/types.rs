//! Native histograms, exemplars and metadata at real receivers. A real Prometheus gets them by remote write 1.0 and 2.0
//! and scrapes the same target itself: its query API must say the same of both. VictoriaMetrics gets the floats and the
//! metadata.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::peers::Peer;
use support::protobuf::encode::encode;
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

const MESSAGES: [&str; 2] = ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"];

const TEXT: &str = "# HELP classic Converted.\n# TYPE classic histogram\nclassic_bucket{le=\"0.5\"} 1\n\
                    classic_bucket{le=\"1\"} 3\nclassic_bucket{le=\"+Inf\"} 4\nclassic_sum 5.5\nclassic_count 4\n";

/// A counter, native histograms of both flavours and all kinds of buckets, with exemplars from just now.
fn families(seconds: u64) -> String {
    format!(
        r#"name: "requests_total"
help: "How many."
type: COUNTER
metric {{
  label {{ name: "code" value: "200" }}
  counter {{
    value: 12
    exemplar {{ label {{ name: "trace_id" value: "abc" }} value: 0.5 timestamp {{ seconds: {seconds} }} }}
  }}
}}
---
name: "native"
help: "Integer counts."
type: HISTOGRAM
metric {{
  histogram {{
    sample_count: 11
    sample_sum: 18.4
    schema: 1
    zero_threshold: 0.001
    zero_count: 2
    negative_span {{ offset: 0 length: 2 }}
    negative_delta: 1
    negative_delta: 1
    positive_span {{ offset: -2 length: 2 }}
    positive_span {{ offset: 3 length: 1 }}
    positive_delta: 1
    positive_delta: 2
    positive_delta: -1
    exemplars {{
      label {{ name: "trace_id" value: "def" }} value: 0.25 timestamp {{ seconds: {seconds} nanos: 250000000 }}
    }}
  }}
}}
---
name: "fractional"
help: "Float counts."
type: GAUGE_HISTOGRAM
metric {{
  histogram {{
    sample_count_float: 4.5
    sample_sum: -3.25
    schema: -1
    zero_threshold: 0
    zero_count_float: 0.5
    positive_span {{ offset: 1 length: 2 }}
    positive_count: 1.5
    positive_count: 2.5
  }}
}}
"#
    )
}

fn jobs(address: &str, prefix: &str) -> String {
    format!(
        "- job_name: {prefix}\n  metrics_path: /native\n  scrape_protocols: [PrometheusProto]\n  static_configs: \
         [{{targets: ['{address}']}}]\n- job_name: {prefix}_classic\n  metrics_path: /classic\n  scrape_protocols: \
         [PrometheusText0.0.4]\n  convert_classic_histograms_to_nhcb: true\n  static_configs: \
         [{{targets: ['{address}']}}]\n"
    )
}

/// A server that takes everything, and scrapes the target itself as jobs `direct…`.
fn prometheus(dir: &Path, target: &str) -> Peer {
    let global = "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\nscrape_configs:\n";
    let arguments =
        ["--enable-feature=native-histograms,exemplar-storage", "--scrape.discovery-reload-interval=100ms"];
    Peer::server(&format!("{global}{}", jobs(target, "direct")), dir, &arguments)
}

fn targets() -> FakeTargets {
    let targets = FakeTargets::start();
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let content: Vec<u8> = families(seconds).split("\n---\n").flat_map(encode).collect();
    targets.set("/native", Behaviour::ContentType(Arc::from(content), PROTOBUF.to_owned()));
    targets.set("/classic", Behaviour::Healthy(page(TEXT)));
    targets
}

fn config(target: &str, receiver: &str, section: &str) -> String {
    format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, scrape_native_histograms: true}}\nscrape_configs:\n{}\
         remote_write:\n- url: http://{receiver}/api/v1/write\n  queue_config: {{batch_send_deadline: 100ms, \
         max_backoff: 100ms}}\n{section}",
        jobs(target, "ours")
    )
}

fn answer(peer: &Peer, path: &str, parameters: &[(&str, &str)]) -> Value {
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let query: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    let answer: Value = serde_json::from_str(&peer.get(&format!("{path}?{}", query.join("&")))).unwrap();
    answer["data"].clone()
}

/// What the peer has of a series of a job now: its histogram, or its value.
fn newest(peer: &Peer, name: &str, job: &str) -> Option<Value> {
    let query = format!("{name}{{job=\"{job}\"}}");
    let data = answer(peer, "/api/v1/query", &[("query", &query)]);
    let series = data["result"].as_array().unwrap().first()?;
    let sample = if series["histogram"].is_null() { &series["value"] } else { &series["histogram"] };
    Some(sample[1].clone())
}

/// Exemplars of a series of a job.
fn exemplars(peer: &Peer, name: &str, job: &str) -> Value {
    let query = format!("{name}{{job=\"{job}\"}}");
    let times = [("start", "2020-01-01T00:00:00Z"), ("end", "2100-01-01T00:00:00Z")];
    let data = answer(peer, "/api/v1/query_exemplars", &[&[("query", query.as_str())], &times[..]].concat());
    data.get(0).map_or(Value::Null, |series| series["exemplars"].clone())
}

/// Waits until the peer says the same of the series it got and of the one it scraped.
fn check(peer: &Peer, name: &str, job: &str, is_histogram: bool) {
    let (ours, theirs) = (job.to_owned(), job.replace("ours", "direct"));
    wait_until(&format!("{name}, twice"), || {
        newest(peer, name, &ours).is_some() && newest(peer, name, &theirs).is_some()
    });
    let (got, scraped) = (newest(peer, name, &ours).unwrap(), newest(peer, name, &theirs).unwrap());
    assert_eq!(got, scraped, "{name}: {}", peer.log());
    assert_eq!(got["count"].is_string(), is_histogram, "{name}: {got}");
}

#[test]
fn prometheus_has_histograms_and_exemplars_as_if_it_had_scraped_them() {
    let dir = tempfile::tempdir().unwrap();
    for message in MESSAGES {
        let targets = targets();
        let peer = prometheus(&dir.path().join(message), &targets.address());
        let section = format!(
            "  send_exemplars: true\n  send_native_histograms: true\n  protobuf_message: {message}\n"
        );
        let scraped = Scraped::start(&config(&targets.address(), peer.address(), &section));
        check(&peer, "requests_total", "ours", false);
        check(&peer, "native", "ours", true);
        check(&peer, "fractional", "ours", true);
        for (name, value) in [("requests_total", "0.5"), ("native", "0.25")] {
            for job in ["ours", "direct"] {
                wait_until(&format!("exemplars of {name} of {job}"), || {
                    exemplars(&peer, name, job).is_array()
                });
            }
            let got = exemplars(&peer, name, "ours");
            assert_eq!(got, exemplars(&peer, name, "direct"), "{message}");
            assert_eq!(got[0]["value"], value, "{got}");
            assert_eq!(got.as_array().unwrap().len(), 1, "one that was sent again is no other: {got}");
        }
        // Custom buckets go by 2.0 alone.
        if message == MESSAGES[1] {
            check(&peer, "classic", "ours_classic", true);
        } else {
            let dropped =
                "prometheus_remote_storage_histograms_dropped_total{reason=\"nhcb_in_rw1_not_supported\"";
            wait_until("custom buckets are dropped", || {
                let page = scraped.get("/metrics").body;
                page.lines().any(|line| line.starts_with(dropped) && !line.ends_with(" 0"))
            });
            assert_eq!(newest(&peer, "classic", "ours_classic"), None);
        }
        assert!(!scraped.stderr().contains("remote write 2.0"), "{}", scraped.stderr());
    }
}

#[test]
fn a_histogram_series_that_ends_is_stale_at_the_receiver() {
    let dir = tempfile::tempdir().unwrap();
    for message in MESSAGES {
        let targets = targets();
        let peer = prometheus(&dir.path().join(message), &targets.address());
        let section = format!("  send_native_histograms: true\n  protobuf_message: {message}\n");
        let scraped = Scraped::start(&config(&targets.address(), peer.address(), &section));
        check(&peer, "native", "ours", true);
        targets.set("/native", Behaviour::Status(500));
        wait_until("the series has ended", || newest(&peer, "native", "ours").is_none());
        drop(scraped);
    }
}

#[test]
fn victoria_metrics_has_floats_and_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start("victoria-metrics", "VICTORIA_METRICS", dir.path(), "/health", |address| {
        vec![
            format!("-storageDataPath={}", dir.path().join("data").display()),
            format!("-httpListenAddr={address}"),
            "-inmemoryDataFlushInterval=1s".to_owned(),
            "-enableMetadata".to_owned(),
            // Instant queries would look at what was there 30 s ago.
            "-search.latencyOffset=0s".to_owned(),
        ]
    });
    let targets = targets();
    let section =
        "  send_exemplars: true\n  send_native_histograms: true\n  metadata_config: {send_interval: 300ms}\n";
    let scraped = Scraped::start(&config(&targets.address(), peer.address(), section));
    wait_until("the counter", || newest(&peer, "requests_total", "ours") == Some(Value::from("12")));
    wait_until("metadata", || !answer(&peer, "/api/v1/metadata", &[])["requests_total"].is_null());
    let metadata = answer(&peer, "/api/v1/metadata", &[]);
    let of = |name: &str| {
        let entry = &metadata[name][0];
        (entry["type"].as_str().unwrap().to_owned(), entry["help"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("requests_total"), ("counter".to_owned(), "How many.".to_owned()));
    assert_eq!(of("native"), ("histogram".to_owned(), "Integer counts.".to_owned()));
    assert_eq!(of("fractional").1, "Float counts.");
    let stderr = scraped.stderr();
    let warnings: Vec<&str> = stderr.lines().filter(|line| !line.contains("level=INFO")).collect();
    assert!(warnings.iter().all(|line| line.contains("custom buckets")), "{warnings:#?}");
}
