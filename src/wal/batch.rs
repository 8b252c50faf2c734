//! Records on their way into a segment: compressed when they come in, cut into fragments once their place is known.
//!
//! Knows no file and no record type; its buffers are reused from batch to batch.

use crate::wal::compression::Compressor;
use crate::wal::head::Compression;
use crate::wal::page::append_record;

/// Buffers that a rare large batch made larger than this are given back, in bytes.
const KEPT_BUFFER_BYTES: usize = 256 * 1024;

/// Records that are written together.
#[derive(Debug)]
pub struct RecordBatch {
    compressor: Compressor,
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
            scratch: Vec::new(),
            payloads: Vec::new(),
            records: Vec::new(),
            saved_bytes: 0,
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

    /// Bytes that compression saved.
    pub fn saved_bytes(&self) -> u64 {
        self.saved_bytes
    }

    /// Puts the records as fragments at the end of `out`, which will stand `start` bytes into its segment; returns
    /// the number of fragments.
    pub fn cut_into_pages(&self, start: u64, out: &mut Vec<u8>) -> u64 {
        let mut fragments = 0;
        let mut begin = 0;
        for record in &self.records {
            let payload = self.payloads.get(begin..record.end).unwrap_or_default();
            fragments += append_record(out, start, payload, record.compression_flag);
            begin = record.end;
        }
        fragments
    }
}

/// Gives memory back that only a rare large batch needed.
pub fn shrink(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_BUFFER_BYTES {
        buffer.clear();
        buffer.shrink_to(KEPT_BUFFER_BYTES);
    }
}
