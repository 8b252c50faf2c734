//! The clocks of a simulated box: one that only goes on, and one that is set.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

thread_local! {
    static ELAPSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static BEGAN: Instant = Instant::now();
}

/// A long time after the epoch, in milliseconds.
const FIRST_MS: i64 = 1_700_000_000_000;

/// The monotonic clock of this thread's box.
pub(super) fn now() -> Instant {
    BEGAN.with(|began| *began) + ELAPSED.get()
}

/// Both clocks of a box; there is one on each thread.
pub(super) struct Clock {
    /// What the wall clock is set apart from the other one, in milliseconds.
    set_ms: i64,
    stamps: BTreeSet<i64>,
}

impl Clock {
    /// The box begins.
    pub(super) fn begin() -> Clock {
        ELAPSED.set(Duration::ZERO);
        Clock { set_ms: FIRST_MS, stamps: BTreeSet::new() }
    }

    /// Time goes on.
    pub(super) fn pass(&self, time: Duration) {
        ELAPSED.set(ELAPSED.get() + time);
    }

    /// Time since the box began.
    pub(super) fn elapsed(&self) -> Duration {
        ELAPSED.get()
    }

    /// By the monotonic clock, in milliseconds.
    pub(super) fn elapsed_ms(&self) -> u64 {
        self.elapsed().as_millis() as u64
    }

    /// Sets the wall clock by so many milliseconds.
    pub(super) fn set(&mut self, by_ms: i64) {
        self.set_ms += by_ms;
    }

    /// By the wall clock, in milliseconds.
    pub(super) fn wall_ms(&self) -> i64 {
        self.set_ms + self.elapsed_ms() as i64
    }

    /// The stamp of a scrape, of which no other one has had it: samples are known by it.
    pub(super) fn next_stamp(&mut self) -> i64 {
        let mut stamp_ms = self.wall_ms();
        while !self.stamps.insert(stamp_ms) {
            stamp_ms += 1;
        }
        stamp_ms
    }
}
