//! The head as a commit sees it: a transaction is written in slices, and others come in between.
//!
//! An ordinary one is a single slice. Each slice is whole: series records, then what speaks of them. What a large
//! transaction speaks of is pinned meanwhile, so that no handle gets stale half-way.

use crate::disk::is_full;
use crate::series::SeriesHandle;
use crate::series::table::SeriesTable;
use crate::wal::error::WalError;
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::head::{Head, Wal, wake};
use crate::wal::memory::ring::Ring;
use crate::wal::write::commit::CommitReport;
use crate::wal::write::commit::{Refused, SLICE_ENTRIES};
use crate::wal::write::log_end::LogEnd;
use crate::wal::write::staged::{Progress, Staged};
use crossbeam_channel::TrySendError;
use parking_lot::MutexGuard;
use std::io;

impl Wal {
    /// Writes a transaction; `between` is called between two slices, without the lock. If the disk is full,
    /// wal-maintenance is asked for room first: the oldest segments go before new samples do.
    pub(in crate::wal) fn commit(
        &self,
        staged: &Staged,
        between: &mut dyn FnMut(),
    ) -> Result<CommitReport, WalError> {
        let mut pins = Pins { wal: self, staged, n_pinned: 0 };
        if staged.n_entries() > SLICE_ENTRIES {
            pins.take()?;
        }
        let mut progress = Progress::default();
        let mut report = CommitReport::default();
        let mut has_asked = false;
        loop {
            match self.commit_slice(&mut pins, &mut progress)? {
                Ok(slice) => {
                    report.add(slice);
                    if progress.n_entries() >= staged.n_entries() {
                        return Ok(report);
                    }
                    between();
                }
                Err(Refused { cause, .. }) if is_full(&cause) && self.has_made_room(&mut has_asked) => {}
                Err(Refused { samples, cause }) => {
                    let is_first = self.note_refused(samples as u64, &cause);
                    let error = WalError::Poisoned { cause };
                    if is_first {
                        log::error!("{error}");
                    }
                    return Err(error);
                }
            }
        }
    }

    fn commit_slice(
        &self,
        pins: &mut Pins<'_>,
        progress: &mut Progress,
    ) -> Result<Result<CommitReport, Refused>, WalError> {
        let metrics = &self.shared.metrics;
        let staged = pins.staged;
        let mut guard = self.shared.head.lock();
        let head = &mut *guard;
        let Head { table, is_open, unopened, truncation, commit, poisoned, waker, .. } = head;
        if let Some(errno) = *unopened {
            let cause = io::Error::from_raw_os_error(errno);
            return Ok(Err(Refused { samples: staged.n_samples(), cause }));
        }
        if !*is_open {
            return Err(WalError::Closed);
        }
        // Pinned ones only get stale all at once: where the log was opened since, there is another table.
        let n_to_check = if pins.n_pinned == 0 { usize::MAX } else { 1 };
        if staged.handles().take(n_to_check).any(|handle| table.state(handle).is_none()) {
            return Err(WalError::StaleSeries);
        }
        let mut writer = None;
        let mut end = match self.ring_for_commits() {
            Some(ring) => {
                let now = (self.options().now)();
                LogEnd::in_memory(ring, self.segment_size_bytes(), now)
            }
            None => {
                let writer = writer.insert(self.shared.writer.lock());
                LogEnd::Disk(writer.as_mut().ok_or(WalError::Closed)?)
            }
        };
        let segment_before = end.number();
        let committed = commit.commit(table, &mut end, truncation.running, staged, progress);
        if end.needs_upkeep(segment_before) {
            wake(waker);
        }
        drop(writer);
        let Ok(report) = &committed else { return Ok(committed) };
        metrics.float_samples_appended.add((report.appended - report.histograms) as u64);
        metrics.histograms_appended.add(report.histograms as u64);
        metrics.exemplars_appended.add(report.exemplars as u64);
        metrics.out_of_order_samples.add(report.out_of_order as u64);
        let recovered = if report.appended > 0 { poisoned.take() } else { None };
        if recovered.is_some() {
            wake(waker);
        }
        let is_done = progress.n_entries() >= staged.n_entries();
        if !is_done && pins.n_pinned == 0 {
            // It is long by its bytes.
            pins.take_all(table);
        }
        head.followers.retain(|(follower, skipped)| match follower.try_send(()) {
            Ok(()) => true,
            Err(TrySendError::Full(())) => {
                skipped.inc();
                true
            }
            Err(TrySendError::Disconnected(())) => false,
        });
        let (n_series, n_bytes) = (head.table.len() as u64, head.table.counted_bytes());
        if is_done {
            drop(guard);
        } else {
            // Who waits gets it now, not this thread again.
            MutexGuard::unlock_fair(guard);
        }
        if let Some(bound) = self.shared.series_bound.get() {
            bound.note(n_series, n_bytes);
        }
        if let Some(samples) = recovered {
            metrics.poisoned.set(0.0);
            log::info!("the write-ahead log is written again; {samples} samples were lost meanwhile");
        }
        Ok(committed)
    }

