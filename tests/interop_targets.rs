//! Targets against a real Prometheus: both are given the same configuration, and their APIs have to list the same
//! targets with the same labels and URLs, and the same dropped ones.
//!
//! `scripts/peers` fetches Prometheus into `target/peers/bin`; `PROMETHEUS` names another. Which error a target shows and
//! when it was scraped is not compared here.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod support;

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use support::peers::Peer;
use support::scraped::Scraped;
use support::wait_until;
use tempfile::TempDir;

/// What the last scrape came to.
const PASSING_FIELDS: [&str; 4] = ["health", "lastError", "lastScrape", "lastScrapeDuration"];

/// Discovered labels that Prometheus has since 3.13.
const NEWER_LABELS: [&str; 3] = [
    "__always_scrape_classic_histograms__",
    "__convert_classic_histograms_to_nhcb__",
    "__scrape_native_histograms__",
];

/// Targets of the fixture, dropped ones included.
const N_TARGETS: usize = 24;

/// The answer of `/api/v1/targets` in an order of its own.
fn listed(answer: &str) -> (Vec<String>, Vec<String>, Value) {
    let mut answer: Value = serde_json::from_str(answer).expect("JSON");
    let mut take = |list: &str| {
        let mut lines: Vec<String> = Vec::new();
        for target in answer["data"][list].as_array_mut().expect("a list") {
            let target = target.as_object_mut().expect("an object");
            target.retain(|field, _| !PASSING_FIELDS.contains(&field.as_str()));
            let discovered = target["discoveredLabels"].as_object_mut().expect("an object");
            discovered.retain(|label, _| !NEWER_LABELS.contains(&label.as_str()));
            lines.push(serde_json::to_string(&target).expect("JSON"));
        }
        lines.sort();
        lines
    };
    let (active, dropped) = (take("activeTargets"), take("droppedTargets"));
    (active, dropped, answer["data"]["droppedTargetCounts"].take())
}

fn n_targets((active, dropped, _): &(Vec<String>, Vec<String>, Value)) -> usize {
    active.len() + dropped.len()
}

#[test]
fn a_real_prometheus_lists_the_same_targets() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/targets");
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").expect("a directory"));
    for file in ["scraped.yml", "sd.yml"] {
        fs::copy(data.join(file), dir.path().join(file)).expect("writable");
    }
    let prometheus = Peer::agent(&dir.path().join("scraped.yml"), &dir.path().join("peer"));
    let scraped = Scraped::start_in(Arc::clone(&dir), &[]);
    let theirs = || listed(&prometheus.get("/api/v1/targets"));
    let ours = || listed(&scraped.get("/api/v1/targets").body);
    wait_until("both know all targets", || {
        n_targets(&theirs()) == N_TARGETS && n_targets(&ours()) == N_TARGETS
    });
    let (theirs, ours) = (theirs(), ours());
    for (theirs, ours) in theirs.0.iter().zip(&ours.0).chain(theirs.1.iter().zip(&ours.1)) {
        assert_eq!(theirs, ours);
    }
    assert_eq!(theirs.2, ours.2);
}
