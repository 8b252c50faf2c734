//! The daemon among targets that misbehave in every way at once: each gets its error, none disturbs another, and memory
//! stays within the budget.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::scraped::{Scraped, free_address};
use support::targets::{Behaviour, FakeTargets, FullBacklog, page};
use support::{PATIENCE, wait_until};

const BUDGET_BYTES: u64 = 16 << 20;

/// What the process may hold beside bodies: text, stacks, the series of the test, and what the allocator keeps.
const BESIDE_BYTES: u64 = 40 << 20;

/// Path, behaviour and a part of the error that the API has to show.
fn bad_targets() -> Vec<(&'static str, Behaviour, &'static str)> {
    let dribble = Duration::from_millis(200);
    let long_page = page(&"dribbled_total 1\n".repeat(1000));
    // They want the whole budget at the same time, so either it is the limit of one body or that of all of them.
    let cap = "--scrape.body-budget";
    vec![
        ("/hangs", Behaviour::Hangs, "context deadline exceeded (while waiting for the response)"),
        (
            "/dribbles",
            Behaviour::Dribbles(long_page.clone(), dribble),
            "deadline exceeded (while reading the body)",
        ),
        (
            "/dribbles-head",
            Behaviour::DribblesHead(dribble),
            "context deadline exceeded (while waiting for the",
        ),
        ("/endless", Behaviour::Endless, cap),
        ("/line", Behaviour::LongLine(200 << 20), cap),
        ("/huge", Behaviour::Huge(100 << 20), cap),
        ("/bomb", Behaviour::GzipBomb(1 << 30), cap),
        ("/bad-gzip", Behaviour::BadGzip, "gzip: invalid header"),
        ("/resets", Behaviour::Resets, "connection reset by peer"),
        ("/closes", Behaviour::Closes, "EOF"),
        ("/cut", Behaviour::CutsBody(long_page.clone(), 100), "unexpected EOF"),
        ("/reset-in-body", Behaviour::ResetsInBody(long_page.clone(), 100), "connection reset by peer"),
        (
            "/type",
            Behaviour::ContentType(long_page.clone(), "text/html".to_owned()),
            "unsupported Content-Type",
        ),
        ("/no-type", Behaviour::NoContentType(long_page), "blank Content-Type"),
        ("/circle", Behaviour::Redirects(302, "/circle".to_owned()), "stopped after 10 redirects"),
        ("/status", Behaviour::Status(503), "server returned HTTP status 503 Whatever"),
        ("/head", Behaviour::HugeHead(11 << 20), "server response headers exceeded 10485760 bytes"),
        ("/nonsense", Behaviour::Raw(page("SSH-2.0-OpenSSH_9.2p1\r\n")), "malformed HTTP response"),
        ("/broken", Behaviour::Healthy(page("fine 1\nbroken{ 1\n")), "line 2"),
    ]
}

