//! The reserve: room set aside for the checkpoint that a full disk makes necessary; and how large segments may be.
//!
//! To delete the oldest segments a checkpoint must be written first, on a disk that takes nothing any more. So a file
//! of zeros is kept beside the log and becomes the checkpoint's file: its blocks are already ours, and no other
//! writer can be faster. Used by wal-maintenance only.

use std::path::{Path, PathBuf};

use crate::disk::{Access, Disk};
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

/// The size of segments that suits the file system of the data directory: whole pages.
pub fn segment_size_bytes(disk: &dyn Disk, data_dir: &Path) -> u64 {
    let total_bytes = total_bytes(disk, data_dir);
    let share_bytes = (total_bytes / SEGMENT_SHARE).clamp(MIN_SEGMENT_BYTES, SEGMENT_BYTES);
    share_bytes - share_bytes % PAGE_BYTES as u64
}

/// The file that keeps room.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    min_bytes: u64,
}

impl Reserve {
    /// The reserve of a data directory; [`Reserve::fill`] makes it. A repair at start may need room for a segment.
    pub fn in_dir(disk: &dyn Disk, data_dir: &Path, segment_size_bytes: u64) -> Reserve {
        let share_bytes = total_bytes(disk, data_dir) / MIN_RESERVE_SHARE;
        let min_bytes = MIN_RESERVE_BYTES.min(segment_size_bytes.max(share_bytes));
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
    pub fn fill(&self, disk: &dyn Disk, wanted_bytes: u64) -> Result<(), WalError> {
        let present_bytes = disk.metadata(&self.path).map_or(0, |metadata| metadata.bytes);
        if present_bytes >= wanted_bytes {
            return Ok(());
        }
        let filled = disk.open(&self.path, Access::Overwrite).and_then(|file| {
            // Cut back, or half a reserve would be taken for a whole one.
            let allocated = file.allocate(present_bytes, wanted_bytes).and_then(|()| file.sync());
            allocated.inspect_err(|_| drop(file.set_len(present_bytes)))
        });
        filled.map_err(WalError::io("set room aside in", &self.path))
    }

    /// Gives the room back at once, for a repair at start. False if there is none.
    pub fn release(&self, disk: &dyn Disk) -> bool {
        disk.remove_file(&self.path).is_ok()
    }

    /// Gives the file away: it becomes `place`, content and all. False if there is none.
    pub fn spend(&self, disk: &dyn Disk, place: &Path) -> bool {
        disk.rename(&self.path, place).is_ok()
    }
}

/// Of the whole file system; as good as endless if that is not known.
fn total_bytes(disk: &dyn Disk, data_dir: &Path) -> u64 {
    disk.file_system(data_dir).map_or(u64::MAX, |file_system| file_system.total_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use std::fs;

    #[test]
    fn reserve_grows_and_is_spent_once() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::in_dir(&RealDisk, dir.path(), 1 << 20);
        assert_eq!(reserve.wanted_bytes(10), 1 << 20);
        assert_eq!(reserve.wanted_bytes(4 << 20), 6 << 20);
        for (wanted, is) in [(1 << 20, 1 << 20), (3 << 20, 3 << 20), (1 << 20, 3 << 20)] {
            reserve.fill(&RealDisk, wanted).unwrap();
            let metadata = fs::metadata(dir.path().join("reserve")).unwrap();
            assert_eq!(metadata.len(), is);
            assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 >= is);
        }
        let place = dir.path().join("place");
        assert!(reserve.spend(&RealDisk, &place) && !reserve.spend(&RealDisk, &place));
        assert_eq!(fs::metadata(place).unwrap().len(), 3 << 20);
    }
}
