//! Real Prometheus reads the histograms, exemplars and metadata that we write: a server, promtool and an agent on
//! copies of the directory.
//!
//! Needs what `scripts/peers` fetches; fails without it.

use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use scraped_engine::disk::RealDisk;
use scraped_engine::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Counts, Histogram, Span};
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::metric_type::MetricType;
use scraped_engine::wal::appender::Appender;
use scraped_engine::wal::format::segment;
use scraped_engine::wal::keep::maintenance::Maintenance;
use scraped_engine::wal::options::{Compression, WalOptions};
use scraped_engine::wal::write::staged::ExemplarTime;
use support::wal::peers::{Server, dump, run_agent};
use support::wal::{ask_all, check_log, kinds, open, open_with, options, series};
use tempfile::TempDir;

const ALL: &str = r#"{__name__=~".+"}"#;

/// Kinds of histograms; a series each.
const NAMES: [&str; 5] = ["integer", "float", "custom_integer", "custom_float", "gauge"];

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// The histogram of a series at its `n`th scrape.
fn histogram(name: &str, n: u64) -> Histogram {
    let integer = Counts::Integer {
        count: 10 * n,
        zero_count: n,
        positive_deltas: vec![n as i64, n as i64, -(n as i64)],
        negative_deltas: vec![5 * n as i64],
    };
    let float = Counts::Float {
        count: 5.5 * n as f64,
        zero_count: 0.5 * n as f64,
        positive: vec![n as f64, 2.0 * n as f64, n as f64],
        negative: vec![n as f64],
    };
    let mut histogram = Histogram {
        schema: 3,
        zero_threshold: 1e-128,
        sum: 1.5 * n as f64,
        counts: if name.ends_with("float") { float } else { integer },
        positive_spans: vec![Span { offset: -3, length: 2 }, Span { offset: 4, length: 1 }],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        ..Histogram::default()
    };
    if name == "gauge" {
        histogram.counter_reset_hint = CounterResetHint::Gauge;
    }
    if name.starts_with("custom") {
        histogram.schema = CUSTOM_BUCKETS_SCHEMA;
        histogram.zero_threshold = 0.0;
        histogram.custom_values = vec![0.25, 1.0];
        histogram.positive_spans = vec![Span { offset: 0, length: 3 }];
        histogram.negative_spans = vec![];
        histogram.counts = if name.ends_with("float") {
            Counts::Float {
                count: 4.0 * n as f64,
                zero_count: 0.0,
                positive: vec![n as f64, 2.0 * n as f64, n as f64],
                negative: vec![],
            }
        } else {
            Counts::Integer {
                count: 4 * n,
                zero_count: 0,
                positive_deltas: vec![n as i64, n as i64, -(n as i64)],
                negative_deltas: vec![],
            }
        };
    }
    histogram
}

/// One scrape of a target with all of it.
fn scrape(appender: &mut Appender, ts_ms: i64, n: u64) {
    let mut labels = LabelsBuilder::new();
    for name in NAMES.iter().chain(&["up", "filler"]) {
        labels.clear();
        labels.set("__name__", name);
        labels.set("job", "test");
        let handle = appender.series(&labels).unwrap().handle;
        if !NAMES.contains(name) {
            appender.append(handle, ts_ms, n as f64);
            continue;
        }
        let histogram = histogram(name, n);
        histogram.validate().unwrap();
        appender.append_histogram(handle, ts_ms, &histogram);
        let trace = format!("{name}-{n}");
        let labels = [("trace_id", trace.as_str()), ("empty", "")];
        appender
            .append_exemplar(handle, ExemplarTime::Own(ts_ms - 5), 0.1 * n as f64, labels.into_iter())
            .unwrap();
    }
    let report = appender.commit().unwrap();
    assert_eq!((report.histograms, report.exemplars), (NAMES.len(), NAMES.len()));
}

fn check_server(dir: &Path, at_ms: i64) {
    let server = Server::start(dir);
    assert_eq!(server.ask(ALL, at_ms), ask_all(dir), "floats");
    let ours = kinds::histograms(dir);
    assert_eq!(ours.len(), NAMES.len());
    assert_eq!(server.ask_histograms(ALL, at_ms), ours);
    let ours = kinds::exemplars(dir);
    assert_eq!(server.ask_exemplars(ALL, at_ms), ours);
    for word in ["level=ERROR", "level=WARN", "corruption"] {
        assert!(!server.log().contains(word), "{word} in {}", server.log());
    }
}

