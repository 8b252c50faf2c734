//! The table's side of a truncation: which series go into the checkpoint, and which are forgotten.
//!
//! Runs in the wal-maintenance thread while scrapes commit: the head lock is only held for a slice of the table at a
//! time. The mark that is set meanwhile makes a commit log a series again whose record is about to go. Knows nothing of
//! when a truncation is due, and deletes no file.

use crate::mutant::{self, Mutant};
use crate::series::table::SeriesState;
use crate::series::table::compaction::{Compacted, Compaction};
use crate::series::{SeriesHandle, SeriesRef};
use crate::wal::error::WalError;
use crate::wal::format::record::metadata::{MetadataEncoder, MetadataEntry};
use crate::wal::format::record::series::SeriesEncoder;
use crate::wal::head::{TruncationMark, Wal};
use crate::wal::memory::ring::Ring;
use crate::wal::write::bulk_writer::BulkWriter;

/// Series looked at under one hold of the head lock: some tenths of a millisecond.
pub(in crate::wal::keep) const SLICE_SERIES: usize = 4096;

/// A truncation of the segments up to one number, which has to be less than the segment being written.
///
/// In order: [`SeriesTruncation::write_series`] into a checkpoint, which the caller makes durable;
/// [`SeriesTruncation::finish`]; then the caller deletes segments. It may be dropped instead of finished as long as no
/// reader finds the checkpoint: then the series that returned meanwhile have two records until a later truncation or
/// the next start, and what Prometheus forgets of them is what was to go.
#[derive(Debug)]
pub struct SeriesTruncation<'a> {
    wal: &'a Wal,
    last: u32,
}

impl<'a> SeriesTruncation<'a> {
    /// Sets the mark: segments up to `last` are about to go, or some more if an earlier truncation was given up that
    /// went further; see [`SeriesTruncation::last`].
    pub fn begin(wal: &'a Wal, last: u32) -> Self {
        let last = wal.with_table(|_, mark| {
            let last = mark.given_up.map_or(last, |given_up| given_up.max(last));
            mark.running = Some(last);
            last
        });
        Self { wal, last }
    }

    /// The last segment that goes; the checkpoint has this number.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Writes the series that have samples in kept segments and their record only in what goes; returns their number.
    ///
    /// # Errors
    /// The disk refused: the checkpoint is of no use, the truncation is to be dropped.
    pub fn write_series(&self, out: &mut BulkWriter<'_>) -> Result<u64, WalError> {
        self.write_series_to(|record| out.append(record))
    }

    /// As [`SeriesTruncation::write_series`], into any writer of records.
    ///
    /// # Errors
    /// Those of `append`.
    pub fn write_series_to(
        &self,
        append: impl FnMut(&[u8]) -> Result<(), WalError>,
    ) -> Result<u64, WalError> {
        write_series(self.wal, |_, state| self.needs_checkpoint(state), append)
    }

    /// Forgets the series without samples in kept segments and clears the mark; returns their number. The checkpoint
    /// must be durable: from now on the refs may be given to other label sets.
    pub fn finish(self) -> u64 {
        let mut n_removed = 0;
        let mut after = None;
        loop {
            after = self.wal.with_next_slice(|table, mark| {
                mark.truncated = mark.truncated.max(Some(self.last));
                let slice = table.slice(after, SLICE_SERIES);
                for (handle, state) in &slice {
                    // This holds for series that were never logged, too: none has been written for that long.
                    if state.last_segment <= self.last {
                        if table.remove(*handle) {
                            n_removed += 1;
                        } else if let Some(state) = table.state_mut(*handle) {
                            // A transaction that is being written has samples of it, and logs it again.
                            state.logged = 0;
                        }
                    } else if self.needs_checkpoint(state)
                        && let Some(state) = table.state_mut(*handle)
                    {
                        // The checkpoint counts as the segment whose number it has. Not said before it is durable:
                        // if it fails, the next truncation may be a smaller one.
                        state.logged = self.last.saturating_add(1);
                    }
                }
                last_of_full(&slice)
            });
            if after.is_none() {
                break;
            }
        }
        self.wal.with_table(|_, mark| {
            *mark = TruncationMark { truncated: mark.truncated, ..TruncationMark::default() };
        });
        let mut compaction = Compaction::default();
        while !matches!(
            self.wal.with_next_slice(|table, _| table.compact_slice(&mut compaction)),
            Compacted::All
        ) {}
        n_removed
    }

