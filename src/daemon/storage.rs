//! The log and those who live by it: wal-maintenance, and remote write, which reads it.
//!
//! All three start as soon as the log can be opened: with the daemon, or later if the disk is away at its start, or full or
//! read-only and there is no memory for the newest part of the log. Until then targets are scraped and shown, their samples
//! are refused and counted, and readiness says why.

use crate::clock::Clock;
use crate::clock::keeper;
use crate::clock::keeper::{Keeper, Waiting};
use crate::clock::metrics::ClockMetrics;
use crate::commands::check;
use crate::config::Config;
use crate::daemon::start::Shown;
use crate::daemon::start_error::StartError;
use crate::daemon::supervisor::Supervisor;
use crate::flags::{Flags, MemoryFirst};

use crate::lifecycle::{ReplayProgress, Running};
use crate::memory_limit::MemoryLimit;
use crate::remote;
use crate::remote::metrics::RemoteMetrics;
use crate::remote::read::claims::Claims;
use scraped_engine::disk::Disk;
use scraped_engine::families::MetadataStore;
use scraped_engine::series::bound::SeriesBound;
use scraped_engine::wal::error::WalError;
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::keep::maintenance;
use scraped_engine::wal::open::replay_summary::ReplaySummary;
use scraped_engine::wal::options::WalOptions;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Replay that takes longer says how far it is.
const QUIET_REPLAY: Duration = Duration::from_secs(1);

/// Least pause between two tries to open the log.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A try that reads a long log is not repeated before this many times its duration.
const RETRY_PAUSE_SHARE: u32 = 2;

/// Memory for a series, by which the bound of series is taken from the memory that there is. One costs some 90 bytes in
/// the table and its target's cache; the rest is for pages, requests and the log's buffers.
const BYTES_A_SERIES: u64 = 256;

/// Part of the memory that the table of series may take where labels are long. Making symbols again takes half of that
/// again for a moment, and pages have 64 MiB.
const TABLE_PART: u64 = 3;

/// Part of the memory that the newest part of the log may take, and the most and least it takes by itself.
const MEMORY_FIRST_PART: u64 = 16;
const MOST_MEMORY_FIRST: u64 = 32 << 20;
const LEAST_MEMORY_FIRST: u64 = 1 << 20;

/// However little memory there is.
const LEAST_MAX_SERIES: u64 = 10_000;

pub(super) struct Storage {
    wal: Wal,
    clock: Clock,
    waiting: Waiting,
    clock_metrics: Arc<ClockMetrics>,
    /// Samples wait for their time, and the one that ends that was not started yet.
    keeper: Option<Keeper>,
    flush_deadline: Duration,
    /// Metadata goes into the log.
    metadata_records: bool,
    /// Of all targets, for remote write.
    families: Arc<MetadataStore>,
    metrics: Arc<RemoteMetrics>,
    memory_bytes: Option<u64>,
    /// Whether the log held samples when it was opened; `None` until then.
    has_data: Option<bool>,
    users: Option<Users>,
    retry_at: Instant,
    /// The last sentence about a log that could not be opened; empty before.
    said: String,
}

struct Users {
    remote: remote::manager::Handle,
    maintenance: maintenance::Handle,
    keeper: Option<keeper::Handle>,
}

impl Storage {
    /// Opens `wal`, and starts its users; or leaves that for [`Storage::look`] if the disk does not let it now.
    pub(super) fn start(
        flags: &Flags,
        wal: Wal,
        clock: Clock,
        memory: Option<MemoryLimit>,
        shown: &Shown,
        supervisor: &Supervisor,
    ) -> Result<Storage, StartError> {
        shown.registry.register(Arc::new(wal.clone()));
        shown.running.watch_log(wal.trouble());
        let memory_bytes = memory.as_ref().map(|limit| limit.bytes);
        let bound = Arc::new(series_bound(flags.max_series, memory));
        let mut storage = Storage {
            wal,
            clock,
            waiting: flags.clock,
            clock_metrics: Arc::clone(&shown.clock),
            keeper: None,
            flush_deadline: flags.flush_deadline,
            metadata_records: flags.features.metadata_wal_records,
            families: Arc::clone(&shown.families),
            metrics: Arc::clone(&shown.remote),
            memory_bytes,
            has_data: None,
            users: None,
            retry_at: Instant::now(),
            said: String::new(),
        };
        match storage.open(&shown.running, supervisor) {
            Err(StartError::Wal(error)) if error.may_pass() => storage.note_trouble(&error),
            opened => opened?,
        }
        log::info!("{bound}");
        storage.wal.bound_series(Arc::clone(&bound));
        shown.board.show_series_bound(bound);
        Ok(storage)
    }

