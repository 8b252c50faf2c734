//! How a log is opened: locked, repaired, replayed, and a new segment begun; and what it is before that worked.
//!
//! A disk that is full, read-only or away when the daemon starts is an ordinary day on an edge box. Until the log can be
//! opened, series live in a table of their own and commits are refused and counted, as on a disk that fails later.
//! Opening is tried from the start each time; its table takes the place of the other, whose handles are stale by then.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;

use crate::data_dir;
use crate::disk::is_full;
use crate::metrics::Labelled;
use crate::series::table::SeriesTable;
use crate::wal::error::WalError;
use crate::wal::head::{Found, Head, Shared, TruncationMark, WAL_DIR, Wal};
use crate::wal::keep::durable::Durable;
use crate::wal::keep::reserve;
use crate::wal::keep::reserve::Reserve;
use crate::wal::log_readers::Readers;
use crate::wal::memory::ring::Ring;
use crate::wal::metrics::WalMetrics;
use crate::wal::open::lock::{CleanStart, DirLock};
use crate::wal::open::replay;
use crate::wal::open::replay::Replayed;
use crate::wal::open::replay_summary::ReplaySummary;
use crate::wal::open::version;
use crate::wal::options::WalOptions;
use crate::wal::unstamped::waiting::Unstamped;
use crate::wal::write::commit::CommitBuffers;
use crate::wal::write::room::Room;
use crate::wal::write::segment_writer::SegmentWriter;

/// [`Head::unopened`] before it was tried.
const NOT_TRIED: i32 = libc::EAGAIN;

impl Wal {
    /// A log that is not open yet: whatever is committed is refused and counted.
    pub fn unopened(options: WalOptions) -> Wal {
        let metrics = WalMetrics {
            record_bytes_saved: Labelled::new("compression", options.compression.name()),
            ..WalMetrics::default()
        };
        metrics.clean_start.set(CleanStart::LockFileDisabled.gauge_value());
        let head = Head {
            table: SeriesTable::provisional(),
            is_open: false,
            unopened: Some(NOT_TRIED),
            truncation: TruncationMark::default(),
            commit: CommitBuffers::new(options.compression),
            poisoned: None,
            refusal: String::new(),
            waker: None,
            flusher: None,
            followers: Vec::new(),
            lock: None,
        };
        let shared = Shared {
            wal_dir: options.path.join(WAL_DIR),
            metrics: Arc::new(metrics),
            found: OnceLock::new(),
            trouble: Arc::default(),
            losses: Mutex::default(),
            room: Room::default(),
            series_bound: OnceLock::new(),
            readers: Readers::default(),
            durable: Durable::default(),
            ring: options.memory_bytes.map(Ring::new),
            unstamped: Unstamped::new(options.memory_bytes),
            writer: Mutex::default(),
            head: Mutex::new(head),
            options,
        };
        Wal { shared: Arc::new(shared) }
    }

    /// [`Wal::unopened`] and [`Wal::take_up`].
    ///
    /// # Errors
    /// As [`Wal::take_up`].
    pub fn open(
        options: WalOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Wal, ReplaySummary), WalError> {
        let wal = Wal::unopened(options);
        let summary = wal.take_up(progress)?;
        Ok((wal, summary))
    }

    /// Locks the data directory, replays what is there, repairs it and opens a new segment; after an error it may be
    /// tried again. If it was, commits are refused until wal-maintenance has looked at the log: until all readers know
    /// where they begin.
    ///
    /// `progress` is called with (segments read, segments in all).
    ///
    /// # Errors
    /// The directory is locked, cannot be made, read or written. See [`WalError::may_pass`].
    pub fn take_up(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<ReplaySummary, WalError> {
        let opened = match self.try_to_open(progress) {
            // What is set aside for a checkpoint is spent on the files that a start needs.
            Err(error)
                if error.cause().is_some_and(is_full)
                    && Reserve::in_dir(self.disk(), self.path(), u64::MAX).release(self.disk()) =>
            {
                self.try_to_open(progress)
            }
            opened => opened,
        };
        match opened {
            Ok((found, replayed, writer)) => Ok(self.install(found, replayed, writer)),
            Err(error) => {
                let errno = error.cause().and_then(std::io::Error::raw_os_error).unwrap_or(libc::EBUSY);
                self.shared.head.lock().unopened = Some(errno);
                Err(error)
            }
        }
    }

    /// What keeps the log from being opened, for readiness and metrics, until wal-maintenance says more.
    pub fn note_trouble(&self, sentence: &str) {
        self.shared.metrics.unusable.set(1.0);
        sentence.clone_into(&mut self.shared.trouble.lock());
    }

    fn try_to_open(
        &self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Found, Replayed, SegmentWriter), WalError> {
        let Shared { options, metrics, wal_dir, .. } = &*self.shared;
        let disk = &*options.disk;
        data_dir::create_dirs(disk, &options.path)
            .map_err(WalError::io("create data directory", &options.path))?;
        self.lock()?;
        version::take_over(disk, &options.path)?;
        let segment_size_bytes =
            options.segment_size_bytes.unwrap_or_else(|| reserve::segment_size_bytes(disk, &options.path));
        let replay_start = Instant::now();
        let replayed = replay::replay(options, segment_size_bytes, &mut self.shared.losses.lock(), progress)?;
        metrics.replay_duration.set(replay_start.elapsed().as_secs_f64());
        let (shared_disk, metrics) = (Arc::clone(&options.disk), Arc::clone(metrics));
        let writer =
            SegmentWriter::create(shared_disk, wal_dir, replayed.next_segment, segment_size_bytes, metrics)?;
        data_dir::tighten(&options.path);
        let found = Found {
            segment_size_bytes,
            segments: replayed.segments.clone(),
            checkpoint: replayed.checkpoint,
            covered: replayed.checkpoint.filter(|_| !replayed.covered.is_empty()).map(|(last, _)| last),
        };
        Ok((found, replayed, writer))
    }

    fn lock(&self) -> Result<(), WalError> {
        if !self.shared.options.lock_file {
            return Ok(());
        }
        let is_held = self.shared.head.lock().lock.as_ref().is_some_and(|lock| lock.is_in_place(self.disk()));
        if !is_held {
            let lock = DirLock::acquire(self.disk(), self.path())?;
            self.shared.metrics.clean_start.set(lock.clean_start().gauge_value());
            let is_unclean = lock.clean_start() == CleanStart::LockFileReplaced;
            self.shared.metrics.prev_shutdown_unclean.set(f64::from(u8::from(is_unclean)));
            self.shared.head.lock().lock = Some(lock);
        }
        Ok(())
    }

    fn install(&self, found: Found, replayed: Replayed, mut writer: SegmentWriter) -> ReplaySummary {
        let Replayed { table, covered, mut summary, .. } = replayed;
        summary.losses = std::mem::take(&mut *self.shared.losses.lock());
        let metrics = &self.shared.metrics;
        metrics.corruptions.add(summary.losses.len() as u64);
        metrics.reader_corruptions.add(summary.losses.len() as u64);
        for (record_type, n_records) in &summary.skipped_records {
            metrics.records_skipped.with(&[record_type]).add(*n_records);
        }
        self.readers().note_covered(&covered);
        let truncated = found.covered;
        // It is opened once, by its only owner.
        let _ = self.shared.found.set(found);
        let mut head = self.shared.head.lock();
        let refused = head.unopened.take().filter(|errno| *errno != NOT_TRIED);
        writer.set_lost(refused);
        head.table = table;
        head.truncation.truncated = truncated;
        head.is_open = true;
        *self.shared.writer.lock() = Some(writer);
        summary
    }
}
