//! Records of one file after the other into the series table, and out of a damaged file what may stay in it.
//!
//! Decides what belongs into a log of ours: one series record a label set, no sample without its series, refs that
//! fit the table. Used by replay only. Opens files for reading and writes none.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;

use crate::disk::Disk;
use crate::labels::builder::LabelsBuilder;
use crate::series::SeriesRef;
use crate::series::table::{SeriesState, SeriesTable};
use crate::wal::error::WalError;
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::record;
use crate::wal::format::record::Record;
use crate::wal::format::record::exemplars::{Exemplars, ExemplarsEncoder};
use crate::wal::format::record::histograms::{Histograms, HistogramsEncoder};
use crate::wal::format::record::metadata::{MetadataEncoder, MetadataEntries};
use crate::wal::format::record::record_type::{DecodeError, RecordType};
use crate::wal::format::record::samples::{Samples, SamplesEncoder};
use crate::wal::format::record::series::{SeriesEncoder, SeriesEntries};
use crate::wal::format::segment;
use crate::wal::format::segment::SegmentInfo;
use crate::wal::format::segment_reader::{SegmentReader, Tail};

/// Refs up to here are never called sparse: their slots take at most some 40 MiB.
const DENSE_REFS: usize = 1 << 20;

/// Above [`DENSE_REFS`], this many refs a series are sparse: the table has a slot for every ref up to the largest.
const MAX_REFS_PER_SERIES: usize = 64;

/// Why loading stopped.
#[derive(Debug)]
pub enum Stop {
    /// A file operation failed.
    Failed(WalError),
    /// The log was written by another program; a sentence says what shows it.
    Foreign(String),
}

impl From<WalError> for Stop {
    fn from(error: WalError) -> Self {
        Stop::Failed(error)
    }
}

/// What stood in one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCounts {
    /// Samples loaded, native histograms among them.
    pub samples: u64,
    /// Native histograms loaded.
    pub histograms: u64,
    /// Newest timestamp in milliseconds.
    pub newest_ts_ms: Option<i64>,
    /// Something must not stay in the file: damage, a sample without its series, a second record of a series.
    pub must_be_rewritten: bool,
}

/// What may stay of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of it.
    Whole,
    /// What was written into the buffer.
    Part,
    /// Nothing: it was a repetition, or its samples have no series.
    Nothing,
    /// Nothing: it does not mean what its type says.
    Damaged,
}

/// Fills a table from files in the order of the log.
#[derive(Debug, Default)]
pub struct Loader {
    /// The series so far.
    pub table: SeriesTable,
    /// Newest timestamp so far in milliseconds.
    pub newest_ts_ms: Option<i64>,
    /// Records of types that are passed over, by Prometheus' name of the type.
    pub skipped_records: BTreeMap<&'static str, u64>,
    labels: LabelsBuilder,
}

/// State of one pass over a file that is being rewritten.
#[derive(Debug, Default)]
pub struct FilterPass {
    /// Series whose record this pass kept.
    kept_series: HashSet<SeriesRef, foldhash::fast::RandomState>,
    /// Samples left out because their series is not known.
    pub samples_without_series: u64,
}

/// Counts what stands in a file whose series are not looked at, as far as it can be read.
///
/// # Errors
/// The file cannot be opened.
pub fn count(disk: &dyn Disk, file: &SegmentInfo) -> Result<ClosedSegment, WalError> {
    let source = segment::open(disk, &file.path)?;
    let mut reader = SegmentReader::new(source, file.number, Tail::Closed);
    let mut counted = ClosedSegment { number: file.number, bytes: file.bytes, ..ClosedSegment::default() };
    while let Some(record) = reader.next_record().transpose() {
        match record.map(|raw| record::decode(raw.bytes)) {
            Ok(Record::Samples(samples)) => counted.samples += samples.flatten().count() as u64,
            Ok(Record::Histograms(histograms)) => {
                let n = histograms.flatten().count() as u64;
                counted.samples += n;
                counted.histograms += n;
            }
            _ => {}
        }
    }
    Ok(counted)
}

/// Whether a second record of a series is a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repetition {
    Found,
    SecondReading,
}

