//! The records of one transaction while they are encoded: one of each type for a scrape of ordinary size.
//!
//! Buffers are reused. Whatever is full is closed with the series before it, so that a series record always stands
//! before what speaks of its series. Knows no table and no file.

use crate::wal::format::record::exemplars::{ExemplarEntry, ExemplarsEncoder};
use crate::wal::format::record::histograms::{HistogramKind, HistogramsEncoder};
use crate::wal::format::record::metadata::{MetadataEncoder, MetadataEntry};
use crate::wal::format::record::samples::{Sample, SamplesEncoder};
use crate::wal::format::record::series::SeriesEncoder;
use crate::wal::format::record_batch::{RecordBatch, shrink};
use crate::wal::options::Compression;

/// A record is closed and the next one begun at this size in bytes: readers unfold a record as a whole.
const RECORD_BYTES: usize = 1024 * 1024;

/// A record being written: its encoder, once there is something in it, and its bytes.
#[derive(Debug)]
struct Open<E> {
    encoder: Option<E>,
    bytes: Vec<u8>,
}

impl<E> Default for Open<E> {
    fn default() -> Self {
        Self { encoder: None, bytes: Vec::new() }
    }
}

impl<E> Open<E> {
    fn is_full(&self) -> bool {
        self.bytes.len() >= RECORD_BYTES
    }

    fn close(&mut self, batch: &mut RecordBatch) {
        if self.encoder.take().is_some() {
            batch.push(&self.bytes);
            self.bytes.clear();
        }
    }

    fn clear(&mut self) {
        self.encoder = None;
        self.bytes.clear();
        shrink(&mut self.bytes);
    }
}

/// Records on their way into a batch.
#[derive(Debug)]
pub(in crate::wal) struct Records {
    batch: RecordBatch,
    series: Open<SeriesEncoder>,
    metadata: Open<MetadataEncoder>,
    samples: Open<SamplesEncoder>,
    /// In the order of [`HistogramKind::ALL`].
    histograms: [Open<HistogramsEncoder>; HistogramKind::ALL.len()],
    exemplars: Open<ExemplarsEncoder>,
}

impl Records {
    pub(in crate::wal) fn new(compression: Compression) -> Self {
        Self {
            batch: RecordBatch::new(compression),
            series: Open::default(),
            metadata: Open::default(),
            samples: Open::default(),
            histograms: Default::default(),
            exemplars: Open::default(),
        }
    }

    /// How the records to come are compressed.
    pub(in crate::wal) fn compress_with(&mut self, compression: Compression) {
        self.batch.compress_with(compression);
    }

    /// Adds a series before everything that is added later; `labels` are in order of name.
    pub(in crate::wal) fn push_series<'a>(
        &mut self,
        series_ref: u64,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        let Open { encoder, bytes } = &mut self.series;
        encoder.get_or_insert_with(|| SeriesEncoder::start(bytes)).push(bytes, series_ref, labels);
        if self.series.is_full() {
            self.series.close(&mut self.batch);
        }
    }

    #[inline]
    pub(in crate::wal) fn push_sample(&mut self, sample: Sample) {
        let Open { encoder, bytes } = &mut self.samples;
        encoder.get_or_insert_with(|| SamplesEncoder::start(bytes)).push(bytes, sample);
        if self.samples.is_full() {
            self.series.close(&mut self.batch);
            self.samples.close(&mut self.batch);
        }
    }

    /// Adds a histogram that [`put_histogram`] wrote.
    ///
    /// [`put_histogram`]: crate::wal::format::record::histograms::put_histogram
    pub(in crate::wal) fn push_histogram(
        &mut self,
        kind: HistogramKind,
        series_ref: u64,
        ts_ms: i64,
        encoded: &[u8],
    ) {
        let Some(open) = HistogramKind::ALL
            .iter()
            .zip(&mut self.histograms)
            .find_map(|(it, open)| (*it == kind).then_some(open))
        else {
            return;
        };
        let Open { encoder, bytes } = open;
        let encoder = encoder.get_or_insert_with(|| HistogramsEncoder::start(bytes, kind));
        encoder.push(bytes, series_ref, ts_ms, encoded);
        if open.is_full() {
            self.series.close(&mut self.batch);
            open.close(&mut self.batch);
        }
    }

    pub(in crate::wal) fn push_exemplar(&mut self, exemplar: &ExemplarEntry<'_>) {
        let Open { encoder, bytes } = &mut self.exemplars;
        encoder.get_or_insert_with(|| ExemplarsEncoder::start(bytes)).push(bytes, exemplar);
        if self.exemplars.is_full() {
            self.series.close(&mut self.batch);
            self.exemplars.close(&mut self.batch);
        }
    }

    pub(in crate::wal) fn push_metadata(&mut self, entry: &MetadataEntry<'_>) {
        let Open { encoder, bytes } = &mut self.metadata;
        encoder.get_or_insert_with(|| MetadataEncoder::start(bytes)).push(bytes, entry);
        if self.metadata.is_full() {
            self.series.close(&mut self.batch);
            self.metadata.close(&mut self.batch);
        }
    }

    /// Bytes that were added since the last [`Records::clear`], those of closed records compressed.
    pub(in crate::wal) fn bytes(&self) -> usize {
        let histograms: usize = self.histograms.iter().map(|open| open.bytes.len()).sum();
        let others = [&self.series.bytes, &self.metadata.bytes, &self.samples.bytes, &self.exemplars.bytes];
        others.iter().map(|bytes| bytes.len()).sum::<usize>() + histograms + self.batch.payload_bytes()
    }

    /// Closes what is open, in the order in which Prometheus logs a scrape, and returns all records.
    pub(in crate::wal) fn finish(&mut self) -> &RecordBatch {
        let batch = &mut self.batch;
        self.series.close(batch);
        self.metadata.close(batch);
        self.samples.close(batch);
        self.histograms.iter_mut().for_each(|open| open.close(batch));
        self.exemplars.close(batch);
        batch
    }

    /// Forgets everything and keeps memory of ordinary size.
    pub(in crate::wal) fn clear(&mut self) {
        self.batch.clear();
        self.series.clear();
        self.metadata.clear();
        self.samples.clear();
        self.histograms.iter_mut().for_each(Open::clear);
        self.exemplars.clear();
    }
}
