//! The schedule alone, over fake targets: when scrapes happen, with which timestamps, and what becomes of a loop whose
//! target changes, panics or goes away. Counts and timestamps are checked, never how fast the machine is.

use scraped::scrape::schedule::scheduler::{Changes, FirstScrape};
use scraped::scrape::targets::pool::LoopChanges;
use scraped_engine::threads;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::fake_loops::{Act, Fixture, Journal, Line, job, settings, target};
use support::system::own_process::runs_elsewhere;

const INTERVAL: Duration = Duration::from_millis(500);

/// Sub-millisecond rests of the clock's reading and of the target's offset add up to less than this.
const ROUNDING_MS: i64 = 1;

/// Timestamps of what `act` names, in order.
fn timestamps(journal: &Journal, instance: &str, act: &Act) -> Vec<i64> {
    journal.of(instance).into_iter().filter(|line| line.act == *act).map(|line| line.ts_ms).collect()
}

fn wait_answered(journal: &Journal, instance: &str, n: usize) {
    journal.wait_for("scrapes", |journal| timestamps(journal, instance, &Act::Answered).len() >= n);
}

/// Splits a timestamp into the number of the target's slot and the milliseconds after it.
fn slot_of(instance: &str, interval: Duration, ts_ms: i64) -> (i64, i64) {
    let until_slot = target(instance, "answers", interval).until_next_slot(0, 0);
    let (after_ms, interval_ms) = (ts_ms - until_slot.as_millis() as i64, interval.as_millis() as i64);
    (after_ms.div_euclid(interval_ms), after_ms.rem_euclid(interval_ms))
}

#[test]
fn a_new_loop_scrapes_at_once_and_then_once_a_slot() {
    let interval = Duration::from_secs(1);
    let fixture = Fixture::start(4, FirstScrape::AtOnce);
    let journal = Arc::clone(&fixture.journal);
    let names: Vec<String> = (0..10).map(|idx| format!("t{idx}")).collect();
    let started = Instant::now();
    fixture.add(names.iter().map(|name| target(name, "answers", interval)).collect());
    names.iter().for_each(|name| wait_answered(&journal, name, 4));
    fixture.stop();
    let n_slots_passed = started.elapsed().as_secs() as usize + 1;
    let mut n_on_the_dot = 0;
    for name in &names {
        let slots: Vec<(i64, i64)> = timestamps(&journal, name, &Act::Answered)
            .into_iter()
            .map(|ts_ms| slot_of(name, interval, ts_ms))
            .collect();
        // The first one may share its slot with nobody but is not in it.
        let numbers: BTreeSet<i64> = slots[1..].iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers.len(), slots.len() - 1, "{name}: {slots:?}");
        assert!(slots.len() <= n_slots_passed + 1, "{name}: {slots:?}");
        n_on_the_dot += slots[1..].iter().filter(|(_, after_ms)| *after_ms <= ROUNDING_MS).count();
    }
    // A start within 10 ms of the slot is dated exactly; not every one of forty can be later than that.
    assert!(n_on_the_dot > 0);
}

#[test]
fn without_a_scrape_at_once_the_first_one_is_in_a_slot_too() {
    let interval = Duration::from_secs(2);
    let fixture = Fixture::start(4, FirstScrape::OnGrid);
    let journal = Arc::clone(&fixture.journal);
    let names: Vec<String> = (0..20).map(|idx| format!("t{idx}")).collect();
    fixture.add(names.iter().map(|name| target(name, "answers", interval)).collect());
    names.iter().for_each(|name| wait_answered(&journal, name, 1));
    fixture.stop();
    let first = |name: &String| timestamps(&journal, name, &Act::Answered)[0];
    let on_the_dot = names.iter().filter(|name| slot_of(name, interval, first(name)).1 <= ROUNDING_MS);
    assert!(on_the_dot.count() > 0);
    // Hashed offsets spread the targets over the interval.
    let (earliest, latest) = (names.iter().map(first).min().unwrap(), names.iter().map(first).max().unwrap());
    assert!(latest - earliest > 200, "{earliest} {latest}");
}

