//! What a remote write sender has to do, after the requirements of Prometheus' public compliance suite: headers, labels,
//! values and timestamps of the requests, which answers are final, when and how it tries again.
//!
//! The receiver decodes with the tests' own decoder and refuses unsorted, repeated and empty labels in every request.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::remote::message::key;
use support::remote::receiver::{Answer, Receiver, Request, WRITE_PATH};
use support::remote::{STALE_BITS, config, on_disk, wait_until_sent};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

const V2: &str = "protobuf_message: io.prometheus.write.v2.Request";

/// A target with a page, an endpoint, and the daemon between them.
struct Fixture {
    targets: FakeTargets,
    receiver: Receiver,
    scraped: Scraped,
}

impl Fixture {
    fn start(content: &str, section: &str, queue: &str) -> Self {
        Self::start_with(content, section, queue, |_| {}, str::to_owned)
    }

    /// `prepare` is called before the first request can come; `change` changes the configuration.
    fn start_with(
        content: &str,
        section: &str,
        queue: &str,
        prepare: impl FnOnce(&Receiver),
        change: impl FnOnce(&str) -> String,
    ) -> Self {
        let targets = FakeTargets::start();
        targets.set("/metrics", Behaviour::Healthy(page(content)));
        let receiver = Receiver::start();
        prepare(&receiver);
        let config = config(&targets.address(), "/metrics", &receiver.url(), section, queue);
        let scraped = Scraped::start(&change(&config));
        Self { targets, receiver, scraped }
    }

    /// A start whose endpoint answers with `answer`.
    fn start_answering(answer: Answer, section: &str, queue: &str) -> Self {
        Self::start_with("test_metric 42\n", section, queue, |it| it.answer(answer), str::to_owned)
    }

    fn await_requests(&self, n: usize) {
        wait_until("requests", || self.receiver.n_requests() >= n);
    }

    /// The bits of the values that arrived of the series that holds this text.
    fn bits(&self, name: &str, label: &str) -> BTreeSet<u64> {
        wait_until(name, || !self.receiver.samples(name, label).is_empty());
        self.receiver.samples(name, label).into_iter().map(|(_, value)| value.to_bits()).collect()
    }

    fn check_value(&self, name: &str, value: f64) {
        assert_eq!(self.bits(name, ""), BTreeSet::from([value.to_bits()]), "{name}");
    }
}

