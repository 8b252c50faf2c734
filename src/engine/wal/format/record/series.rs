//! Series records: which labels a ref stands for.

use crate::wal::format::record::bytes::Bytes;
use crate::wal::format::record::entries::{Entries, ReadEntry};
use crate::wal::format::record::labels::{LabelPairs, put_labels};
use crate::wal::format::record::record_type::{DecodeError, SERIES};

/// One series of a series record.
#[derive(Clone, Copy, Debug)]
pub struct SeriesEntry<'a> {
    /// Any 64-bit number: Prometheus' refs are sparse.
    pub series_ref: u64,
    /// Pairs in the order they were written in (by name, for every writer we know).
    pub labels: LabelPairs<'a>,
}

/// Entries of a series record.
pub type SeriesEntries<'a> = Entries<'a, SeriesReader>;

/// Reads them.
#[derive(Clone, Copy, Debug)]
pub struct SeriesReader;

impl<'a> ReadEntry<'a> for SeriesReader {
    type Entry = SeriesEntry<'a>;

    fn read(&mut self, body: &mut Bytes<'a>) -> Result<SeriesEntry<'a>, DecodeError> {
        Ok(SeriesEntry { series_ref: body.be_u64()?, labels: LabelPairs::decode(body)? })
    }
}

/// Writes a series record entry by entry at the end of a buffer.
#[derive(Debug)]
pub struct SeriesEncoder {}

impl SeriesEncoder {
    /// Starts a record in `out`, which must be empty.
    pub fn start(out: &mut Vec<u8>) -> Self {
        out.push(SERIES);
        Self {}
    }

    /// Adds one series; `labels` are in order of name.
    pub fn push<'a>(
        &mut self,
        out: &mut Vec<u8>,
        series_ref: u64,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        out.extend_from_slice(&series_ref.to_be_bytes());
        put_labels(out, labels);
    }
}
