//! The two clocks of the daemon, read in one place.
//!
//! Schedules and deadlines use the monotonic clock only. The wall clock stamps samples; boxes without a clock battery boot in
//! 1970, so it may step at any time. Until it is believable, samples carry the time since the boot ([`Clock::stamp_ms`]) and
//! wait for their own; [`keeper`] decides when that is known. Tests shift the wall clock; nothing else does.

pub mod boot;
pub mod keeper;
pub mod metrics;

use crate::calendar::http_date;
use portable_atomic::{AtomicBool, AtomicI64, Ordering};
use scraped_engine::wal::unstamped::EPOCH_MS;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A change of wall against monotonic time of more than this is a step, not drift.
pub const WALL_CLOCK_STEP: Duration = Duration::from_secs(1);

/// Nothing is known.
const NONE: i64 = i64::MIN;

/// Source of monotonic and wall-clock time; clones share what is believed.
#[derive(Clone, Debug)]
pub struct Clock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    wall_shift_ms: AtomicI64,
    /// Samples have no time yet.
    is_waiting: AtomicBool,
    /// A wall clock before this, in milliseconds since the Unix epoch, is not believed; [`NONE`]: any is.
    floor_ms: AtomicI64,
    /// What servers say of the time is of interest.
    asks_servers: AtomicBool,
    /// When the boot was by what a server said, in milliseconds since the Unix epoch; [`NONE`] without.
    boot_by_server_ms: AtomicI64,
}

impl Default for Clock {
    fn default() -> Self {
        let shared = Shared {
            wall_shift_ms: AtomicI64::new(0),
            is_waiting: AtomicBool::new(false),
            floor_ms: AtomicI64::new(NONE),
            asks_servers: AtomicBool::new(false),
            boot_by_server_ms: AtomicI64::new(NONE),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Clock {
    /// The system's clocks, unshifted and believed.
    pub fn system() -> Self {
        Self::default()
    }

    /// Monotonic time: for schedules and deadlines.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Wall-clock time in milliseconds since the Unix epoch, as far as it is known.
    pub fn wall_ms(&self) -> i64 {
        let system_ms = self.system_ms();
        let by_server_ms = self.shared.boot_by_server_ms.load(Ordering::Relaxed);
        if by_server_ms != NONE && system_ms < self.shared.floor_ms.load(Ordering::Relaxed) {
            return by_server_ms.saturating_add(boot::elapsed_ms());
        }
        system_ms
    }

    /// What a sample of now is stamped with: the wall clock's time, or the time since the boot behind [`EPOCH_MS`] as long as
    /// that is not believed.
    pub fn stamp_ms(&self) -> i64 {
        match self.is_waiting() {
            true => EPOCH_MS + boot::elapsed_ms(),
            false => self.wall_ms(),
        }
    }

    /// Whether samples have no time yet.
    pub fn is_waiting(&self) -> bool {
        self.shared.is_waiting.load(Ordering::Acquire)
    }

    /// What the system says, in milliseconds since the Unix epoch.
    pub fn system_ms(&self) -> i64 {
        let system_ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        };
        system_ms + self.shared.wall_shift_ms.load(Ordering::Relaxed)
    }

    /// From now on samples have no time, until [`Clock::believe`]. A wall clock before `floor_ms` is not believed; with
    /// `asks_servers` the `Date` of an answer is.
    pub fn wait(&self, floor_ms: i64, asks_servers: bool) {
        self.shared.floor_ms.store(floor_ms, Ordering::Relaxed);
        self.shared.asks_servers.store(asks_servers, Ordering::Relaxed);
        self.shared.is_waiting.store(true, Ordering::Release);
    }

    /// From now on the system's time is taken whatever it is.
    fn take_any(&self) {
        self.shared.floor_ms.store(NONE, Ordering::Relaxed);
    }

    /// From now on samples are stamped by [`Clock::wall_ms`].
    fn believe(&self) {
        self.shared.asks_servers.store(false, Ordering::Relaxed);
        self.shared.is_waiting.store(false, Ordering::Release);
    }

    /// Whether samples wait for a server that says what time it is.
    pub fn asks_servers(&self) -> bool {
        self.shared.asks_servers.load(Ordering::Relaxed) && !self.knows_from_server()
    }

    /// A server has just answered, with this `Date`. The first one that is believable counts, if servers do.
    pub fn note_server<'a>(&self, date: impl FnOnce() -> Option<&'a str>) {
        if !self.asks_servers() {
            return;
        }
        let Some(date_s) = date().and_then(http_date).and_then(|date_s| i64::try_from(date_s).ok()) else {
            return;
        };
        // It was cut to whole seconds: the time is anywhere in this one.
        let start_ms = date_s.saturating_mul(1000);
        if start_ms.saturating_add(999) >= self.shared.floor_ms.load(Ordering::Relaxed) {
            let by_server_ms = start_ms.saturating_add(500).saturating_sub(boot::elapsed_ms());
            let stored = &self.shared.boot_by_server_ms;
            let _ = stored.compare_exchange(NONE, by_server_ms, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether the system's time may be right.
    fn is_system_believable(&self) -> bool {
        self.system_ms() >= self.shared.floor_ms.load(Ordering::Relaxed)
    }

    /// Whether a server has said what time it is.
    fn knows_from_server(&self) -> bool {
        self.shared.boot_by_server_ms.load(Ordering::Relaxed) != NONE
    }

    /// Steps the wall clock by `step_ms`, as a time server does to a box that booted in 1970.
    pub fn step_wall(&self, step_ms: i64) {
        self.shared.wall_shift_ms.fetch_add(step_ms, Ordering::Relaxed);
    }
}
