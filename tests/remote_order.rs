//! An endpoint that takes samples out of order, with `in_order: false`: after an outage the newest come first and the
//! backlog beside them, all of it once, and the log says when this begins and ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]

mod support;

use std::path::Path;
use std::time::Duration;

use scraped::remote::ledger::Ledger;
use scraped::remote::position::{Positions, Remembered};
use scraped::remote::progress::Saved;
use support::api::metric;
use support::receiver::{Answer, Receiver};
use support::remote::{arrived, config, missing, n_samples, on_disk, wait_until_sent};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets};
use support::wait_until;

const NAMED: &str = "name: main";

/// One shard whose queue holds little, so that nearly all that an outage leaves is read from the log later.
const NEWEST_FIRST: &str = "in_order: false, capacity: 20, max_samples_per_send: 20, max_shards: 1";

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
    config(&targets.address(), "/metrics", &receiver.url(), NAMED, queue).replace("500ms", "100ms")
}

fn await_scrapes(targets: &FakeTargets, n: usize) {
    let n_before = targets.n_requests("/metrics");
    wait_until("scrapes", || targets.n_requests("/metrics") >= n_before + n);
}

fn saved(data: &Path) -> Saved {
    match Positions::open(data).unwrap().recall("main", true) {
        Remembered::At(saved) => saved,
        other => panic!("{other:?}"),
    }
}

/// Stops the daemon: all that is on disk has arrived, is in the ledger once, and one position is left.
fn check_all_sent(scraped: Scraped, receiver: &Receiver) {
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    let disk = on_disk(&data);
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
    let scraped = Scraped::start(&quick(&targets, &receiver, NEWEST_FIRST));
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

#[test]
fn a_restart_in_the_middle_keeps_what_was_sent_ahead() {
    let (targets, receiver) = counting();
    let arguments = ["--wal.fsync-interval=1s", "--storage.remote.flush-deadline=1s"];
    let scraped = Scraped::start_with(&quick(&targets, &receiver, NEWEST_FIRST), &arguments);
    wait_until("first values", || !receiver.values("fake_scrapes_total").is_empty());
    receiver.answer(Answer::status(503));
    await_scrapes(&targets, 3 * FRESH_SCRAPES);
    let at_recovery = targets.n_requests("/metrics") as f64;
    receiver.answer(Answer::StoresLate(Duration::from_millis(50)));
    wait_until("a fresh value", || receiver.values("fake_scrapes_total").iter().any(|it| *it > at_recovery));
    receiver.answer(Answer::status(503));
    // An answer that has not come when the stop's deadline passes is none: what it was for is sent again.
    let sent = "scraped_remote_ledger_samples{remote_name=\"main\",state=\"sent\"}";
    wait_until("the answers have come", || {
        let n_stored: usize = receiver.received().values().map(Vec::len).sum();
        metric(&scraped, sent) == Some(n_stored as f64)
    });
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    let saved = saved(&data);
    assert!(!saved.ahead.is_empty() && saved.ahead[0].ledger.sent > 0, "{saved:?}");
    receiver.answer(Answer::Stores(204));
    let scraped = Scraped::start_in(dir, &arguments);
    wait_until_sent(&data, &receiver);
    assert_eq!(receiver.state().n_duplicates, 0);
    check_all_sent(scraped, &receiver);
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
