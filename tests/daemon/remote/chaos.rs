//! The daemon is killed again and again while its endpoint fails in every way: what is on disk after a kill arrives, in
//! order, and twice only where nobody could know better.
//!
//! 50 kills; 1000 with `SCRAPED_LONG=1`. Every tenth run is left in peace until its position is saved: what is settled
//! then must never come again.

use support::cases;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use scraped::remote::settle::ledger::Ledger;
use scraped::remote::settle::position::{Positions, Remembered};
use scraped_engine::disk::RealDisk;
use support::remote::message::key;
use support::remote::receiver::{Answer, Receiver};
use support::remote::{Series, arrived, committed, ledger, missing, n_samples, on_disk, wait_until_sent};
use support::scraped::{Scraped, is_memory_first};
use support::targets::{Behaviour, FakeTargets};
use support::wait_until;

const N_TARGETS: usize = 5;

/// Of so many runs one is left in peace.
const PEACE_EVERY: usize = 10;

/// Time between a start and its kill in milliseconds.
const RUN_MS: Range<u64> = 20..3000;

const ENDPOINT: &str = "main";

/// The long run may take more than an hour, after which what was sent may go.
const ARGUMENTS: [&str; 2] = ["--wal.fsync-interval=1s", "--storage.agent.retention.min-time=1d"];

fn n_kills() -> usize {
    if cases::is_long() { 1000 } else { 50 }
}

fn config(targets: &FakeTargets, receiver: &Receiver, queue: &str) -> String {
    let jobs: String = (0..N_TARGETS)
        .map(|idx| {
            format!(
                "- job_name: j{idx}\n  metrics_path: /{idx}\n  static_configs: [{{targets: ['{}']}}]\n",
                targets.address()
            )
        })
        .collect();
    format!(
        "global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}\nscrape_configs:\n{jobs}remote_write:\n- url: {}\n  \
         name: {ENDPOINT}\n  remote_timeout: 2s\n  queue_config: {{batch_send_deadline: 100ms, min_backoff: 20ms, \
         max_backoff: 200ms, retry_on_http_429: true, max_samples_per_send: 50, min_shards: 3{queue}}}\n",
        receiver.url()
    )
}

/// Knuth's generator: the same answers and moments every time, as far as time allows.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, range: Range<u64>) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        range.start + (self.0 >> 33) % (range.end - range.start)
    }

    fn answer(&mut self) -> Answer {
        match self.roll(0..12) {
            0 => Answer::status(503),
            1 => Answer::retry_after(503, "1"),
            2 => Answer::status(429),
            3 => Answer::retry_after(429, "1"),
            4 => Answer::Resets,
            5 => Answer::StoresAndResets,
            6 => Answer::Hangs,
            7 => Answer::StoresLate(Duration::from_millis(2500)),
            8 => Answer::EndlessHead,
            9 => Answer::EndlessBody(500),
            _ => Answer::Stores(204),
        }
    }
}

/// An endpoint that changes its mind after some requests.
fn make_unreliable(receiver: &Receiver, seed: u64) {
    let mut dice = Dice(seed);
    let mut answer = dice.answer();
    let mut n_left = 0;
    receiver.script(move |_| {
        if n_left == 0 {
            answer = dice.answer();
            n_left = dice.roll(1..8);
        }
        n_left -= 1;
        answer.clone()
    });
}

fn saved_ledger(data: &Path) -> Ledger {
    match Positions::open(Arc::new(RealDisk), data).unwrap().recall(ENDPOINT, true) {
        Remembered::At(saved) => saved.total(),
        other => panic!("{other:?}"),
    }
}

/// A place in time: requests and newest samples so far.
struct Settled {
    n_requests: usize,
    newest: BTreeMap<String, i64>,
}

/// Waits until all has arrived and the saved position is behind it.
fn settle(data: &Path, receiver: &Receiver) -> Settled {
    receiver.answer(Answer::Stores(204));
    let before = on_disk(data);
    wait_until_sent(data, receiver);
    if is_memory_first() {
        // What is settled is not on the disk, and so is no position behind it.
        return Settled { n_requests: receiver.n_requests(), newest: BTreeMap::new() };
    }
    // No sample is ever dropped here: the ledger up to the position counts the log up to there.
    let n_before = n_samples(&before) as u64;
    wait_until("a saved position", || saved_ledger(data).taken >= n_before);
    let newest = before.into_iter().filter_map(|(key, samples)| Some((key, samples.last()?.0)));
    Settled { n_requests: receiver.n_requests(), newest: newest.collect() }
}

