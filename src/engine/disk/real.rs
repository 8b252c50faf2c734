//! The disk that the system has.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, FileType, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Access, Disk, DiskFile, Entry, FileId, FileSystem, Kind, Metadata};

/// What is in a data directory may be secret: labels, annotations of pods, addresses.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Zeros that are written at once where the file system cannot allocate.
const ZEROS: usize = 32 * 1024;

/// The system's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.mode(FILE_MODE);
        match access {
            Access::Read => options.read(true),
            Access::Append => options.append(true),
            Access::CreateNew => options.append(true).create_new(true),
            Access::Replace => options.write(true).create(true).truncate(true),
            Access::Overwrite => options.read(true).write(true).create(true).truncate(false),
        };
        Ok(Arc::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(DIR_MODE).create(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            match entry.file_type() {
                Ok(file_type) => entries.push(Entry { name: entry.file_name(), kind: kind_of(file_type) }),
                // It vanished meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        fs::metadata(path).map(|metadata| metadata_of(&metadata))
    }

    #[allow(unsafe_code, reason = "std has no statvfs")]
    #[allow(clippy::unnecessary_cast, reason = "the fields' width differs by platform")]
    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: all zeros is a valid statvfs, and the call writes nothing but it.
        let stat = unsafe {
            let mut stat: libc::statvfs = std::mem::zeroed();
            if libc::statvfs(path.as_ptr(), &mut stat) != 0 {
                return Err(io::Error::last_os_error());
            }
            stat
        };
        let block_bytes = stat.f_frsize as u64;
        Ok(FileSystem {
            total_bytes: (stat.f_blocks as u64).saturating_mul(block_bytes),
            available_bytes: (stat.f_bavail as u64).saturating_mul(block_bytes),
            is_read_only: stat.f_flag & libc::ST_RDONLY != 0,
        })
    }
}

impl DiskFile for File {
    fn write_all(&self, data: &[u8]) -> io::Result<()> {
        let mut file = self;
        Write::write_all(&mut file, data)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, at)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    #[allow(unsafe_code, reason = "std has no posix_fallocate")]
    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        if let (Ok(offset), Ok(length)) = (libc::off_t::try_from(from), libc::off_t::try_from(to - from)) {
            // SAFETY: the descriptor is open for the whole call, no memory is involved.
            let error = unsafe { libc::posix_fallocate(self.as_raw_fd(), offset, length) };
            match error {
                0 => return Ok(()),
                libc::ENOSPC | libc::EDQUOT => return Err(io::Error::from_raw_os_error(error)),
                // The file system knows no such thing.
                _ => {}
            }
        }
        let zeros = [0; ZEROS];
        let mut at = from;
        while at < to {
            let part = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROS);
            self.write_all_at(zeros.get(..part).unwrap_or(&zeros), at)?;
            at += part as u64;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn metadata(&self) -> io::Result<Metadata> {
        File::metadata(self).map(|metadata| metadata_of(&metadata))
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        File::try_lock(self)
    }
}

fn kind_of(file_type: FileType) -> Kind {
    if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Directory
    } else {
        Kind::Other
    }
}

fn metadata_of(metadata: &fs::Metadata) -> Metadata {
    let modified_ms = metadata.mtime().saturating_mul(1000) + metadata.mtime_nsec() / 1_000_000;
    let id = FileId { device: metadata.dev(), inode: metadata.ino() };
    Metadata { kind: kind_of(metadata.file_type()), bytes: metadata.len(), modified_ms, id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn file_system_has_room() {
        let dir = tempfile::tempdir().unwrap();
        let file_system = RealDisk.file_system(dir.path()).unwrap();
        assert!(file_system.available_bytes > 0 && file_system.available_bytes <= file_system.total_bytes);
        assert!(RealDisk.file_system(&dir.path().join("none")).is_err());
    }

    #[test]
    fn what_is_made_is_for_this_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for access in [Access::CreateNew, Access::Replace, Access::Overwrite] {
            let path = dir.path().join(format!("{access:?}"));
            RealDisk.open(&path, access).unwrap();
            assert_eq!(mode(&path), 0o600);
        }
        let path = dir.path().join("directory");
        RealDisk.create_dir(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert!(RealDisk.open(&dir.path().join("none"), Access::Append).is_err());
    }

    #[test]
    fn each_access_writes_where_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let write = |access, parts: &[&str]| {
            let file = RealDisk.open(&path, access).unwrap();
            parts.iter().for_each(|part| DiskFile::write_all(&*file, part.as_bytes()).unwrap());
            fs::read_to_string(&path).unwrap()
        };
        assert_eq!(write(Access::CreateNew, &["ab", "cd"]), "abcd");
        assert_eq!(write(Access::Append, &["ef"]), "abcdef");
        assert_eq!(write(Access::Overwrite, &["1", "2"]), "12cdef");
        assert_eq!(write(Access::Replace, &["x", "y"]), "xy");
        let file = RealDisk.open(&path, Access::Append).unwrap();
        file.set_len(1).unwrap();
        file.write_all(b"z").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "xz");
    }
}
