//! Samples of a box that does not know the time yet.
//!
//! They carry the time since the boot, behind [`EPOCH_MS`], so that no timestamp of a page is taken for one of these. They
//! wait in front of the log: in memory here, and in [`side_files`] once they have waited long. When the time is known they
//! get it, and are committed as if they came now. Readers never see them before.

pub mod side_files;

use crate::wal::error::WalError;
use crate::wal::head::Wal;
use crate::wal::write::commit::{CommitReport, SLICE_ENTRIES};
use crate::wal::write::staged::Staged;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A timestamp from here on, in milliseconds, is this and the time since the boot. No clock comes this far in 36 million
/// years, and no page may: its own timestamps are refused some minutes behind now.
pub const EPOCH_MS: i64 = 1 << 60;

/// Memory for those that wait, where the log has no memory end, in bytes.
const DEFAULT_BYTES: u64 = 4 << 20;

/// Fuller than this part, they are written to a side file though none is old.
const SPILL_PART: u64 = 2;

/// Whether a timestamp in milliseconds counts from the boot.
pub fn is_unstamped(ts_ms: i64) -> bool {
    ts_ms >= EPOCH_MS
}

/// The timestamp in milliseconds since the Unix epoch, if the boot was `offset_ms` behind that.
pub(in crate::wal) fn stamped(ts_ms: i64, offset_ms: i64) -> i64 {
    if is_unstamped(ts_ms) { (ts_ms - EPOCH_MS).saturating_add(offset_ms) } else { ts_ms }
}

/// What waits in memory.
///
/// A commit adds to it, the keeper of the clock empties it. Its lock is a leaf, held for as long as a transaction is moved.
#[derive(Debug)]
pub(in crate::wal) struct Unstamped {
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When this boot was, in milliseconds since the Unix epoch; `None` while that is not known.
    offset_ms: Option<i64>,
    /// Oldest first.
    held: VecDeque<Held>,
    n_bytes: u64,
    n_samples: u64,
}

/// A transaction that waits.
#[derive(Debug)]
struct Held {
    staged: Staged,
    since: Instant,
}

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wal) enum Admission {
    /// It waits.
    Waits(CommitReport),
    /// The boot was this many milliseconds behind the Unix epoch: it is stamped and committed.
    Stamp(i64),
}

impl Unstamped {
    /// With as much memory as the memory end of the log.
    pub(in crate::wal) fn new(memory_bytes: Option<u64>) -> Self {
        Self { max_bytes: memory_bytes.unwrap_or(DEFAULT_BYTES), state: Mutex::default() }
    }

    /// The oldest transaction; the time is known from now on if there is none.
    fn pop_or_know(&self, offset_ms: i64) -> Option<Staged> {
        let mut state = self.state.lock();
        let Some(Held { staged, .. }) = state.pop() else {
            state.offset_ms = Some(offset_ms);
            return None;
        };
        Some(staged)
    }

    /// All that waits, oldest first.
    fn take(&self) -> VecDeque<Held> {
        let mut state = self.state.lock();
        (state.n_bytes, state.n_samples) = (0, 0);
        std::mem::take(&mut state.held)
    }

    /// What was taken waits again, in front of what has come since.
    fn put_back(&self, taken: VecDeque<Held>) {
        let mut state = self.state.lock();
        for held in taken.into_iter().rev() {
            state.n_bytes += held.staged.memory_bytes();
            state.n_samples += held.staged.n_samples() as u64;
            state.held.push_front(held);
        }
    }

    fn is_spill_due(&self, max_age: Duration, now: Instant) -> bool {
        let state = self.state.lock();
        let is_old = |held: &Held| now.saturating_duration_since(held.since) >= max_age;
        state.n_bytes > self.max_bytes / SPILL_PART || state.held.front().is_some_and(is_old)
    }

    fn n_samples(&self) -> u64 {
        self.state.lock().n_samples
    }
}

impl State {
    fn pop(&mut self) -> Option<Held> {
        let held = self.held.pop_front()?;
        self.n_bytes -= held.staged.memory_bytes();
        self.n_samples -= held.staged.n_samples() as u64;
        Some(held)
    }
}

impl Wal {
    /// Takes a transaction without a time, if that is not known yet.
    ///
    /// # Errors
    /// [`WalError::StaleSeries`], [`WalError::Closed`].
    pub(in crate::wal) fn hold(&self, staged: &Staged) -> Result<Admission, WalError> {
        let known = self.unstamped().state.lock().offset_ms;
        if let Some(offset_ms) = known {
            return Ok(Admission::Stamp(offset_ms));
        }
        self.keep_series(staged)?;
        let held = Held { staged: staged.clone(), since: Instant::now() };
        let n_bytes = held.staged.memory_bytes();
        let n_histograms = held.staged.n_histograms();
        let report = CommitReport {
            appended: held.staged.n_samples(),
            out_of_order: 0,
            histograms: n_histograms,
            exemplars: held.staged.n_exemplars(),
        };
        let unstamped = self.unstamped();
        let mut state = unstamped.state.lock();
        // It may have become known meanwhile.
        if let Some(offset_ms) = state.offset_ms {
            return Ok(Admission::Stamp(offset_ms));
        }
        let mut n_lost = 0;
        while state.n_bytes + n_bytes > unstamped.max_bytes
            && let Some(oldest) = state.pop()
        {
            n_lost += oldest.staged.n_samples() as u64;
        }
        state.n_bytes += n_bytes;
        state.n_samples += held.staged.n_samples() as u64;
        state.held.push_back(held);
        drop(state);
        self.metrics().samples_lost_to_full_memory.add(n_lost);
        Ok(Admission::Waits(report))
    }

    /// No truncation forgets the series of a transaction as long as the segment stays that is written now.
    fn keep_series(&self, staged: &Staged) -> Result<(), WalError> {
        let segment = self.end().ok_or(WalError::Closed)?.segment;
        let mut handles = staged.handles().peekable();
        while handles.peek().is_some() {
            self.with_table(|table, _| {
                for handle in handles.by_ref().take(SLICE_ENTRIES) {
                    let state = table.state_mut(handle).ok_or(WalError::StaleSeries)?;
                    state.last_segment = state.last_segment.max(segment);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Commits all that waits in memory, and from now on what is staged without a time: this boot was `offset_ms` behind
    /// the Unix epoch.
    fn stamp_held(&self, offset_ms: i64) {
        while let Some(mut staged) = self.unstamped().pop_or_know(offset_ms) {
            staged.stamp(offset_ms);
            self.commit_or_count(&staged);
        }
    }

    /// Commits a transaction of the past; counts its samples if its series are gone.
    fn commit_or_count(&self, staged: &Staged) {
        match self.commit(staged, &mut || {}) {
            // It has counted them itself.
            Ok(_) | Err(WalError::Poisoned { .. }) => {}
            Err(_) => self.metrics().samples_lost_to_writes.add(staged.n_samples() as u64),
        }
    }
}
