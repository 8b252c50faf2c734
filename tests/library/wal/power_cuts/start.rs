//! A start on what a loss of power left: a receiver takes everything, and that is compared with what was known at the cut.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scraped::remote::settle::position::Positions;
use scraped_engine::disk::image::Image;
use scraped_engine::disk::recorder::{Recorder, Recording};
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;
use scraped_engine::wal::format::segment;
use scraped_engine::wal::format::segment_reader::{SegmentReader, Tail};
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::keep::maintenance::Maintenance;
use scraped_engine::wal::options::WalOptions;
use scraped_engine::wal::unstamped::EPOCH_MS;
use scraped_engine::wal::unstamped::side_files::SideFiles;
use support::wal::{check_log, commit};

use super::fates::Moment;
use super::life::{Life, disk};
use crate::simulation::endpoint::{Endpoint, N_SHARDS, REQUEST_SAMPLES, claim};
use crate::simulation::samples::Sample;

/// A start takes no longer, on a machine that does other things as well.
const LONGEST_START: Duration = Duration::from_secs(2);

/// What a start leaves.
pub(super) struct Started {
    /// So many requests of one shard came twice, at most.
    pub(super) most_twice: usize,
    /// What it did to the disk before anything new was scraped.
    pub(super) recording: Recording,
}

/// Starts in `dir`, which is empty, on what was left at `moment` of a life.
///
/// # Panics
/// Something that was durable is lost, something is invented, or more comes twice than was not saved.
pub(super) fn check(life: &Life, image: &Image, moment: Moment, dir: &Path) -> Started {
    image.write_to(dir).expect("the disk takes it");
    let recorder = Recorder::over(Arc::new(disk()), dir).expect("the disk can be read");
    let disk = Arc::new(recorder.clone());
    let options = WalOptions { disk, path: dir.to_owned(), ..life.options.clone() };
    let begin = Instant::now();
    let (wal, summary) = Wal::open(options.clone(), &mut |_, _| {}).expect("a log opens whatever is left");
    assert!(begin.elapsed() < LONGEST_START, "the start took {:?}", begin.elapsed());
    let positions = Positions::open(Arc::clone(&options.disk), dir).expect("a directory");
    let claim = claim(&wal, &positions, summary.samples > 0);
    let known = wal.reader().are_all_known();
    let mut maintenance = Maintenance::new(wal.clone(), known);
    learn_time(&wal, &mut maintenance);
    // What it may count as lost was acknowledged, and removed when the power was cut before its position was saved.
    let all = Endpoint::new(&wal, claim).read_all();
    let received: BTreeSet<Sample> = all.iter().copied().collect();
    assert_eq!(received.len(), all.len(), "a sample stands in the log twice");

    let has_been = |at: Option<Moment>| at.is_some_and(|at| at <= moment);
    for sample in &received {
        let is_committed = life.fates.get(sample).is_some_and(|fate| fate.committed <= moment);
        assert!(is_committed, "{sample:?} was invented; {:?}", summary.losses);
    }
    for (sample, fate) in &life.fates {
        let is_due = has_been(fate.durable) && !has_been(fate.acknowledged);
        assert!(!is_due || received.contains(sample), "{sample:?} is lost: {fate:?}; {:?}", summary.losses);
    }
    let saved = life.saves.iter().rev().find(|(at, _)| *at <= moment).map(|(_, position)| *position);
    let mut twice = [0_usize; N_SHARDS];
    for (sample, fate) in received.iter().map(|sample| (sample, &life.fates[sample])) {
        if has_been(fate.taken) {
            twice[sample.1 % N_SHARDS] += 1;
            let is_saved = saved.is_some_and(|saved| fate.end <= saved);
            assert!(
                !is_saved,
                "{sample:?} comes twice though {saved:?} was saved: {fate:?}; {:?}",
                summary.losses
            );
        }
    }
    let recording = recorder.recording();
    go_on(&wal, maintenance, dir);
    let (_, summary) = Wal::open(options, &mut |_, _| {}).expect("the log opens");
    assert_eq!(summary.losses, Vec::<String>::new(), "nothing is left to repair");
    let most_twice = twice.into_iter().max().unwrap_or(0).div_ceil(REQUEST_SAMPLES);
    Started { most_twice, recording }
}

/// What waited for its time gets it, from a boot that knows it at once.
fn learn_time(wal: &Wal, maintenance: &mut Maintenance) {
    // The boots before it are taken to have ended when it began: that is so, then.
    let booted_ms = newest_waiting_ms(wal);
    let mut side_files = SideFiles::open(wal, "after the cut");
    let flush = || maintenance.write_memory().is_ok();
    side_files.stamp_and_flush(booted_ms, flush).expect("the disk takes it");
    assert_eq!(wal.reader().disk().bytes_under(&wal.path().join("unstamped")).unwrap_or(0), 0);
}

/// Milliseconds from the boot to the newest sample that waits beside the log.
fn newest_waiting_ms(wal: &Wal) -> i64 {
    let disk = wal.reader().disk().clone();
    let dir = wal.path().join("unstamped");
    let mut newest_ms = 0;
    for entry in disk.list(&dir).unwrap_or_default() {
        let file = segment::open(&*disk, &dir.join(entry.name)).expect("a file of the list");
        let mut reader = SegmentReader::new(file, 0, Tail::Closed);
        // What was not synced may be damaged.
        while let Some(read) = reader.next_record().transpose() {
            let Ok(raw) = read else { continue };
            if let Record::Samples(samples) = record::decode(raw.bytes) {
                newest_ms = samples.flatten().map(|sample| sample.ts_ms - EPOCH_MS).fold(newest_ms, i64::max);
            }
        }
    }
    newest_ms
}

/// The log is written again, and is whole for whoever reads it.
fn go_on(wal: &Wal, mut maintenance: Maintenance, dir: &Path) {
    maintenance.cycle(Instant::now());
    commit(&mut wal.appender(), &["after"], 1 << 40, 1.0);
    maintenance.write_memory().expect("the disk takes it");
    drop(maintenance);
    wal.close().expect("the log closes");
    check_log(dir);
}
