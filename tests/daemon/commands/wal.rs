//! `scraped wal …` and what `scraped query` prints of a log.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::command::{self, Finished};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets};
use support::wal::{Foreign, write_segment};
use tempfile::TempDir;

/// Two segments, the second of which starts a series again.
fn log() -> TempDir {
    let dir = TempDir::new().unwrap();
    let wal = dir.path().join("wal");
    let (a, b) = ([("__name__", "up"), ("job", "a")], [("__name__", "up"), ("job", "b")]);
    write_segment(&wal, 0, &[Foreign::Series(1, &a), Foreign::Samples(&[(1, 1_700_000_000_000, 1.0)])]);
    let second = [(1, 1_700_000_015_000, 0.0), (2, 1_700_000_015_500, 2.5)];
    write_segment(&wal, 1, &[Foreign::Series(2, &b), Foreign::Samples(&second)]);
    dir
}

/// What was printed, with `DIR` for the directory.
fn said(arguments: &[&str], dir: &Path, code: i32) -> String {
    let Finished { code: ended, stdout, stderr, .. } = command::scraped(arguments);
    assert_eq!((ended, stderr.as_str()), (Some(code), ""), "{arguments:?}: {stdout}");
    stdout.replace(&dir.display().to_string(), "DIR")
}

#[test]
fn a_whole_log_is_good() {
    let dir = log();
    let path = dir.path().display().to_string();
    let wal = |what: &str| said(&["wal", what, &path], dir.path(), 0);
    assert_eq!(wal("verify"), "DIR: good: 2 files, 4 records, 142 bytes\n");
    assert_eq!(
        wal("stat"),
        "\
DIR: 2 files
FILE          BYTES  RECORDS   SERIES    SAMPLES    HISTO EXEMPLAR METADATA DAMAGES  FROM                      TO
00000000         67        2        1          1        0        0        0       0  2023-11-14T22:13:20.000Z  2023-11-14T22:13:20.000Z
00000001         75        2        1          2        0        0        0       0  2023-11-14T22:13:35.000Z  2023-11-14T22:13:35.500Z
total           142        4        2          3        0        0        0       0  2023-11-14T22:13:20.000Z  2023-11-14T22:13:35.500Z
"
    );
    assert_eq!(
        wal("dump"),
        "\
00000000:0 series 1 up{job=\"a\"}
00000000:34 samples 1 1700000000000 1
00000001:0 series 2 up{job=\"b\"}
00000001:34 samples 1 1700000015000 0
00000001:34 samples 2 1700000015500 2.5
"
    );
    let json = said(&["wal", "dump", "--segment=0", "--format=json", &path], dir.path(), 0);
    let entries: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 2);
    assert_eq!((&entries[1]["says"], &entries[1]["ref"]), (&Value::from("1"), &Value::from(1)));
    assert_eq!(wal("repair"), "DIR: nothing was damaged: 2 series, 3 samples\n");
}

#[test]
fn damage_is_found_and_repaired() {
    let dir = log();
    let path = dir.path().display().to_string();
    let segment = dir.path().join("wal/00000000");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[50] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let verdict = said(&["wal", "verify", &path], dir.path(), 1);
    assert!(verdict.starts_with("DIR: 00000000 at 34: unexpected checksum "), "{verdict}");
    assert!(verdict.ends_with("DIR: damaged: 2 files, 3 records, 142 bytes\n"), "{verdict}");
    let json: Value =
        serde_json::from_str(&said(&["wal", "verify", "--format=json", &path], dir.path(), 1)).unwrap();
    assert_eq!(json["damages"].as_array().unwrap().len(), 1);
    let repaired = said(&["wal", "repair", &path], dir.path(), 0);
    assert!(
        repaired.ends_with("DIR: repaired: 2 series, 2 samples\n") && repaired.lines().count() > 1,
        "{repaired}"
    );
    assert!(said(&["wal", "verify", &path], dir.path(), 0).starts_with("DIR: good: "));
    let missing = dir.path().join("wal/00000005");
    fs::write(missing, b"").unwrap();
    let verdict = said(&["wal", "verify", &path], dir.path(), 1);
    assert!(verdict.contains("are missing"), "{verdict}");
}

#[test]
fn a_log_in_use_is_read_and_not_repaired() {
    let scraped = Scraped::start("scrape_configs: []\n").ready();
    let path = scraped.data_dir().display().to_string();
    let verdict = command::scraped(&["wal", "verify", &path]);
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
    assert!(verdict.stdout.ends_with(", while a daemon writes it\n"), "{verdict:?}");
    let refused = command::scraped(&["wal", "repair", &path]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("is locked by another process"), "{refused:?}");
}

#[test]
fn no_log_is_said() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().display().to_string();
    for what in ["verify", "stat", "dump", "repair"] {
        let refused = command::scraped(&["wal", what, &path]);
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.starts_with("scraped: no write-ahead log in "), "{what}: {refused:?}");
    }
    assert!(!dir.path().join("wal").exists(), "nothing is made");
}

#[test]
fn a_query_draws() {
    let dir = log();
    let path = format!("--storage.agent.path={}", dir.path().display());
    let drawn = said(&["query", "up", "--plot", &path], dir.path(), 0);
    let lines: Vec<&str> = drawn.lines().collect();
    assert_eq!(lines[0], "up{job=\"a\"}");
    assert_eq!(lines[1], "           1 |*");
    assert_eq!(lines[10].trim_start(), format!("0 |{}*", " ".repeat(82)));
    assert_eq!(lines[13], "up{job=\"b\"}");
    assert_eq!(said(&["query", "nothing", "--plot", &path], dir.path(), 0), "no samples match nothing\n");
}

#[test]
fn a_query_finds_the_log_below_this_directory() {
    let dir = log();
    fs::create_dir(dir.path().join("data-agent")).unwrap();
    fs::rename(dir.path().join("wal"), dir.path().join("data-agent/wal")).unwrap();
    let mut query = Command::new(support::program());
    let answer = command::finish(query.args(["query", "up{job=\"b\"}"]).current_dir(dir.path()));
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
    assert_eq!(answer.stdout.lines().count(), 2, "{}", answer.stdout);
}

#[test]
fn a_query_follows_what_is_written() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let config = format!(
        "scrape_configs: [{{job_name: a, scrape_interval: 1s, static_configs: [{{targets: ['{}']}}]}}]\n",
        targets.address()
    );
    let scraped = Scraped::start(&config).ready();
    let path = format!("--storage.agent.path={}", scraped.data_dir().display());
    let mut query = Command::new(support::program());
    let mut child = query.args(["query", "up", "--follow", &path]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut times: Vec<String> = Vec::new();
    while times.len() < 4 {
        let line = lines.next().unwrap().unwrap();
        assert!(line.ends_with("\"}  1") && line.contains("  up{"), "{line}");
        times.push(line.split(' ').next().unwrap().to_owned());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(times.is_sorted_by(|before, after| before < after), "each once, in order: {times:?}");
}
