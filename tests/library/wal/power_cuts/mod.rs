//! A box loses its power at any moment of its life, and starts on whatever that left.
//!
//! [`life`] drives a log, an endpoint and wal-maintenance over a disk that writes down what is done to it. From each life
//! images are taken at moments drawn from its seed: by what ALICE found file systems to do, where any part of what was not
//! synced survives, and by the order in which it was done. [`start`] opens each: nothing is lost that was durable and not
//! acknowledged, nothing is invented, what comes twice was not saved as acknowledged, and the log is whole. Of some the power
//! goes again while they start.

mod fates;
mod life;
mod start;

use std::thread;

use proptest::prelude::{any, proptest};
use scraped_engine::disk::draw::Draw;
use scraped_engine::disk::faulty::Faults;
use scraped_engine::disk::image::Image;
use scraped_engine::disk::power_cut::{self, Survival};
use scraped_engine::disk::recorder::{Recording, Step};
use support::cases;
use support::wal::peers;
use tempfile::TempDir;

use fates::Moment;
use life::{Life, Scenario};

/// Images of each life; each case has two lives.
const N_IMAGES: u64 = 25;

/// Ten thousand images in all tests of a long run.
const N_LONG_CASES: u32 = 34;

proptest! {
    #![proptest_config(cases::seeds(1, N_LONG_CASES))]

    #[test]
    fn with_a_healthy_endpoint(seed in any::<u64>()) {
        cut(Scenario::Healthy, seed);
    }

    #[test]
    fn in_an_outage(seed in any::<u64>()) {
        cut(Scenario::Outage, seed);
    }

    #[test]
    fn while_segments_go(seed in any::<u64>()) {
        cut(Scenario::Truncation, seed);
    }

    #[test]
    fn at_a_reload(seed in any::<u64>()) {
        cut(Scenario::Reload, seed);
    }

    #[test]
    fn at_a_stop(seed in any::<u64>()) {
        cut(Scenario::Stop, seed);
    }

    #[test]
    fn before_the_time_is_known(seed in any::<u64>()) {
        cut(Scenario::ClockHeld, seed);
    }
}

/// What a test was at when it failed.
struct Case(String);

impl Drop for Case {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{}", self.0);
        }
    }
}

/// Lives two lives of the kind whose turn it is, and cuts off the power of each.
#[cfg(feature = "mutants")]
pub(crate) fn cut_any(turn: u64, seed: u64) {
    use Scenario::{ClockHeld, Healthy, Outage, Reload, Stop, Truncation};
    cut([Truncation, Outage, Stop, Healthy, Reload, ClockHeld][turn as usize % 6], seed);
}

/// Lives two lives, with what is committed in memory first and on the disk at once, and cuts off the power of each.
fn cut(scenario: Scenario, seed: u64) {
    for is_memory_first in [true, false] {
        // The same seed gives each kind of life another one.
        let seed = Draw::new(seed ^ (2 * scenario as u64 + u64::from(is_memory_first))).below(u64::MAX);
        let kind = format!("{scenario:?}, memory first: {is_memory_first}, seed {seed}");
        let _case = Case(kind.clone());
        let dir = TempDir::with_prefix("scraped-test-").unwrap();
        let life = life::live(dir.path(), scenario, is_memory_first, seed, Faults::default());
        let most_twice = cut_off(&life, seed);
        println!("{kind}: {N_IMAGES} images, at most {most_twice} requests of a shard came twice");
    }
}

/// Cuts off the power of a life again and again. How many requests of one shard came twice, at most.
fn cut_off(life: &Life, seed: u64) -> usize {
    let mut draw = Draw::new(seed);
    let starts = (0..N_IMAGES).map(|number| {
        let cut = Cut::drawn(&life.recording, number, &mut draw);
        let _case = Case(cut.kind);
        let dir = TempDir::with_prefix("scraped-test-").unwrap();
        let started = start::check(life, &cut.image, cut.moment, dir.path());
        if !number.is_multiple_of(3) {
            return started.most_twice;
        }
        let again = Cut::drawn(&started.recording, number, &mut draw);
        let _case = Case(format!("again in its start: {}", again.kind));
        let dir = TempDir::with_prefix("scraped-test-").unwrap();
        start::check(life, &again.image, cut.moment, dir.path()).most_twice
    });
    starts.max().unwrap_or(0)
}

