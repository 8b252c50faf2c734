//! What wal-maintenance does for the memory end of the log: lets go what is settled, writes what has waited too long.

use super::Maintenance;
use crate::disk::is_full;
use crate::wal::error::WalError;
use crate::wal::keep::flush;
use crate::wal::keep::truncate_series::SeriesTruncation;
use crate::wal::memory::FlushRequest;
use crate::wal::memory::ring::Ring;
use std::time::{Duration, Instant};

/// Time between two looks at series that nothing in memory speaks of any more.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

impl Maintenance {
    /// Somebody wants what is in memory to be on the disk.
    pub(super) fn answer(&mut self, request: Option<FlushRequest>) {
        let Some(FlushRequest { done }) = request else { return };
        // It has room for the one message, and who asked may be gone.
        let _ = done.send(self.write_memory());
    }

    /// What becomes of new samples while the disk takes none.
    pub(super) fn fate_of_new_samples(&self) -> &'static str {
        let has_readers = self.wal.readers().settled().is_some();
        match self.wal.ring().is_some_and(|ring| has_readers || !ring.is_empty()) {
            true => "new samples stay in memory, from where the oldest go when it is full,",
            false => "new samples are lost and counted",
        }
    }

    /// Lets go of memory what is settled, or on the disk for good.
    pub(super) fn free_memory(&self) {
        let Some(ring) = self.wal.ring() else { return };
        ring.free(self.wal.readers().settled(), |position| self.wal.durable().reaches(position));
        self.wal.metrics().memory_bytes.set(ring.bytes() as f64);
    }

    /// Writes what is in memory if it is old, if there is little room left, or if there is no reader to wait for.
    pub(super) fn write_memory_if_due(&mut self, now: Instant) -> Result<(), WalError> {
        let Some(ring) = self.wal.ring().filter(|ring| !ring.is_empty()) else { return Ok(()) };
        let settled = self.wal.readers().settled();
        if settled.is_some() && !ring.is_due(settled, self.wal.options().flush_after, now) {
            return Ok(());
        }
        self.write_memory()?;
        if settled.is_none()
            && let Some(ring) = self.wal.ring()
        {
            ring.leave(self.wal.upkeep().disk_end()?);
        }
        Ok(())
    }

    /// Writes what is in memory and not settled, and makes it durable; where the disk is full, the oldest segments go.
    ///
    /// # Errors
    /// The disk refused; what was not written is in memory.
    pub fn write_memory(&mut self) -> Result<(), WalError> {
        let mut written = flush::write_unsettled(&self.wal, &mut self.closed);
        if written.as_ref().is_err_and(|error| error.cause().is_some_and(is_full)) && self.make_room() {
            written = flush::write_unsettled(&self.wal, &mut self.closed);
        }
        self.take_rotated();
        let synced = self.sync_current();
        self.free_memory();
        written.and(synced)
    }

    /// Forgets series without samples in what is kept, where segments have left the memory unwritten.
    pub(super) fn forget_series(&mut self, now: Instant) {
        let Some(skipped) = self.wal.ring().and_then(Ring::skipped) else { return };
        let is_settled = self.wal.readers().settled().is_some_and(|settled| settled.segment > skipped);
        let is_due = self.last_forget.is_none_or(|(last, up_to)| {
            up_to < skipped && now.saturating_duration_since(last) >= FORGET_INTERVAL
        });
        if is_settled && is_due {
            self.last_forget = Some((now, skipped));
            SeriesTruncation::begin(&self.wal, skipped).finish();
        }
    }
}
