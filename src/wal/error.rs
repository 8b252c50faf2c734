//! What can go wrong in the WAL, a sentence a variant.

use std::fmt;
use std::path::PathBuf;

/// An error of the WAL.
#[derive(Debug)]
#[non_exhaustive]
pub enum WalError {
    /// A handle in the transaction is older than the last garbage collection: nothing was written; look the series
    /// up again and commit once more.
    StaleSeries,
    /// The log was closed: the daemon is stopping.
    Closed,
    /// The disk refused a write; the samples of this commit are lost and counted, the next commit tries again.
    Poisoned {
        /// What the system said.
        cause: std::io::Error,
    },
    /// 2³²−1 series exist.
    TooManySeries,
    /// Another process holds the data directory.
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file operation failed.
    Io {
        /// What was done, as in "create segment".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}

impl fmt::Display for WalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        todo!("wal helper")
    }
}

impl std::error::Error for WalError {}
