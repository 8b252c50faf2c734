//! Every page of the parser tests, scraped by us and by a real agent: the same verdict, the same sentence, the same
//! samples and exemplars.
//!
//! The pages are those of `tests/data/exposition` and of the OpenMetrics project's suite (`tests/data/openmetrics`).
//! Needs what `scripts/peers` fetches; fails without it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]

mod exposition_support;
mod support;
mod wal_support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use exposition_support::unquoted;
use serde_json::Value;
use support::command::query;
use support::peers::Peer;
use support::scraped::{Scraped, write_whole};
use support::targets::{Behaviour, FakeTargets};
use support::wait_until;
use tempfile::TempDir;
use wal_support::kinds;

const TEXT: &str = "text/plain; version=1.0.0";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

/// Prometheus 3.14 says what we say.
const LATER_WORDS: &str = "3.5 takes a bare name in braces for a metric name, later versions do not";
/// A receiver would refuse it, and with it what else is in the request.
const OUT_OF_ORDER: &str = "what is not newer than the sample before it in the page is left out, not logged";

/// Pages that the agent reads otherwise, and why.
const DIFFERENT: [(&str, &str); 13] = [
    ("error_56.om", LATER_WORDS),
    ("error_57.om", LATER_WORDS),
    ("openmetrics_bad_missing_equal_or_label_value_0.txt", LATER_WORDS),
    ("exposition_err_long_line.prom", "errors show no more than the start of a line"),
    ("exposition_ok_blanks.prom", "blanks before a name belong to the name there"),
    ("exposition_ok_nul_behind_label_value.prom", "the closing quote belongs to the value there"),
    ("exposition_ok_quoted_name_not_utf8.prom", "the series is shown as the page spells it"),
    ("openmetrics_bad_grouping_or_ordering_4.txt", OUT_OF_ORDER),
    ("openmetrics_bad_grouping_or_ordering_5.txt", OUT_OF_ORDER),
    ("openmetrics_bad_grouping_or_ordering_6.txt", OUT_OF_ORDER),
    ("openmetrics_bad_grouping_or_ordering_7.txt", OUT_OF_ORDER),
    ("openmetrics_bad_grouping_or_ordering_8.txt", OUT_OF_ORDER),
    ("openmetrics_bad_grouping_or_ordering_9.txt", OUT_OF_ORDER),
];

/// Ends the whole process of Prometheus 3.5, which looks for the name between quotes that are not there.
const DEADLY: [&[u8]; 2] = [b"{A}", b"{A} "];

struct Case {
    name: String,
    content_type: &'static str,
    page: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut cases = Vec::new();
    for dir in ["exposition/ok", "exposition/err", "openmetrics"] {
        for file in fs::read_dir(data.join(dir)).unwrap() {
            let path = file.unwrap().path();
            let content_type = match path.extension().and_then(|it| it.to_str()) {
                Some("prom") => TEXT,
                Some("om" | "txt") => OPENMETRICS,
                _ => continue,
            };
            let name = path.strip_prefix(&data).unwrap().to_str().unwrap().replace('/', "_");
            cases.push(Case { name, content_type, page: fs::read(&path).unwrap() });
        }
    }
    for (ending, content_type) in [("prom", TEXT), ("om", OPENMETRICS)] {
        let list = fs::read_to_string(data.join(format!("exposition/prometheus_errors.{ending}.txt")));
        let list = list.unwrap();
        for (idx, line) in list.lines().filter(|line| line.starts_with('"')).enumerate() {
            cases.push(Case { name: format!("error_{idx}.{ending}"), content_type, page: unquoted(line) });
        }
    }
    cases.retain(|case| !DEADLY.iter().any(|start| case.page.starts_with(start)));
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn config(address: &str, cases: &[Case]) -> String {
    let mut config = "global: {scrape_interval: 2s, scrape_timeout: 2s}\nscrape_configs:\n".to_owned();
    for Case { name, .. } in cases {
        config.push_str(&format!(
            "- job_name: {name}\n  metrics_path: /{name}\n  static_configs: [{{targets: ['{address}'], \
             labels: {{row: {name}}}}}]\n"
        ));
    }
    config
}

/// Job → health and last error, once every target was scraped.
fn verdicts(get: impl Fn() -> String) -> BTreeMap<String, String> {
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
        !targets.is_empty() && verdicts.values().all(|verdict| !verdict.starts_with("unknown"))
    });
    verdicts
}

