//! Remote write of the real binary to a fake endpoint: what arrives, what is tried again, what a restart loses (nothing).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use support::api::{metric, metric_sum};
use support::command::values;
use support::remote::receiver::{Answer, Receiver, WRITE_PATH};
use support::remote::{ledger, on_disk_of};
use support::scraped::{ON_DISK, Scraped, is_memory_first};
use support::targets::{Behaviour, FakeTargets, page};
use support::{wait_for_long, wait_until};

const COUNTER: &str = "__name__=\"fake_scrapes_total\"";

/// Scrapes `/a` of the targets ten times a second and sends to the receiver; `lines` go into its section.
fn config(targets: &FakeTargets, receiver: &Receiver, lines: &str) -> String {
    format!(
        "global: {{scrape_interval: 100ms, scrape_timeout: 100ms, external_labels: {{site: edge, job: other}}}}\n\
         remote_write:\n- url: {}\n{lines}\
         scrape_configs:\n- job_name: a\n  metrics_path: /a\n  static_configs: [{{targets: ['{}']}}]\n",
        receiver.url(),
        targets.address()
    )
}

const FAST: &str = "  queue_config: {batch_send_deadline: 100ms, max_backoff: 100ms}\n";

fn counting() -> (FakeTargets, Receiver) {
    let targets = FakeTargets::start();
    targets.set("/a", Behaviour::Counter);
    (targets, Receiver::start())
}

/// The one sample of a family with these labels of the endpoint.
fn remote_metric(scraped: &Scraped, family: &str) -> f64 {
    metric_sum(scraped, &format!("prometheus_remote_storage_{family}"))
}

/// What the log holds of the counter; a NaN where a scrape failed.
fn stored(data: &Path) -> Vec<f64> {
    let number = |value: &String| if value == "stale" { f64::NAN } else { value.parse().unwrap() };
    values(data, "fake_scrapes_total").iter().map(number).collect()
}

/// What the log has taken of the counter: what it holds, and what the endpoint has had before it was written.
fn committed(data: &Path, receiver: &Receiver) -> Vec<f64> {
    let mut all = stored(data);
    if is_memory_first() {
        let mut seen = BTreeSet::new();
        all.splice(0..0, receiver.values(COUNTER));
        all.retain(|value| seen.insert(value.to_bits()));
    }
    all
}

/// Stops the daemon: everything that its log holds has arrived, each first arrival after those of lower values.
fn assert_complete(scraped: Scraped, receiver: &Receiver) {
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    let mut seen = BTreeSet::new();
    let mut firsts = Vec::new();
    for value in receiver.values(COUNTER).into_iter().filter(|value| value.is_finite()) {
        if seen.insert(value as u64) {
            firsts.push(value as u64);
        }
    }
    assert!(firsts.is_sorted(), "out of order: {firsts:?}");
    let stored: Vec<u64> =
        committed(&data, receiver).into_iter().filter(|it| it.is_finite()).map(|it| it as u64).collect();
    assert_eq!(firsts, stored);
    drop(dir);
}

#[test]
fn a_burst_of_scrapes_is_sent_when_it_is_over_unless_there_is_a_deadline() {
    let start = |lines: &str| {
        let (targets, receiver) = counting();
        let text = config(&targets, &receiver, lines).replace("100ms", "1s");
        (Scraped::start(&text), targets, receiver)
    };
    let (scraped, targets, receiver) = start("");
    // The first request is that of an endpoint that nobody knows.
    wait_until("the first arrive", || !receiver.values(COUNTER).is_empty());
    let (n_before, n_requests_before) = (receiver.values(COUNTER).len(), receiver.n_requests());
    wait_until("more arrive", || receiver.values(COUNTER).len() >= n_before + 6);
    let n_requests = receiver.n_requests() - n_requests_before;
    // Some share one on a busy machine; the default of the deadline would make it one or two.
    assert!(n_requests >= 3, "{n_requests} requests");
    drop(targets);
    assert!(scraped.stop().success());

    let (scraped, targets, receiver) = start("  queue_config: {batch_send_deadline: 5m}\n");
    wait_until("scrapes", || targets.n_requests("/a") >= 6);
    assert_eq!(receiver.requests().len(), 0);
    assert_complete(scraped, &receiver);
}

