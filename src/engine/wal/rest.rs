//! Rests of a thread that takes the head's lock for one slice after the other.
//!
//! Such a thread has the lock most of the time. When its share of a busy processor runs out, that is while it has the lock, and
//! every commit waits until its turn comes again, which may be tens of milliseconds later. A thread that has just slept has its
//! whole share before it, so it sleeps a little, without the lock, before the share can run out (`scripts/bench --holds`).

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// A small part of the least share that Linux gives (0.7 to 3 ms).
const LONGEST_WORK: Duration = Duration::from_micros(500);
/// The kernel makes some 70 µs of it.
const REST: Duration = Duration::from_micros(20);

thread_local! {
    static RESTED_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Sleeps if this thread has not slept here for a while.
pub(in crate::wal) fn rest_before_slice() {
    if RESTED_AT.get().is_none_or(|at| at.elapsed() > LONGEST_WORK) {
        thread::sleep(REST);
        RESTED_AT.set(Some(Instant::now()));
    }
}
