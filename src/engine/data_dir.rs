//! The data directory: open to this user alone, and its names survive a loss of power.
//!
//! What is in there may be secret (labels, annotations of pods, addresses): a [`Disk`] makes every file with mode 0600 and
//! every directory with 0700. Nothing is made in the data directory in another way.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use parking_lot::Mutex;

use crate::disk::{Access, Disk};

/// What may stand in the data directory; anything else there is somebody else's.
const OUR_NAMES: [&str; 7] = ["wal", "remote", "discovery", "unstamped", "lock", "reserve", "version"];

/// Bits of a mode that say what others may do.
const OTHERS: u32 = 0o077;
/// In a directory that many users share.
const STICKY: u32 = 0o1000;

/// File systems that cannot sync a directory, by device: each is mentioned once.
static UNABLE_TO_SYNC: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// Makes a directory, which must not exist. Its name is durable afterwards.
///
/// # Errors
/// It exists or cannot be made.
pub fn create_dir(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    disk.create_dir(dir)?;
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(disk, Path::new(".")),
        Some(parent) => match sync_dir(disk, parent) {
            // One may write into a directory without the right to open it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        },
        None => Ok(()),
    }
}

/// Makes a directory and those above it, as far as they are missing.
///
/// # Errors
/// One of them cannot be made.
pub fn create_dirs(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() || disk.is_dir(dir) {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        create_dirs(disk, parent)?;
    }
    match create_dir(disk, dir) {
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && disk.is_dir(dir) => Ok(()),
        // A file is in the way, of this one or of those below.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(io::Error::from_raw_os_error(libc::ENOTDIR))
        }
        made => made,
    }
}

/// Makes changes of names in `dir` durable: files created, renamed, removed. A file system that has no such thing is
/// mentioned once.
///
/// # Errors
/// The directory cannot be opened or synced.
pub fn sync_dir(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    match disk.sync_dir(dir) {
        Err(error) if is_unsupported(&error) => {
            let device = disk.metadata(dir).map_or(0, |metadata| metadata.id.device);
            let mut unable = UNABLE_TO_SYNC.lock();
            if !unable.contains(&device) {
                unable.push(device);
                drop(unable);
                log::warn!(
                    "the file system of {} cannot sync a directory ({error}); a loss of power may take the names of new \
                     files there",
                    dir.display()
                );
            }
            Ok(())
        }
        synced => synced,
    }
}

/// CIFS, Azure files and some FUSE and cluster file systems say so.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP | libc::ENOSYS))
}

/// Puts a file with this content in the place of `path`: it is there whole and durable, or the old one is.
///
/// # Errors
/// The disk refused; the old file is still there.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let file = disk.open(&beside, Access::Replace)?;
    file.write_all(bytes)?;
    file.sync()?;
    disk.rename(&beside, path)?;
    path.parent().map_or(Ok(()), |dir| sync_dir(disk, dir))
}

/// Takes from others what they may do with a data directory of an earlier version or another program, and says so. The
/// directory itself is left alone if there are files of others in it.
pub fn tighten(data_dir: &Path) {
    let mut tightened = Tightened::default();
    let mut is_ours_alone = true;
    for entry in fs::read_dir(data_dir).into_iter().flatten().flatten() {
        if OUR_NAMES.iter().any(|name| entry.file_name() == *name) {
            tightened.tree(&entry.path());
        } else {
            is_ours_alone = false;
        }
    }
    if is_ours_alone {
        tightened.one(data_dir);
    }
    let Tightened { n_changed, refusal } = tightened;
    if n_changed > 0 {
        log::info!(
            "data directory {}: other users had rights on {n_changed} of its files and directories; now only this user \
             has (modes 0600 and 0700)",
            data_dir.display()
        );
    }
    if let Some((path, error)) = refusal {
        log::warn!(
            "data directory {}: other users have rights on {path}, and they cannot be taken away: {error}; run chmod \
             -R go= on it as its owner",
            data_dir.display()
        );
    }
}

#[derive(Debug, Default)]
struct Tightened {
    n_changed: u64,
    /// The first path whose mode cannot be changed.
    refusal: Option<(String, io::Error)>,
}