#[test]
fn a_server_has_every_histogram_and_exemplar_in_every_compression() {
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
        let dir = TempDir::with_prefix("scraped-test-").unwrap();
        let start_ms = now_ms() - 60_000;
        for run in 0..2 {
            let (wal, summary) = open_with(WalOptions { compression, ..options(dir.path()) });
            assert_eq!(summary.losses, Vec::<String>::new());
            let mut appender = wal.appender();
            for n in 1..=5 {
                scrape(&mut appender, start_ms + (run * 10 + n) * 1000, (run * 5 + n) as u64);
            }
            wal.close().unwrap();
        }
        check_log(dir.path());
        check_server(dir.path(), start_ms + 60_000);
        assert_eq!(dump(dir.path()), ask_all(dir.path()));
    }
}

#[test]
fn a_server_has_what_truncation_left() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let mut options = options(dir.path());
    options.retention_max_bytes = Some(0);
    let (wal, _) = open_with(options);
    let mut appender = wal.appender();
    let mut maintenance = Maintenance::new(wal.clone(), wal.reader().are_all_known());
    let start_ms = now_ms() - 20_000_000;
    let (mut ts_ms, mut n) = (start_ms, 1);
    while segment::list(&RealDisk, &dir.path().join("wal")).unwrap()[0].number < 3 {
        for _ in 0..200 {
            ts_ms += 100;
            n += 1;
            scrape(&mut appender, ts_ms, n);
        }
        maintenance.cycle(Instant::now());
    }
    wal.close().unwrap();
    check_log(dir.path());
    let server = Server::start(dir.path());
    let ours = kinds::histograms(dir.path());
    assert_eq!(ours.len(), NAMES.len());
    assert_eq!(server.ask_histograms(ALL, ts_ms), ours);
    assert!(ours[&series("float")].len() > 500);
}

#[test]
fn an_agent_goes_on_with_a_log_of_all_kinds() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let start_ms = now_ms() - 60_000;
    let (wal, _) = open(dir.path());
    scrape(&mut wal.appender(), start_ms, 1);
    wal.close().unwrap();
    let before = (kinds::histograms(dir.path()), kinds::exemplars(dir.path()));
    let log = run_agent(dir.path());
    for word in ["level=ERROR", "corruption", "repair", "non-existing series"] {
        assert!(!log.contains(word), "{word} in {log}");
    }
    let (wal, summary) = open(dir.path());
    assert_eq!(summary.losses, Vec::<String>::new());
    wal.close().unwrap();
    check_log(dir.path());
    assert_eq!((kinds::histograms(dir.path()), kinds::exemplars(dir.path())), before);
}

/// Written only where it is asked for: an agent never gets over two such records (tsdb/agent/db.go: loadWAL).
#[test]
fn a_server_takes_metadata_without_a_word() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let (wal, _) = open(dir.path());
    let mut appender = wal.appender();
    let ts_ms = now_ms() - 10_000;
    let mut labels = LabelsBuilder::new();
    for (name, metric_type) in [
        ("a_total", MetricType::Counter),
        ("b", MetricType::Gauge),
        ("c", MetricType::GaugeHistogram),
        ("d", MetricType::StateSet),
        ("e", MetricType::Unknown),
    ] {
        labels.clear();
        labels.set("__name__", name);
        labels.set("job", "test");
        let handle = appender.series(&labels).unwrap().handle;
        appender.append(handle, ts_ms, 1.0);
        appender.append_metadata(handle, metric_type, "seconds", "Says\nwhat it is.");
    }
    appender.commit().unwrap();
    wal.close().unwrap();
    assert_eq!(kinds::metadata(dir.path()).len(), 5);
    let server = Server::start(dir.path());
    assert_eq!(server.ask(ALL, ts_ms), ask_all(dir.path()));
    for word in ["level=ERROR", "level=WARN", "corruption"] {
        assert!(!server.log().contains(word), "{word} in {}", server.log());
    }
    assert_eq!(dump(dir.path()), ask_all(dir.path()));
}
