//! A stretch of a segment in memory: some commits one behind the other, written to the disk and let go as a whole.

use crate::wal::format::closed_segment::BatchSamples;
use crate::wal::format::record_batch::RecordBatch;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A piece of this size takes no more commits, in bytes.
const FULL_BYTES: usize = 64 * 1024;

/// Nor does one whose first commit is older: the age of a piece says how old what is in it may be.
const FULL_AGE: Duration = Duration::from_secs(20);

/// What may be written of a segment at a time.
#[derive(Clone, Debug)]
pub(in crate::wal) struct Piece {
    /// Where it stands in its segment, in bytes.
    pub(in crate::wal) start: u64,
    /// As they will stand there. Shared while they are written.
    pub(in crate::wal) bytes: Arc<Vec<u8>>,
    /// What is in it.
    pub(in crate::wal) holds: BatchSamples,
    /// Fragments of records in it.
    pub(in crate::wal) n_fragments: u64,
    /// Checksum of its last record.
    pub(in crate::wal) fingerprint: u32,
    /// It takes no more commits.
    pub(super) is_sealed: bool,
    /// When it was begun.
    pub(super) since: Instant,
}

impl Piece {
    /// An empty one.
    pub(in crate::wal) fn new(start: u64, since: Instant) -> Self {
        Self {
            start,
            bytes: Arc::default(),
            holds: BatchSamples::default(),
            n_fragments: 0,
            fingerprint: 0,
            is_sealed: false,
            since,
        }
    }

    /// Where it ends in its segment.
    pub(in crate::wal) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Adds a batch; `false` if it takes no more.
    pub(in crate::wal) fn append(&mut self, batch: &RecordBatch, holds: BatchSamples, now: Instant) -> bool {
        let is_full = self.bytes.len() >= FULL_BYTES || now.saturating_duration_since(self.since) >= FULL_AGE;
        if self.is_sealed || is_full {
            return false;
        }
        let bytes = Arc::make_mut(&mut self.bytes);
        self.n_fragments += batch.cut_into_pages(self.start, bytes);
        self.fingerprint = batch.last_payload().map_or(0, crc32c::crc32c);
        self.holds.samples += holds.samples;
        self.holds.histograms += holds.histograms;
        self.holds.newest_ts_ms = self.holds.newest_ts_ms.max(holds.newest_ts_ms);
        true
    }

    /// It takes no more commits; the room for them is given back.
    pub(super) fn seal(&mut self) {
        self.is_sealed = true;
        if let Some(bytes) = Arc::get_mut(&mut self.bytes) {
            bytes.shrink_to_fit();
        }
    }
}
