//! The rest of Prometheus' public compliance suite for senders (prometheus/compliance, `remotewrite/sender`): what
//! `protocol` does not ask already.
//!
//! Of its files, `protocol`, `retry`, `backoff`, `fallback`, `samples`, `symbols` and most of `labels` and `response` are
//! re-expressed there; `error_handling` in `remote_outage.rs`; `metadata` in `remote_metadata.rs`; `histograms`,
//! `exemplars` and `rw1_compat` in `remote_types.rs`. Every request of every test is decoded strictly: order of labels
//! and samples, repeated and empty labels, symbols that are not there, and fields of the other version are problems.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::remote::receiver::{Answer, Receiver};
use support::remote::{config, wait_until_sent};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

const V1: &str = "";
const V2: &str = "protobuf_message: io.prometheus.write.v2.Request";

fn target(content: &str) -> FakeTargets {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page(content)));
    targets
}

/// Sends the page by this version and returns the endpoint once all that is on disk has arrived.
fn sent(content: &str, section: &str, queue: &str) -> (Receiver, Scraped, FakeTargets) {
    let targets = target(content);
    let receiver = Receiver::start();
    let scraped = Scraped::start(&config(&targets.address(), "/metrics", &receiver.url(), section, queue));
    wait_until("two scrapes", || receiver.samples("up", "").len() >= 2);
    wait_until_sent(&scraped.data_dir(), &receiver);
    receiver.check();
    (receiver, scraped, targets)
}

