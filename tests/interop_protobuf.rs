//! Every family of the protobuf pages and every page with classic histograms, scraped by us and by a real agent under
//! all options: the same verdict, and the same floats, histograms and exemplars in the log.
//!
//! The pages are those of `tests/data/protobuf` and `tests/data/nhcb`. Needs what `scripts/peers` fetches; fails
//! without it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]

mod protobuf_support;
mod support;
mod wal_support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use protobuf_support::encode::{encode, page_of_hex};
use protobuf_support::histogram;
use scraped::histogram::Histogram;
use scraped::labels::Labels;
use scraped::wal::record::Record;
use serde_json::Value;
use support::peers::Peer;
use support::scraped::{Scraped, write_whole};
use support::targets::{Behaviour, FakeTargets};
use support::wait_until;
use tempfile::TempDir;
use wal_support::kinds::for_each_record;

const TEXT: &str = "text/plain; version=1.0.0";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

const OPTIONS: [&str; 4] = ["plain", "keep", "convert", "convert keep"];

/// As later versions of Prometheus do it.
const CONVERTED_ALONE: &str = "3.5 converts protobuf line by line, later versions metric by metric";
/// A fault of all versions.
const NO_EXEMPLARS: &str = "only the first native histogram of a family keeps its exemplars there";
/// A fault of all versions.
const NOT_FORGOTTEN: &str = "an invalid histogram is mixed with those behind it there";

/// Pages that the agent reads otherwise, by the start of the case's name, and why.
const DIFFERENT: [(&str, &str); 14] = [
    ("exemplar_of_a_bucket_is_cut", "an exemplar is looked at behind its sample, which is counted"),
    ("invalid_convert", NOT_FORGOTTEN),
    ("later_0", "3.5 refuses a unit that does not end the name, later versions do not"),
    ("later_1", "3.5 takes schemas that nobody can read, later versions do not"),
    ("later_2", NO_EXEMPLARS),
    ("later_3", "whether one metric is native is decided by the one before it there"),
    ("odd_5_convert", CONVERTED_ALONE),
    ("odd_7_convert", CONVERTED_ALONE),
    ("prometheus_families_7_convert_keep", CONVERTED_ALONE),
    ("prometheus_families_8_convert_keep", CONVERTED_ALONE),
    ("prometheus_nhcb_0_convert_keep", CONVERTED_ALONE),
    ("prometheus_nhcb_1_convert_keep", CONVERTED_ALONE),
    ("times_convert", "a converted histogram has the timestamp of the line behind it there"),
    ("pieces", "what is not newer than the sample before it in the page is left out, not logged"),
];

/// Ends the whole process of Prometheus 3.5, which takes out more buckets than there are.
const DEADLY: &str = "spans_do_not_fit";

struct Case {
    name: String,
    content_type: &'static str,
    page: Vec<u8>,
    options: &'static str,
}

fn cases() -> Vec<Case> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut pages = Vec::new();
    for dir in ["protobuf/ok", "protobuf/err", "nhcb"] {
        for file in fs::read_dir(data.join(dir)).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            match path.extension().and_then(|it| it.to_str()) {
                Some("textproto") => {
                    let text = fs::read_to_string(&path).unwrap();
                    for (idx, family) in text.split("\n---\n").enumerate() {
                        pages.push((format!("{name}_{idx}"), PROTOBUF, encode(family)));
                    }
                }
                Some("hex") => {
                    pages.push((name, PROTOBUF, page_of_hex(&fs::read_to_string(&path).unwrap())));
                }
                Some("prom") => pages.push((name, TEXT, fs::read(&path).unwrap())),
                Some("om") => pages.push((name, OPENMETRICS, fs::read(&path).unwrap())),
                _ => {}
            }
        }
    }
    pages.retain(|(name, ..)| name != DEADLY);
    let mut cases = Vec::new();
    for (name, content_type, page) in pages {
        for options in OPTIONS {
            let name = format!("{name}_{}", options.replace(' ', "_"));
            cases.push(Case { name, content_type, page: page.clone(), options });
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn config(address: &str, cases: &[Case], global: &str) -> String {
    let mut config =
        format!("global: {{scrape_interval: 2s, scrape_timeout: 2s{global}}}\nscrape_configs:\n");
    for Case { name, options, .. } in cases {
        config.push_str(&format!(
            "- job_name: {name}\n  metrics_path: /{name}\n  scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0, \
             PrometheusText1.0.0]\n  always_scrape_classic_histograms: {}\n  \
             convert_classic_histograms_to_nhcb: {}\n  static_configs: [{{targets: ['{address}'], \
             labels: {{row: {name}}}}}]\n",
            options.contains("keep"),
            options.contains("convert"),
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

/// Job → what its first scrape stored, sorted; a time only where the page gave it.
fn stored(data: &Path) -> BTreeMap<String, BTreeSet<String>> {
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
    let mut stored: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
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

#[test]
fn histograms_are_what_they_are_to_a_real_agent() {
    let cases = cases();
    assert!(cases.len() > 200, "{} cases", cases.len());
    let targets = FakeTargets::start();
    for case in &cases {
        let behaviour = Behaviour::ContentType(Arc::from(&*case.page), case.content_type.to_owned());
        targets.set(&format!("/{}", case.name), behaviour);
    }
    let address = targets.address();
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let agent_data = dir.path().join("agent");
    let agent_config = write_whole(dir.path(), "agent.yml", &config(&address, &cases, ""));
    let agent = Peer::start("prometheus", "PROMETHEUS", &agent_data, "/-/ready", |address| {
        vec![
            "--agent".to_owned(),
            format!("--config.file={}", agent_config.display()),
            format!("--storage.agent.path={}", agent_data.display()),
            format!("--web.listen-address={address}"),
            "--enable-feature=native-histograms,exemplar-storage".to_owned(),
            "--scrape.discovery-reload-interval=100ms".to_owned(),
        ]
    });
    let scraped = Scraped::start(&config(&address, &cases, ", scrape_native_histograms: true"));
    let our_data = scraped.data_dir();
    let ours = verdicts(|| scraped.get("/api/v1/targets").body);
    let theirs = verdicts(|| agent.get("/api/v1/targets"));
    agent.stop();
    let our_dir = scraped.dir();
    assert_eq!(scraped.stop().code(), Some(0));
    let (our_samples, their_samples) = (stored(&our_data), stored(&agent_data));
    drop(our_dir);

    let mut differences = Vec::new();
    let mut reasons: BTreeSet<&str> = DIFFERENT.iter().map(|(start, _)| *start).collect();
    for Case { name, .. } in &cases {
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
        match DIFFERENT.iter().find(|(start, _)| name.starts_with(start)) {
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
