//! Endpoints that refuse some series, or everything: what that costs in requests, that the good samples arrive soon, and
//! that what is lost is exactly what is refused. After reports of Mimir, Cortex and Thanos (limits of series, labels that
//! are too long, samples out of order): an endpoint stores the good part of a request that it refuses, or nothing of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scraped::remote::settle::ledger::{DropReason, Ledger};
use scraped::remote::settle::position::{Positions, Remembered};
use scraped_engine::disk::RealDisk;
use support::api::metric_sum;
use support::counts::assert_accounted;
use support::remote::receiver::{Answer, Receiver, Request};
use support::remote::{arrived, config, missing, on_disk, wait_until_sent};
use support::scraped::{ON_DISK, Scraped};
use support::targets::{Behaviour, FakeTargets, page};
use support::{wait_for_long, wait_until};

const NAMED: &str = "name: main";
const LATENCY: Duration = Duration::from_millis(100);
const BAD: &str = "refused";

/// So many good series, and bad ones among them.
fn mixed(n_good: usize, n_bad: usize) -> FakeTargets {
    let good = (0..n_good).map(|idx| format!("good{{idx=\"{idx}\"}} {idx}\n"));
    let bad = (0..n_bad).map(|idx| format!("{BAD}{{idx=\"{idx}\"}} {idx}\n"));
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page(&good.chain(bad).collect::<String>())));
    targets
}

fn start(targets: &FakeTargets, receiver: &Receiver, queue: &str) -> Scraped {
    start_with(&config(&targets.address(), "/metrics", &receiver.url(), NAMED, queue))
}

/// What is refused stands on the disk, and nowhere else.
fn start_with(config: &str) -> Scraped {
    Scraped::start_with(config, &[ON_DISK])
}

fn stores_nothing() -> Answer {
    Answer::RefusesSeries(format!("__name__=\"{BAD}\""))
}

fn stores_the_rest() -> Answer {
    Answer::StoresAllBut(format!("__name__=\"{BAD}\""))
}

fn set_aside(scraped: &Scraped) -> f64 {
    metric_sum(scraped, "scraped_remote_set_aside_series")
}

fn saved_ledger(data: &Path) -> Ledger {
    match Positions::open(Arc::new(RealDisk), data).unwrap().recall("main", true) {
        Remembered::At(saved) => saved.total(),
        other => panic!("{other:?}"),
    }
}

/// Age in seconds of the newest sample that has arrived of all good series.
fn lag_seconds(receiver: &Receiver) -> f64 {
    let state = receiver.state();
    let good = state.series.iter().filter(|(key, _)| key.contains("__name__=\"good\""));
    let oldest = good.filter_map(|(_, samples)| samples.last().map(|it| it.0)).min().unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs_f64() - oldest as f64 / 1000.0
}

/// Stops the daemon: of what is on disk exactly the bad series are missing, and the ledger says so.
fn check_exact(scraped: Scraped, receiver: &Receiver, n_bad: usize) {
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    let disk = on_disk(&data);
    let gone = missing(&disk, &arrived(receiver));
    assert!(gone.iter().all(|line| line.contains(BAD)), "{gone:#?}");
    assert_eq!(gone.len(), n_bad);
    let n_of = |is_bad: bool| {
        let series = disk.iter().filter(|(key, _)| key.contains(&format!("__name__=\"{BAD}\"")) == is_bad);
        series.map(|(_, samples)| samples.len() as u64).sum::<u64>()
    };
    let mut expected = Ledger { taken: n_of(true) + n_of(false), sent: n_of(false), ..Ledger::default() };
    expected.dropped[DropReason::Rejected as usize] = n_of(true);
    assert_eq!(saved_ledger(&data), expected);
    receiver.check();
    drop(dir);
}

