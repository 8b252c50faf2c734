//! The log as those see it who commit without a time, and the keeper of the clock who gives it.

use crate::wal::error::WalError;
use crate::wal::head::Wal;
use crate::wal::unstamped::waiting::Admission;
use crate::wal::write::commit::SLICE_ENTRIES;
use crate::wal::write::staged::Staged;

impl Wal {
    /// Takes a transaction without a time, if that is not known yet.
    ///
    /// # Errors
    /// [`WalError::StaleSeries`], [`WalError::Closed`].
    pub(in crate::wal) fn hold(&self, staged: &Staged) -> Result<Admission, WalError> {
        if let Some(offset_ms) = self.unstamped().offset_ms() {
            return Ok(Admission::Stamp(offset_ms));
        }
        self.keep_series(staged)?;
        let (admission, n_lost) = self.unstamped().push(staged);
        self.metrics().samples_lost_to_full_memory.add(n_lost);
        Ok(admission)
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
    pub(super) fn stamp_held(&self, offset_ms: i64) {
        while let Some(mut staged) = self.unstamped().pop_or_know(offset_ms) {
            staged.stamp(offset_ms);
            self.commit_or_count(&staged);
        }
    }

    /// Commits a transaction of the past; counts its samples if its series are gone.
    pub(super) fn commit_or_count(&self, staged: &Staged) {
        match self.commit(staged, &mut || {}) {
            // It has counted them itself.
            Ok(_) | Err(WalError::Poisoned { .. }) => {}
            Err(_) => self.metrics().samples_lost_to_writes.add(staged.n_samples() as u64),
        }
    }
}
