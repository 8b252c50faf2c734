//! Metadata of families by remote write 1.0: what is sent how often, and what happens when the endpoint does not want it.

use std::collections::BTreeSet;
use std::time::Duration;

use support::api::metric_sum;
use support::remote::config;
use support::remote::message::Metadata;
use support::remote::receiver::{Answer, Receiver, Request};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

const OFTEN: &str = "metadata_config: {send_interval: 200ms, max_samples_per_send: 2}";

const PAGE: &str = "# HELP a_total Counts\\\\ \\n things.\n# TYPE a_total counter\na_total 1\n\
                    # TYPE b gauge\nb 2\n# HELP c Says \"hi\".\nc 3\n\
                    # HELP d Takes.\n# TYPE d histogram\nd_bucket{le=\"+Inf\"} 1\nd_sum 1\nd_count 1\n\
                    # HELP e Was.\n# TYPE e summary\ne_sum 1\ne_count 1\n";

fn family(name: &str, kind: u64, help: &str) -> Metadata {
    Metadata { family: name.to_owned(), kind, help: help.to_owned(), unit: String::new() }
}

fn all() -> [Metadata; 5] {
    [
        family("a_total", 1, "Counts\\ \n things."),
        family("b", 2, ""),
        family("c", 0, "Says \"hi\"."),
        family("d", 3, "Takes."),
        family("e", 5, "Was."),
    ]
}

struct Fixture {
    targets: FakeTargets,
    receiver: Receiver,
    scraped: Scraped,
}

impl Fixture {
    fn start(section: &str, prepare: impl FnOnce(&Receiver)) -> Self {
        let targets = FakeTargets::start();
        targets.set("/metrics", Behaviour::Healthy(page(PAGE)));
        let receiver = Receiver::start();
        prepare(&receiver);
        let config = config(&targets.address(), "/metrics", &receiver.url(), section, "");
        // Two jobs with the same families.
        let job = config
            .lines()
            .skip_while(|line| !line.starts_with("- job_name"))
            .take_while(|line| *line != "remote_write:");
        let second: String = job.map(|line| format!("{line}\n")).collect::<String>().replace("fake", "again");
        let config = config.replace("remote_write:\n", &format!("{second}remote_write:\n"));
        Self { targets, receiver, scraped: Scraped::start(&config) }
    }

    /// Requests with metadata in them.
    fn requests(&self) -> Vec<Request> {
        let all = self.receiver.requests();
        all.into_iter().filter(|request| !request.message.metadata.is_empty()).collect()
    }

    fn metric(&self, name: &str) -> f64 {
        let name = format!("prometheus_remote_storage_metadata_{name}");
        metric_sum(&self.scraped, &name)
    }
}

#[test]
fn every_family_is_sent_once_a_round_in_requests_of_their_own() {
    let fixture = Fixture::start(OFTEN, |_| {});
    wait_until("all families, twice", || {
        let families = &fixture.receiver.state().families;
        all().iter().all(|family| families.iter().filter(|it| *it == family).count() >= 2)
    });
    let requests = fixture.requests();
    for request in &requests {
        assert!(request.message.series.is_empty(), "{request:?}");
        assert!(request.message.metadata.len() <= 2, "{request:?}");
        assert_eq!(request.header("x-prometheus-remote-write-version"), "0.1.0");
        assert_eq!(request.header("content-type"), "application/x-protobuf");
    }
    // Both targets have the families, and a round has each once, in order of name.
    let names: Vec<String> =
        requests.iter().flat_map(|it| it.message.metadata.iter().map(|it| it.family.clone())).collect();
    let is_whole = |round: &[String]| round == ["a_total", "b", "c", "d", "e"];
    assert!(names.windows(5).any(is_whole), "{names:?}");
    let distinct: BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), 5, "{names:?}");
    wait_until("all of them are counted", || fixture.metric("total") >= 10.0);
    assert!(fixture.metric("bytes_total") > 0.0);
    assert_eq!((fixture.metric("failed_total"), fixture.metric("retried_total")), (0.0, 0.0));
    // What changes is sent as it is now.
    let changed = "# HELP a_total Other.\n# TYPE a_total gauge\na_total 1\n";
    fixture.targets.set("/metrics", Behaviour::Healthy(page(changed)));
    wait_until("the new type", || {
        fixture.receiver.state().families.contains(&family("a_total", 2, "Other."))
    });
    fixture.receiver.check();
}

#[test]
fn metadata_is_tried_again_and_never_keeps_samples_waiting() {
    let is_metadata = |request: &Request| request.message.series.is_empty();
    let fixture = Fixture::start(OFTEN, |receiver| {
        receiver.script(move |it| if is_metadata(it) { Answer::status(503) } else { Answer::Stores(204) });
    });
    wait_until("tries", || fixture.metric("retried_total") >= 4.0 && fixture.requests().len() >= 3);
    let tries = fixture.requests();
    let attempt = |request: &Request| request.header("retry-attempt").to_owned();
    assert_eq!([attempt(&tries[0]), attempt(&tries[1]), attempt(&tries[2])], ["", "1", "2"]);
    assert_eq!(tries[0].body, tries[1].body);
    let n_before = fixture.receiver.samples("b", "job=\"fake\"").len();
    wait_until("samples", || fixture.receiver.samples("b", "job=\"fake\"").len() > n_before);
    assert_eq!(fixture.metric("total"), 0.0);
    // Refused: counted, and the next request is tried.
    fixture
        .receiver
        .script(move |it| if is_metadata(it) { Answer::status(400) } else { Answer::Stores(204) });
    wait_until("refusals", || fixture.metric("failed_total") >= 5.0);
    fixture.receiver.answer(Answer::Stores(204));
    wait_until("metadata", || fixture.metric("total") >= 5.0);
    assert!(fixture.scraped.stderr().contains("metadata cannot be sent"), "{}", fixture.scraped.stderr());
    fixture.receiver.check();
}

#[test]
fn a_stop_does_not_wait_for_metadata() {
    let fixture = Fixture::start(OFTEN, |receiver| {
        receiver.script(|it| if it.message.series.is_empty() { Answer::Hangs } else { Answer::Stores(204) });
    });
    wait_until("a request that hangs", || !fixture.requests().is_empty());
    let start = std::time::Instant::now();
    assert!(fixture.scraped.stop().success());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn no_metadata_with_send_false_or_2_0() {
    let v2 = "protobuf_message: io.prometheus.write.v2.Request\n";
    for section in ["metadata_config: {send: false, send_interval: 50ms}", &format!("{v2}{OFTEN}")] {
        let fixture = Fixture::start(section, |_| {});
        wait_until("samples", || fixture.receiver.n_requests() >= 5);
        assert!(fixture.requests().is_empty(), "{section}");
        assert!(fixture.receiver.state().families.is_empty(), "{section}");
        fixture.receiver.check();
    }
}

#[test]
fn metadata_is_sent_after_a_fall_back_to_1_0() {
    let v2 = "protobuf_message: io.prometheus.write.v2.Request\n";
    let fixture = Fixture::start(&format!("{v2}{OFTEN}"), |receiver| {
        receiver.script(|request| {
            match request.header("x-prometheus-remote-write-version").starts_with('2') {
                true => Answer::status(415),
                false => Answer::Stores(204),
            }
        });
    });
    wait_until("all families", || {
        let families = &fixture.receiver.state().families;
        all().iter().all(|family| families.contains(family))
    });
    fixture.receiver.check();
}
