//! Appends batches of records to the newest segment: one write a batch, rotation before it, recovery after a failure.
//!
//! Owned by the head and only touched under its lock. Never fsyncs: rotated files are kept for wal-maintenance to
//! take. Knows no record type and no series.

use crate::disk::Disk;
use crate::mutant::{self, Mutant};
use crate::wal::error::WalError;
use crate::wal::format::closed_segment::{BatchSamples, ClosedSegment, Head};
use crate::wal::format::position::Position;
use crate::wal::format::record_batch::{RecordBatch, shrink};
use crate::wal::format::segment::{Segment, SyncHandle, segment_path, sync_dir};
use crate::wal::memory::piece::Piece;
use crate::wal::metrics::WalMetrics;
use portable_atomic::{AtomicU64, Ordering};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A segment that is complete and whose file still has to be fsynced.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// What is in it.
    pub closed: ClosedSegment,
    /// Its file.
    pub file: SyncHandle,
}

/// The end of the log.
#[derive(Debug)]
pub struct SegmentWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_size_bytes: u64,
    segment: Segment,
    current: ClosedSegment,
    /// Checksum of the record that it ends with, where that is known.
    fingerprint: Option<u32>,
    rotated: Vec<Rotated>,
    /// Bytes of a failed write may stand behind the last whole record.
    torn: bool,
    /// The segment is full and no other could be made; said once.
    overlong: bool,
    /// The file has no name any more, and no other can be made: the system's error number. Nothing is written.
    lost: Option<i32>,
    pages: Vec<u8>,
    /// Readers that have an older file open leave it.
    n_remade: Arc<AtomicU64>,
    metrics: Arc<WalMetrics>,
}