#[test]
fn many_first_scrapes_are_spread_and_few_are_not() {
    let interval = Duration::from_secs(60);
    let fixture = Fixture::start(64, FirstScrape::AtOnce);
    let journal = Arc::clone(&fixture.journal);
    fixture.add((0..1000).map(|idx| target(&format!("t{idx}"), "answers", interval)).collect());
    journal.wait_for("all", |journal| journal.counts(&Act::Answered).len() == 1000);
    let first = timestamps(&journal, "t0", &Act::Answered)[0];
    let last = timestamps(&journal, "t999", &Act::Answered)[0];
    // Dated when they were due or later; the last is due 999 ms after the first.
    assert!(last - first >= 990, "{}", last - first);
    fixture.add((0..100).map(|idx| target(&format!("s{idx}"), "answers", interval)).collect());
    journal.wait_for("all", |journal| journal.counts(&Act::Answered).len() == 1100);
    fixture.stop();
    assert_eq!(journal.lines().iter().filter(|line| line.act == Act::Created).count(), 1100);
}

#[test]
fn new_settings_reach_a_loop_that_keeps_its_cache() {
    let fixture = Fixture::start(4, FirstScrape::AtOnce);
    let journal = Arc::clone(&fixture.journal);
    let keys = fixture
        .add(vec![target("a", "answers", Duration::from_secs(3600)), target("b", "answers", INTERVAL)]);
    wait_answered(&journal, "a", 1);
    // From an hour to half a second: the next scrape does not wait for the old slot.
    let replace = vec![(keys[0], settings(target("a", "answers", INTERVAL), &Arc::new(job("job"))))];
    fixture.change(LoopChanges { replace, ..LoopChanges::default() });
    wait_answered(&journal, "a", 3);
    fixture.stop();
    let acts: Vec<Act> = journal.of("a").into_iter().map(|line| line.act).collect();
    assert_eq!(acts[..4], [Act::Created, Act::Answered, Act::Replaced, Act::Answered]);
    assert_eq!(journal.counts(&Act::Created).values().sum::<usize>(), 2);
    assert_eq!(journal.counts(&Act::Replaced).len(), 1);
}

#[test]
fn markers_of_a_target_that_is_gone_are_dated_in_its_next_slot() {
    let fixture = Fixture::start(4, FirstScrape::OnGrid);
    let journal = Arc::clone(&fixture.journal);
    let keys = fixture
        .add(vec![target("a", "answers", INTERVAL), target("never", "answers", Duration::from_secs(3600))]);
    wait_answered(&journal, "a", 2);
    let gone_at = Instant::now();
    fixture.change(LoopChanges { retire: keys, ..LoopChanges::default() });
    journal.wait_for("markers", |journal| !journal.counts(&Act::EndOfRun).is_empty());
    fixture.stop();
    let markers = journal.of("a").pop().expect("markers are the last");
    assert_eq!(markers.act, Act::EndOfRun);
    // Not before a slot and a tenth after the one they are dated in, which was after the target's end.
    assert!(markers.at - gone_at > INTERVAL, "{:?}", markers.at - gone_at);
    let last = timestamps(&journal, "a", &Act::Answered).pop().expect("two scrapes");
    let (last_slot, _) = slot_of("a", INTERVAL, last);
    let (marker_slot, after_ms) = slot_of("a", INTERVAL, markers.ts_ms);
    assert_eq!((marker_slot, after_ms <= ROUNDING_MS), (last_slot + 1, true), "{last} {}", markers.ts_ms);
    // The other one has nothing to mark.
    assert_eq!(journal.of("never").len(), 0);
}

#[test]
fn a_target_that_goes_while_it_runs_is_marked_when_it_is_home() {
    let fixture = Fixture::start(4, FirstScrape::AtOnce);
    let journal = Arc::clone(&fixture.journal);
    let keys = fixture.add(vec![target("a", "hangs", INTERVAL)]);
    journal.wait_for("a request in flight", |journal| journal.n_hanging() == 1);
    fixture.change(LoopChanges { retire: keys, ..LoopChanges::default() });
    journal.wait_for("markers", |journal| !journal.counts(&Act::EndOfRun).is_empty());
    fixture.stop();
    let acts: Vec<Act> = journal.of("a").into_iter().map(|line| line.act).collect();
    assert_eq!(acts, [Act::Created, Act::TimedOut, Act::EndOfRun]);
}

