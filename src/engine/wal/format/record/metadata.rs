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
        let metric_type = MetricType::of_number(body.byte()?);
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
        out.push(entry.metric_type.number());
        put_uvarint(out, N_FIELDS);
        for text in [UNIT, entry.unit, HELP, entry.help] {
            put_text(out, text);
        }
    }
}
