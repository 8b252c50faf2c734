//! Where the log goes, with which priorities, and how much it says.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use support::scraped::{Scraped, free_address};
use support::wait_until;
use tempfile::TempDir;

const NOTHING: &str = "scrape_configs: []\n";

/// A target that is away costs as many lines in a minute as it does in an hour: those of the start.
#[test]
fn a_target_that_stays_down_costs_a_handful_of_lines() {
    let config = format!(
        "global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}\n\
         scrape_configs:\n- job_name: away\n  static_configs: [{{targets: ['{}']}}]\n",
        free_address()
    );
    let scraped = Scraped::start(&config);
    let failed = || support::api::metric_sum(&scraped, "prometheus_agent_samples_appended_total");
    wait_until("some hundred scrapes", || failed() > 250.0);
    let stderr = scraped.stderr();
    let n_lines = stderr.lines().count();
    assert!(n_lines <= 8, "{stderr}");
    assert!(scraped.stop().success());
}

#[test]
fn the_journal_gets_priorities_and_no_time() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    fs::write(dir.path().join("scraped.yml"), NOTHING).unwrap();
    let lines = |is_journal: bool| {
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let metadata = log.metadata().unwrap();
        let inode = if is_journal { metadata.ino() } else { 1 };
        assert!(log.as_raw_fd() > 2);
        let mut child = Command::new(support::program())
            .arg(format!("--config.file={}", dir.path().join("scraped.yml").display()))
            .arg(format!("--storage.agent.path={}", dir.path().join("data").display()))
            .arg("--web.listen-address=0.0.0.0:0")
            .env("JOURNAL_STREAM", format!("{}:{inode}", metadata.dev()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let read = || fs::read_to_string(dir.path().join("log")).unwrap();
        wait_until("the warning of an open door, and the log", || {
            read().contains("everyone") && read().contains("segment")
        });
        child.kill().unwrap();
        child.wait().unwrap();
        read()
    };
    let journal = lines(true);
    for line in journal.lines() {
        let level = if line.contains("everyone") { "<4>level=WARN " } else { "<6>level=INFO " };
        assert!(line.starts_with(level), "{journal}");
    }
    // The stream may have been led elsewhere since.
    let elsewhere = lines(false);
    assert!(elsewhere.lines().all(|line| line.starts_with("time=")), "{elsewhere}");
}

#[test]
fn a_file_takes_the_log() {
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
    fs::write(dir.path().join("scraped.yml"), NOTHING).unwrap();
    let file = dir.path().join("scraped.log");
    let flag = format!("--log.file={}", file.display());
    let scraped = Scraped::start_in(Arc::clone(&dir), &[&flag, "--log.file-max-bytes=16KB"]);
    let before = dir.path().join("scraped.log.1");
    let mut n_reloads = 0;
    wait_until("one file is full", || {
        // Each is another sentence.
        n_reloads += 1;
        scraped.reload_with(&format!("scrape_configs: number_{n_reloads}\n"));
        before.exists()
    });
    let bytes = [&file, &before].map(|file| fs::metadata(file).unwrap().len());
    assert!(bytes.iter().sum::<u64>() <= 16 << 10, "{bytes:?}");
    assert_eq!(scraped.stderr(), "");
    assert!(scraped.stop().success());
    assert!(fs::read_to_string(&file).unwrap().contains("stopped in"));
    let mut scraped = Scraped::spawn_in(dir, &["--log.file=/no/such/file"]);
    assert_eq!(scraped.wait().code(), Some(1));
    assert!(scraped.stderr().contains("--log.file"), "{}", scraped.stderr());
}
