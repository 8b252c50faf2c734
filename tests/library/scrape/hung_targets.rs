//! Targets that hang must cost nobody else a scrape, and neither a stop. Hundreds at a time, over fake targets and over
//! real sockets; what is asserted are counts of scrapes and of threads, not milliseconds.

use scraped::scrape::schedule::scheduler::FirstScrape;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::fake_loops::{Act, Fixture, target};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::{api, command, wait_until};

#[test]
fn half_of_400_targets_hang_and_the_live_half_keeps_its_scrapes() {
    let (interval, n_intervals) = (Duration::from_secs(1), 8);
    let max_workers = 64;
    let fixture = Fixture::start(max_workers, FirstScrape::AtOnce);
    let (journal, metrics) = (Arc::clone(&fixture.journal), Arc::clone(&fixture.metrics));
    let targets = |kind: &str, does: &str| -> Vec<_> {
        (0..200).map(|idx| target(&format!("{kind}{idx}"), does, interval)).collect()
    };
    // The hung ones come first: every live target has to prove itself against them.
    fixture.add([targets("hung", "hangs"), targets("live", "answers")].concat());
    journal
        .wait_for("every live target to prove itself", |journal| journal.counts(&Act::Answered).len() == 200);
    let n_before = journal.counts(&Act::Answered);
    let n_skipped_before = metrics.scrapes_skipped.with(&["late"]).get();
    std::thread::sleep(interval * n_intervals);
    let n_after = journal.counts(&Act::Answered);
    let n_skipped = metrics.scrapes_skipped.with(&["late"]).get() - n_skipped_before;
    fixture.stop();
    let missing: Vec<_> = n_after
        .iter()
        .filter(|(name, n)| *n - n_before.get(*name).unwrap_or(&0) + 2 < n_intervals as usize)
        .collect();
    assert!(missing.is_empty(), "{} of 200 missed scrapes, {n_skipped} skipped: {missing:?}", missing.len());
    assert!(journal.max_hanging() <= 48, "{} hung at once", journal.max_hanging());
    // The hung ones are not forgotten: each is told down, by a timeout or because no worker is free.
    let mut n_told = journal.counts(&Act::TimedOut);
    for line in journal.lines() {
        if let Act::Reported(error) = &line.act {
            assert!(error.starts_with("no scrape worker free (suspect targets waiting: "), "{error}");
            assert!(error.ends_with(", limit: 48)"), "{error}");
            // Until they had proved themselves, live ones waited too.
            if line.instance.starts_with("hung") {
                *n_told.entry(line.instance).or_default() += 1;
            }
        }
    }
    assert_eq!(n_told.len(), 200);
    assert!(n_told.values().all(|n| *n + 3 >= n_intervals as usize), "{n_told:?}");
}

#[test]
fn every_suspect_gets_its_turn() {
    let interval = Duration::from_millis(400);
    let fixture = Fixture::start(8, FirstScrape::AtOnce);
    let journal = Arc::clone(&fixture.journal);
    fixture.add((0..60).map(|idx| target(&format!("hung{idx}"), "hangs", interval)).collect());
    // Six at a time, each for an interval: all had their turn after ten, though each was told down in between.
    journal.wait_for("all to be asked", |journal| journal.counts(&Act::TimedOut).len() == 60);
    journal.wait_for("all to be asked twice", |journal| {
        journal.counts(&Act::TimedOut).values().all(|n| *n >= 2)
    });
    assert_eq!(fixture.metrics.suspect_targets.get() as usize, 60);
    fixture.stop();
    assert_eq!(journal.max_hanging(), 6);
    assert_eq!(journal.counts(&Act::Created).values().sum::<usize>(), 60);
}

#[test]
fn a_hung_target_with_a_timeout_as_long_as_its_interval_is_told_down_in_every_slot() {
    let interval = Duration::from_millis(500);
    let fixture = Fixture::start(4, FirstScrape::AtOnce);
    let journal = Arc::clone(&fixture.journal);
    fixture.add(vec![target("hung", "hangs", interval)]);
    journal
        .wait_for("timeouts", |journal| journal.counts(&Act::TimedOut).get("hung").is_some_and(|n| *n >= 10));
    let lines = journal.of("hung");
    fixture.stop();
    let (first, last) = (lines.iter().find(|it| it.act == Act::TimedOut).unwrap(), lines.last().unwrap());
    // Ten timeouts in little more than ten intervals, not in twenty.
    let n_intervals = (last.at - first.at).as_millis() / interval.as_millis();
    assert!(n_intervals <= 15, "{n_intervals}");
}

