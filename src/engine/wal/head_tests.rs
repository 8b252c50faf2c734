//! What a log promises whatever happens: one series record a label set, no sample before its series, no ref with two
//! meanings; and that a disk that refuses costs only the commits it refused.

use super::Wal;
use crate::disk::faulty::{Faults, FaultyDisk, Operation};
use crate::disk::{Access, RealDisk};
use crate::labels::Labels;
use crate::labels::builder::LabelsBuilder;
use crate::metrics::Collect;
use crate::metrics::page::Page;
use crate::series::SeriesHandle;
use crate::wal::appender::Appender;
use crate::wal::error::WalError;
use crate::wal::format::record::{Record, decode};
use crate::wal::format::segment;
use crate::wal::format::segment_reader::{SegmentReader, Tail};
use crate::wal::options::{Compression, WalOptions};
use crate::wal::write::commit::CommitReport;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SEGMENT_BYTES: u64 = 64 * 1024;

const NEW_FILE: Operation = Operation::Open(Access::CreateNew);

fn open(dir: &Path) -> Wal {
    open_compressed(dir, Compression::Snappy)
}

fn open_compressed(dir: &Path, compression: Compression) -> Wal {
    open_on(&FaultyDisk::default(), dir, compression)
}

fn open_on(disk: &FaultyDisk, dir: &Path, compression: Compression) -> Wal {
    let options = WalOptions {
        segment_size_bytes: Some(SEGMENT_BYTES),
        compression,
        retention_min_time: Duration::ZERO,
        disk: Arc::new(disk.clone()),
        ..WalOptions::at(dir)
    };
    Wal::open(options, &mut |_, _| {}).unwrap().0
}

/// Drops every clone and, as a crash, leaves the files as they are.
fn crash(wal: Wal, appender: Appender) {
    drop((wal, appender));
}

fn labels(name: &str) -> LabelsBuilder {
    let mut labels = LabelsBuilder::new();
    labels.set("__name__", name);
    labels.set("instance", "localhost:9100");
    labels
}

fn lookup(appender: &mut Appender, name: &str) -> SeriesHandle {
    appender.series(&labels(name)).unwrap().handle
}

/// Looks the series up and commits one sample of each.
fn commit(appender: &mut Appender, names: &[&str], ts_ms: i64) -> Result<CommitReport, WalError> {
    for name in names {
        let handle = lookup(appender, name);
        appender.append(handle, ts_ms, ts_ms as f64);
    }
    appender.commit()
}

/// All samples by the metric name of their series; fails if the log breaks a promise.
fn read(dir: &Path) -> BTreeMap<String, Vec<i64>> {
    let segments = segment::list(&RealDisk, &dir.join("wal")).unwrap();
    assert_eq!(segment::first_gap(&segments), None);
    let mut by_ref: BTreeMap<u64, Labels> = BTreeMap::new();
    let mut label_sets = BTreeSet::new();
    let mut samples: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for file in segments {
        let mut reader =
            SegmentReader::new(segment::open(&RealDisk, &file.path).unwrap(), file.number, Tail::Closed);
        while let Some(record) = reader.next_record().unwrap() {
            match decode(record.bytes) {
                Record::Series(entries) => {
                    for entry in entries {
                        let entry = entry.unwrap();
                        let labels = Labels::from_pairs(entry.labels);
                        assert!(label_sets.insert(labels.clone()), "two series records of {labels:?}");
                        assert_eq!(by_ref.insert(entry.series_ref, labels), None, "a ref with two meanings");
                    }
                }
                Record::Samples(entries) => {
                    for sample in entries {
                        let sample = sample.unwrap();
                        let labels = by_ref.get(&sample.series_ref).expect("a sample before its series");
                        samples.entry(labels.get("__name__").to_owned()).or_default().push(sample.ts_ms);
                    }
                }
                other => panic!("we never wrote {other:?}"),
            }
        }
    }
    samples
}

#[test]
fn samples_come_back_and_series_keep_their_refs() {
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
        let dir = tempfile::tempdir().unwrap();
        let wal = open_compressed(dir.path(), compression);
        let mut appender = wal.appender();
        for ts_ms in 1..=3 {
            assert_eq!(commit(&mut appender, &["a", "b"], ts_ms).unwrap().appended, 2);
        }
        let a = lookup(&mut appender, "a").series_ref;
        wal.close().unwrap();
        assert!(matches!(commit_handle(&mut appender, a_handle(&wal, a), 4), Err(WalError::Closed)));
        assert!(matches!(appender.series(&labels("c")), Err(WalError::Closed)));
        crash(wal, appender);

        let wal = open_compressed(dir.path(), compression);
        let mut appender = wal.appender();
        let found = appender.series(&labels("a")).unwrap();
        assert_eq!((found.handle.series_ref, found.last_ts_ms), (a, 3));
        commit(&mut appender, &["a", "c"], 4).unwrap();
        assert_eq!(wal.current().unwrap().number, 1, "opening starts a new segment");
        wal.close().unwrap();
        let expected = [("a", vec![1, 2, 3, 4]), ("b", vec![1, 2, 3]), ("c", vec![4])];
        assert_eq!(read(dir.path()), expected.map(|(name, ts_ms)| (name.to_owned(), ts_ms)).into());
    }
}

