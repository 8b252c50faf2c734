//! What an endpoint's place in the log is after restarts: it moves on however often the box is killed, stays with an
//! endpoint that is renamed, and a stop tries until its deadline.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scraped::remote::settle::position::{Positions, Remembered};
use scraped_engine::disk::RealDisk;
use support::remote::receiver::{Answer, Receiver, WRITE_PATH};
use support::remote::{QUICK_QUEUE, Series, arrived, config, missing, n_samples, on_disk, wait_until_sent};
use support::scraped::{Scraped, write_whole};
use support::targets::{Behaviour, FakeTargets};
use support::wait_until;
use tempfile::TempDir;

/// No fsync but that of the start.
const NO_FSYNC: [&str; 1] = ["--wal.fsync-interval=10m"];

const IMPATIENT: [&str; 1] = ["--storage.remote.flush-deadline=1s"];

fn counting() -> (FakeTargets, Receiver) {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    (targets, Receiver::start())
}

/// Ten scrapes a second.
fn quick(targets: &FakeTargets, receiver: &Receiver, section: &str) -> String {
    config(&targets.address(), "/metrics", &receiver.url(), section, "").replace("500ms", "100ms")
}

fn await_scrapes(targets: &FakeTargets, n: usize) {
    let n_before = targets.n_requests("/metrics");
    wait_until("scrapes", || targets.n_requests("/metrics") >= n_before + n);
}

/// Samples up to the saved position of `main`; 0 while there is none.
fn n_saved(data: &Path) -> u64 {
    match Positions::open(Arc::new(RealDisk), data).unwrap().recall("main", true) {
        Remembered::At(saved) => saved.total().taken,
        _ => 0,
    }
}

#[test]
fn a_box_that_is_killed_again_and_again_moves_on() {
    let (targets, receiver) = counting();
    let mut scraped = Scraped::start_with(&quick(&targets, &receiver, "name: main"), &NO_FSYNC);
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    let mut n_on_disk = 0;
    for _ in 0..4 {
        // What the run before has left is durable since this start, and saved a second later.
        wait_until("a saved position", || n_saved(&data) >= n_on_disk);
        await_scrapes(&targets, 10);
        scraped.signal("KILL");
        drop(scraped);
        n_on_disk = n_samples(&on_disk(&data)) as u64;
        scraped = Scraped::start_in(Arc::clone(&dir), &NO_FSYNC);
    }
    wait_until("a saved position", || n_saved(&data) >= n_on_disk);
    wait_until_sent(&data, &receiver);
    receiver.check();
}

#[test]
fn a_stop_tries_until_its_deadline() {
    let (targets, receiver) = counting();
    let scraped = Scraped::start(&quick(&targets, &receiver, "name: main"));
    wait_until("first values", || !receiver.values("fake_scrapes_total").is_empty());
    receiver.answer(Answer::status(503));
    await_scrapes(&targets, 10);
    let mut since_stop = None;
    receiver.script(move |_| {
        let start = *since_stop.get_or_insert_with(Instant::now);
        // Longer than a few tries take.
        if start.elapsed() < Duration::from_secs(3) { Answer::status(503) } else { Answer::Stores(204) }
    });
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    assert_eq!(missing(&on_disk(&data), &arrived(&receiver)), Vec::<String>::new());
    assert_eq!(n_saved(&data), n_samples(&on_disk(&data)) as u64);
    drop(dir);
}

/// Runs with `before`, stops in an outage, and starts with `after` and `path`: what the log says.
fn renamed_while_stopped(receiver: &Receiver, before: &str, after: &str, path: &str) -> String {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let scraped = Scraped::start_with(&quick(&targets, receiver, before), &IMPATIENT);
    wait_until("first values", || !receiver.values("fake_scrapes_total").is_empty());
    receiver.answer(Answer::status(503));
    await_scrapes(&targets, 10);
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    let config = quick(&targets, receiver, after).replace(WRITE_PATH, path);
    write_whole(dir.path(), "scraped.yml", &config);
    receiver.answer(Answer::Stores(204));
    let scraped = Scraped::start_in(Arc::clone(&dir), &IMPATIENT);
    wait_until_sent(&data, receiver);
    assert_eq!(receiver.state().n_duplicates, 0, "{before} {after}");
    receiver.check();
    let said = scraped.stderr();
    // And back again: the old place is not taken for the newest one.
    assert!(scraped.stop().success());
    write_whole(dir.path(), "scraped.yml", &quick(&targets, receiver, before));
    let scraped = Scraped::start_in(Arc::clone(&dir), &IMPATIENT);
    await_scrapes(&targets, 3);
    wait_until_sent(&data, receiver);
    assert_eq!(receiver.state().n_duplicates, 0, "{before} {after}");
    assert!(!scraped.stderr().contains("lost"), "{}", scraped.stderr());
    said
}

