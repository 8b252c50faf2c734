//! A disk that fails on demand, for tests; nothing that is shipped is built with it.
//!
//! It stands over another disk and passes on what it does not refuse. What it refuses is said by [`Faults`], which a test
//! changes while the log runs.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Access, Disk, DiskFile, Entry, FileSystem, Metadata, RealDisk, TryLockError};

mod faults;

pub use faults::{Before, Chance, Faults, Operation};

/// A disk that fails on demand. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    below: Arc<dyn Disk>,
    faults: Shared,
}

impl Default for FaultyDisk {
    fn default() -> Self {
        FaultyDisk::over(Arc::new(RealDisk))
    }
}

impl FaultyDisk {
    /// Nothing is wrong with it yet.
    pub fn over(below: Arc<dyn Disk>) -> FaultyDisk {
        FaultyDisk { below, faults: Shared::default() }
    }

    /// From now on this is wrong with it, and nothing else.
    pub fn set(&self, faults: Faults) {
        *self.faults.0.lock() = faults;
    }

    /// From now on nothing is wrong with it.
    pub fn heal(&self) {
        self.set(Faults::default());
    }
}

#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<Faults>>);

impl Shared {
    /// Whether an operation goes on.
    fn pass(&self, operation: Operation) -> io::Result<()> {
        let before = self.0.lock().before.clone();
        if let Some(Before(wait)) = before {
            wait(operation);
        }
        let mut faults = self.0.lock();
        if let Some(errno) = faults.refused.get(&operation) {
            return Err(io::Error::from_raw_os_error(*errno));
        }
        // A write that fails by chance gets a part of it through.
        if operation == Operation::Write || !Operation::CHANGES.contains(&operation) {
            return Ok(());
        }
        faults.chance.as_mut().and_then(Chance::strike).map_or(Ok(()), Err)
    }

    /// As much of `wanted_bytes` as can be written, and why that is not all.
    fn fitting(&self, access: Access, wanted_bytes: u64) -> (u64, Option<io::Error>) {
        let mut faults = self.0.lock();
        if let Some(chance) = &mut faults.chance
            && let Some(error) = chance.strike()
        {
            return (chance.draw.below(wanted_bytes), Some(error));
        }
        let is_appended = matches!(access, Access::Append | Access::CreateNew);
        match &mut faults.room_bytes {
            Some(room_bytes) if is_appended => {
                let fitting = wanted_bytes.min(*room_bytes);
                *room_bytes -= fitting;
                (fitting, (fitting < wanted_bytes).then(|| io::Error::from_raw_os_error(libc::ENOSPC)))
            }
            _ => (wanted_bytes, None),
        }
    }

