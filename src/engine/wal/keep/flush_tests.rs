//! A log whose newest part is in memory: what reaches the disk and when, and what a start finds there.

use crate::disk::faulty::{Faults, FaultyDisk, Operation};
use crate::disk::{Access, RealDisk};
use crate::labels::builder::LabelsBuilder;
use crate::wal::follow::{Ended, Follower, Next, fingerprint};
use crate::wal::format::position::Position;
use crate::wal::format::record::{Record, decode};
use crate::wal::format::segment;
use crate::wal::format::segment_reader::CorruptionError;
use crate::wal::head::{ReaderMark, Wal};
use crate::wal::keep::checkpoint;
use crate::wal::keep::maintenance::Maintenance;
use crate::wal::options::WalOptions;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// A log with 64 KiB of memory, and an endpoint.
struct Fixture {
    dir: tempfile::TempDir,
    disk: FaultyDisk,
    wal: Wal,
    mark: ReaderMark,
    maintenance: Maintenance,
    /// Of the last commit.
    ts_ms: i64,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    fn on(dir: tempfile::TempDir) -> Self {
        let disk = FaultyDisk::default();
        let wal = open_on(&disk, dir.path());
        let end = wal.end().unwrap();
        Self::of(dir, disk, wal, end)
    }

    /// With an endpoint that has had what is before `settled`.
    fn of(dir: tempfile::TempDir, disk: FaultyDisk, wal: Wal, settled: Position) -> Self {
        let mark = wal.reader().claim(settled);
        let maintenance = Maintenance::new(wal.clone(), wal.reader().are_all_known());
        let mut fixture = Self { dir, disk, wal, mark, maintenance, ts_ms: 0, now: Instant::now() };
        fixture.round();
        fixture
    }

    fn round(&mut self) {
        self.maintenance.cycle(self.now);
    }

    /// `n` commits of a page with twenty series; some of them are new in each tenth.
    fn scrape(&mut self, n: usize) {
        let mut appender = self.wal.appender();
        for _ in 0..n {
            self.ts_ms += 1000;
            for idx in 0..20 {
                let mut labels = LabelsBuilder::new();
                labels.set("__name__", "some_metric_of_a_page_total");
                let generation = if idx < 2 { self.ts_ms / 10_000 } else { 0 };
                labels.set("idx", &format!("{idx}-{generation}"));
                let handle = appender.series(&labels).unwrap().handle;
                appender.append(handle, self.ts_ms, self.ts_ms as f64);
            }
            appender.commit().unwrap();
        }
    }

    /// The endpoint has everything.
    fn acknowledge(&mut self) -> Position {
        let end = self.wal.end().unwrap();
        self.mark.settle(end);
        end
    }

    fn later(&mut self, by: Duration) {
        self.now += by;
        self.round();
    }

    /// Bytes of all segments and checkpoints.
    fn bytes_on_disk(&self) -> u64 {
        let wal_dir = self.wal.wal_dir();
        let segments: u64 = segment::list(&RealDisk, wal_dir).unwrap().iter().map(|file| file.bytes).sum();
        let checkpoints = checkpoint::list(&RealDisk, wal_dir).unwrap();
        let files = checkpoints.iter().flat_map(|it| it.segments(&RealDisk).unwrap());
        segments + files.map(|file| file.bytes).sum::<u64>()
    }

    /// As after `kill -9`: what the next process has, and where an endpoint goes on that has remembered `settled`.
    fn killed(self) -> (tempfile::TempDir, Wal) {
        let Self { dir, wal, mark, maintenance, .. } = self;
        // A mark that ends changes nothing on the disk.
        drop((maintenance, mark, wal));
        let wal = open(dir.path());
        (dir, wal)
    }
}

/// Nothing has to be repaired.
fn open(dir: &Path) -> Wal {
    let (wal, summary) = Wal::open(options(&FaultyDisk::default(), dir), &mut |_, _| {}).unwrap();
    assert!(summary.losses.is_empty(), "{:?}", summary.losses);
    wal
}

fn open_on(disk: &FaultyDisk, dir: &Path) -> Wal {
    Wal::open(options(disk, dir), &mut |_, _| {}).unwrap().0
}

fn options(disk: &FaultyDisk, dir: &Path) -> WalOptions {
    WalOptions {
        segment_size_bytes: Some(1 << 20),
        lock_file: false,
        memory_bytes: Some(64 << 10),
        flush_after: 5 * MINUTE,
        disk: Arc::new(disk.clone()),
        ..WalOptions::at(dir)
    }
}

