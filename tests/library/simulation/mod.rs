//! The core of a box, simulated from a seed: days of scrapes, outages, bad disks, kills and set clocks in a second.
//!
//! [`machine`] drives a log, wal-maintenance and an endpoint on one thread, in an order that is drawn from a seed, on a disk,
//! a wire ([`weather`]) and clocks ([`clock`]) of its own. After each event [`ledger`] compares what the endpoint says with
//! what happened: each sample waits, is on its way, or was sent, refused, or lost and counted, and none arrives twice or out
//! of order without a reason. A failure prints the seed, which makes it again, and the event.
//!
//! [`endpoint`], [`reading`] and [`samples`] are those of the boxes in `wal/power_cuts`, too.

mod clock;
pub(crate) mod endpoint;
mod ledger;
mod machine;
pub(crate) mod reading;
pub(crate) mod samples;
mod weather;

use std::env;
use std::thread;
use std::time::Duration;

use proptest::prelude::{any, proptest};
use scraped_engine::disk::draw::Draw;
use support::cases;
use tempfile::TempDir;

use machine::{Kind, Machine};

/// How long a box lives.
pub(crate) const LIFE: Duration = Duration::from_secs(40 * 60);
const LONG_LIFE: Duration = Duration::from_secs(10 * 3600);

proptest! {
    #![proptest_config(cases::seeds(3, 20))]

    #[test]
    fn on_the_disk(seed in any::<u64>()) {
        live(seed, false, life(), &mut 0);
    }

    #[test]
    fn in_memory_first(seed in any::<u64>()) {
        live(seed, true, life(), &mut 0);
    }
}

/// A life that failed, again: `SCRAPED_LIFE='SEED memory'`, or `disk`, with the `SCRAPED_LONG` of that run.
#[test]
fn one_again() {
    let Ok(typed) = env::var("SCRAPED_LIFE") else { return };
    let (seed, place) = typed.split_once(' ').expect("a seed, and memory or disk");
    live(seed.parse().expect("a whole number"), place == "memory", life(), &mut 0);
}

fn life() -> Duration {
    if cases::is_long() { LONG_LIFE } else { LIFE }
}

/// Says where a box was when it failed.
struct Place<'a> {
    seed: u64,
    kind: Kind,
    n_events: &'a mut u64,
    elapsed: Duration,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Place { seed, kind, n_events, elapsed } = self;
            println!("seed {seed}, event {n_events}, after {elapsed:?}: {kind:?}");
        }
    }
}

/// Lives as long as `life`; counts in `n_events` what happens.
pub(crate) fn live(seed: u64, is_memory_first: bool, life: Duration, n_events: &mut u64) {
    let mut draw = Draw::new(seed);
    let kind = Kind::drawn(&mut draw, is_memory_first);
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let mut place = Place { seed, kind, n_events, elapsed: Duration::ZERO };
    let mut machine = Machine::new(dir.path(), kind, draw);
    while machine.elapsed() < life {
        *place.n_events += 1;
        place.elapsed = machine.elapsed();
        machine.go_on();
    }
    machine.settle();
    println!("seed {seed}: {} events in {life:?}: {:?}", place.n_events, machine.seen());
}
