//! Ten targets of a node_exporter's size in 16 MiB of memory, with an outage of the endpoint: nothing is killed, nothing lost.
//!
//! Half a minute, and with `scripts/test --long` an hour. Needs root, for a control group.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use support::api::metric_sum;
use support::cases::is_long;
use support::remote::receiver::{Answer, Receiver};
use support::remote::{given_up, wait_until_sent};
use support::scraped::Scraped;
use support::system::memory_group::MemoryGroup;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;
use tempfile::TempDir;

const N_TARGETS: usize = 10;
const MEMORY_BYTES: u64 = 16 << 20;

/// 1200 series in 60 families, as a node_exporter on a small machine has them.
fn node_page() -> String {
    let mut text = String::new();
    for family in 0..60 {
        let _ =
            writeln!(text, "# HELP node_family_{family}_total What number {family} counts on this machine.");
        let _ = writeln!(text, "# TYPE node_family_{family}_total counter");
        for device in 0..20 {
            let value = (family * 7919 + device * 104_729) as f64 * 1.37;
            let _ = writeln!(
                text,
                "node_family_{family}_total{{device=\"sda{device}\",mode=\"m{}\"}} {value}",
                device % 4
            );
        }
    }
    text
}

#[test]
fn ten_targets_and_an_outage_in_16_mib() {
    let Some(group) = MemoryGroup::new(MEMORY_BYTES) else { return };
    let (interval, phase) = match is_long() {
        true => ("5s", Duration::from_secs(20 * 60)),
        false => ("1s", Duration::from_secs(8)),
    };
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page(&node_page())));
    let receiver = Receiver::start();
    let mut config =
        format!("global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}\nscrape_configs:\n");
    for idx in 0..N_TARGETS {
        let _ = writeln!(
            config,
            "- {{job_name: node{idx}, static_configs: [{{targets: ['{}']}}]}}",
            targets.address()
        );
    }
    let _ = writeln!(config, "remote_write: [{{url: '{}', name: main}}]", receiver.url());
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
    fs::write(dir.path().join("scraped.yml"), config).unwrap();
    let scraped = Scraped::start_in_group(
        &group.procs(),
        dir,
        &["--storage.remote.flush-deadline=5s", "--storage.agent.memory-first=auto"],
    );
    assert!(scraped.stderr().contains("for 16 MiB of memory by "), "{}", scraped.stderr());
    let appended = || metric_sum(&scraped, "prometheus_agent_samples_appended_total");
    let pass = |what: &str| {
        let before = appended();
        let start = Instant::now();
        // Time itself is what passes here.
        while start.elapsed() < phase {
            assert!(!scraped.has_ended(), "{what}: {}", scraped.stderr());
            thread::sleep(Duration::from_millis(500));
        }
        wait_until(what, || appended() > before + 20_000.0);
    };
    pass("all is well");
    receiver.answer(Answer::status(503));
    pass("an outage");
    receiver.answer(Answer::Stores(204));
    pass("all is well again");
    wait_until_sent(&scraped.data_dir(), &receiver);
    assert_eq!(group.n_killed(), 0);
    assert_eq!(given_up(&scraped), 0.0);
    assert_eq!(metric_sum(&scraped, "scraped_wal_samples_lost_total"), 0.0);
    println!("at most {:?} bytes of {MEMORY_BYTES}", group.most_bytes());
    assert!(scraped.stop().success());
    receiver.check();
}