#[test]
fn a_job_that_is_gone_gets_no_markers_and_neither_does_a_stop() {
    let fixture = Fixture::start(4, FirstScrape::AtOnce);
    let journal = Arc::clone(&fixture.journal);
    let keys = fixture.add(vec![
        target("idle", "answers", INTERVAL),
        target("runs", "hangs", INTERVAL),
        target("retired", "answers", INTERVAL),
    ]);
    // A job of its own, that stays.
    let stays = settings(target("stays", "answers", INTERVAL), &Arc::new(job("other")));
    fixture.change(LoopChanges { add: vec![(fixture.keys.next(), stays)], ..LoopChanges::default() });
    wait_answered(&journal, "retired", 1);
    fixture.change(LoopChanges { retire: vec![keys[2]], ..LoopChanges::default() });
    fixture.apply(Changes { removed_jobs: vec!["job".to_owned()], ..Changes::default() });
    let n_answered = |instance| timestamps(&journal, instance, &Act::Answered).len();
    // A scrape after the removal is worked in; whatever "idle" had until then, it has no more.
    wait_answered(&journal, "stays", n_answered("stays") + 2);
    let n_idle = n_answered("idle");
    wait_answered(&journal, "stays", n_answered("stays") + 5);
    assert_eq!(n_answered("idle"), n_idle);
    fixture.stop();
    assert_eq!(journal.counts(&Act::EndOfRun).len(), 0);
}

#[test]
fn a_panic_is_told_counted_and_costs_nobody_else_a_scrape() {
    // Panics are counted for the whole process.
    if runs_elsewhere(module_path!(), "a_panic_is_told_counted_and_costs_nobody_else_a_scrape") {
        return;
    }
    let fixture = Fixture::start(8, FirstScrape::AtOnce);
    let (journal, metrics) = (Arc::clone(&fixture.journal), Arc::clone(&fixture.metrics));
    fixture.add(vec![
        target("bad", "panics", INTERVAL),
        target("worse", "panics-twice", INTERVAL),
        target("good", "answers", INTERVAL),
    ]);
    wait_answered(&journal, "good", 4);
    journal.wait_for("set aside", |journal| {
        let is_reported = |line: &Line| matches!(line.act, Act::Reported(_));
        ["bad", "worse"].iter().all(|instance| journal.of(instance).iter().any(is_reported))
    });
    fixture.stop();
    // One loop that goes on, with `up 0` each time.
    let acts = |instance| -> Vec<Act> { journal.of(instance).into_iter().map(|line| line.act).collect() };
    assert_eq!(acts("bad")[..3], [Act::Created, Act::AfterPanic, Act::AfterPanic]);
    // One that cannot even tell is made anew.
    assert_eq!(acts("worse")[..4], [Act::Created, Act::AfterPanic, Act::Created, Act::AfterPanic]);
    // After three in a row it is not asked any more, and reported down all the same.
    for instance in ["bad", "worse"] {
        let acts = acts(instance);
        assert_eq!(acts.iter().filter(|act| **act == Act::AfterPanic).count(), 3, "{acts:?}");
        let is_set_aside = |act: &Act| matches!(act, Act::Reported(why) if why.starts_with("set aside: 3 "));
        assert!(acts.last().is_some_and(is_set_aside), "{acts:?}");
    }
    assert_eq!(metrics.set_aside.get(), 2);
    let n_told = |instance| acts(instance).into_iter().filter(|act| *act == Act::AfterPanic).count() as u64;
    assert_eq!(threads::metrics().panics.with(&["scrape-worker"]).get(), n_told("bad") + 2 * n_told("worse"));
}

