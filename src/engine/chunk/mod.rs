//! Samples of a series as Prometheus' blocks have them: chunks of up to 120 samples (`tsdb/chunkenc`).
//!
//! Written only, and never kept: remote read sends them. A histogram that has another layout than the one before begins a
//! new chunk; nothing is written a second time.

mod bits;
mod histogram;
mod xor;

#[cfg(test)]
mod chunk_tests;

use crate::chunk::histogram::{HistogramWriter, continues, reset_header};
use crate::chunk::xor::XorWriter;
use crate::histogram::{Counts, Histogram};
use std::fmt;
use std::iter::Peekable;

/// Samples in a chunk (`tsdb.DefaultSamplesPerChunk`).
const MAX_SAMPLES: u16 = 120;

/// A chunk of histograms is not continued when it is longer.
const MAX_BYTES: usize = 16 << 10;

/// How the samples of a chunk are written (`prompb.Chunk_Encoding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Floats.
    Xor = 1,
    /// Histograms with integer counts.
    Histogram = 2,
    /// Histograms with float counts.
    FloatHistogram = 3,
}

/// Consecutive samples of one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// How they are written.
    pub encoding: Encoding,
    /// Timestamp of the first sample, in milliseconds since the Unix epoch.
    pub first_ts_ms: i64,
    /// Timestamp of the last sample.
    pub last_ts_ms: i64,
    /// Samples in it.
    pub n_samples: usize,
    /// The samples, as the encoding has them.
    pub data: Vec<u8>,
}

/// Value of a sample.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A float; the staleness marker is one.
    Float(f64),
    /// A native histogram; with the staleness marker as its sum it is a marker.
    Histogram(&'a Histogram),
}

/// Makes chunks of the samples of a series: timestamp in milliseconds and value, in the order of their timestamps.
pub struct Chunks<I: Iterator> {
    samples: Peekable<I>,
}

impl<I: Iterator> fmt::Debug for Chunks<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks").finish_non_exhaustive()
    }
}

impl<'a, I: Iterator<Item = (i64, Value<'a>)>> Chunks<I> {
    /// Of all samples of a series, or of consecutive ones.
    pub fn of(samples: I) -> Self {
        Self { samples: samples.peekable() }
    }

    fn of_floats(&mut self, first_ts_ms: i64, value: f64) -> Chunk {
        let mut writer = XorWriter::new(&[0; 2], first_ts_ms, value);
        let (mut last_ts_ms, mut n_samples) = (first_ts_ms, 1);
        while let Some(&(ts_ms, Value::Float(value))) = self.samples.peek()
            && n_samples < MAX_SAMPLES
        {
            self.samples.next();
            writer.push(ts_ms, value);
            (last_ts_ms, n_samples) = (ts_ms, n_samples + 1);
        }
        let data = counted(writer.into_bytes(), n_samples);
        Chunk { encoding: Encoding::Xor, first_ts_ms, last_ts_ms, n_samples: n_samples.into(), data }
    }

    fn of_histograms(&mut self, first_ts_ms: i64, first: &'a Histogram) -> Chunk {
        let encoding = match first.counts {
            Counts::Integer { .. } => Encoding::Histogram,
            Counts::Float { .. } => Encoding::FloatHistogram,
        };
        let header = [0, 0, reset_header(first.counter_reset_hint)];
        let mut writer = HistogramWriter::new(&header, first_ts_ms, first);
        let (mut last_ts_ms, mut n_samples, mut before) = (first_ts_ms, 1, first);
        while let Some(&(ts_ms, Value::Histogram(next))) = self.samples.peek()
            && n_samples < MAX_SAMPLES
            && writer.len() < MAX_BYTES
            && continues(before, next)
        {
            self.samples.next();
            writer.push(ts_ms, next);
            (last_ts_ms, n_samples, before) = (ts_ms, n_samples + 1, next);
        }
        let data = counted(writer.into_bytes(), n_samples);
        Chunk { encoding, first_ts_ms, last_ts_ms, n_samples: n_samples.into(), data }
    }
}

impl<'a, I: Iterator<Item = (i64, Value<'a>)>> Iterator for Chunks<I> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let (ts_ms, value) = self.samples.next()?;
        Some(match value {
            Value::Float(value) => self.of_floats(ts_ms, value),
            Value::Histogram(histogram) => self.of_histograms(ts_ms, histogram),
        })
    }
}

/// With the number of samples in front.
fn counted(mut data: Vec<u8>, n_samples: u16) -> Vec<u8> {
    if let Some(count) = data.first_chunk_mut() {
        *count = n_samples.to_be_bytes();
    }
    data
}
