//! A process that is killed at any moment, while it writes, rotates and truncates: what it had committed is there.
//!
//! The test binary starts itself again as the writer, which says on standard output what it has committed.

use support::cases;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use scraped_engine::wal::error::WalError;
use scraped_engine::wal::keep::maintenance::{Handle, Maintenance};
use scraped_engine::wal::options::WalOptions;
use support::system::own_process::alone;
use support::wal::{MIB, ask_all, check_log, open_with, options, stage};
use tempfile::TempDir;

/// Set for the writer: its data directory.
const DIR_VARIABLE: &str = "SCRAPED_TEST_KILL_DIR";

/// Series of a scrape; a tenth of them changes every fifty scrapes.
const N_SERIES: i64 = 150;

fn names(ts_ms: i64) -> Vec<String> {
    let name = |idx: i64| {
        if idx % 10 == 0 { format!("churn_{}_{idx}", ts_ms / 50) } else { format!("steady_{idx}") }
    };
    (0..N_SERIES).map(name).collect()
}

fn value(ts_ms: i64, idx: usize) -> f64 {
    ((ts_ms as u64 + 1).wrapping_mul(6_364_136_223_846_793_005).rotate_left(idx as u32) >> 12) as f64
}

/// Not a test by itself: what the killed process runs.
#[test]
fn writer() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE).map(PathBuf::from) else { return };
    let mut options = options(&dir);
    // Rotation and truncation all the time; a mebibyte of this is the reserve.
    options.segment_size_bytes = Some(MIB / 16);
    options.retention_max_bytes = Some(MIB + MIB / 2);
    options.fsync_interval = Duration::from_secs(3600);
    let (wal, summary) = open_with(options);
    let _maintenance = Handle::spawn(wal.clone(), wal.reader().are_all_known()).unwrap();
    let mut appender = wal.appender();
    let mut out = std::io::stdout().lock();
    for ts_ms in summary.newest_ts_ms.map_or(0, |newest_ms| newest_ms + 1).. {
        loop {
            for (idx, name) in names(ts_ms).iter().enumerate() {
                stage(&mut appender, &[name], ts_ms, value(ts_ms, idx));
            }
            match appender.commit() {
                Ok(report) => break assert_eq!(report.appended as i64, N_SERIES),
                // A truncation took a series in between.
                Err(WalError::StaleSeries) => {}
                Err(error) => panic!("{error}"),
            }
        }
        writeln!(out, "committed {ts_ms}").unwrap();
        out.flush().unwrap();
    }
}

/// Runs the writer, kills it after so many commits and some moments more; returns the last commit it told of.
fn write_and_kill(dir: &Path, n_commits: usize, moments: Duration) -> i64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(alone(module_path!(), "writer"))
        .env(DIR_VARIABLE, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let committed = |line: String| line.rsplit_once("committed ").and_then(|(_, ts_ms)| ts_ms.parse().ok());
    let mut last = -1;
    for _ in 0..n_commits {
        let line = lines.find_map(|line| committed(line.unwrap()));
        last = line.expect("the writer goes on until it is killed");
    }
    // Its pipe fills up meanwhile, or not: both moments are of interest.
    thread::sleep(moments);
    child.kill().unwrap();
    child.wait().unwrap();
    lines.map_while(Result::ok).filter_map(committed).last().unwrap_or(last)
}

#[test]
fn what_was_committed_before_the_kill_is_there() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let n_rounds = if cases::is_long() { 300 } else { 8 };
    let mut n_truncations = 0;
    for round in 0..n_rounds {
        let moments = Duration::from_micros(round * 7919 % 20_000);
        let last = write_and_kill(dir.path(), 100 + (round as usize * 131) % 200, moments);

        let kept = WalOptions { retention_min_time: Duration::from_secs(100 * 3600), ..options(dir.path()) };
        let (wal, summary) = open_with(kept);
        // A start leaves what a truncation had not deleted yet to the first round of maintenance, which knows its readers.
        Maintenance::new(wal.clone(), wal.reader().are_all_known()).cycle(Instant::now());
        wal.close().unwrap();
        drop(wal);
        // A kill can tear the end, and lose what nobody was told of.
        assert!(summary.losses.len() <= 1, "{:?}", summary.losses);
        check_log(dir.path());
        let answer = ask_all(dir.path());
        let mut by_time: BTreeMap<i64, BTreeMap<&str, &str>> = BTreeMap::new();
        for (name, samples) in &answer {
            for (ts_ms, value) in samples {
                by_time.entry(*ts_ms).or_default().insert(name, value);
            }
        }
        let (first, newest) = (*by_time.keys().next().unwrap(), *by_time.keys().last().unwrap());
        assert!(newest >= last, "round {round}: {newest} is the newest, {last} was committed");
        for ts_ms in first..=last {
            let samples = by_time.get(&ts_ms).unwrap_or_else(|| panic!("round {round}: {ts_ms} is missing"));
            for (idx, name) in names(ts_ms).iter().enumerate() {
                let expected = format!("{:?}", value(ts_ms, idx));
                let found = samples.get(support::wal::series(name).as_str());
                assert_eq!(found, Some(&expected.as_str()), "round {round}: {name} at {ts_ms}");
            }
        }
        n_truncations += usize::from(first > 0);
    }
    assert!(n_truncations > 0, "no round was long enough for a truncation");
}
