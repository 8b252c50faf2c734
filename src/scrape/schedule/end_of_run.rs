//! When the series of a target that is gone get their staleness markers.
//!
//! A deadline in the scheduler's heap, no sleeper. The markers themselves are written by a worker through the loop that
//! is kept for them.

use std::time::{Duration, Instant};

/// Divisor of the interval for the time that is waited beyond two slots, "just to be safe".
const EXTRA_WAIT_DIVISOR: u32 = 10;

/// When to write the markers of a retired loop and what time they carry (`endOfRunStaleness` in Prometheus'
/// `scrape/scrape.go`).
///
/// The wait is for the case that the target is back: its samples are newer than the markers, which are then refused as
/// out of order, series by series. What did not come back with it gets its marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndOfRun {
    /// The slot that the target would have been scraped in next: the markers' time.
    pub marker_slot: Instant,
    /// When they are written.
    pub due: Instant,
}

impl EndOfRun {
    /// For a loop whose next slot would have been `next_slot`.
    pub fn after(next_slot: Instant, scrape_interval: Duration) -> Self {
        let due = next_slot + scrape_interval + scrape_interval / EXTRA_WAIT_DIVISOR;
        Self { marker_slot: next_slot, due }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_come_a_slot_and_a_tenth_after_the_slot_they_are_dated() {
        let last_scrape = Instant::now();
        let interval = Duration::from_secs(10);
        let end = EndOfRun::after(last_scrape + interval, interval);
        assert_eq!(end.marker_slot, last_scrape + interval);
        assert_eq!(end.due, last_scrape + Duration::from_secs(21));
    }
}
