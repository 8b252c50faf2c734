//! What holds for a transaction that is written in slices: others come in between, no handle gets stale, and what the
//! disk refuses in the middle is counted.

use super::Wal;
use crate::disk::faulty::{Faults, FaultyDisk};
use crate::labels::builder::LabelsBuilder;
use crate::series::SeriesHandle;
use crate::series::bound::SeriesBound;
use crate::wal::appender::Appender;
use crate::wal::error::WalError;
use crate::wal::follow::Follower;
use crate::wal::follow::Next;
use crate::wal::format::position::Position;
use crate::wal::format::record::{Record, decode};
use crate::wal::keep::truncate_files::truncate;
use crate::wal::keep::truncate_series::compact_symbols;
use crate::wal::open::replay_summary::ReplaySummary;
use crate::wal::options::{Compression, WalOptions};
use crate::wal::write::commit::{SLICE_BYTES, SLICE_ENTRIES};
use crate::wal::write::staged::ExemplarTime;
use std::path::Path;
use std::sync::Arc;

/// Three slices and a part of one.
const MANY: usize = 3 * SLICE_ENTRIES + 100;

fn open(dir: &Path) -> (Wal, ReplaySummary) {
    open_on(&FaultyDisk::default(), dir)
}

fn open_on(disk: &FaultyDisk, dir: &Path) -> (Wal, ReplaySummary) {
    let options = WalOptions {
        segment_size_bytes: Some(64 << 20),
        compression: Compression::None,
        disk: Arc::new(disk.clone()),
        ..WalOptions::at(dir)
    };
    Wal::open(options, &mut |_, _| {}).unwrap()
}

fn series(appender: &mut Appender, name: &str, idx: usize) -> SeriesHandle {
    let mut labels = LabelsBuilder::new();
    labels.set("__name__", name);
    labels.set("idx", &idx.to_string());
    appender.series(&labels).unwrap().handle
}

fn stage(appender: &mut Appender, name: &str, n_series: usize, ts_ms: i64) {
    for idx in 0..n_series {
        let handle = series(appender, name, idx);
        appender.append(handle, ts_ms, idx as f64);
    }
}

/// Samples that readers see behind `position`, record by record.
fn read(wal: &Wal, position: Position) -> (Vec<usize>, Position) {
    let mut follower = Follower::new(wal.reader(), position);
    let mut found = Vec::new();
    let mut visit = |_, _, bytes: &[u8]| {
        if let Record::Samples(samples) = decode(bytes) {
            found.push(samples.map(Result::unwrap).count());
        }
        Next::Record
    };
    follower.read(&mut visit, &mut |error| panic!("{error}")).unwrap();
    (found, follower.position())
}

#[test]
fn others_commit_between_the_slices_of_a_large_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    let (mut large, mut small) = (wal.appender(), wal.appender());
    for ts_ms in 1..=2 {
        stage(&mut large, "large", MANY, ts_ms);
        let mut at = wal.reader().committed_end().unwrap();
        let mut n_small = 0;
        let mut look = |n_others: usize| {
            let (found, end) = read(&wal, at);
            let n_large: usize = found.iter().sum::<usize>() - n_others;
            assert!(n_large <= SLICE_ENTRIES, "{n_large} samples under one hold of the lock");
            assert!(end.offset - at.offset < 2 * SLICE_BYTES as u64, "{at:?} to {end:?}");
            at = end;
            n_large
        };
        let mut n_seen = 0;
        let report = large.commit_in_turns(&mut || {
            n_seen += look(usize::from(n_small > 0));
            stage(&mut small, "small", 1, 100 * ts_ms + n_small);
            assert_eq!(small.commit().unwrap().appended, 1);
            n_small += 1;
        });
        assert_eq!(report.unwrap().appended, MANY);
        n_seen += look(1);
        assert_eq!((n_seen, n_small >= 3), (MANY, true), "{n_small} small ones");
    }
    drop((wal, large, small));
    let (_, summary) = open(dir.path());
    assert!(summary.losses.is_empty(), "{:?}", summary.losses);
    assert_eq!(summary.series, MANY + 1);
}

#[test]
fn an_ordinary_transaction_is_written_in_one_piece() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    let mut appender = wal.appender();
    stage(&mut appender, "ordinary", SLICE_ENTRIES / 2, 1);
    appender.commit_in_turns(&mut || panic!("the lock was given away")).unwrap();
}

#[test]
fn long_labels_and_exemplars_fill_a_slice_too() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    let mut appender = wal.appender();
    let long = "x".repeat(SLICE_BYTES / 10);
    stage(&mut appender, &long, 35, 1);
    let mut n_turns = 0;
    assert_eq!(appender.commit_in_turns(&mut || n_turns += 1).unwrap().appended, 35);
    assert!((3..=4).contains(&n_turns), "{n_turns}");
    for idx in 0..SLICE_ENTRIES {
        let handle = series(&mut appender, "few", idx % 10);
        appender.append(handle, idx as i64, 1.0);
        appender.append_exemplar(handle, ExemplarTime::Own(idx as i64), idx as f64, [].into_iter()).unwrap();
    }
    n_turns = 0;
    let report = appender.commit_in_turns(&mut || n_turns += 1).unwrap();
    assert_eq!((report.appended, report.exemplars, n_turns), (SLICE_ENTRIES, SLICE_ENTRIES, 1));
}

