//! The head: series table and segment writer behind one lock, so that a commit is one critical section, and a large one
//! a few.
//!
//! **Invariant:** a label set has exactly one series record in all kept WAL, and no sample stands before its series.

use crate::disk::Disk;
use crate::metrics::page::Page;
use crate::metrics::{Collect, Counter};
use crate::series::bound::SeriesBound;
use crate::series::table::SeriesTable;
use crate::wal::appender::Appender;
use crate::wal::error::WalError;
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::position::Position;
use crate::wal::keep::durable::Durable;
use crate::wal::log_readers::Readers;
use crate::wal::memory::FlushRequest;
use crate::wal::memory::ring::Ring;
use crate::wal::metrics::WalMetrics;
use crate::wal::open::lock::DirLock;
use crate::wal::options::WalOptions;
use crate::wal::rest::rest_before_slice;
use crate::wal::unstamped::waiting::Unstamped;
use crate::wal::write::commit::CommitBuffers;
use crate::wal::write::room::Room;
use crate::wal::write::segment_writer::SegmentWriter;
use crossbeam_channel::Sender;
use parking_lot::{Mutex, MutexGuard};
use portable_atomic::{AtomicU64, Ordering};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The log's directory in the data directory, as in Prometheus' agent.
const WAL_DIR: &str = "wal";

/// Longest that the page of metrics waits for the head: many commits, and no disk that hangs.
const COLLECT_PATIENCE: Duration = Duration::from_millis(200);

/// The log and its series; cheap to clone.
#[derive(Clone, Debug)]
pub struct Wal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: WalOptions,
    wal_dir: PathBuf,
    metrics: Arc<WalMetrics>,
    /// Set once the log is open.
    found: OnceLock<Found>,
    /// Written by wal-maintenance.
    trouble: Arc<Mutex<String>>,
    /// What repairs of this start have cost, until it is complete.
    losses: Mutex<Vec<String>>,
    /// Where a commit waits for room on a full disk. Never waited for with the head lock.
    room: Room,
    series_bound: OnceLock<Arc<SeriesBound>>,
    /// Never locked while the head lock is waited for.
    readers: Readers,
    /// The same holds of this one.
    durable: Durable,
    /// The memory end of the log; `None`: there is none.
    ring: Option<Ring>,
    /// What waits for a time in front of the log.
    unstamped: Unstamped,
    /// Files of segments that were made anew, counted by the writer before it goes on in one.
    n_remade: Arc<AtomicU64>,
    /// The end of the log on the disk; `None` before the log is open, and once it is closed. A commit locks it under the head
    /// lock, unless it goes to the ring: then nothing that is locked for a commit waits for a disk.
    writer: Mutex<Option<SegmentWriter>>,
    /// The head lock. Nothing is sent on a channel that could block, fsynced or logged at length while it is held.
    head: Mutex<Head>,
}

/// What stood on the disk when the log was opened.
#[derive(Debug)]
struct Found {
    /// Most bytes of a segment.
    segment_size_bytes: u64,
    /// Oldest first.
    segments: Vec<ClosedSegment>,
    /// Number and bytes of the checkpoint.
    checkpoint: Option<(u32, u64)>,
    /// The last of the segments that the checkpoint stands for, if some of them are still there: its writer was killed. A
    /// loss of power may leave any of them.
    covered: Option<u32>,
}

#[derive(Debug)]
struct Head {
    table: SeriesTable,
    is_open: bool,
    /// What the system said when the log could not be opened; `None` once it was.
    unopened: Option<i32>,
    truncation: TruncationMark,
    commit: CommitBuffers,
    /// Samples lost since the last write that worked; `None` if that was the last one.
    poisoned: Option<u64>,
    /// What the system said when the first of them was lost.
    refusal: String,
    /// Wakes wal-maintenance: a file waits for its fsync, or the disk refused a write.
    waker: Option<Sender<()>>,
    /// Asks wal-maintenance to write what is in memory.
    flusher: Option<Sender<FlushRequest>>,
    /// These get a message after each commit; each channel has room for one, and beside it what counts those it had no room for.
    followers: Vec<(Sender<()>, Arc<Counter>)>,
    lock: Option<DirLock>,
}

/// Which segments are about to go. See `truncation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::wal) struct TruncationMark {
    /// The last of them, while a truncation runs; less than the segment being written.
    pub(in crate::wal) running: Option<u32>,
    /// The last of those that a truncation was about to remove when it was given up: the next one goes at least that
    /// far, for series whose record stood there may have been logged again behind samples of theirs.
    pub(in crate::wal) given_up: Option<u32>,
    /// The last of those whose series may be forgotten already: their refs mean nothing to a reader any more.
    pub(in crate::wal) truncated: Option<u32>,
}

impl Wal {
    /// A new appender; a worker keeps one and reuses its memory.
    pub fn appender(&self) -> Appender {
        Appender::new(self.clone())
    }

    fn wake(&self) {
        wake(&self.shared.head.lock().waker);
    }

    /// After a step of the wall clock the next sample of every series is in order whatever its timestamp.
    pub fn restart_order_check(&self) {
        self.shared.head.lock().table.restart_order_check();
    }

    /// How long a commit may be in memory alone; `None` where there is no memory end.
    pub fn memory_age(&self) -> Option<Duration> {
        self.shared.options.memory_bytes.map(|_| self.shared.options.flush_after)
    }

    /// Forgets the metadata of all series: what the log has of it is carried on into no checkpoint.
    pub fn forget_metadata(&self) {
        self.shared.head.lock().table.forget_metadata();
    }

    /// The data directory.
    pub fn path(&self) -> &Path {
        &self.shared.options.path
    }

