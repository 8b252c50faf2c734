//! One configuration given to a real Prometheus and to `scraped`, and what both make of it, compared.
//!
//! `scripts/peers` fetches Prometheus into `target/peers/bin`; `PROMETHEUS` names another. Which error a target shows and
//! when it was scraped is not compared here. Both have the directory of their configuration as working directory of the
//! files that it names.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use crate::peers::Peer;
use crate::scraped::{Scraped, write_whole};
use crate::{PATIENCE, pause};

/// What the last scrape came to.
const PASSING_FIELDS: [&str; 4] = ["health", "lastError", "lastScrape", "lastScrapeDuration"];

/// Discovered labels that Prometheus has since 3.13, or later than the one that we are compared with.
const NEWER_LABELS: [&str; 5] = [
    "__always_scrape_classic_histograms__",
    "__convert_classic_histograms_to_nhcb__",
    "__meta_docker_container_image",
    "__meta_docker_container_image_id",
    "__scrape_native_histograms__",
];

/// Both programs on one configuration.
pub struct Both {
    /// An agent.
    pub prometheus: Peer,
    /// The same configuration with us.
    pub scraped: Scraped,
    dir: Arc<TempDir>,
}

/// What one of them says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Active targets as JSON, with all their fields but the passing ones, in an order of its own.
    active: Vec<String>,
    /// The same of the dropped ones.
    dropped: Vec<String>,
    /// `droppedTargetCounts`.
    dropped_counts: Value,
    /// `__address__` of all of them as they were discovered, in order.
    addresses: Vec<String>,
}

impl Both {
    /// Starts both with `jobs` below `scrape_configs:`, after `files` are written; `DIR` in the jobs is the directory.
    pub fn start(jobs: &str, files: &[(&str, &str)]) -> Self {
        let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("below the directory")).expect("a directory");
            fs::write(path, content).expect("writable");
        }
        let jobs = jobs.replace("DIR", &dir.path().display().to_string());
        fs::write(dir.path().join("scraped.yml"), format!("scrape_configs:\n{jobs}")).expect("writable");
        Self::start_in(Arc::new(dir))
    }

    /// Starts both on a directory that holds a `scraped.yml`.
    pub fn start_in(dir: Arc<TempDir>) -> Self {
        let prometheus = Peer::agent(&dir.path().join("scraped.yml"), &dir.path().join("peer"));
        let scraped = Scraped::start_in(Arc::clone(&dir), &[]);
        Self { prometheus, scraped, dir }
    }

    /// A path beside the configuration.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces a file by renaming another one to it.
    pub fn replace(&self, name: &str, content: &str) {
        let path = self.path(name);
        let directory = path.parent().expect("below the directory");
        write_whole(directory, path.file_name().and_then(|name| name.to_str()).expect("a name"), content);
    }

    /// Gives both another configuration.
    pub fn reload(&self, jobs: &str) {
        let jobs = jobs.replace("DIR", &self.dir.path().display().to_string());
        self.scraped.reload_with(&format!("scrape_configs:\n{jobs}"));
        assert_eq!(self.prometheus.request("POST", "/-/reload").0, 200, "{}", self.prometheus.log());
    }

    /// Waits until both list targets discovered with these addresses, in any order; then they have to agree on
    /// everything else.
    pub fn agree(&self, step: &str, addresses: &[&str]) {
        let mut want: Vec<String> = addresses.iter().map(|&address| address.to_owned()).collect();
        want.sort();
        let start = Instant::now();
        loop {
            let (theirs, ours) = (listed(&self.theirs()), listed(&self.ours()));
            if theirs.addresses == want && theirs == ours {
                return;
            }
            // Prometheus takes changes over every 5 s.
            if start.elapsed() > 2 * PATIENCE {
                // Its last words.
                let log = self.prometheus.log();
                let log: Vec<&str> = log.lines().rev().take(20).collect();
                let log = log.join("\n");
                assert_same(step, &theirs, &ours, &log);
                assert_eq!(theirs.addresses, want, "{step}: they agree, on something else\n{log}");
            }
            pause(start);
        }
    }

    /// `__address__` of all targets with Prometheus and with us.
    pub fn addresses(&self) -> (Vec<String>, Vec<String>) {
        (listed(&self.theirs()).addresses, listed(&self.ours()).addresses)
    }

    /// Waits until a series of `/metrics` has grown by `by` with both since `before`.
    pub fn wait_for_growth(&self, series: &str, before: (f64, f64), by: f64) {
        crate::wait_until(&format!("{series} grows"), || {
            let (theirs, ours) = self.values(series);
            theirs >= before.0 + by && ours >= before.1 + by
        });
    }

    /// The value of a series with Prometheus and with us.
    pub fn values(&self, series: &str) -> (f64, f64) {
        (value(&self.prometheus.get("/metrics"), series), value(&self.scraped.get("/metrics").body, series))
    }

    /// Families of both whose name begins with `prefix`, Prometheus' first.
    pub fn families(&self, prefix: &str) -> (Families, Families) {
        (
            families(&self.prometheus.get("/metrics"), prefix),
            families(&self.scraped.get("/metrics").body, prefix),
        )
    }

    fn theirs(&self) -> String {
        self.prometheus.get("/api/v1/targets")
    }

    fn ours(&self) -> String {
        self.scraped.get("/api/v1/targets").body
    }
}

