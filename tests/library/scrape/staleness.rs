//! Sequences of pages and what of them stands in the log: every file of `tests/data/scrape` is one case.
//!
//! A file has sections. `[job]` is what stands under the job in `scrape_configs`, `[scrape T]` a page scraped at T
//! seconds (`[scrape T CONTENT-TYPE]` with another type than text, `[scrape T protobuf]` a text form of
//! families), `[fail T]` a target that refuses the connection,
//! `[panic T]`, `[gone T]` a target that is gone, `[reload]` other lines for the job. `[expect]` lists
//! every sample: time, series, value. Labels that are the target's own are left out; the report of a scrape is one
//! line, and why it failed another. What the sections show of a real Prometheus is said above them.

use support::cases;
use support::protobuf::encode;
use support::wal;

use proptest::prelude::*;
use scraped::clock::Clock;
use scraped::commands::query;
use scraped::commands::query::{QueryFormat, QueryOptions};
use scraped::config;
use scraped::config::ScrapeConfig;
use scraped::scrape::error::ScrapeError;
use scraped::scrape::metrics::ScrapeMetrics;
use scraped::scrape::scrape_loop::{ScrapeLoop, ScrapeTime, Worker};
use scraped::scrape::targets::pool::LoopSettings;
use scraped::scrape::targets::target::Target;
use scraped::scrape::targets::target_options::TargetOptions;
use scraped::scrape::targets::target_url::{TargetUrl, UrlScheme};
use scraped_engine::labels::Labels;
use scraped_engine::store::append::Page;
use scraped_engine::store::body_budget::BodyBudget;
use scraped_engine::store::error::PageError;
use scraped_engine::store::permits::Permits;
use scraped_engine::wal::head::Wal;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TEXT: &str = "text/plain; version=0.0.4";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
const INSTANCE: &str = "host:9100";
const JOB: &str = "node";

struct Bench {
    dir: tempfile::TempDir,
    worker: Worker,
    scrape_loop: ScrapeLoop,
    /// Why scrapes failed, by their time.
    errors: BTreeMap<i64, String>,
}

/// Report series that only a setting brings, as a report's line shows them.
const OPTIONAL_REPORTS: [(&str, &str); 6] = [
    ("scrape_timeout_seconds", "timeout"),
    ("scrape_sample_limit", "sample_limit"),
    ("scrape_body_size_bytes", "body"),
    ("scrape_series_limit", "series_limit"),
    ("scrape_series_current", "series"),
    ("scrape_series_limit_samples_dropped", "left_out"),
];