/// What arrived twice: never what was confirmed in the same run, never what was settled.
fn check_duplicates(receiver: &Receiver, starts: &[usize], settled: &[Settled]) {
    let state = receiver.state();
    let mut in_run: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut settled = settled.iter().peekable();
    let mut newest: &BTreeMap<String, i64> = &BTreeMap::new();
    for (idx, request) in state.requests.iter().enumerate() {
        if starts.binary_search(&idx).is_ok() {
            in_run.clear();
        }
        while let Some(next) = settled.next_if(|it| it.n_requests <= idx) {
            newest = &next.newest;
        }
        for series in request.message.series.iter().filter(|_| request.is_stored) {
            let key = series.key();
            let confirmed = in_run.entry(key.clone()).or_default();
            for (ts_ms, _) in &series.samples {
                assert!(!confirmed.contains(ts_ms), "{key} at {ts_ms} was confirmed and came again");
                let was_settled = newest.get(&key).is_some_and(|newest| ts_ms <= newest);
                assert!(!was_settled, "{key} at {ts_ms} was behind the saved position and came again");
            }
            if request.is_confirmed {
                confirmed.extend(series.samples.iter().map(|sample| sample.0));
            }
        }
    }
}

/// Values that never reached the disk: one a kill, and those of scrapes that say themselves that they failed.
fn check_gaps(disk: &Series, address: &str, n_kills: usize) {
    for idx in 0..N_TARGETS {
        let job = format!("j{idx}");
        let of = |name: &str| {
            let key = key(&[("__name__", name), ("instance", address), ("job", &job)]);
            disk[&key].iter().map(|(_, bits)| f64::from_bits(*bits)).collect::<Vec<f64>>()
        };
        let values: Vec<f64> = of("fake_scrapes_total").into_iter().filter(|it| it.is_finite()).collect();
        assert!(values.is_sorted_by(|a, b| a < b), "{job}: {values:?}");
        let n_missing = *values.last().unwrap() as usize - values.len();
        let n_failed = of("up").iter().filter(|up| **up == 0.0).count();
        assert!(
            n_missing <= n_kills + n_failed,
            "{job}: {n_missing} values are missing after {n_kills} kills and {n_failed} failed scrapes"
        );
        assert!(values.len() > n_kills, "{job}: only {} values", values.len());
    }
}

#[test]
fn whatever_is_on_disk_at_a_kill_arrives() {
    let receiver = Receiver::start();
    kill_again_and_again(n_kills(), &receiver, "");
    receiver.check();
}

#[test]
fn whatever_is_on_disk_at_a_kill_arrives_also_newest_first() {
    let receiver = Receiver::start();
    receiver.state().takes_any_order = true;
    // The queue holds little, so that most of what an outage leaves is backlog.
    let logs = kill_again_and_again(n_kills() / 3, &receiver, ", in_order: false, capacity: 50");
    assert!(logs.contains("the newest samples are sent first"), "never behind");
    assert!(logs.contains("the backlog is sent"), "never done");
    receiver.check();
}

/// Returns what all the runs have said.
fn kill_again_and_again(n_kills: usize, receiver: &Receiver, queue: &str) -> String {
    let mut logs = String::new();
    let targets = FakeTargets::start();
    for idx in 0..N_TARGETS {
        targets.set(&format!("/{idx}"), Behaviour::Counter);
    }
    let mut dice = Dice(cases::seed());
    let mut disk = Series::new();
    let mut starts = Vec::new();
    let mut settled = Vec::new();
    let mut scraped = Scraped::start_with(&config(&targets, receiver, queue), &ARGUMENTS);
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    for n_kill in 1..=n_kills {
        if n_kill % PEACE_EVERY == 0 {
            settled.push(settle(&data, receiver));
        } else {
            make_unreliable(receiver, dice.roll(0..1 << 30));
            thread::sleep(Duration::from_millis(dice.roll(RUN_MS)));
        }
        if is_memory_first() {
            // What a kill takes with the memory is another matter.
            disk = committed(&data, receiver);
        }
        scraped.signal("KILL");
        let stderr = scraped.stderr();
        assert!(!stderr.contains("BUG"), "{stderr}");
        logs.push_str(&stderr);
        drop(scraped);
        wait_until("the last request is done with", || receiver.is_quiet());
        starts.push(receiver.n_requests());
        let now = committed(&data, receiver);
        let gone = missing(&disk, &now);
        assert!(gone.is_empty(), "gone from the disk after kill {n_kill}: {gone:#?}");
        disk = now;
        scraped = Scraped::start_in(dir.clone(), &ARGUMENTS);
    }
    receiver.answer(Answer::Stores(204));
    wait_until("all that was on disk", || missing(&disk, &arrived(receiver)).is_empty());

    let ledger = ledger(&scraped, ENDPOINT);
    assert_eq!(ledger[0], ledger[1..].iter().sum::<f64>(), "{ledger:?}");
    assert!(scraped.stop().success());

    // After a stop everything is there, nothing that was never on disk, and counted once.
    let disk = committed(&data, receiver);
    let arrived = arrived(receiver);
    assert_eq!(missing(&disk, &arrived), Vec::<String>::new());
    assert_eq!(missing(&arrived, &disk), Vec::<String>::new());
    let n_samples = n_samples(&disk) as u64;
    let expected = Ledger { taken: n_samples, sent: n_samples, ..Ledger::default() };
    check_duplicates(receiver, &starts, &settled);
    // A kill takes what is in memory, with the ledger of what was sent from there.
    if !is_memory_first() {
        assert_eq!(saved_ledger(&data), expected);
        check_gaps(&disk, &targets.address(), n_kills);
    }
    logs
}
