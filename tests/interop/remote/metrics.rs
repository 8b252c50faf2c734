//! The metrics of remote write beside those of a real agent: every family that the agent has is there, with its type and
//! its labels, so that dashboards and alerts work.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use support::peers::Peer;
use support::remote::config;
use support::remote::receiver::Receiver;
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

/// Type and label names of a family.
type Shape = (String, BTreeSet<String>);

/// Families of remote write on a page in the text format.
fn families(page: &str) -> BTreeMap<String, Shape> {
    let is_ours = |name: &str| {
        name.starts_with("prometheus_remote_storage_") || name.starts_with("prometheus_wal_watcher_")
    };
    let mut found: BTreeMap<String, Shape> = BTreeMap::new();
    for line in page.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["#", "TYPE", name, kind] = words[..] {
            if is_ours(name) {
                found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            }
            continue;
        }
        let (series, labels) = line.split_once('{').unwrap_or((words[0], ""));
        let suffixes = ["", "_bucket", "_sum", "_count"];
        let family = suffixes.iter().filter_map(|suffix| series.strip_suffix(suffix));
        let known = family.into_iter().find(|name| found.contains_key(*name)).map(str::to_owned);
        if let Some((_, names)) = known.and_then(|name| found.get_mut(&name)) {
            let pairs = labels.split('}').next().unwrap().split(',');
            names.extend(pairs.filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned()));
        }
    }
    found
}

/// Upper bounds of a histogram, without +Inf.
fn bounds(page: &str, family: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| line.starts_with(&format!("{family}_bucket")));
    lines.map(|line| line.split("le=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn every_family_of_an_agent_is_there_with_its_type_and_labels() {
    let dir = tempfile::tempdir().unwrap();
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("# TYPE a counter\na 1\n")));
    let receiver = Receiver::start();
    let rules = "write_relabel_configs:\n- {source_labels: [__name__], regex: up, action: drop}";
    let config = config(&targets.address(), "/metrics", &receiver.url(), rules, "");
    let file = dir.path().join("agent.yml");
    fs::write(&file, &config).unwrap();
    let agent = Peer::agent(&file, dir.path());
    let scraped = Scraped::start(&config);
    let sent = |page: &str| {
        let line = page.lines().find(|line| line.starts_with("prometheus_remote_storage_samples_total{"));
        line.is_some_and(|line| !line.ends_with(" 0"))
    };
    wait_until("both have sent", || sent(&agent.get("/metrics")) && sent(&scraped.get("/metrics").body));
    let (theirs, ours) = (agent.get("/metrics"), scraped.get("/metrics").body);
    let ours_by_name = families(&ours);
    let theirs_by_name = families(&theirs);
    assert!(theirs_by_name.len() > 35, "{theirs_by_name:?}");
    let mut differences = Vec::new();
    for (name, shape) in &theirs_by_name {
        if ours_by_name.get(name) != Some(shape) {
            differences.push(format!("{name}: {shape:?} there, {:?} here", ours_by_name.get(name)));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    let histogram = "prometheus_remote_storage_sent_batch_duration_seconds";
    assert_eq!(bounds(&ours, histogram), bounds(&theirs, histogram));
}
