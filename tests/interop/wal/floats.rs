//! Real Prometheus reads what we write: `promtool tsdb dump` and a server on copies of the directory.
//!
//! Needs what `scripts/peers` fetches; fails without it.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scraped_engine::disk::RealDisk;
use scraped_engine::float::stale_nan;
use scraped_engine::wal::appender::Appender;
use scraped_engine::wal::format::segment;
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::keep::checkpoint;
use scraped_engine::wal::keep::maintenance::Maintenance;
use scraped_engine::wal::options::{Compression, WalOptions};
use support::wal::peers::{Server, dump, run_agent};
use support::wal::{
    Answer, MIB, ask, ask_all, check_log, commit, copy_dir, open, open_with, options, series, stage,
};
use tempfile::TempDir;

const ALL: &str = r#"{__name__=~".+"}"#;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// What we say, what promtool says and what a server says must be the same.
fn check_peers(dir: &Path, at_ms: i64) -> Answer {
    let ours = ask_all(dir);
    assert_eq!(dump(dir), ours, "promtool tsdb dump");
    let mut without_nan = ours.clone();
    for samples in without_nan.values_mut() {
        samples.retain(|(_, value)| value != "NaN");
    }
    without_nan.retain(|_, samples| !samples.is_empty());
    assert_eq!(Server::start(dir).ask(ALL, at_ms), without_nan, "server");
    ours
}

#[test]
fn values_of_every_kind_come_back_in_every_compression() {
    let now_ms = now_ms();
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
        let dir = TempDir::with_prefix("scraped-test-").unwrap();
        let (wal, _) = open_with(WalOptions { compression, ..options(dir.path()) });
        let mut appender = wal.appender();
        let values =
            [0.0, -0.0, 1.5, -1e300, 5e-324, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, stale_nan(), 3.0];
        for (idx, value) in values.into_iter().enumerate() {
            commit(&mut appender, &["values", "name.with.dots", "ümlaut"], now_ms + idx as i64 * 1000, value);
        }
        wal.close().unwrap();
        let ours = ask_all(dir.path());
        assert_eq!(dump(dir.path()), ours, "{compression:?}");
        assert_eq!(ours.len(), 3);
        assert!(ours.values().all(|samples| samples.len() == values.len()), "{ours:?}");
    }
}

#[test]
fn a_server_answers_with_samples_from_before_and_after_restarts() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let start_ms = now_ms() - 100_000;
    for run in 0..4 {
        let (wal, summary) = open(dir.path());
        assert_eq!(summary.losses, Vec::<String>::new());
        let mut appender = wal.appender();
        for scrape in 0..5 {
            let ts_ms = start_ms + run * 20_000 + scrape * 1000;
            let only_here = format!("run_{run}");
            commit(&mut appender, &["up", "node_load1", &only_here], ts_ms, (run * 10 + scrape) as f64);
        }
        // A kill, or a stop.
        if run % 2 == 0 {
            wal.close().unwrap();
        }
    }
    check_log(dir.path());
    let answer = check_peers(dir.path(), start_ms + 100_000);
    assert_eq!(answer[&series("up")].len(), 20);
    assert_eq!(answer[&series("run_2")].len(), 5);
}

/// Fills the current segment until it is rotated: enough text that does not compress.
fn fill_segment(wal: &Wal, appender: &mut Appender, ts_ms: &mut i64, names: &[&str]) {
    let n_segments = || segment::list(&RealDisk, &wal.path().join("wal")).unwrap().len();
    let before = n_segments();
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    while n_segments() == before {
        for _ in 0..50 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *ts_ms += 100;
            commit(appender, names, *ts_ms, noise as f64);
        }
    }
}

