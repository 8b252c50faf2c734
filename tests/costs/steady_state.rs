//! A page that looks like the last one costs no allocation: parse, cache, transaction and write.

use crate::allocator::ALLOCATIONS;
use crate::alone;
use support::protobuf::encode;
use support::wal::{open_with, unlocked};

use scraped::clock::Clock;
use scraped::config;
use scraped::scrape::metrics::ScrapeMetrics;
use scraped::scrape::scrape_loop::{ScrapeLoop, ScrapeTime, Worker};
use scraped::scrape::targets::pool::LoopSettings;
use scraped::scrape::targets::status::TargetStatus;
use scraped::scrape::targets::target::Target;
use scraped::scrape::targets::target_options::TargetOptions;
use scraped::scrape::targets::target_url::{TargetUrl, UrlScheme};
use scraped_engine::labels::Labels;
use scraped_engine::store::append::Page;
use scraped_engine::store::body_budget::BodyBudget;
use scraped_engine::store::permits::Permits;
use scraped_engine::wal::options::WalOptions;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Types, help texts, labels with escapes, bounds, values of all kinds: as exporters write them.
fn page(round: u32) -> String {
    let mut page = String::new();
    for family in 0..40 {
        writeln!(
            page,
            "# HELP family_{family} A family with a \\\\ in its help.\n# TYPE family_{family} histogram"
        )
        .unwrap();
        for bound in ["0.005", "1", "2.5", "+Inf"] {
            writeln!(
                page,
                "family_{family}_bucket{{path=\"/a\\\"b\",le=\"{bound}\"}} {}",
                round * 7 + family
            )
            .unwrap();
        }
        writeln!(page, "family_{family}_sum{{path=\"/a\\\"b\"}} {}.{family}e-05", round + 1).unwrap();
        writeln!(page, "family_{family}_count 12345678901234567890{round}").unwrap();
        writeln!(page, "{{\"quoted.{family}\",\"a.b\"=\"c\"}} NaN").unwrap();
        writeln!(page, "dropped_{family} {round}").unwrap();
    }
    page
}

/// The same as OpenMetrics, with units and exemplars.
fn openmetrics_page(round: u32) -> String {
    let mut openmetrics = String::new();
    for line in page(round).lines() {
        openmetrics.push_str(line);
        if line.contains("_bucket{") {
            write!(openmetrics, " # {{trace_id=\"{round}\",\"a.b\"=\"c\"}} 0.{round} {round}.125").unwrap();
        } else if line.starts_with("# TYPE ") {
            let name = line.split(' ').nth(2).unwrap();
            let unit = name.strip_prefix("family_").unwrap();
            write!(openmetrics, "\n# UNIT {name} {unit}").unwrap();
        }
        openmetrics.push('\n');
    }
    openmetrics.push_str("# EOF\n");
    openmetrics
}

/// Counters with exemplars, gauges that are dropped, classic and native histograms.
fn protobuf_page(round: u32) -> Vec<u8> {
    let mut families = String::new();
    for family in 0..40 {
        let exemplar = format!(
            "exemplar {{ label {{ name: \"trace_id\" value: \"{round}\" }} value: 0.5 timestamp {{ seconds: {round} }} }}"
        );
        let more = exemplar.replacen("exemplar", "exemplars", 1);
        write!(
            families,
            "name: \"counter_{family}\" help: \"C\" type: COUNTER metric {{ label {{ name: \"a\" value: \"b\" }} \
             counter {{ value: {round} {exemplar} }} }}\n---\n\
             name: \"dropped_{family}\" type: GAUGE metric {{ gauge {{ value: {round} }} }}\n---\n\
             name: \"classic_{family}\" type: HISTOGRAM metric {{ histogram {{ sample_count: {round} sample_sum: 1.5 \
             bucket {{ cumulative_count: {round} upper_bound: 1 {exemplar} }} }} }}\n---\n\
             name: \"native_{family}\" type: HISTOGRAM metric {{ histogram {{ sample_count: 5 sample_sum: {round} \
             schema: 3 zero_threshold: 1e-128 zero_count: 1 positive_span {{ offset: 0 length: 2 }} \
             positive_span {{ offset: 1 length: 1 }} positive_delta: 1 positive_delta: 1 positive_delta: -1 \
             {more} {more} }} }}\n---\n",
        )
        .unwrap();
    }
    encode::encode(families.trim_end_matches("---\n"))
}

/// Classic histograms with exemplars.
fn classic_page(round: u32) -> String {
    let mut page = String::new();
    for family in 0..40 {
        writeln!(page, "# TYPE family_{family} histogram").unwrap();
        for path in ["/a", "/b"] {
            let labels = format!("path=\"{path}\",code=\"200\"");
            for (bound, count) in [("0.005", 1), ("1", 1), ("2.5", round + 1), ("+Inf", round + 5)] {
                let exemplar = format!("{{trace_id=\"{round}\"}} 0.5");
                writeln!(page, "family_{family}_bucket{{{labels},le=\"{bound}\"}} {count} # {exemplar}")
                    .unwrap();
            }
            writeln!(page, "family_{family}_sum{{{labels}}} {round}.5").unwrap();
            writeln!(page, "family_{family}_count{{{labels}}} {}", round + 5).unwrap();
        }
        writeln!(page, "# TYPE dropped_{family} gauge\ndropped_{family} {round}").unwrap();
    }
    page + "# EOF\n"
}

