//! An endpoint that takes samples out of order, with `in_order: false`: after an outage the newest come first and the
//! backlog beside them, all of it once, and the log says when this begins and ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use scraped::remote::settle::ledger::Ledger;
use scraped::remote::settle::position::{Positions, Remembered};
use scraped::remote::settle::progress::Saved;
use scraped_engine::disk::RealDisk;
use support::api::metric;
use support::remote::receiver::{Answer, Receiver, Script};
use support::remote::{arrived, committed, config, missing, n_samples, wait_until_sent};
use support::scraped::{ON_DISK, Scraped};
use support::targets::{Behaviour, FakeTargets};
use support::wait_until;

const NAMED: &str = "name: main";

/// One shard whose queue holds little, so that nearly all that an outage leaves is read from the log later.
const NEWEST_FIRST: &str = "in_order: false, capacity: 20, max_samples_per_send: 20, max_shards: 1";

/// What a scrape makes: the counter, `up` and four of its kind.
const SCRAPE_SAMPLES: usize = 6;

/// A record is backlog when it is older than this.
const FRESH_SCRAPES: usize = 20;

fn counting() -> (FakeTargets, Receiver) {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let receiver = Receiver::start();
    receiver.state().takes_any_order = true;
    (targets, receiver)
}

/// Ten scrapes a second.
fn quick(targets: &FakeTargets, receiver: &Receiver, queue: &str) -> String {
    let text = config(&targets.address(), "/metrics", &receiver.url(), NAMED, queue);
    // An answer that a busy machine gives late is not asked for again.
    text.replace("500ms", "100ms").replace("remote_timeout: 5s", "remote_timeout: 60s")
}

fn await_scrapes(targets: &FakeTargets, n: usize) {
    let n_before = targets.n_requests("/metrics");
    wait_until("scrapes", || targets.n_requests("/metrics") >= n_before + n);
}

fn saved(data: &Path) -> Saved {
    match Positions::open(Arc::new(RealDisk), data).unwrap().recall("main", true) {
        Remembered::At(saved) => saved,
        other => panic!("{other:?}"),
    }
}

/// Stops the daemon: all that is on disk has arrived, is in the ledger once, and one position is left.
fn check_all_sent(scraped: Scraped, receiver: &Receiver) {
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    let disk = committed(&data, receiver);
    assert_eq!(missing(&disk, &arrived(receiver)), Vec::<String>::new());
    let n_samples = n_samples(&disk) as u64;
    let ledger = Ledger { taken: n_samples, sent: n_samples, ..Ledger::default() };
    let saved = saved(&data);
    assert_eq!((saved.total(), saved.ahead), (ledger, Vec::new()));
    receiver.check();
    drop(dir);
}

#[test]
fn after_an_outage_the_newest_come_first_and_the_backlog_beside_them() {
    let (targets, receiver) = counting();
    let scraped = Scraped::start_with(&quick(&targets, &receiver, NEWEST_FIRST), &[ON_DISK]);
    wait_until("first values", || !receiver.values("fake_scrapes_total").is_empty());
    assert!(!scraped.stderr().contains("newest samples are sent first"));
    receiver.answer(Answer::status(503));
    await_scrapes(&targets, 3 * FRESH_SCRAPES);
    let at_recovery = targets.n_requests("/metrics") as f64;
    // 20 samples, three scrapes, a request: the link is slower than the disk.
    receiver.answer(Answer::StoresLate(Duration::from_millis(50)));
    wait_until("a fresh value", || receiver.values("fake_scrapes_total").iter().any(|it| *it > at_recovery));
    wait_until_sent(&scraped.data_dir(), &receiver);
    let values = receiver.values("fake_scrapes_total");
    let first_fresh = values.iter().position(|value| *value > at_recovery).unwrap();
    let n_old_behind = values[first_fresh..].iter().filter(|value| **value <= at_recovery).count();
    assert!(
        n_old_behind >= FRESH_SCRAPES / 2,
        "{n_old_behind} of the backlog behind {first_fresh}: {values:?}"
    );
    // The backlog does not wait until nothing else is to be sent.
    let last_old = values.iter().rposition(|value| *value <= at_recovery).unwrap();
    let n_fresh_between = values[first_fresh..last_old].iter().filter(|value| **value > at_recovery).count();
    assert!(n_fresh_between >= 2, "{values:?}");
    wait_until("the end is told", || scraped.stderr().contains("the backlog is sent"));
    assert_eq!(scraped.stderr().matches("newest samples are sent first").count(), 1, "{}", scraped.stderr());
    assert_eq!(receiver.state().n_duplicates, 0);
    check_all_sent(scraped, &receiver);
}

