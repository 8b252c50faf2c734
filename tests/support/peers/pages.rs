//! The same pages scraped by us and by a real agent: the same verdict, the same sentence, the same samples, histograms
//! and exemplars in the log, but for a list of meant differences.
//!
//! Needs what `scripts/peers` fetches; fails without it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use scraped_engine::histogram::Histogram;
use scraped_engine::labels::Labels;
use scraped_engine::wal::format::record::Record;
use serde_json::Value;
use tempfile::TempDir;

use crate::peers::Peer;
use crate::protobuf::histogram;
use crate::scraped::{Scraped, write_whole};
use crate::targets::{Behaviour, FakeTargets};
use crate::wait_until;
use crate::wal::kinds::for_each_record;

/// Content type of the text format.
pub const TEXT: &str = "text/plain; version=1.0.0";
/// Content type of OpenMetrics.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

/// A receiver would refuse it, and with it what else is in the request.
pub const OUT_OF_ORDER: &str =
    "what is not newer than the sample before it in the page is left out, not logged";

/// A page, and a job that scrapes it.
pub struct Case {
    /// Its job and its path.
    pub name: String,
    /// What the page is sent as.
    pub content_type: &'static str,
    /// The page.
    pub page: Vec<u8>,
    /// Fields of the job, if any, as a YAML flow mapping has them.
    pub fields: String,
}

/// Job → what its first scrape stored; a time only where the page gave it.
type Stored = BTreeMap<String, BTreeSet<String>>;

/// What both were asked to do beside the jobs.
#[derive(Default)]
pub struct Setup {
    /// Behind the intervals in our `global`.
    pub our_global: &'static str,
    /// Arguments of the agent.
    pub their_arguments: &'static [&'static str],
}

