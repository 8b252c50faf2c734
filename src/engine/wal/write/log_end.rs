//! Where a commit goes: to the file of the newest segment, or to the memory end of the log.

use crate::wal::format::closed_segment::BatchSamples;
use crate::wal::format::record_batch::RecordBatch;
use crate::wal::memory::ring::Ring;
use crate::wal::options::Compression;
use crate::wal::write::segment_writer::SegmentWriter;
use std::io;
use std::time::Instant;

/// The end of the log that a commit is added to.
#[derive(Debug)]
pub(in crate::wal) enum LogEnd<'a> {
    /// The newest segment's file.
    Disk(&'a mut SegmentWriter),
    /// The memory end.
    Memory {
        /// It holds something, or was begun.
        ring: &'a Ring,
        /// Most bytes of a segment.
        segment_size_bytes: u64,
        /// The time of the commit.
        now: Instant,
        /// It has become so full that it is to be written.
        is_filling: bool,
    },
}

impl<'a> LogEnd<'a> {
    /// The memory end, with the size of segments in bytes and the time of the commit.
    pub(in crate::wal) fn in_memory(ring: &'a Ring, segment_size_bytes: u64, now: Instant) -> Self {
        LogEnd::Memory { ring, segment_size_bytes, now, is_filling: false }
    }

    /// Number of the segment that the next batch most probably goes to.
    pub(in crate::wal) fn number(&self) -> u32 {
        match self {
            LogEnd::Disk(writer) => writer.number(),
            LogEnd::Memory { ring, .. } => ring.end().unwrap_or_default().segment,
        }
    }

    /// How its records are compressed. In memory they are not: most of them are never written, and who reads them has no
    /// work with them.
    pub(in crate::wal) fn compression(&self, on_disk: Compression) -> Compression {
        match self {
            LogEnd::Disk(_) => on_disk,
            LogEnd::Memory { .. } => Compression::None,
        }
    }

    /// Adds a batch; the number of the segment that it is in.
    ///
    /// # Errors
    /// The disk refused, or the memory is full: nothing of the batch is in the log.
    pub(in crate::wal) fn append(&mut self, batch: &RecordBatch, holds: BatchSamples) -> io::Result<u32> {
        match self {
            LogEnd::Disk(writer) => writer.append(batch, holds),
            LogEnd::Memory { ring, segment_size_bytes, now, is_filling } => {
                let appended = ring.append(batch, holds, *segment_size_bytes, *now);
                let appended = appended.map_err(|_| io::Error::from_raw_os_error(libc::ENOSPC))?;
                *is_filling |= appended.is_filling;
                Ok(appended.segment)
            }
        }
    }

    /// Whether wal-maintenance has something to do: the segment is another one than `before`, or the memory fills up.
    pub(in crate::wal) fn needs_upkeep(&self, before: u32) -> bool {
        match self {
            LogEnd::Disk(writer) => writer.number() != before,
            LogEnd::Memory { is_filling, .. } => *is_filling,
        }
    }
}
