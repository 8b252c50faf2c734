//! Where nothing is chosen, the log suits a small file system: the start says no word against it, and the bound is kept while
//! segments come and go. What goes is younger than the retention wants, which is said once.
//!
//! Uses tmpfs of its own, which needs root; without it nothing is tested and the tests say so.

use std::fs;

use scraped_engine::disk::{Disk, RealDisk};
use support::api::metric;
use support::scraped::Scraped;
use support::system::small_disk::SmallDisk;
use support::targets::FakeTargets;
use support::wal::check_log;
use support::{wait_for_long, wait_until};

/// With nothing chosen.
fn start(disk: &SmallDisk, targets: &FakeTargets) -> Scraped {
    let config = format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
         scrape_configs:\n- job_name: fake\n  static_configs: [{{targets: ['{}']}}]\n",
        targets.address()
    );
    fs::write(disk.dir().path().join("scraped.yml"), config).unwrap();
    Scraped::start_in(disk.dir(), &[])
}

fn check(size_mib: u64, n_series: u64) {
    let Some(disk) = SmallDisk::mount(&format!("{size_mib}m")) else { return };
    let targets = FakeTargets::noisy(n_series);
    let scraped = start(&disk, &targets);
    let (mut most_bytes, mut limit_bytes) = (0, 0.0);
    wait_for_long("segments go by the bound", || {
        most_bytes = most_bytes.max(RealDisk.bytes_under(&disk.data_dir()).unwrap());
        limit_bytes = metric(&scraped, "scraped_wal_limit_bytes").unwrap();
        metric(&scraped, "scraped_wal_segment_first").unwrap() >= 2.0
    });
    println!("{size_mib} MiB: at most {most_bytes} bytes, bound {limit_bytes}\n{}", scraped.stderr());
    assert!(limit_bytes <= (size_mib << 20) as f64 / 2.0, "{limit_bytes}");
    // A scrape may be written while segments go.
    assert!(most_bytes as f64 <= limit_bytes * 1.05, "{most_bytes} of {limit_bytes}");
    assert_eq!(metric(&scraped, "scraped_wal_samples_lost_total{reason=\"write_failed\"}"), Some(0.0));
    let stderr = scraped.stderr();
    let complaints: Vec<&str> = stderr.lines().filter(|line| !line.contains("level=INFO")).collect();
    assert_eq!(complaints.len(), 1, "{stderr}");
    assert!(complaints[0].contains("younger than storage.agent.retention.min-time"), "{stderr}");
    assert!(scraped.stop().success());
    check_log(&disk.data_dir());
}

#[test]
fn a_file_system_of_8_mib() {
    check(8, 3_000);
}

/// Ten node_exporters: the checkpoint and its reserve need more than a tenth of the disk.
#[test]
fn a_file_system_of_8_mib_with_many_series() {
    check(8, 10_000);
}

#[test]
fn a_file_system_of_64_mib() {
    check(64, 10_000);
}

/// It goes on as the others; only the start is looked at, for it takes minutes to fill.
#[test]
fn a_file_system_of_200_mib() {
    let Some(disk) = SmallDisk::mount("200m") else { return };
    let targets = FakeTargets::noisy(1_000);
    let scraped = start(&disk, &targets);
    wait_until("samples", || {
        metric(&scraped, "prometheus_agent_samples_appended_total{type=\"float\"}") > Some(0.0)
    });
    wait_until("a bound", || metric(&scraped, "scraped_wal_limit_bytes") == Some((200 << 20) as f64 / 10.0));
    let stderr = scraped.stderr();
    assert!(stderr.lines().all(|line| line.contains("level=INFO")), "{stderr}");
}
