//! One commit: check the handles and the order, encode, write, remember; or leave everything as it was.
//!
//! Runs in a scrape worker under the head lock. Knows the table and the writer, not who calls.

use crate::series::SeriesHandle;
use crate::series::table::{SeriesState, SeriesTable};
use crate::wal::appender::{CommitReport, StagedSample};
use crate::wal::batch::{RecordBatch, shrink};
use crate::wal::error::WalError;
use crate::wal::head::Compression;
use crate::wal::record::{Sample, SamplesEncoder, SeriesEncoder};
use crate::wal::writer::{BatchSamples, SegmentWriter};
use std::io;

/// A record is closed and the next one begun at this size in bytes: readers unfold a record as a whole.
const RECORD_BYTES: usize = 1024 * 1024;

/// Kept samples the buffers have room for between commits.
const KEPT_SAMPLES: usize = 16 * 1024;

/// What a commit needs to take itself back or to mark the series it wrote, and the buffers it encodes in.
#[derive(Debug)]
pub(in crate::wal) struct CommitBuffers {
    batch: RecordBatch,
    series_record: Vec<u8>,
    samples_record: Vec<u8>,
    kept: Vec<KeptSample>,
    logged: Vec<LoggedSeries>,
}

#[derive(Clone, Copy, Debug)]
struct KeptSample {
    handle: SeriesHandle,
    last_ts_ms_before: i64,
}

#[derive(Clone, Copy, Debug)]
struct LoggedSeries {
    handle: SeriesHandle,
    logged_before: u32,
}

/// Why nothing was written.
#[derive(Debug)]
pub(in crate::wal) enum CommitError {
    /// A handle in the transaction is stale.
    StaleSeries,
    /// The disk refused this many samples.
    Refused { samples: usize, cause: io::Error },
}

impl From<CommitError> for WalError {
    fn from(error: CommitError) -> WalError {
        match error {
            CommitError::StaleSeries => WalError::StaleSeries,
            CommitError::Refused { cause, .. } => WalError::Poisoned { cause },
        }
    }
}

impl CommitBuffers {
    pub(in crate::wal) fn new(compression: Compression) -> Self {
        Self {
            batch: RecordBatch::new(compression),
            series_record: Vec::new(),
            samples_record: Vec::new(),
            kept: Vec::new(),
            logged: Vec::new(),
        }
    }

    /// Writes `staged` in one append. While the log is truncated up to segment `truncating`, series whose record and
    /// samples are all in what goes are logged anew.
    pub(in crate::wal) fn commit(
        &mut self,
        table: &mut SeriesTable,
        writer: &mut SegmentWriter,
        truncating: Option<u32>,
        staged: &[StagedSample],
    ) -> Result<CommitReport, CommitError> {
        if staged.iter().any(|sample| table.state(sample.handle).is_none()) {
            return Err(CommitError::StaleSeries);
        }
        if !self.kept.is_empty() {
            // An earlier commit panicked half-way: what it marked was never written.
            self.take_back(table);
            self.clear();
        }
        let holds = self.encode(table, truncating, staged);
        let appended = self.kept.len();
        let report = CommitReport { appended, out_of_order: staged.len() - appended };
        if appended == 0 {
            return Ok(report);
        }
        let written = writer.append(&self.batch, holds);
        match &written {
            Ok(segment) => self.mark_written(table, *segment),
            Err(_) => self.take_back(table),
        }
        self.clear();
        match written {
            Ok(_) => Ok(report),
            Err(cause) => Err(CommitError::Refused { samples: appended, cause }),
        }
    }

    /// Series records stand before the samples of their series; a scrape of ordinary size is one record of each.
    fn encode(
        &mut self,
        table: &mut SeriesTable,
        truncating: Option<u32>,
        staged: &[StagedSample],
    ) -> BatchSamples {
        let mut holds = BatchSamples::default();
        self.kept.reserve_exact(staged.len());
        let mut series_encoder = None;
        let mut samples_encoder = None;
        for sample in staged {
            let Some(state) = table.state_mut(sample.handle) else { continue };
            if sample.ts_ms <= state.last_ts_ms && state.last_ts_ms != i64::MIN {
                continue;
            }
            self.kept.push(KeptSample { handle: sample.handle, last_ts_ms_before: state.last_ts_ms });
            state.last_ts_ms = sample.ts_ms;
            if needs_series_record(state, truncating) {
                self.logged.push(LoggedSeries { handle: sample.handle, logged_before: state.logged });
                // Not needed twice in this commit; the segment is known once it is written.
                state.logged = u32::MAX;
                let out = &mut self.series_record;
                let encoder = series_encoder.get_or_insert_with(|| SeriesEncoder::start(out));
                let series_ref = sample.handle.series_ref;
                let labels = table.label_pairs(series_ref).into_iter().flatten();
                encoder.push(out, u64::from(series_ref.0.get()), labels);
                if out.len() >= RECORD_BYTES {
                    close_record(&mut self.batch, out);
                    series_encoder = None;
                }
            }
            let out = &mut self.samples_record;
            let encoder = samples_encoder.get_or_insert_with(|| SamplesEncoder::start(out));
            let series_ref = u64::from(sample.handle.series_ref.0.get());
            encoder.push(out, Sample { series_ref, ts_ms: sample.ts_ms, value: sample.value });
            holds.samples += 1;
            holds.newest_ts_ms = holds.newest_ts_ms.max(Some(sample.ts_ms));
            if out.len() >= RECORD_BYTES {
                close_record(&mut self.batch, &mut self.series_record);
                close_record(&mut self.batch, out);
                (series_encoder, samples_encoder) = (None, None);
            }
        }
        close_record(&mut self.batch, &mut self.series_record);
        close_record(&mut self.batch, &mut self.samples_record);
        holds
    }

    fn mark_written(&mut self, table: &mut SeriesTable, segment: u32) {
        for kept in &self.kept {
            if let Some(state) = table.state_mut(kept.handle) {
                state.last_segment = segment;
            }
        }
        for logged in &self.logged {
            if let Some(state) = table.state_mut(logged.handle) {
                state.logged = segment.saturating_add(1);
            }
        }
    }

    fn take_back(&mut self, table: &mut SeriesTable) {
        // A series with several samples gets the oldest of its former timestamps last.
        for kept in self.kept.iter().rev() {
            if let Some(state) = table.state_mut(kept.handle) {
                state.last_ts_ms = kept.last_ts_ms_before;
            }
        }
        for logged in &self.logged {
            if let Some(state) = table.state_mut(logged.handle) {
                state.logged = logged.logged_before;
            }
        }
    }

    fn clear(&mut self) {
        self.batch.clear();
        self.series_record.clear();
        shrink(&mut self.series_record);
        self.samples_record.clear();
        shrink(&mut self.samples_record);
        self.kept.clear();
        self.kept.shrink_to(KEPT_SAMPLES);
        self.logged.clear();
        self.logged.shrink_to(KEPT_SAMPLES);
    }
}

/// Whether a series record has to stand before the next sample of this series.
fn needs_series_record(state: &SeriesState, truncating: Option<u32>) -> bool {
    if state.logged == 0 {
        return true;
    }
    truncating.is_some_and(|last| state.logged <= last.saturating_add(1) && state.last_segment <= last)
}

fn close_record(batch: &mut RecordBatch, record: &mut Vec<u8>) {
    if !record.is_empty() {
        batch.push(record);
        record.clear();
    }
}