/// Timestamps of all samples from a place on; each of them has a series.
fn timestamps(wal: &Wal, from: Position) -> BTreeSet<i64> {
    timestamps_with(wal, from, &mut |error| panic!("{error}"))
}

/// The same where a torn end is passed over.
fn timestamps_but_damage(wal: &Wal, from: Position) -> BTreeSet<i64> {
    timestamps_with(wal, from, &mut |_| {})
}

fn timestamps_with(wal: &Wal, from: Position, damaged: &mut dyn FnMut(&CorruptionError)) -> BTreeSet<i64> {
    let mut found = BTreeSet::new();
    let mut refs = Vec::new();
    let mut follower = Follower::new(wal.reader(), from);
    follower
        .read(
            &mut |at, _, bytes| {
                if let Record::Samples(samples) = decode(bytes) {
                    for sample in samples.map(Result::unwrap) {
                        refs.push((at.segment, sample.series_ref));
                        found.insert(sample.ts_ms);
                    }
                }
                Next::Record
            },
            damaged,
        )
        .unwrap();
    let mut handles = Vec::new();
    for (number, series_ref) in refs {
        wal.reader().handles(number, &[series_ref], &mut handles).unwrap();
        assert!(handles[0].is_some(), "a sample without its series");
    }
    found
}

#[test]
fn what_is_acknowledged_never_touches_the_disk() {
    let mut log = Fixture::new();
    for _ in 0..200 {
        log.scrape(10);
        log.acknowledge();
        log.later(10 * MINUTE);
    }
    assert_eq!(log.bytes_on_disk(), 0);
    let ring = log.wal.ring().unwrap();
    assert!(ring.end().unwrap().segment > 5 && ring.bytes() <= 32 << 10, "{} bytes", ring.bytes());
    // Those that vanished are forgotten all the same.
    assert!(log.wal.active_series() < 200, "{}", log.wal.active_series());
}

#[test]
fn what_waits_too_long_is_written_and_comes_back_after_a_kill() {
    let mut log = Fixture::new();
    log.scrape(5);
    let settled = log.acknowledge();
    log.round();
    log.scrape(20);
    log.later(4 * MINUTE);
    assert_eq!(log.bytes_on_disk(), 0);
    log.later(2 * MINUTE);
    assert!(log.bytes_on_disk() > 0 && log.wal.reader().is_durable(log.wal.end().unwrap()));
    assert_eq!(log.wal.ring().unwrap().bytes(), 0, "it need not be in memory any more");
    log.scrape(3);
    let all: BTreeSet<i64> = (1..=28).map(|n| n * 1000).collect();
    assert_eq!(timestamps(&log.wal, Position::default()), all, "from the disk, then from memory");
    let (_dir, wal) = log.killed();
    let kept: BTreeSet<i64> = (6..=25).map(|n| n * 1000).collect();
    assert_eq!(timestamps(&wal, settled), kept, "what was younger than flush-after is lost");
}

#[test]
fn a_reader_at_the_end_of_a_segment_that_left_the_memory_goes_on_behind_it() {
    let mut log = Fixture::new();
    log.scrape(5);
    let mut follower = Follower::new(log.wal.reader(), Position::default());
    let mut read = || {
        let mut n_records = 0;
        let visit = &mut |_, _, _: &[u8]| {
            n_records += 1;
            Next::Record
        };
        let ended = follower.read(visit, &mut |error| panic!("{error}")).unwrap();
        assert!(matches!(ended, Ended::CaughtUp), "{ended:?} at {:?}", follower.position());
        n_records
    };
    assert!(read() > 0);
    // The first of them has a file, the others have none.
    for next in 1..4 {
        log.acknowledge();
        log.wal.reader().start_segment().unwrap();
        log.scrape(5);
        log.round();
        assert_eq!(log.wal.ring().unwrap().first_number(), Some(next));
        assert!(read() > 0);
    }
}

