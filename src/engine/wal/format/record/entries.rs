//! A record as a list of entries, whatever they are.

use crate::wal::format::record::bytes::Bytes;
use crate::wal::format::record::record_type::DecodeError;

/// What distinguishes the entries of one type of record from those of another.
pub trait ReadEntry<'a> {
    /// One of them.
    type Entry;

    /// The next one; there is at least a byte of it.
    ///
    /// # Errors
    /// The bytes are not one.
    fn read(&mut self, body: &mut Bytes<'a>) -> Result<Self::Entry, DecodeError>;
}

/// Entries of a record. After an error it ends.
#[derive(Clone, Debug)]
pub struct Entries<'a, R> {
    body: Bytes<'a>,
    reader: R,
}

impl<'a, R> Entries<'a, R> {
    pub(super) fn new(body: Bytes<'a>, reader: R) -> Self {
        Self { body, reader }
    }
}

impl<'a, R: ReadEntry<'a>> Iterator for Entries<'a, R> {
    type Item = Result<R::Entry, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        // A record of nothing but its type, as an older writer may leave it, holds nothing in Prometheus either.
        if self.body.0.is_empty() {
            return None;
        }
        let entry = self.reader.read(&mut self.body);
        if entry.is_err() {
            self.body = Bytes::default();
        }
        Some(entry)
    }
}