    pub(super) fn wal(&self) -> &Wal {
        &self.wal
    }

    /// Until [`Storage::look`] has something to do; `None` while all runs.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.users.is_none().then(|| self.retry_at.saturating_duration_since(Instant::now()))
    }

    /// Tries again to open the log, if that is due.
    pub(super) fn look(&mut self, running: &Running, supervisor: &Supervisor) {
        let started = Instant::now();
        if self.users.is_some() || started < self.retry_at {
            return;
        }
        match self.open(running, supervisor) {
            Ok(()) => {
                log::info!("the write-ahead log in {} is open and can be written", self.wal.path().display())
            }
            // Once the daemon runs, this does not end it: someone may be mending the disk.
            Err(error) => self.note_trouble(&error),
        }
        let pause = (started.elapsed() * RETRY_PAUSE_SHARE).max(RETRY_PAUSE);
        self.retry_at = Instant::now() + pause;
    }

    /// A new configuration is in force.
    pub(super) fn apply(&self, config: Arc<Config>) {
        if let Some(users) = &self.users {
            users.remote.apply(config);
        }
    }

    /// Scraping has ended: sends what there is, and closes the log. `step` is called with the name of what has stopped.
    pub(super) fn stop(self, step: impl Fn(&str)) {
        if let Some(Users { remote, maintenance, keeper }) = self.users {
            if let Some(keeper) = keeper {
                keeper.stop();
                step("clock-keeper");
            }
            // While the log is open: what it holds now is all that is to be sent.
            remote.stop();
            step("remote write");
            // Before the log: closing gives the directory to the next process, and this thread deletes files in it.
            maintenance.stop();
            step("wal-maintenance");
        }
        if let Err(error) = self.wal.close() {
            log::error!("{error}");
        }
        step("the log");
    }

    fn note_trouble(&mut self, error: &dyn std::fmt::Display) {
        let sentence = error.to_string();
        if sentence != self.said {
            log::error!(
                "{sentence}; targets are scraped, but their samples are lost and counted until that is mended; no restart \
                 is needed then"
            );
        }
        self.wal.note_trouble(&sentence);
        self.said = sentence;
    }

    fn open(&mut self, running: &Running, supervisor: &Supervisor) -> Result<(), StartError> {
        let has_data = match self.has_data {
            Some(has_data) => has_data,
            None => self.take_up(running, supervisor)?,
        };
        let config = running.config();
        let (claims, readers_known) =
            Claims::make(&self.wal.reader(), &config, has_data).map_err(|cause| {
                let path = self.wal.path().to_owned();
                WalError::Io { action: "make the directory of remote_write positions in", path, cause }
            })?;
        let options = remote::manager::ManagerOptions {
            log: self.wal.reader(),
            clock: self.clock.clone(),
            config,
            claims,
            flush_deadline: self.flush_deadline,
            families: Arc::clone(&self.families),
            memory_bytes: self.memory_bytes,
            metrics: Arc::clone(&self.metrics),
        };
        let remote = remote::manager::Handle::spawn(options).map_err(StartError::Thread)?;
        // Last: if this is not the first try, it lets commits in, and what is committed from then on is sent.
        let maintenance =
            maintenance::Handle::spawn(self.wal.clone(), readers_known).map_err(StartError::Thread)?;
        let keeper = self.keeper.take().map(Keeper::spawn).transpose().map_err(StartError::Thread)?;
        self.users = Some(Users { remote, maintenance, keeper });
        Ok(())
    }

    /// Opens the log; true if it holds samples.
    fn take_up(&mut self, running: &Running, supervisor: &Supervisor) -> Result<bool, WalError> {
        let mut said_at = Instant::now();
        let summary = self.wal.take_up(&mut |current, max| {
            running.replayed(ReplayProgress { current, max });
            if said_at.elapsed() > QUIET_REPLAY {
                said_at = Instant::now();
                log::info!("replaying the log: segment {current} of {max}");
                supervisor.replaying(current, max);
            }
        })?;
        announce_replay(&self.wal, &summary, running);
        self.prepare_metadata_records();
        let metrics = Arc::clone(&self.clock_metrics);
        self.keeper =
            Keeper::begin(self.clock.clone(), &self.wal, summary.newest_ts_ms, self.waiting, metrics);
        if self.keeper.is_none() {
            mend_order(&self.wal, &summary, &self.clock);
        }
        let has_data = summary.samples > 0;
        self.has_data = Some(has_data);
        Ok(has_data)
    }

    /// Records of metadata go with their segments once they are no more asked for.
    fn prepare_metadata_records(&self) {
        if self.metadata_records {
            log::info!(
                "metadata goes into the log, where a Prometheus server reads it; a Prometheus agent cannot open such a \
                 log"
            );
        } else {
            self.wal.forget_metadata();
        }
    }
}