#[test]
fn a_server_answers_after_truncation_and_series_that_come_back() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let start_ms = now_ms() - 3_600_000;
    let mut ts_ms = start_ms;
    let mut options = options(dir.path());
    options.retention_max_bytes = Some(0);
    let (wal, _) = open_with(options.clone());
    let mut appender = wal.appender();
    let mut maintenance = Maintenance::new(wal.clone(), wal.reader().are_all_known());
    commit(&mut appender, &["gone", "back"], ts_ms, 1.0);
    for round in 0..8 {
        let churn: Vec<String> = (0..200).map(|idx| format!("churn_{round}_{idx}")).collect();
        let mut names: Vec<&str> = churn.iter().map(String::as_str).collect();
        names.push("steady");
        fill_segment(&wal, &mut appender, &mut ts_ms, &names);
        maintenance.cycle(Instant::now());
        if round == 6 {
            ts_ms += 1;
            commit(&mut appender, &["back"], ts_ms, 2.0);
        }
        check_log(dir.path());
    }
    assert_eq!(checkpoint::list(&RealDisk, &dir.path().join("wal")).unwrap().len(), 1);
    let answer = check_peers(dir.path(), ts_ms);
    assert!(!answer.contains_key(&series("gone")), "its segment was truncated");
    assert_eq!(answer[&series("back")].len(), 1, "the sample after it came back");
    assert!(answer[&series("steady")].len() > 1000);

    // Once more after a kill, with the same refs.
    drop((appender, maintenance, wal));
    let (wal, summary) = open_with(options);
    assert_eq!(summary.losses, Vec::<String>::new());
    commit(&mut wal.appender(), &["steady", "back", "gone"], ts_ms + 1000, 3.0);
    wal.close().unwrap();
    check_log(dir.path());
    let answer = check_peers(dir.path(), ts_ms + 1000);
    assert_eq!(answer[&series("gone")], [(ts_ms + 1000, "3.0".to_owned())]);
    assert_eq!(answer[&series("back")].len(), 2);
}

#[test]
fn a_server_answers_what_racing_appenders_and_truncations_left() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let start_ms = now_ms() - 1_000_000;
    let mut options = options(dir.path());
    options.retention_max_bytes = Some(3 * MIB);
    let (wal, _) = open_with(options);
    const N_SCRAPES: i64 = 400;
    thread::scope(|scope| {
        let mut scrapers = Vec::new();
        for target in 0..4 {
            let wal = &wal;
            scrapers.push(scope.spawn(move || {
                let mut appender = wal.appender();
                for scrape in 0..N_SCRAPES {
                    // All targets bring the same new series at once, each a sample of its own millisecond.
                    let shared: Vec<String> =
                        (0..40).map(|idx| format!("shared_{}_{idx}", scrape / 50)).collect();
                    let own: Vec<String> = (0..100).map(|idx| format!("own_{target}_{idx}")).collect();
                    let ts_ms = start_ms + scrape * 1000 + target;
                    let names: Vec<&str> = own.iter().map(String::as_str).collect();
                    stage(&mut appender, &names, ts_ms, (scrape as f64).sqrt() + target as f64);
                    let names: Vec<&str> = shared.iter().map(String::as_str).collect();
                    stage(&mut appender, &names, ts_ms, (scrape as f64).sqrt());
                    // A truncation may have taken a series in between: then the scrape runs once more.
                    if appender.commit().is_err() {
                        let names: Vec<&str> = own.iter().map(String::as_str).collect();
                        stage(&mut appender, &names, ts_ms, (scrape as f64).sqrt() + target as f64);
                        appender.commit().expect("handles are fresh");
                    }
                }
            }));
        }
        let wal = wal.clone();
        let maintenance = scope.spawn(move || {
            let mut maintenance = Maintenance::new(wal.clone(), wal.reader().are_all_known());
            for _ in 0..60 {
                maintenance.cycle(Instant::now());
                thread::sleep(Duration::from_millis(10));
            }
            maintenance.cycle(Instant::now());
        });
        for scraper in scrapers {
            scraper.join().unwrap();
        }
        maintenance.join().unwrap();
    });
    check_log(dir.path());
    let answer = check_peers(dir.path(), start_ms + 1_000_000);
    let newest = &answer[&series("own_3_99")];
    assert_eq!(newest.last().unwrap().0, start_ms + (N_SCRAPES - 1) * 1000 + 3);
    wal.close().unwrap();
}

