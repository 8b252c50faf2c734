//! The lock file against a second process on the same data directory.
//!
//! The file is called `lock` and locked with `flock`, as Prometheus does it (`tsdb/tsdbutil/dir_locker.go`), so that
//! neither program opens a directory the other one holds. The lock belongs to the process: a file that a killed
//! process left behind never blocks. Held by the head for as long as it lives.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::data_dir;
use crate::wal::error::WalError;

/// Name of the lock file in the data directory.
const LOCK_FILE_NAME: &str = "lock";

/// How often a lock is tried whose file its last holder removed between our opening and locking it. Each round needs
/// another process that stopped in that very moment.
const MAX_LOCK_ROUNDS: usize = 16;

/// How the last process on this directory ended; the value of `prometheus_agent_clean_start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanStart {
    /// `--storage.agent.no-lockfile`: nothing is known.
    LockFileDisabled,
    /// A lock file was left behind: the last process was killed or lost its power.
    LockFileReplaced,
    /// No lock file was there.
    Clean,
}

impl CleanStart {
    /// The gauge's value, as Prometheus has it.
    pub fn gauge_value(self) -> f64 {
        match self {
            CleanStart::LockFileDisabled => -1.0,
            CleanStart::LockFileReplaced => 0.0,
            CleanStart::Clean => 1.0,
        }
    }
}

/// A locked data directory. Dropping it unlocks and leaves the file, as a killed process does.
#[derive(Debug)]
pub struct DirLock {
    path: PathBuf,
    file: File,
    clean_start: CleanStart,
}

impl DirLock {
    /// Locks `dir`, which must exist.
    ///
    /// # Errors
    /// [`WalError::Locked`] if another process holds it, [`WalError::Io`] if the file cannot be made or locked.
    pub fn acquire(dir: &Path) -> Result<DirLock, WalError> {
        let path = dir.join(LOCK_FILE_NAME);
        let clean_start = if path.exists() { CleanStart::LockFileReplaced } else { CleanStart::Clean };
        for _ in 0..MAX_LOCK_ROUNDS {
            let opened = data_dir::options().create(true).truncate(false).read(true).write(true).open(&path);
            let file = match opened {
                Err(cause) if is_locked_by_another(&path) => {
                    log::debug!("lock file {}: {cause}", path.display());
                    return Err(WalError::Locked { path });
                }
                opened => opened.map_err(WalError::io("open lock file", &path))?,
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(WalError::Locked { path }),
                Err(TryLockError::Error(cause)) => return Err(WalError::Io { action: "lock", path, cause }),
            }
            // The last holder may have removed the file after we opened it: then the lock is on a file without a
            // name, and the next process would make and lock a new one.
            if is_same_file(&file, &path) {
                return Ok(DirLock { path, file, clean_start });
            }
        }
        Err(WalError::Locked { path })
    }

    /// Whether the file is still there; if not, another process could lock the directory.
    pub fn is_in_place(&self) -> bool {
        is_same_file(&self.file, &self.path)
    }

    /// How the last process on this directory ended.
    pub fn clean_start(&self) -> CleanStart {
        self.clean_start
    }

    /// Unlocks and removes the file: the end of a clean stop.
    pub fn release(self) {
        // Removed while still locked. If that fails the next start only takes this stop for an unclean one.
        let _ = fs::remove_file(&self.path);
        drop(self.file);
    }
}

/// For a file system that is read-only by now: who had locked it before still has.
fn is_locked_by_another(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => held.dev() == named.dev() && held.ino() == named.ino(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_lock_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::acquire(dir.path()).unwrap();
        assert_eq!(first.clean_start(), CleanStart::Clean);
        match DirLock::acquire(dir.path()) {
            Err(WalError::Locked { path }) => assert_eq!(path, dir.path().join("lock")),
            other => panic!("got {other:?}"),
        }
        first.release();
        assert!(!dir.path().join("lock").exists());
        let second = DirLock::acquire(dir.path()).unwrap();
        assert_eq!(second.clean_start(), CleanStart::Clean);
    }

    #[test]
    fn stale_file_of_a_killed_process_never_blocks() {
        let dir = tempfile::tempdir().unwrap();
        drop(DirLock::acquire(dir.path()).unwrap());
        assert!(dir.path().join("lock").exists());
        let lock = DirLock::acquire(dir.path()).unwrap();
        assert_eq!(lock.clean_start(), CleanStart::LockFileReplaced);
    }

    #[test]
    fn missing_directory_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        match DirLock::acquire(&dir.path().join("none")) {
            Err(WalError::Io { path, .. }) => assert_eq!(path, dir.path().join("none/lock")),
            other => panic!("got {other:?}"),
        }
    }
}
