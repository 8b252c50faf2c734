//! What the file system says, and the reserve: room set aside for the checkpoint that a full disk makes necessary.
//!
//! To delete the oldest segments a checkpoint must be written first, on a disk that takes nothing any more. So a file
//! of zeros is kept beside the log and becomes the checkpoint's file: its blocks are already ours, and no other
//! writer can be faster. Used by wal-maintenance only.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::data_dir;
use crate::wal::error::WalError;
use crate::wal::format::page::PAGE_BYTES;

/// Name of the reserve in the data directory.
const RESERVE_FILE_NAME: &str = "reserve";

/// The least reserve in bytes, unless a part of the file system is less.
const MIN_RESERVE_BYTES: u64 = 1024 * 1024;
const MIN_RESERVE_SHARE: u64 = 64;

/// Size of a segment, unless a part of the file system is less: so three segments, the reserve and checkpoints fit into
/// the default of `--storage.agent.retention.max-bytes`, a tenth of the file system.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
const SEGMENT_SHARE: u64 = 60;
const MIN_SEGMENT_BYTES: u64 = 2 * PAGE_BYTES as u64;

/// The file system of a path, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// All of it.
    pub total_bytes: u64,
    /// What this user may still write.
    pub available_bytes: u64,
    /// Mounted so that nothing can be written.
    pub is_read_only: bool,
}

impl FileSystem {
    /// Asks the system.
    ///
    /// # Errors
    /// The path does not exist or cannot be reached.
    #[allow(unsafe_code, reason = "std has no statvfs")]
    #[allow(clippy::unnecessary_cast, reason = "the fields' width differs by platform")]
    pub fn of(path: &Path) -> io::Result<FileSystem> {
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

/// The size of segments that suits the file system of the data directory: whole pages.
pub fn segment_size_bytes(data_dir: &Path) -> u64 {
    let total_bytes = FileSystem::of(data_dir).map_or(u64::MAX, |file_system| file_system.total_bytes);
    let share_bytes = (total_bytes / SEGMENT_SHARE).clamp(MIN_SEGMENT_BYTES, SEGMENT_BYTES);
    share_bytes - share_bytes % PAGE_BYTES as u64
}

/// Whether an error says that the disk, or this user's share of it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Bytes of all files under `dir`; what vanishes meanwhile counts nothing.
///
/// # Errors
/// A directory cannot be read.
pub fn bytes_under(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += bytes_under(&entry.path())?,
            Ok(metadata) => bytes += metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// The file that keeps room.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    min_bytes: u64,
}

impl Reserve {
    /// The reserve of a data directory; [`Reserve::fill`] makes it. A repair at start may need room for a segment.
    pub fn in_dir(data_dir: &Path, segment_size_bytes: u64) -> Reserve {
        let total_bytes = FileSystem::of(data_dir).map_or(u64::MAX, |file_system| file_system.total_bytes);
        let min_bytes = MIN_RESERVE_BYTES.min(segment_size_bytes.max(total_bytes / MIN_RESERVE_SHARE));
        Reserve { path: data_dir.join(RESERVE_FILE_NAME), min_bytes }
    }

    /// How large it should be after a checkpoint of this size: the next one may have grown by half.
    pub fn wanted_bytes(&self, checkpoint_bytes: u64) -> u64 {
        checkpoint_bytes.saturating_add(checkpoint_bytes / 2).max(self.min_bytes)
    }

    /// Makes it this large, if it is smaller; after an error it is as it was.
    ///
    /// # Errors
    /// The disk refused.
    pub fn fill(&self, wanted_bytes: u64) -> Result<(), WalError> {
        let present_bytes = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if present_bytes >= wanted_bytes {
            return Ok(());
        }
        let filled = data_dir::options().create(true).append(true).open(&self.path).and_then(|mut file| {
            // Cut back, or half a reserve would be taken for a whole one.
            allocate(&mut file, present_bytes, wanted_bytes)
                .inspect_err(|_| drop(file.set_len(present_bytes)))
        });
        filled.map_err(WalError::io("set room aside in", &self.path))
    }

    /// Gives the room back at once, for a repair at start. False if there is none.
    pub fn release(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }

    /// Gives the file away: it becomes `place`, content and all. False if there is none.
    pub fn spend(&self, place: &Path) -> bool {
        fs::rename(&self.path, place).is_ok()
    }
}

/// Blocks for `from..to`, with `posix_fallocate` where the file system knows it, else by writing zeros.
#[allow(unsafe_code, reason = "std has no posix_fallocate")]
fn allocate(file: &mut File, from: u64, to: u64) -> io::Result<()> {
    if let (Ok(offset), Ok(length)) = (libc::off_t::try_from(from), libc::off_t::try_from(to - from)) {
        // SAFETY: the descriptor is open for the whole call, no memory is involved.
        let error = unsafe { libc::posix_fallocate(file.as_raw_fd(), offset, length) };
        match error {
            0 => return file.sync_data(),
            libc::ENOSPC | libc::EDQUOT => return Err(io::Error::from_raw_os_error(error)),
            _ => {}
        }
    }
    let zeros = [0; 32 * 1024];
    let mut left = to - from;
    while left > 0 {
        let part = left.min(zeros.len() as u64);
        file.write_all(zeros.get(..part as usize).unwrap_or(&zeros))?;
        left -= part;
    }
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_system_has_room() {
        let dir = tempfile::tempdir().unwrap();
        let file_system = FileSystem::of(dir.path()).unwrap();
        assert!(file_system.available_bytes > 0 && file_system.available_bytes <= file_system.total_bytes);
        assert!(FileSystem::of(&dir.path().join("none")).is_err());
    }

    #[test]
    fn bytes_are_counted_in_depth() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/file"), [0; 300]).unwrap();
        fs::write(dir.path().join("file"), [0; 20]).unwrap();
        assert_eq!(bytes_under(dir.path()).unwrap(), 320);
        assert_eq!(bytes_under(&dir.path().join("none")).unwrap(), 0);
    }

    #[test]
    fn reserve_grows_and_is_spent_once() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::in_dir(dir.path(), 1 << 20);
        assert_eq!(reserve.wanted_bytes(10), 1 << 20);
        assert_eq!(reserve.wanted_bytes(4 << 20), 6 << 20);
        for (wanted, is) in [(1 << 20, 1 << 20), (3 << 20, 3 << 20), (1 << 20, 3 << 20)] {
            reserve.fill(wanted).unwrap();
            let metadata = fs::metadata(dir.path().join("reserve")).unwrap();
            assert_eq!(metadata.len(), is);
            assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 >= is);
        }
        let place = dir.path().join("place");
        assert!(reserve.spend(&place) && !reserve.spend(&place));
        assert_eq!(fs::metadata(place).unwrap().len(), 3 << 20);
    }
}