#[test]
fn a_step_of_the_wall_clock_loses_no_sample_and_moves_no_scrape() {
    for (step_ms, direction, n_restarts) in [(7_200_000, "forward", 0), (-7_200_000, "backward", 1)] {
        let fixture = Fixture::start(4, FirstScrape::AtOnce);
        let (journal, metrics) = (Arc::clone(&fixture.journal), Arc::clone(&fixture.metrics));
        fixture.add(vec![target("a", "answers", INTERVAL)]);
        wait_answered(&journal, "a", 3);
        fixture.clock.step_wall(step_ms);
        let n_before = timestamps(&journal, "a", &Act::Answered).len();
        wait_answered(&journal, "a", n_before + 3);
        let n_restarted = *fixture.order_restarts.lock();
        fixture.stop();
        assert_eq!(metrics.clock_steps.with(&[direction]).get(), 1);
        assert_eq!(n_restarted, n_restarts, "{direction}");
        let scrapes = journal.of("a");
        let scrapes: Vec<_> = scrapes.iter().filter(|line| line.act == Act::Answered).collect();
        let mut n_steps = 0;
        for pair in scrapes.windows(2) {
            let real_ms = (pair[1].at - pair[0].at).as_millis() as i64;
            let dated_ms = pair[1].ts_ms - pair[0].ts_ms;
            // The dates are as far apart as the scrapes, but for the one step; a busy machine dates within a minute.
            let off_ms = dated_ms - real_ms;
            n_steps += usize::from((off_ms - step_ms).abs() < 60_000);
            assert!(off_ms.abs() < 60_000 || (off_ms - step_ms).abs() < 60_000, "{off_ms}");
        }
        assert_eq!(n_steps, 1, "{direction}");
    }
}

#[test]
fn a_scrape_in_flight_over_a_backward_step_does_not_shut_out_its_successors() {
    let fixture = Fixture::start(8, FirstScrape::AtOnce);
    let journal = Arc::clone(&fixture.journal);
    let timeout = Duration::from_secs(2);
    fixture.add(vec![target("slow", "hangs", timeout), target("a", "answers", INTERVAL)]);
    journal.wait_for("a request in flight", |journal| journal.n_hanging() == 1);
    fixture.clock.step_wall(-7_200_000);
    journal.wait_for("the end of the request", |journal| !journal.counts(&Act::TimedOut).is_empty());
    // What it wrote is dated two hours ahead: the order check starts anew once more after it came home.
    let n_before = timestamps(&journal, "a", &Act::Answered).len();
    wait_answered(&journal, "a", n_before + 3);
    assert_eq!(*fixture.order_restarts.lock(), 2);
    assert_eq!(fixture.metrics.clock_steps.with(&["backward"]).get(), 1);
    fixture.stop();
}

#[test]
fn a_scrape_that_overruns_its_slot_skips_the_next_and_is_counted() {
    let fixture = Fixture::start(4, FirstScrape::OnGrid);
    let (journal, metrics) = (Arc::clone(&fixture.journal), Arc::clone(&fixture.metrics));
    fixture.add(vec![target("slow", "overruns", INTERVAL), target("fast", "answers", INTERVAL)]);
    wait_answered(&journal, "slow", 5);
    fixture.stop();
    let numbers: Vec<i64> = timestamps(&journal, "slow", &Act::Answered)
        .into_iter()
        .map(|ts_ms| slot_of("slow", INTERVAL, ts_ms).0)
        .collect();
    let n_left_out: i64 = numbers.windows(2).map(|pair| pair[1] - pair[0] - 1).sum();
    // Every other slot at best, and each that was left out is counted; the last one may not be home yet.
    assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] >= 2), "{numbers:?}");
    let n_counted = metrics.scrapes_skipped.with(&["late"]).get() as i64;
    assert!(n_counted >= n_left_out, "{n_counted} {n_left_out}");
}

#[test]
fn intervals_between_scrapes_are_counted() {
    let fixture = Fixture::start(4, FirstScrape::AtOnce);
    let (journal, metrics) = (Arc::clone(&fixture.journal), Arc::clone(&fixture.metrics));
    fixture.add(vec![target("a", "answers", INTERVAL)]);
    wait_answered(&journal, "a", 4);
    fixture.stop();
    let n_scrapes = timestamps(&journal, "a", &Act::Answered).len() as u64;
    let (_, n_intervals, sum_seconds) = metrics.interval_length_of(INTERVAL).snapshot(&[]);
    // The last scrape may have been on its way home when all was stopped.
    assert!((n_scrapes - 2..n_scrapes).contains(&n_intervals), "{n_intervals} of {n_scrapes}");
    assert!(sum_seconds > 0.5, "{sum_seconds}");
    // The first scrape is a suspect's; lateness is that of proven targets.
    assert_eq!(metrics.lateness.snapshot().1.count, n_intervals);
}
