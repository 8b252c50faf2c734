//! Sub-commands that ask a daemon: `explain`, `top`, `support-bundle`; and `cost`, which asks its targets.

use std::fs;
use std::process::Command;

use serde_json::Value;
use support::command::{self, Finished, finish};
use support::scraped::{Scraped, free_address};
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;
use tempfile::TempDir;

const PAGE: &str = "# TYPE good counter\ngood{x=\"y\"} 1\nbad 2\nother 3\n";

/// A daemon with a target that is up, one that is down, and one that is dropped.
fn daemon(targets: &FakeTargets, gone: &str) -> Scraped {
    targets.set("/metrics", Behaviour::Healthy(page(PAGE)));
    let at = targets.address();
    let config = format!(
        "
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: good
  sample_limit: 100
  relabel_configs:
  - {{source_labels: [__address__], regex: '(.*):.*', target_label: host}}
  - {{source_labels: [env], regex: test, action: drop}}
  static_configs: [{{targets: ['{at}']}}, {{targets: ['left.example:1'], labels: {{env: test}}}}]
- job_name: gone
  static_configs: [{{targets: ['{gone}']}}]
"
    );
    let scraped = Scraped::start(&config).ready();
    wait_until("both are scraped", || {
        let targets = scraped.get("/api/v1/targets").body;
        targets.contains("\"health\":\"up\"") && targets.contains("\"health\":\"down\"")
    });
    scraped
}

fn said(arguments: &[&str], code: i32) -> String {
    let Finished { code: ended, stdout, stderr, .. } = command::scraped(arguments);
    assert_eq!((ended, stderr.as_str()), (Some(code), ""), "{arguments:?}: {stdout}");
    stdout
}

#[test]
fn a_target_is_explained() {
    let targets = FakeTargets::start();
    let gone = free_address();
    let scraped = daemon(&targets, &gone);
    let (url, at) = (format!("--url=http://{}", scraped.address()), targets.address());
    let good = said(&["explain", &url, &at], 0);
    for line in [
        &format!("http://{at}/metrics of job \"good\": up\n"),
        "  found by       static_configs or exec_sd_configs, group 0\n",
        "  rule 1         replace regex=\"(.*):.*\" source_labels=[\"__address__\"] target_label=\"host\": +host=\"127.0.0.1\"\n",
        "  rule 2         drop regex=\"test\" source_labels=[\"env\"]: no change\n",
        &format!("  becomes        {{host=\"127.0.0.1\", instance=\"{at}\", job=\"good\"}}\n"),
        "  scraped        every 1s, for at most 1s\n",
        "  limits         sample_limit 100\n",
        &format!("  samples        3 of 3 kept, a page of {} B\n", PAGE.len()),
        "  a day          on disk ",
    ] {
        assert!(good.contains(line), "{line} is not in\n{good}");
    }
    // Now and then it is being scraped at that moment.
    wait_until("it is scheduled", || {
        let said = command::scraped(&["explain", &url, &at]).stdout;
        let line = said.lines().find(|line| line.starts_with("  queue          due in "));
        line.is_some_and(|line| {
            line.contains(" of 2 scheduled loops are due before it; with those that answer; ")
        })
    });
    // By a series of it, once it is in the log.
    let by_series = || command::scraped(&["explain", &url, "good{x=\"y\"}"]).stdout;
    wait_until("the series is found", || {
        by_series().starts_with(&format!("http://{at}/metrics of job \"good\": up\n"))
    });
    let down = said(&["explain", &url, "gone"], 0);
    assert!(down.contains("attempts       connect") && down.contains("connection refused"), "{down}");
    let dropped = said(&["explain", &url, "left.example:1"], 0);
    assert!(dropped.starts_with("left.example:1 of job \"good\": dropped\n"), "{dropped}");
    assert!(
        dropped.ends_with("  rule 2         drop regex=\"test\" source_labels=[\"env\"]: dropped\n"),
        "{dropped}"
    );
    let json: Value = serde_json::from_str(&said(&["explain", &url, &at, "--format=json"], 0)).unwrap();
    assert_eq!(json[0]["limits"]["sample_limit"], "100");
    assert_eq!(json[0]["attempts"]["samplesKept"], 3);
    let states = ["scheduled", "running", "due"];
    assert!(states.iter().any(|state| json[0]["queue"]["state"] == *state), "{}", json[0]["queue"]);
    let nothing = command::scraped(&["explain", &url, "nothing"]);
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.stderr.contains("neither a target nor a series"), "{nothing:?}");
}

