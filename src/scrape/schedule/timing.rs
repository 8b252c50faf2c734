//! Wall-clock time of instants: the one place where the scraping side reads the wall clock for timestamps.
//!
//! Owned by the scheduler thread. Schedules are made of instants of the monotonic clock and never move; what changes
//! when the wall clock steps, or becomes known, is only the timestamp that an instant stands for.

use crate::clock::{Clock, WALL_CLOCK_STEP};
use scraped_engine::wal::unstamped::is_unstamped;
use std::time::{Duration, Instant};

/// Smaller differences are the two clocks being read one after the other by a thread that was interrupted in between.
const DRIFT_TOLERATED: Duration = Duration::from_millis(5);

/// A reading is taken again if the thread lost the processor for longer than this between the clocks.
const READING_MAX: Duration = Duration::from_millis(1);

/// Readings before an interrupted one is taken after all.
const READING_ATTEMPTS: usize = 3;

/// The wall clock stepped against the monotonic clock by more than [`WALL_CLOCK_STEP`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockStep {
    /// A box that booted in 1970 has learnt the time.
    Forward(Duration),
    /// Samples with a later timestamp than now are already stored.
    Backward(Duration),
}

impl ClockStep {
    /// Value of the label `direction` of `scraped_clock_steps_total`.
    pub fn direction(self) -> &'static str {
        match self {
            Self::Forward(_) => "forward",
            Self::Backward(_) => "backward",
        }
    }
}

/// Translates instants to timestamps.
#[derive(Debug)]
pub struct Timing {
    clock: Clock,
    anchor: Instant,
    anchor_wall_ms: i64,
}

impl Timing {
    /// Takes the first reading.
    pub fn new(clock: Clock) -> Self {
        let (anchor, anchor_wall_ms) = read_both(&clock);
        Self { clock, anchor, anchor_wall_ms }
    }

    /// Monotonic time.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The timestamp of `instant`, in milliseconds since the Unix epoch.
    pub fn wall_ms_at(&self, instant: Instant) -> i64 {
        match instant.checked_duration_since(self.anchor) {
            Some(after) => self.anchor_wall_ms.saturating_add(millis(after)),
            None => self.anchor_wall_ms.saturating_sub(millis(self.anchor.duration_since(instant))),
        }
    }

    /// Compares the clocks; from here on timestamps follow the wall clock as it is now.
    pub fn check(&mut self) -> Option<ClockStep> {
        let (now, wall_ms) = read_both(&self.clock);
        let expected_ms = self.wall_ms_at(now);
        let off = Duration::from_millis(wall_ms.abs_diff(expected_ms));
        if off <= DRIFT_TOLERATED {
            return None;
        }
        self.anchor = now;
        self.anchor_wall_ms = wall_ms;
        // That the time has become known is no step.
        if off <= WALL_CLOCK_STEP || is_unstamped(wall_ms) != is_unstamped(expected_ms) {
            None
        } else if wall_ms > expected_ms {
            Some(ClockStep::Forward(off))
        } else {
            Some(ClockStep::Backward(off))
        }
    }
}

fn read_both(clock: &Clock) -> (Instant, i64) {
    let mut attempts_left = READING_ATTEMPTS;
    loop {
        let before = clock.now();
        let wall_ms = clock.stamp_ms();
        attempts_left -= 1;
        if attempts_left == 0 || before.elapsed() <= READING_MAX {
            return (before, wall_ms);
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_moves_timestamps_and_is_seen_once() {
        for (step_ms, backward) in [(3_600_000, false), (-3_600_000, true)] {
            let clock = Clock::system();
            let mut timing = Timing::new(clock.clone());
            assert_eq!(timing.check(), None);
            let instant = timing.now();
            let ts_ms = timing.wall_ms_at(instant);
            clock.step_wall(step_ms);
            let step = timing.check().expect("an hour is a step");
            assert_eq!(matches!(step, ClockStep::Backward(_)), backward, "{step:?}");
            assert_eq!(timing.check(), None);
            // The reading may be off by what a busy machine does to this thread.
            let moved_ms = timing.wall_ms_at(instant) - ts_ms;
            assert!((moved_ms - step_ms).abs() < 1000, "{moved_ms}");
        }
    }

    #[test]
    fn a_small_step_is_followed_without_a_word() {
        let clock = Clock::system();
        let mut timing = Timing::new(clock.clone());
        let instant = timing.now();
        let ts_ms = timing.wall_ms_at(instant);
        clock.step_wall(-500);
        assert_eq!(timing.check(), None);
        assert!(timing.wall_ms_at(instant) < ts_ms);
    }

    #[test]
    fn slots_an_interval_apart_have_timestamps_an_interval_apart() {
        let timing = Timing::new(Clock::system());
        let interval = Duration::from_millis(1500);
        let mut slot = timing.now() + Duration::from_micros(123_456);
        for _ in 0..1000 {
            let next = slot + interval;
            assert_eq!(timing.wall_ms_at(next) - timing.wall_ms_at(slot), 1500);
            slot = next;
        }
    }
}