fn a_handle(wal: &Wal, series_ref: crate::series::SeriesRef) -> SeriesHandle {
    wal.with_table(|table, _| table.handle(series_ref).unwrap())
}

fn commit_handle(
    appender: &mut Appender,
    handle: SeriesHandle,
    ts_ms: i64,
) -> Result<CommitReport, WalError> {
    appender.append(handle, ts_ms, 1.0);
    appender.commit()
}

#[test]
fn an_old_sample_is_left_out_until_the_order_check_starts_anew() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let mut appender = wal.appender();
    let a = lookup(&mut appender, "a");
    for ts_ms in [10, 10, 9, 11] {
        appender.append(a, ts_ms, 0.0);
    }
    assert_eq!(
        appender.commit().unwrap(),
        CommitReport { appended: 2, out_of_order: 2, ..Default::default() }
    );
    assert_eq!(
        commit_handle(&mut appender, a, 11).unwrap(),
        CommitReport { appended: 0, out_of_order: 1, ..Default::default() }
    );
    wal.restart_order_check();
    assert_eq!(commit_handle(&mut appender, a, 5).unwrap().appended, 1);
    assert_eq!(commit_handle(&mut appender, a, 5).unwrap().out_of_order, 1);
    wal.close().unwrap();
    assert_eq!(read(dir.path())["a"], [10, 11, 5]);
}

#[test]
fn a_stale_handle_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let mut appender = wal.appender();
    commit(&mut appender, &["a", "b"], 1).unwrap();
    let (a, b) = (lookup(&mut appender, "a"), lookup(&mut appender, "b"));
    wal.with_table(|table, _| table.remove(a));
    let end = wal.reader().committed_end();
    let fresh = lookup(&mut appender, "fresh");
    for handle in [b, fresh, a] {
        appender.append(handle, 2, 0.0);
    }
    assert!(matches!(appender.commit(), Err(WalError::StaleSeries)));
    assert_eq!((appender.staged(), wal.reader().committed_end()), (0, end));
    assert_eq!(wal.active_series(), 1, "the new series is taken back");
    assert_eq!(commit_handle(&mut appender, b, 2).unwrap().appended, 1, "the order check did not move");
}

#[test]
fn rollback_takes_back_only_what_nobody_logged() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let (mut first, mut second) = (wal.appender(), wal.appender());
    let mine = lookup(&mut first, "mine");
    let shared = lookup(&mut first, "shared");
    assert_eq!(lookup(&mut second, "shared"), shared);
    commit_handle(&mut second, shared, 1).unwrap();
    first.append(mine, 1, 0.0);
    first.rollback();
    assert_eq!((first.staged(), wal.active_series()), (0, 1));
    lookup(&mut first, "dropped");
    drop(first);
    assert_eq!(wal.active_series(), 1);
    assert!(matches!(commit_handle(&mut second, mine, 1), Err(WalError::StaleSeries)));
    wal.close().unwrap();
    assert_eq!(read(dir.path()).len(), 1);
}

