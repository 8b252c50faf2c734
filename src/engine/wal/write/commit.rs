//! A slice of a commit: check the order, encode, write, remember; or leave everything as it was.
//!
//! Runs in a scrape worker under the head lock. Knows the table and the writer, not who calls. An ordinary transaction is
//! one slice.

use crate::metric_type::MetricType;
use crate::mutant::{self, Mutant};
use crate::series::annotations::LatestExemplar;
use crate::series::table::{SeriesState, SeriesTable};
use crate::series::{SeriesHandle, SeriesRef};
use crate::wal::format::closed_segment::BatchSamples;
use crate::wal::format::record::exemplars::ExemplarEntry;
use crate::wal::format::record::metadata::MetadataEntry;
use crate::wal::format::record::samples::Sample;
use crate::wal::options::Compression;
use crate::wal::write::encoded_records::Records;
use crate::wal::write::log_end::LogEnd;
use crate::wal::write::staged::ExemplarTime;
use crate::wal::write::staged::{Progress, Staged, StagedExemplar, StagedMetadata};
use std::io;

/// Entries that are written under one hold of the head lock, at most: some milliseconds, if all series are new.
pub(in crate::wal) const SLICE_ENTRIES: usize = 8 * 1024;

/// With this many bytes of records a slice is full: labels, histograms and helps may be long. One entry may be longer.
pub(in crate::wal) const SLICE_BYTES: usize = 512 * 1024;

/// Entries the lists have room for between commits.
const KEPT_SAMPLES: usize = SLICE_ENTRIES;
const KEPT_OTHERS: usize = 1024;

/// What a commit needs to take itself back or to mark the series it wrote, and the buffers it encodes in.
#[derive(Debug)]
pub(in crate::wal) struct CommitBuffers {
    records: Records,
    /// Of what goes to the disk.
    compression: Compression,
    kept: Vec<KeptSample>,
    logged: Vec<LoggedSeries>,
    exemplars: Vec<KeptExemplar>,
    metadata: Vec<KeptMetadata>,
    /// Series records have filled the slice.
    is_full: bool,
}

#[derive(Clone, Copy, Debug)]
struct KeptSample {
    handle: SeriesHandle,
    last_ts_ms_before: i64,
    last_segment_before: u32,
}

#[derive(Clone, Copy, Debug)]
struct LoggedSeries {
    handle: SeriesHandle,
    logged_before: u32,
}

#[derive(Clone, Copy, Debug)]
struct KeptExemplar {
    handle: SeriesHandle,
    before: Option<LatestExemplar>,
}

#[derive(Clone, Debug)]
struct KeptMetadata {
    handle: SeriesHandle,
    before: Option<(MetricType, String, String)>,
}

/// The disk refused a slice. Nothing of it is written.
#[derive(Debug)]
pub(in crate::wal) struct Refused {
    /// Samples in it, and all behind it.
    pub(in crate::wal) samples: usize,
    pub(in crate::wal) cause: io::Error,
}

impl CommitBuffers {
    pub(in crate::wal) fn new(compression: Compression) -> Self {
        Self {
            records: Records::new(compression),
            compression,
            kept: Vec::new(),
            logged: Vec::new(),
            exemplars: Vec::new(),
            metadata: Vec::new(),
            is_full: false,
        }
    }

    /// Writes the next slice of `staged` in one append, and says in `progress` how far that goes. No handle in it is stale.
    /// While the log is truncated up to segment `truncating`, series whose record and samples are all in what goes are
    /// logged again.
    pub(in crate::wal) fn commit(
        &mut self,
        table: &mut SeriesTable,
        end: &mut LogEnd<'_>,
        truncating: Option<u32>,
        staged: &Staged,
        progress: &mut Progress,
    ) -> Result<CommitReport, Refused> {
        if !(self.kept.is_empty() && self.exemplars.is_empty() && self.metadata.is_empty()) {
            // An earlier commit panicked half-way: what it marked was never written.
            self.take_back(table);
            self.clear();
        }
        let segment = end.number();
        self.records.compress_with(end.compression(self.compression));
        let holds = self.encode(table, (segment, truncating), staged, *progress);
        let appended = self.kept.len();
        let report = CommitReport {
            appended,
            out_of_order: holds.end.n_samples() - progress.n_samples() - appended,
            histograms: appended - holds.floats,
            exemplars: self.exemplars.len(),
        };
        let batch = self.records.finish();
        if batch.is_empty() {
            *progress = holds.end;
            return Ok(report);
        }
        let written = end.append(batch, holds.batch);
        match &written {
            Ok(written) => self.mark_written(table, segment, *written),
            Err(_) if mutant::is_on(Mutant::CommitNotTakenBack) => {}
            Err(_) => self.take_back(table),
        }
        self.clear();
        match written {
            Ok(_) => {
                *progress = holds.end;
                Ok(report)
            }
            Err(cause) => {
                Err(Refused { samples: appended + staged.n_samples() - holds.end.n_samples(), cause })
            }
        }
    }