impl Loader {
    /// Reads a file up to its end, or to the first thing in it that must not stay. `number` is that of the segment,
    /// or that of the checkpoint the file belongs to.
    ///
    /// # Errors
    /// [`Stop::Foreign`], or the file cannot be opened.
    pub fn load(&mut self, disk: &dyn Disk, file: &SegmentInfo, number: u32) -> Result<FileCounts, Stop> {
        self.load_as(disk, file, number, Repetition::Found)
    }

    /// Reads a file again that was rewritten after [`Loader::load`].
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn load_rewritten(
        &mut self,
        disk: &dyn Disk,
        file: &SegmentInfo,
        number: u32,
    ) -> Result<FileCounts, Stop> {
        self.load_as(disk, file, number, Repetition::SecondReading)
    }

    fn load_as(
        &mut self,
        disk: &dyn Disk,
        file: &SegmentInfo,
        number: u32,
        repetition: Repetition,
    ) -> Result<FileCounts, Stop> {
        let source = segment::open(disk, &file.path)?;
        let mut reader = SegmentReader::new(source, number, Tail::Closed);
        let mut counts = FileCounts::default();
        while !counts.must_be_rewritten {
            match reader.next_record() {
                Ok(Some(raw)) => self.load_record(raw.bytes, number, repetition, &mut counts)?,
                Ok(None) => break,
                Err(_) => counts.must_be_rewritten = true,
            }
        }
        Ok(counts)
    }