#[test]
fn an_outage_after_a_long_time_without_one_begins_with_a_checkpoint() {
    let mut log = Fixture::new();
    for n_outages in 1..4 {
        for _ in 0..80 {
            log.scrape(10);
            log.acknowledge();
            log.later(MINUTE);
        }
        let first = log.ts_ms + 1000;
        let settled = log.wal.end().unwrap();
        log.scrape(30);
        log.later(6 * MINUTE);
        log.scrape(10);
        log.later(6 * MINUTE);
        let wal_dir = log.wal.wal_dir();
        let segments = segment::list(&RealDisk, wal_dir).unwrap();
        let checkpoints = checkpoint::list(&RealDisk, wal_dir).unwrap();
        assert_eq!(checkpoints.len(), 1, "{n_outages}");
        assert_eq!(segments[0].number, checkpoints[0].number + 1);
        assert_eq!(segment::first_gap(&segments), None);
        // Another process finds the same.
        let copy = tempfile::tempdir().unwrap();
        copy_dir(log.dir.path(), copy.path());
        let wal = open(copy.path());
        let unsent: BTreeSet<i64> = (first..=log.ts_ms).step_by(1000).collect();
        assert_eq!(timestamps(&wal, settled), unsent);
        assert_eq!(timestamps(&log.wal, settled), unsent);
    }
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn without_room_in_memory_it_is_written_early_and_the_segment_goes_on() {
    let mut log = Fixture::new();
    let settled = log.wal.end().unwrap();
    for _ in 0..40 {
        log.scrape(50);
        log.round();
        assert!(log.wal.ring().unwrap().bytes() <= 64 << 10);
    }
    let all: BTreeSet<i64> = (1..=2000).map(|n| n * 1000).collect();
    assert_eq!(timestamps(&log.wal, settled), all);
    log.maintenance.write_memory().unwrap();
    let (_dir, wal) = log.killed();
    assert_eq!(timestamps(&wal, settled), all);
}

#[test]
fn a_stop_writes_what_is_not_acknowledged_and_nothing_else() {
    for n_unsent in [0, 7] {
        let mut log = Fixture::new();
        log.scrape(20);
        let settled = log.acknowledge();
        log.scrape(n_unsent);
        log.maintenance.write_memory().unwrap();
        super::finish(&log.wal.reader()).unwrap();
        let bytes = log.bytes_on_disk();
        assert_eq!(bytes > 0, n_unsent > 0);
        log.round();
        let Fixture { dir, wal, mark, mut maintenance, .. } = log;
        drop(mark);
        maintenance.write_memory().unwrap();
        drop(maintenance);
        wal.close().unwrap();
        let bytes_after: u64 =
            segment::list(&RealDisk, wal.wal_dir()).unwrap().iter().map(|file| file.bytes).sum();
        assert_eq!(bytes_after, bytes);
        let wal = open(dir.path());
        let unsent: BTreeSet<i64> = (21..21 + n_unsent as i64).map(|n| n * 1000).collect();
        assert_eq!(timestamps(&wal, if n_unsent > 0 { settled } else { Position::default() }), unsent);
    }
}

#[test]
fn the_last_record_on_the_disk_is_known() {
    let mut log = Fixture::new();
    log.scrape(20);
    log.maintenance.write_memory().unwrap();
    let (end, checksum) = log.wal.reader().last_durable().unwrap();
    assert_eq!(end, log.wal.end().unwrap());
    let mut last = 0;
    let visit = &mut |_, _, bytes: &[u8]| {
        last = fingerprint(bytes);
        Next::Record
    };
    Follower::new(log.wal.reader(), Position::default()).read(visit, &mut |error| panic!("{error}")).unwrap();
    assert_eq!(checksum, last);
}

#[test]
fn a_disk_that_takes_nothing_costs_nothing_until_the_memory_is_full() {
    let mut log = Fixture::new();
    let settled = log.wal.end().unwrap();
    log.disk.set(Faults::default().with_room(0));
    log.scrape(30);
    log.later(6 * MINUTE);
    assert!(log.maintenance.write_memory().is_err());
    let all: BTreeSet<i64> = (1..=30).map(|n| n * 1000).collect();
    assert_eq!(timestamps(&log.wal, settled), all);
    // Commits never fail: what is oldest goes, and that is counted.
    log.scrape(400);
    let lost = log.wal.metrics().samples_lost_to_full_memory.get();
    assert!(lost > 0 && log.wal.ring().unwrap().bytes() <= 64 << 10);
    assert_eq!(log.wal.reader().gone_from(0).segments.values().map(|gone| gone.total()).sum::<u64>(), lost);
    // When it takes something again, the rest is written, and a process that comes finds it.
    log.disk.heal();
    let first = 431 - (430 * 20 - lost as i64) / 20;
    let rest: BTreeSet<i64> = (first..=430).map(|n| n * 1000).collect();
    log.later(MINUTE);
    log.maintenance.write_memory().unwrap();
    let (_dir, wal) = log.killed();
    assert_eq!(timestamps(&wal, wal.reader().oldest_position().unwrap()), rest);
}

/// As a loss of power leaves it: a log with a torn end, on a disk that is read-only at first.
fn started_without_its_disk(n_written: i64, settled: impl Fn(&Wal) -> Position) -> Fixture {
    let mut log = Fixture::new();
    log.scrape(n_written as usize);
    log.maintenance.write_memory().unwrap();
    let file = segment::list(&RealDisk, log.wal.wal_dir()).unwrap().pop().unwrap();
    let (dir, wal) = (log.dir, log.wal);
    drop((log.maintenance, log.mark, wal));
    if n_written > 0 {
        let mut torn = std::fs::read(&file.path).unwrap();
        torn.extend_from_within(..200);
        std::fs::write(&file.path, torn).unwrap();
    }
    let disk = FaultyDisk::default();
    let changes = Operation::CHANGES.into_iter().chain([Operation::Open(Access::Append)]);
    disk.set(Faults::refusing(changes, libc::EROFS));
    let wal = open_on(&disk, dir.path());
    let settled = settled(&wal);
    let mut log = Fixture::of(dir, disk, wal, settled);
    log.ts_ms = n_written * 1000;
    assert_eq!(log.wal.metrics().unusable.get(), 1.0);
    assert!(log.wal.trouble().lock().contains("was read and cannot be written"));
    log
}

fn seconds(range: std::ops::RangeInclusive<i64>) -> BTreeSet<i64> {
    range.map(|n| n * 1000).collect()
}

#[test]
fn a_start_without_its_disk_goes_on_in_memory_and_writes_when_it_is_back() {
    for n_written in [0, 10] {
        let mut log = started_without_its_disk(n_written, |_| Position::default());
        log.scrape(10);
        log.later(6 * MINUTE);
        assert_eq!(timestamps_but_damage(&log.wal, Position::default()), seconds(1..=n_written + 10));
        log.disk.heal();
        log.later(MINUTE);
        assert_eq!((log.wal.metrics().unusable.get(), log.wal.trouble().lock().as_str()), (0.0, ""));
        log.scrape(5);
        log.maintenance.write_memory().unwrap();
        assert_eq!(timestamps(&log.wal, Position::default()), seconds(1..=n_written + 15));
        let (_dir, wal) = log.killed();
        assert_eq!(timestamps(&wal, Position::default()), seconds(1..=n_written + 15));
    }
}

#[test]
fn a_start_without_its_disk_writes_nothing_that_was_acknowledged_meanwhile() {
    for n_written in [0, 10] {
        let mut log = started_without_its_disk(n_written, |wal| wal.end().unwrap());
        log.scrape(100);
        log.acknowledge();
        log.round();
        log.scrape(5);
        log.disk.heal();
        let before = log.bytes_on_disk();
        log.later(MINUTE);
        assert!(log.bytes_on_disk() < before + 3000, "{} after {before}", log.bytes_on_disk());
        log.later(6 * MINUTE);
        let (_dir, wal) = log.killed();
        let found = timestamps(&wal, wal.reader().oldest_position().unwrap());
        assert!(found.is_superset(&seconds(n_written + 101..=n_written + 105)), "{found:?}");
    }
}

#[test]
fn a_start_without_its_disk_drops_its_oldest_in_memory_and_keeps_what_is_on_the_disk() {
    for n_written in [0, 10] {
        let mut log = started_without_its_disk(n_written, |_| Position::default());
        log.scrape(400);
        let lost = log.wal.metrics().samples_lost_to_full_memory.get();
        assert!(lost > 0);
        log.disk.heal();
        log.later(MINUTE);
        log.maintenance.write_memory().unwrap();
        let counted = log.wal.reader().gone_from(0).segments.values().map(|gone| gone.total()).sum::<u64>();
        assert_eq!(counted, lost);
        let first = n_written + 401 - (400 - lost as i64 / 20);
        let rest = seconds(first..=n_written + 400);
        let (_dir, wal) = log.killed();
        let found = timestamps(&wal, wal.reader().oldest_position().unwrap());
        assert_eq!(found, seconds(1..=n_written).union(&rest).copied().collect());
    }
}

#[test]
fn memory_that_is_dropped_behind_what_an_endpoint_needs_takes_no_series_with_it() {
    let mut log = Fixture::new();
    let mut appender = log.wal.appender();
    let mut labels = LabelsBuilder::new();
    labels.set("__name__", "another");
    let handle = appender.series(&labels).unwrap().handle;
    appender.append(handle, 500, 1.0);
    appender.commit().unwrap();
    log.maintenance.write_memory().unwrap();
    log.disk.set(Faults::default().with_room(0));
    log.scrape(400);
    assert!(log.wal.metrics().samples_lost_to_full_memory.get() > 0);
    log.disk.heal();
    log.later(MINUTE);
    log.maintenance.write_memory().unwrap();
    let (_dir, wal) = log.killed();
    let found = timestamps(&wal, wal.reader().oldest_position().unwrap());
    assert!(found.contains(&500) && found.is_superset(&seconds(390..=400)), "{found:?}");
}

#[test]
fn what_an_fsync_could_not_make_durable_is_written_again() {
    let mut log = Fixture::new();
    log.scrape(10);
    log.maintenance.write_memory().unwrap();
    let durable = log.wal.end().unwrap();
    log.scrape(10);
    log.disk.set(Faults::refusing([Operation::Sync], libc::EIO));
    log.later(6 * MINUTE);
    assert!(!log.wal.reader().is_durable(log.wal.end().unwrap()));
    assert!(log.wal.ring().unwrap().bytes() > 0);
    log.disk.heal();
    log.later(MINUTE);
    assert!(log.wal.reader().is_durable(log.wal.end().unwrap()));
    assert!(durable < log.wal.end().unwrap());
    let (_dir, wal) = log.killed();
    assert_eq!(timestamps(&wal, Position::default()), (1..=20).map(|n| n * 1000).collect());
}

#[test]
fn without_an_endpoint_commits_go_to_the_disk() {
    let mut log = Fixture::new();
    log.scrape(10);
    log.acknowledge();
    let Fixture { dir, wal, mark, mut maintenance, now, .. } = log;
    drop(mark);
    maintenance.cycle(now);
    assert!(wal.ring().unwrap().is_empty());
    let before = segment::list(&RealDisk, wal.wal_dir()).unwrap().iter().map(|file| file.bytes).sum::<u64>();
    let mut appender = wal.appender();
    let mut labels = LabelsBuilder::new();
    labels.set("__name__", "a");
    let handle = appender.series(&labels).unwrap().handle;
    appender.append(handle, 99_000, 1.0);
    appender.commit().unwrap();
    assert!(
        segment::list(&RealDisk, wal.wal_dir()).unwrap().iter().map(|file| file.bytes).sum::<u64>() > before
    );
    drop((maintenance, appender, wal));
    let wal = open(dir.path());
    assert!(timestamps(&wal, Position::default()).contains(&99_000));
}

#[test]
fn a_directory_that_vanishes_takes_nothing_that_is_in_memory() {
    for n_outages in 0..3 {
        let mut log = Fixture::new();
        for _ in 0..n_outages {
            log.scrape(20);
            log.later(6 * MINUTE);
        }
        log.acknowledge();
        log.scrape(10);
        let settled = log.acknowledge();
        log.scrape(10);
        let first = log.ts_ms - 9000;
        std::fs::remove_dir_all(log.wal.wal_dir()).unwrap();
        log.later(MINUTE);
        log.scrape(10);
        let unsent: BTreeSet<i64> = (first..=log.ts_ms).step_by(1000).collect();
        assert_eq!(timestamps(&log.wal, settled), unsent, "after {n_outages} outages");
        assert_eq!(log.wal.reader().gone_from(0).segments.values().map(|gone| gone.total()).sum::<u64>(), 0);
        // What can be written is: a process that comes finds it, each sample with its series.
        log.later(6 * MINUTE);
        log.acknowledge();
        let dir = log.dir.path().to_owned();
        let copy = tempfile::tempdir().unwrap();
        copy_dir(&dir, copy.path());
        let wal = open(copy.path());
        let found = timestamps(&wal, wal.reader().oldest_position().unwrap());
        assert!(found.is_superset(&unsent.into_iter().skip(10).collect()), "after {n_outages} outages");
    }
}