impl Bench {
    fn new(job_lines: &str) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let wal = open(&dir.path().join("data"));
        let metrics = Arc::new(ScrapeMetrics::default());
        let budget = BodyBudget::new(1 << 20, 1 << 20);
        let worker = Worker::new(Permits::new(1, &wal), budget, metrics, Clock::system());
        let (target, config) = job(dir.path(), job_lines);
        let scrape_loop = ScrapeLoop::new(&LoopSettings::alone(target, config, Arc::default()));
        Bench { dir, worker, scrape_loop, errors: BTreeMap::new() }
    }

    fn scrape(&mut self, at_seconds: i64, page: Result<Page<'_>, ScrapeError>) {
        self.scrape_loop.store(&mut self.worker, at(at_seconds), page);
        if let Some(error) = self.scrape_loop.status().last().unwrap().error {
            self.errors.insert(at_seconds * 1000, error);
        }
    }

    fn reload(&mut self, job_lines: &str) {
        let (target, config) = job(self.dir.path(), job_lines);
        self.scrape_loop.replace(&LoopSettings::alone(target, config, Arc::default()));
    }

    /// All samples, in order of time and series.
    fn samples(&self) -> String {
        let mut json = Vec::new();
        let options = QueryOptions {
            selector: "{__name__!=\"\"}".to_owned(),
            since: None,
            path: self.dir.path().join("data"),
            format: QueryFormat::Json,
        };
        query::run(options, &mut json).unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let mut lines: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        let mut reports: BTreeMap<i64, BTreeMap<String, String>> = BTreeMap::new();
        for series in answer["data"]["result"].as_array().unwrap() {
            let mut labels: BTreeMap<String, String> =
                serde_json::from_value(series["metric"].clone()).unwrap();
            let name = labels.remove("__name__").unwrap();
            let is_own = labels.get("instance").is_some_and(|it| it == INSTANCE)
                && labels.get("job").is_some_and(|it| it == JOB);
            if is_own {
                labels.retain(|name, _| name != "instance" && name != "job");
            }
            let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            let braces = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
            for histogram in series["histograms"].as_array().into_iter().flatten() {
                let ts_ms = (histogram[0].as_f64().unwrap() * 1000.0).round() as i64;
                lines.entry(ts_ms).or_default().push(format!("{name}{braces} {}", histogram[1]));
            }
            for value in series["values"].as_array().into_iter().flatten() {
                let ts_ms = (value[0].as_f64().unwrap() * 1000.0).round() as i64;
                let value = value[1].as_str().unwrap();
                if is_own && labels.is_empty() && (name == "up" || name.starts_with("scrape_")) {
                    reports.entry(ts_ms).or_default().insert(name.clone(), value.to_owned());
                    continue;
                }
                lines.entry(ts_ms).or_default().push(format!("{name}{braces} {value}"));
            }
        }
        for (ts_ms, report) in reports {
            let get = |name: &str| report.get(name).map_or("none", |it| it);
            // How long it took is not the same twice; that it is there and no marker is.
            let took: f64 = match get("scrape_duration_seconds") {
                "stale" => f64::NAN,
                seconds => seconds.parse().unwrap(),
            };
            assert!(took.is_nan() || (0.0..60.0).contains(&took), "{took}");
            let mut line = format!(
                "report up={} scraped={} post={} added={}",
                get("up"),
                get("scrape_samples_scraped"),
                get("scrape_samples_post_metric_relabeling"),
                get("scrape_series_added"),
            );
            for (name, short) in OPTIONAL_REPORTS {
                if let Some(value) = report.get(name) {
                    line.push_str(&format!(" {short}={value}"));
                }
            }
            lines.entry(ts_ms).or_default().push(line);
        }
        for (ts_ms, error) in &self.errors {
            lines.entry(*ts_ms).or_default().push(format!("error {error:?}"));
        }
        let mut out = String::new();
        for (ts_ms, mut lines) in lines {
            lines.sort();
            for line in lines {
                out.push_str(&format!("{} {line}\n", ts_ms as f64 / 1000.0));
            }
        }
        out
    }
}

fn open(path: &Path) -> Wal {
    wal::open_with(wal::unlocked(path)).0
}

fn job(dir: &Path, job_lines: &str) -> (Arc<Target>, Arc<ScrapeConfig>) {
    let mut yaml = format!("scrape_configs:\n  - job_name: {JOB}\n    scrape_interval: 10s\n");
    for line in job_lines.lines() {
        yaml.push_str(&format!("    {line}\n"));
    }
    let path = dir.join("scraped.yml");
    fs::write(&path, yaml).unwrap();
    let config = config::load(&path).unwrap_or_else(|errors| panic!("{errors}")).scrape_configs[0].clone();
    let labels = Labels::from_pairs([("instance", INSTANCE), ("job", JOB)]);
    let url = TargetUrl {
        scheme: UrlScheme::Http,
        authority: INSTANCE.to_owned(),
        path_and_query: "/metrics".to_owned(),
    };
    let mut target = Target::new(labels, url, Duration::from_secs(10), Duration::from_secs(10));
    target.options = TargetOptions::of_job(&config);
    (Arc::new(target), config)
}

fn at(seconds: i64) -> ScrapeTime {
    let start = Instant::now();
    ScrapeTime { start, ts_ms: seconds * 1000, deadline: start + Duration::from_secs(10) }
}

fn refused() -> ScrapeError {
    ScrapeError::Connect {
        url: format!("http://{INSTANCE}/metrics"),
        address: INSTANCE.to_owned(),
        cause: "connection refused".to_owned(),
    }
}

/// Head and body of each section.
fn sections(text: &str) -> Vec<(&str, &str)> {
    let mut sections = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("\n[") {
        let section = &rest[start + 2..];
        let (head, behind) = section.split_once("]\n").unwrap_or_else(|| panic!("no ] in {section:?}"));
        let body_end = match behind.starts_with('[') {
            true => 0,
            false => behind.find("\n[").map_or(behind.len(), |end| end + 1),
        };
        sections.push((head, &behind[..body_end]));
        rest = &rest[start + 2..];
    }
    sections
}