#[test]
fn an_endpoint_that_is_renamed_while_stopped_goes_on_where_it_was() {
    for (before, after) in [("", "name: main"), ("name: main", ""), ("name: main", "name: other")] {
        let receiver = Receiver::start();
        let said = renamed_while_stopped(&receiver, before, after, WRITE_PATH);
        let line = said.lines().find(|line| line.contains("its URL was known as")).unwrap_or_default();
        assert!(line.contains("it goes on where that was"), "{said}");
    }
    // The same name with another URL is the same endpoint, without a word.
    let receiver = Receiver::start();
    let said = renamed_while_stopped(&receiver, "name: main", "name: main", "/elsewhere");
    assert!(receiver.requests().iter().any(|request| request.line == "POST /elsewhere"));
    assert!(!said.contains("known as"), "{said}");
}

#[test]
fn who_of_several_was_renamed_is_not_guessed() {
    let (targets, receiver) = counting();
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
    let config = quick(&targets, &receiver, "name: one");
    let both = format!("{config}- url: {}\n  name: two\n", receiver.url());
    fs::write(dir.path().join("scraped.yml"), both).unwrap();
    let scraped = Scraped::start_in(Arc::clone(&dir), &IMPATIENT);
    wait_until("first values", || receiver.values("fake_scrapes_total").len() > 5);
    assert!(scraped.stop().success());
    let n_requests = receiver.n_requests();
    write_whole(dir.path(), "scraped.yml", &quick(&targets, &receiver, "name: three"));
    let scraped = Scraped::start_in(dir, &IMPATIENT);
    let stderr = scraped.stderr();
    let line =
        stderr.lines().find(|line| line.contains("WARN") && line.contains("three")).unwrap_or_default();
    assert!(
        line.contains("one") && line.contains("two") && line.contains("it starts at the present"),
        "{stderr}"
    );
    wait_until("fresh values", || receiver.n_requests() > n_requests);
    let first = receiver.requests()[n_requests].clone();
    let old = receiver.requests()[n_requests - 1].message.series[0].samples[0].0;
    assert!(first.message.series.iter().flat_map(|series| &series.samples).all(|sample| sample.0 > old));
}

/// What was stored of the requests with this header, duplicates among it.
fn arrived_for(receiver: &Receiver, tenant: &str) -> Series {
    let mut all = Series::new();
    let requests = receiver.requests();
    for request in requests.iter().filter(|it| it.is_stored && it.header("x-tenant") == tenant) {
        for series in &request.message.series {
            all.entry(series.key()).or_default().extend(&series.samples);
        }
    }
    all
}

#[test]
fn two_tenants_of_one_url_have_a_position_each() {
    let (targets, receiver) = counting();
    let only = quick(&targets, &receiver, "headers: {X-Tenant: one}");
    let entry = |tenant: &str, timeout: &str| {
        format!(
            "- url: {}\n  remote_timeout: {timeout}\n  queue_config: {{{QUICK_QUEUE}}}\n  headers: {{X-Tenant: \
             {tenant}}}\n",
            receiver.url()
        )
    };
    let head = only.split("- url:").next().unwrap().to_owned();
    let both = |entries: [String; 2]| format!("{head}{}", entries.concat());
    let is_refused = |request: &support::remote::receiver::Request| request.header("x-tenant") == "two";
    let scraped = Scraped::start_with(&both([entry("one", "5s"), entry("two", "5s")]), &IMPATIENT);
    let n_of = |tenant: &str| n_samples(&arrived_for(&receiver, tenant));
    wait_until("first samples of both", || n_of("one") > 0 && n_of("two") > 0);
    // From here on they are at different places.
    receiver
        .script(move |request| if is_refused(request) { Answer::status(503) } else { Answer::Stores(204) });
    await_scrapes(&targets, 10);
    // Another order, and another setting of one.
    scraped.reload_with(&both([entry("two", "6s"), entry("one", "5s")]));
    wait_until("the reload", || scraped.stderr().contains("configuration loaded"));
    let n_before = n_of("one");
    await_scrapes(&targets, 10);
    wait_until("more samples of one", || n_of("one") > n_before);
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    let whole = on_disk(&data);
    assert_eq!(missing(&whole, &arrived_for(&receiver, "one")), Vec::<String>::new());
    assert_ne!(missing(&whole, &arrived_for(&receiver, "two")), Vec::<String>::new());

    receiver.answer(Answer::Stores(204));
    let scraped = Scraped::start_in(dir, &IMPATIENT);
    await_scrapes(&targets, 5);
    let whole = on_disk(&data);
    for tenant in ["one", "two"] {
        wait_until("all samples", || missing(&whole, &arrived_for(&receiver, tenant)).is_empty());
    }
    assert!(scraped.stop().success());
    for tenant in ["one", "two"] {
        for (key, samples) in arrived_for(&receiver, tenant) {
            assert!(samples.is_sorted_by(|a, b| a.0 < b.0), "{tenant}: {key} {samples:?}");
        }
    }
}
