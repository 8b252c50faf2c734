//! The head as wal-maintenance sees it: what a start found, files that wait for their fsync, and a file or a lock that has
//! lost its name.

use crate::wal::error::WalError;
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::segment::SyncHandle;
use crate::wal::head::Shared;
use crate::wal::open::lock::DirLock;
use crate::wal::write::room::Room;
use crate::wal::write::segment_writer::{Rotated, SegmentWriter};
use crossbeam_channel::Sender;

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
        self.shared.head.lock().writer.as_ref().map(SegmentWriter::sync_handle)
    }

    /// See [`SegmentWriter::set_lost`].
    pub(in crate::wal) fn set_lost(self, errno: Option<i32>) {
        if let Some(writer) = &mut self.shared.head.lock().writer {
            writer.set_lost(errno);
        }
    }

    /// See [`SegmentWriter::begin_again`].
    ///
    /// # Errors
    /// The new file cannot be made; [`WalError::Closed`].
    pub(in crate::wal) fn begin_again(self, number: u32) -> Result<Vec<ClosedSegment>, WalError> {
        self.shared.head.lock().writer.as_mut().ok_or(WalError::Closed)?.begin_again(number)
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
            let lock = DirLock::acquire(&self.shared.options.path)?;
            let mut head = self.shared.head.lock();
            if head.writer.is_some() {
                head.lock = Some(lock);
            }
        }
        Ok(())
    }

    /// Whether the lock file is where it was; a log that is closed or goes without has none.
    pub(in crate::wal) fn is_lock_in_place(self) -> bool {
        self.shared.head.lock().lock.as_ref().is_none_or(DirLock::is_in_place)
    }

    /// Why writes are refused; `None` if the last one worked.
    pub(in crate::wal) fn refusal(self) -> Option<String> {
        let head = self.shared.head.lock();
        head.poisoned.map(|_| head.refusal.clone())
    }

    /// The oldest complete segment whose file still has to be fsynced, and the directory for the name of its successor.
    pub(in crate::wal) fn rotated(self) -> Option<Rotated> {
        self.shared.head.lock().writer.as_ref().and_then(SegmentWriter::rotated)
    }

    /// Wal-maintenance is done with this segment.
    pub(in crate::wal) fn forget_rotated(self, number: u32) {
        if let Some(writer) = &mut self.shared.head.lock().writer {
            writer.forget_rotated(number);
        }
    }

    /// Completes the segment being written, unless it is empty.
    ///
    /// # Errors
    /// The next segment cannot be made; [`WalError::Closed`].
    pub(in crate::wal) fn rotate(self) -> Result<(), WalError> {
        self.shared.head.lock().writer.as_mut().ok_or(WalError::Closed)?.rotate()
    }
}