    /// `segment` is the one that it will most probably be written to.
    fn encode(
        &mut self,
        table: &mut SeriesTable,
        (segment, truncating): (u32, Option<u32>),
        staged: &Staged,
        start: Progress,
    ) -> Encoded {
        let mut encoded = Encoded { end: start, ..Encoded::default() };
        let n_left = |end: Progress| SLICE_ENTRIES.saturating_sub(end.n_entries() - start.n_entries());
        self.is_full = false;
        // Before the samples that it speaks of: readers may see those before there is another slice.
        for metadata in staged.metadata(start.metadata).take(SLICE_ENTRIES) {
            self.encode_metadata(table, truncating, metadata);
            encoded.end.metadata += 1;
            if self.is_long() {
                return encoded;
            }
        }
        let samples = staged.samples.get(start.samples..).unwrap_or_default();
        let samples = samples.get(..n_left(encoded.end)).unwrap_or(samples);
        self.kept.reserve_exact(samples.len());
        for sample in samples {
            if self.admit(table, (segment, truncating), sample.handle, sample.ts_ms) {
                let series_ref = u64::from(sample.handle.series_ref.0.get());
                self.records.push_sample(Sample { series_ref, ts_ms: sample.ts_ms, value: sample.value });
                encoded.batch.add(sample.ts_ms);
            }
            encoded.end.samples += 1;
            if self.is_full {
                break;
            }
        }
        encoded.floats = self.kept.len();
        for histogram in staged.histograms(start.histograms).take(n_left(encoded.end)) {
            if self.is_full || self.is_long() {
                return encoded;
            }
            if self.admit(table, (segment, truncating), histogram.handle, histogram.ts_ms) {
                let series_ref = u64::from(histogram.handle.series_ref.0.get());
                self.records.push_histogram(histogram.kind, series_ref, histogram.ts_ms, histogram.encoded);
                encoded.batch.add(histogram.ts_ms);
                encoded.batch.histograms += 1;
            }
            encoded.end.histograms += 1;
        }
        for exemplar in staged.exemplars(start.exemplars).take(n_left(encoded.end)) {
            if self.is_full || self.is_long() {
                return encoded;
            }
            self.encode_exemplar(table, truncating, exemplar);
            encoded.end.exemplars += 1;
        }
        encoded
    }

    fn is_long(&self) -> bool {
        self.records.bytes() >= SLICE_BYTES
    }

    /// The order check: true if a sample or histogram of the series is to be written.
    #[inline(always)]
    fn admit(
        &mut self,
        table: &mut SeriesTable,
        (segment, truncating): (u32, Option<u32>),
        handle: SeriesHandle,
        ts_ms: i64,
    ) -> bool {
        let Some(state) = table.state_mut(handle) else { return false };
        if ts_ms <= state.last_ts_ms && state.last_ts_ms != i64::MIN && !mutant::is_on(Mutant::OrderUnchecked)
        {
            return false;
        }
        let needs_record = needs_series_record(state, truncating);
        let (last_ts_ms_before, last_segment_before) = (state.last_ts_ms, state.last_segment);
        self.kept.push(KeptSample { handle, last_ts_ms_before, last_segment_before });
        (state.last_ts_ms, state.last_segment) = (ts_ms, segment);
        if needs_record {
            self.log_series(table, handle);
        }
        true
    }

    /// The series record, unless one stands in what is kept.
    fn log_series(&mut self, table: &mut SeriesTable, handle: SeriesHandle) {
        let Some(state) = table.state_mut(handle) else { return };
        self.logged.push(LoggedSeries { handle, logged_before: state.logged });
        // Not needed twice in this commit; the segment is known once it is written.
        state.logged = u32::MAX;
        let series_ref = handle.series_ref;
        let labels = table.label_pairs(series_ref).into_iter().flatten();
        self.records.push_series(u64::from(series_ref.0.get()), labels);
        // The record that it had goes with its segment.
        if let Some((metric_type, unit, help)) = table.metadata(series_ref) {
            let series_ref = u64::from(series_ref.0.get());
            self.records.push_metadata(&MetadataEntry { series_ref, metric_type, unit, help });
        }
        self.is_full = self.is_long();
    }

    fn log_series_if_needed(
        &mut self,
        table: &mut SeriesTable,
        truncating: Option<u32>,
        handle: SeriesHandle,
    ) {
        if table.state(handle).is_some_and(|state| needs_series_record(state, truncating)) {
            self.log_series(table, handle);
        }
    }

    fn encode_exemplar(
        &mut self,
        table: &mut SeriesTable,
        truncating: Option<u32>,
        exemplar: StagedExemplar<'_>,
    ) {
        let StagedExemplar { handle, time, value, labels } = exemplar;
        let (ts_ms, has_own_ts) = (time.ts_ms(), matches!(time, ExemplarTime::Own(_)));
        let latest = table.latest_exemplar(value, labels, ts_ms, has_own_ts);
        let before = table.exemplar(handle.series_ref);
        if before.zip(latest.as_ref()).is_some_and(|(before, latest)| latest.repeats(before)) {
            return;
        }
        let before = table.replace_exemplar(handle.series_ref, latest);
        self.exemplars.push(KeptExemplar { handle, before });
        self.log_series_if_needed(table, truncating, handle);
        let series_ref = u64::from(handle.series_ref.0.get());
        self.records.push_exemplar(&ExemplarEntry { series_ref, ts_ms, value, labels });
    }

