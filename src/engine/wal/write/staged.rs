//! What a transaction has staged: samples, histograms, exemplars, metadata, in memory that is used again.
//!
//! Histograms and the labels of exemplars are encoded as they come in: nothing of the page is needed any more, and a
//! commit copies bytes. Belongs to an appender; knows neither table nor log.

use crate::histogram::Histogram;
use crate::metric_type::MetricType;
use crate::series::SeriesHandle;
use crate::wal::format::record::histograms::{HistogramKind, put_histogram};
use crate::wal::format::record::labels::{LabelPairs, put_labels};
use crate::wal::unstamped::{is_unstamped, stamped};
use std::mem::size_of;
use std::ops::Range;

/// Staged entries an idle appender keeps room for; there are as many appenders as workers.
const KEPT_SAMPLES: usize = 4096;
const KEPT_OTHERS: usize = 512;
const KEPT_BYTES: usize = 64 * 1024;

/// A sample on its way.
#[derive(Clone, Copy, Debug)]
pub(in crate::wal) struct StagedSample {
    pub(in crate::wal) handle: SeriesHandle,
    pub(in crate::wal) ts_ms: i64,
    pub(in crate::wal) value: f64,
}

/// A histogram on its way.
#[derive(Clone, Copy, Debug)]
pub(in crate::wal) struct StagedHistogram<'a> {
    pub(in crate::wal) handle: SeriesHandle,
    pub(in crate::wal) ts_ms: i64,
    pub(in crate::wal) kind: HistogramKind,
    pub(in crate::wal) encoded: &'a [u8],
}

/// An exemplar on its way.
#[derive(Clone, Copy, Debug)]
pub(in crate::wal) struct StagedExemplar<'a> {
    pub(in crate::wal) handle: SeriesHandle,
    pub(in crate::wal) time: ExemplarTime,
    pub(in crate::wal) value: f64,
    pub(in crate::wal) labels: LabelPairs<'a>,
}

/// Metadata on its way.
#[derive(Clone, Copy, Debug)]
pub(in crate::wal) struct StagedMetadata<'a> {
    pub(in crate::wal) handle: SeriesHandle,
    pub(in crate::wal) metric_type: MetricType,
    pub(in crate::wal) unit: &'a str,
    pub(in crate::wal) help: &'a str,
}

/// How far a transaction is written: entries of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::wal) struct Progress {
    pub(in crate::wal) metadata: usize,
    pub(in crate::wal) samples: usize,
    pub(in crate::wal) histograms: usize,
    pub(in crate::wal) exemplars: usize,
}

impl Progress {
    pub(in crate::wal) fn n_entries(self) -> usize {
        self.metadata + self.samples + self.histograms + self.exemplars
    }

    /// Samples and histograms.
    pub(in crate::wal) fn n_samples(self) -> usize {
        self.samples + self.histograms
    }
}

/// Everything staged.
#[derive(Clone, Debug, Default)]
pub(in crate::wal) struct Staged {
    pub(in crate::wal) samples: Vec<StagedSample>,
    histograms: Vec<Histograms>,
    histogram_bytes: Vec<u8>,
    exemplars: Vec<Exemplars>,
    exemplar_labels: Vec<u8>,
    metadata: Vec<Metadata>,
    metadata_text: String,
}

/// A histogram whose bytes end at `end`.
#[derive(Clone, Copy, Debug)]
struct Histograms {
    handle: SeriesHandle,
    ts_ms: i64,
    kind: HistogramKind,
    end: usize,
}

/// An exemplar whose labels end at `end`.
#[derive(Clone, Copy, Debug)]
struct Exemplars {
    handle: SeriesHandle,
    time: ExemplarTime,
    value: f64,
    end: usize,
}

/// Metadata whose unit starts there, and whose unit and help end there.
#[derive(Clone, Copy, Debug)]
struct Metadata {
    handle: SeriesHandle,
    metric_type: MetricType,
    start: usize,
    unit_end: usize,
    help_end: usize,
}

