//! Few open files: the limit is raised as far as it goes, and what is left goes to what is more important.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use support::api::{active, metric, metric_sum};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

const N_TARGETS: usize = 100;
const HEAD: &str = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n";

/// A job with this many targets of `path`, each with a connection of its own.
fn job(name: &str, targets: &FakeTargets, path: &str, n_targets: usize) -> String {
    let mut text = format!("- job_name: {name}\n  metrics_path: {path}\n  static_configs:\n");
    for number in 0..n_targets {
        let _ = writeln!(text, "  - {{targets: ['{}'], labels: {{n: '{number}'}}}}", targets.address());
    }
    text
}

fn n_up(scraped: &Scraped, job: &str) -> usize {
    active(scraped, job).iter().filter(|target| target.health == "up").count()
}

#[test]
fn the_soft_limit_is_raised_and_commands_get_it_back() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("a 1\n")));
    let dir = tempfile::tempdir().expect("a directory");
    let script = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        path.display().to_string()
    };
    let sd = script(
        "sd",
        r#"echo "[{\"targets\": [\"127.0.0.1:1\"], \"labels\": {\"limit\": \"$(ulimit -Sn)\"}}]""#,
    );
    let seen = dir.path().join("seen");
    let command = script("page", &format!("echo $(ulimit -Sn) $(ulimit -Hn) > {}; echo b 1", seen.display()));
    let config = format!(
        "{HEAD}{}- job_name: sd\n  exec_sd_configs: [{{command: ['{sd}']}}]\n\
         - job_name: exec\n  static_configs: [{{targets: ['exec:{command}']}}]\n",
        job("many", &targets, "/metrics", N_TARGETS)
    );
    let scraped = Scraped::start_limited(64, 4000, &config, &["--enable-feature=exec-targets"]);
    wait_until("all are up", || n_up(&scraped, "many") == N_TARGETS && n_up(&scraped, "exec") == 1);
    assert_eq!(metric(&scraped, "process_max_fds"), Some(4000.0));
    assert!(metric(&scraped, "process_open_fds").expect("counted") > N_TARGETS as f64);
    wait_until("a command has found targets", || !active(&scraped, "sd").is_empty());
    assert_eq!(active(&scraped, "sd")[0].labels["limit"], "64");
    assert_eq!(fs::read_to_string(&seen).expect("written"), "64 4000\n");
    let log = scraped.stderr();
    assert!(!log.contains("oo many open files") && !log.contains("limit of open files"), "{log}");
}

#[test]
fn targets_above_the_hard_limit_are_scraped_without_keeping_their_connections() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("a 1\n")));
    let config = format!("{HEAD}{}", job("many", &targets, "/metrics", N_TARGETS));
    let scraped = Scraped::start_limited(64, 64, &config, &[]);
    wait_until("all are up", || n_up(&scraped, "many") == N_TARGETS);
    wait_until("it is said", || scraped.stderr().contains("the limit of open files is too low"));
    let sentence = "the limit of open files is too low for 100 targets (limit: 64): 8 connections are kept";
    assert_eq!(scraped.stderr().matches(sentence).count(), 1);
    // Clients that keep all connections they can get keep neither others nor targets out.
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(scraped.address()).expect("accepted");
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("open");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("possible");
        assert!(stream.read(&mut [0; 1024]).expect("an answer") > 0);
        held.push(stream);
    }
    let appended = || metric_sum(&scraped, "prometheus_agent_samples_appended_total");
    let n_before = appended();
    wait_until("three rounds", || appended() >= n_before + 18.0 * N_TARGETS as f64);
    let failed: Vec<String> = active(&scraped, "many").into_iter().map(|target| target.last_error).collect();
    assert!(failed.iter().all(String::is_empty), "{failed:?}");
    let log = scraped.stderr();
    assert!(log.contains("clients hold connections to the web server (limit of open files: 64)"), "{log}");
    assert!(!log.contains("cannot accept") && !log.contains("fsync"), "{log}");
    drop(held);
    // Another reload of the same says nothing new.
    scraped.signal("HUP");
    wait_until("loaded again", || scraped.stderr().contains("configuration loaded"));
    assert_eq!(scraped.stderr().matches(sentence).count(), 1);
}

#[test]
fn hung_targets_leave_the_last_descriptors_to_the_web_and_the_log() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("a 1\n")));
    targets.set("/hangs", Behaviour::Hangs);
    let mut config = format!(
        "{HEAD}{}{}- job_name: commands\n  static_configs:\n",
        job("good", &targets, "/metrics", 2),
        job("hung", &targets, "/hangs", N_TARGETS)
    );
    for number in 0..N_TARGETS / 2 {
        let _ = writeln!(config, "  - {{targets: ['exec:/bin/sleep 9'], labels: {{n: '{number}'}}}}");
    }
    let scraped = Scraped::start_limited(64, 64, &config, &["--enable-feature=exec-targets"]);
    let errors =
        || -> Vec<String> { active(&scraped, "hung").into_iter().map(|target| target.last_error).collect() };
    wait_until("some have no descriptor", || errors().iter().any(|it| it.contains("too many open files")));
    wait_until("good targets are scraped", || n_up(&scraped, "good") == 2);
    for _ in 0..20 {
        assert_eq!(scraped.get("/-/healthy").status, 200);
    }
    let commands = || active(&scraped, "commands");
    wait_until("some commands have none either", || {
        commands().iter().any(|target| target.last_error.contains("Too many open files"))
    });
    wait_until("all have failed", || errors().iter().all(|error| !error.is_empty()));
    let log = scraped.stderr();
    assert!(!log.contains("cannot accept") && !log.contains("cannot fsync"), "{log}");
    assert!(scraped.stop().success());
}