/// What is left of a box without power.
struct Cut {
    kind: String,
    moment: Moment,
    image: Image,
}

impl Cut {
    fn drawn(recording: &Recording, number: u64, draw: &mut Draw) -> Cut {
        let steps = &recording.steps;
        let names_changed: Vec<usize> = (1..=steps.len()).filter(|n| changes_names(&steps[n - 1])).collect();
        // Half of them come when names have just changed: an order that a file system has not kept shows there alone.
        let n_steps = match names_changed.len() as u64 {
            n_changes if n_changes > 0 && number.is_multiple_of(2) => {
                names_changed[draw.below(n_changes) as usize]
            }
            _ => draw.below(steps.len() as u64 + 1) as usize,
        };
        let survival = if draw.once_in(3) { Survival::Ordered } else { Survival::Any };
        let seed = draw.below(u64::MAX);
        let moment = steps[..n_steps].iter().rev().find_map(|step| match step {
            Step::Mark(moment) => Some(*moment),
            _ => None,
        });
        Cut {
            kind: format!("{n_steps} steps, {survival:?}, image {seed}"),
            moment: moment.unwrap_or(0),
            image: power_cut::image(recording, n_steps, survival, seed),
        }
    }
}

fn changes_names(step: &Step) -> bool {
    matches!(step, Step::Rename { .. } | Step::Remove(_))
}

#[test]
fn a_real_prometheus_opens_what_is_left_and_what_a_start_makes_of_it() {
    // Each waits for seconds until it scrapes.
    thread::scope(|scope| {
        for (scenario, seed) in
            [Scenario::Outage, Scenario::Truncation, Scenario::ClockHeld].into_iter().zip(1..)
        {
            scope.spawn(move || opened_by_prometheus(scenario, seed));
        }
    });
}

fn opened_by_prometheus(scenario: Scenario, seed: u64) {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let life = life::live(dir.path(), scenario, true, seed, Faults::default());
    let cut = Cut::drawn(&life.recording, 0, &mut Draw::new(seed));
    let _case = Case(format!("{scenario:?}, {}", cut.kind));
    let (left, started) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    cut.image.write_to(left.path()).unwrap();
    start::check(&life, &cut.image, cut.moment, started.path());
    let said = thread::scope(|scope| {
        scope.spawn(|| peers::run_agent(left.path()));
        peers::run_agent(started.path())
    });
    assert!(!said.contains("level=ERROR") && !said.contains("repair"), "{said}");
}

#[test]
#[should_panic(expected = "is lost")]
fn a_disk_that_lies_about_syncs_is_found_out() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let lies = Faults { lies_about_syncs: true, ..Faults::default() };
    cut_off(&life::live(dir.path(), Scenario::Outage, false, 1, lies), 1);
}

#[test]
fn lives_have_checkpoints_and_segments_that_go() {
    let lives = (1..=3).flat_map(|seed| [(seed, true), (seed, false)]);
    let n_checkpoints: usize = lives
        .map(|(seed, is_memory_first)| {
            let dir = TempDir::with_prefix("scraped-test-").unwrap();
            let life = life::live(dir.path(), Scenario::Truncation, is_memory_first, seed, Faults::default());
            let is_checkpoint = |step: &&Step| matches!(step, Step::Rename { to, .. } if to.to_string_lossy().contains("checkpoint"));
            life.recording.steps.iter().filter(is_checkpoint).count()
        })
        .sum();
    assert!(n_checkpoints > 5, "{n_checkpoints} checkpoints");
}
