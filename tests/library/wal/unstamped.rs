//! Samples of a box that does not know the time: they wait in memory, on the disk, over restarts and boots, and get their
//! time once it is known.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scraped_engine::disk::faulty::{Faults, FaultyDisk};
use scraped_engine::histogram::Histogram;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::keep::maintenance;
use scraped_engine::wal::options::WalOptions;
use scraped_engine::wal::unstamped::EPOCH_MS;
use scraped_engine::wal::unstamped::side_files::{SideFiles, Stamped};
use support::wal::{Answer, ask_all, check_log, commit, open_with, options, series, stage};
use tempfile::TempDir;

/// The last boot was at this time, in milliseconds since the Unix epoch.
const BOOT_MS: i64 = 1_790_000_000_000;

/// A log with its maintenance, as a daemon has it for the length of its life.
struct Life {
    wal: Wal,
    files: SideFiles,
    maintenance: maintenance::Handle,
}

impl Life {
    fn begin(options: WalOptions, boot: &str) -> Life {
        let (wal, _) = open_with(options);
        let files = SideFiles::open(&wal, boot);
        let maintenance = maintenance::Handle::spawn(wal.clone(), wal.reader().are_all_known()).unwrap();
        Life { wal, files, maintenance }
    }

    /// Commits `name` as scraped `since_boot_ms` after the boot, where nobody knows when that was.
    fn scrape(&self, name: &str, since_boot_ms: i64) {
        commit(&mut self.wal.appender(), &[name], EPOCH_MS + since_boot_ms, since_boot_ms as f64);
    }

    fn end(self) {
        self.maintenance.stop();
        self.wal.close().unwrap();
    }
}

/// What one series has, by its samples' time and value.
fn answer(of: &[(&str, &[(i64, i64)])]) -> Answer {
    of.iter()
        .map(|(name, samples)| {
            let samples = samples.iter().map(|(ts_ms, value)| (*ts_ms, format!("{:?}", *value as f64)));
            (series(name), samples.collect())
        })
        .collect()
}

fn n_side_files(dir: &Path) -> usize {
    fs::read_dir(dir.join("unstamped")).map_or(0, |entries| entries.count())
}

#[test]
fn what_waits_is_in_the_log_with_its_time_and_not_before() {
    let dir = TempDir::new().unwrap();
    let mut life = Life::begin(options(dir.path()), "one");
    commit(&mut life.wal.appender(), &["a"], BOOT_MS - 1000, 7.0);
    for since_ms in [1000, 2000] {
        life.scrape("a", since_ms);
    }
    // On the disk by now; and what comes then is in memory.
    life.files.spill().unwrap();
    life.scrape("a", 3000);
    life.scrape("b", 3000);
    // A page may have timestamps of its own.
    let mut appender = life.wal.appender();
    stage(&mut appender, &["own"], BOOT_MS + 1, 1.0);
    stage(&mut appender, &["up"], EPOCH_MS + 4000, 1.0);
    assert_eq!(appender.commit().unwrap().appended, 2);
    assert_eq!(ask_all(dir.path()), answer(&[("a", &[(BOOT_MS - 1000, 7)])]));
    assert_eq!(n_side_files(dir.path()), 1);

    assert_eq!(life.files.stamp(BOOT_MS).unwrap(), Stamped::default());
    // One that was under way; and then the clock is read again.
    life.scrape("a", 4000);
    commit(&mut life.wal.appender(), &["a"], BOOT_MS + 5000, 5000.0);
    let samples: Vec<_> = [1000, 2000, 3000, 4000, 5000].map(|ms| (BOOT_MS + ms, ms)).to_vec();
    let a: Vec<_> = [(BOOT_MS - 1000, 7)].into_iter().chain(samples).collect();
    let want = answer(&[
        ("a", &a),
        ("b", &[(BOOT_MS + 3000, 3000)]),
        ("own", &[(BOOT_MS + 1, 1)]),
        ("up", &[(BOOT_MS + 4000, 1)]),
    ]);
    assert_eq!(ask_all(dir.path()), want);
    assert_eq!(n_side_files(dir.path()), 0);
    drop(appender);
    life.end();
    check_log(dir.path());
}

#[test]
fn boots_without_a_clock_are_placed_one_before_the_other() {
    let dir = TempDir::new().unwrap();
    for (boot, since_ms) in [("one", [1000, 60_000]), ("two", [500, 3000]), ("two", [4000, 30_000])] {
        let mut life = Life::begin(options(dir.path()), boot);
        since_ms.into_iter().for_each(|since_ms| life.scrape("a", since_ms));
        life.files.spill().unwrap();
        life.end();
    }
    assert_eq!(n_side_files(dir.path()), 3);
    let mut life = Life::begin(options(dir.path()), "three");
    life.scrape("a", 2000);
    assert_eq!(life.files.stamp(BOOT_MS).unwrap(), Stamped { estimated: 6, damaged_places: 0 });
    // The second one ended no later than the third began, and the first no later than the second began.
    let (two_ms, one_ms) = (BOOT_MS - 30_000, BOOT_MS - 30_000 - 60_000);
    let want = [
        (one_ms + 1000, 1000),
        (one_ms + 60_000, 60_000),
        (two_ms + 500, 500),
        (two_ms + 3000, 3000),
        (two_ms + 4000, 4000),
        (two_ms + 30_000, 30_000),
        (BOOT_MS + 2000, 2000),
    ];
    assert_eq!(ask_all(dir.path()), answer(&[("a", &want)]));
    life.end();
    check_log(dir.path());
}