/// Scrapes all cases twice. `different` holds starts of names and reasons.
pub fn compare(cases: &[Case], setup: &Setup, different: &[(&str, &str)]) {
    let targets = FakeTargets::start();
    for case in cases {
        let behaviour = Behaviour::ContentType(Arc::from(&*case.page), case.content_type.to_owned());
        targets.set(&format!("/{}", case.name), behaviour);
    }
    let address = targets.address();
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let agent_data = dir.path().join("agent");
    let agent_config = write_whole(dir.path(), "agent.yml", &config(&address, cases, ""));
    let agent = Peer::agent_with(&agent_config, &agent_data, setup.their_arguments);
    let scraped = Scraped::start(&config(&address, cases, setup.our_global));
    let (our_dir, our_data) = (scraped.dir(), scraped.data_dir());
    let ours = verdicts(cases.len(), || scraped.get("/api/v1/targets").body);
    let theirs = verdicts(cases.len(), || agent.get("/api/v1/targets"));
    agent.stop();
    assert_eq!(scraped.stop().code(), Some(0));
    let (our_samples, their_samples) = (stored(&our_data), stored(&agent_data));
    drop(our_dir);

    let mut differences = Vec::new();
    let mut reasons: BTreeSet<&str> = different.iter().map(|(start, _)| *start).collect();
    for Case { name, .. } in cases {
        let (ours, theirs) = (&ours[name], &theirs[name]);
        // Our place is behind it.
        let end = [" (line ", " (byte "].iter().find_map(|start| ours.rfind(start)).unwrap_or(ours.len());
        let mut difference = String::new();
        if &ours[..end] != theirs {
            difference = format!("\n  ours   {ours}\n  theirs {theirs}");
        }
        let (ours, theirs) = (&our_samples[name], &their_samples[name]);
        for only_ours in ours.difference(theirs) {
            difference.push_str(&format!("\n  only ours   {only_ours}"));
        }
        for only_theirs in theirs.difference(ours) {
            difference.push_str(&format!("\n  only theirs {only_theirs}"));
        }
        match different.iter().find(|(start, _)| name.starts_with(start)) {
            _ if difference.is_empty() => {}
            None => differences.push(format!("{name}{difference}")),
            Some((start, _)) => {
                reasons.remove(start);
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(reasons.is_empty(), "no difference any more: {reasons:?}");
}

fn config(address: &str, cases: &[Case], global: &str) -> String {
    let mut config =
        format!("global: {{scrape_interval: 2s, scrape_timeout: 2s{global}}}\nscrape_configs:\n");
    for Case { name, fields, .. } in cases {
        config.push_str(&format!(
            "- {{job_name: {name}, metrics_path: /{name}, {fields} static_configs: [{{targets: ['{address}'], \
             labels: {{row: {name}}}}}]}}\n"
        ));
    }
    config
}

/// Job → health and last error, once the target of each of `n_jobs` was scraped; a busy agent lists them one by one.
fn verdicts(n_jobs: usize, get: impl Fn() -> String) -> BTreeMap<String, String> {
    let mut verdicts = BTreeMap::new();
    wait_until("all targets scraped", || {
        let answer: Value = serde_json::from_str(&get()).expect("JSON");
        let targets = answer["data"]["activeTargets"].as_array().expect("an array");
        let text = |target: &Value, key: &str| target[key].as_str().expect("a text").to_owned();
        verdicts = targets
            .iter()
            .map(|target| {
                let verdict = format!("{} {}", text(target, "health"), text(target, "lastError"));
                (text(target, "scrapePool"), verdict)
            })
            .collect();
        verdicts.len() == n_jobs && verdicts.values().all(|verdict| !verdict.starts_with("unknown"))
    });
    verdicts
}

fn stored(data: &Path) -> Stored {
    let mut series: BTreeMap<u64, (String, String)> = BTreeMap::new();
    let mut first_scrapes: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut samples = Vec::new();
    for_each_record(data, |record| match record {
        Record::Series(entries) => {
            for entry in entries.flatten() {
                let labels = Labels::from_pairs(entry.labels);
                let pairs: Vec<_> =
                    labels.iter().filter(|(name, _)| !["instance", "job", "row"].contains(name)).collect();
                series.insert(entry.series_ref, (labels.get("row").to_owned(), format!("{pairs:?}")));
            }
        }
        Record::Samples(entries) => {
            for entry in entries.flatten() {
                let value = entry.value;
                let value = if value.is_nan() { "NaN".to_owned() } else { format!("{value:?}") };
                samples.push((entry.series_ref, entry.ts_ms, value));
            }
        }
        Record::Histograms(entries) => {
            for entry in entries.flatten() {
                let mut it = Histogram::default();
                entry.histogram.decode_into(&mut it);
                samples.push((entry.series_ref, entry.ts_ms, histogram(&it)));
            }
        }
        Record::Exemplars(entries) => {
            for entry in entries.flatten() {
                let labels: Vec<_> = entry.labels.collect();
                samples.push((entry.series_ref, entry.ts_ms, format!("# {labels:?} {:?}", entry.value)));
            }
        }
        _ => {}
    });
    for (series_ref, ts_ms, _) in &samples {
        let (row, labels) = &series[series_ref];
        if labels == "[(\"__name__\", \"up\")]" {
            first_scrapes.entry(row.clone()).or_default().insert(*ts_ms);
        }
    }
    let mut stored = Stored::new();
    for (series_ref, ts_ms, value) in samples {
        let (row, labels) = &series[&series_ref];
        let Some(scrapes) = first_scrapes.get(row) else { continue };
        let time = match scrapes.iter().position(|scrape_ms| *scrape_ms == ts_ms) {
            Some(0) => String::new(),
            Some(_) => continue,
            None => format!(" {ts_ms}"),
        };
        let value = if labels.contains("scrape_duration_seconds") { "some".to_owned() } else { value };
        stored.entry(row.clone()).or_default().insert(format!("{labels} {value}{time}"));
    }
    stored
}
