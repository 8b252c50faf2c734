//! A scrape whose commit goes wrong: handles that the log no longer knows, a disk that refuses, a log that is closed.
//!
//! What goes right is in `tests/library/scrape/staleness.rs`.

use super::*;
use crate::commands::query;
use crate::commands::query::{QueryFormat, QueryOptions};
use crate::scrape::targets::target_url::{TargetUrl, UrlScheme};
use scraped_engine::disk::faulty::{Faults, FaultyDisk};
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::labels::{Labels, METRIC_NAME};
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::options::WalOptions;
use std::path::Path;

const TEXT: &str = "text/plain";

struct Bench {
    dir: tempfile::TempDir,
    disk: FaultyDisk,
    wal: Wal,
    worker: Worker,
    scrape_loop: ScrapeLoop,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        let wal = open(&disk, dir.path());
        let metrics = Arc::new(ScrapeMetrics::default());
        let budget = BodyBudget::new(1 << 20, 1 << 20);
        let worker = Worker::new(Permits::new(1, &wal), budget, metrics, Clock::system());
        let scrape_loop = ScrapeLoop::new(&LoopSettings::alone(target(), config(dir.path()), Arc::default()));
        Bench { dir, disk, wal, worker, scrape_loop }
    }

    fn scrape(&mut self, ts_ms: i64, page: &str) -> LastScrape {
        let page = Page { content_type: TEXT, bytes: page.as_bytes() };
        self.scrape_loop.store(&mut self.worker, at(ts_ms), Ok(page));
        self.scrape_loop.status().last().unwrap()
    }

    fn fail(&mut self, ts_ms: i64) -> LastScrape {
        self.scrape_loop.report_failure(&mut self.worker, at(ts_ms), ScrapeError::BodyTimeout);
        self.scrape_loop.status().last().unwrap()
    }

    fn remove(&self, name: &str) {
        let mut builder = LabelsBuilder::new();
        builder.reset(&target().labels);
        builder.set(METRIC_NAME, name);
        self.wal.remove_series(&builder);
    }

    /// Timestamps and values of one metric, as text.
    fn check(&self, name: &str, want: &str) {
        let mut table = Vec::new();
        let (path, format) = (self.dir.path().to_owned(), QueryFormat::Json);
        query::run(QueryOptions { selector: name.to_owned(), since: None, path, format }, &mut table)
            .unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&table).unwrap();
        let mut got = Vec::new();
        for series in answer["data"]["result"].as_array().unwrap() {
            for value in series["values"].as_array().unwrap() {
                got.push(format!("{}:{}", value[0], value[1].as_str().unwrap()));
            }
        }
        assert_eq!(got.join(" "), want, "{name}");
    }
}

fn open(disk: &FaultyDisk, path: &Path) -> Wal {
    let options = WalOptions {
        segment_size_bytes: Some(1 << 20),
        lock_file: false,
        disk: Arc::new(disk.clone()),
        ..WalOptions::at(path)
    };
    Wal::open(options, &mut |_, _| {}).unwrap().0
}

fn config(dir: &Path) -> Arc<ScrapeConfig> {
    let path = dir.join("scraped.yml");
    std::fs::write(&path, "scrape_configs: [{job_name: node}]").unwrap();
    Arc::clone(&crate::config::load(&path).unwrap().scrape_configs[0])
}

fn target() -> Arc<Target> {
    let labels = Labels::from_pairs([("instance", "host:9100"), ("job", "node")]);
    let url = TargetUrl {
        scheme: UrlScheme::Http,
        authority: "host:9100".to_owned(),
        path_and_query: "/metrics".to_owned(),
    };
    Arc::new(Target::new(labels, url, Duration::from_secs(10), Duration::from_secs(10)))
}

fn at(ts_ms: i64) -> ScrapeTime {
    let start = Instant::now();
    ScrapeTime { start, ts_ms, deadline: start + Duration::from_secs(10) }
}

#[test]
fn series_that_truncation_took_come_back_and_are_not_added_again() {
    let mut bench = Bench::new();
    bench.scrape(1000, "a 1\nb 1\n");
    bench.remove("a");
    let last = bench.scrape(2000, "a 2\nb 2\nc 2\n");
    assert_eq!((last.error, last.series_added, last.samples_scraped), (None, 1, 3));
    bench.check("a", "1:1 2:2");
    bench.check("b", "1:1 2:2");
    bench.check("c", "2:2");
    bench.check("up", "1:1 2:1");
    // The handles found again hold.
    bench.remove("b");
    bench.remove("up");
    assert_eq!(bench.scrape(3000, "a 3\nb 3\nc 3\n").series_added, 0);
    bench.check("b", "1:1 2:2 3:3");
    bench.check("up", "1:1 2:1 3:1");
}

#[test]
fn series_that_vanish_keep_their_marker_when_another_handle_is_stale() {
    let mut bench = Bench::new();
    bench.scrape(1000, "a 1\nb 1\n");
    bench.remove("a");
    bench.scrape(2000, "a 2\n");
    bench.check("a", "1:1 2:2");
    bench.check("b", "1:1 2:stale");
}