    fn encode_metadata(
        &mut self,
        table: &mut SeriesTable,
        truncating: Option<u32>,
        metadata: StagedMetadata<'_>,
    ) {
        let StagedMetadata { handle, metric_type, unit, help } = metadata;
        let series_ref = handle.series_ref;
        let owned = |(metric_type, unit, help): (MetricType, &str, &str)| {
            (metric_type, unit.to_owned(), help.to_owned())
        };
        if table.metadata(series_ref) == Some((metric_type, unit, help)) {
            return;
        }
        let before = table.metadata(series_ref).map(owned);
        // With the series record comes the metadata that is known: it must be the old one no more.
        if !table.set_metadata(series_ref, metric_type, unit, help) {
            return;
        }
        self.metadata.push(KeptMetadata { handle, before });
        if table.state(handle).is_some_and(|state| needs_series_record(state, truncating)) {
            self.log_series(table, handle);
        } else {
            let series_ref = u64::from(series_ref.0.get());
            self.records.push_metadata(&MetadataEntry { series_ref, metric_type, unit, help });
        }
    }

    /// What was encoded for segment `expected` stands in `segment`: the next one, if that was full.
    fn mark_written(&mut self, table: &mut SeriesTable, expected: u32, segment: u32) {
        let kept = if segment == expected { &[][..] } else { &self.kept };
        let exemplars = self.exemplars.iter().map(|kept| kept.handle);
        let metadata = self.metadata.iter().map(|kept| kept.handle);
        kept.iter().map(|kept| kept.handle).chain(exemplars).chain(metadata).for_each(|handle| {
            if let Some(state) = table.state_mut(handle) {
                state.last_segment = segment;
            }
        });
        for logged in &self.logged {
            if let Some(state) = table.state_mut(logged.handle) {
                state.logged = segment.saturating_add(1);
            }
        }
    }

    fn take_back(&mut self, table: &mut SeriesTable) {
        // A series with several samples gets the oldest of its former states last.
        for kept in self.kept.iter().rev() {
            if let Some(state) = table.state_mut(kept.handle) {
                (state.last_ts_ms, state.last_segment) = (kept.last_ts_ms_before, kept.last_segment_before);
            }
        }
        for logged in &self.logged {
            if let Some(state) = table.state_mut(logged.handle) {
                state.logged = logged.logged_before;
            }
        }
        for kept in self.exemplars.iter().rev() {
            table.replace_exemplar(kept.handle.series_ref, kept.before);
        }
        for kept in self.metadata.iter().rev() {
            let series_ref: SeriesRef = kept.handle.series_ref;
            match &kept.before {
                Some((metric_type, unit, help)) => {
                    table.set_metadata(series_ref, *metric_type, unit, help);
                }
                None => table.remove_metadata(series_ref),
            }
        }
    }

    fn clear(&mut self) {
        self.records.clear();
        self.kept.clear();
        self.kept.shrink_to(KEPT_SAMPLES);
        self.logged.clear();
        self.logged.shrink_to(KEPT_SAMPLES);
        self.exemplars.clear();
        self.exemplars.shrink_to(KEPT_OTHERS);
        self.metadata.clear();
        self.metadata.shrink_to(KEPT_OTHERS);
    }
}

/// What was encoded.
#[derive(Clone, Copy, Debug, Default)]
struct Encoded {
    batch: BatchSamples,
    /// Float samples.
    floats: usize,
    /// How far it goes.
    end: Progress,
}

impl BatchSamples {
    fn add(&mut self, ts_ms: i64) {
        self.samples += 1;
        self.newest_ts_ms = Some(self.newest_ts_ms.map_or(ts_ms, |newest_ts_ms| newest_ts_ms.max(ts_ms)));
    }
}

/// Whether a series record has to stand before the next sample of this series.
fn needs_series_record(state: &SeriesState, truncating: Option<u32>) -> bool {
    if state.logged == 0 {
        return true;
    }
    truncating.is_some_and(|last| state.logged <= last.saturating_add(1) && state.last_segment <= last)
}

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitReport {
    /// Samples and histograms written.
    pub appended: usize,
    /// Samples and histograms left out because they are not newer than their series' newest.
    pub out_of_order: usize,
    /// Histograms among `appended`.
    pub histograms: usize,
    /// Exemplars written; those that a series had before are left out.
    pub exemplars: usize,
}

impl CommitReport {
    pub(in crate::wal) fn add(&mut self, slice: CommitReport) {
        self.appended += slice.appended;
        self.out_of_order += slice.out_of_order;
        self.histograms += slice.histograms;
        self.exemplars += slice.exemplars;
    }
}
