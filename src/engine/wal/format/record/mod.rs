//! Prometheus' record encodings (`tsdb/record/record.go`): what the bytes inside a record mean.
//!
//! Series, samples, histograms, exemplars and metadata are written; samples and histograms of version 2, as newer
//! servers write them, are read as well. Every other type is recognised and counted by whoever reads. Decoding walks
//! the borrowed bytes and builds no list; it is safe on any input. Knows no page, no file and no compression.

mod bytes;
mod deltas;
mod entries;
pub mod exemplars;
pub mod histograms;
pub mod labels;
pub mod metadata;
pub mod samples;
pub mod series;

use crate::histogram::Flavour;
use crate::wal::format::record::bytes::Bytes;
use crate::wal::format::record::deltas::{Deltas, Version};
use crate::wal::format::record::entries::Entries;
use crate::wal::format::record::exemplars::{ExemplarReader, Exemplars};
use crate::wal::format::record::histograms::{HistogramReader, Histograms};
use crate::wal::format::record::metadata::{MetadataEntries, MetadataReader};
use crate::wal::format::record::samples::{SampleReader, Samples};
use crate::wal::format::record::series::{SeriesEntries, SeriesReader};
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

const SERIES: u8 = 1;
const SAMPLES: u8 = 2;
const EXEMPLARS: u8 = 4;
const METADATA: u8 = 6;

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

/// A decoded record: what we understand, by entry; the rest by type.
#[derive(Clone, Debug)]
pub enum Record<'a> {
    /// Type 1.
    Series(SeriesEntries<'a>),
    /// Types 2 and 11; start times of type 11 are left out.
    Samples(Samples<'a>),
    /// Types 7 to 10, 12 and 13; start times of the last two are left out.
    Histograms(Histograms<'a>),
    /// Type 4.
    Exemplars(Exemplars<'a>),
    /// Type 6.
    Metadata(MetadataEntries<'a>),
    /// Any other type.
    Other(RecordType),
}

/// Starts to decode a record; entries are decoded as the iterators are pulled.
pub fn decode(record: &[u8]) -> Record<'_> {
    let body = Bytes(record.get(1..).unwrap_or_default());
    let samples = |version| {
        let reader = SampleReader { deltas: Deltas::new(version) };
        Record::Samples(Entries::new(body, reader))
    };
    let histograms = |flavour, version| {
        let reader = HistogramReader { deltas: Deltas::new(version), flavour };
        Record::Histograms(Entries::new(body, reader))
    };
    let exemplars = || ExemplarReader { deltas: Deltas::new(Version::V1) };
    match RecordType::of(record) {
        RecordType::Series => Record::Series(Entries::new(body, SeriesReader)),
        RecordType::Samples => samples(Version::V1),
        RecordType::SamplesV2 => samples(Version::V2),
        RecordType::HistogramSamples | RecordType::CustomBucketsHistogramSamples => {
            histograms(Flavour::Integer, Version::V1)
        }
        RecordType::FloatHistogramSamples | RecordType::CustomBucketsFloatHistogramSamples => {
            histograms(Flavour::Float, Version::V1)
        }
        RecordType::HistogramSamplesV2 => histograms(Flavour::Integer, Version::V2),
        RecordType::FloatHistogramSamplesV2 => histograms(Flavour::Float, Version::V2),
        RecordType::Exemplars => Record::Exemplars(Entries::new(body, exemplars())),
        RecordType::Metadata => Record::Metadata(Entries::new(body, MetadataReader)),
        other => Record::Other(other),
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