/// Bad series are found with so many requests at most, and cost none afterwards.
fn check_search(n_good: usize, n_bad: usize, answer: Answer, most_requests: f64) {
    let targets = mixed(n_good, n_bad);
    let receiver = Receiver::start();
    receiver.answer(Answer::After(LATENCY, Box::new(answer)));
    let scraped = start(&targets, &receiver, "");
    let start = Instant::now();
    wait_for_long("all bad series are known", || set_aside(&scraped) as usize == n_bad);
    let n_search = metric_sum(&scraped, "scraped_remote_search_requests_total");
    // A search may ask more where it takes longer, as on a busy machine.
    let most_requests = most_requests + 20.0 * (start.elapsed().as_secs_f64() - 10.0).max(0.0);
    assert!(n_search <= most_requests, "{n_search} of {most_requests} requests in {:?}", start.elapsed());
    wait_until("the good samples are not late", || lag_seconds(&receiver) < 3.0);
    // From now on a batch is a request; a busy machine may cut a scrape in pieces. A search is dozens a scrape.
    let (n_requests, n_scrapes) = (receiver.n_requests(), targets.n_requests("/metrics"));
    let start = Instant::now();
    // That nothing comes late is seen by looking for a while.
    while start.elapsed() < Duration::from_secs(3) {
        let lag = lag_seconds(&receiver);
        assert!(lag < 60.0, "{lag} s");
        thread::sleep(Duration::from_millis(100));
    }
    let n_batches = targets.n_requests("/metrics") - n_scrapes + 2;
    let n_requests = receiver.n_requests() - n_requests;
    assert!(n_requests <= 4 * n_batches, "{n_requests} requests for {n_batches} scrapes");
    let stderr = scraped.stderr();
    let told = stderr.lines().find(|line| line.contains("are dropped")).unwrap();
    assert!(told.contains(" in all since the start") && told.contains("series are set aside"), "{told}");
    check_exact(scraped, &receiver, n_bad);
}

#[test]
fn a_quarter_that_is_refused_does_not_hold_the_others_up() {
    check_search(300, 100, stores_nothing(), 800.0);
}

#[test]
fn nor_where_the_rest_of_a_refused_request_is_stored() {
    check_search(300, 100, stores_the_rest(), 800.0);
}

#[test]
fn few_bad_series_cost_few_requests() {
    check_search(300, 3, stores_nothing(), 160.0);
    check_search(1000, 1, stores_the_rest(), 80.0);
}

#[test]
fn an_endpoint_that_refuses_everything_costs_two_requests_a_batch_deadline() {
    for status in [400, 413] {
        let targets = mixed(50, 0);
        let receiver = Receiver::start();
        receiver.answer(Answer::status(status));
        let deadline = "batch_send_deadline: 1s";
        let config = config(&targets.address(), "/metrics", &receiver.url(), NAMED, "");
        let scraped = start_with(&config.replace("batch_send_deadline: 100ms", deadline));
        wait_until("a request", || receiver.n_requests() > 0);
        let first = receiver.requests()[0].at;
        // Requests that do not come: there is no event to wait for.
        thread::sleep(Duration::from_secs(8).saturating_sub(first.elapsed()));
        let n_requests = receiver.n_requests();
        let took = first.elapsed();
        assert!(
            n_requests <= 2 * (took.as_secs() as usize + 1),
            "{status}: {n_requests} requests in {took:?}"
        );
        let n_failed = metric_sum(&scraped, "prometheus_remote_storage_samples_failed_total");
        assert!(n_failed > 100.0, "{status}: {n_failed}");
        // As soon as it takes something it gets everything.
        receiver.answer(Answer::Stores(204));
        wait_until("fresh samples", || lag_seconds(&receiver) < 5.0);
        assert_eq!(set_aside(&scraped), 0.0, "no series is to blame");
        let from = receiver.n_requests();
        wait_until("more requests", || receiver.n_requests() > from + 1);
        let n_series = |request: &Request| request.message.series.len();
        assert!(receiver.requests()[from..].iter().any(|it| n_series(it) >= 50), "whole batches");
        receiver.check();
    }
}