fn names(receiver: &Receiver) -> BTreeSet<String> {
    let state = receiver.state();
    state.series.keys().map(|key| key.split('"').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn families_of_all_types_arrive_series_by_series() {
    let content = "# TYPE requests_total counter\nrequests_total{code=\"200\"} 5\n# TYPE temperature gauge\n\
                   temperature -3.5\n# TYPE latency histogram\nlatency_bucket{le=\"0.1\"} 1\n\
                   latency_bucket{le=\"+Inf\"} 2\nlatency_sum 0.7\nlatency_count 2\n# TYPE size summary\n\
                   size{quantile=\"0.5\"} 10\nsize{quantile=\"0.99\"} 20\nsize_sum 30\nsize_count 2\nuntyped 1\n";
    for section in [V1, V2] {
        let (receiver, _scraped, _targets) = sent(content, section, "");
        let names = names(&receiver);
        for name in [
            "requests_total",
            "temperature",
            "latency_bucket",
            "latency_sum",
            "latency_count",
            "size",
            "size_sum",
            "size_count",
            "untyped",
        ] {
            assert!(names.contains(name), "{name} of {names:?}");
        }
        assert_eq!(receiver.samples("latency_bucket", "le=\"+Inf\"")[0].1, 2.0);
        assert_eq!(receiver.samples("size", "quantile=\"0.99\"")[0].1, 20.0);
    }
}

#[test]
fn many_and_long_labels_arrive_and_reserved_ones_do_not() {
    let many: Vec<String> = (0..60).map(|idx| format!("label_{idx:02}=\"value {idx}\"")).collect();
    let long_name = "a_long_name_of_a_label_".repeat(20);
    let content = format!("wide{{{}}} 1\nlong{{{long_name}=\"1\"}} 2\n", many.join(","));
    for section in [V1, V2] {
        let (receiver, _scraped, _targets) = sent(&content, section, "");
        assert_eq!(receiver.samples("long", &format!("{long_name}=\"1\""))[0].1, 2.0);
        let requests = receiver.requests();
        let series = requests.iter().flat_map(|request| &request.message.series);
        let wide = series.clone().find(|series| series.label("__name__") == "wide").unwrap();
        // Its own, its name, its job and its instance.
        assert_eq!((wide.labels.len(), wide.label("label_37")), (63, "value 37"));
        for (name, _) in series.flat_map(|series| &series.labels) {
            assert!(!name.starts_with("__") || name == "__name__", "{name}");
        }
    }
}

#[test]
fn timestamps_of_a_page_arrive_as_they_are() {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let (past_ms, future_ms) = (now_ms - 3_600_123, now_ms + 300_456);
    let content = format!("zero 1 0\npast 2 {past_ms}\nfuture 3 {future_ms}\nmissing 4\n");
    for section in [V1, V2] {
        let (receiver, _scraped, _targets) = sent(&content, section, "");
        assert_eq!(receiver.samples("zero", ""), [(0, 1.0)]);
        assert_eq!(receiver.samples("past", ""), [(past_ms, 2.0)]);
        assert_eq!(receiver.samples("future", ""), [(future_ms, 3.0)]);
        let missing = receiver.samples("missing", "");
        assert!(missing.len() >= 2 && missing.iter().all(|it| it.0 >= now_ms), "{missing:?}");
    }
}

#[test]
fn a_page_without_a_sample_is_no_trouble() {
    for section in [V1, V2] {
        let (receiver, scraped, _targets) = sent("# No metrics\n", section, "");
        assert!(receiver.samples("up", "").iter().all(|it| it.1 == 1.0));
        assert!(names(&receiver).iter().all(|name| name == "up" || name.starts_with("scrape_")));
        assert!(!scraped.stderr().contains("WARN"), "{}", scraped.stderr());
    }
}

#[test]
fn a_version_that_is_taken_is_kept() {
    for status in [200, 202, 204] {
        let targets = target("test_metric 42\n");
        let receiver = Receiver::start();
        receiver.answer(Answer::Stores(status));
        let _scraped = Scraped::start(&config(&targets.address(), "/metrics", &receiver.url(), V2, ""));
        wait_until("requests", || receiver.n_requests() >= 4);
        for request in receiver.requests() {
            assert_eq!(request.header("x-prometheus-remote-write-version"), "2.0.0");
        }
    }
}

#[test]
fn long_words_of_an_endpoint_and_numbers_that_nobody_knows_are_no_trouble() {
    let long = "words and words\n".repeat(70_000);
    let said = |status: u16, body: &str| Answer::Refuses(status, Vec::new(), body.to_owned());
    for answer in [said(500, &long), said(503, ""), said(599, &long), said(600, "what?"), said(999, "")] {
        let targets = target("test_metric 42\n");
        let receiver = Receiver::start();
        receiver.answer(answer);
        let scraped = Scraped::start(&config(&targets.address(), "/metrics", &receiver.url(), "", ""));
        wait_until("tries", || receiver.n_requests() >= 3);
        let stderr = scraped.stderr();
        assert!(stderr.len() < 10_000, "{} bytes", stderr.len());
        receiver.answer(Answer::Stores(204));
        wait_until_sent(&scraped.data_dir(), &receiver);
        assert_eq!(receiver.state().n_duplicates, 0);
        receiver.check();
    }
}

#[test]
fn a_host_that_nobody_knows_is_named_and_waited_for() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let receiver = Receiver::start();
    let nobody = "http://nonexistent.invalid:9999/api/v1/write";
    let config = config(&targets.address(), "/metrics", nobody, "name: main", "");
    let scraped = Scraped::start(&config);
    wait_until("it is told", || {
        let stderr = scraped.stderr();
        let told = stderr.lines().find(|line| line.contains("remote_write main") && line.contains("WARN"));
        told.is_some_and(|line| line.contains("nonexistent.invalid"))
    });
    wait_until("scrapes go on", || targets.n_requests("/metrics") >= 4);
    scraped.reload_with(&config.replace(nobody, &receiver.url()));
    wait_until_sent(&scraped.data_dir(), &receiver);
    let values: Vec<f64> = receiver.samples("fake_scrapes_total", "").iter().map(|it| it.1).collect();
    assert_eq!(values[..3], [1.0, 2.0, 3.0], "from the first one on");
    receiver.check();
}

#[test]
fn several_requests_are_under_way_at_once_where_there_are_several_shards() {
    let content: String = (0..200).map(|idx| format!("many{{idx=\"{idx}\"}} {idx}\n")).collect();
    let targets = target(&content);
    let receiver = Receiver::start();
    receiver.answer(Answer::StoresLate(Duration::from_millis(200)));
    let queue = "min_shards: 4, max_samples_per_send: 20";
    let scraped = Scraped::start(&config(&targets.address(), "/metrics", &receiver.url(), V2, queue));
    wait_until("requests", || receiver.n_requests() >= 8);
    assert_eq!(receiver.n_connections(), 4);
    receiver.answer(Answer::Stores(204));
    wait_until_sent(&scraped.data_dir(), &receiver);
    receiver.check();
}

/// `no_retry_on_400` and its like: two requests in eight seconds, with nothing but defaults.
#[test]
fn a_refusal_of_everything_costs_two_requests_in_eight_seconds() {
    std::thread::scope(|scope| {
        for status in [400, 401, 404, 413] {
            scope.spawn(move || {
                let targets = target("test_metric 42\n");
                let receiver = Receiver::start();
                receiver.answer(Answer::status(status));
                let config = format!(
                    "global: {{scrape_interval: 1s}}\nremote_write:\n- url: {}\n  {V2}\n  send_exemplars: true\n\
                     scrape_configs:\n- job_name: test\n  static_configs: [{{targets: ['{}']}}]\n",
                    receiver.url(),
                    targets.address()
                );
                let scraped = Scraped::start(&config);
                // Requests that do not come: there is no event to wait for.
                std::thread::sleep(Duration::from_secs(8));
                assert!(scraped.stop().success());
                let n_requests = receiver.n_requests();
                assert!((1..=2).contains(&n_requests), "{status}: {n_requests}");
            });
        }
    });
}
