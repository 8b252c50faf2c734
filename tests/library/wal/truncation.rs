//! Truncation by age and by bytes, round by round: what must stay stays, what goes is counted, refs mean one series.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scraped_engine::disk::faulty::{Before, Faults, FaultyDisk, Operation};
use scraped_engine::disk::{Disk, RealDisk};
use scraped_engine::metrics::Collect;
use scraped_engine::metrics::page::Page;
use scraped_engine::wal::error::WalError;
use scraped_engine::wal::format::segment;
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::keep::checkpoint;
use scraped_engine::wal::keep::maintenance::{Handle, Maintenance};
use scraped_engine::wal::options::WalOptions;
use support::wal::{MIB, ask, ask_all, check_log, commit, open_with, options, series, stage};
use tempfile::TempDir;

const MINUTE_MS: i64 = 60_000;

/// As Linux has it.
const EIO: i32 = 5;

fn temp_dir() -> TempDir {
    TempDir::with_prefix("scraped-test-").unwrap()
}

/// One segment a start: `names` get a sample at this minute.
fn write_minute(options: &WalOptions, minute: i64, names: &[&str]) {
    let (wal, _) = open_with(options.clone());
    commit(&mut wal.appender(), names, minute * MINUTE_MS, minute as f64);
    wal.close().unwrap();
}

/// One round on the log as a start finds it.
fn round(options: &WalOptions) {
    let (wal, _) = open_with(options.clone());
    Maintenance::new(wal.clone(), wal.reader().are_all_known()).cycle(Instant::now());
    wal.close().unwrap();
}

fn minutes(dir: &Path, name: &str) -> Vec<i64> {
    let answer = ask(dir, name);
    answer
        .get(&series(name))
        .map_or(Vec::new(), |samples| samples.iter().map(|(ts, _)| ts / MINUTE_MS).collect())
}