/// Job → what its first scrape stored, sample by sample, and its exemplars; a time only where the page gave it.
fn stored(data: &Path, cases: &[Case]) -> BTreeMap<String, Vec<String>> {
    let found = query(data, "{row=~'.+'}");
    let row_of = |labels: &str| {
        let (_, behind) = labels.split_once(",row=\"").expect("the label");
        behind.split('"').next().unwrap_or_default().to_owned()
    };
    let is_up = |labels: &str| labels.contains("{__name__=\"up\",") && labels.matches(',').count() == 3;
    let scrapes: BTreeMap<String, Vec<i64>> = found
        .iter()
        .filter(|(labels, _)| is_up(labels))
        .map(|(labels, samples)| (row_of(labels), samples.iter().map(|(ts_ms, _)| *ts_ms).collect()))
        .collect();
    let mut stored: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (labels, samples) in &found {
        let row = row_of(labels);
        let Some(scrapes) = scrapes.get(&row) else { continue };
        for (ts_ms, value) in samples {
            let time = match scrapes.iter().position(|scrape_ms| scrape_ms == ts_ms) {
                Some(0) => String::new(),
                Some(_) => continue,
                None => format!(" {ts_ms}"),
            };
            let value = if labels.contains("\"scrape_duration_seconds\"") { "some" } else { value };
            // The port of the target differs.
            let (start, instance) = labels.split_once("instance=\"127.0.0.1:").expect("an instance");
            let (_, end) = instance.split_once('"').expect("a quote");
            stored.entry(row.clone()).or_default().push(format!("{start}{end} {value}{time}"));
        }
    }
    for (labels, exemplars) in kinds::exemplars(data) {
        let row = cases.iter().find(|case| labels.contains(&format!("row=\"{}\"", case.name)));
        let row = &row.expect("the label").name;
        for (ts_ms, value, exemplar) in exemplars {
            let is_scrape = scrapes.get(row).is_some_and(|scrapes| scrapes.contains(&ts_ms));
            let time = if is_scrape { String::new() } else { format!(" {ts_ms}") };
            let exemplar = format!("exemplar {labels} {exemplar} {value}{time}");
            let of_row = stored.entry(row.clone()).or_default();
            // Without a time of its own it is new with every scrape.
            if !of_row.contains(&exemplar) {
                of_row.push(exemplar);
            }
        }
    }
    stored
}

#[test]
fn pages_are_what_they_are_to_a_real_agent() {
    let cases = cases();
    assert!(cases.len() > 350, "{} cases", cases.len());
    let targets = FakeTargets::start();
    for case in &cases {
        let behaviour = Behaviour::ContentType(Arc::from(&*case.page), case.content_type.to_owned());
        targets.set(&format!("/{}", case.name), behaviour);
    }
    let config = config(&targets.address(), &cases);
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let agent_data = dir.path().join("agent");
    let agent = Peer::agent(&write_whole(dir.path(), "agent.yml", &config), &agent_data);
    let scraped = Scraped::start(&config);
    let our_data = scraped.data_dir();
    let ours = verdicts(|| scraped.get("/api/v1/targets").body);
    let theirs = verdicts(|| agent.get("/api/v1/targets"));
    agent.stop();
    let our_dir = scraped.dir();
    assert_eq!(scraped.stop().code(), Some(0));
    let (our_samples, their_samples) = (stored(&our_data, &cases), stored(&agent_data, &cases));
    drop(our_dir);

    let n_exemplars = our_samples.values().flatten().filter(|it| it.starts_with("exemplar ")).count();
    assert!(n_exemplars > 20, "{n_exemplars} exemplars");
    let mut differences = Vec::new();
    for Case { name, .. } in &cases {
        let (ours, theirs) = (&ours[name], &theirs[name]);
        // Our line and column are behind it.
        let ours_alone = ours.rfind(" (line ").map_or(&**ours, |position| &ours[..position]);
        let mut difference = String::new();
        if ours_alone != theirs {
            difference = format!("\n  ours   {ours}\n  theirs {theirs}");
        }
        let (ours, theirs) = (&our_samples[name], &their_samples[name]);
        for only_ours in ours.iter().filter(|sample| !theirs.contains(sample)) {
            difference.push_str(&format!("\n  only ours   {only_ours}"));
        }
        for only_theirs in theirs.iter().filter(|sample| !ours.contains(sample)) {
            difference.push_str(&format!("\n  only theirs {only_theirs}"));
        }
        let reason = DIFFERENT.iter().find(|(it, _)| it == name);
        match (difference.is_empty(), reason) {
            (true, Some(_)) => differences.push(format!("{name}: no difference any more")),
            (false, None) => differences.push(format!("{name}{difference}")),
            _ => {}
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