impl Tightened {
    fn tree(&mut self, path: &Path) {
        self.one(path);
        if !path.is_dir() {
            return;
        }
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(file_type) if file_type.is_symlink() => {}
                Ok(file_type) if file_type.is_dir() => self.tree(&entry.path()),
                _ => self.one(&entry.path()),
            }
        }
    }

    fn one(&mut self, path: &Path) {
        let Ok(metadata) = fs::metadata(path) else { return };
        let mode = metadata.permissions().mode();
        if mode & OTHERS == 0 || (metadata.is_dir() && mode & STICKY != 0) {
            return;
        }
        match fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS & 0o7777)) {
            Ok(()) => self.n_changed += 1,
            Err(error) => {
                self.refusal.get_or_insert_with(|| (path.display().to_string(), error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::disk::faulty::{Faults, FaultyDisk, Operation};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_made_is_for_this_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        create_dirs(&RealDisk, &deep).unwrap();
        create_dirs(&RealDisk, &deep).unwrap();
        assert_eq!(create_dir(&RealDisk, &deep).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((mode(&dir.path().join("a")), mode(&deep)), (0o700, 0o700));
        RealDisk.open(&deep.join("file"), Access::Replace).unwrap();
        replace(&RealDisk, &deep.join("other"), b"text").unwrap();
        assert_eq!((mode(&deep.join("file")), mode(&deep.join("other"))), (0o600, 0o600));
        assert_eq!(fs::read(deep.join("other")).unwrap(), b"text");
        fs::write(dir.path().join("no-dir"), "").unwrap();
        let error = create_dirs(&RealDisk, &dir.path().join("no-dir/x")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_file_system_without_a_sync_of_directories_is_mentioned_once() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        for errno in [libc::EINVAL, libc::ENOTSUP, libc::ENOSYS] {
            disk.set(Faults::refusing([Operation::SyncDir], errno));
            sync_dir(&disk, dir.path()).unwrap();
        }
        let device = disk.metadata(dir.path()).unwrap().id.device;
        assert_eq!(UNABLE_TO_SYNC.lock().iter().filter(|it| **it == device).count(), 1);
        for errno in [libc::EIO, libc::ENOSPC, libc::EROFS] {
            disk.set(Faults::refusing([Operation::SyncDir], errno));
            let error = sync_dir(&disk, dir.path()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno));
        }
        assert!(sync_dir(&RealDisk, &dir.path().join("none")).is_err());
    }

    #[test]
    fn what_is_there_is_tightened_and_what_is_not_ours_left() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let foreign = dir.path().join("foreign");
        fs::create_dir_all(data_dir.join("wal/checkpoint.00000001")).unwrap();
        for file in ["wal/00000002", "wal/checkpoint.00000001/00000000", "lock", "theirs"] {
            fs::write(data_dir.join(file), "").unwrap();
        }
        fs::write(&foreign, "").unwrap();
        std::os::unix::fs::symlink(&foreign, data_dir.join("wal/link")).unwrap();
        let open = |path: &Path, mode: u32| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for path in ["wal/00000002", "wal/checkpoint.00000001/00000000", "lock", "theirs"] {
            open(&data_dir.join(path), 0o644);
        }
        for path in ["", "wal", "wal/checkpoint.00000001"] {
            open(&data_dir.join(path), 0o755);
        }
        open(&foreign, 0o644);
        tighten(&data_dir);
        let modes = |paths: &[&str]| paths.iter().map(|path| mode(&data_dir.join(path))).collect::<Vec<_>>();
        assert_eq!(modes(&["wal/00000002", "wal/checkpoint.00000001/00000000", "lock"]), [0o600; 3]);
        assert_eq!(modes(&["wal", "wal/checkpoint.00000001"]), [0o700; 2]);
        assert_eq!((modes(&["theirs", ""]), mode(&foreign)), (vec![0o644, 0o755], 0o644));
        fs::remove_file(data_dir.join("theirs")).unwrap();
        open(&data_dir, 0o1777);
        tighten(&data_dir);
        assert_eq!(mode(&data_dir), 0o1777, "shared by many, like /tmp");
        open(&data_dir, 0o755);
        tighten(&data_dir);
        assert_eq!(mode(&data_dir), 0o700);
    }
}
