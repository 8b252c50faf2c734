//! Discovery with real threads and files: what reaches the receiver of target sets, and when.

use std::fs;
use std::time::{Duration, Instant};

use support::discovery::Discovery;
use support::{PATIENCE, wait_until};

const FILE_JOB: &str = "- job_name: files\n  file_sd_configs: [{files: ['sd/*.yml', 'sd/*.json']}]\n";

#[test]
fn the_first_sets_have_every_job() {
    let jobs = "- job_name: a\n  static_configs:\n  - {targets: ['a:1', 'a:2'], labels: {env: x}}\n  - targets: ['a:3']\n\
                - job_name: none\n"
        .to_owned()
        + FILE_JOB;
    let discovery = Discovery::start(&jobs, &[("one.yml", "- targets: ['f:1']\n")]);
    let start = Instant::now();
    assert_eq!(
        discovery.next(),
        "a: a:1{env=\"x\"} a:2{env=\"x\"} a:3{}; files: f:1{__meta_filepath=\"sd/one.yml\"}; none:"
    );
    assert!(start.elapsed() < PATIENCE / 2);
    discovery.expect_silence();
    let page = discovery.page();
    for line in [
        "prometheus_sd_discovered_targets{name=\"scrape\",config=\"a\"} 3\n",
        "prometheus_sd_discovered_targets{name=\"scrape\",config=\"none\"} 0\n",
        "prometheus_sd_updates_total{name=\"scrape\"} 1\n",
        "prometheus_sd_received_updates_total{name=\"scrape\"} 2\n",
        "prometheus_sd_file_read_errors_total 0\n",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    discovery.handle.stop();
}

#[test]
fn files_come_change_break_and_go() {
    let discovery = Discovery::start(FILE_JOB, &[("a.yml", "- targets: ['a:1']\n")]);
    let a = "{__meta_filepath=\"sd/a.yml\"}";
    let b = "{__meta_filepath=\"sd/b.json\"}";
    assert_eq!(discovery.next(), format!("files: a:1{a}"));
    discovery.write("b.json", r#"[{"targets": ["b:1"]}]"#);
    discovery.expect(&format!("files: a:1{a} b:1{b}"));
    discovery.write("a.yml", "- targets: ['a:1', 'a:2']\n");
    discovery.expect(&format!("files: a:1{a} a:2{a} b:1{b}"));
    // The same size, and perhaps the same time stamp.
    discovery.write("a.yml", "- targets: ['a:1', 'a:3']\n");
    discovery.expect(&format!("files: a:1{a} a:3{a} b:1{b}"));
    // Bad content keeps the last good one and is counted.
    discovery.write("a.yml", "- targets: [a:1\n");
    discovery.write("b.json", "");
    wait_until("both are found bad", || discovery.metrics.file_read_errors.get() >= 2);
    discovery.write("c.yml", "- targets: ['c:1']\n");
    discovery.expect(&format!("files: a:1{a} a:3{a} b:1{b} c:1{{__meta_filepath=\"sd/c.yml\"}}"));
    // Until it is good again.
    discovery.write("a.yml", "- targets: ['a:4']\n");
    discovery.expect(&format!("files: a:4{a} b:1{b} c:1{{__meta_filepath=\"sd/c.yml\"}}"));
    // `null` and a deleted file have no targets.
    discovery.write("b.json", "null");
    discovery.expect(&format!("files: a:4{a} c:1{{__meta_filepath=\"sd/c.yml\"}}"));
    fs::remove_file(discovery.dir.path().join("sd/c.yml")).expect("removable");
    discovery.expect(&format!("files: a:4{a}"));
    let page = discovery.page();
    assert!(page.contains("sd/a.yml\"} "), "{page}");
    assert!(!page.contains("sd/c.yml"), "{page}");
    fs::remove_dir_all(discovery.dir.path().join("sd")).expect("removable");
    discovery.expect("files:");
}

#[test]
fn unreadable_things_do_no_harm() {
    let jobs =
        "- job_name: files\n  file_sd_configs: [{files: ['sd/*.yml', 'missing/*.yml', 'sd/none.json']}]\n";
    let discovery = Discovery::start(jobs, &[("a.yml", "- targets: ['a:1']\n")]);
    let good = "files: a:1{__meta_filepath=\"sd/a.yml\"}";
    assert_eq!(discovery.next(), good);
    let sd = discovery.dir.path().join("sd");
    fs::create_dir(sd.join("directory.yml")).expect("a directory");
    std::os::unix::fs::symlink("nowhere", sd.join("dangling.yml")).expect("a link");
    let made = std::process::Command::new("mkfifo").arg(sd.join("pipe.yml")).status().expect("mkfifo runs");
    assert!(made.success());
    wait_until("all three are found bad", || discovery.metrics.file_read_errors.get() >= 3);
    discovery.write("b.yml", "- targets: ['b:1']\n");
    discovery.expect(&format!("{good} b:1{{__meta_filepath=\"sd/b.yml\"}}"));
    discovery.handle.stop();
}

#[test]
fn a_reload_starts_stops_and_keeps_providers() {
    let discovery = Discovery::start(FILE_JOB, &[("a.yml", "- targets: ['a:1']\n")]);
    let a = "a:1{__meta_filepath=\"sd/a.yml\"}";
    assert_eq!(discovery.next(), format!("files: {a}"));
    let n_updates = discovery.metrics.received_updates.get();
    // Nothing but a relabelling rule differs: the sets come again, the provider is not asked.
    let start = Instant::now();
    discovery.reload(&format!("{FILE_JOB}  relabel_configs: [{{target_label: x, replacement: 'y'}}]\n"));
    assert_eq!(discovery.next(), format!("files: {a}"));
    assert!(start.elapsed() < PATIENCE / 2);
    assert_eq!(discovery.metrics.received_updates.get(), n_updates);
    // A second job with equal settings shares it.
    let second = FILE_JOB.replace("job_name: files", "job_name: second");
    discovery.reload(&format!("{FILE_JOB}{second}"));
    assert_eq!(discovery.next(), format!("files: {a}; second: {a}"));
    assert_eq!(discovery.metrics.received_updates.get(), n_updates);
    // Other settings: another provider. The job is never empty in between.
    let other = "- job_name: files\n  file_sd_configs: [{files: ['sd/*.yml'], refresh_interval: 1m}]\n";
    discovery.reload(other);
    let sets = discovery.next();
    assert_eq!(sets, format!("files: {a}"));
    wait_until("the new one has spoken", || discovery.metrics.received_updates.get() > n_updates);
    // Static targets instead.
    discovery.reload("- job_name: fixed\n  static_configs: [{targets: ['s:1']}]\n");
    discovery.expect("fixed: s:1{}");
    let page = discovery.page();
    assert!(!page.contains("config=\"files\""), "{page}");
    wait_until("the file's time is forgotten", || !discovery.page().contains("sd/a.yml"));
    discovery.handle.stop();
}

#[test]
fn a_receiver_that_is_busy_gets_the_newest_sets() {
    let discovery = Discovery::start(FILE_JOB, &[]);
    // One set lies in the channel, and everything that follows waits behind it.
    wait_until("the first set is sent", || !discovery.target_sets.is_empty());
    for n_targets in 1..=3 {
        let targets: Vec<String> = (0..n_targets).map(|n| format!("'a:{n}'")).collect();
        discovery.write("a.yml", &format!("- targets: [{}]\n", targets.join(", ")));
        let n_updates = discovery.metrics.received_updates.get();
        wait_until("the change is seen", || discovery.metrics.received_updates.get() > n_updates);
    }
    wait_until("sets were replaced", || discovery.metrics.delayed_updates.get() > 0);
    wait_until("the manager is calm", || discovery.page().contains("config=\"files\"} 3\n"));
    assert_eq!(discovery.next(), "files:", "the one that lay there");
    let a = "{__meta_filepath=\"sd/a.yml\"}";
    assert_eq!(discovery.next(), format!("files: a:0{a} a:1{a} a:2{a}"));
    discovery.expect_silence();
}

#[test]
fn bursts_collapse() {
    let discovery = Discovery::start(FILE_JOB, &[]);
    assert_eq!(discovery.next(), "files:");
    let start = Instant::now();
    let mut n_changes = 0;
    while start.elapsed() < Duration::from_secs(4) {
        n_changes += 1;
        discovery.write("a.yml", &format!("- targets: ['a:{n_changes}']\n"));
        std::thread::sleep(Duration::from_millis(20));
    }
    discovery.expect(&format!("files: a:{n_changes}{{__meta_filepath=\"sd/a.yml\"}}"));
    let n_sent = discovery.metrics.sent_updates.get();
    assert!(n_sent < n_changes / 4, "{n_sent} sets for {n_changes} changes");
}

#[test]
fn ten_thousand_rewrites_end_with_the_last() {
    const N_REWRITES: usize = 10_000;
    let discovery = Discovery::start(FILE_JOB, &[("a.yml", "- targets: ['a:0']\n")]);
    for n in 1..=N_REWRITES {
        // Every tenth time somebody writes nonsense, or writes into the file itself.
        match n % 10 {
            1 => discovery.write("a.yml", "- targets: {"),
            2 => fs::write(discovery.dir.path().join("sd/a.yml"), format!("- targets: ['a:{n}']\n"))
                .expect("writable"),
            _ => discovery.write("a.yml", &format!("- targets: ['a:{n}']\n")),
        }
    }
    discovery.expect(&format!("files: a:{N_REWRITES}{{__meta_filepath=\"sd/a.yml\"}}"));
    let n_updates = discovery.metrics.received_updates.get();
    assert!(n_updates < N_REWRITES as u64 / 10, "{n_updates} updates: rewrites were not collected");
    discovery.handle.stop();
}

#[test]
fn a_stop_ends_every_thread() {
    let jobs = (0..20).map(|n| {
        format!("- job_name: job{n}\n  file_sd_configs: [{{files: ['sd/{n}.yml'], refresh_interval: 1h}}]\n")
    });
    let discovery = Discovery::start(&jobs.collect::<String>(), &[]);
    discovery.next();
    let start = Instant::now();
    discovery.handle.stop();
    assert!(start.elapsed() < PATIENCE);
    // The sender is gone with the manager.
    let end = discovery.target_sets.recv_timeout(PATIENCE);
    assert_eq!(end, Err(crossbeam_channel::RecvTimeoutError::Disconnected));
}
