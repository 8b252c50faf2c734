//! A small disk that fills up while the endpoint is away: what is removed is closed and counted at once, its room is
//! really there, new samples are not lost, and the endpoint gets what is left when it is back.
//!
//! Uses tmpfs of its own, which needs root; without it nothing is tested and the tests say so.

use std::fs;
use std::sync::Arc;

use scraped::remote::settle::ledger::{DropReason, Ledger};
use scraped::remote::settle::position::{Positions, Remembered};
use scraped_engine::disk::RealDisk;
use support::api::{metric, metric_sum};
use support::remote::receiver::Receiver;
use support::remote::{config, given_up, wait_until_sent};
use support::scraped::{ON_DISK, Scraped, free_address};
use support::system::small_disk::SmallDisk;
use support::targets::{Behaviour, FakeTargets, page};
use support::{wait_for_long, wait_until};

/// A page of series with values that cannot be packed.
fn target(n_series: u64) -> FakeTargets {
    let targets = FakeTargets::start();
    let noise = |idx: u64| idx.wrapping_mul(6_364_136_223_846_793_005) >> 11;
    let content: String =
        (1..=n_series).map(|idx| format!("m_{idx}{{a=\"value-{idx}\"}} {}\n", noise(idx))).collect();
    targets.set("/metrics", Behaviour::Healthy(page(&content)));
    targets
}

/// Segments of the log that are removed and still open.
fn deleted_and_open(scraped: &Scraped) -> Vec<String> {
    let open = fs::read_dir(format!("/proc/{}/fd", scraped.id())).unwrap().flatten();
    let links = open.filter_map(|fd| fs::read_link(fd.path()).ok()).map(|link| link.display().to_string());
    links.filter(|link| link.contains("/wal/") && link.ends_with("(deleted)")).collect()
}

fn lost_new(scraped: &Scraped) -> f64 {
    metric(scraped, "scraped_wal_samples_lost_total{reason=\"write_failed\"}").unwrap()
}

fn appended(scraped: &Scraped) -> f64 {
    metric_sum(scraped, "prometheus_agent_samples_appended_total")
}

/// `filled`: what another program has taken of the disk.
fn outage_on(size: &str, filled_bytes: u64, n_series: u64, n_samples: f64) {
    let Some(disk) = SmallDisk::mount(size) else { return };
    if filled_bytes > 0 {
        let file = fs::File::create(disk.dir().path().join("others")).unwrap();
        (0..filled_bytes / (1 << 20))
            .for_each(|_| std::io::Write::write_all(&mut &file, &[1; 1 << 20]).unwrap());
    }
    let targets = target(n_series);
    let away = free_address();
    let url = format!("http://{away}/api/v1/write");
    let text = config(&targets.address(), "/metrics", &url, "name: main", "");
    fs::write(disk.dir().path().join("scraped.yml"), text.replace("500ms", "200ms")).unwrap();
    // Written now: there will be no room for it.
    let sections = text.split_once("remote_write:").unwrap().1;
    fs::write(disk.dir().path().join("later.yml"), format!("remote_write:{sections}")).unwrap();
    let flags = [ON_DISK, "--storage.remote.flush-deadline=20s", "--wal.fsync-interval=1s"];
    let scraped = Scraped::start_in(disk.dir(), &flags);
    let mut n_deleted = 0;
    wait_for_long("as many samples as the disk cannot hold", || {
        n_deleted += deleted_and_open(&scraped).len();
        appended(&scraped) + lost_new(&scraped) > n_samples
    });
    assert!(given_up(&scraped) > 0.0, "what is removed is counted while the endpoint is away");
    // A removal closes files a moment after their names are gone.
    assert!(n_deleted < 20 && deleted_and_open(&scraped).is_empty(), "{n_deleted}");
    assert!(lost_new(&scraped) <= n_samples / 100.0, "{} new samples lost", lost_new(&scraped));
    let stderr = scraped.stderr();
    assert!(stderr.contains("were removed from the log before they could be sent"), "{stderr}");
    assert!(stderr.matches("were removed from the log before they could be sent").count() < 5, "{stderr}");
    // Nothing is scraped any more: the numbers stand still.
    fs::rename(disk.dir().path().join("later.yml"), disk.dir().path().join("scraped.yml")).unwrap();
    scraped.signal("HUP");
    wait_until("the reload", || scraped.stderr().contains("configuration loaded"));
    let receiver = Receiver::start_on(&away);
    let arrived = || receiver.state().series.values().map(Vec::len).sum::<usize>() as f64;
    let all = || {
        let n_arrived = arrived();
        (n_arrived + given_up(&scraped), appended(&scraped))
    };
    wait_for_long("what is left arrives, and the rest is counted", || {
        let (accounted, appended) = all();
        assert!(accounted <= appended, "{accounted} of {appended}");
        accounted == appended
    });
    receiver.check();
    assert!(arrived() >= n_series as f64, "{}", arrived());
    wait_until_sent(&scraped.data_dir(), &receiver);
    let data = scraped.data_dir();
    let n_arrived = arrived() as u64;
    assert!(scraped.stop().success());
    match Positions::open(Arc::new(RealDisk), &data).unwrap().recall("main", true) {
        Remembered::At(saved) => {
            let Ledger { taken, sent, dropped } = saved.total();
            assert_eq!((sent, taken), (n_arrived, sent + dropped.iter().sum::<u64>()));
            assert_eq!(dropped.iter().sum::<u64>(), dropped[DropReason::WalTruncated as usize]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn three_megabytes() {
    outage_on("3m", 0, 4000, 200_000.0);
}

#[test]
fn twenty_megabytes() {
    outage_on("20m", 0, 4000, 400_000.0);
}

#[test]
fn a_hundred_megabytes_that_another_program_has_filled() {
    outage_on("100m", 92 << 20, 6000, 1_000_000.0);
}