/// However many shards there are: one of them asks, the others wait.
#[test]
fn nor_does_it_cost_more_where_there_are_many_shards() {
    for status in [400, 413] {
        let targets = mixed(400, 0);
        let receiver = Receiver::start();
        receiver.answer(Answer::status(status));
        let config = config(&targets.address(), "/metrics", &receiver.url(), NAMED, "min_shards: 8");
        let scraped = start_with(&config.replace("batch_send_deadline: 100ms", "batch_send_deadline: 1s"));
        // What nobody knows yet may cost a request a shard.
        wait_until("the first requests", || receiver.n_requests() > 8);
        let (start, n_before) = (Instant::now(), receiver.n_requests());
        // As above.
        thread::sleep(Duration::from_secs(8));
        let (took, n_requests) = (start.elapsed(), receiver.n_requests() - n_before);
        let most = 2 * (took.as_secs() as usize + 2);
        assert!(n_requests <= most && n_requests > 0, "{status}: {n_requests} requests in {took:?}");
        assert!(metric_sum(&scraped, "prometheus_remote_storage_samples_failed_total") > 100.0);
        receiver.answer(Answer::Stores(204));
        let n_good = || receiver.state().series.keys().filter(|key| key.contains("\"good\"")).count();
        wait_until("fresh samples of all", || n_good() == 400 && lag_seconds(&receiver) < 5.0);
        assert_eq!(set_aside(&scraped), 0.0, "no series is to blame");
        // What was not dropped then arrives, and each is one or the other.
        let (dir, data) = (scraped.dir(), scraped.data_dir());
        assert!(scraped.stop().success());
        let ledger = saved_ledger(&data);
        let n_arrived: usize = arrived(&receiver).values().map(Vec::len).sum();
        let n_on_disk: usize = on_disk(&data).values().map(Vec::len).sum();
        let rejected = ledger.dropped[DropReason::Rejected as usize];
        assert_eq!((ledger.sent, ledger.sent + rejected), (n_arrived as u64, n_on_disk as u64), "{ledger:?}");
        assert_eq!(receiver.state().n_duplicates, 0);
        receiver.check();
        drop(dir);
    }
}

/// After it has worked for a while: nothing of it is taken for the series' fault.
#[test]
fn an_endpoint_that_begins_to_refuse_everything_is_found_out() {
    let targets = mixed(200, 0);
    let receiver = Receiver::start();
    let scraped = start(&targets, &receiver, "");
    wait_until("samples", || receiver.state().series.len() > 200);
    receiver.answer(Answer::status(400));
    let n_before = receiver.n_requests();
    wait_until("it is given up", || {
        // Counted first: requests that come while this thread waits for its turn do not count.
        let n_requests = receiver.n_requests() - n_before;
        let is_given_up = scraped.stderr().contains("all that is sent is refused");
        assert!(is_given_up || n_requests < 100, "{n_requests}");
        is_given_up
    });
    receiver.answer(Answer::Stores(204));
    wait_until("fresh samples of all", || lag_seconds(&receiver) < 3.0);
    assert_eq!(set_aside(&scraped), 0.0);
    receiver.check();
}

#[test]
fn one_bad_sample_costs_one_sample() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let receiver = Receiver::start();
    let is_bad = |request: &Request| {
        let counter = request.message.series.iter().filter(|it| it.label("__name__") == "fake_scrapes_total");
        counter.flat_map(|it| &it.samples).any(|(_, value)| f64::from_bits(*value) == 5.0)
    };
    receiver.script(move |it| if is_bad(it) { Answer::status(400) } else { Answer::Stores(204) });
    let scraped = start(&targets, &receiver, "");
    let values = || -> BTreeSet<u64> {
        receiver.values("fake_scrapes_total").into_iter().map(|value| value as u64).collect()
    };
    wait_until("later values", || values().contains(&12));
    assert!(!values().contains(&5));
    let mut whole = arrived(&receiver);
    for (key, samples) in on_disk(&scraped.data_dir()) {
        whole.entry(key).or_default().extend(samples.into_iter().filter(|it| it.1 == 5_f64.to_bits()));
    }
    whole.values_mut().for_each(|samples| samples.sort_unstable());
    assert_accounted(&whole, "");
    assert_eq!(metric_sum(&scraped, "prometheus_remote_storage_samples_failed_total"), 1.0);
    assert_eq!(set_aside(&scraped), 0.0);
    receiver.check();
}

