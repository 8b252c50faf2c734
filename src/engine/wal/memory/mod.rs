//! The memory end of the log: what is committed and not on the disk yet.
//!
//! With `--storage.agent.memory-first` commits go to the [`ring`], byte for byte as they will stand in their segments, so that
//! a place in the log stays the same place when it is written. What all readers have settled leaves it unwritten. Only
//! wal-maintenance writes from it (`keep/flush.rs`).

pub(in crate::wal) mod piece;
pub(in crate::wal) mod ring;

use crate::wal::error::WalError;
use crossbeam_channel::Sender;

/// Somebody wants what is in memory to be on the disk.
#[derive(Debug)]
pub(in crate::wal) struct FlushRequest {
    /// Gets one message. Has room for it.
    pub(in crate::wal) done: Sender<Result<(), WalError>>,
}