/// Says what differs, target by target.
fn assert_same(step: &str, theirs: &Listed, ours: &Listed, log: &str) {
    let only = |these: &[String], those: &[String]| {
        let missing: Vec<&str> = these.iter().filter(|it| !those.contains(it)).map(String::as_str).collect();
        missing.join("\n  ")
    };
    assert!(
        theirs == ours,
        "{step}: they differ.\nactive, only Prometheus:\n  {}\nactive, only scraped:\n  {}\n\
         dropped, only Prometheus:\n  {}\ndropped, only scraped:\n  {}\ncounts: {} and {}\n\
         {} and {} active, {} and {} dropped\n{log}",
        only(&theirs.active, &ours.active),
        only(&ours.active, &theirs.active),
        only(&theirs.dropped, &ours.dropped),
        only(&ours.dropped, &theirs.dropped),
        theirs.dropped_counts,
        ours.dropped_counts,
        theirs.active.len(),
        ours.active.len(),
        theirs.dropped.len(),
        ours.dropped.len(),
    );
}

/// An answer of `/api/v1/targets`, taken apart.
fn listed(answer: &str) -> Listed {
    let mut answer: Value = serde_json::from_str(answer).expect("JSON");
    let mut addresses = Vec::new();
    let mut take = |list: &str| {
        let mut lines: Vec<String> = Vec::new();
        for target in answer["data"][list].as_array_mut().expect("a list") {
            let target = target.as_object_mut().expect("an object");
            target.retain(|field, _| !PASSING_FIELDS.contains(&field.as_str()));
            let discovered = target["discoveredLabels"].as_object_mut().expect("an object");
            discovered.retain(|label, _| !NEWER_LABELS.contains(&label.as_str()));
            addresses.push(discovered["__address__"].as_str().expect("a string").to_owned());
            lines.push(serde_json::to_string(&target).expect("JSON"));
        }
        lines.sort();
        lines
    };
    let (active, dropped) = (take("activeTargets"), take("droppedTargets"));
    addresses.sort();
    Listed { active, dropped, dropped_counts: answer["data"]["droppedTargetCounts"].take(), addresses }
}

/// Family → type and the names of the labels that its series have.
pub type Families = BTreeMap<String, (String, Vec<String>)>;

/// The families of a page whose name begins with `prefix`.
pub fn families(page: &str, prefix: &str) -> Families {
    let mut families = Families::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            name.clone_into(&mut current);
            if name.starts_with(prefix) {
                families.insert(current.clone(), (kind.to_owned(), Vec::new()));
            }
        } else if let (Some(family), false) = (families.get_mut(&current), line.starts_with('#')) {
            for name in label_names(line) {
                if !family.1.contains(&name) {
                    family.1.push(name);
                    family.1.sort();
                }
            }
        }
    }
    families
}

/// Names of the labels of a line; no value in `prometheus_sd_*` has a comma or a brace.
fn label_names(line: &str) -> Vec<String> {
    let Some((labels, _)) = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')) else {
        return Vec::new();
    };
    labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned())).collect()
}

fn value(page: &str, series: &str) -> f64 {
    let mut lines = page.lines().filter_map(|line| line.rsplit_once(' '));
    let value = lines.find(|(name, _)| *name == series).map(|(_, value)| value.parse().expect("a number"));
    value.unwrap_or_default()
}
