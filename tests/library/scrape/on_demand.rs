//! Scrapes on demand among those of the schedule: never two at once, never out of order, and a reason where there is none.

use scraped::scrape::schedule::scheduler::FirstScrape;
use scraped::scrape::targets::loop_key::LoopKey;
use scraped::scrape::targets::on_demand::{Located, Outcome, QueuePlace, Refusal};
use scraped::scrape::targets::pool::LoopChanges;
use std::sync::Arc;
use std::time::Duration;
use support::PATIENCE;
use support::fake_loops::{Act, Fixture, target};

const LONG: Duration = Duration::from_secs(300 * 24 * 3600);

/// Sub-millisecond rests of the clock's reading and of the target's offset add up to less than this.
const ROUNDING_MS: i64 = 1;

fn outcome(fixture: &Fixture, key: LoopKey) -> Outcome {
    fixture.scrape_now(key).recv_timeout(PATIENCE).expect("an answer")
}

fn located(fixture: &Fixture, key: LoopKey) -> Located {
    fixture.locate(key).recv_timeout(PATIENCE).expect("an answer")
}

#[test]
fn timestamps_stay_in_order_however_often_it_is_asked_for() {
    const N_SCRAPES: usize = 80;
    let interval = Duration::from_millis(50);
    let fixture = Fixture::start(4, FirstScrape::AtOnce);
    let journal = Arc::clone(&fixture.journal);
    let keys = fixture.add(vec![target("a", "answers", interval)]);
    let timestamps = || -> Vec<i64> {
        let lines = journal.of("a").into_iter().filter(|line| line.act == Act::Answered);
        lines.map(|line| line.ts_ms).collect()
    };
    while timestamps().len() < N_SCRAPES {
        match outcome(&fixture, keys[0]) {
            Ok(()) | Err(Refusal::Running(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    fixture.stop();
    let timestamps = timestamps();
    assert!(timestamps.windows(2).all(|pair| pair[0] < pair[1]), "{timestamps:?}");
}

#[test]
fn a_scrape_on_demand_moves_no_slot() {
    let interval = Duration::from_secs(1);
    let fixture = Fixture::start(4, FirstScrape::OnGrid);
    let journal = Arc::clone(&fixture.journal);
    let keys = fixture.add(vec![target("a", "answers", interval)]);
    let n_answered = || journal.counts(&Act::Answered).get("a").copied().unwrap_or_default();
    journal.wait_for("a slot", |_| n_answered() == 1);
    // The first requests may come within the scrape of the slot, and are no scrapes of their own.
    while n_answered() == 1 {
        match outcome(&fixture, keys[0]) {
            Ok(()) | Err(Refusal::Running(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    let until_slot_ms = target("a", "answers", interval).until_next_slot(0, 0).as_millis() as i64;
    // A start that is not late is dated exactly; not each of them can be late.
    journal.wait_for("a scrape in its slot", |journal| {
        let answered = journal.of("a").into_iter().filter(|line| line.act == Act::Answered);
        answered.skip(2).any(|line| (line.ts_ms - until_slot_ms).rem_euclid(1000) <= ROUNDING_MS)
    });
    fixture.stop();
}

#[test]
fn what_cannot_be_scraped_now_says_why() {
    let fixture = Fixture::start(1, FirstScrape::OnGrid);
    let journal = Arc::clone(&fixture.journal);
    let keys = fixture.add(vec![target("a", "hangs", LONG), target("b", "answers", LONG)]);
    let hanging = fixture.scrape_now(keys[0]);
    journal.wait_for("a request in flight", |journal| journal.n_hanging() == 1);
    assert!(matches!(outcome(&fixture, keys[0]), Err(Refusal::Running(_))));
    // The one worker that suspects may have is taken.
    assert_eq!(outcome(&fixture, keys[1]), Err(Refusal::NoWorker));
    fixture.change(LoopChanges { retire: keys.clone(), ..LoopChanges::default() });
    assert_eq!(outcome(&fixture, keys[0]), Err(Refusal::Gone));
    fixture.stop();
    // A stop answers nothing and keeps nobody waiting.
    assert!(hanging.recv_timeout(PATIENCE).is_err());
}

#[test]
fn each_loop_has_its_place_in_the_heap() {
    let fixture = Fixture::start(4, FirstScrape::OnGrid);
    let names = ["a", "b", "c", "d"];
    let keys = fixture.add(names.map(|name| target(name, "answers", LONG)).into());
    let mut places: Vec<(usize, Duration)> = Vec::new();
    for key in &keys {
        match located(&fixture, *key) {
            Ok(QueuePlace::Scheduled { due_in, n_before, n_scheduled: 4 }) => places.push((n_before, due_in)),
            other => panic!("{other:?}"),
        }
    }
    places.sort();
    assert_eq!(places.iter().map(|(n_before, _)| *n_before).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(places.is_sorted_by_key(|(_, due_in)| *due_in), "{places:?}");
    fixture.change(LoopChanges { retire: vec![keys[0]], ..LoopChanges::default() });
    assert_eq!(located(&fixture, keys[0]), Err(Refusal::Gone));
    assert!(matches!(located(&fixture, keys[1]), Ok(QueuePlace::Scheduled { n_scheduled: 3, .. })));
    fixture.stop();
}

#[test]
fn loops_that_wait_for_a_worker_have_their_place_in_that_line() {
    let fixture = Fixture::start(1, FirstScrape::AtOnce);
    let names = ["a", "b", "c"];
    let keys = fixture.add(names.map(|name| target(name, "hangs", LONG)).into());
    fixture.journal.wait_for("a request in flight", |journal| journal.n_hanging() == 1);
    assert!(matches!(located(&fixture, keys[0]), Ok(QueuePlace::Running { .. })));
    assert_eq!(located(&fixture, keys[1]), Ok(QueuePlace::Waiting { n_before: 0 }));
    assert_eq!(located(&fixture, keys[2]), Ok(QueuePlace::Waiting { n_before: 1 }));
    fixture.stop();
}
