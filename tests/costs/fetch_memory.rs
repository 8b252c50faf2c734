//! What a target costs while it idles or hangs: counted by the allocator, over real sockets.

use crate::allocator::process_bytes;
use crate::alone;
use std::thread;
use std::time::{Duration, Instant};

use scraped::clock::Clock;
use scraped::config::ScrapeConfig;
use scraped::scrape::fetch::scraper::Scraper;
use scraped::scrape::targets::target_url::{TargetUrl, UrlScheme};
use scraped_engine::store::body_budget::BodyBudget;
use support::targets::{Behaviour, FakeTargets, page};
use support::{PATIENCE, wait_until};

const N_TARGETS: usize = 100;

/// Buffers of 16 and 8 KiB would show; an agent, a connection and the fake target's own share do not.
const MAX_BYTES_A_TARGET: isize = 6 << 10;

fn scraper(address: &str, path: &str) -> Scraper {
    let config = ScrapeConfig {
        job_name: "memory".to_owned(),
        metrics_path: path.to_owned(),
        ..ScrapeConfig::default()
    };
    let url =
        TargetUrl { scheme: UrlScheme::Http, authority: address.to_owned(), path_and_query: path.to_owned() };
    Scraper::new(&url, &config, Duration::from_secs(10))
}

fn check_bytes_a_target(what: &str, live_before: isize) {
    let bytes_a_target = (process_bytes() - live_before) / N_TARGETS as isize;
    println!("{what}: {bytes_a_target} bytes a target");
    assert!(bytes_a_target <= MAX_BYTES_A_TARGET, "{what}: {bytes_a_target} bytes a target");
}

/// One test, because both parts count the same allocator.
#[test]
fn idle_and_hung_targets_hold_no_buffers() {
    let _alone = alone();
    let targets = FakeTargets::start();
    targets.set("/page", Behaviour::Healthy(page(&"requests_total{path=\"/\"} 17\n".repeat(1000))));
    targets.set("/hangs", Behaviour::Hangs);
    let address = targets.address();
    let budget = BodyBudget::new(16 << 20, u64::MAX);
    let deadline = Instant::now() + 10 * PATIENCE;
    let fetch = |scraper: &mut Scraper| {
        let mut body = budget.wire_buffer();
        scraper.fetch(deadline, &mut body, &Clock::system()).expect("a page");
    };
    // What is made once is not counted.
    fetch(&mut scraper(&address, "/page"));
    let live_before = process_bytes();
    let mut idle: Vec<Scraper> = (0..N_TARGETS).map(|_| scraper(&address, "/page")).collect();
    check_bytes_a_target("never scraped", live_before);
    for scraper in &mut idle {
        fetch(scraper);
    }
    check_bytes_a_target("idle with a connection", live_before);
    let start = Instant::now();
    for _ in 0..20 {
        idle.iter_mut().for_each(fetch);
    }
    println!("{:?} a fetch of 30 KB", start.elapsed() / (20 * N_TARGETS) as u32);
    drop(idle);

    let hung: Vec<Scraper> = (0..N_TARGETS).map(|_| scraper(&address, "/hangs")).collect();
    let live_before = process_bytes();
    let cancellers: Vec<_> = hung.iter().map(Scraper::canceller).collect();
    thread::scope(|scope| {
        for mut scraper in hung {
            let budget = &budget;
            scope.spawn(move || {
                scraper.fetch(deadline, &mut budget.wire_buffer(), &Clock::system()).expect_err("cancelled")
            });
        }
        wait_until("all hang", || targets.n_requests("/hangs") == N_TARGETS);
        // The last one may still be on its way from sending to waiting.
        thread::sleep(Duration::from_millis(100));
        check_bytes_a_target("hung", live_before);
        assert_eq!(budget.held_bytes(), 0);
        cancellers.iter().for_each(|canceller| canceller.cancel());
    });
}