#[test]
fn top_shows_what_is_down_first() {
    let targets = FakeTargets::start();
    let gone = free_address();
    let scraped = daemon(&targets, &gone);
    let url = format!("--url=http://{}", scraped.address());
    let screen = said(&["top", &url], 0);
    let lines: Vec<&str> = screen.lines().collect();
    assert_eq!(lines[0], format!("scraped at http://{}: 2 targets, 1 not up", scraped.address()));
    assert_eq!(lines[3], "sending   nothing: no remote_write");
    assert_eq!(lines[5], "STATE   JOB                   TOOK  SAMPLES      PAGE  TARGET");
    assert!(lines[6].starts_with("down    gone") && lines[6].contains("connect: Get "), "{screen}");
    assert!(lines[7].starts_with("up      good") && lines[7].ends_with("/metrics"), "{screen}");
    assert!(!screen.contains('\x1b'), "no colours into a pipe");
    let json: Value = serde_json::from_str(&said(&["top", &url, "--format=json"], 0)).unwrap();
    assert_eq!(json["targets"][0]["failedIn"], "connect");
    assert_eq!(json["targets"][1]["samples"], 3);
}

#[test]
fn a_bundle_is_an_archive() {
    let targets = FakeTargets::start();
    let gone = free_address();
    let scraped = daemon(&targets, &gone);
    let url = format!("--url=http://{}", scraped.address());
    let dir = TempDir::new().unwrap();
    let (file, log) = (dir.path().join("b.tar"), dir.path().join("log"));
    fs::write(&log, "the last line\n").unwrap();
    let (path, log) = (file.display().to_string(), format!("--log={}", log.display()));
    let made = said(&["support-bundle", &url, &log, &path], 0);
    assert_eq!(made, format!("{path}: 20 files; look at them before you send it to anyone\n"));
    let again = command::scraped(&["support-bundle", &url, &path]);
    assert!(again.code == Some(1) && again.stderr.contains("File exists"), "{again:?}");
    let unpacked = finish(Command::new("tar").args(["xf", &path, "-C"]).arg(dir.path()));
    assert_eq!((unpacked.code, unpacked.stderr.as_str()), (Some(0), ""));
    let read = |name: &str| fs::read_to_string(dir.path().join("scraped-support").join(name)).unwrap();
    assert_eq!(read("log.txt"), "the last line\n");
    assert_eq!(read("missing.txt"), "");
    assert!(read("metrics.txt").contains("prometheus_build_info"));
    assert!(read("jobs/0001.json").contains("job_name: good"));
    assert!(read("config.json").contains("job_name: gone"));
    let attempts: Value = serde_json::from_str(&read("attempts.json")).unwrap();
    assert_eq!(attempts["data"]["targets"].as_array().unwrap().len(), 2);
}

#[test]
fn costs_are_known_before_anything_is_sent() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page(PAGE)));
    let (at, gone) = (targets.address(), free_address());
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("c.yml").display().to_string();
    let config = |remote: &str| {
        format!(
            "scrape_configs:\n- job_name: good\n  scrape_interval: 10s\n  static_configs: [{{targets: ['{at}']}}]\n{remote}"
        )
    };
    fs::write(&file, config("")).unwrap();
    let printed = said(&["cost", &file], 0);
    let lines: Vec<Vec<&str>> = printed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0].join(" "), "JOB TARGETS FAILED SERIES DISK A DAY WIRE A DAY WIRE A MONTH");
    // Three samples and the five of the report.
    assert_eq!(lines[1][..4], ["good", "1", "0", "8"]);
    assert_eq!(lines[1][6..], ["-", "-"]);
    assert!(printed.ends_with("nothing would be sent: no remote_write is configured\n"), "{printed}");

    let remote = format!(
        "- job_name: gone\n  static_configs: [{{targets: ['{gone}']}}]\nremote_write: [{{url: 'http://{gone}/'}}, {{url: 'http://{gone}/2'}}]\n"
    );
    fs::write(&file, config(&remote)).unwrap();
    let json: Value = serde_json::from_str(&said(&["cost", "--format=json", &file], 1)).unwrap();
    let total = &json["total"];
    assert_eq!((&total["targets"], &total["failed"], &total["series"]), (&2.into(), &1.into(), &8.into()));
    let (disk, wire) = (&total["bytes_a_day_on_disk"], &total["bytes_a_day_on_wire"]);
    // 8640 scrapes of 8 samples, in a record of some bytes each; a request has their labels.
    let (disk, wire) = (disk.as_f64().unwrap(), wire.as_f64().unwrap());
    assert!((8640.0 * 40.0..8640.0 * 200.0).contains(&disk), "{json}");
    assert!((2.0 * 8640.0 * 100.0..2.0 * 8640.0 * 700.0).contains(&wire), "{json}");
    assert!(json["troubles"][0].as_str().unwrap().contains("connection refused"), "{json}");
    assert_eq!(targets.n_requests("/metrics"), 2, "each time once");
}
