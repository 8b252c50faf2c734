//! Pages that are made to be expensive: four times as much of it costs about four times as much, whatever it is.
//!
//! Measured in processor time of the thread, so that a busy machine does not disturb; a cost that grows with the square
//! would be sixteen times as much.

use crate::alone;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use scraped::clock::Clock;
use scraped::config;
use scraped::scrape::metrics::ScrapeMetrics;
use scraped::scrape::scrape_loop::{ScrapeLoop, ScrapeTime, Worker};
use scraped::scrape::targets::pool::LoopSettings;
use scraped::scrape::targets::target::Target;
use scraped::scrape::targets::target_options::TargetOptions;
use scraped::scrape::targets::target_url::{TargetUrl, UrlScheme};
use scraped_engine::families::MetadataStore;
use scraped_engine::labels::Labels;
use scraped_engine::store::append::Page;
use scraped_engine::store::body_budget::BodyBudget;
use scraped_engine::store::decode::ContentEncoding;
use scraped_engine::store::decode::Decoder;
use scraped_engine::store::pace::Pace;
use scraped_engine::store::permits::Permits;
use scraped_engine::store::rules::MetadataRecords;
use scraped_engine::wal::options::WalOptions;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::wal::{open_with, unlocked};

const TEXT: &str = "text/plain; version=0.0.4";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Four times the size may cost this many times as much: a sort costs a little more than in proportion, memory that
/// does not fit a cache too.
const MAX_GROWTH: f64 = 9.0;

/// Noise, beside the growth.
const SLACK: Duration = Duration::from_millis(40);

/// One way to be expensive.
struct Case {
    name: &'static str,
    /// What the smallest of three sizes is.
    size: usize,
    /// Lines of the job.
    job: &'static str,
    content_type: &'static str,
    /// What the last scrape says; empty for one that is stored.
    error: &'static str,
    /// One page after the other.
    pages: fn(usize) -> Vec<Vec<u8>>,
}

fn lines(n_lines: usize, line: impl Fn(usize) -> String) -> String {
    (0..n_lines).map(line).collect()
}

/// A series with these labels.
fn series(n_labels: usize, label: impl Fn(usize) -> String) -> Vec<Vec<u8>> {
    vec![format!("a{{{}}} 1\n", lines(n_labels, |idx| label(idx) + ",")).into_bytes()]
}

fn descending(n_labels: usize) -> Vec<Vec<u8>> {
    series(n_labels, |idx| format!("l{:07}=\"1\"", n_labels - idx))
}

