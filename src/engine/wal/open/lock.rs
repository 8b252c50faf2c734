//! The lock file against a second process on the same data directory.
//!
//! The file is called `lock` and locked with `flock`, as Prometheus does it (`tsdb/tsdbutil/dir_locker.go`), so that
//! neither program opens a directory the other one holds. The lock belongs to the process: a file that a killed
//! process left behind never blocks. Held by the head for as long as it lives.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Access, Disk, DiskFile, TryLockError};
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
    file: Arc<dyn DiskFile>,
    clean_start: CleanStart,
}

impl DirLock {
    /// Locks `dir`, which must exist.
    ///
    /// # Errors
    /// [`WalError::Locked`] if another process holds it, [`WalError::Io`] if the file cannot be made or locked.
    pub fn acquire(disk: &dyn Disk, dir: &Path) -> Result<DirLock, WalError> {
        let path = dir.join(LOCK_FILE_NAME);
        let clean_start = if disk.exists(&path) { CleanStart::LockFileReplaced } else { CleanStart::Clean };
        for _ in 0..MAX_LOCK_ROUNDS {
            let file = match disk.open(&path, Access::Overwrite) {
                Err(cause) if is_locked_by_another(disk, &path) => {
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
            if is_same_file(disk, &*file, &path) {
                return Ok(DirLock { path, file, clean_start });
            }
        }
        Err(WalError::Locked { path })
    }

    /// Whether the file is still there; if not, another process could lock the directory.
    pub fn is_in_place(&self, disk: &dyn Disk) -> bool {
        is_same_file(disk, &*self.file, &self.path)
    }

    /// How the last process on this directory ended.
    pub fn clean_start(&self) -> CleanStart {
        self.clean_start
    }

    /// Unlocks and removes the file: the end of a clean stop.
    pub fn release(self, disk: &dyn Disk) {
        // Another process may have its own there, if this one is of a disk that took nothing.
        if self.is_in_place(disk) {
            // Removed while still locked. If that fails the next start only takes this stop for an unclean one.
            let _ = disk.remove_file(&self.path);
        }
        drop(self.file);
    }
}

/// For a file system that is read-only by now: who had locked it before still has.
fn is_locked_by_another(disk: &dyn Disk, path: &Path) -> bool {
    disk.open(path, Access::Read).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn is_same_file(disk: &dyn Disk, file: &dyn DiskFile, path: &Path) -> bool {
    match (file.metadata(), disk.metadata(path)) {
        (Ok(held), Ok(named)) => held.id == named.id,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn second_lock_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::acquire(&RealDisk, dir.path()).unwrap();
        assert_eq!(first.clean_start(), CleanStart::Clean);
        match DirLock::acquire(&RealDisk, dir.path()) {
            Err(WalError::Locked { path }) => assert_eq!(path, dir.path().join("lock")),
            other => panic!("got {other:?}"),
        }
        first.release(&RealDisk);
        assert!(!dir.path().join("lock").exists());
        let second = DirLock::acquire(&RealDisk, dir.path()).unwrap();
        assert_eq!(second.clean_start(), CleanStart::Clean);
    }

    #[test]
    fn stale_file_of_a_killed_process_never_blocks() {
        let dir = tempfile::tempdir().unwrap();
        drop(DirLock::acquire(&RealDisk, dir.path()).unwrap());
        assert!(dir.path().join("lock").exists());
        let lock = DirLock::acquire(&RealDisk, dir.path()).unwrap();
        assert_eq!(lock.clean_start(), CleanStart::LockFileReplaced);
    }

    #[test]
    fn missing_directory_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        match DirLock::acquire(&RealDisk, &dir.path().join("none")) {
            Err(WalError::Io { path, .. }) => assert_eq!(path, dir.path().join("none/lock")),
            other => panic!("got {other:?}"),
        }
    }
}
