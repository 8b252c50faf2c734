//! Records on their way into a segment: compressed when they come in, cut into fragments once their place is known.
//!
//! Knows no file and no record type; its buffers are reused from batch to batch.

use crate::wal::format::compression::Compressor;
use crate::wal::format::page::{HEADER_BYTES, PAGE_BYTES, append_record};
use crate::wal::options::Compression;

/// Buffers that a rare large batch made larger than this are given back, in bytes.
const KEPT_BUFFER_BYTES: usize = 256 * 1024;

/// A batch is handed to the file in pieces of about this size in bytes, so that a page of a million new series is not
/// in memory once more.
const PIECE_BYTES: usize = 1024 * 1024;

/// Records that are written together.
#[derive(Debug)]
pub struct RecordBatch {
    compressor: Compressor,
    compression: Compression,
    scratch: Vec<u8>,
    payloads: Vec<u8>,
    records: Vec<BatchRecord>,
    saved_bytes: u64,
}

/// A record in `payloads`: from the end of the one before it to its own.
#[derive(Clone, Copy, Debug)]
struct BatchRecord {
    end: usize,
    compression_flag: u8,
}

impl RecordBatch {
    /// An empty batch.
    pub fn new(compression: Compression) -> Self {
        Self {
            compressor: Compressor::new(compression),
            compression,
            scratch: Vec::new(),
            payloads: Vec::new(),
            records: Vec::new(),
            saved_bytes: 0,
        }
    }

    /// How the records to come are compressed.
    pub fn compress_with(&mut self, compression: Compression) {
        if self.compression != compression {
            self.compression = compression;
            self.compressor = Compressor::new(compression);
        }
    }

    /// Forgets the records and keeps memory of ordinary size.
    pub fn clear(&mut self) {
        self.payloads.clear();
        self.records.clear();
        self.saved_bytes = 0;
        shrink(&mut self.payloads);
        shrink(&mut self.scratch);
    }

    /// Adds a whole record, type byte first.
    pub fn push(&mut self, record: &[u8]) {
        let start = self.payloads.len();
        let compression_flag = self.compressor.append(record, &mut self.scratch, &mut self.payloads);
        let end = self.payloads.len();
        self.saved_bytes += (record.len() - (end - start)) as u64;
        self.records.push(BatchRecord { end, compression_flag });
    }

    /// True without records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of the records, compressed.
    pub fn payload_bytes(&self) -> usize {
        self.payloads.len()
    }

    /// Bytes that compression saved.
    pub fn saved_bytes(&self) -> u64 {
        self.saved_bytes
    }

    /// The last record as it will stand in the log.
    pub fn last_payload(&self) -> Option<&[u8]> {
        self.payloads().last().map(|(payload, _)| payload)
    }

    /// At most this many bytes of a segment hold the records, wherever they start.
    pub fn max_bytes(&self) -> u64 {
        self.payloads().map(|(payload, _)| max_bytes_in_pages(payload.len() as u64)).sum()
    }

    /// Puts the records as fragments at the end of `out`, which will stand `start` bytes into its segment; returns
    /// the number of fragments.
    pub fn cut_into_pages(&self, start: u64, out: &mut Vec<u8>) -> u64 {
        self.payloads().map(|(payload, flag)| append_record(out, start, payload, flag)).sum()
    }

    /// As [`RecordBatch::cut_into_pages`] for a batch of any size: what comes out is handed to `write` in pieces, an
    /// ordinary batch in one.
    ///
    /// # Errors
    /// That of `write`, at once.
    pub fn cut_into_pieces<E>(
        &self,
        start: u64,
        piece: &mut Vec<u8>,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let (mut fragments, mut written) = (0, 0);
        piece.clear();
        for (payload, flag) in self.payloads() {
            fragments += append_record(piece, start + written, payload, flag);
            if piece.len() >= PIECE_BYTES {
                write(piece)?;
                written += piece.len() as u64;
                piece.clear();
            }
        }
        if !piece.is_empty() {
            write(piece)?;
        }
        Ok(fragments)
    }

    fn payloads(&self) -> impl Iterator<Item = (&[u8], u8)> {
        let mut begin = 0;
        self.records.iter().map(move |record| {
            let payload = self.payloads.get(begin..record.end).unwrap_or_default();
            begin = record.end;
            (payload, record.compression_flag)
        })
    }
}

/// A record in pages: each page it touches may cost a header and the zeros behind the last fragment.
fn max_bytes_in_pages(payload_bytes: u64) -> u64 {
    let overhead = 2 * HEADER_BYTES as u64;
    let n_pages = payload_bytes / (PAGE_BYTES as u64 - overhead) + 2;
    payload_bytes + n_pages * overhead
}

/// Gives memory back that only a rare large batch needed.
pub fn shrink(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_BUFFER_BYTES {
        buffer.clear();
        buffer.shrink_to(KEPT_BUFFER_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::RecordBatch;
    use crate::wal::format::page::PAGE_BYTES;
    use crate::wal::options::Compression;

    #[test]
    fn pieces_are_the_pages_and_no_longer_than_said() {
        let mut batch = RecordBatch::new(Compression::None);
        for sizes in [&[1_usize, 20_000, 32_754, 32_761, 70_000][..], &[900_000, 900_000, 3_000_000, 5], &[0]]
        {
            batch.clear();
            sizes.iter().for_each(|size| batch.push(&vec![1; *size]));
            for start in [0, 1, 32_000, 32_760, 32_761, 32_762, 32_767].map(|at| at + PAGE_BYTES as u64) {
                let mut pages = Vec::new();
                let fragments = batch.cut_into_pages(start, &mut pages);
                let mut pieces = Vec::new();
                let write = |piece: &[u8]| {
                    pieces.extend_from_slice(piece);
                    Ok::<(), ()>(())
                };
                assert_eq!(batch.cut_into_pieces(start, &mut Vec::new(), write), Ok(fragments));
                assert!(pieces == pages, "{sizes:?} at {start}");
                assert!(pages.len() as u64 <= batch.max_bytes(), "{sizes:?} at {start}: {}", pages.len());
            }
        }
    }
}