/// As in protobuf, with its length before it.
fn message(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    put_length(&mut out, content.len());
    out.extend_from_slice(content);
    out
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// A page with one histogram.
fn histogram(labels: &[u8], histogram: &[u8]) -> Vec<Vec<u8>> {
    let metric = [labels, &message(7, histogram)].concat();
    let family = [&message(1, b"a"), &[3 << 3, 4][..], &message(4, &metric)].concat();
    let mut page = Vec::new();
    put_length(&mut page, family.len());
    page.extend_from_slice(&family);
    vec![page]
}

fn bucket(bound: f64, count: u8) -> Vec<u8> {
    let bound = [&[2 << 3 | 1][..], &bound.to_le_bytes()].concat();
    message(3, &[&[1 << 3, count][..], &bound].concat())
}

fn label(name: &str, value: &str) -> Vec<u8> {
    message(1, &[message(1, name.as_bytes()), message(2, value.as_bytes())].concat())
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let case = |name, size, job, content_type, error, pages| Case { name, size, job, content_type, error, pages };
    let convert = "convert_classic_histograms_to_nhcb: true";
    let map = "label_limit: 9000000\nmetric_relabel_configs: [{action: labelmap, regex: 'l(.*)', replacement: 'k$1'}]";
    let drop = "label_limit: 9000000\nmetric_relabel_configs: [{action: labeldrop, regex: 'l.*'}]";
    vec![
        case("labels in descending order", 20_000, "label_limit: 9000000", TEXT, "", descending),
        case("more labels than label_limit", 40_000, "label_limit: 50", TEXT, "label_limit exceeded (metric: a, number of labels: 160003, limit: 50)", descending),
        case("labels without a limit", 40_000, "", TEXT, "too many labels (metric: a, number of labels: 160003, limit where label_limit is not set: 10000)", descending),
        case("labels that are mapped", 10_000, map, TEXT, "", |n| series(n, |idx| format!("l{:07}=\"1\"", n - idx))),
        case("labels that are dropped", 20_000, drop, TEXT, "", |n| series(n, |idx| format!("l{:07}=\"1\"", n - idx))),
        case("a value for a pattern of many states", 2_000, "metric_relabel_configs: [{action: drop, source_labels: [b], regex: '.*a[ab]{900}c'}]", TEXT, "", |n| {
            vec![format!("a{{b=\"{}\"}} 1\n", "a".repeat(n)).into_bytes()]
        }),
        case("a value too long for a pattern", 400_000, "metric_relabel_configs: [{action: drop, source_labels: [b], regex: '.*a[ab]{900}c'}]", TEXT, "a label is too long for the regex of rule 1 of metric_relabel_configs…", |n| {
            vec![format!("a{{b=\"{}\"}} 1\n", "a".repeat(n)).into_bytes()]
        }),
        case("labels without a value", 10_000, "label_limit: 9000000", TEXT, "", |n| {
            series(n, |idx| format!("l{:07}=\"1\",l{:07}=\"\"", n - idx, n - idx))
        }),
        case("one label again and again", 20_000, "label_limit: 9000000", TEXT, "label name \"b\" is not unique: invalid sample", |n| {
            series(n, |_| "b=\"1\"".to_owned())
        }),
        case("a chain of exported_", 200_000, "", TEXT, "", |n_bytes| {
            // As many as fit: each is longer than the one before.
            let n_labels = ((n_bytes / 5) as f64).sqrt() as usize;
            series(n_labels, |idx| format!("{}job=\"1\"", "exported_".repeat(idx)))
        }),
        case("buckets in descending order", 10_000, convert, TEXT, "", |n| {
            vec![format!("# TYPE a histogram\n{}", lines(n, |idx| format!("a_bucket{{le=\"{}\"}} 1\n", n - idx))).into_bytes()]
        }),
        case("buckets of protobuf in descending order", 30_000, convert, PROTOBUF, "", |n| {
            histogram(b"", &(0..n).flat_map(|idx| bucket((n - idx) as f64, 0)).collect::<Vec<_>>())
        }),
        case("long labels for many buckets", 2_000, "", PROTOBUF, "the labels of the page's new series take more than eight times the page and 64 MiB (…", |n| {
            let buckets: Vec<u8> = (0..n * 10).flat_map(|idx| bucket(idx as f64, 0)).collect();
            histogram(&label("long", &"x".repeat(n * 100)), &buckets)
        }),
        case("spans without buckets", 40_000, "scrape_native_histograms: true", PROTOBUF, "", |n| {
            histogram(b"", &(0..n).flat_map(|_| message(12, &[1 << 3, 2])).collect::<Vec<_>>())
        }),
        case("a long text that is gone", 10_000, "", TEXT, "", |n| {
            let short = lines(n, |idx| format!("b{idx} 1\n"));
            vec![format!("a{{b=\"{}\"}} 1\n", "x".repeat(n * 100)).into_bytes(), short.into_bytes()]
        }),
        case("texts in another order", 10_000, "", TEXT, "", |n| {
            let page = |at: &dyn Fn(usize) -> usize| lines(n, |idx| format!("b{} 1\n", at(idx))).into_bytes();
            vec![page(&|idx| idx), page(&|idx| n - idx), page(&|idx| idx * 7919 % n)]
        }),
        case("one sample again and again", 40_000, "", TEXT, "", |n| vec!["b 1\n".repeat(n).into_bytes()]),
        case("a family described again and again", 20_000, "", TEXT, "", |n| {
            vec![lines(n, |idx| format!("# HELP a {idx}\n# TYPE a {}\n", ["gauge", "counter"][idx % 2])).into_bytes()]
        }),
        case("a long help for many series", 4_000, "", TEXT, "", |n| {
            vec![format!("# HELP a {}\n{}", "x".repeat(n * 10), lines(n, |idx| format!("a{{b=\"{idx}\"}} 1\n"))).into_bytes()]
        }),
        case("families that never come back", 10_000, "", TEXT, "", |n| {
            (0..2).map(|page| lines(n, |idx| format!("# HELP a{page}_{idx} x\na{page}_{idx} 1\n")).into_bytes()).collect()
        }),
        case("an exemplar with many labels", 10_000, "", OPENMETRICS, "", |n| {
            let labels = lines(n, |idx| format!("l{:07}=\"1\",", n - idx));
            vec![format!("a_total 1 # {{{}}} 1\n# EOF\n", labels.trim_end_matches(',')).into_bytes()]
        }),
        case("blank lines", 2_000_000, "", TEXT, "", |n| vec![b"\n".repeat(n)]),
        case("comments", 100_000, "", TEXT, "", |n| vec![b"#\n".repeat(n)]),
    ]
}

struct Bench {
    _dir: tempfile::TempDir,
    worker: Worker,
    scrape_loop: ScrapeLoop,
}

impl Bench {
    fn new(job_lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let wal = open_with(WalOptions { segment_size_bytes: Some(64 << 20), ..unlocked(&data) }).0;
        let mut yaml = "scrape_configs:\n- job_name: j\n".to_owned();
        job_lines.lines().for_each(|line| writeln!(yaml, "  {line}").unwrap());
        let path = dir.path().join("scraped.yml");
        fs::write(&path, yaml).unwrap();
        let config = config::load(&path).unwrap_or_else(|error| panic!("{error}")).scrape_configs[0].clone();
        let url = TargetUrl {
            scheme: UrlScheme::Http,
            authority: "h:1".to_owned(),
            path_and_query: "/metrics".to_owned(),
        };
        let labels = Labels::from_pairs([("instance", "h:1"), ("job", "j")]);
        let mut target = Target::new(labels, url, Duration::from_secs(600), Duration::from_secs(600));
        target.options = TargetOptions::of_job(&config);
        let (budget, metrics) = (BodyBudget::new(1 << 20, 1 << 20), Arc::new(ScrapeMetrics::default()));
        let worker = Worker::new(Permits::new(1, &wal), budget, metrics, Clock::system())
            .with_metadata(Arc::new(MetadataStore::new()), MetadataRecords::Written);
        let scrape_loop = ScrapeLoop::new(&LoopSettings::alone(Arc::new(target), config, Arc::default()));
        Self { _dir: dir, worker, scrape_loop }
    }
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// The least of some attempts.
fn least(mut attempt: impl FnMut() -> Duration) -> Duration {
    (0..2).map(|_| attempt()).min().unwrap()
}

fn cost(case: &Case, size: usize) -> (Duration, String) {
    let pages = (case.pages)(size);
    let mut told = String::new();
    let cost = least(|| {
        let mut bench = Bench::new(case.job);
        let before = processor_time();
        for (bytes, seconds) in pages.iter().zip(1..) {
            let start = Instant::now();
            let at = ScrapeTime { start, ts_ms: seconds * 1000, deadline: start + Duration::from_secs(600) };
            bench.scrape_loop.store(
                &mut bench.worker,
                at,
                Ok(Page { content_type: case.content_type, bytes }),
            );
        }
        let cost = processor_time() - before;
        told = bench.scrape_loop.status().last().unwrap().error.unwrap_or_default();
        cost
    });
    (cost, told)
}

fn fits(told: &str, pattern: &str) -> bool {
    pattern.strip_suffix('…').map_or(told == pattern, |start| told.starts_with(start))
}

#[test]
fn four_times_as_much_costs_about_four_times_as_much() {
    let _alone = alone();
    let mut mistakes = Vec::new();
    for case in cases() {
        let (small, _) = cost(&case, case.size);
        let (large, told) = cost(&case, 4 * case.size);
        println!("{}: {small:?}, {large:?}", case.name);
        if large > small.mul_f64(MAX_GROWTH) + SLACK {
            mistakes.push(format!(
                "{}: {small:?} for {}, {large:?} for four times as much",
                case.name, case.size
            ));
        }
        if !fits(&told, case.error) {
            mistakes.push(format!("{}: {told:?} is told", case.name));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

/// A page in pieces of some bytes, each a gzip stream of its own.
#[test]
fn members_of_gzip_cost_in_proportion_to_their_bytes() {
    let _alone = alone();
    let member = |content: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    for content in [&b""[..], b"a 1\n"] {
        let cost = |n_members: usize| {
            let body = member(content).repeat(n_members);
            let budget = BodyBudget::new(64 << 20, 64 << 20);
            least(|| {
                let (mut decoder, mut decoded) = (Decoder::default(), budget.decoded_buffer());
                let before = processor_time();
                let mut pace = Pace::alone(Instant::now() + Duration::from_secs(600));
                let page = decoder.decode(ContentEncoding::Gzip, &body, &mut decoded, 0, &mut pace).unwrap();
                assert_eq!(page, content.repeat(n_members));
                processor_time() - before
            })
        };
        let few = cost(10_000);
        // 32 KiB to clear for each would be 3 ms of memory alone, and 20 without optimisation of the rest.
        println!("10000 members of {} bytes: {few:?}", content.len());
        let many = cost(40_000);
        assert!(many < few.mul_f64(MAX_GROWTH) + SLACK, "{few:?}, {many:?}");
    }
}