    /// The memory end of the log, while there is somebody to read from it or something in it.
    fn ring_for_commits(&self) -> Option<&Ring> {
        let ring = self.shared.ring.as_ref()?;
        if ring.is_empty() {
            self.readers().settled()?;
            ring.begin(self.current()?);
        }
        Some(ring)
    }

    /// True if it is worth trying to commit again. The oldest segments go before new samples do: those on the disk first,
    /// and where that does not help, those in memory.
    fn has_made_room(&self, has_asked: &mut bool) -> bool {
        if !std::mem::replace(has_asked, true) && self.shared.room.ask(|| self.wake()) {
            return true;
        }
        let note = |segment: &ClosedSegment| self.readers().note_hollow(segment);
        let ring = self.shared.ring.as_ref();
        let Some(segment) = ring.and_then(|ring| ring.drop_oldest(note)) else { return false };
        self.shared.metrics.samples_lost_to_full_memory.add(segment.samples);
        log::warn!(
            "the memory for the write-ahead log is full and the disk does not take it: the oldest samples in memory are \
             dropped; raise storage.agent.memory-first or mend the disk to keep them"
        );
        true
    }

    /// Remembers lost samples; true if the write before worked.
    fn note_refused(&self, samples: u64, cause: &io::Error) -> bool {
        self.shared.metrics.samples_lost_to_writes.add(samples);
        self.shared.metrics.poisoned.set(1.0);
        let mut head = self.shared.head.lock();
        let lost_before = head.poisoned;
        head.poisoned = Some(lost_before.unwrap_or(0) + samples);
        if lost_before.is_none() {
            head.refusal = cause.to_string();
        }
        wake(&head.waker);
        lost_before.is_none()
    }
}

/// The series of a large transaction, which stay until this is dropped.
struct Pins<'a> {
    wal: &'a Wal,
    staged: &'a Staged,
    /// Of the transaction's handles, from the first on.
    n_pinned: usize,
}

impl Pins<'_> {
    /// Pins all series, in slices.
    fn take(&mut self) -> Result<(), WalError> {
        let staged = self.staged;
        let mut handles = staged.handles().peekable();
        while handles.peek().is_some() {
            let mut head = self.wal.shared.head.lock();
            for handle in handles.by_ref().take(SLICE_ENTRIES) {
                if !head.table.pin(handle) {
                    return Err(WalError::StaleSeries);
                }
                self.n_pinned += 1;
            }
            MutexGuard::unlock_fair(head);
        }
        Ok(())
    }

    /// Pins all series, none of which is stale and which are few.
    fn take_all(&mut self, table: &mut SeriesTable) {
        self.n_pinned += self.staged.handles().filter(|handle: &SeriesHandle| table.pin(*handle)).count();
    }
}

impl Drop for Pins<'_> {
    fn drop(&mut self) {
        let mut handles = self.staged.handles().take(self.n_pinned).peekable();
        while handles.peek().is_some() {
            let mut head = self.wal.shared.head.lock();
            handles.by_ref().take(SLICE_ENTRIES).for_each(|handle| head.table.unpin(handle));
            MutexGuard::unlock_fair(head);
        }
    }
}

#[cfg(test)]
#[path = "transaction_tests.rs"]
mod tests;