#[test]
fn racing_appenders_log_a_series_once() {
    const ROUNDS: i64 = 200;
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let mut appender = wal.appender();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    // Everyone is after the same new series; now and then somebody gives up.
                    let names = [format!("shared_{round}"), format!("own_{worker}_{round}")];
                    let handles = names.each_ref().map(|name| lookup(&mut appender, name));
                    if (round + worker) % 5 == 0 {
                        appender.rollback();
                        continue;
                    }
                    for handle in handles {
                        appender.append(handle, round * 10 + worker, 0.0);
                    }
                    match appender.commit() {
                        Ok(_) | Err(WalError::StaleSeries) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    wal.close().unwrap();
    assert!(read(dir.path()).len() > ROUNDS as usize);
}

#[test]
fn segments_rotate_and_a_large_commit_is_one_long_segment() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open_compressed(dir.path(), Compression::None);
    let (sender, receiver) = crossbeam_channel::bounded(1);
    wal.upkeep().wake_with(sender);
    let mut appender = wal.appender();
    let names: Vec<String> = (0..2000).map(|n| format!("metric_{n:04}")).collect();
    let handles: Vec<SeriesHandle> = names.iter().map(|name| lookup(&mut appender, name)).collect();
    for ts_ms in 1..=6 {
        for handle in &handles {
            appender.append(*handle, ts_ms, 0.5);
        }
        appender.commit().unwrap();
    }
    assert!(receiver.try_recv().is_ok(), "a rotated file waits");
    let mut rotated = Vec::new();
    while let Some(next) = wal.upkeep().rotated() {
        wal.upkeep().forget_rotated(next.closed.number);
        rotated.push(next);
    }
    let numbers: Vec<u32> = rotated.iter().map(|rotated| rotated.closed.number).collect();
    assert_eq!(numbers, (0..numbers.len() as u32).collect::<Vec<u32>>());
    assert!(rotated[0].closed.bytes > SEGMENT_BYTES, "series and samples of the first commit stay together");
    assert!(rotated[1..].iter().all(|rotated| rotated.closed.bytes <= SEGMENT_BYTES));
    assert_eq!((rotated[0].closed.samples, rotated[0].closed.newest_ts_ms), (2000, Some(1)));
    wal.upkeep().rotate().unwrap();
    wal.upkeep().rotate().unwrap();
    assert_eq!(wal.current().unwrap().number, numbers.len() as u32 + 1, "an empty segment is not left");
    wal.close().unwrap();
    assert!(read(dir.path()).values().all(|ts_ms| *ts_ms == [1, 2, 3, 4, 5, 6]));
}

#[test]
fn what_an_fsync_refused_is_never_durable_and_a_new_segment_begins() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let wal = open_on(&disk, dir.path(), Compression::Snappy);
    // Nothing is truncated.
    let _mark = wal.reader().claim(crate::wal::format::position::Position::default());
    let mut appender = wal.appender();
    commit(&mut appender, &["a", "b"], 1).unwrap();
    wal.reader().sync().unwrap();
    let durable = wal.reader().committed_end().unwrap();
    assert!(wal.reader().is_durable(durable));
    commit(&mut appender, &["a", "b", "c"], 2).unwrap();
    let refused = wal.reader().committed_end().unwrap();

    disk.set(Faults::refusing([Operation::Sync], libc::EIO));
    match wal.reader().sync() {
        Err(error @ WalError::Unsynced { n_samples: 3, .. }) => {
            assert!(error.to_string().contains("its newest 3 samples"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(wal.current().unwrap().number, 1, "a new segment");
    disk.heal();
    commit(&mut appender, &["a"], 3).unwrap();
    let after = wal.reader().committed_end().unwrap();
    // The file that was left is fsynced once more by maintenance, and that works: it says nothing.
    let mut maintenance =
        crate::wal::keep::maintenance::Maintenance::new(wal.clone(), wal.reader().are_all_known());
    maintenance.cycle(std::time::Instant::now());
    wal.reader().sync().unwrap();
    assert!(
        wal.reader().is_durable(durable)
            && !wal.reader().is_durable(refused)
            && wal.reader().is_durable(after)
    );
    assert_eq!((wal.metrics().fsyncs_failed.get(), wal.metrics().samples_not_durable.get()), (1, 3));

    // A segment that is full is fsynced by maintenance alone.
    commit(&mut appender, &["a"], 4).unwrap();
    let refused = wal.reader().committed_end().unwrap();
    wal.upkeep().rotate().unwrap();
    disk.set(Faults::refusing([Operation::Sync], libc::EIO));
    maintenance.cycle(std::time::Instant::now());
    disk.heal();
    commit(&mut appender, &["a"], 5).unwrap();
    maintenance.cycle(std::time::Instant::now());
    wal.reader().sync().unwrap();
    assert!(
        !wal.reader().is_durable(refused) && wal.reader().is_durable(wal.reader().committed_end().unwrap())
    );
    assert_eq!((wal.metrics().fsyncs_failed.get(), wal.metrics().samples_not_durable.get()), (2, 4));
    wal.close().unwrap();
    assert_eq!(read(dir.path())["a"], [1, 2, 3, 4, 5]);
}

#[test]
fn without_room_for_a_new_segment_the_refused_one_goes_on_and_is_not_durable() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let wal = open_on(&disk, dir.path(), Compression::Snappy);
    // Nothing is truncated.
    let _mark = wal.reader().claim(crate::wal::format::position::Position::default());
    let mut appender = wal.appender();
    commit(&mut appender, &["a"], 1).unwrap();
    disk.set(Faults::refusing([Operation::Sync, NEW_FILE], libc::EIO));
    assert!(matches!(wal.reader().sync(), Err(WalError::Unsynced { .. })));
    commit(&mut appender, &["a"], 2).unwrap();
    disk.set(Faults::refusing([NEW_FILE], libc::ENOSPC));
    assert!(wal.reader().sync().is_err());
    assert!(!wal.reader().is_durable(wal.reader().committed_end().unwrap()));
    disk.heal();
    wal.reader().sync().unwrap();
    assert_eq!(wal.current().unwrap().number, 1);
    commit(&mut appender, &["a"], 3).unwrap();
    crate::wal::keep::maintenance::Maintenance::new(wal.clone(), wal.reader().are_all_known())
        .cycle(std::time::Instant::now());
    assert!(wal.reader().is_durable(wal.reader().committed_end().unwrap()));
    wal.close().unwrap();
    assert_eq!(read(dir.path())["a"], [1, 2, 3]);
}

#[test]
fn an_fsync_needs_no_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let mut appender = wal.appender();
    commit(&mut appender, &["a"], 1).unwrap();
    wal.reader().sync().unwrap();
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Others open files meanwhile: their number is compared until no one does.
    let is_steady = (0..1000).any(|_| {
        let before = count();
        let handle = wal.upkeep().to_sync().unwrap().file;
        let during = count();
        handle.sync().unwrap();
        before == during
    });
    assert!(is_steady);
}

#[test]
fn a_commit_of_many_records_keeps_series_before_samples() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let mut appender = wal.appender();
    let long = "x".repeat(300);
    let names: Vec<String> = (0..9000).map(|n| format!("{long}_{n}")).collect();
    for name in &names {
        let handle = lookup(&mut appender, name);
        for ts_ms in 0..15 {
            appender.append(handle, ts_ms, 0.0);
        }
    }
    assert_eq!(appender.commit().unwrap().appended, 9000 * 15);
    wal.close().unwrap();
    let samples = read(dir.path());
    assert_eq!((samples.len(), samples[&names[8999]].len()), (9000, 15));
    let crossed = segment::list(&RealDisk, &dir.path().join("wal")).unwrap();
    assert!(crossed.len() > 10, "its slices are spread over segments");
}