    fn lies(&self) -> bool {
        self.0.lock().lies_about_syncs
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        self.faults.pass(Operation::Open(access))?;
        let below = self.below.open(path, access)?;
        Ok(Arc::new(FaultyFile { below, access, faults: self.faults.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.pass(Operation::Rename)?;
        self.below.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.faults.pass(Operation::Remove)?;
        self.below.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.faults.pass(Operation::Remove)?;
        self.below.remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.faults.pass(Operation::CreateDir)?;
        self.below.create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.faults.pass(Operation::SyncDir)?;
        if self.faults.lies() { Ok(()) } else { self.below.sync_dir(path) }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.faults.pass(Operation::Look)?;
        self.below.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.faults.pass(Operation::Look)?;
        self.below.metadata(path)
    }

    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        let file_system = self.below.file_system(path)?;
        let faults = self.faults.0.lock();
        let room_bytes = faults.room_bytes.unwrap_or(u64::MAX);
        Ok(FileSystem {
            available_bytes: file_system.available_bytes.min(room_bytes),
            is_read_only: file_system.is_read_only
                || faults.refused.get(&Operation::Write) == Some(&libc::EROFS),
            ..file_system
        })
    }
}

#[derive(Debug)]
struct FaultyFile {
    below: Arc<dyn DiskFile>,
    access: Access,
    faults: Shared,
}

impl DiskFile for FaultyFile {
    fn write_all(&self, data: &[u8]) -> io::Result<()> {
        self.faults.pass(Operation::Write)?;
        let (fitting, refusal) = self.faults.fitting(self.access, data.len() as u64);
        self.below.write_all(&data[..fitting as usize])?;
        refusal.map_or(Ok(()), Err)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.faults.pass(Operation::Read)?;
        self.below.read_at(buf, at)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.faults.pass(Operation::SetLen)?;
        self.below.set_len(bytes)
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        self.faults.pass(Operation::Allocate)?;
        match self.faults.fitting(Access::Append, to.saturating_sub(from)) {
            (_, Some(refusal)) => Err(refusal),
            (_, None) => self.below.allocate(from, to),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.pass(Operation::Sync)?;
        if self.faults.lies() { Ok(()) } else { self.below.sync() }
    }

    fn metadata(&self) -> io::Result<Metadata> {
        self.below.metadata()
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        self.below.try_lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;
    use std::fs;

    fn errno<T: Debug>(done: io::Result<T>) -> i32 {
        done.unwrap_err().raw_os_error().unwrap()
    }

    #[test]
    fn what_is_refused_is_not_done() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        let path = dir.path().join("file");
        let file = disk.open(&path, Access::CreateNew).unwrap();
        file.write_all(b"text").unwrap();
        disk.set(Faults::refusing(Operation::all(), libc::EIO));
        assert_eq!(errno(file.write_all(b"more")), libc::EIO);
        assert_eq!(errno(file.read_at(&mut [0; 4], 0)), libc::EIO);
        assert_eq!(errno(file.set_len(0)), libc::EIO);
        assert_eq!(errno(file.allocate(4, 10)), libc::EIO);
        assert_eq!(errno(file.sync()), libc::EIO);
        assert_eq!(errno(disk.open(&path, Access::Read)), libc::EIO);
        assert_eq!(errno(disk.rename(&path, &dir.path().join("other"))), libc::EIO);
        assert_eq!(errno(disk.remove_file(&path)), libc::EIO);
        assert_eq!(errno(disk.create_dir(&dir.path().join("dir"))), libc::EIO);
        assert_eq!(errno(disk.sync_dir(dir.path())), libc::EIO);
        assert_eq!(errno(disk.list(dir.path())), libc::EIO);
        assert_eq!(errno(disk.metadata(&path)), libc::EIO);
        disk.heal();
        file.sync().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"text");
        assert_eq!(disk.list(dir.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_write_that_does_not_fit_is_cut_short() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        let path = dir.path().join("file");
        let file = disk.open(&path, Access::CreateNew).unwrap();
        disk.set(Faults::default().with_room(3));
        assert_eq!(errno(file.write_all(b"text")), libc::ENOSPC);
        assert_eq!(errno(file.allocate(3, 4)), libc::ENOSPC);
        assert_eq!(fs::read(&path).unwrap(), b"tex");
        assert_eq!(disk.file_system(dir.path()).unwrap().available_bytes, 0);
        disk.open(&path, Access::Overwrite).unwrap().write_all(b"over").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"over");
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let outcomes = |seed| {
            let dir = tempfile::tempdir().unwrap();
            let disk = FaultyDisk::default();
            let file = disk.open(&dir.path().join("file"), Access::CreateNew).unwrap();
            disk.set(Faults { chance: Some(Chance::new(seed, 3)), ..Faults::default() });
            let write = |_| {
                let written = file.write_all(&[7; 100]).map_err(|error| error.raw_os_error());
                (written, file.sync().is_ok(), file.metadata().unwrap().bytes)
            };
            (0..50).map(write).collect::<Vec<_>>()
        };
        let first = outcomes(1);
        assert_eq!(first, outcomes(1));
        assert_ne!(first, outcomes(2));
        let n_failed = first.iter().filter(|(written, _, _)| written.is_err()).count();
        assert!((5..30).contains(&n_failed), "{n_failed}");
        assert!(first.last().is_some_and(|(_, _, bytes)| bytes % 100 != 0), "some were cut short");
    }

    #[test]
    fn what_is_slow_is_slow_before_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        let file = disk.open(&dir.path().join("file"), Access::CreateNew).unwrap();
        let (sender, seen) = crossbeam_channel::unbounded();
        let before = Before::each(move |operation| sender.send(operation).unwrap());
        disk.set(Faults { before: Some(before), ..Faults::default() });
        file.write_all(b"text").unwrap();
        file.sync().unwrap();
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), [Operation::Write, Operation::Sync]);
    }
}
