//! Outages that are long and inputs that are many: memory stays flat, a backlog drains far faster than it came in, and
//! the number of shards follows what there is to send.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scraped::remote::settle::ledger::{DropReason, Ledger};
use scraped::remote::settle::position::{Positions, Remembered};
use scraped_engine::disk::RealDisk;
use support::api::metric_sum;
use support::remote::receiver::{Answer, Receiver};
use support::remote::{arrived, committed, config, missing, n_samples, on_disk, wait_until_sent};
use support::scraped::{ON_DISK, Scraped};
use support::targets::{Behaviour, FakeTargets, page};
use support::{wait_for_long, wait_until};

const NAMED: &str = "name: main";

fn many_series(n: usize) -> FakeTargets {
    let content: String = (0..n).map(|idx| format!("many{{idx=\"{idx}\"}} {idx}.{idx}\n")).collect();
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page(&content)));
    targets
}

/// Waits for so many more scrapes, for as long as there are any.
fn await_scrapes(targets: &FakeTargets, n: usize) {
    let last = targets.n_requests("/metrics") + n;
    loop {
        let n_before = targets.n_requests("/metrics");
        if n_before >= last {
            return;
        }
        wait_until("a scrape", || targets.n_requests("/metrics") > n_before);
    }
}

/// A line of `/proc/<id>/status` in KiB.
fn status_kib(scraped: &Scraped, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", scraped.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// CPU time that the daemon has used.
fn cpu(scraped: &Scraped) -> Duration {
    Duration::from_secs_f64(metric_sum(scraped, "process_cpu_seconds_total"))
}

fn saved_ledger(data: &Path) -> Ledger {
    match Positions::open(Arc::new(RealDisk), data).unwrap().recall("main", true) {
        Remembered::At(saved) => saved.total(),
        other => panic!("{other:?}"),
    }
}

/// An outage of eight hours for a box that scrapes 600 series every 15 s, at a faster pace.
#[test]
fn memory_is_flat_over_an_outage_of_eight_hours() {
    const SERIES: usize = 600;
    const SCRAPES: usize = 8 * 3600 / 15;
    let targets = many_series(SERIES);
    let receiver = Receiver::start();
    let config = config(&targets.address(), "/metrics", &receiver.url(), NAMED, "");
    // With memory first it grows by the room for that, and no more.
    let arguments = [ON_DISK, "--storage.remote.flush-deadline=1s"];
    let scraped = Scraped::start_with(&config.replace("500ms", "20ms"), &arguments);
    await_scrapes(&targets, SCRAPES / 10);
    wait_until("samples", || receiver.n_requests() > 10);
    let before_kib = status_kib(&scraped, "VmRSS");
    receiver.answer(Answer::status(503));
    await_scrapes(&targets, SCRAPES / 2);
    let half_kib = status_kib(&scraped, "VmRSS");
    await_scrapes(&targets, SCRAPES / 2);
    let after_kib = status_kib(&scraped, "VmRSS");
    println!(
        "resident before an outage of {} samples: {before_kib} KiB, in its middle {half_kib} KiB, after it {after_kib} KiB",
        SCRAPES * SERIES
    );
    assert!(after_kib * 10 <= before_kib * 12, "{before_kib} KiB before, {after_kib} KiB after");
    assert!(metric_sum(&scraped, "scraped_wal_lag_bytes") > 1_000_000.0);
    drop(scraped);
}

/// The pace of an edge box with a thousand samples a second; what it takes to send them again is measured in CPU time,
/// so that a busy machine does not count.
#[test]
fn a_backlog_drains_twenty_times_faster_than_it_came_in() {
    const BATCH: usize = 1000;
    let targets = many_series(500);
    let receiver = Receiver::start();
    let queue = format!("max_samples_per_send: {BATCH}");
    let scraped = Scraped::start(&config(&targets.address(), "/metrics", &receiver.url(), NAMED, &queue));
    wait_until("samples", || receiver.state().series.len() > 500);
    let start = Instant::now();
    receiver.answer(Answer::status(503));
    await_scrapes(&targets, 24);
    let outage = start.elapsed();
    // What is scraped from now on is little.
    targets.set("/metrics", Behaviour::Healthy(page("fresh 1\n")));
    await_scrapes(&targets, 2);
    let n_arrived = n_samples(&arrived(&receiver));
    let n_backlog = n_samples(&committed(&scraped.data_dir(), &receiver)) - n_arrived;
    assert!(n_backlog > 8000, "{n_backlog}");
    let (cpu_before, requests_before) = (cpu(&scraped), receiver.n_requests());
    receiver.answer(Answer::Stores(204));
    let start = Instant::now();
    wait_until("the backlog", || n_samples(&arrived(&receiver)) >= n_arrived + n_backlog);
    let (drained, drained_cpu) = (start.elapsed(), cpu(&scraped).saturating_sub(cpu_before));
    let n_requests = receiver.n_requests() - requests_before;
    let ratio = outage.as_secs_f64() / drained_cpu.as_secs_f64().max(0.001);
    println!(
        "{n_backlog} samples came in within {outage:?}, and went out in {n_requests} requests within {drained:?}, {drained_cpu:?} \
         of CPU time: {ratio:.0} times faster"
    );
    assert!(ratio >= 20.0, "{outage:?} to come in, {drained_cpu:?} to go out");
    // Whole batches, but for those that were open or in flight when it began, and what was scraped meanwhile.
    assert!(n_requests <= 2 * n_backlog / BATCH + 20, "{n_requests} requests for {n_backlog} samples");
    receiver.check();
}

#[test]
fn the_number_of_shards_follows_by_itself_and_order_holds() {
    let targets = many_series(300);
    let receiver = Receiver::start();
    // One shard sends 500 samples a second at best; 1500 come in.
    receiver.answer(Answer::StoresLate(Duration::from_millis(100)));
    let queue = "max_samples_per_send: 50, capacity: 100, max_shards: 10";
    let config =
        config(&targets.address(), "/metrics", &receiver.url(), NAMED, queue).replace("500ms", "200ms");
    let scraped = Scraped::start(&config);
    wait_until("more shards, by the rule of every 10 s", || {
        scraped.stderr().contains("resharding from 1 to")
            && metric_sum(&scraped, "prometheus_remote_storage_shards") > 1.0
    });
    receiver.answer(Answer::Stores(204));
    wait_until_sent(&scraped.data_dir(), &receiver);
    assert_eq!(receiver.state().n_duplicates, 0);
    receiver.check();
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    let n_samples = n_samples(&committed(&data, &receiver)) as u64;
    assert_eq!(saved_ledger(&data), Ledger { taken: n_samples, sent: n_samples, ..Ledger::default() });
    drop(dir);
}

/// More comes in than the first shard can send, and the log is as small as it can be: truncation overtakes the reader,
/// but not for ever.
#[test]
fn at_the_bound_of_the_log_there_are_more_shards_until_nothing_is_lost() {
    let targets = many_series(1500);
    let receiver = Receiver::start();
    let queue = "max_samples_per_send: 100, capacity: 100";
    // One shard sends 1000 samples a second at best; 15,000 come in.
    receiver.answer(Answer::StoresLate(Duration::from_millis(100)));
    let config =
        config(&targets.address(), "/metrics", &receiver.url(), NAMED, queue).replace("500ms", "100ms");
    let arguments = [
        ON_DISK,
        "--storage.agent.retention.max-bytes=1MB",
        "--storage.agent.wal-segment-size=1MB",
        "--no-storage.agent.wal-compression",
        "--wal.fsync-interval=1s",
    ];
    let scraped = Scraped::start_with(&config, &arguments);
    let shards = || metric_sum(&scraped, "prometheus_remote_storage_shards");
    let n_lost = || metric_sum(&scraped, "prometheus_remote_storage_samples_dropped_total");
    wait_for_long("truncation overtakes the reader", || n_lost() > 0.0);
    wait_until("more shards at once", || shards() > 1.0);
    // The link is what it was, and in the end it is enough.
    wait_for_long("nothing is lost any more", || {
        let before = n_lost();
        let n_truncations = scraped.stderr().matches("log truncated up to").count();
        wait_for_long("two more truncations", || {
            scraped.stderr().matches("log truncated up to").count() >= n_truncations + 2
        });
        n_lost() <= before
    });
    println!("{} shards, {} samples were lost meanwhile", shards(), n_lost());
    targets.set("/metrics", Behaviour::Healthy(page("fresh 1\n")));
    receiver.answer(Answer::Stores(204));
    wait_until_sent(&scraped.data_dir(), &receiver);
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    assert_eq!(missing(&on_disk(&data), &arrived(&receiver)), Vec::<String>::new());
    let ledger = saved_ledger(&data);
    assert_eq!(ledger.taken, ledger.sent + ledger.dropped[DropReason::WalTruncated as usize], "{ledger:?}");
    receiver.check();
    drop(dir);
}
