//! The head as wal-maintenance sees it: what a start found, fsyncs and those that failed, and a file or a lock that has
//! lost its name.

use crate::disk::Access;
use crate::mutant::{self, Mutant};
use crate::wal::error::WalError;
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::position::Position;
use crate::wal::format::segment;
use crate::wal::format::segment::SyncHandle;
use crate::wal::head::Shared;
use crate::wal::memory::FlushRequest;
use crate::wal::memory::piece::Piece;
use crate::wal::memory::ring::Ring;
use crate::wal::open::lock::DirLock;
use crate::wal::write::room::Room;
use crate::wal::write::segment_writer::{Rotated, SegmentWriter};
use crossbeam_channel::Sender;
use std::io;

/// The segment being written, and what an fsync of it makes durable.
pub(in crate::wal) struct ToSync {
    segment: ClosedSegment,
    pub(super) file: SyncHandle,
    /// Checksum of the record that it ends with, where that is known.
    fingerprint: Option<u32>,
}

/// What wal-maintenance does with a log, and no one else.
#[derive(Clone, Copy, Debug)]
pub(in crate::wal) struct Upkeep<'a> {
    pub(super) shared: &'a Shared,
}

impl<'a> Upkeep<'a> {
    pub(in crate::wal) fn room(self) -> &'a Room {
        &self.shared.room
    }

    /// The segments that replay found, oldest first.
    pub(in crate::wal) fn segments_at_start(self) -> &'a [ClosedSegment] {
        self.shared.found.get().map_or(&[], |found| &found.segments)
    }

    /// The last of the segments that are still to be removed because the checkpoint stands for them.
    pub(in crate::wal) fn covered_at_start(self) -> Option<u32> {
        self.shared.found.get()?.covered
    }

    /// Number and bytes of the checkpoint that replay found.
    pub(in crate::wal) fn checkpoint_at_start(self) -> Option<(u32, u64)> {
        self.shared.found.get()?.checkpoint
    }

    /// From now on `waker` gets a message when a rotated file waits or the disk refuses a write. Its channel has room for
    /// one; a full one has its message already.
    pub(in crate::wal) fn wake_with(self, waker: Sender<()>) {
        self.shared.head.lock().waker = Some(waker);
    }

    /// The file being written; `None` once closed.
    pub(in crate::wal) fn current_file(self) -> Option<SyncHandle> {
        self.shared.writer.lock().as_ref().map(SegmentWriter::sync_handle)
    }

    /// See [`SegmentWriter::set_lost`].
    pub(in crate::wal) fn set_lost(self, errno: Option<i32>) {
        if let Some(writer) = &mut *self.shared.writer.lock() {
            writer.set_lost(errno);
        }
    }

    /// See [`SegmentWriter::begin_again`].
    ///
    /// # Errors
    /// The new file cannot be made; [`WalError::Closed`].
    pub(in crate::wal) fn begin_again(self, number: u32) -> Result<Vec<ClosedSegment>, WalError> {
        self.shared.writer.lock().as_mut().ok_or(WalError::Closed)?.begin_again(number)
    }

    /// Locks the data directory again if its lock file has vanished.
    ///
    /// # Errors
    /// Another process was faster, or the file cannot be made.
    pub(in crate::wal) fn lock_again(self) -> Result<(), WalError> {
        if !self.shared.options.lock_file {
            return Ok(());
        }
        if !self.is_lock_in_place() {
            let lock = DirLock::acquire(&*self.shared.options.disk, &self.shared.options.path)?;
            let mut head = self.shared.head.lock();
            if head.is_open {
                head.lock = Some(lock);
            }
        }
        Ok(())
    }

    /// Whether the lock file is where it was; a log that is closed or goes without has none.
    pub(in crate::wal) fn is_lock_in_place(self) -> bool {
        let disk = &*self.shared.options.disk;
        self.shared.head.lock().lock.as_ref().is_none_or(|lock| lock.is_in_place(disk))
    }

    /// Why writes are refused; `None` if the last one worked.
    pub(in crate::wal) fn refusal(self) -> Option<String> {
        let head = self.shared.head.lock();
        head.poisoned.map(|_| head.refusal.clone())
    }

    /// The oldest complete segment whose file still has to be fsynced, and the directory for the name of its successor.
    pub(in crate::wal) fn rotated(self) -> Option<Rotated> {
        self.shared.writer.lock().as_ref().and_then(SegmentWriter::rotated)
    }

    /// Wal-maintenance is done with this segment.
    pub(in crate::wal) fn forget_rotated(self, number: u32) {
        if let Some(writer) = &mut *self.shared.writer.lock() {
            writer.forget_rotated(number);
        }
    }

    /// From now on `flusher` takes requests to write what is in memory.
    pub(in crate::wal) fn flush_with(self, flusher: Sender<FlushRequest>) {
        self.shared.head.lock().flusher = Some(flusher);
    }

    /// Who writes what is in memory; `None` before wal-maintenance runs.
    pub(in crate::wal) fn flusher(self) -> Option<Sender<FlushRequest>> {
        self.shared.head.lock().flusher.clone()
    }

    /// The end of what was written to the disk.
    ///
    /// # Errors
    /// [`WalError::Closed`].
    pub(in crate::wal) fn disk_end(self) -> Result<Position, WalError> {
        self.shared.writer.lock().as_ref().map(SegmentWriter::end).ok_or(WalError::Closed)
    }

    /// See [`SegmentWriter::append_piece`].
    ///
    /// # Errors
    /// The disk refused: nothing of it is in the log.
    pub(in crate::wal) fn append_piece(self, piece: &Piece) -> io::Result<()> {
        let mut writer = self.shared.writer.lock();
        writer.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?.append_piece(piece)
    }

    /// See [`SegmentWriter::rotate_to`].
    ///
    /// # Errors
    /// The segment cannot be made; [`WalError::Closed`].
    pub(in crate::wal) fn rotate_to(self, number: u32) -> Result<(), WalError> {
        self.shared.writer.lock().as_mut().ok_or(WalError::Closed)?.rotate_to(number)
    }

    /// Completes the segment being written, unless it is empty: that in memory if there is one, whose file follows when it
    /// is written.
    ///
    /// # Errors
    /// The next segment cannot be made; [`WalError::Closed`].
    pub(in crate::wal) fn rotate(self) -> Result<(), WalError> {
        if self.shared.ring.as_ref().and_then(Ring::rotate).is_some() {
            return Ok(());
        }
        self.shared.writer.lock().as_mut().ok_or(WalError::Closed)?.rotate()
    }

    /// Makes what is written durable, unless a rotated file waits for wal-maintenance. A segment that cannot be fsynced is
    /// left for a new one: no later fsync can say anything of it.
    ///
    /// # Errors
    /// [`WalError::Unsynced`], or the directory refused.
    pub(in crate::wal) fn sync(self) -> Result<(), WalError> {
        self.sync_what_was_found()?;
        let Some(ToSync { segment, file, fingerprint }) = self.to_sync() else { return Ok(()) };
        if self.shared.durable.is_given_up(segment.number) {
            // There was no room for a new one.
            return self.leave(segment.number);
        }
        let synced = if mutant::is_on(Mutant::SyncSkipped) { Ok(()) } else { file.sync() };
        match synced {
            Ok(()) => {
                self.shared.durable.note_synced(&segment, fingerprint);
                Ok(())
            }
            Err(cause) => {
                let error = self.give_up(segment, cause);
                // Without room for a new one the next call tries again.
                let _ = self.leave(segment.number);
                Err(error)
            }
        }
    }

    /// Leaves a segment of which an fsync failed for a new one; or makes its file again without what was not durable, if that
    /// is still in memory.
    fn leave(self, number: u32) -> Result<(), WalError> {
        let Some(ring) = self.shared.ring.as_ref().filter(|ring| !ring.is_empty()) else {
            return self.rotate();
        };
        let (bytes, samples) = self.shared.durable.before_given_up(number);
        let path = segment::segment_path(&self.shared.wal_dir, number);
        let rewound = match &mut *self.shared.writer.lock() {
            Some(writer) if writer.number() == number => writer.rewind(bytes, samples),
            _ => return Ok(()),
        };
        rewound.map_err(WalError::io("write segment", &path))?;
        ring.note_written(number, bytes);
        self.shared.durable.begin_again(number);
        Ok(())
    }

    /// Whether an fsync of this segment failed.
    pub(in crate::wal) fn is_given_up(self, segment: u32) -> bool {
        self.shared.durable.is_given_up(segment)
    }

    /// The fsync of a segment has failed: what was written to it since the last one is not durable, and never will be.
    pub(in crate::wal) fn give_up(self, segment: ClosedSegment, cause: io::Error) -> WalError {
        let path = segment::segment_path(&self.shared.wal_dir, segment.number);
        if segment.bytes == 0 {
            return WalError::io("fsync segment", &path)(cause);
        }
        let n_samples = self.shared.durable.give_up(segment.number, segment.samples);
        self.shared.metrics.fsyncs_failed.inc();
        self.shared.metrics.samples_not_durable.add(n_samples);
        WalError::Unsynced { path, n_samples, cause }
    }

    /// The directory cannot be synced: the name of the segment being written may not survive, so neither does what is
    /// in it. The next fsync leaves it.
    pub(in crate::wal) fn give_up_name(self) {
        let current = self.shared.writer.lock().as_ref().map(SegmentWriter::number);
        if let Some(number) = current {
            self.shared.durable.give_up(number, 0);
        }
    }

    fn sync_what_was_found(self) -> Result<(), WalError> {
        if self.shared.durable.is_start_synced() {
            return Ok(());
        }
        let (disk, wal_dir) = (&*self.shared.options.disk, &self.shared.wal_dir);
        for found in self.segments_at_start() {
            let path = segment::segment_path(wal_dir, found.number);
            match disk.open(&path, Access::Read) {
                // Truncated meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(WalError::io("open segment", &path)(error)),
                Ok(file) => {
                    if let Err(cause) = file.sync() {
                        log::error!("{}", self.give_up(*found, cause));
                    }
                }
            }
        }
        segment::sync_dir(disk, wal_dir)?;
        self.shared.durable.note_start_synced();
        Ok(())
    }

    /// The segment being written so far and its file; `None` once closed, or while a rotated
    /// file waits for wal-maintenance.
    pub(super) fn to_sync(self) -> Option<ToSync> {
        let writer = self.shared.writer.lock();
        let writer = writer.as_ref().filter(|writer| !writer.has_rotated())?;
        Some(ToSync {
            segment: writer.current(),
            file: writer.sync_handle(),
            fingerprint: writer.fingerprint(),
        })
    }
}