#[test]
fn a_series_that_is_welcome_again_comes_back() {
    let targets = mixed(20, 12);
    let receiver = Receiver::start();
    receiver.answer(stores_nothing());
    let scraped = start(&targets, &receiver, "");
    wait_until("the bad series are known", || set_aside(&scraped) == 12.0);
    let known = Instant::now();
    receiver.answer(Answer::Stores(204));
    // Nothing happens for a while.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(set_aside(&scraped), 12.0, "not asked for all the time");
    wait_for_long("all are back", || set_aside(&scraped) == 0.0);
    assert!(known.elapsed() > Duration::from_secs(20), "{:?}", known.elapsed());
    let bad = |key: &&String| key.contains(&format!("__name__=\"{BAD}\""));
    wait_until("samples of all", || receiver.state().series.keys().filter(bad).count() == 12);
    receiver.check();
}

#[test]
fn a_change_of_the_section_forgets_what_was_refused() {
    let targets = mixed(20, 2);
    let receiver = Receiver::start();
    receiver.answer(stores_nothing());
    let config = config(&targets.address(), "/metrics", &receiver.url(), NAMED, "");
    let scraped = start_with(&config);
    wait_until("the bad series are known", || set_aside(&scraped) == 2.0);
    receiver.answer(Answer::Stores(204));
    scraped.reload_with(&config.replace("remote_timeout: 5s", "remote_timeout: 6s"));
    let bad = |key: &&String| key.contains(&format!("__name__=\"{BAD}\""));
    wait_until("samples of both", || receiver.state().series.keys().filter(bad).count() == 2);
    assert_eq!(set_aside(&scraped), 0.0);
}

#[test]
fn a_size_that_was_too_large_is_remembered() {
    const MAX_BYTES: usize = 2000;
    let targets = mixed(600, 0);
    let receiver = Receiver::start();
    receiver.script(|request| match request.body.len() > MAX_BYTES {
        true => Answer::status(413),
        false => Answer::Stores(204),
    });
    let scraped = start(&targets, &receiver, "");
    wait_until("all series", || receiver.state().series.len() > 600);
    wait_until("the bound is shown", || metric_sum(&scraped, "scraped_remote_max_request_bytes") > 0.0);
    let n_scrapes = targets.n_requests("/metrics");
    let n_before = receiver.n_requests();
    wait_until("more scrapes", || targets.n_requests("/metrics") > n_scrapes + 6);
    let n_too_large = receiver.requests()[n_before..].iter().filter(|it| it.body.len() > MAX_BYTES).count();
    assert!(n_too_large <= 3, "{n_too_large}");
    wait_until_sent(&scraped.data_dir(), &receiver);
    check_exact(scraped, &receiver, 0);
}

#[test]
fn a_sample_that_is_too_large_by_itself_is_dropped_and_counted() {
    // Knuth's generator: what repeats would be packed.
    let mut state = 1_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + ((state >> 33) % 26) as u8)
    };
    let long: String = (0..60_000).map(|_| letter()).collect();
    let targets = FakeTargets::start();
    let good: String = (0..100).map(|idx| format!("good{{idx=\"{idx}\"}} {idx}\n")).collect();
    let content = format!("{good}{BAD}{{long=\"{long}\"}} 1\n");
    targets.set("/metrics", Behaviour::Healthy(page(&content)));
    let receiver = Receiver::start();
    receiver.script(|request| match request.body.len() > 20_000 {
        true => Answer::status(413),
        false => Answer::Stores(204),
    });
    let scraped = start(&targets, &receiver, "");
    wait_until("it is known", || set_aside(&scraped) == 1.0);
    wait_until("the good samples", || lag_seconds(&receiver) < 3.0);
    let n_before = receiver.n_requests();
    wait_until("more requests", || receiver.n_requests() > n_before + 5);
    let requests = receiver.requests();
    assert!(
        requests[n_before..].iter().any(|it| it.message.series.len() > 100),
        "requests are not made small"
    );
    check_exact(scraped, &receiver, 1);
}
