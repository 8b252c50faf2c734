//! Targets whose pages cost much processor time, beside one whose pages do not: it is scraped on time, what takes too
//! long is undone at its deadline, and a stop waits for none of them.

use crate::alone;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use support::api::active;
use support::command::{query, values};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, packed_page, page};
use support::{wait_for_long, wait_until};

/// The good target is scraped every second; a busy machine may skip some slots.
const LONGEST_PAUSE_MS: i64 = 6_000;

fn lines(n_lines: usize, line: impl Fn(usize) -> String) -> String {
    (0..n_lines).map(line).collect()
}

fn descending_labels(n_labels: usize) -> String {
    format!("a{{{}}} 1\n", lines(n_labels, |idx| format!("l{:06}=\"1\",", n_labels - idx)))
}

/// A page of new series each time.
fn many_series(n_series: usize) -> Arc<[u8]> {
    packed_page(&lines(n_series, |idx| format!("many{{idx=\"{idx}\",le=\"1\"}} 1\n")))
}

fn error(scraped: &Scraped, job: &str) -> String {
    active(scraped, job).into_iter().next().map_or(String::new(), |target| target.last_error)
}

/// Longest time between two samples of `up` of a job, and how many there are.
fn longest_pause_ms(scraped: &Scraped, job: &str) -> (i64, usize) {
    let samples = query(&scraped.data_dir(), &format!("up{{job='{job}'}}"));
    let times: Vec<i64> = samples.values().flatten().map(|sample| sample.0).collect();
    (times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(i64::MAX), times.len())
}

/// Lines of the job, its page, and what is said of it where the machine is fast enough.
fn expensive() -> Vec<(&'static str, &'static str, Behaviour, &'static str)> {
    let convert = "convert_classic_histograms_to_nhcb: true, ";
    let labels = Behaviour::Gzip(packed_page(&descending_labels(500_000)));
    let buckets = lines(100_000, |idx| format!("a_bucket{{le=\"{}\"}} 1\n", 100_000 - idx));
    let member = packed_page("");
    vec![
        (
            "limited",
            "label_limit: 50, sample_limit: 1000, ",
            labels.clone(),
            "label_limit exceeded (metric: a, number of labels: 500003, limit: 50)",
        ),
        (
            "unlimited",
            "",
            labels,
            "too many labels (metric: a, number of labels: 500003, limit where label_limit is not set: 10000)",
        ),
        ("members", "", Behaviour::Gzip(member.repeat(400_000).into()), ""),
        ("buckets", convert, Behaviour::Gzip(packed_page(&format!("# TYPE a histogram\n{buckets}"))), ""),
    ]
}

#[test]
fn pages_that_cost_much_stop_nobody() {
    let _alone = alone();
    let targets = FakeTargets::start();
    let address = targets.address();
    targets.set("/good", Behaviour::Counter);
    let mut config = format!(
        "global: {{scrape_interval: 2s, scrape_timeout: 2s}}\n\
         scrape_configs:\n\
         - {{job_name: good, scrape_interval: 1s, scrape_timeout: 1s, metrics_path: /good, static_configs: [{{targets: ['{address}']}}]}}\n"
    );
    let n_each = thread::available_parallelism().map_or(2, usize::from);
    for (name, job, behaviour, _) in expensive() {
        targets.set(&format!("/{name}"), behaviour);
        for idx in 0..n_each {
            config.push_str(&format!(
                "- {{job_name: {name}{idx}, metrics_path: /{name}, {job}static_configs: [{{targets: ['{address}']}}]}}\n"
            ));
        }
    }
    let scraped = Scraped::start(&config);
    for (name, _, _, expected) in expensive() {
        for job in (0..n_each).map(|idx| format!("{name}{idx}")) {
            wait_for_long(&format!("{job} is told"), || {
                let target = active(&scraped, &job).into_iter().next();
                target.is_some_and(|it| {
                    it.health != "unknown"
                        && (it.last_error == expected
                            || it.last_error.starts_with("context deadline exceeded"))
                })
            });
        }
    }
    let n_requests = targets.n_requests("/good");
    wait_until("good goes on", || targets.n_requests("/good") > n_requests + 10);
    let (pause_ms, n_samples) = longest_pause_ms(&scraped, "good");
    assert!(pause_ms <= LONGEST_PAUSE_MS && n_samples > 10, "{pause_ms} ms without a sample of {n_samples}");
    // A single scrape may come too late where the machine has other work, too.
    wait_until("good has no error", || error(&scraped, "good").is_empty());
    assert_eq!(scraped.get("/-/healthy").status, 200);
}