fn announce_replay(wal: &Wal, summary: &ReplaySummary, running: &Running) {
    let path = wal.path().display();
    let segments = check::counted(summary.segments, "segment");
    log::info!("data directory {path}: {} series, {segments}", summary.series);
    if let Some(takeover) = &summary.takeover {
        log::info!("{takeover}");
    }
    for loss in &summary.losses {
        running.corruptions.inc();
        log::warn!("{loss}");
    }
}

/// How the log is kept, with as much of it in memory as fits.
pub(super) fn log_options(flags: &Flags, memory: Option<&MemoryLimit>, disk: Arc<dyn Disk>) -> WalOptions {
    let memory_bytes = match flags.memory_first {
        MemoryFirst::Off => None,
        MemoryFirst::Bytes(bytes) => Some(bytes),
        MemoryFirst::Auto => {
            let part = memory.map_or(MOST_MEMORY_FIRST, |limit| limit.bytes / MEMORY_FIRST_PART);
            Some(part.clamp(LEAST_MEMORY_FIRST, MOST_MEMORY_FIRST))
        }
    };
    WalOptions { memory_bytes, disk, ..flags.wal.clone() }
}

/// How many series there may be: as the flag says, or as many as fit the memory twice, with all that belongs to them.
fn series_bound(max_series: Option<u64>, memory: Option<MemoryLimit>) -> SeriesBound {
    match (max_series, memory) {
        (Some(0), _) => SeriesBound::new(0, "--storage.agent.max-series=0"),
        (Some(max), _) => SeriesBound::new(max, "--storage.agent.max-series"),
        (None, Some(MemoryLimit { bytes, file })) => {
            let max = (bytes / BYTES_A_SERIES).max(LEAST_MAX_SERIES);
            SeriesBound::new(max, format!("for {} MiB of memory by {}", bytes >> 20, file.display()))
                .with_max_bytes(bytes / TABLE_PART)
        }
        (None, None) => SeriesBound::new(0, "nothing says how much memory there is"),
    }
}

/// A box without a clock battery starts in the past of its own log: nothing may be refused until it catches up.
fn mend_order(wal: &Wal, summary: &ReplaySummary, clock: &Clock) {
    let now_ms = clock.wall_ms();
    if let Some(newest_ts_ms) = summary.newest_ts_ms.filter(|newest_ts_ms| *newest_ts_ms > now_ms) {
        wal.restart_order_check();
        let behind_s = (newest_ts_ms - now_ms) / 1000;
        log::warn!(
            "the clock is {behind_s} s behind the newest sample in the log; samples are taken with its time all the same"
        );
    }
}