#[test]
fn without_room_for_a_new_segment_the_old_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let wal = open_on(&disk, dir.path(), Compression::None);
    let mut appender = wal.appender();
    let handles: Vec<SeriesHandle> = (0..1000).map(|n| lookup(&mut appender, &format!("m{n}"))).collect();
    disk.set(Faults::refusing([NEW_FILE], libc::ENOSPC));
    for ts_ms in 1..=20 {
        if ts_ms == 18 {
            disk.heal();
        }
        handles.iter().for_each(|handle| appender.append(*handle, ts_ms, 0.5));
        appender.commit().unwrap();
        assert_eq!(wal.current().unwrap().number, u32::from(ts_ms >= 18));
    }
    wal.close().unwrap();
    assert!(read(dir.path()).values().all(|ts_ms| ts_ms.len() == 20));
}

/// The disk fills up at byte `room_bytes` of a commit of old and new series.
fn fill_disk_at(room_bytes: u64, broken: &[Operation], crash_while_full: bool) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let wal = open_on(&disk, dir.path(), Compression::Snappy);
    let mut appender = wal.appender();
    commit(&mut appender, &["a", "b"], 1).unwrap();
    disk.set(Faults::refusing(broken.iter().copied(), libc::ENOSPC).with_room(room_bytes));
    let refused = match commit(&mut appender, &["a", "new"], 2) {
        Ok(_) => false,
        Err(WalError::Poisoned { .. }) => true,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(wal.metrics().poisoned.get() == 1.0, refused);
    if refused {
        assert!(matches!(commit(&mut appender, &["b", "new"], 3), Err(WalError::Poisoned { .. })));
        assert_eq!(wal.metrics().samples_lost_to_writes.get(), 4);
    }
    let mut expected = BTreeMap::from([("a".to_owned(), vec![1]), ("b".to_owned(), vec![1])]);
    if !refused {
        expected.get_mut("a").unwrap().push(2);
        expected.insert("new".to_owned(), vec![2]);
    }
    let (wal, mut appender) = if crash_while_full {
        crash(wal, appender);
        let wal = open(dir.path());
        let appender = wal.appender();
        (wal, appender)
    } else {
        disk.heal();
        (wal, appender)
    };
    commit(&mut appender, &["a", "new"], 4).unwrap();
    assert_eq!(wal.metrics().poisoned.get(), 0.0);
    expected.get_mut("a").unwrap().push(4);
    expected.entry("new".to_owned()).or_default().push(4);
    wal.close().unwrap();
    let mut found = read(dir.path());
    if crash_while_full && refused {
        // What stood whole behind the last commit may have survived the crash.
        for ts_ms in found.values_mut() {
            ts_ms.retain(|ts_ms| *ts_ms != 2);
        }
    }
    assert_eq!(found, expected, "room for {room_bytes} bytes");
    let reopened = open(dir.path());
    assert_eq!(reopened.active_series(), 3);
    refused
}

