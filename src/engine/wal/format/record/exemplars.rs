//! Exemplar records: observations that stand for others, with labels of their own.

use crate::wal::format::record::bytes::Bytes;
use crate::wal::format::record::deltas::{DeltaEncoder, Deltas};
use crate::wal::format::record::entries::{Entries, ReadEntry};
use crate::wal::format::record::labels::LabelPairs;
use crate::wal::format::record::record_type::{DecodeError, EXEMPLARS};

/// One exemplar.
#[derive(Clone, Copy, Debug)]
pub struct ExemplarEntry<'a> {
    /// Ref of a series record that stands before it.
    pub series_ref: u64,
    /// Milliseconds since the Unix epoch: its own timestamp, or that of the scrape.
    pub ts_ms: i64,
    /// The observed value.
    pub value: f64,
    /// Its own labels in order of name.
    pub labels: LabelPairs<'a>,
}

/// Entries of an exemplar record.
pub type Exemplars<'a> = Entries<'a, ExemplarReader>;

/// Reads them.
#[derive(Clone, Debug)]
pub struct ExemplarReader {
    pub(super) deltas: Deltas,
}

impl<'a> ReadEntry<'a> for ExemplarReader {
    type Entry = ExemplarEntry<'a>;

    fn read(&mut self, body: &mut Bytes<'a>) -> Result<ExemplarEntry<'a>, DecodeError> {
        let (series_ref, ts_ms) = self.deltas.next(body)?;
        let value = body.float()?;
        Ok(ExemplarEntry { series_ref, ts_ms, value, labels: LabelPairs::decode(body)? })
    }
}

/// Writes an exemplar record entry by entry at the end of a buffer.
#[derive(Debug)]
pub struct ExemplarsEncoder {
    deltas: DeltaEncoder,
}

impl ExemplarsEncoder {
    /// Starts a record in `out`, which must be empty.
    pub fn start(out: &mut Vec<u8>) -> Self {
        out.push(EXEMPLARS);
        Self { deltas: DeltaEncoder::default() }
    }

    /// Adds one exemplar.
    pub fn push(&mut self, out: &mut Vec<u8>, exemplar: &ExemplarEntry<'_>) {
        self.deltas.put(out, exemplar.series_ref, exemplar.ts_ms);
        out.extend_from_slice(&exemplar.value.to_bits().to_be_bytes());
        exemplar.labels.put(out);
    }
}