#[test]
fn samples_arrive_with_external_labels_in_order_and_once() {
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let (targets, receiver) = counting();
        let lines = format!("{FAST}  protobuf_message: {message}\n  headers: {{X-Scope-OrgID: me}}\n");
        let scraped = Scraped::start(&config(&targets, &receiver, &lines));
        wait_until("ten values", || receiver.values(COUNTER).len() >= 10);
        let dir = scraped.dir();
        let data = scraped.data_dir();
        assert!(scraped.stop().success());

        let request = receiver.requests().remove(0);
        let is_v2 = message.contains("v2");
        assert_eq!(
            request.headers["x-prometheus-remote-write-version"],
            if is_v2 { "2.0.0" } else { "0.1.0" }
        );
        assert_eq!(request.headers["content-encoding"], "snappy");
        assert_eq!(request.headers["x-scope-orgid"], "me");
        assert!(!request.headers.contains_key("retry-attempt"));
        let expected_type = if is_v2 {
            "application/x-protobuf;proto=io.prometheus.write.v2.Request"
        } else {
            "application/x-protobuf"
        };
        assert_eq!(request.headers["content-type"], expected_type);

        let received = receiver.received();
        let instance = targets.address();
        let up = format!("{{__name__=\"up\",instance=\"{instance}\",job=\"a\",site=\"edge\"}}");
        assert!(received.contains_key(&up), "{:?}", received.keys());
        // What the stop flushed is all there is in the log.
        assert_eq!(receiver.values(COUNTER), committed(&data, &receiver), "{message}");
        drop(dir);
    }
}

#[test]
fn nothing_is_lost_by_an_outage_with_a_kill_in_its_middle() {
    let (targets, receiver) = counting();
    let scraped = Scraped::start_with(&config(&targets, &receiver, FAST), &["--wal.fsync-interval=1s"]);
    wait_until("first values", || !receiver.values(COUNTER).is_empty());
    receiver.answer(Answer::status(503));
    let n_scrapes = targets.n_requests("/a");
    wait_until("an outage of ten scrapes", || targets.n_requests("/a") >= n_scrapes + 10);
    let dir = scraped.dir();
    scraped.signal("KILL");
    drop(scraped);

    let scraped = Scraped::start_in(dir, &["--wal.fsync-interval=1s"]);
    let n_scrapes = targets.n_requests("/a");
    wait_until("ten more", || targets.n_requests("/a") >= n_scrapes + 10);
    receiver.answer(Answer::Stores(204));
    let highest = targets.n_requests("/a") as f64;
    wait_until("the backlog", || receiver.values(COUNTER).iter().any(|value| *value >= highest));
    assert!(remote_metric(&scraped, "samples_retried_total") > 0.0);
    assert_complete(scraped, &receiver);
    assert!(receiver.requests().iter().any(|request| request.headers.contains_key("retry-attempt")));
}

#[test]
fn a_restart_sends_nothing_twice_after_a_clean_stop() {
    let (targets, receiver) = counting();
    let mut scraped = Scraped::start(&config(&targets, &receiver, FAST));
    for _ in 0..3 {
        let n_values = receiver.values(COUNTER).len();
        wait_until("more values", || receiver.values(COUNTER).len() >= n_values + 5);
        let dir = scraped.dir();
        assert!(scraped.stop().success());
        scraped = Scraped::start_in(dir, &[]);
    }
    let data = scraped.data_dir();
    let dir = scraped.dir();
    assert!(scraped.stop().success());
    // By their bits: a scrape that came too late has left a staleness marker, which equals nothing.
    let bits = |values: Vec<f64>| -> Vec<u64> { values.into_iter().map(f64::to_bits).collect() };
    assert_eq!(bits(receiver.values(COUNTER)), bits(committed(&data, &receiver)));
    drop(dir);
}