fn requests(receiver: &Receiver) -> Vec<Request> {
    receiver.state().requests.clone()
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

#[test]
fn headers_are_those_of_the_specification() {
    for (section, content_type, version) in [
        ("", "application/x-protobuf", "0.1.0"),
        (V2, "application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
    ] {
        let section = format!("{section}\nheaders: {{X-Tenant: somebody}}");
        let fixture = Fixture::start("test_metric 42\n", &section, "");
        fixture.await_requests(3);
        for request in requests(&fixture.receiver) {
            assert_eq!(request.line, format!("POST {WRITE_PATH}"));
            assert_eq!(request.header("content-encoding"), "snappy");
            assert_eq!(request.header("content-type"), content_type);
            assert_eq!(request.header("x-prometheus-remote-write-version"), version);
            assert!(request.header("user-agent").starts_with("scraped/"), "{request:?}");
            assert_eq!(request.header("x-tenant"), "somebody");
            assert_eq!(request.header("retry-attempt"), "", "{request:?}");
            let framed = [0xff, 0x06, 0x00, 0x00, 0x73, 0x4e, 0x61, 0x50, 0x50, 0x59];
            assert!(!request.body.starts_with(&framed), "a block of snappy, not a stream");
            assert!(request.message.n_samples() > 0);
            // 2.0: texts stand in the request once.
            let symbols = &request.message.symbols;
            assert_eq!(symbols.iter().collect::<BTreeSet<_>>().len(), symbols.len(), "{symbols:?}");
        }
        assert_eq!(fixture.receiver.n_connections(), 1, "the connection is kept");
        fixture.receiver.check();
    }
}

#[test]
fn values_arrive_bit_by_bit() {
    let content = "a_float 123.45\nan_int 42\na_zero 0\na_minus -15.5\na_minus_zero -0.0\nan_inf +Inf\n\
                   a_minus_inf -Inf\na_nan NaN\na_huge 1.7976931348623157e308\na_tiny 5e-324\na_small 0.000123\n";
    for section in ["", V2] {
        let fixture = Fixture::start(content, section, "");
        fixture.check_value("a_float", 123.45);
        fixture.check_value("an_int", 42.0);
        fixture.check_value("a_zero", 0.0);
        fixture.check_value("a_minus", -15.5);
        fixture.check_value("a_minus_zero", -0.0);
        fixture.check_value("an_inf", f64::INFINITY);
        fixture.check_value("a_minus_inf", f64::NEG_INFINITY);
        fixture.check_value("a_huge", f64::MAX);
        fixture.check_value("a_tiny", 5e-324);
        fixture.check_value("a_small", 0.000_123);
        // A real NaN is not a staleness marker.
        assert_eq!(fixture.bits("a_nan", ""), BTreeSet::from([0x7ff8_0000_0000_0001]));
        fixture.receiver.check();
    }
}

#[test]
fn every_series_has_its_job_and_instance_and_a_target_its_report() {
    let fixture = Fixture::start("test_metric 42\n", "", "");
    fixture.check_value("up", 1.0);
    fixture.check_value("scrape_samples_scraped", 1.0);
    let address = fixture.targets.address();
    for key in fixture.receiver.state().series.keys() {
        assert!(key.ends_with(&format!("instance=\"{address}\",job=\"fake\"}}")), "{key}");
    }
    let now_ms = now_ms();
    for (ts_ms, _) in fixture.receiver.samples("test_metric", "") {
        assert!((now_ms - ts_ms).abs() < 300_000, "{ts_ms} at {now_ms}");
    }
    fixture.receiver.check();
}

#[test]
fn labels_are_sorted_and_kept_as_they_are() {
    let long = "x".repeat(10_000);
    let name = format!("a_name_{}", "long".repeat(50));
    let content = format!(
        "sorted{{zzz=\"3\",aaa=\"1\",Bbb=\"2\"}} 1\nunicode{{emoji=\"🚀\",chinese=\"测试\"}} 2\n\
         special{{path=\"/api/v1\",query=\"a=b&c=d\",quote=\"\\\"\",slash=\"\\\\\",line=\"\\n\"}} 3\n\
         an_empty{{empty=\"\"}} 4\nvalid:name:rule 5\n{name}{{large=\"{long}\"}} 6\n"
    );
    for section in ["", V2] {
        let fixture = Fixture::start(&content, section, "");
        let address = fixture.targets.address();
        let check = |labels: &[(&str, &str)], value: f64| {
            let mut labels = [labels, &[("instance", &address), ("job", "fake")]].concat();
            labels.sort();
            let key = key(&labels);
            wait_until(&key, || fixture.receiver.state().series.contains_key(&key));
            let samples = fixture.receiver.state().series[&key].clone();
            assert!(samples.iter().all(|(_, bits)| *bits == f64::to_bits(value)), "{key}: {samples:?}");
        };
        check(&[("__name__", "sorted"), ("aaa", "1"), ("zzz", "3"), ("Bbb", "2")], 1.0);
        check(&[("__name__", "unicode"), ("emoji", "🚀"), ("chinese", "测试")], 2.0);
        let path = [("path", "/api/v1"), ("query", "a=b&c=d")];
        let escaped = [("__name__", "special"), ("quote", "\""), ("slash", "\\"), ("line", "\n")];
        check(&[&path[..], &escaped[..]].concat(), 3.0);
        check(&[("__name__", "an_empty")], 4.0);
        check(&[("__name__", "valid:name:rule")], 5.0);
        check(&[("__name__", &name), ("large", &long)], 6.0);
        fixture.receiver.check();
    }
}

#[test]
fn external_labels_are_added_where_a_series_has_none_of_that_name() {
    let change = |config: &str| {
        config.replacen("global:\n", "global:\n  external_labels: {region: here, zone: z, aa: first}\n", 1)
    };
    let content = "plain 1\nits_own{region=\"there\"} 2\n";
    let fixture = Fixture::start_with(content, V2, "", |_| {}, change);
    let address = fixture.targets.address();
    let labels = |name, region| {
        let common = [("aa", "first"), ("instance", address.as_str()), ("job", "fake")];
        key(&[&[("__name__", name)][..], &common, &[("region", region), ("zone", "z")]].concat())
    };
    let (plain, its_own) = (labels("plain", "here"), labels("its_own", "there"));
    for key in [plain, its_own] {
        wait_until(&key, || fixture.receiver.state().series.contains_key(&key));
    }
    fixture.receiver.check();
    let local = on_disk(&fixture.scraped.data_dir());
    assert!(local.keys().all(|key| !key.contains("zone=")), "only the endpoint sees them");
}

#[test]
fn write_relabelling_sees_external_labels_and_drops_and_renames() {
    let rules = "write_relabel_configs:\n- {source_labels: [__name__, zone], regex: 'dropped;z', action: drop}\n\
                 - {source_labels: [__name__], regex: 'old_(.*)', target_label: __name__, replacement: 'new_$1'}\n\
                 - {regex: zone, action: labeldrop}";
    let change = |config: &str| config.replacen("global:\n", "global:\n  external_labels: {zone: z}\n", 1);
    let fixture = Fixture::start_with("dropped 1\nold_name 2\nkept 3\n", rules, "", |_| {}, change);
    fixture.check_value("new_name", 2.0);
    fixture.check_value("kept", 3.0);
    for key in fixture.receiver.state().series.keys() {
        assert!(!key.contains("dropped") && !key.contains("old_") && !key.contains("zone="), "{key}");
    }
    fixture.receiver.check();
}

#[test]
fn a_series_that_goes_ends_with_a_staleness_marker() {
    for section in ["", V2] {
        let fixture = Fixture::start("stays 1\ngoes 2\n", section, "");
        fixture.check_value("goes", 2.0);
        fixture.targets.set("/metrics", Behaviour::Healthy(page("stays 1\n")));
        wait_until("a marker", || fixture.bits("goes", "").contains(&STALE_BITS));
        assert!(!fixture.bits("stays", "").contains(&STALE_BITS));
        // The target itself.
        fixture.targets.set("/metrics", Behaviour::Status(500));
        wait_until("a marker", || fixture.bits("stays", "").contains(&STALE_BITS));
        wait_until("up 0", || fixture.bits("up", "").contains(&0.0_f64.to_bits()));
        let goes = fixture.receiver.samples("goes", "");
        let n_markers = goes.iter().filter(|(_, value)| value.to_bits() == STALE_BITS).count();
        assert_eq!(n_markers, 1, "{goes:?}");
        assert_eq!(goes.last().unwrap().1.to_bits(), STALE_BITS, "the last one");
        fixture.receiver.check();
    }
}

#[test]
fn labels_and_timestamps_of_the_page_are_honoured_as_configured() {
    let ts_ms = now_ms() - 10_000;
    let content = format!("timed{{job=\"theirs\",instance=\"theirs\"}} 7 {ts_ms}\n");
    let honoured = Fixture::start_with(
        &content,
        "",
        "",
        |_| {},
        |config| config.replace("  metrics_path", "  honor_labels: true\n  metrics_path"),
    );
    wait_until("timed", || !honoured.receiver.samples("timed", "").is_empty());
    assert_eq!(honoured.receiver.samples("timed", r#"instance="theirs",job="theirs"}"#), [(ts_ms, 7.0)]);
    let ours = Fixture::start_with(
        &content,
        "",
        "",
        |_| {},
        |config| config.replace("  metrics_path", "  honor_timestamps: false\n  metrics_path"),
    );
    wait_until("timed", || ours.receiver.samples("timed", r#"exported_job="theirs""#).len() > 1);
    let samples = ours.receiver.samples("timed", r#"exported_instance="theirs""#);
    assert!(samples.iter().all(|sample| sample.0 > ts_ms), "{samples:?}");
    for fixture in [honoured, ours] {
        fixture.receiver.check();
    }
}

#[test]
fn batches_hold_many_series_and_no_more_than_they_may() {
    let content: String = (0..2500).map(|idx| format!("many{{idx=\"{idx}\"}} {idx}\n")).collect();
    for (queue, limit) in [("", 2000), ("max_samples_per_send: 100", 100)] {
        let fixture = Fixture::start(&content, V2, queue);
        wait_until("all series", || fixture.receiver.state().series.len() >= 2500);
        let sizes: Vec<usize> =
            requests(&fixture.receiver).iter().map(|request| request.message.n_samples()).collect();
        assert!(sizes.iter().all(|n_samples| *n_samples <= limit), "{sizes:?}");
        assert!(sizes.contains(&limit), "{sizes:?}");
        fixture.receiver.check();
    }
}

#[test]
fn success_is_any_2xx_and_sent_once() {
    for (status, section) in [(200, ""), (204, ""), (202, ""), (200, V2), (204, V2)] {
        let fixture = Fixture::start_answering(Answer::Stores(status), section, "");
        fixture.await_requests(4);
        assert_eq!(fixture.receiver.state().n_duplicates, 0, "{status}");
        assert_eq!(fixture.receiver.n_connections(), 1, "{status}");
        fixture.receiver.check();
    }
}

#[test]
fn a_refusal_is_final_and_its_words_are_told() {
    for (status, queue) in [(400, ""), (409, ""), (413, ""), (422, ""), (429, "retry_on_http_429: false")] {
        let fixture = Fixture::start_answering(Answer::status(status), "", queue);
        // Batches that come later are tried: the sender goes on.
        wait_until("a second batch", || {
            let requests = requests(&fixture.receiver);
            let newest = |request: &Request| request.message.series[0].samples[0].0;
            requests.first().is_some_and(|first| requests.iter().any(|it| newest(it) > newest(first)))
        });
        for request in requests(&fixture.receiver) {
            assert_eq!(request.header("retry-attempt"), "", "{status} is not tried again");
        }
        // Parts of a refused batch may be tried, but each sample alone no more than once.
        let mut alone = BTreeSet::new();
        for request in requests(&fixture.receiver) {
            let message = &request.message;
            if message.n_samples() == 1 {
                let series = &message.series[0];
                assert!(alone.insert((series.key(), series.samples[0].0)), "{status}: {series:?}");
            }
        }
        let said = format!("status {status} on purpose");
        wait_until("the log", || fixture.scraped.stderr().contains(&said));
        fixture.receiver.answer(Answer::Stores(204));
        fixture.check_value("test_metric", 42.0);
        fixture.receiver.check();
    }
}

#[test]
fn what_may_pass_is_tried_again_with_a_count_until_it_works() {
    let cases = [
        (Answer::status(500), ""),
        (Answer::status(502), ""),
        (Answer::status(503), ""),
        (Answer::status(504), ""),
        (Answer::status(599), ""),
        (Answer::status(429), "retry_on_http_429: true"),
        (Answer::status(503), "retry_on_http_429: true"),
    ];
    for (answer, queue) in cases {
        let fixture = Fixture::start_answering(answer.clone(), "", queue);
        fixture.await_requests(5);
        fixture.receiver.answer(Answer::Stores(204));
        wait_until_sent(&fixture.scraped.data_dir(), &fixture.receiver);
        let requests = requests(&fixture.receiver);
        let attempts: Vec<&str> = requests.iter().map(|request| request.header("retry-attempt")).collect();
        assert_eq!(attempts[..4], ["", "1", "2", "3"], "{answer:?}");
        assert!(requests[..4].windows(2).all(|pair| pair[0].body == pair[1].body), "the same again");
        // Each pause is at least twice the one before, from 30 ms up to 250 ms.
        for (pair, least_ms) in requests[..5].windows(2).zip([30, 60, 120, 240]) {
            let pause = pair[1].at.duration_since(pair[0].at);
            assert!(pause >= Duration::from_millis(least_ms), "{pause:?} where {least_ms} ms are due");
        }
        assert_eq!(fixture.receiver.state().n_duplicates, 0);
        fixture.receiver.check();
    }
}

#[test]
fn an_endpoint_is_left_alone_for_as_long_as_it_asks() {
    for (status, queue) in [(503, ""), (429, "retry_on_http_429: true")] {
        let fixture = Fixture::start_answering(Answer::retry_after(status, "2"), "", queue);
        fixture.await_requests(3);
        let requests = requests(&fixture.receiver);
        for pair in requests[..3].windows(2) {
            let pause = pair[1].at.duration_since(pair[0].at);
            assert!(pause >= Duration::from_millis(1950), "{status}: {pause:?}");
        }
        fixture.receiver.check();
    }
}

#[test]
fn an_endpoint_without_2_0_gets_1_0_and_it_is_said() {
    let fixture = Fixture::start_with(
        "test_metric 42\n",
        V2,
        "",
        |receiver| {
            receiver.script(|request| match request.header("x-prometheus-remote-write-version") {
                "2.0.0" => Answer::status(415),
                _ => Answer::Stores(204),
            });
        },
        str::to_owned,
    );
    fixture.await_requests(4);
    wait_until_sent(&fixture.scraped.data_dir(), &fixture.receiver);
    let requests = requests(&fixture.receiver);
    let versions: Vec<&str> =
        requests.iter().map(|request| request.header("x-prometheus-remote-write-version")).collect();
    assert_eq!(versions[0], "2.0.0");
    assert!(versions[1..].iter().all(|version| *version == "0.1.0"), "{versions:?}");
    let stderr = fixture.scraped.stderr();
    assert!(stderr.contains("2.0") && stderr.contains("415"), "{stderr}");
    fixture.receiver.check();
}

#[test]
fn nobody_there_and_nobody_yet_are_waited_for() {
    let address = support::scraped::free_address();
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let url = format!("http://{address}{WRITE_PATH}");
    let scraped = Scraped::start(&config(&targets.address(), "/metrics", &url, "", ""));
    wait_until("scrapes", || targets.n_requests("/metrics") > 3);
    wait_until("the log", || scraped.stderr().contains("connection refused"));
    let start = Instant::now();
    let receiver = Receiver::start_on(&address);
    wait_until_sent(&scraped.data_dir(), &receiver);
    let values: Vec<f64> =
        receiver.samples("fake_scrapes_total", "").into_iter().map(|(_, value)| value).collect();
    assert_eq!(values[..3], [1.0, 2.0, 3.0], "from the first one on");
    assert!(start.elapsed() < support::PATIENCE);
    receiver.check();
}

#[test]
fn failed_requests_of_2_0_are_logged_where_that_is_asked_for() {
    for (section, is_logged) in [
        (format!("{V2}\nfailed_request_logging: true"), true),
        ("failed_request_logging: true".to_owned(), false),
        (V2.to_owned(), false),
    ] {
        let targets = FakeTargets::start();
        targets.set("/metrics", Behaviour::Healthy(page("test_metric{site=\"a\"} 42\n")));
        let receiver = Receiver::start();
        receiver.answer(Answer::status(503));
        let config = config(&targets.address(), "/metrics", &receiver.url(), &section, "");
        let scraped = Scraped::start_with(&config, &["--log.level=debug"]);
        wait_until("tries", || receiver.n_requests() >= 3);
        let stderr = scraped.stderr();
        let line = stderr.lines().find(|line| line.contains("failed to send a remote write 2.0 request"));
        assert_eq!(line.is_some(), is_logged, "{section}: {stderr}");
        if let Some(line) = line {
            for part in ["503", "level=DEBUG", "test_metric", "42 @"] {
                assert!(line.contains(part), "{part}: {line}");
            }
        }
    }
}
