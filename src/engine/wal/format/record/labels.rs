//! Label sets as records have them: a count, then names and values.

use crate::wal::format::record::bytes::{Bytes, put_text, put_uvarint};
use crate::wal::format::record::record_type::DecodeError;

/// Pairs of a label set, checked when they were decoded, in the order they were written in.
#[derive(Clone, Copy, Debug, Default)]
pub struct LabelPairs<'a> {
    n_labels: u64,
    pairs: Bytes<'a>,
}

impl<'a> LabelPairs<'a> {
    /// Reads what [`put_labels`] writes at the start of `body`.
    pub(super) fn decode(body: &mut Bytes<'a>) -> Result<Self, DecodeError> {
        let n_labels = body.uvarint()?;
        let start = body.0;
        for _ in 0..n_labels {
            body.text()?;
            body.text()?;
        }
        let used = start.len() - body.0.len();
        Ok(LabelPairs { n_labels, pairs: Bytes(start.get(..used).unwrap_or_default()) })
    }

    /// Labels that [`put_labels`] wrote; none if they are something else.
    pub(in crate::wal) fn from_encoded(encoded: &'a [u8]) -> Self {
        Self::decode(&mut Bytes(encoded)).unwrap_or_default()
    }

    /// The same bytes again.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_uvarint(out, self.n_labels);
        out.extend_from_slice(self.pairs.0);
    }
}

impl<'a> Iterator for LabelPairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.pairs.text().ok()?;
        let value = self.pairs.text().ok()?;
        self.n_labels = self.n_labels.saturating_sub(1);
        Some((name, value))
    }
}

/// Writes a label set; `labels` are in order of name.
pub(in crate::wal) fn put_labels<'a>(out: &mut Vec<u8>, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    // The count stands before the labels and is known after them: one byte for it is nearly always right.
    let count_at = out.len();
    out.push(0);
    let mut n_labels = 0_u64;
    for (name, value) in labels {
        put_text(out, name);
        put_text(out, value);
        n_labels += 1;
    }
    if n_labels < 0x80 {
        out[count_at] = n_labels as u8;
    } else {
        let mut count = Vec::new();
        put_uvarint(&mut count, n_labels);
        out.splice(count_at..=count_at, count);
    }
}