/// Ends after an outage as soon as something fresh has been stored, and starts again: what it had stored ahead of the
/// backlog is remembered. Sent again are only the scrapes that had been stored in part when the endpoint went away once
/// more, at most one in each part of the log that is sent beside others. Returns how many samples that is.
fn restart_in_the_middle(queue: &str, script: impl FnOnce(f64) -> Script) -> usize {
    let (targets, receiver) = counting();
    let arguments = ["--wal.fsync-interval=1s", "--storage.remote.flush-deadline=1s"];
    let scraped = Scraped::start_with(&quick(&targets, &receiver, queue), &arguments);
    wait_until("first values", || !receiver.values("fake_scrapes_total").is_empty());
    receiver.answer(Answer::status(503));
    await_scrapes(&targets, 3 * FRESH_SCRAPES);
    let at_recovery = targets.n_requests("/metrics") as f64;
    receiver.script(script(at_recovery));
    // The second comes when the whole scrape of the first has been stored.
    wait_until("two fresh values", || {
        receiver.values("fake_scrapes_total").iter().filter(|it| **it > at_recovery).count() >= 2
    });
    receiver.answer(Answer::status(503));
    // An answer that has not come when the stop's deadline passes is none: what it was for is sent again. The one shard
    // has one request under way.
    wait_until("the endpoint is away", || {
        let requests = receiver.requests();
        let last = requests.iter().rfind(|request| !request.message.series.is_empty());
        last.is_some_and(|request| !request.is_stored)
    });
    let sent = "scraped_remote_ledger_samples{remote_name=\"main\",state=\"sent\"}";
    wait_until("the answers are counted", || {
        let n_stored: usize = receiver.received().values().map(Vec::len).sum();
        metric(&scraped, sent) == Some(n_stored as f64)
    });
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    let saved = saved(&data);
    assert!(!saved.ahead.is_empty() && saved.total().sent > saved.ledger.sent, "{saved:?}");
    let n_stored = n_samples(&arrived(&receiver));
    assert_eq!(receiver.state().n_duplicates, 0);
    let n_in_part = n_stored - saved.total().sent as usize;
    let n_parts = saved.ahead.len() + 1;
    assert!(n_in_part <= n_parts * (SCRAPE_SAMPLES - 1), "{n_in_part} of {n_stored}: {saved:?}");
    receiver.answer(Answer::Stores(204));
    let scraped = Scraped::start_in(dir, &arguments);
    wait_until_sent(&data, &receiver);
    assert_eq!(receiver.state().n_duplicates, n_in_part);
    check_all_sent(scraped, &receiver);
    n_in_part
}

#[test]
fn a_restart_in_the_middle_keeps_what_was_sent_ahead() {
    restart_in_the_middle(NEWEST_FIRST, |_| Box::new(|_| Answer::StoresLate(Duration::from_millis(50))));
}

/// A request ends in the middle of a scrape, and the rest of that does not get through.
#[test]
fn a_scrape_that_was_stored_in_part_is_sent_again_whole_and_counted_once() {
    let queue = "in_order: false, capacity: 4, max_samples_per_send: 4, max_shards: 1";
    let n_in_part = restart_in_the_middle(queue, |at_recovery| {
        let (mut is_away, mut n_fresh) = (false, 0);
        Box::new(move |request| {
            if is_away {
                return Answer::status(503);
            }
            let samples = |name: &str| {
                let named = format!("__name__=\"{name}\"");
                let series = request.message.series.iter().filter(move |it| it.key().contains(&named));
                series.flat_map(|it| it.samples.clone()).collect::<Vec<_>>()
            };
            let mut fresh = samples("fake_scrapes_total");
            fresh.retain(|(_, bits)| f64::from_bits(*bits) > at_recovery);
            n_fresh += fresh.len();
            let newest_ms = fresh.iter().map(|(ts_ms, _)| *ts_ms).max().filter(|_| n_fresh >= 2);
            let all = request.message.series.iter().flat_map(|it| &it.samples);
            let n_of = |wanted_ms: i64| all.clone().filter(|(ts_ms, _)| *ts_ms == wanted_ms).count();
            is_away = newest_ms.is_some_and(|newest_ms| n_of(newest_ms) < SCRAPE_SAMPLES);
            Answer::StoresLate(Duration::from_millis(50))
        })
    });
    assert!(n_in_part > 0);
}

#[test]
fn strict_order_is_what_one_gets_without_asking() {
    let (targets, receiver) = counting();
    receiver.state().takes_any_order = false;
    let scraped = Scraped::start(&quick(&targets, &receiver, "capacity: 20, max_samples_per_send: 20"));
    wait_until("first values", || !receiver.values("fake_scrapes_total").is_empty());
    receiver.answer(Answer::status(503));
    await_scrapes(&targets, 2 * FRESH_SCRAPES);
    receiver.answer(Answer::Stores(204));
    wait_until_sent(&scraped.data_dir(), &receiver);
    assert!(!scraped.stderr().contains("backlog"), "{}", scraped.stderr());
    check_all_sent(scraped, &receiver);
}
