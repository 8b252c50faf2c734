//! Writes many records into new segments that no one reads yet: checkpoints, repaired segments, imports.
//!
//! The caller gives the files their final names once [`BulkWriter::finish`] has made them durable, and removes them
//! after an error. Knows no record type.

use crate::disk::Disk;
use crate::wal::error::WalError;
use crate::wal::format::record_batch::RecordBatch;
use crate::wal::format::segment::{Segment, segment_path, sync_dir};
use crate::wal::options::Compression;
use std::path::{Path, PathBuf};

/// Fragments gathered before a write, in bytes.
const WRITE_BYTES: usize = 256 * 1024;

/// What a [`BulkWriter`] wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkWritten {
    /// Number of the last segment.
    pub last_segment: u32,
    /// Bytes in all segments.
    pub bytes: u64,
    /// Records in all segments.
    pub records: u64,
}

/// A writer of whole segments.
#[derive(Debug)]
pub struct BulkWriter<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    segment: Segment,
    segment_size_bytes: u64,
    batch: RecordBatch,
    pages: Vec<u8>,
    written: BulkWritten,
}

impl<'a> BulkWriter<'a> {
    /// Starts segment `first` in `dir`, which must exist; later ones follow it when one is full.
    ///
    /// # Errors
    /// The file exists or cannot be made.
    pub fn create(
        disk: &'a dyn Disk,
        dir: &Path,
        first: u32,
        segment_size_bytes: u64,
        compression: Compression,
    ) -> Result<Self, WalError> {
        Self::new(disk, segment_path(dir, first), dir, first, segment_size_bytes, compression)
    }

    /// Starts one file that takes everything, whatever its size and name.
    ///
    /// # Errors
    /// The file exists or cannot be made.
    pub fn create_file(
        disk: &'a dyn Disk,
        path: PathBuf,
        compression: Compression,
    ) -> Result<Self, WalError> {
        let dir = path.parent().map(Path::to_owned).unwrap_or_default();
        Self::new(disk, path, &dir, 0, u64::MAX, compression)
    }

    fn new(
        disk: &'a dyn Disk,
        path: PathBuf,
        dir: &Path,
        first: u32,
        segment_size_bytes: u64,
        compression: Compression,
    ) -> Result<Self, WalError> {
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            segment: Segment::create(disk, path, first)?,
            segment_size_bytes,
            batch: RecordBatch::new(compression),
            pages: Vec::new(),
            written: BulkWritten { last_segment: first, ..BulkWritten::default() },
        })
    }

    /// Adds a whole record, type byte first.
    ///
    /// # Errors
    /// The disk refused; what is on disk is of no use.
    pub fn append(&mut self, record: &[u8]) -> Result<(), WalError> {
        self.batch.clear();
        self.batch.push(record);
        let before = self.pages.len();
        self.batch.cut_into_pages(self.segment.bytes(), &mut self.pages);
        let end = self.segment.bytes() + self.pages.len() as u64;
        if end > self.segment_size_bytes && end > (self.pages.len() - before) as u64 {
            self.pages.truncate(before);
            self.next_segment()?;
            self.batch.cut_into_pages(0, &mut self.pages);
        }
        self.written.records += 1;
        if self.pages.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.written.bytes + self.segment.bytes() + self.pages.len() as u64
    }

    /// Writes what is gathered and makes files and names durable.
    ///
    /// # Errors
    /// The disk refused; what is on disk is of no use.
    pub fn finish(mut self) -> Result<BulkWritten, WalError> {
        self.flush()?;
        self.close_segment()?;
        let mut written = self.written;
        written.last_segment = self.segment.number();
        written.bytes += self.segment.bytes();
        sync_dir(self.disk, &self.dir)?;
        Ok(written)
    }

    fn flush(&mut self) -> Result<(), WalError> {
        self.segment.append(&self.pages).map_err(WalError::io("write segment", self.segment.path()))?;
        self.pages.clear();
        Ok(())
    }

    fn close_segment(&mut self) -> Result<(), WalError> {
        self.segment.sync_handle().sync().map_err(WalError::io("fsync segment", self.segment.path()))
    }

    fn next_segment(&mut self) -> Result<(), WalError> {
        self.flush()?;
        self.close_segment()?;
        let number = self.segment.number().checked_add(1).ok_or(WalError::TooManySegments)?;
        let next = Segment::create(self.disk, segment_path(&self.dir, number), number)?;
        self.written.bytes += self.segment.bytes();
        self.segment = next;
        Ok(())
    }
}
