//! Metadata records: type, unit and help of a series.

use crate::metric_type::MetricType;
use crate::wal::format::record::bytes::{Bytes, put_text, put_uvarint};
use crate::wal::format::record::entries::{Entries, ReadEntry};
use crate::wal::format::record::record_type::{DecodeError, METADATA};

const UNIT: &str = "UNIT";
const HELP: &str = "HELP";

/// Fields that are written behind the type: the unit and the help.
const N_FIELDS: u64 = 2;

/// What is known of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataEntry<'a> {
    /// Ref of a series record that stands before it.
    pub series_ref: u64,
    /// Type of its family; one that is not known reads as unknown.
    pub metric_type: MetricType,
    /// Unit of its family; may be empty.
    pub unit: &'a str,
    /// Help of its family; may be empty.
    pub help: &'a str,
}

/// Entries of a metadata record.
pub type MetadataEntries<'a> = Entries<'a, MetadataReader>;

/// Reads them.
#[derive(Clone, Copy, Debug)]
pub struct MetadataReader;

impl<'a> ReadEntry<'a> for MetadataReader {
    type Entry = MetadataEntry<'a>;

    fn read(&mut self, body: &mut Bytes<'a>) -> Result<MetadataEntry<'a>, DecodeError> {
        let series_ref = body.uvarint()?;
        let metric_type = metric_type(body.byte()?);
        let (mut unit, mut help) = ("", "");
        // Fields of a later version are passed over.
        for _ in 0..body.uvarint()? {
            let name = body.text()?;
            let value = body.text()?;
            match name {
                UNIT => unit = value,
                HELP => help = value,
                _ => {}
            }
        }
        Ok(MetadataEntry { series_ref, metric_type, unit, help })
    }
}

/// Writes a metadata record entry by entry at the end of a buffer.
#[derive(Debug)]
pub struct MetadataEncoder {}

impl MetadataEncoder {
    /// Starts a record in `out`, which must be empty.
    pub fn start(out: &mut Vec<u8>) -> Self {
        out.push(METADATA);
        Self {}
    }

    /// Adds what is known of one series.
    pub fn push(&mut self, out: &mut Vec<u8>, entry: &MetadataEntry<'_>) {
        put_uvarint(out, entry.series_ref);
        out.push(type_code(entry.metric_type));
        put_uvarint(out, N_FIELDS);
        for text in [UNIT, entry.unit, HELP, entry.help] {
            put_text(out, text);
        }
    }
}

/// `record.ToMetricType`.
fn metric_type(code: u8) -> MetricType {
    match code {
        1 => MetricType::Counter,
        2 => MetricType::Gauge,
        3 => MetricType::Histogram,
        4 => MetricType::GaugeHistogram,
        5 => MetricType::Summary,
        6 => MetricType::Info,
        7 => MetricType::StateSet,
        _ => MetricType::Unknown,
    }
}

/// `record.GetMetricType`.
fn type_code(metric_type: MetricType) -> u8 {
    match metric_type {
        MetricType::Unknown => 0,
        MetricType::Counter => 1,
        MetricType::Gauge => 2,
        MetricType::Histogram => 3,
        MetricType::GaugeHistogram => 4,
        MetricType::Summary => 5,
        MetricType::Info => 6,
        MetricType::StateSet => 7,
    }
}