#[test]
fn a_stale_handle_among_those_that_vanish_does_not_stop_the_scrape() {
    let mut bench = Bench::new();
    bench.scrape(1000, "a 1\nb 1\n");
    bench.remove("b");
    assert_eq!(bench.scrape(2000, "a 2\n").error, None);
    bench.check("a", "1:1 2:2");
    bench.check("b", "1:1");
    bench.check("up", "1:1 2:1");
    bench.remove("a");
    assert_ne!(bench.fail(3000).error, None);
    bench.check("up", "1:1 2:1 3:0");
    assert_eq!(bench.scrape(4000, "a 4\nb 4\n").error, None);
    bench.check("a", "1:1 2:2 4:4");
    bench.check("b", "1:1 4:4");
}

#[test]
fn a_malformed_page_over_stale_handles_is_up_0() {
    let mut bench = Bench::new();
    bench.scrape(1000, "a 1\nb 1\nc 1\n");
    for name in ["a", "b", "up"] {
        bench.remove(name);
    }
    let last = bench.scrape(2000, "a 2\nnew 2\n} 2\n");
    assert_eq!(last.samples_scraped, 2);
    assert!(last.error.is_some_and(|error| error.starts_with("expected a valid start token")));
    bench.check("a", "1:1");
    bench.check("c", "1:1 2:stale");
    bench.check("new", "");
    bench.check("up", "1:1 2:0");
    bench.scrape(3000, "a 3\nnew 3\n");
    bench.check("a", "1:1 3:3");
    bench.check("new", "3:3");
}

#[test]
fn what_a_full_disk_refused_is_made_up_for_by_the_next_scrape() {
    let mut bench = Bench::new();
    bench.scrape(1000, "a 1\nb 1\n");
    bench.disk.set(Faults::default().with_room(0));
    let last = bench.scrape(2000, "a 2\nnew 2\n");
    assert!(last.error.is_some(), "{last:?}");
    bench.disk.heal();
    let last = bench.scrape(3000, "a 3\nnew 3\n");
    assert_eq!((last.error, last.series_added), (None, 1));
    bench.check("a", "1:1 3:3");
    bench.check("new", "3:3");
    // It vanished in the scrape that was lost.
    bench.check("b", "1:1 3:stale");
    bench.check("up", "1:1 3:1");
}

#[test]
fn a_closed_log_takes_nothing_and_says_so() {
    let mut bench = Bench::new();
    bench.scrape(1000, "a 1\n");
    bench.wal.close().unwrap();
    for page in ["a 2\n", "a 2\nb 2\n", "", "}"] {
        assert!(bench.scrape(2000, page).error.is_some());
    }
    bench.scrape_loop.end_of_run(&mut bench.worker, 3000);
    bench.check("a", "1:1");
}

#[test]
fn a_target_that_is_back_under_another_loop_does_not_end() {
    let mut bench = Bench::new();
    bench.scrape(1000, "a 1\nb 1\n");
    let config = config(bench.dir.path());
    let mut again = ScrapeLoop::new(&LoopSettings::alone(target(), config, Arc::default()));
    let page = Page { content_type: TEXT, bytes: b"a 3\n" };
    assert_eq!(again.store(&mut bench.worker, at(3000), Ok(page)), Answered::Yes);
    bench.scrape_loop.end_of_run(&mut bench.worker, 2000);
    bench.check("a", "1:1 3:3");
    bench.check("b", "1:1 2:stale");
    bench.check("up", "1:1 3:1");
    // Nothing is left to be marked a second time.
    bench.scrape_loop.end_of_run(&mut bench.worker, 4000);
    bench.check("a", "1:1 3:3");
}

#[test]
fn errors_tell_proven_targets_from_suspects() {
    let mut bench = Bench::new();
    let mut check = |page: Result<&str, ScrapeError>, want| {
        let page = page.map(|bytes| Page { content_type: TEXT, bytes: bytes.as_bytes() });
        assert_eq!(bench.scrape_loop.store(&mut bench.worker, at(1000), page.clone()), want, "{page:?}");
    };
    check(Ok("a 1\n"), Answered::Yes);
    check(Ok("}"), Answered::Yes);
    check(Err(ScrapeError::Status { code: 503, reason: String::new(), start: None }), Answered::Yes);
    check(Err(ScrapeError::BodyTimeout), Answered::No);
    check(Err(ScrapeError::Panicked), Answered::No);
}

#[test]
fn a_permit_goes_back_after_a_panic() {
    let bench = Bench::new();
    let permits = Permits::new(1, &bench.wal);
    let soon = || Instant::now() + Duration::from_secs(10);
    for _ in 0..3 {
        let permits = permits.clone();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut permit = permits.acquire(0, soon()).expect("it is free");
            permit.parts().0.decoder = Default::default();
            panic!("a scrape went wrong");
        }));
        assert!(outcome.is_err());
    }
    permits.acquire(0, soon()).expect("none is lost");
}