#[test]
fn a_disk_that_fills_up_anywhere_costs_only_what_it_refused() {
    let cannot_cut = &[Operation::SetLen];
    let cannot_heal = &[Operation::SetLen, Operation::Open(Access::Replace)];
    let mut room_bytes = 0;
    loop {
        let refused = fill_disk_at(room_bytes, &[], false);
        assert_eq!(fill_disk_at(room_bytes, cannot_cut, false), refused);
        assert_eq!(fill_disk_at(room_bytes, cannot_heal, false), refused);
        assert_eq!(fill_disk_at(room_bytes, cannot_heal, true), refused);
        if !refused {
            break;
        }
        room_bytes += 1;
    }
    assert!(room_bytes > 50, "the commit was cut at each of its {room_bytes} bytes");
}

#[test]
fn series_that_only_the_truncated_part_knows_are_logged_anew() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let mut appender = wal.appender();
    commit(&mut appender, &["idle", "active"], 1).unwrap();
    wal.upkeep().rotate().unwrap();
    commit(&mut appender, &["active"], 2).unwrap();
    wal.with_table(|_, mark| mark.running = Some(0));
    let logged = |appender: &mut Appender, name: &str| {
        let handle = lookup(appender, name);
        wal.with_table(|table, _| table.state(handle).unwrap().logged)
    };
    commit(&mut appender, &["idle", "active"], 3).unwrap();
    commit(&mut appender, &["idle"], 4).unwrap();
    assert_eq!(logged(&mut appender, "idle"), 2, "its record is in segment 1 now");
    assert_eq!(logged(&mut appender, "active"), 1, "the checkpoint will have it");
    wal.close().unwrap();
    std::fs::remove_file(dir.path().join("wal/00000000")).unwrap();
    let bytes = std::fs::read(dir.path().join("wal/00000001")).unwrap();
    let mut reader = SegmentReader::new(&bytes[..], 1, Tail::Closed);
    let mut n_series = 0;
    while let Some(record) = reader.next_record().unwrap() {
        if let Record::Series(entries) = decode(record.bytes) {
            n_series += entries.count();
        }
    }
    assert_eq!(n_series, 1);
}

#[test]
fn metrics_are_on_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let mut appender = wal.appender();
    commit(&mut appender, &["a", "b"], 1).unwrap();
    commit(&mut appender, &["a"], 1).unwrap();
    let mut page = Page::default();
    wal.collect(&mut page);
    let page = page.into_text();
    for line in [
        "prometheus_agent_active_series 2",
        "prometheus_agent_samples_appended_total{type=\"float\"} 2",
        "prometheus_agent_out_of_order_samples_total 1",
        "prometheus_agent_clean_start 1",
        "prometheus_tsdb_wal_segment_current 0",
        "prometheus_tsdb_wal_page_flushes_total 1",
        "scraped_wal_poisoned 0",
        "scraped_wal_samples_lost_total{reason=\"write_failed\"} 0",
    ] {
        assert!(page.lines().any(|it| it == line), "{line} is missing in\n{page}");
    }
}

#[test]
fn a_large_commit_that_is_refused_late_is_taken_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let wal = open_on(&disk, dir.path(), Compression::None);
    let mut appender = wal.appender();
    commit(&mut appender, &["a"], 1).unwrap();
    let end = wal.reader().committed_end().unwrap();
    let long = "x".repeat(1000);
    for round in 2..=3 {
        disk.set(Faults { room_bytes: (round == 2).then_some(2_500_000), ..Faults::default() });
        for n in 0..4000 {
            let handle = lookup(&mut appender, &format!("{long}_{n}"));
            appender.append(handle, round, 0.0);
        }
        let refused = matches!(appender.commit(), Err(WalError::Poisoned { .. }));
        assert_eq!(refused, round == 2);
        if refused {
            let last = segment::list(&RealDisk, &dir.path().join("wal")).unwrap().pop().unwrap();
            assert!(last.number > end.segment && last.bytes == 0, "{last:?}");
        }
    }
    wal.close().unwrap();
    assert_eq!(read(dir.path()).len(), 4001);
}
