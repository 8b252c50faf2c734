//! What waits in memory for its time, in front of the log.

use crate::wal::write::commit::CommitReport;
use crate::wal::write::staged::Staged;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Memory for those that wait, where the log has no memory end, in bytes.
const DEFAULT_BYTES: u64 = 4 << 20;

/// Fuller than this part, they are written to a side file though none is old.
const SPILL_PART: u64 = 2;

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
pub(super) struct Held {
    pub(super) staged: Staged,
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

    /// When this boot was, in milliseconds since the Unix epoch; `None` while that is not known.
    pub(super) fn offset_ms(&self) -> Option<i64> {
        self.state.lock().offset_ms
    }

    /// Takes a transaction, unless the time is known by now. Beside that, the samples that have to go for it: the oldest.
    pub(super) fn push(&self, staged: &Staged) -> (Admission, u64) {
        let report = CommitReport {
            appended: staged.n_samples(),
            out_of_order: 0,
            histograms: staged.n_histograms(),
            exemplars: staged.n_exemplars(),
        };
        let held = Held { staged: staged.clone(), since: Instant::now() };
        let n_bytes = held.staged.memory_bytes();
        let mut state = self.state.lock();
        if let Some(offset_ms) = state.offset_ms {
            return (Admission::Stamp(offset_ms), 0);
        }
        let mut n_lost = 0;
        while state.n_bytes + n_bytes > self.max_bytes
            && let Some(oldest) = state.pop()
        {
            n_lost += oldest.staged.n_samples() as u64;
        }
        state.n_bytes += n_bytes;
        state.n_samples += held.staged.n_samples() as u64;
        state.held.push_back(held);
        (Admission::Waits(report), n_lost)
    }

    /// The oldest transaction; the time is known from now on if there is none.
    pub(super) fn pop_or_know(&self, offset_ms: i64) -> Option<Staged> {
        let mut state = self.state.lock();
        let Some(Held { staged, .. }) = state.pop() else {
            state.offset_ms = Some(offset_ms);
            return None;
        };
        Some(staged)
    }

    /// All that waits, oldest first.
    pub(super) fn take(&self) -> VecDeque<Held> {
        let mut state = self.state.lock();
        (state.n_bytes, state.n_samples) = (0, 0);
        std::mem::take(&mut state.held)
    }

    /// What was taken waits again, in front of what has come since.
    pub(super) fn put_back(&self, taken: VecDeque<Held>) {
        let mut state = self.state.lock();
        for held in taken.into_iter().rev() {
            state.n_bytes += held.staged.memory_bytes();
            state.n_samples += held.staged.n_samples() as u64;
            state.held.push_front(held);
        }
    }

    pub(super) fn is_spill_due(&self, max_age: Duration, now: Instant) -> bool {
        let state = self.state.lock();
        let is_old = |held: &Held| now.saturating_duration_since(held.since) >= max_age;
        state.n_bytes > self.max_bytes / SPILL_PART || state.held.front().is_some_and(is_old)
    }

    pub(super) fn n_samples(&self) -> u64 {
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