    /// Most bytes of a segment, unless one commit is more.
    pub fn segment_size_bytes(&self) -> u64 {
        self.shared.found.get().map_or(u64::MAX, |found| found.segment_size_bytes)
    }

    /// Number of series in the table.
    pub fn active_series(&self) -> usize {
        self.shared.head.lock().table.len()
    }

    /// Fsyncs and closes; what is in memory was written by the maintenance thread. Later commits fail with
    /// [`WalError::Closed`]. The lock file is removed, so the
    /// maintenance thread must have stopped. A second call does nothing.
    ///
    /// # Errors
    /// The last fsync failed.
    pub fn close(&self) -> Result<(), WalError> {
        let lock = {
            let mut head = self.shared.head.lock();
            head.unopened = None;
            head.is_open = false;
            head.lock.take()
        };
        if let Some(ring) = &self.shared.ring {
            ring.clear();
        }
        let writer = self.shared.writer.lock().take();
        let closed = writer.map_or(Ok(()), |mut writer| writer.close());
        if let Some(lock) = lock {
            lock.release(self.disk());
        }
        closed
    }

    /// The head as wal-maintenance sees it.
    pub(in crate::wal) fn upkeep(&self) -> Upkeep<'_> {
        Upkeep { shared: &self.shared }
    }

    pub(in crate::wal) fn options(&self) -> &WalOptions {
        &self.shared.options
    }

    pub(in crate::wal) fn disk(&self) -> &dyn Disk {
        &*self.shared.options.disk
    }

    pub(in crate::wal) fn wal_dir(&self) -> &Path {
        &self.shared.wal_dir
    }

    /// Samples and histograms written since the start.
    pub fn samples_appended(&self) -> u64 {
        self.shared.metrics.float_samples_appended.get() + self.shared.metrics.histograms_appended.get()
    }

    /// The log as those see it who read it while it is written.
    pub fn reader(&self) -> LogReader {
        LogReader::new(self.clone())
    }

    /// What is known of those who read while the log is written.
    pub(in crate::wal) fn readers(&self) -> &Readers {
        &self.shared.readers
    }

    pub(in crate::wal) fn metrics(&self) -> &WalMetrics {
        &self.shared.metrics
    }

    /// What keeps the log from being written, for readiness; empty while nothing does.
    pub fn trouble(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.shared.trouble)
    }

    /// The end of the newest commit; `None` before the log is open, and once it is closed.
    pub(in crate::wal) fn end(&self) -> Option<Position> {
        let in_memory = self.shared.ring.as_ref().and_then(Ring::end);
        in_memory.or_else(|| self.shared.writer.lock().as_ref().map(SegmentWriter::end))
    }

    /// The memory end of the log.
    pub(in crate::wal) fn ring(&self) -> Option<&Ring> {
        self.shared.ring.as_ref()
    }

    /// Files of segments that were made anew since the start. Who learns this behind a commit opens the file that has it.
    pub(in crate::wal) fn n_remade(&self) -> u64 {
        self.shared.n_remade.load(Ordering::Acquire)
    }

    /// What waits for a time in front of the log.
    pub(in crate::wal) fn unstamped(&self) -> &Unstamped {
        &self.shared.unstamped
    }

    /// How far the log survives a loss of power.
    pub(in crate::wal) fn durable(&self) -> &Durable {
        &self.shared.durable
    }

    /// The segment being written on the disk so far; `None` once closed.
    pub(in crate::wal) fn current(&self) -> Option<ClosedSegment> {
        self.shared.writer.lock().as_ref().map(SegmentWriter::current)
    }

    /// Runs `work` on the table and the truncation mark under the head lock: commits wait, so it must be a slice of
    /// at most some thousand series and no I/O.
    pub(in crate::wal) fn with_table<T>(
        &self,
        work: impl FnOnce(&mut SeriesTable, &mut TruncationMark) -> T,
    ) -> T {
        let mut head = self.shared.head.lock();
        let Head { table, truncation, .. } = &mut *head;
        let done = work(table, truncation);
        // Whoever works in slices lets others in between.
        MutexGuard::unlock_fair(head);
        done
    }

    /// The same for a walk of many slices: the thread may sleep a little before each.
    pub(in crate::wal) fn with_next_slice<T>(
        &self,
        work: impl FnOnce(&mut SeriesTable, &mut TruncationMark) -> T,
    ) -> T {
        rest_before_slice();
        self.with_table(work)
    }
}

impl Collect for Wal {
    fn collect(&self, page: &mut Page) {
        // What was known before is good enough while a disk that hangs keeps the lock.
        if let Some(head) = self.shared.head.try_lock_for(COLLECT_PATIENCE) {
            self.shared.metrics.active_series.set(head.table.len() as f64);
            self.shared.metrics.series_bytes.set(head.table.memory_bytes() as f64);
        }
        self.shared.metrics.collect(page);
    }
}

/// What tests of those who commit do to a log.
#[cfg(any(test, feature = "faults"))]
impl Wal {
    /// Takes a series away as truncation does with one that had no sample for long.
    pub fn remove_series(&self, labels: &crate::labels::builder::LabelsBuilder) {
        let mut head = self.shared.head.lock();
        if let Some(lookup) = head.table.get_or_create(labels) {
            head.table.remove(lookup.handle);
        }
    }
}

fn wake(waker: &Option<Sender<()>>) {
    if let Some(waker) = waker {
        let _ = waker.try_send(());
    }
}

#[path = "lookup.rs"]
mod lookup;
#[path = "opening.rs"]
mod open;

#[path = "reader.rs"]
mod reader;
#[path = "transaction.rs"]
mod transaction;
#[path = "upkeep.rs"]
mod upkeep;

pub use reader::{LogReader, ReaderMark, ReadersKnown, SeriesView, Truncated};
pub(in crate::wal) use upkeep::Upkeep;

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
