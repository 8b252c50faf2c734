//! Prometheus' record encodings (`tsdb/record/record.go`): what the bytes inside a record mean.
//!
//! Series, samples, histograms, exemplars and metadata are written; samples and histograms of version 2, as newer
//! servers write them, are read as well. Every other type is recognised and counted by the reader. Decoding walks
//! the borrowed bytes and builds no list; it is safe on any input. Knows no page, no file and no compression.

mod bytes;
mod deltas;
mod entries;
pub mod exemplars;
pub mod histograms;
pub mod labels;
pub mod metadata;
pub mod record_type;
pub mod samples;
pub mod series;

use crate::histogram::Flavour;
use crate::wal::format::record::bytes::Bytes;
use crate::wal::format::record::deltas::{Deltas, Version};
use crate::wal::format::record::entries::Entries;
use crate::wal::format::record::exemplars::{ExemplarReader, Exemplars};
use crate::wal::format::record::histograms::{HistogramReader, Histograms};
use crate::wal::format::record::metadata::{MetadataEntries, MetadataReader};
use crate::wal::format::record::record_type::RecordType;
use crate::wal::format::record::samples::{SampleReader, Samples};
use crate::wal::format::record::series::{SeriesEntries, SeriesReader};

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
    #[cfg(any(test, feature = "faults"))]
    crate::threads::fault::strike_at("record", record);
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