#[test]
fn each_gets_its_error_and_nobody_elses_trouble() {
    let targets = FakeTargets::start();
    targets.set("/healthy", Behaviour::Counter);
    let mut jobs = String::new();
    let mut add_job = |name: &str, address: &str, path: &str| {
        jobs.push_str(&format!(
            "- job_name: {name}\n  metrics_path: {path}\n  static_configs: [{{targets: ['{address}']}}]\n"
        ));
    };
    add_job("healthy", &targets.address(), "/healthy");
    let bad = bad_targets();
    for (path, behaviour, _) in &bad {
        targets.set(path, behaviour.clone());
        add_job(&path[1..], &targets.address(), path);
    }
    let (refusing, full) = (free_address(), FullBacklog::fill());
    add_job("refuses", &refusing, "/metrics");
    add_job("unconnected", &full.address(), "/metrics");
    add_job("unknown", "no-such-host.invalid:9100", "/metrics");
    for (job, address) in [("patient", targets.address()), ("patiently-unconnected", full.address())] {
        jobs.push_str(&format!(
            "- job_name: {job}\n  metrics_path: /hangs\n  scrape_interval: 1m\n  scrape_timeout: 1m\n  \
             static_configs: [{{targets: ['{address}']}}]\n"
        ));
    }
    let config = format!("global: {{scrape_interval: 3s, scrape_timeout: 2500ms}}\nscrape_configs:\n{jobs}");
    let budget = format!("--scrape.body-budget={BUDGET_BYTES}B");
    let scraped = Scraped::start_with(&config, &[&budget]);

    let mut expected: Vec<(&str, &str)> = bad.iter().map(|(path, _, error)| (&path[1..], *error)).collect();
    expected.push(("refuses", "connect: connection refused"));
    expected.push(("unconnected", "context deadline exceeded (while connecting)"));
    expected.push(("unknown", "dial tcp: lookup no-such-host.invalid on "));
    for (job, error) in expected {
        // A busy machine may cut a target off in time instead.
        let start = Instant::now();
        loop {
            let target = target(&scraped, job);
            let last_error = target["lastError"].as_str().unwrap_or_default();
            if last_error.contains(error) {
                assert_eq!(target["health"], "down", "{job}");
                break;
            }
            assert_ne!(target["health"], "up", "{job}");
            assert!(start.elapsed() < PATIENCE, "{job}: {last_error:?}, wanted {error:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
    // The healthy one was scraped on time all along, and still is.
    let n_scrapes = targets.n_requests("/healthy");
    wait_until("three more scrapes", || targets.n_requests("/healthy") >= n_scrapes + 3);
    let healthy = target(&scraped, "healthy");
    assert_eq!((healthy["health"].as_str(), healthy["lastError"].as_str()), (Some("up"), Some("")));

    let peak_bytes = peak_resident_bytes(&scraped);
    assert!(peak_bytes < BUDGET_BYTES + BUDGET_BYTES / 4 + BESIDE_BYTES, "{peak_bytes} bytes at the peak");
    let metrics = scraped.get("/metrics").body;
    let panics = metrics.lines().find(|line| line.starts_with("scraped_panics_total"));
    assert!(panics.is_none_or(|line| line.ends_with(" 0")), "{panics:?}");
    // Requests that hang for a minute, or cannot even connect, do not hold up the stop: it takes milliseconds.
    let start = Instant::now();
    assert!(scraped.stop().success());
    assert!(start.elapsed() < Duration::from_secs(8), "the stop took {:?}", start.elapsed());
}

/// The only target of a job, as the API shows it.
fn target(scraped: &Scraped, job: &str) -> Value {
    let answer = scraped.get(&format!("/api/v1/targets?scrapePool={job}"));
    let document: Value = serde_json::from_str(&answer.body).expect("JSON");
    document["data"]["activeTargets"][0].clone()
}

fn peak_resident_bytes(scraped: &Scraped) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", scraped.id())).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// All active targets of a job.
fn targets_of(scraped: &Scraped, job: &str) -> Vec<Value> {
    let answer = scraped.get(&format!("/api/v1/targets?scrapePool={job}"));
    let document: Value = serde_json::from_str(&answer.body).expect("JSON");
    document["data"]["activeTargets"].as_array().expect("a list").clone()
}

fn limited_config(address: &str, refusing: &str, target_limit: u32) -> String {
    let targets = |address: &str, labels: &str| format!("[{{targets: ['{address}'], labels: {{{labels}}}}}]");
    format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, metric_name_validation_scheme: legacy}}\n\
         scrape_configs:\n\
         - job_name: crowded\n  target_limit: {target_limit}\n  scrape_failure_log_file: failures.log\n  \
         static_configs: [{{targets: ['{address}'], labels: {{n: '1'}}}}, {{targets: ['{address}'], labels: {{n: '2'}}}}]\n\
         - job_name: labels\n  label_limit: 2\n  static_configs: {}\n\
         - job_name: refuses\n  scrape_failure_log_file: failures.log\n  static_configs: {}\n\
         - job_name: budget\n  extra_scrape_metrics: true\n  static_configs: {}\n\
         - job_name: mistyped\n  static_configs: {}\n",
        targets(address, ""),
        targets(refusing, ""),
        targets(address, "__series_limit__: '2'"),
        targets(address, "__scrape_native_histograms__: maybe"),
    )
}