#[test]
fn one_bad_series_costs_its_own_samples() {
    let targets = FakeTargets::start();
    let lines: String = (0..300).map(|idx| format!("m{{i=\"{idx}\"}} {idx}\n")).collect();
    targets.set("/a", Behaviour::Healthy(page(&lines)));
    let receiver = Receiver::start();
    receiver.answer(Answer::RefusesSeries("i=\"137\"".to_owned()));
    let scraped = Scraped::start(&config(&targets, &receiver, FAST));
    wait_until("five scrapes", || receiver.values("i=\"299\"").len() >= 5);
    wait_until("all but the bad one", || {
        let received = receiver.received();
        (0..300).filter(|idx| *idx != 137).all(|idx| receiver_has(&received, &format!("i=\"{idx}\"")))
    });
    assert!(!receiver_has(&receiver.received(), "i=\"137\""));
    // One a scrape, of however many there were.
    let failed = remote_metric(&scraped, "samples_failed_total");
    let n_scrapes = targets.n_requests("/a") as f64;
    assert!((1.0..=n_scrapes).contains(&failed), "{failed} of {n_scrapes}");
    wait_until("it is said", || scraped.stderr().contains("are dropped"));
    let log = scraped.stderr();
    let culprits: Vec<&str> = log.lines().filter(|line| line.contains("are dropped")).collect();
    assert_eq!(culprits.len(), 1, "{log}");
    assert!(culprits[0].contains("i=") && culprits[0].contains("137"), "{culprits:?}");
}

fn receiver_has(received: &std::collections::BTreeMap<String, Vec<(i64, u64)>>, text: &str) -> bool {
    received.keys().any(|labels| labels.contains(text))
}

#[test]
fn every_way_to_fail_for_a_while_loses_nothing() {
    for answer in [
        Answer::status(500),
        Answer::retry_after(503, "0"),
        Answer::status(429),
        Answer::redirects(301, "/elsewhere"),
        Answer::redirects(308, WRITE_PATH),
        Answer::Resets,
        Answer::StoresAndResets,
        Answer::Hangs,
        Answer::EndlessBody(503),
        Answer::StoresLate(Duration::from_millis(400)),
    ] {
        let (targets, receiver) = counting();
        let lines = "  remote_timeout: 300ms\n  queue_config: {batch_send_deadline: 100ms, max_backoff: 100ms, \
                     retry_on_http_429: true}\n";
        let scraped = Scraped::start(&config(&targets, &receiver, lines));
        wait_until("first values", || !receiver.values(COUNTER).is_empty());
        receiver.answer(answer.clone());
        let n_requests = receiver.n_requests();
        wait_until(&format!("tries with {answer:?}"), || receiver.n_requests() >= n_requests + 3);
        receiver.answer(Answer::Stores(204));
        let highest = targets.n_requests("/a") as f64;
        wait_until(&format!("all after {answer:?}"), || {
            receiver.values(COUNTER).iter().any(|value| *value >= highest)
        });
        assert_complete(scraped, &receiver);
    }
}

#[test]
fn what_is_refused_for_good_is_dropped_and_counted() {
    let drops_429 = FAST.replace("{", "{retry_on_http_429: false, ");
    for (status, lines) in [(400, FAST), (409, FAST), (413, FAST), (422, FAST), (429, &drops_429)] {
        let (targets, receiver) = counting();
        receiver.answer(Answer::status(status));
        let scraped = Scraped::start(&config(&targets, &receiver, lines));
        wait_until("drops", || remote_metric(&scraped, "samples_failed_total") > 0.0);
        let rejected = "prometheus_remote_storage_samples_dropped_total";
        assert!(metric_sum(&scraped, rejected) > 0.0);
        receiver.answer(Answer::Stores(204));
        wait_until("fresh values", || !receiver.values(COUNTER).is_empty());
    }
}

