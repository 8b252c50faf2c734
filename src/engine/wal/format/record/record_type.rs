//! Which kinds of records there are, and why one cannot be read.

use std::fmt;

/// What a record holds; the first byte of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are Prometheus' names")]
pub enum RecordType {
    Series,
    Samples,
    Tombstones,
    Exemplars,
    MmapMarkers,
    Metadata,
    HistogramSamples,
    FloatHistogramSamples,
    CustomBucketsHistogramSamples,
    CustomBucketsFloatHistogramSamples,
    SamplesV2,
    HistogramSamplesV2,
    FloatHistogramSamplesV2,
    MinValidTime,
    /// A type that did not exist when this was written, or an empty record.
    Unknown,
}

pub(crate) const SERIES: u8 = 1;

pub(crate) const SAMPLES: u8 = 2;

pub(crate) const EXEMPLARS: u8 = 4;

pub(crate) const METADATA: u8 = 6;

impl RecordType {
    /// The type of a record.
    pub fn of(record: &[u8]) -> RecordType {
        match record.first() {
            Some(&SERIES) => RecordType::Series,
            Some(&SAMPLES) => RecordType::Samples,
            Some(3) => RecordType::Tombstones,
            Some(&EXEMPLARS) => RecordType::Exemplars,
            Some(5) => RecordType::MmapMarkers,
            Some(&METADATA) => RecordType::Metadata,
            Some(7) => RecordType::HistogramSamples,
            Some(8) => RecordType::FloatHistogramSamples,
            Some(9) => RecordType::CustomBucketsHistogramSamples,
            Some(10) => RecordType::CustomBucketsFloatHistogramSamples,
            Some(11) => RecordType::SamplesV2,
            Some(12) => RecordType::HistogramSamplesV2,
            Some(13) => RecordType::FloatHistogramSamplesV2,
            Some(14) => RecordType::MinValidTime,
            _ => RecordType::Unknown,
        }
    }

    /// Prometheus' name, as in the label `type` of its metrics.
    pub fn name(self) -> &'static str {
        match self {
            RecordType::Series => "series",
            RecordType::Samples => "samples",
            RecordType::Tombstones => "tombstones",
            RecordType::Exemplars => "exemplars",
            RecordType::MmapMarkers => "mmapmarkers",
            RecordType::Metadata => "metadata",
            RecordType::HistogramSamples => "histogram_samples",
            RecordType::FloatHistogramSamples => "float_histogram_samples",
            RecordType::CustomBucketsHistogramSamples => "custom_buckets_histogram_samples",
            RecordType::CustomBucketsFloatHistogramSamples => "custom_buckets_float_histogram_samples",
            RecordType::SamplesV2 => "samples_v2",
            RecordType::HistogramSamplesV2 => "histogram_samples_v2",
            RecordType::FloatHistogramSamplesV2 => "float_histogram_samples_v2",
            RecordType::MinValidTime => "min_valid_time",
            RecordType::Unknown => "unknown",
        }
    }
}

/// A record whose bytes pass the checksum but do not mean what its type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The record ends inside an entry.
    Short,
    /// A variable-length number is longer than 64 bits.
    Overflow,
    /// A label name or value is not UTF-8.
    NotUtf8,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DecodeError::Short => "the record ends inside an entry",
            DecodeError::Overflow => "a number in the record is longer than 64 bits",
            DecodeError::NotUtf8 => "a label in the record is not UTF-8",
        })
    }
}

impl std::error::Error for DecodeError {}