#[test]
fn a_stop_does_not_wait_for_hung_targets_and_nothing_is_written_for_them() {
    let interval = Duration::from_secs(600);
    let fixture = Fixture::start(256, FirstScrape::AtOnce);
    let journal = Arc::clone(&fixture.journal);
    fixture.add((0..300).map(|idx| target(&format!("hung{idx}"), "hangs", interval)).collect());
    journal.wait_for("the lane to be full", |journal| journal.n_hanging() == 192);
    let started = Instant::now();
    fixture.stop();
    // A second on an idle machine; their timeout would be ten minutes.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!((journal.n_hanging(), journal.max_hanging()), (0, 192));
    assert!(journal.lines().iter().all(|line| line.act == Act::Created));
}

#[test]
fn workers_are_as_many_as_there_is_work_at_once() {
    let fixture = Fixture::start(32, FirstScrape::AtOnce);
    let (journal, metrics) = (Arc::clone(&fixture.journal), Arc::clone(&fixture.metrics));
    let interval = Duration::from_millis(500);
    let workers = |state| metrics.workers.with(&[state]).get() as usize;
    assert_eq!(workers("busy") + workers("idle"), 0);
    fixture.add(vec![target("a", "answers", interval)]);
    journal.wait_for("scrapes", |journal| journal.counts(&Act::Answered).get("a").is_some_and(|n| *n >= 3));
    // One target never needs more than one.
    assert_eq!(workers("busy") + workers("idle"), 1);
    fixture
        .add((0..24).map(|idx| target(&format!("hung{idx}"), "hangs", Duration::from_secs(600))).collect());
    journal.wait_for("hung ones", |journal| journal.n_hanging() == 24);
    // The one target that answers shares its worker or has one of its own.
    assert!((24..=25).contains(&(workers("busy") + workers("idle"))));
    fixture.stop();
}

#[test]
fn over_real_sockets_half_of_200_targets_hang_and_the_live_half_stays_up() {
    let targets = FakeTargets::start();
    let mut file = String::new();
    for idx in 0..100 {
        for (kind, behaviour) in [("hung", Behaviour::Hangs), ("live", Behaviour::Healthy(page("a 1\n")))] {
            targets.set(&format!("/{kind}{idx}"), behaviour);
            let labels = format!("{{__metrics_path__: /{kind}{idx}, kind: {kind}, instance: {kind}{idx}}}");
            file.push_str(&format!("- {{targets: [{:?}], labels: {labels}}}\n", targets.address()));
        }
    }
    let config = "scrape_configs:\n- job_name: j\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  file_sd_configs:\n  \
                  - files: [targets.yml]\n";
    let dir = Arc::new(tempfile::TempDir::with_prefix("scraped-test-").expect("a directory"));
    std::fs::write(dir.path().join("targets.yml"), file).expect("writable");
    std::fs::write(dir.path().join("scraped.yml"), config).expect("writable");
    let scraped = Scraped::start_in(dir, &["--scrape.max-workers=32"]);
    let live = |what: &str| {
        let active = api::active(&scraped, "j");
        active.iter().filter(|it| it.labels["kind"] == "live" && it.health == what).count()
    };
    wait_until("every live target to prove itself", || live("up") == 100);
    let n_before: Vec<usize> = (0..100).map(|idx| targets.n_requests(&format!("/live{idx}"))).collect();
    let n_intervals = 8;
    std::thread::sleep(Duration::from_secs(n_intervals as u64));
    assert_eq!(live("down"), 0);
    for (idx, n_before) in n_before.into_iter().enumerate() {
        let n = targets.n_requests(&format!("/live{idx}")) - n_before;
        assert!(n + 2 >= n_intervals, "live{idx} was scraped {n} times in {n_intervals} intervals");
    }
    assert_eq!(api::metric(&scraped, r#"scraped_panics_total{thread="scrape-worker"}"#), Some(0.0));
    let data_dir = scraped.data_dir();
    let dir = scraped.dir();
    let started = Instant::now();
    assert!(scraped.stop().success());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    // In the log: hung ones are down in every slot, live ones up in each once they were up.
    let ups = command::query(&data_dir, "up");
    assert_eq!(ups.len(), 200);
    for (labels, samples) in ups {
        let values: String = samples.iter().map(|(_, value)| value.as_str()).collect();
        if labels.contains("hung") {
            assert!(values.len() >= n_intervals / 2 && !values.contains('1'), "{labels}: {values}");
        } else {
            let after_proof = values.trim_start_matches('0');
            assert!(after_proof.len() + 2 >= n_intervals && !after_proof.contains('0'), "{labels}: {values}");
        }
    }
    drop(dir);
}