    fn needs_checkpoint(&self, state: &SeriesState) -> bool {
        state.logged != 0 && state.logged <= self.last.saturating_add(1) && state.last_segment > self.last
    }
}

impl Drop for SeriesTruncation<'_> {
    fn drop(&mut self) {
        self.wal.with_table(|_, mark| {
            if let Some(last) = mark.running.take() {
                mark.given_up = Some(last);
            }
        });
    }
}

/// Gives back memory of labels that are gone, if it is worth it: after a truncation, and after pages with many new series
/// that were refused.
pub(in crate::wal) fn compact_symbols(wal: &Wal) {
    let mut compaction = Compaction::default();
    while !matches!(wal.with_next_slice(|table, _| table.compact_slice(&mut compaction)), Compacted::All) {}
}

/// Writes the records of those series that `is_wanted` says, with their metadata; returns their number. There is a record
/// in any case: a file without any would look like a damaged one.
///
/// # Errors
/// Those of `append`.
pub(in crate::wal) fn write_series(
    wal: &Wal,
    is_wanted: impl Fn(SeriesRef, &SeriesState) -> bool,
    mut append: impl FnMut(&[u8]) -> Result<(), WalError>,
) -> Result<u64, WalError> {
    let mut n_series = 0;
    let mut record = Vec::new();
    let mut metadata_record = Vec::new();
    let mut after = None;
    loop {
        record.clear();
        let mut encoder = SeriesEncoder::start(&mut record);
        metadata_record.clear();
        let mut metadata_encoder = None;
        let n_before = n_series;
        after = wal.with_next_slice(|table, _| {
            let slice = table.slice(after, SLICE_SERIES);
            for (handle, state) in &slice {
                let is_left_out = mutant::is_on(Mutant::CheckpointWithoutSeries) && n_series == 1;
                if !is_wanted(handle.series_ref, state) || is_left_out {
                    n_series += u64::from(is_wanted(handle.series_ref, state));
                    continue;
                }
                let labels = table.label_pairs(handle.series_ref).into_iter().flatten();
                encoder.push(&mut record, u64::from(handle.series_ref.0.get()), labels);
                n_series += 1;
                let Some((metric_type, unit, help)) = table.metadata(handle.series_ref) else { continue };
                let out = &mut metadata_record;
                let encoder = metadata_encoder.get_or_insert_with(|| MetadataEncoder::start(out));
                let series_ref = u64::from(handle.series_ref.0.get());
                encoder.push(out, &MetadataEntry { series_ref, metric_type, unit, help });
            }
            last_of_full(&slice)
        });
        // The last record may be empty: a checkpoint without any would look like a damaged one.
        if n_series > n_before || (after.is_none() && n_series == 0) {
            append(&record)?;
        }
        if metadata_encoder.is_some() {
            append(&metadata_record)?;
        }
        if after.is_none() {
            return Ok(n_series);
        }
    }
}

/// The records of these series stand in checkpoint `number` now, and all segments up to it are gone. No series is
/// forgotten: what readers have in memory is still sent.
pub(in crate::wal) fn move_to_checkpoint(wal: &Wal, number: u32) {
    let logged = number.saturating_add(1);
    // What is in memory of them is still read.
    let in_memory = wal.ring().and_then(Ring::first_number);
    let gone = in_memory.map_or(Some(number), |first| first.checked_sub(1).map(|before| before.min(number)));
    let mut after = None;
    loop {
        after = wal.with_next_slice(|table, mark| {
            *mark = TruncationMark { truncated: mark.truncated.max(gone), ..TruncationMark::default() };
            let slice = table.slice(after, SLICE_SERIES);
            for (handle, state) in &slice {
                if state.logged != 0
                    && state.logged < logged
                    && let Some(state) = table.state_mut(*handle)
                {
                    state.logged = logged;
                }
            }
            last_of_full(&slice)
        });
        if after.is_none() {
            return;
        }
    }
}

/// Where the next slice goes on; `None` after the last one.
pub(in crate::wal::keep) fn last_of_full(slice: &[(SeriesHandle, SeriesState)]) -> Option<SeriesRef> {
    if slice.len() < SLICE_SERIES { None } else { slice.last().map(|(handle, _)| handle.series_ref) }
}

#[cfg(test)]
#[path = "truncate_series_tests.rs"]
mod tests;