/// Between two slices the segments go that hold the records, if there are any, of what is not written yet.
fn truncate_between_slices(name: &str, n_series: usize, is_known: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    let mut appender = wal.appender();
    let (known, n_known) = if is_known { (name, n_series) } else { ("gone", 1) };
    stage(&mut appender, known, n_known, 1);
    appender.commit().unwrap();
    stage(&mut appender, name, n_series, 2);
    let last = wal.reader().start_segment().unwrap() - 1;
    let mut n_turns = 0;
    let report = appender.commit_in_turns(&mut || {
        if n_turns == 0 {
            let truncated = truncate(&wal, last, &[], None).unwrap();
            assert_eq!(truncated.removed_series, u64::from(!is_known));
        }
        n_turns += 1;
    });
    assert_eq!((report.unwrap().appended, n_turns > 0), (n_series, true));
    drop((wal, appender));
    let (wal, summary) = open(dir.path());
    assert!(summary.losses.is_empty(), "{:?}", summary.losses);
    assert_eq!((summary.series, summary.samples), (n_series, n_series as u64));

    // Nothing is held back any more.
    let mut appender = wal.appender();
    stage(&mut appender, name, n_series, 3);
    appender.commit().unwrap();
    let last = wal.reader().start_segment().unwrap() - 1;
    stage(&mut appender, "other", 1, 4);
    appender.commit().unwrap();
    assert_eq!(truncate(&wal, last, &[], None).unwrap().removed_series, n_series as u64);
}

#[test]
fn no_truncation_takes_series_of_a_transaction_that_is_being_written() {
    truncate_between_slices("many", MANY, true);
    truncate_between_slices("many", MANY, false);
    truncate_between_slices(&"x".repeat(SLICE_BYTES / 10), 25, false);
}

#[test]
fn a_rollback_leaves_the_new_series_that_another_transaction_is_about_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    let (mut writing, mut refused) = (wal.appender(), wal.appender());
    stage(&mut refused, "shared", MANY, 1);
    stage(&mut writing, "shared", MANY, 1);
    let report = writing.commit_in_turns(&mut || refused.rollback());
    assert_eq!((report.unwrap().appended, wal.active_series()), (MANY, MANY));
}

#[test]
fn a_stale_handle_anywhere_leaves_nothing_written_and_nothing_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    let mut appender = wal.appender();
    stage(&mut appender, "many", MANY, 1);
    let last = series(&mut appender, "many", MANY - 1);
    wal.with_table(|table, _| assert!(table.remove(last)));
    let before = wal.reader().committed_end();
    assert!(matches!(appender.commit(), Err(WalError::StaleSeries)));
    assert_eq!(
        (wal.reader().committed_end(), wal.active_series()),
        (before, 0),
        "the series were taken back"
    );
}

#[test]
fn a_disk_that_fills_up_between_slices_costs_what_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let (wal, _) = open_on(&disk, dir.path());
    let mut appender = wal.appender();
    stage(&mut appender, "many", MANY, 1);
    // In the middle of the second slice.
    let mut is_first = true;
    let refused = appender.commit_in_turns(&mut || {
        if std::mem::take(&mut is_first) {
            disk.set(Faults::default().with_room(1000));
        }
    });
    assert!(matches!(refused, Err(WalError::Poisoned { .. })), "{refused:?}");
    let appended = wal.samples_appended();
    let lost = wal.metrics().samples_lost_to_writes.get();
    assert!(appended > 0 && appended <= SLICE_ENTRIES as u64, "{appended}");
    assert_eq!(appended + lost, MANY as u64);
    assert_eq!(read(&wal, Position::default()).0.iter().sum::<usize>() as u64, appended);

    disk.heal();
    stage(&mut appender, "many", MANY, 2);
    assert_eq!(appender.commit().unwrap().appended, MANY);
    drop((wal, appender));
    let (_, summary) = open(dir.path());
    assert!(summary.losses.is_empty(), "{:?}", summary.losses);
    assert_eq!((summary.series, summary.samples), (MANY, appended + MANY as u64));
}

#[test]
fn long_labels_are_left_out_by_their_bytes_and_refused_pages_give_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path());
    wal.bound_series(Arc::new(SeriesBound::new(1_000_000, "of a test").with_max_bytes(10 << 20)));
    let long = "x".repeat(1 << 20);
    let fill = |appender: &mut Appender, round: usize| {
        let is_taken = |idx: &usize| {
            let mut labels = LabelsBuilder::new();
            labels.set("__name__", "long");
            labels.set("text", &format!("{round}-{idx}-{long}"));
            appender.bounded_series(&labels).unwrap().is_some()
        };
        (0..100).filter(is_taken).count()
    };
    let mut appender = wal.appender();
    for round in 0..3 {
        let n_taken = fill(&mut appender, round);
        assert!((5..=11).contains(&n_taken), "{n_taken} in round {round}");
        assert!(wal.with_table(|table, _| table.memory_bytes()) < 16 << 20);
        assert_eq!(fill(&mut appender, round + 10), 0);
        appender.rollback();
        compact_symbols(&wal);
    }
}
