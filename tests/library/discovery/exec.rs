//! `exec_sd_configs`: commands that print a list, fail, hang and print no list.

use std::fs;
use std::time::Instant;

use support::discovery::Discovery;
use support::{PATIENCE, wait_until};

/// A job whose command is the script `sd/targets`, which is run by the shell that the test names.
fn job(settings: &str) -> String {
    format!("- job_name: exec\n  exec_sd_configs: [{{command: [/bin/sh, DIR/sd/targets], {settings}}}]\n")
}

fn prints(list: &str) -> String {
    format!("cat <<'END'\n{list}\nEND\n")
}

#[test]
fn what_it_prints_are_the_targets_while_it_works() {
    let first = prints(r#"[{"targets": ["a:1"], "labels": {"rack": "x"}}, {"targets": ["b:2"]}]"#);
    let discovery = Discovery::start(&job("refresh_interval: 100ms, timeout: 300ms"), &[("targets", &first)]);
    let command = "__meta_exec_command=\"/bin/sh\"";
    let targets = format!("exec: a:1{{{command}, rack=\"x\"}} b:2{{{command}}}");
    assert_eq!(discovery.answered(), targets);
    let failures = || {
        let page = discovery.page();
        let line =
            page.lines().find(|it| it.starts_with("prometheus_sd_refresh_failures_total{mechanism=\"exec\""));
        line.and_then(|it| it.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    for bad in ["exit 1", "sleep 100", "echo '[{'", "echo '[null]'", ": nothing at all"] {
        let before = failures();
        discovery.write("targets", bad);
        wait_until(bad, || failures() >= before + 2.0);
    }
    discovery.write("targets", &prints(r#"[{"targets": ["c:3"]}]"#));
    // Every set that was sent in between is the first.
    loop {
        let sets = discovery.next();
        if sets != targets {
            assert_eq!(sets, format!("exec: c:3{{{command}}}"));
            break;
        }
    }
    discovery.handle.stop();
}

#[test]
fn a_stop_kills_what_runs() {
    let discovery =
        Discovery::start(&job("timeout: 1h"), &[("targets", "echo $$ > ${0%/*}/pid; exec sleep 1000\n")]);
    let pid_path = discovery.dir.path().join("sd/pid");
    let pid = || fs::read_to_string(&pid_path).unwrap_or_default().trim().to_owned();
    wait_until("the command runs", || !pid().is_empty());
    let began_at = Instant::now();
    discovery.handle.stop();
    assert!(began_at.elapsed() < PATIENCE);
    wait_until("the command is gone", || !fs::exists(format!("/proc/{}", pid())).expect("proc"));
}
