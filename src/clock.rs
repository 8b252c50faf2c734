//! The two clocks of the daemon, read in one place.
//!
//! Schedules and deadlines use the monotonic clock only. The wall clock stamps samples; boxes without a clock
//! battery boot in 1970, so it may step at any time. Tests shift the wall clock; nothing else does.

use portable_atomic::{AtomicI64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A change of wall against monotonic time of more than this is a step, not drift.
pub const WALL_CLOCK_STEP: Duration = Duration::from_secs(1);

/// Source of monotonic and wall-clock time; clones share the same shift.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    wall_shift_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clocks, unshifted.
    pub fn system() -> Self {
        Self::default()
    }

    /// Monotonic time: for schedules and deadlines.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Wall-clock time in milliseconds since the Unix epoch: for sample timestamps.
    pub fn wall_ms(&self) -> i64 {
        let wall_ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        };
        wall_ms + self.wall_shift_ms.load(Ordering::Relaxed)
    }

    /// Steps the wall clock by `step_ms`, as a time server does to a box that booted in 1970.
    pub fn step_wall(&self, step_ms: i64) {
        self.wall_shift_ms.fetch_add(step_ms, Ordering::Relaxed);
    }
}
