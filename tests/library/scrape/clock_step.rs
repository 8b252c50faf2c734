//! A wall clock that steps while targets are scraped over sockets into a log on disk: boxes without a clock battery boot
//! in 1970 and learn the time later, or unlearn it. Not one scrape may be missing from the log.

use scraped::clock::Clock;
use scraped::config::ScrapeConfig;
use scraped::discovery::target_group::TargetSets;
use scraped::scrape::manager::{Handle, ManagerOptions};
use scraped::scrape::metrics::ScrapeMetrics;
use scraped::scrape::schedule::scheduler::FirstScrape;
use scraped::scrape::targets::status::StatusBoard;
use scraped_engine::store::body_budget::BodyBudget;
use scraped_engine::store::rules::MetadataRecords;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use support::fake_loops::{config, group, job};
use support::targets::{Behaviour, FakeTargets};
use support::wal::open;
use support::{command, wait_until};

const HOUR_MS: i64 = 3_600_000;
const INTERVAL: Duration = Duration::from_secs(1);

#[test]
fn every_scrape_is_in_the_log_whatever_the_wall_clock_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let wal = open(dir.path()).0;
    let (clock, metrics) = (Clock::system(), Arc::new(ScrapeMetrics::default()));
    let (target_sets, target_sets_receiver) = crossbeam_channel::bounded(1);
    let scraping = Handle::spawn(
        ManagerOptions {
            wal: wal.clone(),
            clock: clock.clone(),
            board: Arc::new(StatusBoard::default()),
            metrics: Arc::clone(&metrics),
            budget: BodyBudget::new(1 << 20, 1 << 20),
            config: config(vec![ScrapeConfig {
                scrape_interval: INTERVAL,
                scrape_timeout: INTERVAL,
                ..job("j")
            }]),
            discovery_reload_interval: Duration::from_secs(5),
            first_scrape: FirstScrape::AtOnce,
            timestamp_tolerance: Duration::from_millis(2),
            max_workers: 4,
            metadata: Arc::default(),
            metadata_records: MetadataRecords::default(),
            on_demand: Arc::default(),
        },
        target_sets_receiver,
    )
    .expect("a scheduler");
    let sets = TargetSets::from([("j".to_owned(), vec![group(&[&targets.address()])])]);
    target_sets.send(sets).expect("a manager");

    let scrape_more = |n: usize| {
        let n_wanted = targets.n_requests("/metrics") + n;
        wait_until("scrapes", || targets.n_requests("/metrics") >= n_wanted);
    };
    scrape_more(5);
    // The time is learnt, unlearnt, and learnt again a little differently.
    for step_ms in [10 * HOUR_MS, -20 * HOUR_MS, 9 * HOUR_MS, -HOUR_MS] {
        clock.step_wall(step_ms);
        scrape_more(5);
    }
    scraping.stop();
    wal.close().expect("a log that can be closed");
    assert_eq!(metrics.clock_steps.with(&["forward"]).get(), 2);
    assert_eq!(metrics.clock_steps.with(&["backward"]).get(), 2);
    assert_eq!(metrics.sample_out_of_order.get(), 0);

    // The page counts its scrapes, so a scrape that is missing is a number that is missing. The last one may have been
    // cancelled.
    let found: BTreeSet<u64> = command::values(dir.path(), "fake_scrapes_total")
        .iter()
        .map(|value| value.parse().expect("a whole number"))
        .collect();
    let n_scrapes = targets.n_requests("/metrics") as u64;
    let missing: Vec<u64> = (1..n_scrapes).filter(|number| !found.contains(number)).collect();
    assert!(missing.is_empty(), "{missing:?} of {n_scrapes}");
}