fn check(text: &str) -> (String, String) {
    let sections = sections(text);
    let job_lines = sections.iter().find(|(head, _)| *head == "job").map_or("", |(_, body)| body);
    let mut bench = Bench::new(job_lines);
    let mut want = "";
    for (head, body) in &sections {
        let mut words = head.splitn(3, ' ');
        let what = words.next().unwrap();
        let seconds = words.next().map_or(0, |it| it.parse().unwrap());
        match what {
            "job" => {}
            "scrape" if head.ends_with(" protobuf") => {
                let bytes = encode::encode(body.trim_end());
                bench.scrape(seconds, Ok(Page { content_type: PROTOBUF, bytes: &bytes }));
            }
            "scrape" => {
                let page = Page { content_type: words.next().unwrap_or(TEXT), bytes: body.as_bytes() };
                bench.scrape(seconds, Ok(page));
            }
            "fail" => bench.scrape(seconds, Err(refused())),
            "too_large" => {
                bench.scrape(seconds, Err(ScrapeError::Page(PageError::BodySizeLimit { limit_bytes: 10 })))
            }
            "panic" => bench.scrape_loop.after_panic(&mut bench.worker, at(seconds)),
            "gone" => bench.scrape_loop.end_of_run(&mut bench.worker, seconds * 1000),
            "reload" => bench.reload(body),
            "expect" => want = body,
            _ => panic!("what is [{head}]?"),
        }
    }
    (bench.samples(), want.to_owned())
}

#[test]
fn sequences() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/scrape");
    let mut n_cases = 0;
    for file in fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|it| it != "txt") {
            continue;
        }
        n_cases += 1;
        let text = fs::read_to_string(&path).unwrap();
        let (got, want) = check(&text);
        if std::env::var_os("UPDATE_EXPECT").is_some() && got != want {
            let kept = text.split_once("[expect]\n").unwrap().0;
            fs::write(&path, format!("{kept}[expect]\n{got}")).unwrap();
        } else {
            assert_eq!(got, want, "{}", path.display());
        }
    }
    assert!(n_cases > 0);
}

#[derive(Clone, Debug)]
enum Step {
    /// Names with their values.
    Page(BTreeMap<String, i32>),
    /// The same with a mistake behind it.
    Malformed(BTreeMap<String, i32>),
    Refused,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let page = || prop::collection::btree_map("[a-e]", 0..100, 0..5);
    let step = prop_oneof![
        4 => page().prop_map(Step::Page),
        1 => page().prop_map(Step::Malformed),
        1 => Just(Step::Refused),
    ];
    prop::collection::vec(step, 1..12)
}

proptest! {
    #![proptest_config(cases::cases(64))]

    /// A series has a sample wherever a stored page has it, a marker in the first scrape after that without it, and
    /// nothing else, whatever order pages come in.
    #[test]
    fn samples_and_markers_alternate(steps in steps()) {
        let mut bench = Bench::new("");
        let mut want: BTreeMap<String, String> = BTreeMap::new();
        let mut live: BTreeMap<String, i32> = BTreeMap::new();
        for (step, seconds) in steps.iter().zip((10..).step_by(10)) {
            let lines = |page: &BTreeMap<String, i32>| -> String {
                // Every other page backwards.
                let mut lines: Vec<String> = page.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
                if seconds % 20 == 0 {
                    lines.reverse();
                }
                lines.concat()
            };
            let stored = match step {
                Step::Page(page) => {
                    let text = lines(page);
                    bench.scrape(seconds, Ok(Page { content_type: TEXT, bytes: text.as_bytes() }));
                    page.clone()
                }
                Step::Malformed(page) => {
                    let text = lines(page) + "}";
                    bench.scrape(seconds, Ok(Page { content_type: TEXT, bytes: text.as_bytes() }));
                    BTreeMap::new()
                }
                Step::Refused => {
                    bench.scrape(seconds, Err(refused()));
                    BTreeMap::new()
                }
            };
            for name in live.keys().filter(|name| !stored.contains_key(*name)) {
                want.entry(name.clone()).or_default().push_str(&format!("{seconds} stale,"));
            }
            for (name, value) in &stored {
                want.entry(name.clone()).or_default().push_str(&format!("{seconds} {value},"));
            }
            live = stored;
        }
        let mut got: BTreeMap<String, String> = BTreeMap::new();
        for line in bench.samples().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if words[1] != "report" && words[1] != "error" {
                got.entry(words[1].to_owned()).or_default().push_str(&format!("{} {},", words[0], words[2]));
            }
        }
        prop_assert_eq!(got, want);
    }
}
