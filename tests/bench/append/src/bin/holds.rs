//! How long the head is held at a time: what small commits wait beside a page of SERIES series, beside questions to the log, and
//! beside maintenance.
//!
//! `cargo run --release --target-dir target/bench --manifest-path tests/bench/append/Cargo.toml --bin holds [-- SERIES]`
//! prints for each kind of work how long it took and the longest that a commit of ten samples took meanwhile; two rows of it
//! have no work on the log, and say what the machine does.

use scraped_engine::history::{Bounds, History};
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::labels::selector::parser::parse_metric_selector;
use scraped_engine::series::SeriesHandle;
use scraped_engine::wal::appender::Appender;
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::keep::truncate_files::truncate;
use scraped_engine::wal::options::WalOptions;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// More than any question takes.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long small commits are looked at with nothing of the log beside them.
const CONTROL: Duration = Duration::from_secs(2);
/// What reading may delay a commit by.
const ALLOWED: Duration = Duration::from_millis(5);

fn main() {
    let n_series = std::env::args().nth(1).map_or(1_000_000, |it| it.parse().expect("SERIES is a number"));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let wal = open(dir.path());
    let mut appender = wal.appender();
    let mut handles = beside(&wal, "series are looked up", || stage_new(&mut appender, n_series, 0, 1));
    beside(&wal, "a page of new series", || appender.commit().expect("it is written"));
    stage_known(&mut appender, &handles, 2);
    beside(&wal, "a page of known series", || appender.commit().expect("it is written"));

    // What the machine itself makes a commit wait, with one core at rest and with one at work.
    beside(&wal, "nothing", || std::thread::sleep(CONTROL));
    beside(&wal, "work that does not know the log", || {
        let start = Instant::now();
        while start.elapsed() < CONTROL {
            std::hint::black_box(vec![1_u8; 64 << 20]);
        }
    });

    let history = History::new(wal.reader());
    let bounds =
        Bounds { max_series: n_series, max_samples: 4 * n_series, deadline: Instant::now() + PATIENCE };
    for (what, selector) in [
        ("a question with =", "http_requests_total{code=\"404\"}"),
        ("a question with a pattern", "{path=~\".*7.*\"}"),
    ] {
        let selectors = [parse_metric_selector(selector).expect("a selector")];
        let found = beside(&wal, what, || history.select(&selectors, 0..=2, &bounds).expect("an answer"));
        assert!(!found.is_empty());
    }

    // Three of four are gone by the time of the second truncation.
    let live = handles.split_off(n_series - n_series / 4);
    let last = wal.reader().start_segment().expect("a segment") - 1;
    stage_known(&mut appender, &live, 3);
    appender.commit().expect("it is written");
    beside(&wal, "truncation that removes three of four", || {
        let truncated = truncate(&wal, last, &[], None).expect("it is truncated");
        assert!(truncated.removed_series as usize >= handles.len());
    });
    let last = wal.reader().start_segment().expect("a segment") - 1;
    stage_known(&mut appender, &live, 4);
    appender.commit().expect("it is written");
    stage_new(&mut appender, n_series, 1, 5);
    appender.commit().expect("it is written");
    beside(&wal, "truncation that keeps all", || truncate(&wal, last, &[], None).expect("it is truncated"));
    stage_new(&mut appender, n_series, 2, 6);
    beside(&wal, "new series that are taken back", || appender.rollback());
    beside(&wal, "restart of the order check", || wal.restart_order_check());
}

fn open(dir: &Path) -> Wal {
    let options = WalOptions { lock_file: false, ..WalOptions::at(dir) };
    Wal::open(options, &mut |_, _| {}).expect("a log").0
}

fn stage_new(appender: &mut Appender, n_series: usize, round: usize, ts_ms: i64) -> Vec<SeriesHandle> {
    let mut labels = LabelsBuilder::new();
    (0..n_series)
        .map(|idx| {
            labels.clear();
            labels.set("__name__", "http_requests_total");
            labels.set("instance", "localhost:9100");
            labels.set("job", "exploding");
            labels.set("path", &format!("/a/path/of/{round}/{idx}"));
            labels.set("code", ["200", "404", "500"][idx % 3]);
            let handle = appender.series(&labels).expect("a series").handle;
            appender.append(handle, ts_ms, idx as f64);
            handle
        })
        .collect()
}

fn stage_known(appender: &mut Appender, handles: &[SeriesHandle], ts_ms: i64) {
    handles.iter().for_each(|handle| appender.append(*handle, ts_ms, 1.5));
}

/// Runs `work` beside a small target that commits every millisecond.
fn beside<T>(wal: &Wal, what: &str, work: impl FnOnce() -> T) -> T {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let small = scope.spawn(|| {
            let mut appender = wal.appender();
            let mut handles = Vec::new();
            let (mut longest, mut n_commits, mut n_late) = (Duration::ZERO, 0, 0);
            for ts_ms in 1_000_000.. {
                let start = Instant::now();
                if handles.is_empty() {
                    handles = (0..10)
                        .map(|idx| {
                            let mut labels = LabelsBuilder::new();
                            labels.set("__name__", &format!("small_{what}_{idx}"));
                            appender.series(&labels).expect("a series").handle
                        })
                        .collect();
                }
                stage_known(&mut appender, &handles, ts_ms);
                if appender.commit().is_err() {
                    handles.clear();
                }
                let took = start.elapsed();
                longest = longest.max(took);
                n_late += usize::from(took > ALLOWED);
                n_commits += 1;
                if is_done.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            (longest, n_commits, n_late)
        });
        std::thread::sleep(Duration::from_millis(20));
        let start = Instant::now();
        let done = work();
        let took = start.elapsed();
        is_done.store(true, Ordering::Relaxed);
        let (longest, n_commits, n_late) = small.join().expect("it ends");
        println!(
            "{what:<40} {:7.1} ms, longest of {n_commits} small commits beside it {:7.1} ms, {n_late} over {ALLOWED:?}",
            took.as_secs_f64() * 1e3,
            longest.as_secs_f64() * 1e3
        );
        done
    })
}