    fn load_record(
        &mut self,
        bytes: &[u8],
        number: u32,
        repetition: Repetition,
        counts: &mut FileCounts,
    ) -> Result<(), Stop> {
        check_type(bytes)?;
        match record::decode(bytes) {
            // Checked as a whole first: a series must not be in the table if its record is thrown away.
            Record::Series(entries) if entries.clone().any(|entry| entry.is_err()) => {
                counts.must_be_rewritten = true;
            }
            Record::Series(entries) => {
                for entry in entries.flatten() {
                    let is_new = self.load_series(entry.series_ref, entry.labels, number)?.is_new;
                    counts.must_be_rewritten |= !is_new && repetition == Repetition::Found;
                }
            }
            Record::Samples(samples) => {
                let entries = samples.map(|it| it.map(|sample| (sample.series_ref, sample.ts_ms)));
                self.load_samples(entries, number, counts);
            }
            Record::Histograms(histograms) => {
                let entries = histograms.map(|it| it.map(|entry| (entry.series_ref, entry.ts_ms)));
                let before = counts.samples;
                self.load_samples(entries, number, counts);
                counts.histograms += counts.samples - before;
            }
            Record::Exemplars(exemplars) => self.load_exemplars(exemplars, number, counts),
            Record::Metadata(entries) => self.load_metadata(entries, number, counts),
            Record::Other(record_type) => {
                if repetition == Repetition::Found {
                    *self.skipped_records.entry(record_type.name()).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    fn load_series<'r>(
        &mut self,
        series_ref: u64,
        labels: impl Iterator<Item = (&'r str, &'r str)>,
        number: u32,
    ) -> Result<LoadedSeries, Stop> {
        let Some(series_ref) = u32::try_from(series_ref).ok().and_then(NonZeroU32::new).map(SeriesRef) else {
            return Err(Stop::Foreign(format!("series ref {series_ref} is not between 1 and {}", u32::MAX)));
        };
        let ref_number = series_ref.0.get() as usize;
        if ref_number > DENSE_REFS && ref_number / MAX_REFS_PER_SERIES > self.table.len() {
            return Err(Stop::Foreign(format!("series ref {ref_number} is far above the number of series")));
        }
        self.labels.clear();
        for (name, value) in labels {
            self.labels.set(name, value);
        }
        let handle = self.table.insert(series_ref, &self.labels);
        let Some(state) = handle.and_then(|handle| self.table.state_mut(handle)) else {
            let labels = self.labels.labels();
            return Err(Stop::Foreign(format!("{labels} and ref {ref_number} do not belong to each other")));
        };
        let logged = number.saturating_add(1);
        let (is_new, is_from_here) = (state.logged == 0, state.logged == logged);
        if is_new {
            state.logged = logged;
            state.last_segment = state.last_segment.max(number);
        }
        Ok(LoadedSeries { series_ref, is_new, is_from_here })
    }

    /// Refs and timestamps of floats or histograms.
    fn load_samples(
        &mut self,
        samples: impl Iterator<Item = Result<(u64, i64), DecodeError>>,
        number: u32,
        counts: &mut FileCounts,
    ) {
        for sample in samples {
            let known = sample.ok().and_then(|(series_ref, ts_ms)| Some((self.known(series_ref)?, ts_ms)));
            let Some((series_ref, ts_ms)) = known else {
                counts.must_be_rewritten = true;
                return;
            };
            if let Some(state) = self.state_mut(series_ref) {
                state.last_ts_ms = state.last_ts_ms.max(ts_ms);
                state.last_segment = state.last_segment.max(number);
            }
            counts.samples += 1;
            counts.newest_ts_ms = counts.newest_ts_ms.max(Some(ts_ms));
            self.newest_ts_ms = self.newest_ts_ms.max(Some(ts_ms));
        }
    }

    /// The newest exemplar of a series is known again, so that it is not written once more.
    fn load_exemplars(&mut self, exemplars: Exemplars<'_>, number: u32, counts: &mut FileCounts) {
        for exemplar in exemplars {
            let known = exemplar.ok().and_then(|entry| Some((self.known(entry.series_ref)?, entry)));
            let Some((series_ref, entry)) = known else {
                counts.must_be_rewritten = true;
                return;
            };
            // The record does not say whose the timestamp is; one of the scrape is not met again.
            let latest = self.table.latest_exemplar(entry.value, entry.labels, entry.ts_ms, true);
            self.table.replace_exemplar(series_ref, latest);
            self.touch(series_ref, number);
        }
    }

    fn load_metadata(&mut self, entries: MetadataEntries<'_>, number: u32, counts: &mut FileCounts) {
        for entry in entries {
            let known = entry.ok().and_then(|entry| Some((self.known(entry.series_ref)?, entry)));
            let Some((series_ref, entry)) = known else {
                counts.must_be_rewritten = true;
                return;
            };
            self.table.set_metadata(series_ref, entry.metric_type, entry.unit, entry.help);
            self.touch(series_ref, number);
        }
    }

    /// Something that speaks of the series stands in segment `number`.
    fn touch(&mut self, series_ref: SeriesRef, number: u32) {
        if let Some(state) = self.state_mut(series_ref) {
            state.last_segment = state.last_segment.max(number);
        }
    }

    fn state_mut(&mut self, series_ref: SeriesRef) -> Option<&mut SeriesState> {
        let handle = self.table.handle(series_ref)?;
        self.table.state_mut(handle)
    }

    /// The ref of a series in the table.
    fn known(&self, series_ref: u64) -> Option<SeriesRef> {
        let series_ref = u32::try_from(series_ref).ok().and_then(NonZeroU32::new).map(SeriesRef)?;
        self.table.handle(series_ref).map(|_| series_ref)
    }

    /// What may stay of a record of file `number`; [`Kept::Part`] stands in `out`, which is cleared first. Series
    /// that stay are in the table afterwards.
    ///
    /// # Errors
    /// [`Stop::Foreign`].
    pub fn filter(
        &mut self,
        bytes: &[u8],
        number: u32,
        pass: &mut FilterPass,
        out: &mut Vec<u8>,
    ) -> Result<Kept, Stop> {
        out.clear();
        check_type(bytes)?;
        Ok(match record::decode(bytes) {
            Record::Series(entries) => return self.filter_series(entries, number, pass, out),
            Record::Samples(samples) => self.filter_samples(samples, pass, out),
            Record::Histograms(histograms) => self.filter_histograms(histograms, pass, out),
            Record::Exemplars(exemplars) => self.filter_exemplars(exemplars, out),
            Record::Metadata(entries) => self.filter_metadata(entries, out),
            Record::Other(_) => Kept::Whole,
        })
    }

    fn filter_series(
        &mut self,
        entries: SeriesEntries<'_>,
        number: u32,
        pass: &mut FilterPass,
        out: &mut Vec<u8>,
    ) -> Result<Kept, Stop> {
        if entries.clone().any(|entry| entry.is_err()) {
            return Ok(Kept::Damaged);
        }
        let mut encoder = SeriesEncoder::start(out);
        let (mut n_entries, mut n_kept) = (0_usize, 0_usize);
        for entry in entries.flatten() {
            n_entries += 1;
            let loaded = self.load_series(entry.series_ref, entry.labels, number)?;
            if (loaded.is_new || loaded.is_from_here) && pass.kept_series.insert(loaded.series_ref) {
                n_kept += 1;
                encoder.push(out, entry.series_ref, self.labels.iter());
            }
        }
        Ok(kept_of(n_kept, n_entries))
    }

    fn filter_samples(&self, samples: Samples<'_>, pass: &mut FilterPass, out: &mut Vec<u8>) -> Kept {
        let mut encoder = SamplesEncoder::start(out);
        let kept = self.filter_entries(samples, |sample| sample.series_ref, |it| encoder.push(out, it));
        pass.samples_without_series += kept.n_left_out();
        kept.kept()
    }

    fn filter_histograms(
        &self,
        histograms: Histograms<'_>,
        pass: &mut FilterPass,
        out: &mut Vec<u8>,
    ) -> Kept {
        let Some(Ok(first)) = histograms.clone().next() else { return Kept::Damaged };
        let mut encoder = HistogramsEncoder::start(out, first.histogram.kind());
        let kept = self.filter_entries(
            histograms,
            |entry| entry.series_ref,
            |entry| encoder.push(out, entry.series_ref, entry.ts_ms, entry.histogram.bytes()),
        );
        pass.samples_without_series += kept.n_left_out();
        kept.kept()
    }

    fn filter_exemplars(&self, exemplars: Exemplars<'_>, out: &mut Vec<u8>) -> Kept {
        let mut encoder = ExemplarsEncoder::start(out);
        self.filter_entries(exemplars, |it| it.series_ref, |it| encoder.push(out, &it)).kept()
    }

    fn filter_metadata(&self, entries: MetadataEntries<'_>, out: &mut Vec<u8>) -> Kept {
        let mut encoder = MetadataEncoder::start(out);
        self.filter_entries(entries, |it| it.series_ref, |it| encoder.push(out, &it)).kept()
    }

    /// Hands to `keep` what speaks of known series.
    fn filter_entries<T>(
        &self,
        entries: impl Iterator<Item = Result<T, DecodeError>>,
        series_ref: impl Fn(&T) -> u64,
        mut keep: impl FnMut(T),
    ) -> Filtered {
        let mut filtered = Filtered::default();
        for entry in entries {
            let Ok(entry) = entry else {
                filtered.is_damaged = true;
                return filtered;
            };
            filtered.n_all += 1;
            if self.known(series_ref(&entry)).is_some() {
                filtered.n_kept += 1;
                keep(entry);
            }
        }
        filtered
    }
}

/// How much of a record was kept.
#[derive(Clone, Copy, Debug, Default)]
struct Filtered {
    n_all: usize,
    n_kept: usize,
    is_damaged: bool,
}

impl Filtered {
    fn kept(self) -> Kept {
        if self.is_damaged { Kept::Damaged } else { kept_of(self.n_kept, self.n_all) }
    }

    /// Entries without a series; a damaged record is counted as damage.
    fn n_left_out(self) -> u64 {
        if self.is_damaged { 0 } else { (self.n_all - self.n_kept) as u64 }
    }
}

struct LoadedSeries {
    series_ref: SeriesRef,
    /// No record before named it.
    is_new: bool,
    /// The record that named it stands in the same file.
    is_from_here: bool,
}

fn kept_of(n_kept: usize, n_all: usize) -> Kept {
    match n_kept {
        _ if n_kept == n_all => Kept::Whole,
        0 => Kept::Nothing,
        _ => Kept::Part,
    }
}

/// Types that hold start times, which we do not write, make the log foreign: it is taken over once, without them.
/// Types that name no series are passed over.
fn check_type(bytes: &[u8]) -> Result<(), Stop> {
    match RecordType::of(bytes) {
        record_type @ (RecordType::HistogramSamplesV2 | RecordType::FloatHistogramSamplesV2) => {
            Err(Stop::Foreign(format!("it holds records of type {}", record_type.name())))
        }
        _ => Ok(()),
    }
}