#[test]
fn an_endpoint_without_2_0_gets_1_0() {
    for answer in [Answer::status(415), Answer::StoresIgnorantly] {
        let (targets, receiver) = counting();
        receiver.script(move |request| match request.header("x-prometheus-remote-write-version") {
            "2.0.0" => answer.clone(),
            _ => Answer::Stores(204),
        });
        let lines = format!("{FAST}  protobuf_message: io.prometheus.write.v2.Request\n");
        let scraped = Scraped::start(&config(&targets, &receiver, &lines));
        wait_until("values by 1.0", || {
            let requests = receiver.requests();
            requests.iter().any(|it| it.headers["x-prometheus-remote-write-version"] == "0.1.0")
        });
        wait_until("it is said", || scraped.stderr().contains("does not take remote write 2.0"));
        assert_complete(scraped, &receiver);
    }
}

#[test]
fn rules_drop_and_change_series() {
    let targets = FakeTargets::start();
    targets.set("/a", Behaviour::Healthy(page("keep 1\ndrop_me 2\nchange 3\n")));
    let receiver = Receiver::start();
    let lines = format!(
        "{FAST}  write_relabel_configs:\n  - {{source_labels: [__name__], regex: 'drop_.*|scrape_.*', action: drop}}\n  \
         - {{source_labels: [__name__], regex: change, target_label: site, replacement: here}}\n"
    );
    let scraped = Scraped::start(&config(&targets, &receiver, &lines));
    wait_until("three scrapes", || receiver.values("\"keep\"").len() >= 3);
    let received = receiver.received();
    let names: Vec<&str> = received.keys().map(|labels| labels.split('"').nth(1).unwrap()).collect();
    assert_eq!(names, ["change", "keep", "up"]);
    assert!(receiver_has(&received, "site=\"here\""));
    let dropped = metric(
        &scraped,
        &format!(
            "prometheus_remote_storage_samples_dropped_total{{reason=\"dropped_series\",remote_name=\"{}\",url=\"{}\"}}",
            name_of(&scraped),
            receiver.url()
        ),
    );
    assert!(dropped.unwrap() > 0.0);
}