impl Staged {
    pub(in crate::wal) fn push_sample(&mut self, handle: SeriesHandle, ts_ms: i64, value: f64) {
        self.samples.push(StagedSample { handle, ts_ms, value });
    }

    pub(in crate::wal) fn push_histogram(&mut self, handle: SeriesHandle, ts_ms: i64, histogram: &Histogram) {
        put_histogram(&mut self.histogram_bytes, histogram);
        let (kind, end) = (HistogramKind::of(histogram), self.histogram_bytes.len());
        self.histograms.push(Histograms { handle, ts_ms, kind, end });
    }

    /// Adds a histogram that [`put_histogram`] wrote.
    pub(in crate::wal) fn push_encoded_histogram(
        &mut self,
        handle: SeriesHandle,
        ts_ms: i64,
        kind: HistogramKind,
        encoded: &[u8],
    ) {
        self.histogram_bytes.extend_from_slice(encoded);
        self.histograms.push(Histograms { handle, ts_ms, kind, end: self.histogram_bytes.len() });
    }

    /// `labels` are in order of name.
    pub(in crate::wal) fn push_exemplar<'a>(
        &mut self,
        handle: SeriesHandle,
        time: ExemplarTime,
        value: f64,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        put_labels(&mut self.exemplar_labels, labels);
        self.exemplars.push(Exemplars { handle, time, value, end: self.exemplar_labels.len() });
    }

    pub(in crate::wal) fn push_metadata(
        &mut self,
        handle: SeriesHandle,
        metric_type: MetricType,
        unit: &str,
        help: &str,
    ) {
        // The series of a family say the same, one after the other.
        let last = self.metadata.last().filter(|last| {
            let text = |range: Range<usize>| self.metadata_text.get(range);
            text(last.start..last.unit_end) == Some(unit) && text(last.unit_end..last.help_end) == Some(help)
        });
        let (start, unit_end, help_end) = match last {
            Some(last) => (last.start, last.unit_end, last.help_end),
            None => {
                let start = self.metadata_text.len();
                self.metadata_text.push_str(unit);
                let unit_end = self.metadata_text.len();
                self.metadata_text.push_str(help);
                (start, unit_end, self.metadata_text.len())
            }
        };
        self.metadata.push(Metadata { handle, metric_type, start, unit_end, help_end });
    }

    /// From the one with this index on.
    pub(in crate::wal) fn histograms(&self, first: usize) -> impl Iterator<Item = StagedHistogram<'_>> {
        let (before, rest) = self.histograms.split_at_checked(first).unwrap_or_default();
        let mut start = before.last().map_or(0, |last| last.end);
        rest.iter().map(move |&Histograms { handle, ts_ms, kind, end }| {
            let encoded = self.histogram_bytes.get(start..end).unwrap_or_default();
            start = end;
            StagedHistogram { handle, ts_ms, kind, encoded }
        })
    }

    /// From the one with this index on.
    pub(in crate::wal) fn exemplars(&self, first: usize) -> impl Iterator<Item = StagedExemplar<'_>> {
        let (before, rest) = self.exemplars.split_at_checked(first).unwrap_or_default();
        let mut start = before.last().map_or(0, |last| last.end);
        rest.iter().map(move |&Exemplars { handle, time, value, end }| {
            let encoded = self.exemplar_labels.get(start..end).unwrap_or_default();
            start = end;
            StagedExemplar { handle, time, value, labels: LabelPairs::from_encoded(encoded) }
        })
    }

    /// From the one with this index on.
    pub(in crate::wal) fn metadata(&self, first: usize) -> impl Iterator<Item = StagedMetadata<'_>> {
        let text = |from, to| self.metadata_text.get(from..to).unwrap_or_default();
        self.metadata.iter().skip(first).map(
            move |&Metadata { handle, metric_type, start, unit_end, help_end }| {
                let (unit, help) = (text(start, unit_end), text(unit_end, help_end));
                StagedMetadata { handle, metric_type, unit, help }
            },
        )
    }

    /// Whether it has the time since the boot and no other. What a scrape says of itself comes last and is as old as the
    /// scrape, whatever timestamps its page has.
    pub(in crate::wal) fn is_unstamped(&self) -> bool {
        self.samples.last().is_some_and(|sample| is_unstamped(sample.ts_ms))
    }

    /// What counts from the boot gets the time of the day: the boot was `offset_ms` behind the Unix epoch.
    pub(in crate::wal) fn stamp(&mut self, offset_ms: i64) {
        self.samples.iter_mut().for_each(|sample| sample.ts_ms = stamped(sample.ts_ms, offset_ms));
        self.histograms
            .iter_mut()
            .for_each(|histogram| histogram.ts_ms = stamped(histogram.ts_ms, offset_ms));
        self.exemplars.iter_mut().for_each(|exemplar| {
            exemplar.time = match exemplar.time {
                ExemplarTime::Own(ts_ms) => ExemplarTime::Own(stamped(ts_ms, offset_ms)),
                ExemplarTime::OfSample(ts_ms) => ExemplarTime::OfSample(stamped(ts_ms, offset_ms)),
            }
        });
    }

    /// Memory of all that is staged, in bytes.
    pub(in crate::wal) fn memory_bytes(&self) -> u64 {
        let entries = self.samples.len() * size_of::<StagedSample>()
            + self.histograms.len() * size_of::<Histograms>()
            + self.exemplars.len() * size_of::<Exemplars>()
            + self.metadata.len() * size_of::<Metadata>();
        let bytes = self.histogram_bytes.len() + self.exemplar_labels.len() + self.metadata_text.len();
        (entries + bytes + size_of::<Self>()) as u64
    }

    /// Histograms.
    pub(in crate::wal) fn n_histograms(&self) -> usize {
        self.histograms.len()
    }

    /// Exemplars.
    pub(in crate::wal) fn n_exemplars(&self) -> usize {
        self.exemplars.len()
    }

    /// Samples and histograms.
    pub(in crate::wal) fn n_samples(&self) -> usize {
        self.samples.len() + self.histograms.len()
    }

    /// All that is staged.
    pub(in crate::wal) fn n_entries(&self) -> usize {
        self.n_samples() + self.exemplars.len() + self.metadata.len()
    }

    /// The series of all that is staged, some of them more than once.
    pub(in crate::wal) fn handles(&self) -> impl Iterator<Item = SeriesHandle> {
        let samples = self.samples.iter().map(|it| it.handle);
        let histograms = self.histograms.iter().map(|it| it.handle);
        let exemplars = self.exemplars.iter().map(|it| it.handle);
        samples.chain(histograms).chain(exemplars).chain(self.metadata.iter().map(|it| it.handle))
    }

    /// Forgets everything and keeps memory of ordinary size.
    pub(in crate::wal) fn clear(&mut self) {
        self.samples.clear();
        self.samples.shrink_to(KEPT_SAMPLES);
        self.histograms.clear();
        self.histograms.shrink_to(KEPT_OTHERS);
        self.histogram_bytes.clear();
        self.histogram_bytes.shrink_to(KEPT_BYTES);
        self.exemplars.clear();
        self.exemplars.shrink_to(KEPT_OTHERS);
        self.exemplar_labels.clear();
        self.exemplar_labels.shrink_to(KEPT_BYTES);
        self.metadata.clear();
        self.metadata.shrink_to(KEPT_OTHERS);
        self.metadata_text.clear();
        self.metadata_text.shrink_to(KEPT_BYTES);
    }
}

/// Timestamp of an exemplar in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExemplarTime {
    /// The page has it.
    Own(i64),
    /// That of the sample it stands at: the page has none, and the same exemplar comes with every scrape.
    OfSample(i64),
}

impl ExemplarTime {
    /// In milliseconds.
    pub fn ts_ms(self) -> i64 {
        match self {
            ExemplarTime::Own(ts_ms) | ExemplarTime::OfSample(ts_ms) => ts_ms,
        }
    }
}