impl SegmentWriter {
    /// Starts segment `number` in `dir`.
    ///
    /// # Errors
    /// The file exists, or the directory cannot be written.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        number: u32,
        segment_size_bytes: u64,
        n_remade: Arc<AtomicU64>,
        metrics: Arc<WalMetrics>,
    ) -> Result<Self, WalError> {
        let segment = Segment::create(&*disk, segment_path(dir, number), number)?;
        sync_dir(&*disk, dir)?;
        metrics.segment_current.set(f64::from(number));
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            segment_size_bytes,
            segment,
            current: ClosedSegment { number, ..ClosedSegment::default() },
            fingerprint: None,
            rotated: Vec::new(),
            torn: false,
            overlong: false,
            lost: None,
            pages: Vec::new(),
            n_remade,
            metrics,
        })
    }

    /// Number of the segment being written.
    pub fn number(&self) -> u32 {
        self.current.number
    }

    /// The end of the last whole batch.
    pub fn end(&self) -> Position {
        Position { segment: self.current.number, offset: self.current.bytes }
    }

    /// What the segment being written holds so far.
    pub fn current(&self) -> ClosedSegment {
        self.current
    }

    /// Checksum of the record that it ends with, where that is known.
    pub fn fingerprint(&self) -> Option<u32> {
        self.fingerprint
    }

    /// The file being written, for an fsync.
    pub fn sync_handle(&self) -> SyncHandle {
        self.segment.sync_handle()
    }

    /// Whether segments wait to be fsynced.
    pub fn has_rotated(&self) -> bool {
        !self.rotated.is_empty()
    }

    /// The oldest segment that waits to be fsynced.
    pub fn rotated(&self) -> Option<Rotated> {
        self.rotated.first().cloned()
    }

    /// This segment waits no more.
    pub fn forget_rotated(&mut self, number: u32) {
        self.rotated.retain(|rotated| rotated.closed.number != number);
    }

    /// Writes a batch in one piece; returns the segment it is in.
    ///
    /// # Errors
    /// The disk refused: nothing of the batch is in the log, the next call tries again.
    pub fn append(&mut self, batch: &RecordBatch, holds: BatchSamples) -> io::Result<u32> {
        let appended = self.try_append(batch, holds);
        if appended.is_err() {
            self.metrics.writes_failed.inc();
        }
        shrink(&mut self.pages);
        appended
    }

    /// Writes a piece of the segment from memory, where it belongs.
    ///
    /// # Errors
    /// The disk refused: nothing of it is in the log.
    pub(in crate::wal) fn append_piece(&mut self, piece: &Piece) -> io::Result<()> {
        let appended = self.try_append_piece(piece);
        if appended.is_err() {
            self.metrics.writes_failed.inc();
        }
        appended
    }

    /// Takes back what stands behind the first `bytes` bytes of the segment, with `samples` before them, though they were
    /// handed to the disk: into a file of its own, for the disk has said that it lost some of them.
    ///
    /// # Errors
    /// The disk refused.
    pub(in crate::wal) fn rewind(&mut self, bytes: u64, samples: u64) -> io::Result<()> {
        self.remake(bytes)?;
        self.torn = false;
        self.current.bytes = bytes;
        self.current.samples = samples;
        self.fingerprint = None;
        if bytes == 0 {
            self.current = ClosedSegment { number: self.current.number, ..ClosedSegment::default() };
        }
        Ok(())
    }

    /// Leaves the segment for the next one, unless it is empty. Its last page is not padded: no reader asks for that,
    /// and a crash leaves it so anyway.
    ///
    /// # Errors
    /// The next file cannot be made; the segment stays in use.
    pub fn rotate(&mut self) -> Result<(), WalError> {
        let next = self.current.number.checked_add(1).ok_or(WalError::TooManySegments)?;
        if self.current.bytes == 0 { Ok(()) } else { self.rotate_to(next) }
    }

    /// Leaves the segment for segment `number`.
    ///
    /// # Errors
    /// As [`SegmentWriter::rotate`].
    pub fn rotate_to(&mut self, number: u32) -> Result<(), WalError> {
        self.heal().map_err(WalError::io("write segment", self.segment.path()))?;
        let next = self.create_segment(number)?;
        let closed = self.current;
        self.fingerprint = None;
        let file = std::mem::replace(&mut self.segment, next).sync_handle();
        self.rotated.push(Rotated { closed, file });
        self.current = ClosedSegment { number, ..ClosedSegment::default() };
        self.metrics.segment_current.set(f64::from(number));
        Ok(())
    }

    /// Says whether what is written would be lost: the file has no name any more. Until it has one again, or
    /// [`SegmentWriter::begin_again`] makes another, nothing is written.
    pub fn set_lost(&mut self, errno: Option<i32>) {
        self.lost = errno;
    }

    /// The file is made on `disk` later, by [`SegmentWriter::begin_again`]: that takes nothing now.
    pub(in crate::wal) fn wait_for(&mut self, disk: Arc<dyn Disk>) {
        self.disk = disk;
        self.lost = Some(libc::EROFS);
    }

    /// Gives up the file, which has vanished, and goes on with segment `number`; returns what was in it, behind what was in
    /// the segments that waited for their fsync and wait no more.
    ///
    /// # Errors
    /// The new file cannot be made.
    pub fn begin_again(&mut self, number: u32) -> Result<Vec<ClosedSegment>, WalError> {
        self.segment = self.create_segment(number)?;
        self.torn = false;
        self.overlong = false;
        self.lost = None;
        self.fingerprint = None;
        self.metrics.segment_current.set(f64::from(number));
        let left = std::mem::replace(&mut self.current, ClosedSegment { number, ..ClosedSegment::default() });
        Ok(self.rotated.drain(..).map(|rotated| rotated.closed).chain([left]).collect())
    }

    /// Fsyncs everything; the writer is of no use afterwards.
    ///
    /// # Errors
    /// The disk refused.
    pub fn close(&mut self) -> Result<(), WalError> {
        for rotated in std::mem::take(&mut self.rotated) {
            rotated.file.sync().map_err(WalError::io("fsync segment", rotated.file.path()))?;
        }
        let path = self.segment.path().to_owned();
        self.heal().map_err(WalError::io("write segment", &path))?;
        self.segment.sync_handle().sync().map_err(WalError::io("fsync segment", &path))?;
        sync_dir(&*self.disk, &self.dir)
    }

    fn try_append(&mut self, batch: &RecordBatch, holds: BatchSamples) -> io::Result<u32> {
        if let Some(errno) = self.lost {
            return Err(io::Error::from_raw_os_error(errno));
        }
        self.heal()?;
        if self.current.bytes > 0 && self.current.bytes + batch.max_bytes() > self.segment_size_bytes {
            match self.rotate() {
                Ok(()) => self.overlong = false,
                // Without room for a new file there may still be room in this one: it gets longer than it should.
                Err(error) if !self.overlong => {
                    self.overlong = true;
                    log::warn!("{error}; segment {:08} gets longer than it should", self.current.number);
                }
                Err(_) => {}
            }
        }
        let start = self.current.bytes;
        let Self { segment, pages, .. } = self;
        let mut head = None;
        let write = |piece: &[u8]| {
            if start == 0 && head.is_none() {
                head = Some(Head::of(piece));
            }
            segment.append(piece)
        };
        let fragments = match batch.cut_into_pieces(start, pages, write) {
            Ok(fragments) => fragments,
            Err(error) => {
                self.torn = self.take_back().is_err();
                return Err(error);
            }
        };
        self.current.head = head.unwrap_or(self.current.head);
        self.fingerprint = None;
        self.note_appended(holds);
        self.count_pages(start, fragments, batch.saved_bytes());
        Ok(self.current.number)
    }

    fn try_append_piece(&mut self, piece: &Piece) -> io::Result<()> {
        if let Some(errno) = self.lost {
            return Err(io::Error::from_raw_os_error(errno));
        }
        self.heal()?;
        let start = self.current.bytes;
        if let Err(error) = self.segment.append(&piece.bytes) {
            self.torn = self.take_back().is_err();
            return Err(error);
        }
        if start == 0 {
            self.current.head = Head::of(&piece.bytes);
        }
        self.fingerprint = Some(piece.fingerprint);
        self.note_appended(piece.holds);
        self.count_pages(start, piece.n_fragments, 0);
        Ok(())
    }

    fn note_appended(&mut self, holds: BatchSamples) {
        self.current.bytes = self.segment.bytes();
        self.current.samples += holds.samples;
        self.current.histograms += holds.histograms;
        self.current.newest_ts_ms = self.current.newest_ts_ms.max(holds.newest_ts_ms);
    }

    /// Takes back the bytes of an earlier failed write, if they are still there.
    fn heal(&mut self) -> io::Result<()> {
        if self.torn {
            self.take_back()?;
            self.torn = false;
        }
        Ok(())
    }

    /// Leaves nothing behind the last whole batch. A file system that cannot cut (one that copies on write may be too
    /// full for it) gets a new file with the same name: a torn segment that has a successor makes Prometheus delete
    /// the successor.
    fn take_back(&mut self) -> io::Result<()> {
        if mutant::is_on(Mutant::TornBytesLeft) {
            return Ok(());
        }
        let end = self.current.bytes;
        self.segment.cut(end).or_else(|_| self.remake(end))
    }

    fn remake(&mut self, bytes: u64) -> io::Result<()> {
        self.segment.rewrite(&*self.disk, bytes)?;
        self.n_remade.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn create_segment(&self, number: u32) -> Result<Segment, WalError> {
        Segment::create(&*self.disk, segment_path(&self.dir, number), number)
    }

    fn count_pages(&self, start: u64, fragments: u64, saved_bytes: u64) {
        let end = self.current.bytes;
        let page = |at: u64| at / crate::wal::format::page::PAGE_BYTES as u64;
        self.metrics.page_flushes.inc();
        self.metrics.completed_pages.add(page(end) - page(start));
        self.metrics.record_part_writes.add(fragments);
        self.metrics.record_parts_bytes_written.add(end - start);
        self.metrics.record_bytes_saved.add(saved_bytes);
    }
}