fn counter(wal: &Wal, sample: &str) -> u64 {
    let mut page = Page::default();
    wal.collect(&mut page);
    let page = page.into_text();
    let line = page
        .lines()
        .find(|line| line.starts_with(sample))
        .unwrap_or_else(|| panic!("no {sample} in\n{page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn age_is_measured_against_the_newest_sample() {
    let dir = temp_dir();
    let mut options = options(dir.path());
    options.retention_min_time = Duration::from_secs(30 * 60);
    // The samples are from 1970, and at least 30 minutes of them stay; a little more does, for a checkpoint is not
    // written for one of these tiny segments.
    for minute in 0..100 {
        write_minute(&options, minute, &["up"]);
        round(&options);
        let kept = minutes(dir.path(), "up");
        assert_eq!(kept.last(), Some(&minute));
        assert!(kept.len() as i64 > minute.min(30) && kept.len() < 40, "{kept:?}");
    }
    check_log(dir.path());
}

#[test]
fn series_go_with_their_last_segment_and_come_back_with_one_record() {
    let dir = temp_dir();
    let mut options = options(dir.path());
    options.retention_min_time = Duration::from_secs(10 * 60);
    write_minute(&options, 0, &["gone", "back", "steady"]);
    write_minute(&options, 5, &["steady"]);
    write_minute(&options, 20, &["steady", "late"]);
    let (wal, summary) = open_with(options.clone());
    assert_eq!(summary.series, 4);
    let mut appender = wal.appender();
    let mut labels = scraped_engine::labels::builder::LabelsBuilder::new();
    labels.set("__name__", "gone");
    labels.set("job", "test");
    let gone = appender.series(&labels).unwrap().handle;
    Maintenance::new(wal.clone(), wal.reader().are_all_known()).cycle(Instant::now());
    assert_eq!(wal.active_series(), 2, "gone and back have no samples in what stays");
    check_log(dir.path());
    appender.append(gone, 21 * MINUTE_MS, 1.0);
    assert!(matches!(appender.commit(), Err(WalError::StaleSeries)));
    commit(&mut appender, &["back", "other", "steady"], 22 * MINUTE_MS, 1.0);
    check_log(dir.path());
    wal.close().unwrap();
    let (_, summary) = open_with(options);
    assert_eq!((summary.series, summary.losses), (4, vec![]));
    assert_eq!(minutes(dir.path(), "back"), [22]);
    assert_eq!(minutes(dir.path(), "steady"), [20, 22]);
    assert_eq!(ask(dir.path(), "gone").len(), 0);
}

#[test]
fn order_is_still_checked_after_truncation_and_restart() {
    let dir = temp_dir();
    let mut options = options(dir.path());
    options.retention_min_time = Duration::from_secs(10 * 60);
    for minute in [0, 20, 40] {
        write_minute(&options, minute, &["up"]);
    }
    round(&options);
    let (wal, _) = open_with(options);
    let mut appender = wal.appender();
    stage(&mut appender, &["up"], 40 * MINUTE_MS, 1.0);
    assert_eq!(appender.commit().unwrap().out_of_order, 1);
}

#[test]
fn a_bound_in_bytes_is_kept_and_what_it_costs_is_counted() {
    let dir = temp_dir();
    let mut options = options(dir.path());
    options.retention_max_bytes = Some(6 * MIB);
    let (wal, _) = open_with(options);
    let mut maintenance = Maintenance::new(wal.clone(), wal.reader().are_all_known());
    let mut appender = wal.appender();
    let names: Vec<String> = (0..500).map(|idx| format!("series_{idx}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut noise = 1_u64;
    let n_commits = 3000;
    let mut most_bytes = 0;
    for scrape in 0..n_commits {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        for (idx, name) in names.iter().enumerate() {
            stage(&mut appender, &[name], scrape, f64::from_bits(noise.rotate_left(idx as u32) >> 2));
        }
        appender.commit().unwrap();
        if scrape % 50 == 0 {
            maintenance.cycle(Instant::now());
            most_bytes = most_bytes.max(RealDisk.bytes_under(dir.path()).unwrap());
        }
    }
    maintenance.cycle(Instant::now());
    // A round every segment or so may find the bound passed by one.
    assert!(most_bytes < 7 * MIB, "{most_bytes}");
    check_log(dir.path());
    let answer = ask_all(dir.path());
    let kept: usize = answer.values().map(Vec::len).sum();
    let lost = counter(&wal, "scraped_wal_samples_lost_total{reason=\"retention\"}");
    assert_eq!(kept as u64 + lost, n_commits as u64 * names.len() as u64);
    assert!(lost > 0 && kept > 0);
    // Oldest first: what is kept is the newest of every series.
    for samples in answer.values() {
        assert_eq!(samples.last().unwrap().0, n_commits - 1);
        assert_eq!(samples.len() as i64, n_commits - samples[0].0);
    }
    assert!(counter(&wal, "prometheus_agent_checkpoint_creations_total") > 1);
    assert_eq!(counter(&wal, "prometheus_tsdb_wal_truncations_failed_total"), 0);
}

#[test]
fn max_time_closes_segments_that_grow_slowly() {
    let dir = temp_dir();
    let mut options = options(dir.path());
    options.retention_min_time = Duration::from_secs(60);
    options.retention_max_time = Duration::from_secs(40 * 60);
    let (wal, _) = open_with(options);
    let mut maintenance = Maintenance::new(wal.clone(), wal.reader().are_all_known());
    for minute in 0..200 {
        commit(&mut wal.appender(), &["up"], minute * MINUTE_MS, 1.0);
        maintenance.cycle(Instant::now());
    }
    let kept = minutes(dir.path(), "up");
    assert!(kept[0] >= 145 && kept.last() == Some(&199), "{kept:?}");
    check_log(dir.path());
}

#[test]
fn a_round_without_need_changes_nothing() {
    let dir = temp_dir();
    let options = options(dir.path());
    for minute in [0, 10, 20] {
        write_minute(&options, minute, &["up"]);
    }
    let (wal, _) = open_with(options);
    let before = segment::list(&RealDisk, &dir.path().join("wal")).unwrap();
    let mut maintenance = Maintenance::new(wal.clone(), wal.reader().are_all_known());
    for _ in 0..3 {
        maintenance.cycle(Instant::now());
    }
    assert_eq!(segment::list(&RealDisk, &dir.path().join("wal")).unwrap(), before);
    assert_eq!(checkpoint::list(&RealDisk, &dir.path().join("wal")).unwrap(), []);
    wal.close().unwrap();
    maintenance.cycle(Instant::now());
}

#[test]
fn the_thread_truncates_by_itself_and_stops_at_once() {
    let dir = temp_dir();
    let mut options = options(dir.path());
    options.retention_min_time = Duration::from_secs(10 * 60);
    for minute in [0, 20, 40] {
        write_minute(&options, minute, &["up"]);
    }
    let (wal, _) = open_with(options);
    let handle = Handle::spawn(wal.clone(), wal.reader().are_all_known()).unwrap();
    let start = Instant::now();
    while checkpoint::list(&RealDisk, &dir.path().join("wal")).unwrap().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing was truncated");
        thread::sleep(Duration::from_millis(10));
    }
    let start = Instant::now();
    handle.stop();
    assert!(start.elapsed() < Duration::from_secs(10));
    wal.close().unwrap();
    assert_eq!(minutes(dir.path(), "up"), [40]);
    check_log(dir.path());
}

#[test]
fn a_query_beside_a_busy_daemon_sees_whole_series() {
    let dir = temp_dir();
    let mut options = options(dir.path());
    options.retention_max_bytes = Some(3 * MIB);
    let (wal, _) = open_with(options);
    commit(&mut wal.appender(), &["steady"], -1, 0.0);
    let handle = Handle::spawn(wal.clone(), wal.reader().are_all_known()).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut appender = wal.appender();
            let names: Vec<String> = (0..500).map(|idx| format!("series_{idx}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut noise = 1_u64;
            for scrape in 0..2500 {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                for (idx, name) in names.iter().enumerate() {
                    stage(&mut appender, &[name], scrape, f64::from_bits(noise.rotate_left(idx as u32) >> 2));
                }
                stage(&mut appender, &["steady"], scrape, scrape as f64);
                appender.commit().unwrap();
            }
        });
        let mut n_answers = 0;
        while !writer.is_finished() {
            // The series was named once, at the very start: it is found as long as no checkpoint is missed.
            let answer = ask(dir.path(), "steady");
            let samples = &answer[&series("steady")];
            let first = samples[0].0;
            assert!(
                samples.iter().enumerate().all(|(idx, (ts_ms, _))| *ts_ms == first + idx as i64),
                "a gap"
            );
            n_answers += 1;
        }
        assert!(n_answers > 0);
        writer.join().unwrap();
    });
    handle.stop();
    wal.close().unwrap();
    check_log(dir.path());
    assert!(checkpoint::list(&RealDisk, &dir.path().join("wal")).unwrap().len() == 1, "truncated meanwhile");
}

/// Some segments are gone then, and others are not: the log has not vanished.
#[test]
fn a_disk_that_fails_while_segments_are_removed_takes_nothing_else() {
    let dir = temp_dir();
    let disk = FaultyDisk::default();
    let options = WalOptions {
        retention_min_time: Duration::from_secs(10 * 60),
        disk: Arc::new(disk.clone()),
        ..options(dir.path())
    };
    for minute in 0..30 {
        write_minute(&options, minute, &["up"]);
    }
    let (wal, _) = open_with(options);
    let mut maintenance = Maintenance::new(wal.clone(), wal.reader().are_all_known());
    let failing = disk.clone();
    let removed = AtomicU32::new(0);
    let before = Before::each(move |operation| {
        if operation == Operation::Remove && removed.fetch_add(1, Ordering::Relaxed) == 3 {
            failing.set(Faults::refusing([Operation::Remove], EIO));
        }
    });
    disk.set(Faults { before: Some(before), ..Faults::default() });
    for _ in 0..2 {
        maintenance.cycle(Instant::now());
        assert_eq!(*wal.trouble().lock(), "");
    }
    assert_eq!(counter(&wal, "prometheus_tsdb_wal_truncations_failed_total "), 1);
    disk.heal();
    maintenance.cycle(Instant::now());
    assert_eq!(*wal.trouble().lock(), "");
    wal.close().unwrap();
    check_log(dir.path());
    assert_eq!(minutes(dir.path(), "up"), (19..30).collect::<Vec<_>>());
}

/// It is not durable, and half of it is gone: no segment may go for it.
#[test]
fn a_checkpoint_that_cannot_be_taken_back_is_not_counted_on() {
    let dir = temp_dir();
    let disk = FaultyDisk::default();
    let options = WalOptions {
        retention_min_time: Duration::from_secs(10 * 60),
        disk: Arc::new(disk.clone()),
        ..options(dir.path())
    };
    for minute in 0..30 {
        write_minute(&options, minute, &["up"]);
    }
    let (wal, _) = open_with(options.clone());
    let mut maintenance = Maintenance::new(wal.clone(), wal.reader().are_all_known());
    let (failing, still_failing) = (disk.clone(), disk.clone());
    let removed = Arc::new(AtomicU32::new(0));
    let on_remove = Before::each(move |operation| {
        if operation == Operation::Remove && removed.fetch_add(1, Ordering::Relaxed) == 1 {
            still_failing.set(Faults::refusing([Operation::SyncDir, Operation::Remove], EIO));
        }
    });
    let on_rename = Before::each(move |operation| {
        if operation == Operation::Rename {
            let before = Some(on_remove.clone());
            failing.set(Faults { before, ..Faults::refusing([Operation::SyncDir], EIO) });
        }
    });
    disk.set(Faults { before: Some(on_rename), ..Faults::default() });
    maintenance.cycle(Instant::now());
    disk.heal();
    maintenance.cycle(Instant::now());
    wal.close().unwrap();
    check_log(dir.path());
    assert_eq!(minutes(dir.path(), "up"), (19..30).collect::<Vec<_>>());
}
