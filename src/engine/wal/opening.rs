//! How a log is opened: locked, repaired, replayed, and a new segment begun; and what it is before that worked.
//!
//! A disk that is full, read-only or away when the daemon starts is an ordinary day on an edge box. Until the log can be
//! opened, series live in a table of their own and commits are refused and counted, as on a disk that fails later.
//! Opening is tried from the start each time; its table takes the place of the other, whose handles are stale by then.
//!
//! With memory for the newest part of the log, one that can be read is opened all the same: what stands there is read and
//! sent, commits go to memory behind it, and wal-maintenance makes the file for them when the disk takes it.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;

use crate::data_dir;
use crate::disk::overlay::OverlayDisk;
use crate::disk::{Disk, is_full};
use crate::metrics::Labelled;
use crate::series::table::SeriesTable;
use crate::wal::error::WalError;
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::segment;
use crate::wal::head::{Found, Head, Shared, TruncationMark, WAL_DIR, Wal};
use crate::wal::keep::checkpoint;
use crate::wal::keep::durable::Durable;
use crate::wal::keep::reserve;
use crate::wal::keep::reserve::Reserve;
use crate::wal::keep::returned;
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
            n_remade: Arc::default(),
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
        let disk = &self.shared.options.disk;
        let opened = match self.try_to_open(disk, progress) {
            // What is set aside for a checkpoint is spent on the files that a start needs.
            Err(error)
                if error.cause().is_some_and(is_full)
                    && Reserve::in_dir(self.disk(), self.path(), u64::MAX).release(self.disk()) =>
            {
                self.try_to_open(disk, progress)
            }
            opened => opened,
        };
        let opened = match opened {
            Err(error) if error.may_pass() && self.is_there_to_read() => {
                self.read_what_is_there(progress).map_err(|_| error)
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

    /// Whether a disk that takes nothing has a log to go on behind in memory. Without its directory it may be that the
    /// disk is not mounted yet.
    fn is_there_to_read(&self) -> bool {
        self.shared.ring.is_some() && self.disk().is_dir(self.wal_dir())
    }

    /// Opens a log on a disk that takes nothing, with its repairs in memory. The file of the new segment is made by
    /// wal-maintenance when the disk takes it, and so are the repairs: of torn ends, and no others.
    fn read_what_is_there(
        &self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Found, Replayed, SegmentWriter), WalError> {
        let disk = &self.shared.options.disk;
        let overlay: Arc<dyn Disk> = Arc::new(OverlayDisk::over(Arc::clone(disk)));
        let (found, replayed, mut writer) = self.try_to_open(&overlay, progress)?;
        let there = segment::list(&**disk, self.wal_dir())?;
        let is_there = |known: &ClosedSegment| {
            there.iter().any(|file| returned::is_known(&**disk, known, file).unwrap_or(false))
        };
        let is_as_read = there.len() == found.segments.len() && found.segments.iter().all(is_there);
        let has_checkpoint = found
            .checkpoint
            .is_none_or(|(number, _)| disk.is_dir(&checkpoint::checkpoint_path(self.wal_dir(), number)));
        if !is_as_read || !has_checkpoint {
            return Err(WalError::io("repair", self.wal_dir())(
                std::io::ErrorKind::ReadOnlyFilesystem.into(),
            ));
        }
        writer.wait_for(Arc::clone(disk));
        Ok((found, replayed, writer))
    }

    fn try_to_open(
        &self,
        disk: &Arc<dyn Disk>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Found, Replayed, SegmentWriter), WalError> {
        let Shared { metrics, wal_dir, .. } = &*self.shared;
        let options = &WalOptions { disk: Arc::clone(disk), ..self.shared.options.clone() };
        data_dir::create_dirs(&**disk, &options.path)
            .map_err(WalError::io("create data directory", &options.path))?;
        self.lock(&**disk)?;
        version::take_over(&**disk, &options.path)?;
        let segment_size_bytes =
            options.segment_size_bytes.unwrap_or_else(|| reserve::segment_size_bytes(&**disk, &options.path));
        let replay_start = Instant::now();
        let replayed = replay::replay(options, segment_size_bytes, &mut self.shared.losses.lock(), progress)?;
        metrics.replay_duration.set(replay_start.elapsed().as_secs_f64());
        let writer = SegmentWriter::create(
            Arc::clone(disk),
            wal_dir,
            replayed.next_segment,
            segment_size_bytes,
            Arc::clone(&self.shared.n_remade),
            Arc::clone(metrics),
        )?;
        data_dir::tighten(&options.path);
        let found = Found {
            segment_size_bytes,
            segments: replayed.segments.clone(),
            checkpoint: replayed.checkpoint,
            covered: replayed.checkpoint.filter(|_| !replayed.covered.is_empty()).map(|(last, _)| last),
        };
        Ok((found, replayed, writer))
    }

    fn lock(&self, disk: &dyn Disk) -> Result<(), WalError> {
        if !self.shared.options.lock_file {
            return Ok(());
        }
        let is_held = self.shared.head.lock().lock.as_ref().is_some_and(|lock| lock.is_in_place(disk));
        if !is_held {
            let lock = DirLock::acquire(disk, self.path())?;
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
        if refused.is_some() {
            writer.set_lost(refused);
        }
        head.table = table;
        head.truncation.truncated = truncated;
        head.is_open = true;
        *self.shared.writer.lock() = Some(writer);
        summary
    }
}
