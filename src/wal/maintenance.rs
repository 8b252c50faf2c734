//! The wal-maintenance thread: fsync, checkpoint, truncation by age and bytes, the reserve for a full disk.
//!
//! Knows the head and its files, nothing of who writes or reads the log.
//!
//! Needed from the head, all of it cheap and under its lock:
//! - `take_rotated() -> Vec<Rotated { closed: ClosedSegment, file: File }>`: rotated files, not fsynced yet;
//! - `current() -> ClosedSegment` so far and a `try_clone` of its file for the fsync tick;
//! - `rotate()`: closes the segment now (only for a bound that the newest segment alone breaks);
//! - `with_table(|table, truncating: &mut Option<u32>| …)`: the table and the mark;
//! - the segments that were there at start (`Replayed::segments`) and the newest checkpoint (`Replayed::checkpoint`);
//! - `full_disk: Option<io::Error>` state, and a way to be woken when a write failed for want of room: a
//!   `Sender<()>` of capacity 1 (`try_send`) that the head gets from `maintenance::Handle::spawn`.

use std::io;

use crate::wal::head::Wal;

/// The running thread; dropping the sender inside stops it.
#[derive(Debug)]
pub struct Handle {}

impl Handle {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub fn spawn(wal: Wal) -> io::Result<Handle> {
        let _ = wal;
        todo!("wal-life helper")
    }

    /// Stops and joins it.
    pub fn stop(self) {
        todo!("wal-life helper")
    }
}