/// More pages than processors that take many seconds each: all are worked on, in turns, and who comes goes first.
#[test]
fn long_pages_give_way_to_short_ones() {
    let _alone = alone();
    let targets = FakeTargets::start();
    let address = targets.address();
    targets.set("/good", Behaviour::Counter);
    targets.set("/many", Behaviour::Gzip(many_series(400_000)));
    let mut config = format!(
        "global: {{scrape_interval: 2m, scrape_timeout: 2m}}\n\
         scrape_configs:\n\
         - {{job_name: good, scrape_interval: 1s, scrape_timeout: 1s, metrics_path: /good, static_configs: [{{targets: ['{address}']}}]}}\n"
    );
    let n_long = 1 + thread::available_parallelism().map_or(2, usize::from);
    for idx in 0..n_long {
        config.push_str(&format!(
            "- {{job_name: many{idx}, metrics_path: /many, static_configs: [{{targets: ['{address}']}}]}}\n"
        ));
    }
    let scraped = Scraped::start(&config);
    for job in (0..n_long).map(|idx| format!("many{idx}")) {
        wait_for_long(&format!("{job} is stored"), || {
            active(&scraped, &job).first().is_some_and(|target| target.health == "up")
        });
    }
    let (pause_ms, n_samples) = longest_pause_ms(&scraped, "good");
    assert!(pause_ms <= LONGEST_PAUSE_MS, "{pause_ms} ms without a sample of {n_samples}");
    wait_until("good has no error", || error(&scraped, "good").is_empty());
}

#[test]
fn work_that_takes_too_long_is_undone() {
    let _alone = alone();
    let targets = FakeTargets::start();
    let address = targets.address();
    targets.set("/slow", Behaviour::Healthy(page("early 1\n")));
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs:\n\
         - {{job_name: slow, metrics_path: /slow, static_configs: [{{targets: ['{address}']}}]}}\n"
    );
    let scraped = Scraped::start(&config);
    let health = || active(&scraped, "slow").first().map_or(String::new(), |target| target.health.clone());
    wait_until("it is good", || health() == "up");
    // Seconds of work in any build.
    let text = lines(3_000_000, |idx| format!("m{{i=\"{idx}\"}} 1\n"));
    targets.set("/slow", Behaviour::Gzip(packed_page(&format!("early 1\n{text}"))));
    wait_until("it takes too long", || {
        let error = error(&scraped, "slow");
        ["the page waited for a processor", "unpacking the page", "reading the page"]
            .iter()
            .any(|work| error == format!("context deadline exceeded (while {work})"))
    });
    targets.set("/slow", Behaviour::Healthy(page("early 1\n")));
    wait_until("it is good again", || health() == "up");
    let data = scraped.data_dir();
    let runs = |selector: &str| {
        let mut values = values(&data, selector);
        values.dedup();
        values
    };
    assert_eq!(runs("early{job='slow'}"), ["1", "stale", "1"]);
    assert_eq!(runs("up{job='slow'}"), ["1", "0", "1"]);
    assert!(query(&data, "m").is_empty(), "nothing of the slow page is in the log");
}

#[test]
fn a_stop_waits_for_no_page() {
    let _alone = alone();
    let targets = FakeTargets::start();
    let address = targets.address();
    let text = lines(3_000_000, |idx| format!("m{{i=\"{idx}\"}} 1\n"));
    targets.set("/many", Behaviour::Gzip(packed_page(&text)));
    let config = format!(
        "global: {{scrape_interval: 5m, scrape_timeout: 5m}}\n\
         scrape_configs:\n\
         - {{job_name: many, metrics_path: /many, static_configs: [{{targets: ['{address}', '{address}'], labels: {{n: '1'}}}}, \
           {{targets: ['{address}'], labels: {{n: '2'}}}}, {{targets: ['{address}'], labels: {{n: '3'}}}}]}}\n"
    );
    let scraped = Scraped::start(&config);
    wait_until("all are asked", || targets.n_requests("/many") >= 3);
    // Seconds of work lie before each of them.
    thread::sleep(Duration::from_millis(500));
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    let start = Instant::now();
    assert!(scraped.stop().success());
    assert!(start.elapsed() < Duration::from_secs(5), "the stop took {:?}", start.elapsed());
    assert!(query(&data, "m").is_empty(), "nothing of the pages is in the log");
    drop(dir);
}
