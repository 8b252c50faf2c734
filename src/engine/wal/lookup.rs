//! The head as appenders see it before a commit: series that are found, made and taken back.

use crate::labels::builder::LabelsBuilder;
use crate::series::SeriesHandle;
use crate::series::bound::SeriesBound;
use crate::series::table::Lookup;
use crate::wal::error::WalError;
use crate::wal::head::{Head, Wal};
use parking_lot::MutexGuard;
use std::sync::Arc;

/// Series that are taken back while the head is held, at most.
const TAKE_BACK_SLICE: usize = 4096;

impl Wal {
    /// From now on no more series than this are made, but for those that have to be there.
    pub fn bound_series(&self, bound: Arc<SeriesBound>) {
        let (n_series, n_bytes) = self.with_table(|table, _| (table.len() as u64, table.counted_bytes()));
        bound.note(n_series, n_bytes);
        // It is set once, at the start.
        let _ = self.shared.series_bound.set(bound);
    }

    /// Finds or makes a series; with it comes the timestamp of its newest sample. `None`: it is new, and there are as
    /// many as there may be; never if `is_bounded` is false.
    pub(in crate::wal) fn lookup(
        &self,
        labels: &LabelsBuilder,
        is_bounded: bool,
    ) -> Result<Option<(Lookup, i64)>, WalError> {
        let mut head = self.shared.head.lock();
        let Head { table, is_open, unopened, .. } = &mut *head;
        if !*is_open && unopened.is_none() {
            return Err(WalError::Closed);
        }
        let bound = self.shared.series_bound.get().filter(|_| is_bounded);
        let has_room = bound.is_none_or(|bound| bound.admits(table.len() as u64, table.counted_bytes()));
        let found = match has_room {
            true => Some(table.get_or_create(labels).ok_or(WalError::TooManySeries)?),
            false => table.get(labels).map(|handle| Lookup { handle, created: false }),
        };
        let Some(lookup) = found else {
            let (n_series, n_bytes) = (table.len() as u64, table.counted_bytes());
            drop(head);
            if let Some(bound) = bound {
                bound.left_out(n_series, n_bytes);
            }
            return Ok(None);
        };
        let state = table.state_mut(lookup.handle).ok_or(WalError::TooManySeries)?;
        if lookup.created {
            // Truncation takes it for a series of this segment until it is written, and removes it if it never is.
            state.last_segment = self.end().unwrap_or_default().segment;
        }
        Ok(Some((lookup, state.last_ts_ms)))
    }

    /// Whether the handle is not stale.
    pub(in crate::wal) fn is_live(&self, handle: SeriesHandle) -> bool {
        self.shared.head.lock().table.state(handle).is_some()
    }

    /// Removes those series that no one has logged.
    pub(in crate::wal) fn take_back(&self, created: &[SeriesHandle]) {
        // A page that is refused at its end may have made a million.
        for slice in created.chunks(TAKE_BACK_SLICE) {
            let mut head = self.shared.head.lock();
            for handle in slice {
                if head.table.state(*handle).is_some_and(|state| state.logged == 0) {
                    head.table.remove(*handle);
                }
            }
            MutexGuard::unlock_fair(head);
        }
    }
}