#[test]
fn limits_are_told_in_prometheus_words_and_failures_in_a_file() {
    let (targets, refusing) = (FakeTargets::start(), free_address());
    targets.set("/metrics", Behaviour::Healthy(page("a 1\nb 1\nc 1\n")));
    let scraped = Scraped::start_with(&limited_config(&targets.address(), &refusing, 1), &[]);
    let has_error = |job: &str, n_targets: usize, error: &str| {
        wait_until(&format!("{job} says {error:?}"), || {
            let targets = targets_of(&scraped, job);
            targets.len() == n_targets && targets.iter().all(|target| target["lastError"] == error)
        });
    };
    has_error("crowded", 2, "target_limit exceeded (number of targets: 2, limit: 1)");
    has_error("labels", 1, "label_limit exceeded (metric: a, number of labels: 3, limit: 2)");
    let refused =
        format!("Get \"http://{refusing}/metrics\": dial tcp {refusing}: connect: connection refused");
    has_error("refuses", 1, &refused);
    wait_until("the budget is used up", || {
        let target = target(&scraped, "budget");
        let of = |field: &str| target[field].as_u64();
        target["health"] == "up"
            && (of("seriesLimit"), of("seriesCurrent"), of("seriesLimitSamplesDropped"))
                == (Some(2), Some(2), Some(1))
    });
    assert!(scraped.get("/targets").body.contains("2 of 2 series, 1 left out"));
    assert!(targets_of(&scraped, "mistyped").is_empty());
    let metrics = scraped.get("/metrics").body;
    let value = |series: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{metrics}")).parse::<f64>().expect("a number")
    };
    assert_eq!(value("prometheus_target_scrape_pool_target_limit{scrape_job=\"crowded\"}"), 1.0);
    assert!(value("prometheus_target_scrape_pool_exceeded_target_limit_total") >= 1.0);
    assert!(value("prometheus_target_scrape_pool_exceeded_label_limits_total") >= 1.0);
    assert!(value("scraped_series_limit_samples_dropped_total{scrape_job=\"budget\"}") >= 1.0);
    // Only of the job that asked for it: one left-out sample a scrape, counted a moment later.
    let n_durations = value("prometheus_target_scrape_duration_seconds_count");
    let n_left_out = value("scraped_series_limit_samples_dropped_total{scrape_job=\"budget\"}");
    assert!((1.0..=n_left_out + 1.0).contains(&n_durations), "{n_durations} scrapes, {n_left_out} left out");
    assert!(value("prometheus_target_sync_failed_total{scrape_job=\"mistyped\"}") >= 1.0);

    let log = scraped.dir().path().join("failures.log");
    let moved = scraped.dir().path().join("moved.log");
    let lines = |file: &Path| fs::read_to_string(file).unwrap_or_default().lines().count();
    wait_until("failures are written", || lines(&log) >= 2);
    for line in fs::read_to_string(&log).expect("a file").lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["msg"], refused);
        assert_eq!((line["level"].as_str(), line["job_name"].as_str()), (Some("ERROR"), Some("refuses")));
        assert_eq!(line["target"], format!("http://{refusing}/metrics"));
    }
    // A reload opens the file by its name again, and the job that has room now is scraped.
    fs::rename(&log, &moved).expect("renamed");
    scraped.reload_with(&limited_config(&targets.address(), &refusing, 2));
    has_error("crowded", 2, "");
    wait_until("failures are written to a new file", || lines(&log) >= 1);
}