#[test]
fn a_repaired_log_opens_with_every_survivor() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let start_ms = now_ms() - 100_000;
    for run in 0..3 {
        let (wal, _) = open(dir.path());
        let mut appender = wal.appender();
        for scrape in 0..20 {
            let own = format!("run_{run}");
            commit(&mut appender, &["up", &own], start_ms + run * 30_000 + scrape * 1000, scrape as f64);
        }
    }
    let n_bytes = |name: &str| fs::metadata(dir.path().join("wal").join(name)).unwrap().len() as usize;
    let damages: &[(&str, Damage<'_>)] = &[
        ("flip at the start", &|wal| flip(&wal.join("00000000"), 9)),
        ("flip in the middle", &|wal| flip(&wal.join("00000001"), n_bytes("00000001") / 2)),
        ("flip of the last byte", &|wal| flip(&wal.join("00000001"), n_bytes("00000001") - 1)),
        ("flip in the newest", &|wal| flip(&wal.join("00000002"), n_bytes("00000002") / 3)),
        ("torn before others", &|wal| cut(&wal.join("00000000"), n_bytes("00000000") - 3)),
        ("torn end", &|wal| cut(&wal.join("00000002"), n_bytes("00000002") - 3)),
        ("nothing left of one", &|wal| cut(&wal.join("00000001"), 0)),
        ("one is missing", &|wal| fs::remove_file(wal.join("00000001")).unwrap()),
        ("the first is missing", &|wal| fs::remove_file(wal.join("00000000")).unwrap()),
        ("zeros inside", &|wal| zero(&wal.join("00000001"), 100..300)),
    ];
    for (what, damage) in damages {
        let copy = TempDir::with_prefix("scraped-test-").unwrap();
        copy_dir(dir.path(), copy.path());
        damage(&copy.path().join("wal"));
        let (wal, summary) = open(copy.path());
        commit(&mut wal.appender(), &["up", "after"], start_ms + 99_000, 99.0);
        wal.close().unwrap();
        check_log(copy.path());
        let ours = ask_all(copy.path());
        assert_eq!(dump(copy.path()), ours, "{what}: {:?}", summary.losses);
        assert_eq!(ours[&series("after")].len(), 1, "{what}");
        let n_samples: usize = ours.values().map(Vec::len).sum();
        assert!(n_samples > 20 && (n_samples < 122 || summary.losses.is_empty()), "{what}: {n_samples}");
    }
}

type Damage<'a> = &'a dyn Fn(&Path);

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, at: usize) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..at]).unwrap();
}

fn zero(path: &Path, range: std::ops::Range<usize>) {
    let mut bytes = fs::read(path).unwrap();
    bytes[range].fill(0);
    fs::write(path, bytes).unwrap();
}

/// What a real agent wrote is ours now: promtool reads it as before, and our samples behind it.
#[test]
fn logs_that_were_taken_over_open_again() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wal");
    for version in fs::read_dir(data).unwrap() {
        for fixture in fs::read_dir(version.unwrap().path()).unwrap() {
            let fixture = fixture.unwrap().path();
            let dir = TempDir::with_prefix("scraped-test-").unwrap();
            copy_dir(&fixture.join("wal"), &dir.path().join("wal"));
            let before = dump(dir.path());
            let (wal, _) = open(dir.path());
            assert_eq!(dump(dir.path()), before, "{}", fixture.display());
            commit(&mut wal.appender(), &["after"], 1, 1.0);
            wal.close().unwrap();
            assert_eq!(dump(dir.path()), ask_all(dir.path()), "{}", fixture.display());
        }
    }
}

/// The other way round: a real agent goes on where we stopped, and we where it stopped.
#[test]
fn a_real_agent_and_we_take_turns() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let now_ms = now_ms();
    for turn in 0..2 {
        let (wal, summary) = open(dir.path());
        assert_eq!(summary.losses, Vec::<String>::new());
        commit(&mut wal.appender(), &["ours", &format!("turn_{turn}")], now_ms + turn * 1000, turn as f64);
        wal.close().unwrap();
        let log = run_agent(dir.path());
        for word in ["level=ERROR", "corruption", "repair", "non-existing series"] {
            assert!(!log.contains(word), "{word} in {log}");
        }
    }
    let (wal, summary) = open(dir.path());
    assert_eq!(summary.losses, Vec::<String>::new());
    wal.close().unwrap();
    check_log(dir.path());
    let answer = ask_all(dir.path());
    assert_eq!(answer[&series("ours")].len(), 2);
    let own = ask(dir.path(), r#"up{job="itself"}"#);
    let n_own: usize = own.values().map(Vec::len).sum();
    assert!(n_own >= 2, "the agent scraped itself in its turns: {answer:?}");
    assert_eq!(dump(dir.path()), answer);
}

#[test]
fn a_repaired_log_opens_in_a_server_too() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let now_ms = now_ms();
    for run in 0..3 {
        let (wal, _) = open(dir.path());
        commit(&mut wal.appender(), &["up"], now_ms - 10_000 + run, run as f64);
    }
    // Neither a checkpoint nor its series: what replay puts there must be good for a server, an agent and promtool.
    fs::remove_file(dir.path().join("wal/00000000")).unwrap();
    let (wal, _) = open(dir.path());
    commit(&mut wal.appender(), &["up"], now_ms, 9.0);
    wal.close().unwrap();
    let answer = check_peers(dir.path(), now_ms);
    assert_eq!(answer[&series("up")], [(now_ms, "9.0".to_owned())]);
    assert_eq!(ask(dir.path(), "up"), answer);
}
