//! What can go wrong in the WAL, a sentence a variant: the fact, what happens next, the way out.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

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
        cause: io::Error,
    },
    /// 2³²−1 series exist.
    TooManySeries,
    /// Segment number 2³²−1 is in use.
    TooManySegments,
    /// Another process holds the data directory.
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The data directory is of a newer program.
    NewerFormat {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        text: String,
        /// This program and its version.
        this: &'static str,
    },
    /// The data directory is of nobody knows whom.
    UnknownFormat {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        text: String,
        /// This program and its version.
        this: &'static str,
    },
    /// A segment's fsync failed: it is closed, and a new one begun.
    Unsynced {
        /// Its file.
        path: PathBuf,
        /// Samples written to it since the last fsync.
        n_samples: u64,
        /// What the system said.
        cause: io::Error,
    },
    /// A file operation failed.
    Io {
        /// What was done, as in "create segment".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

impl WalError {
    /// For `map_err` after the operation `action` on `path`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalError {
        let path = path.to_owned();
        move |cause| WalError::Io { action, path, cause }
    }

    /// Whether the disk is full, read-only, failing or away: that may pass while the daemon runs.
    pub fn may_pass(&self) -> bool {
        self.cause().is_some_and(is_of_the_disk)
    }

    /// The system's error, if one is behind this.
    pub fn cause(&self) -> Option<&io::Error> {
        match self {
            WalError::Poisoned { cause } | WalError::Unsynced { cause, .. } | WalError::Io { cause, .. } => {
                Some(cause)
            }
            _ => None,
        }
    }
}

/// Whether an error says that the disk is full, read-only, failing or away, and nothing of what was asked of it.
pub fn is_of_the_disk(cause: &io::Error) -> bool {
    let is_failing = matches!(
        cause.raw_os_error(),
        Some(
            libc::EIO
                | libc::EUCLEAN
                | libc::ENODEV
                | libc::ENXIO
                | libc::ESTALE
                | libc::ENOTCONN
                | libc::ETIMEDOUT
                | libc::EHOSTDOWN
        )
    );
    is_failing
        || matches!(
            cause.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
        )
}

impl fmt::Display for WalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalError::StaleSeries => {
                f.write_str("series in the transaction were removed meanwhile; look them up again and commit once more")
            }
            WalError::Closed => f.write_str("the write-ahead log is closed because the daemon is stopping"),
            WalError::Poisoned { cause } => {
                write!(f, "cannot write to the write-ahead log: {cause}; the samples of this scrape are lost and ")?;
                f.write_str("counted, the next scrape tries again")?;
                way_out(f, cause)
            }
            WalError::TooManySeries => f.write_str(
                "too many series (series: 4294967295, limit: 4294967295); new series are refused until old ones are \
                 truncated; scrape fewer targets with this process",
            ),
            WalError::TooManySegments => f.write_str(
                "segment numbers are used up (segment: 4294967295, limit: 4294967295); nothing more can be written; \
                 choose another --storage.agent.path",
            ),
            WalError::Locked { path } => {
                write!(f, "data directory is locked by another process ({}); ", path.display())?;
                f.write_str("stop the other process or choose another --storage.agent.path")
            }
            WalError::NewerFormat { path, text, this } => write!(
                f,
                "{} says {text:?}, a newer format than {this} knows; nothing was touched: start the newer program again, \
                 or choose another --storage.agent.path",
                path.display()
            ),
            WalError::UnknownFormat { path, text, this } => write!(
                f,
                "{} says {text:?}, which is no version of a data directory; nothing was touched: remove that file if the \
                 directory was written by {this} or by a Prometheus agent, or choose another --storage.agent.path",
                path.display()
            ),
            WalError::Unsynced { path, n_samples, cause } => {
                write!(
                    f,
                    "cannot fsync segment {}: {cause}; a loss of power may take its newest {n_samples} samples, and no \
                     later fsync will change that; what comes next goes into a new segment",
                    path.display()
                )?;
                way_out(f, cause)
            }
            WalError::Io { action, path, cause } => {
                write!(f, "cannot {action} {}: {cause}", path.display())?;
                way_out(f, cause)
            }
        }
    }
}

/// What the user can do about an error of the system, where there is something.
fn way_out(f: &mut fmt::Formatter<'_>, cause: &io::Error) -> fmt::Result {
    match cause.kind() {
        ErrorKind::PermissionDenied => f.write_str(
            "; give this user the rights to read and write there or choose another --storage.agent.path",
        ),
        ErrorKind::ReadOnlyFilesystem => {
            f.write_str("; mount the file system writable or choose another --storage.agent.path")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            f.write_str("; make room or lower --storage.agent.retention.max-bytes")
        }
        _ if cause.raw_os_error() == Some(libc::EIO) => {
            f.write_str("; the disk, the card or its cable fails, see the kernel's log")
        }
        ErrorKind::NotADirectory => f.write_str("; --storage.agent.path must be a directory"),
        _ => Ok(()),
    }
}

impl std::error::Error for WalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::WalError;
    use std::io::{Error, ErrorKind};
    use std::path::{Path, PathBuf};

    #[test]
    fn what_a_disk_does_may_pass_and_what_somebody_did_may_not() {
        let may_pass =
            |errno| WalError::io("open", Path::new("x"))(Error::from_raw_os_error(errno)).may_pass();
        for errno in
            [libc::ENOSPC, libc::EDQUOT, libc::EROFS, libc::EIO, libc::EUCLEAN, libc::ESTALE, libc::ENODEV]
        {
            assert!(may_pass(errno), "{}", Error::from_raw_os_error(errno));
        }
        for errno in
            [libc::EACCES, libc::EPERM, libc::ENOTDIR, libc::ENOENT, libc::EEXIST, libc::EINVAL, libc::EMFILE]
        {
            assert!(!may_pass(errno), "{}", Error::from_raw_os_error(errno));
        }
        assert!(!WalError::Locked { path: PathBuf::from("d/lock") }.may_pass());
        assert!(!WalError::TooManySegments.may_pass());
    }

    #[test]
    fn a_sentence_has_the_way_out() {
        let check = |error: WalError, expected: &str| {
            let sentence = error.to_string();
            assert!(sentence.ends_with(expected), "{sentence}");
            assert!(!sentence.ends_with('.') && sentence.starts_with(|first: char| first.is_lowercase()));
        };
        let io =
            |kind: ErrorKind| WalError::io("create segment", Path::new("d/wal/00000000"))(Error::from(kind));
        check(
            WalError::Locked { path: PathBuf::from("d/lock") },
            "(d/lock); stop the other process or choose another --storage.agent.path",
        );
        check(io(ErrorKind::PermissionDenied), "choose another --storage.agent.path");
        check(
            io(ErrorKind::ReadOnlyFilesystem),
            "mount the file system writable or choose another --storage.agent.path",
        );
        check(io(ErrorKind::StorageFull), "lower --storage.agent.retention.max-bytes");
        check(io(ErrorKind::NotADirectory), "--storage.agent.path must be a directory");
        check(
            WalError::Poisoned { cause: Error::from(ErrorKind::StorageFull) },
            "--storage.agent.retention.max-bytes",
        );
        check(WalError::TooManySeries, "scrape fewer targets with this process");
        check(WalError::TooManySegments, "choose another --storage.agent.path");
        check(WalError::StaleSeries, "commit once more");
        check(WalError::Closed, "the daemon is stopping");
    }
}
