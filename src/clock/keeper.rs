//! The keeper of the clock: a thread that lives while samples wait for their time, decides when that is known, and has them
//! stamped.
//!
//! A clock is believed that is not before the build, the newest sample of the log, or the newest file of the data directory.
//! When none was by the end of `--clock.wait`, the system's is taken as it is.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scraped_engine::disk::{Disk, Entry, Kind};
use scraped_engine::threads::stop::{StopToken, Stopper, stop_pair};
use scraped_engine::threads::{Thread, ThreadKind};
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::unstamped::side_files::{SideFiles, Stamped};

use crate::clock::metrics::{ClockMetrics, Source};
use crate::clock::{Clock, boot};
use crate::duration::format_duration;

const THREAD: ThreadKind = ThreadKind { name: "clock-keeper", stack_bytes: 512 << 10 };

/// Between two looks at the clock.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// Where the log has no memory end, what waits is not in memory alone for longer.
const SPILL_AFTER: Duration = Duration::from_secs(15);

/// A page may have timestamps so far in the future, so the newest sample may be.
const AHEAD_MS: i64 = 600_000;

/// Seconds since the Unix epoch at the build, if whoever built it said so; the start of 2025, before the first line of this
/// program, if not.
const BUILT: Option<&str> = option_env!("SOURCE_DATE_EPOCH");
const BEFORE_ALL_BUILDS_S: i64 = 1_735_689_600;

/// How long samples wait for a clock, and for which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// `--clock.wait`; zero: not at all.
    pub max: Duration,
    /// `--clock.from=endpoint`: a server's `Date` counts.
    pub asks_servers: bool,
}

/// The running thread.
#[derive(Debug)]
pub struct Handle {
    stopper: Stopper,
    thread: Thread,
}

/// What the thread works with.
#[derive(Debug)]
pub struct Keeper {
    clock: Clock,
    wal: Wal,
    files: SideFiles,
    waiting: Waiting,
    metrics: Arc<ClockMetrics>,
    begun: Instant,
}

impl Keeper {
    /// Lets samples wait from now on if the clock is not believed, or if there are some that have waited since a process
    /// before; `None` if there is nothing to wait for. `newest_ts_ms` is of the log. The log is open, and nothing is committed
    /// yet.
    pub fn begin(
        clock: Clock,
        wal: &Wal,
        newest_ts_ms: Option<i64>,
        waiting: Waiting,
        metrics: Arc<ClockMetrics>,
    ) -> Option<Keeper> {
        metrics.set(Source::System);
        let files = SideFiles::open(wal, &boot::id());
        let floor_ms = floor_ms(&*wal.reader().disk().clone(), wal.path(), newest_ts_ms);
        let is_believed = clock.system_ms() >= floor_ms || waiting.max.is_zero();
        if is_believed && files.is_empty() {
            return None;
        }
        clock.wait(floor_ms, waiting.asks_servers);
        if !is_believed {
            metrics.set(Source::None);
            let before = Duration::from_millis(floor_ms.saturating_sub(clock.system_ms()).unsigned_abs());
            log::warn!(
                "the system's clock is not believed: it is {} behind what was here before; samples wait for their time, at \
                 most {} (clock.wait)",
                format_duration(Duration::from_secs(before.as_secs())),
                format_duration(waiting.max),
            );
        }
        Some(Keeper { clock, wal: wal.clone(), files, waiting, metrics, begun: Instant::now() })
    }

