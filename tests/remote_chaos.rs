//! The daemon is killed again and again while its endpoint fails in every way: what is on disk after a kill arrives.
//!
//! `CHAOS_KILLS=1000` is the long run.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use support::api::{metric, metric_sum};
use support::command::{query, values};
use support::receiver::{Answer, Receiver};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets};
use support::wait_until;

const N_KILLS: usize = 50;

/// How long a run lasts between its start and its kill, in milliseconds.
const RUN_MS: std::ops::Range<u64> = 100..1200;

const COUNTER: &str = "__name__=\"fake_scrapes_total\"";

/// Knuth's generator: the run is the same every time, as far as time allows.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        range.start + (self.0 >> 33) % (range.end - range.start)
    }

    fn answer(&mut self) -> Answer {
        match self.roll(0..9) {
            0 => Answer::status(503),
            1 => Answer::retry_after(503, "1"),
            2 => Answer::status(429),
            3 => Answer::Resets,
            4 => Answer::StoresAndResets,
            5 => Answer::Hangs,
            6 => Answer::StoresLate(Duration::from_millis(50)),
            _ => Answer::Stores(204),
        }
    }
}

/// Samples taken and sent, from the only position file.
fn saved_ledger(data: &Path) -> [u64; 2] {
    let files = fs::read_dir(data.join("remote")).unwrap().map(|entry| entry.unwrap().path());
    let file = files.into_iter().find(|path| path.extension().is_some_and(|it| it == "position")).unwrap();
    let bytes = fs::read(file).unwrap();
    // Behind magic, version, segment, offset and fingerprint.
    [25, 33].map(|at| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()))
}

fn whole(values: impl IntoIterator<Item = f64>) -> impl Iterator<Item = u64> {
    values.into_iter().filter(|value| value.is_finite()).map(|value| value as u64)
}

#[test]
fn whatever_was_on_disk_at_a_kill_arrives() {
    let n_kills = std::env::var("CHAOS_KILLS").map_or(N_KILLS, |text| text.parse().unwrap());
    let targets = FakeTargets::start();
    targets.set("/a", Behaviour::Counter);
    let receiver = Receiver::start();
    let config = format!(
        "global: {{scrape_interval: 50ms, scrape_timeout: 50ms}}\n\
         remote_write:\n- url: {}\n  name: main\n  remote_timeout: 300ms\n  queue_config: {{batch_send_deadline: 50ms, \
         max_backoff: 100ms, retry_on_http_429: true, max_samples_per_send: 20, min_shards: 2}}\n\
         scrape_configs:\n- job_name: a\n  metrics_path: /a\n  static_configs: [{{targets: ['{}']}}]\n",
        receiver.url(),
        targets.address()
    );
    let arguments = ["--wal.fsync-interval=1s"];
    let mut dice = Dice(7);
    let mut on_disk: BTreeSet<u64> = BTreeSet::new();
    let mut scraped = Scraped::start_with(&config, &arguments);
    let dir = scraped.dir();
    let data = scraped.data_dir();
    for _ in 0..n_kills {
        for _ in 0..2 {
            receiver.answer(dice.answer());
            thread::sleep(Duration::from_millis(dice.roll(RUN_MS) / 2));
        }
        scraped.signal("KILL");
        drop(scraped);
        on_disk.extend(whole(values(&data, "fake_scrapes_total").iter().map(|value| value.parse().unwrap())));
        scraped = Scraped::start_in(dir.clone(), &arguments);
    }
    receiver.answer(Answer::Stores(204));
    let arrived = || -> BTreeSet<u64> { whole(receiver.values(COUNTER)).collect() };
    wait_until("everything that was on disk", || arrived().is_superset(&on_disk));
    wait_until("nothing is pending", || {
        metric_sum(&scraped, "prometheus_remote_storage_samples_pending") < 20.0
    });
    let states = ["taken", "sent", "pending", "dropped_series", "too_old", "rejected", "wal_truncated"];
    let ledger = states.map(|state| {
        let series = format!("scraped_remote_ledger_samples{{remote_name=\"main\",state=\"{state}\"}}");
        metric(&scraped, &series).unwrap()
    });
    assert_eq!(ledger[0], ledger[1..].iter().sum::<f64>(), "{ledger:?}");
    assert_eq!(ledger[3..], [0.0; 4], "{ledger:?}");
    assert!(!scraped.stderr().contains("BUG"), "{}", scraped.stderr());
    assert!(scraped.stop().success());
    on_disk.extend(whole(values(&data, "fake_scrapes_total").iter().map(|value| value.parse().unwrap())));
    assert_eq!(arrived(), on_disk);

    // However often a sample was taken from the log, the ledger has it once.
    let stored: usize = query(&data, "{__name__!=\"\"}").values().map(Vec::len).sum();
    let [taken, sent] = saved_ledger(&data);
    assert_eq!([taken, sent], [stored as u64; 2]);

    // First arrivals are in order: what comes twice was sent from the saved position on.
    let mut highest = 0;
    let mut seen = BTreeSet::new();
    for value in whole(receiver.values(COUNTER)) {
        if seen.insert(value) {
            assert!(value > highest, "{value} after {highest}");
            highest = value;
        }
    }
}