/// Samples of each page, and those that are not dropped.
struct Counts {
    scraped: u64,
    kept: u64,
}

#[test]
fn a_page_like_the_last_one_allocates_nothing() {
    let _alone = alone();
    let counts = Counts { scraped: 320, kept: 280 };
    check("text/plain; version=0.0.4; charset=utf-8", "", counts, |round| page(round).into());
}

#[test]
fn nor_does_openmetrics() {
    let _alone = alone();
    let counts = Counts { scraped: 320, kept: 280 };
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    check(content_type, "", counts, |round| openmetrics_page(round).into());
}

#[test]
fn nor_does_protobuf_with_native_histograms() {
    let _alone = alone();
    let job_lines = "    scrape_native_histograms: true\n    native_histogram_bucket_limit: 2\n";
    // A counter, a gauge, the bucket that is there and +Inf, sum and count, a native histogram.
    check(PROTOBUF, job_lines, Counts { scraped: 280, kept: 240 }, protobuf_page);
}

#[test]
fn nor_do_converted_histograms() {
    let _alone = alone();
    let content_type = "application/openmetrics-text; version=1.0.0";
    let job_lines = "    convert_classic_histograms_to_nhcb: true\n";
    check(content_type, job_lines, Counts { scraped: 120, kept: 80 }, |round| classic_page(round).into());
    let job_lines = format!("{job_lines}    always_scrape_classic_histograms: true\n");
    check(content_type, &job_lines, Counts { scraped: 600, kept: 560 }, |round| classic_page(round).into());
    // A counter, a gauge, a converted histogram and what is native but read as a classic one.
    check(PROTOBUF, &job_lines, Counts { scraped: 440, kept: 400 }, protobuf_page);
}

#[test]
fn nor_do_limits_and_reports() {
    let _alone = alone();
    let job_lines = "    sample_limit: 1000\n    label_limit: 10\n    series_limit: 100\n    extra_scrape_metrics: true\n    \
                     metric_name_validation_scheme: utf8\n    track_timestamps_staleness: true\n";
    let counts = Counts { scraped: 320, kept: 280 };
    check("text/plain; version=0.0.4; charset=utf-8", job_lines, counts, |round| page(round).into());
}

const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Scrapes ten pages, in which only values change.
fn check(content_type: &str, job_lines: &str, counts: Counts, page: impl Fn(u32) -> Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let options = WalOptions { segment_size_bytes: Some(64 << 20), ..unlocked(dir.path()) };
    let wal = open_with(options).0;
    let budget = BodyBudget::new(1 << 20, 1 << 20);
    let metrics = Arc::new(ScrapeMetrics::default());
    let mut worker = Worker::new(Permits::new(1, &wal), budget, metrics, Clock::system());
    let config_path = dir.path().join("scraped.yml");
    let config = format!(
        "scrape_configs:\n  - job_name: node\n    metric_relabel_configs:\n      \
         - {{source_labels: [__name__], regex: dropped_.*, action: drop}}\n{job_lines}"
    );
    std::fs::write(&config_path, config).unwrap();
    let config = Arc::clone(&config::load(&config_path).unwrap().scrape_configs[0]);
    let labels = Labels::from_pairs([("instance", "host:9100"), ("job", "node")]);
    let url = TargetUrl {
        scheme: UrlScheme::Http,
        authority: "host:9100".to_owned(),
        path_and_query: "/metrics".to_owned(),
    };
    let mut target = Target::new(labels, url, Duration::from_secs(10), Duration::from_secs(10));
    target.options = TargetOptions::of_job(&config);
    let status = Arc::new(TargetStatus::default());
    let mut scrape_loop =
        ScrapeLoop::new(&LoopSettings::alone(Arc::new(target), config, Arc::clone(&status)));

    for round in 0..10 {
        let page = page(round);
        let start = Instant::now();
        let at = ScrapeTime {
            start,
            ts_ms: i64::from(round) * 10_000 + 1000,
            deadline: start + Duration::from_secs(10),
        };
        let page = Page { content_type, bytes: &page };
        let before = ALLOCATIONS.get();
        scrape_loop.store(&mut worker, at, Ok(page));
        let n_allocations = ALLOCATIONS.get() - before;
        let last = status.last().unwrap();
        let got = (last.error, last.samples_scraped, last.samples_post_metric_relabeling);
        assert_eq!(got, (None, counts.scraped, counts.kept));
        match round {
            0 => assert!(n_allocations > 100, "{n_allocations}: nothing is counted"),
            // Buffers grow to their size.
            1..=2 => {}
            _ => assert_eq!(n_allocations, 0, "round {round}"),
        }
    }
}