    /// Starts the thread. wal-maintenance runs by then.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub fn spawn(self) -> io::Result<Handle> {
        let (stopper, stop) = stop_pair();
        let thread = THREAD.spawn_essential("", move || self.run(&stop))?;
        Ok(Handle { stopper, thread })
    }

    fn run(mut self, stop: &StopToken) {
        let mut said = String::new();
        let source = loop {
            if let Some(source) = self.decide(Instant::now()) {
                break source;
            }
            let max_age = self.wal_flush_after();
            if let Err(error) = self.files.spill_if_due(max_age, Instant::now()) {
                say_once(&mut said, error.to_string());
            }
            self.files.note_waiting();
            if stop.wait(LOOK_PAUSE) {
                // What waits is not lost with the process.
                if let Err(error) = self.files.spill() {
                    log::error!("{error}; samples without a time are lost");
                }
                return;
            }
        };
        self.believe(source);
        while self.files.is_unfinished() {
            let is_stopped = stop.wait(LOOK_PAUSE);
            self.files.finish_when_durable();
            if is_stopped {
                return;
            }
        }
        while source == Source::Server && !self.clock.is_system_believable() {
            if stop.wait(LOOK_PAUSE) {
                return;
            }
        }
        if source == Source::Server {
            log::info!("the system's clock is believed from now on");
            self.metrics.set(Source::System);
        }
    }

    /// How long something may be in memory alone.
    fn wal_flush_after(&self) -> Duration {
        self.wal.memory_age().unwrap_or(SPILL_AFTER)
    }

    /// Whose time counts; `None` while nobody's does.
    fn decide(&self, now: Instant) -> Option<Source> {
        if self.clock.is_system_believable() {
            return Some(Source::System);
        }
        if self.clock.knows_from_server() {
            return Some(Source::Server);
        }
        (now.saturating_duration_since(self.begun) >= self.waiting.max).then_some(Source::Unproven)
    }

    /// Everything gets its time.
    fn believe(&mut self, source: Source) {
        let waited = format_duration(Duration::from_secs(self.begun.elapsed().as_secs()));
        match source {
            Source::System => log::debug!("the system's clock is believed after {waited}"),
            Source::Server => log::info!("the Date of a server is believed after {waited}"),
            Source::Unproven | Source::None => {
                log::warn!(
                    "no believable clock came within {waited} (clock.wait): samples get the time of the system's clock, \
                     which is behind what was here before"
                );
                // Nothing may be refused until it catches up.
                self.wal.restart_order_check();
            }
        }
        if source == Source::Unproven {
            self.clock.take_any();
        }
        let booted_ms = self.clock.wall_ms().saturating_sub(boot::elapsed_ms());
        match self.files.stamp(booted_ms) {
            Ok(Stamped { estimated: 0, damaged_places: 0 }) => {}
            Ok(Stamped { estimated, damaged_places }) => log::info!(
                "{estimated} samples of earlier boots without a clock were placed directly before the boot behind them; \
                 {damaged_places} places of their files could not be read"
            ),
            Err(error) => log::error!("{error}; what is left is tried again at the next start"),
        }
        // After the rest: what is stamped from now on is newer.
        self.clock.believe();
        self.metrics.set(source);
    }
}

impl Handle {
    /// Stops the thread, which writes what still waits. Scraping has ended.
    pub fn stop(self) {
        drop(self.stopper);
        self.thread.join();
    }
}

fn say_once(said: &mut String, sentence: String) {
    if sentence != *said {
        log::error!(
            "{sentence}; samples without a time stay in memory, from where the oldest go when it is full"
        );
        *said = sentence;
    }
}

/// A clock before this is wrong, in milliseconds since the Unix epoch.
fn floor_ms(disk: &dyn Disk, dir: &Path, newest_ts_ms: Option<i64>) -> i64 {
    let built_s = BUILT.and_then(|text| text.parse().ok()).unwrap_or(BEFORE_ALL_BUILDS_S);
    let sample_ms = newest_ts_ms.map_or(i64::MIN, |newest_ms| newest_ms.saturating_sub(AHEAD_MS));
    (built_s * 1000).max(sample_ms).max(newest_file_ms(disk, dir))
}

/// When the newest file of a directory was written.
fn newest_file_ms(disk: &dyn Disk, dir: &Path) -> i64 {
    let newest = |Entry { name, kind }: &Entry| match kind {
        Kind::Directory => newest_file_ms(disk, &dir.join(name)),
        Kind::File | Kind::Other => disk.metadata(&dir.join(name)).map_or(i64::MIN, |file| file.modified_ms),
    };
    disk.list(dir).unwrap_or_default().iter().map(newest).max().unwrap_or(i64::MIN)
}
