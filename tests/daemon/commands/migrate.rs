//! `scraped migrate`: what public configurations of other tools hold, and what becomes of it.
//!
//! `tests/data/migrate/TOOL/NAME` becomes `NAME.expect`; `SCRAPED_BLESS=1` rewrites these. A comment of each says what it
//! scrapes: addresses, and the keys of sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use support::command::{self, Finished};

const TOOLS: [&str; 4] = ["vmagent", "alloy", "telegraf", "grafana-agent"];

/// Files that others name, and what comes of all.
const NOT_MIGRATED: [&str; 2] = ["inc", "expect"];

fn files(tool: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/migrate").join(tool);
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !NOT_MIGRATED.iter().any(|end| path.extension().is_some_and(|it| it == *end)));
    files.sort();
    files
}

/// Addresses of static targets, and keys of other sources.
fn targets(yaml: &str) -> BTreeSet<String> {
    let root: serde_yaml::Value = serde_yaml::from_str(yaml).unwrap();
    let mut found = BTreeSet::new();
    for job in root["scrape_configs"].as_sequence().into_iter().flatten() {
        for (key, value) in job.as_mapping().into_iter().flatten() {
            let key = key.as_str().unwrap();
            if key == "static_configs" {
                let groups = value.as_sequence().into_iter().flatten();
                let addresses = groups.flat_map(|group| group["targets"].as_sequence().into_iter().flatten());
                found.extend(addresses.map(|address| address.as_str().unwrap().to_owned()));
            } else if key.ends_with("_sd_configs") {
                found.insert(key.to_owned());
            }
        }
    }
    found
}

#[test]
fn configurations_of_other_tools_become_good_ones() {
    let bless = std::env::var_os("SCRAPED_BLESS").is_some();
    let dir = tempfile::tempdir().unwrap();
    for tool in TOOLS {
        let files = files(tool);
        assert!(files.len() >= 10, "{tool}: {}", files.len());
        for file in files {
            let name = file.display().to_string();
            let Finished { code, stdout, stderr, .. } = command::scraped(&["migrate", tool, &name]);
            assert_eq!((code, stderr.as_str()), (Some(0), ""), "{name}");
            let expect = PathBuf::from(format!("{name}.expect"));
            if bless {
                fs::write(&expect, &stdout).unwrap();
            }
            assert_eq!(stdout, fs::read_to_string(&expect).unwrap(), "{name}");
            let content = fs::read_to_string(&file).unwrap();
            let said = content.lines().find_map(|line| line.split_once("targets:")).expect("a comment").1;
            let want: BTreeSet<String> = said.split_whitespace().map(str::to_owned).collect();
            assert_eq!(targets(&stdout), want, "{name}: {stdout}");
            let made = dir.path().join("prometheus.yml");
            fs::write(&made, &stdout).unwrap();
            let checked = command::scraped(&["check", "config", "--syntax-only", made.to_str().unwrap()]);
            assert_eq!(checked.code, Some(0), "{name}: {}{}", checked.stdout, checked.stderr);
        }
    }
}

#[test]
fn what_is_not_theirs_has_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("other");
    for (tool, content, sentence) in [
        ("vmagent", "a: 1\n", "neither flags of vmagent nor scrape_configs stand there"),
        ("alloy", "a {\n", "line 2: expected }"),
        ("telegraf", "[a\n", "line 1: expected \"]\""),
        ("telegraf", "a = 1\n", "neither inputs, outputs nor agent stand there"),
        ("grafana-agent", "a: [\n", "not valid YAML"),
        ("grafana-agent", "a: 1\n", "neither metrics nor integrations stand there, as in static mode"),
    ] {
        fs::write(&file, content).unwrap();
        let name = file.display().to_string();
        let finished = command::scraped(&["migrate", tool, &name]);
        assert_eq!(finished.code, Some(1), "{tool}");
        assert!(
            finished.stderr.contains(&format!("{name}: ")) && finished.stderr.contains(sentence),
            "{}",
            finished.stderr
        );
    }
    let finished = command::scraped(&["migrate", "alloy", "/no/such"]);
    assert!(finished.stderr.contains("cannot read /no/such"), "{}", finished.stderr);
}