#[test]
fn a_boot_ends_with_the_newest_sample_of_all_its_files() {
    let dir = TempDir::new().unwrap();
    let mut life = Life::begin(options(dir.path()), "one");
    [1000, 60_000].into_iter().for_each(|since_ms| life.scrape("a", since_ms));
    life.files.spill().unwrap();
    life.end();
    // Another process of that boot, from which nothing is left.
    fs::write(dir.path().join("unstamped/00000001.one"), "").unwrap();
    let mut life = Life::begin(options(dir.path()), "two");
    assert_eq!(life.files.stamp(BOOT_MS).unwrap(), Stamped { estimated: 2, damaged_places: 0 });
    assert_eq!(ask_all(dir.path()), answer(&[("a", &[(BOOT_MS - 59_000, 1000), (BOOT_MS, 60_000)])]));
    life.end();
}

#[test]
fn a_kill_while_files_are_stamped_costs_nothing_and_repeats_nothing() {
    let dir = TempDir::new().unwrap();
    let unlocked = WalOptions { lock_file: false, ..options(dir.path()) };
    let mut life = Life::begin(unlocked.clone(), "one");
    [1000, 2000].into_iter().for_each(|since_ms| life.scrape("a", since_ms));
    life.files.spill().unwrap();
    life.end();
    // Killed before the files were removed: without wal-maintenance nobody makes their samples durable.
    let (wal, _) = open_with(unlocked.clone());
    SideFiles::open(&wal, "two").stamp(BOOT_MS).unwrap();
    wal.close().unwrap();
    assert_eq!(n_side_files(dir.path()), 1);
    // Later it seems to have been a little later; what was decided stays.
    let mut life = Life::begin(unlocked, "three");
    life.files.stamp(BOOT_MS + 77).unwrap();
    assert_eq!(ask_all(dir.path()), answer(&[("a", &[(BOOT_MS - 1000, 1000), (BOOT_MS, 2000)])]));
    assert_eq!(n_side_files(dir.path()), 0);
    life.end();
}

#[test]
fn a_series_that_changes_its_kind_keeps_its_order_on_the_disk() {
    let dir = TempDir::new().unwrap();
    let mut life = Life::begin(options(dir.path()), "one");
    let mut appender = life.wal.appender();
    let mut labels = LabelsBuilder::new();
    labels.set("__name__", "kinds");
    for (since_ms, is_histogram) in [(1000, true), (2000, false), (3000, true), (4000, false)] {
        let handle = appender.series(&labels).unwrap().handle;
        match is_histogram {
            true => appender.append_histogram(handle, EPOCH_MS + since_ms, &Histogram::default()),
            false => appender.append(handle, EPOCH_MS + since_ms, 1.0),
        }
        stage(&mut appender, &["up"], EPOCH_MS + since_ms, 1.0);
        assert_eq!(appender.commit().unwrap().appended, 2);
    }
    life.files.spill().unwrap();
    let before = life.wal.samples_appended();
    life.files.stamp(BOOT_MS).unwrap();
    assert_eq!(life.wal.samples_appended() - before, 8, "none was out of order");
    drop(appender);
    life.end();
}

#[test]
fn a_disk_that_refuses_leaves_them_in_memory_where_the_newest_stay() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::default();
    let memory_bytes = 64 << 10;
    let small =
        WalOptions { memory_bytes: Some(memory_bytes), disk: Arc::new(disk.clone()), ..options(dir.path()) };
    let mut life = Life::begin(small, "one");
    disk.set(Faults::default().with_room(0));
    let mut since_ms = 0;
    let mut is_refused = false;
    for _ in 0..1000 {
        since_ms += 1000;
        life.scrape("a", since_ms);
        is_refused |= life.files.spill_if_due(Duration::MAX, Instant::now()).is_err();
    }
    assert!(is_refused);
    disk.set(Faults::default());
    life.files.stamp(BOOT_MS).unwrap();
    life.end();
    let found = ask_all(dir.path()).remove(&series("a")).unwrap();
    assert_eq!(found.last().unwrap().0, BOOT_MS + since_ms);
    let is_without_gap = found.windows(2).all(|pair| pair[1].0 - pair[0].0 == 1000);
    assert!(is_without_gap && (50..1000).contains(&found.len()), "{}", found.len());
}
