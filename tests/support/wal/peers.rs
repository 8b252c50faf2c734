//! The real `promtool` and `prometheus` on a copy of a log.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::peers::{Peer, promtool};
use crate::{PATIENCE, pause};
use tempfile::TempDir;

use super::kinds::{Exemplars, Histograms, histograms_of, series_of};
use super::{Answer, copy_dir, normal};

/// A copy of `wal/` as a server's data directory.
fn copy(dir: &Path) -> TempDir {
    let copy = TempDir::with_prefix("scraped-test-").expect("a directory");
    copy_dir(&dir.join("wal"), &copy.path().join("wal"));
    copy
}

/// What `promtool tsdb dump` says of a copy; it must exit 0.
pub fn dump(dir: &Path) -> Answer {
    let copy = copy(dir);
    let output = promtool()
        .args(["tsdb", "dump", "--sandbox-dir-root"])
        .arg(copy.path())
        .arg(copy.path())
        .output()
        .expect("promtool runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool tsdb dump: {stderr}");
    let mut answer = Answer::new();
    for line in String::from_utf8(output.stdout).expect("UTF-8").lines() {
        // {__name__="up", job="x"} 1 1700000000000
        let (line, ts_ms) = line.rsplit_once(' ').expect("a time");
        let (series, value) = line.rsplit_once(' ').expect("a value");
        // A histogram is printed in braces, with blanks.
        if value.parse::<f64>().is_err() {
            continue;
        }
        let sample = (ts_ms.parse().expect("a time"), normal(value));
        answer.entry(series.to_owned()).or_default().push(sample);
    }
    for samples in answer.values_mut() {
        samples.sort();
    }
    answer
}

/// Runs a real agent on the directory itself until it has scraped itself, and stops it; returns what it said.
pub fn run_agent(dir: &Path) -> String {
    let config = TempDir::with_prefix("scraped-test-").expect("a directory");
    let file = config.path().join("prometheus.yml");
    let agent = Peer::start("prometheus", "PROMETHEUS", config.path(), "/-/ready", |address| {
        let yaml = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
             scrape_configs: [{{job_name: itself, static_configs: [{{targets: [{address:?}]}}]}}]\n"
        );
        fs::write(&file, yaml).expect("writable");
        vec![
            "--agent".to_owned(),
            format!("--config.file={}", file.display()),
            format!("--storage.agent.path={}", dir.display()),
            format!("--web.listen-address={address}"),
            "--scrape.discovery-reload-interval=1s".to_owned(),
        ]
    });
    let has_scraped = || {
        let page = agent.get("/metrics");
        let mut lines = page.lines();
        lines.any(|line| {
            let count = line.strip_prefix("prometheus_agent_samples_appended_total{type=\"float\"} ");
            count.is_some_and(|count| count.parse::<f64>().expect("a number") > 0.0)
        })
    };
    let start = Instant::now();
    while !has_scraped() {
        assert!(start.elapsed() < PATIENCE, "prometheus does not scrape: {}", agent.log());
        pause(start);
    }
    let log = config.path().join("prometheus.log");
    agent.stop();
    fs::read_to_string(log).expect("written")
}

/// A real server on a copy of a log. Dropping it kills it.
pub struct Server {
    peer: Peer,
    _dir: TempDir,
}

impl Server {
    /// Starts a server on a copy of `wal/` and waits until it is ready.
    pub fn start(dir: &Path) -> Server {
        let copy = copy(dir);
        let config = copy.path().join("prometheus.yml");
        fs::write(&config, "{}").expect("writable");
        let peer = Peer::start("prometheus", "PROMETHEUS", copy.path(), "/-/ready", |address| {
            vec![
                format!("--config.file={}", config.display()),
                format!("--storage.tsdb.path={}", copy.path().display()),
                format!("--web.listen-address={address}"),
                "--storage.tsdb.retention.time=100y".to_owned(),
                "--enable-feature=exemplar-storage,native-histograms".to_owned(),
            ]
        });
        Server { peer, _dir: copy }
    }

    /// What the server wrote on standard error.
    pub fn log(&self) -> String {
        self.peer.log()
    }

    /// All samples of the series that `selector` finds, staleness markers left out as PromQL does.
    pub fn ask(&self, selector: &str, at_ms: i64) -> Answer {
        let mut answer = Answer::new();
        for row in self.query(selector, at_ms)["data"]["result"].as_array().expect("a list") {
            let Some(values) = row["values"].as_array() else { continue };
            let samples = values.iter().map(|pair| {
                let seconds = pair[0].as_f64().expect("a time");
                ((seconds * 1000.0).round() as i64, normal(pair[1].as_str().expect("a value")))
            });
            answer.insert(series_of(&row["metric"]), samples.collect());
        }
        answer
    }

    /// All histograms of the series that `selector` finds.
    pub fn ask_histograms(&self, selector: &str, at_ms: i64) -> Histograms {
        histograms_of(&self.query(selector, at_ms))
    }

    /// All exemplars of the series that `selector` finds.
    pub fn ask_exemplars(&self, selector: &str, at_ms: i64) -> Exemplars {
        let (start, end) = (at_ms / 1000 - 30 * 86_400, at_ms / 1000 + 1);
        let path = format!("/api/v1/query_exemplars?query={}&start={start}&end={end}", percent(selector));
        let answer: serde_json::Value = serde_json::from_str(&self.peer.get(&path)).expect("JSON");
        let exemplar = |it: &serde_json::Value| {
            let seconds = it["timestamp"].as_f64().expect("a time");
            let value = normal(it["value"].as_str().expect("a value"));
            ((seconds * 1000.0).round() as i64, value, it["labels"].clone())
        };
        let rows = answer["data"].as_array().expect("a list").iter();
        rows.map(|row| {
            let exemplars = row["exemplars"].as_array().expect("a list").iter().map(exemplar);
            (series_of(&row["seriesLabels"]), exemplars.collect())
        })
        .collect()
    }

    fn query(&self, selector: &str, at_ms: i64) -> serde_json::Value {
        let query = format!("{selector}[30d]");
        let path = format!("/api/v1/query?query={}&time={}", percent(&query), at_ms / 1000 + 1);
        serde_json::from_str(&self.peer.get(&path)).expect("JSON")
    }
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}