fn name_of(scraped: &Scraped) -> String {
    let page = scraped.get("/metrics").body;
    page.split("remote_name=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[test]
fn a_reload_keeps_the_queue_whatever_else_changes() {
    let (targets, receiver) = counting();
    let named = |lines: &str| config(&targets, &receiver, &format!("  name: main\n{lines}"));
    let scraped = Scraped::start(&named(FAST));
    wait_until("first values", || !receiver.values(COUNTER).is_empty());
    receiver.answer(Answer::status(503));
    for (loaded, lines) in [
        (
            "max_samples_per_send: 3\\n",
            "  queue_config: {batch_send_deadline: 100ms, max_samples_per_send: 3, max_backoff: 100ms}\n",
        ),
        (
            "remote_timeout: 7s\\n",
            "  queue_config: {batch_send_deadline: 100ms, min_shards: 4, max_backoff: 100ms}\n  remote_timeout: 7s\n",
        ),
        (
            "min_shards: 2\\n",
            "  queue_config: {batch_send_deadline: 100ms, min_shards: 2, max_backoff: 100ms}\n  headers: {A: b}\n",
        ),
    ] {
        let n_scrapes = targets.n_requests("/a");
        wait_until("an outage", || targets.n_requests("/a") >= n_scrapes + 3);
        scraped.reload_with(&named(lines));
        wait_until("the reload", || scraped.get("/api/v1/status/config").body.contains(loaded));
    }
    receiver.answer(Answer::Stores(204));
    let highest = targets.n_requests("/a") as f64;
    wait_until("the backlog", || receiver.values(COUNTER).iter().any(|value| *value >= highest));
    assert!(receiver.requests().last().unwrap().headers.contains_key("a"));
    assert_complete(scraped, &receiver);
}

#[test]
fn a_new_endpoint_starts_at_the_present_and_a_lost_position_at_the_oldest() {
    let (targets, receiver) = counting();
    let late = Receiver::start();
    let only = config(&targets, &receiver, FAST);
    // What is sent again stands on the disk.
    let scraped = Scraped::start_with(&only, &[ON_DISK]);
    wait_until("values", || receiver.values(COUNTER).len() >= 5);
    let both = only.replace("scrape_configs:", &format!("- url: {}\n{FAST}scrape_configs:", late.url()));
    scraped.reload_with(&both);
    wait_until("values at the new one", || late.values(COUNTER).len() >= 3);
    assert!(late.values(COUNTER)[0] >= 5.0);
    let dir = scraped.dir();
    let data = scraped.data_dir();
    scraped.signal("KILL");
    drop(scraped);
    let scraped = Scraped::start_in(dir.clone(), &[ON_DISK]);
    let n_values = late.values(COUNTER).len();
    wait_until("values after a restart", || late.values(COUNTER).len() >= n_values + 5);
    assert!(late.values(COUNTER).iter().all(|value| *value >= 5.0));
    assert!(!scraped.stderr().contains("position"), "{}", scraped.stderr());
    assert!(scraped.stop().success());

    // The position of one of them is lost.
    for entry in fs::read_dir(data.join("remote")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        if String::from_utf8_lossy(&bytes).contains(&late.url()) && path.extension().is_some() {
            fs::remove_file(path).unwrap();
        }
    }
    let scraped = Scraped::start_in(dir, &[ON_DISK]);
    wait_until("what the log held before", || late.values(COUNTER).contains(&1.0));
    assert!(scraped.stderr().contains("its position is lost"), "{}", scraped.stderr());
    assert!(receiver.values(COUNTER).iter().filter(|value| **value == 1.0).count() == 1);
}

#[test]
fn a_stop_is_not_held_up_by_a_dead_endpoint() {
    for answer in [Answer::Hangs, Answer::retry_after(503, "3600"), Answer::Resets] {
        let (targets, receiver) = counting();
        receiver.answer(answer.clone());
        let arguments = ["--storage.remote.flush-deadline=1s"];
        let scraped = Scraped::start_with(&config(&targets, &receiver, FAST), &arguments);
        wait_until("a try", || receiver.n_requests() >= 1);
        let dir = scraped.dir();
        let start = Instant::now();
        assert!(scraped.stop().success());
        assert!(start.elapsed() < Duration::from_secs(10), "{answer:?}: {:?}", start.elapsed());
        receiver.answer(Answer::Stores(204));
        let scraped = Scraped::start_in(dir, &[]);
        wait_until("what was left", || receiver.values(COUNTER).contains(&1.0));
        drop(scraped);
    }
}

#[test]
fn a_log_that_was_damaged_while_behind_is_sent_as_far_as_it_can_be_read() {
    for damage in [Damage::Flip, Damage::Zeros, Damage::Garbage, Damage::Cut] {
        let (targets, receiver) = counting();
        let scraped = Scraped::start_with(&config(&targets, &receiver, FAST), &[ON_DISK]);
        wait_until("first values", || !receiver.values(COUNTER).is_empty());
        receiver.answer(Answer::status(503));
        let n_scrapes = targets.n_requests("/a");
        wait_until("an outage", || targets.n_requests("/a") >= n_scrapes + 15);
        let (dir, data) = (scraped.dir(), scraped.data_dir());
        scraped.signal("KILL");
        drop(scraped);
        let before: BTreeSet<u64> = stored(&data).into_iter().map(|value| value as u64).collect();
        damage.do_it(&data);
        receiver.answer(Answer::Stores(204));
        let scraped = Scraped::start_in(dir, &[ON_DISK]);
        let highest = targets.n_requests("/a") as f64;
        wait_until("fresh values", || receiver.values(COUNTER).iter().any(|value| *value > highest));
        let (dir, data) = (scraped.dir(), scraped.data_dir());
        assert!(scraped.stop().success());
        let after: BTreeSet<u64> = stored(&data).into_iter().map(|value| value as u64).collect();
        let arrived: BTreeSet<u64> = receiver.values(COUNTER).into_iter().map(|value| value as u64).collect();
        let lost = before.difference(&after).count();
        assert!(lost <= 2 || damage == Damage::Cut, "{damage:?}: {lost} of {}", before.len());
        assert!(arrived.is_superset(&after), "{damage:?}: {:?}", after.difference(&arrived));
        drop(dir);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Flip,
    Zeros,
    Garbage,
    Cut,
}

impl Damage {
    /// In the middle of the only segment, or at its end.
    fn do_it(self, data: &Path) {
        let segment = data.join("wal/00000000");
        let mut bytes = fs::read(&segment).unwrap();
        let middle = bytes.len() / 2;
        match self {
            Damage::Flip => bytes[middle] ^= 0x10,
            Damage::Zeros => bytes[middle..middle + 40].fill(0),
            Damage::Garbage => {
                bytes.extend((0..500_u32).map(|idx| (idx.wrapping_mul(2_654_435_761) >> 24) as u8))
            }
            Damage::Cut => bytes.truncate(middle),
        }
        fs::write(&segment, bytes).unwrap();
    }
}

#[test]
fn an_endpoint_that_is_renamed_goes_on_where_it_was() {
    let (targets, receiver) = counting();
    let arguments = ["--storage.remote.flush-deadline=1s"];
    let scraped = Scraped::start_with(&config(&targets, &receiver, FAST), &arguments);
    wait_until("first values", || !receiver.values(COUNTER).is_empty());
    receiver.answer(Answer::status(503));
    let n_scrapes = targets.n_requests("/a");
    wait_until("an outage", || targets.n_requests("/a") >= n_scrapes + 5);
    scraped.reload_with(&config(&targets, &receiver, &format!("  name: main\n{FAST}")));
    wait_until("the reload", || scraped.stderr().matches("configuration loaded").count() > 0);
    let dir = scraped.dir();
    assert!(scraped.stop().success());
    receiver.answer(Answer::Stores(204));
    let scraped = Scraped::start_in(dir, &[]);
    let highest = targets.n_requests("/a") as f64;
    wait_until("the backlog", || receiver.values(COUNTER).iter().any(|value| *value >= highest));
    assert_complete(scraped, &receiver);
}

#[test]
fn many_shards_keep_the_order_of_every_series() {
    let targets = FakeTargets::start();
    for idx in 0..8 {
        targets.set(&format!("/a{idx}"), Behaviour::Counter);
    }
    let receiver = Receiver::start();
    let jobs: String = (0..8)
        .map(|idx| {
            let address = targets.address();
            format!("- {{job_name: j{idx}, metrics_path: /a{idx}, static_configs: [{{targets: ['{address}']}}]}}\n")
        })
        .collect();
    let config = |queue: &str| {
        format!(
            "global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}\nremote_write:\n- url: {}\n  name: main\n  \
             queue_config: {{batch_send_deadline: 50ms, max_backoff: 100ms, max_samples_per_send: 7, {queue}}}\n\
             scrape_configs:\n{jobs}",
            receiver.url()
        )
    };
    let scraped = Scraped::start(&config("min_shards: 5"));
    wait_until("shards", || remote_metric(&scraped, "shards") == 5.0);
    for (answer, queue) in [
        (Answer::StoresLate(Duration::from_millis(30)), "min_shards: 2"),
        (Answer::status(503), "min_shards: 7"),
        (Answer::Stores(204), "min_shards: 1"),
    ] {
        receiver.answer(answer);
        let n_scrapes = targets.n_requests("/a0");
        wait_until("scrapes", || targets.n_requests("/a0") >= n_scrapes + 5);
        scraped.reload_with(&config(queue));
    }
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    for idx in 0..8 {
        let job = format!("job=\"j{idx}\"");
        let all = receiver.received();
        let (_, samples) =
            all.iter().find(|(labels, _)| labels.contains(COUNTER) && labels.contains(&job)).unwrap();
        let mut seen = BTreeSet::new();
        let firsts: Vec<i64> =
            samples.iter().map(|(ts_ms, _)| *ts_ms).filter(|ts_ms| seen.insert(*ts_ms)).collect();
        assert!(firsts.is_sorted(), "{job}");
        let stored = on_disk_of(&data, &format!("fake_scrapes_total{{{job}}}"));
        let mut times_ms: BTreeSet<i64> = stored.values().flatten().map(|sample| sample.0).collect();
        if is_memory_first() {
            times_ms.extend(&firsts);
        }
        assert_eq!(firsts.len(), times_ms.len(), "{job}");
    }
    drop(dir);
}

/// Bytes of a page that fills a segment of the least size within some scrapes.
const BIG_PAGE_BYTES: usize = 600_000;

fn n_segments(data: &Path) -> usize {
    let entries = fs::read_dir(data.join("wal")).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().filter(|path| path.is_file()).count()
}

#[test]
fn the_log_waits_for_an_endpoint_within_its_bounds_and_what_they_cost_is_counted() {
    let targets = FakeTargets::start();
    targets.set("/a", Behaviour::Huge(BIG_PAGE_BYTES));
    targets.set("/b", Behaviour::Counter);
    let receiver = Receiver::start();
    receiver.answer(Answer::status(503));
    let counter_job = format!(
        "- {{job_name: b, metrics_path: /b, static_configs: [{{targets: ['{}']}}]}}\n",
        targets.address()
    );
    let config = config(&targets, &receiver, &format!("  name: main\n{FAST}")) + &counter_job;
    // Time enough for a large page by an unoptimised build on a busy machine.
    let config = config.replace("scrape_interval: 100ms, scrape_timeout: 100ms", "scrape_interval: 500ms");
    let arguments = [
        "--storage.agent.wal-segment-size=1MiB",
        "--storage.agent.retention.min-time=1s",
        "--storage.agent.retention.max-bytes=4MiB",
        "--wal.fsync-interval=1s",
    ];
    let scraped = Scraped::start_with(&config, &arguments);
    let data = scraped.data_dir();
    // Older than min-time by far, and kept.
    wait_until("three segments", || n_segments(&data) >= 3);
    assert!(data.join("wal/00000000").exists());
    wait_until("the bound in bytes", || !data.join("wal/00000000").exists());
    targets.set("/a", Behaviour::Status(500));
    receiver.answer(Answer::Stores(204));
    wait_until("the loss is counted", || ledger(&scraped, "main")[6] > 0.0);
    let counted = ledger(&scraped, "main");
    assert_eq!(counted[0], counted[1..].iter().sum::<f64>(), "{counted:?}");
    assert!(scraped.stderr().contains("were removed from the log before they could be sent"));
    // Every sample that was stored is in the ledger: what is lost, and what is sent.
    // Hundreds of thousands of samples, by an unoptimised build.
    wait_for_long("all is settled", || {
        let counted = ledger(&scraped, "main");
        let n_stored = metric_sum(&scraped, "prometheus_agent_samples_appended_total");
        (counted[0] - n_stored).abs() < 100.0 && counted[2] < 100.0
    });
    let highest = targets.n_requests("/b") as f64;
    wait_until("old segments go by age alone", || !data.join("wal/00000002").exists());
    wait_until("fresh values", || receiver.values(COUNTER).last().is_some_and(|value| *value >= highest));
}
