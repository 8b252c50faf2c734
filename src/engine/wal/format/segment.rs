//! Segment files: names, listing, creation, appending, cutting back, reading.
//!
//! Nothing else may know whether the newest pages of a segment are in memory or in a file. Knows no record.

use crate::data_dir;
use crate::disk::{Access, Disk, DiskFile, Entry, Kind, Reader};
use crate::sorting::sort_by_key;
use crate::wal::error::WalError;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Digits in a segment's file name; Prometheus pads with zeros.
const NAME_DIGITS: usize = 8;

/// Ending of a file that is written to take a segment's place. A start removes what a crash left of one; Prometheus passes
/// over names that are no numbers.
pub const REWRITE_EXTENSION: &str = "rewrite";

/// Read at once of a segment that is copied, in bytes.
const COPY_BYTES: usize = 64 * 1024;

/// File name of a segment.
pub fn segment_name(number: u32) -> String {
    format!("{number:0NAME_DIGITS$}")
}

/// Path of a segment in the directory `dir`.
pub fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(segment_name(number))
}

/// Path of the file that is to take the place of the segment at `path`.
pub fn rewrite_path(path: &Path) -> PathBuf {
    path.with_extension(REWRITE_EXTENSION)
}

/// Number of a segment from its file name; `None` for any other file. As in Prometheus, any number will do.
fn parse_segment_name(name: &OsStr) -> Option<u32> {
    let name = name.to_str()?;
    name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.parse().ok())?
}

/// A segment in a directory listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: u32,
    /// Its file.
    pub path: PathBuf,
    /// Size of the file in bytes.
    pub bytes: u64,
}

/// Segments in `dir` in order of number; other files are left out. A file that vanishes meanwhile was truncated away.
///
/// # Errors
/// The directory or a file in it cannot be read.
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<SegmentInfo>, WalError> {
    let mut segments = Vec::new();
    for Entry { name, kind } in disk.list(dir).map_err(WalError::io("read", dir))? {
        let Some(number) = parse_segment_name(&name).filter(|_| kind == Kind::File) else { continue };
        let path = dir.join(name);
        match disk.metadata(&path) {
            Ok(metadata) => segments.push(SegmentInfo { number, path, bytes: metadata.bytes }),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(WalError::io("read", &path)(err)),
        }
    }
    sort_by_key(&mut segments, |segment| segment.number);
    Ok(segments)
}

/// The first pair of neighbours in a listing whose numbers do not follow each other (`None` is what Prometheus
/// demands: "segments are not sequential").
pub fn first_gap(segments: &[SegmentInfo]) -> Option<(u32, u32)> {
    segments.windows(2).find_map(|pair| match pair {
        [left, right] if left.number.checked_add(1) != Some(right.number) => {
            Some((left.number, right.number))
        }
        _ => None,
    })
}

/// Makes changes of names in `dir` durable: files created, renamed, removed.
///
/// # Errors
/// The directory cannot be opened or synced.
pub fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<(), WalError> {
    data_dir::sync_dir(disk, dir).map_err(WalError::io("fsync", dir))
}

/// Opens a segment for reading.
///
/// # Errors
/// The file cannot be opened; `NotFound` means it was truncated away.
pub fn open(disk: &dyn Disk, path: &Path) -> Result<Reader, WalError> {
    Reader::open(disk, path).map_err(WalError::io("open segment", path))
}

/// A segment that is being written.
#[derive(Debug)]
pub struct Segment {
    number: u32,
    path: PathBuf,
    /// Shared with who fsyncs it: that needs no further descriptor.
    file: Arc<dyn DiskFile>,
    bytes: u64,
}

impl Segment {
    /// Creates an empty segment file at `path`; it must not exist. Its name is durable after [`sync_dir`].
    ///
    /// # Errors
    /// The file exists or cannot be made.
    pub fn create(disk: &dyn Disk, path: PathBuf, number: u32) -> Result<Segment, WalError> {
        let file = disk.open(&path, Access::CreateNew).map_err(WalError::io("create segment", &path))?;
        Ok(Segment { number, path, file, bytes: 0 })
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written to it.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends `data`.
    ///
    /// # Errors
    /// The disk refused; any part of `data` may be in the file, [`Segment::cut`] takes it back.
    pub fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)?;
        self.bytes += data.len() as u64;
        Ok(())
    }

    /// Takes back what stands behind the first `bytes` bytes.
    ///
    /// # Errors
    /// The disk refused.
    pub fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.bytes = bytes;
        Ok(())
    }

    /// Puts a new file with only the first `bytes` bytes in the place of this one.
    ///
    /// # Errors
    /// The disk refused; the old file is still in use.
    pub fn rewrite(&mut self, disk: &dyn Disk, bytes: u64) -> io::Result<()> {
        let path = rewrite_path(&self.path);
        match self.put_copy_in_place(disk, bytes, &path) {
            Ok(file) => {
                self.file = file;
                self.bytes = bytes;
                Ok(())
            }
            Err(error) => {
                // The next start removes it as well; now room may be what is missing.
                let _ = disk.remove_file(&path);
                Err(error)
            }
        }
    }

    fn put_copy_in_place(&self, disk: &dyn Disk, bytes: u64, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = disk.open(path, Access::Replace)?;
        copy(&mut Reader::open(disk, &self.path)?, &*file, bytes)?;
        file.sync()?;
        drop(file);
        // Opened before it takes the old one's place, so that there is one to go on with in any case.
        let file = disk.open(path, Access::Append)?;
        disk.rename(path, &self.path)?;
        Ok(file)
    }

    /// The file, for an fsync without a lock.
    pub fn sync_handle(&self) -> SyncHandle {
        SyncHandle { file: Arc::clone(&self.file), path: self.path.clone() }
    }
}

/// Writes the first `bytes` bytes of `source`, which has no fewer.
fn copy(source: &mut Reader, file: &dyn DiskFile, bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    let mut buf = vec![0; COPY_BYTES];
    while left > 0 {
        let part_bytes = usize::try_from(left).unwrap_or(usize::MAX).min(COPY_BYTES);
        let part = buf.get_mut(..part_bytes).unwrap_or_default();
        source.read_exact(part)?;
        file.write_all(part)?;
        left -= part_bytes as u64;
    }
    Ok(())
}

/// A segment's file whose bytes are to reach the disk.
#[derive(Clone, Debug)]
pub struct SyncHandle {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
}

impl SyncHandle {
    /// Makes the bytes written so far durable.
    ///
    /// # Errors
    /// The disk refused: what was written since the last call is lost, or may be. The next call says nothing of it.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is still the one at its path.
    ///
    /// # Errors
    /// Nothing is there, or the path cannot be reached.
    pub fn is_in_place(&self, disk: &dyn Disk) -> io::Result<bool> {
        Ok(disk.metadata(&self.path)?.id == self.file.metadata()?.id)
    }
}

#[cfg(test)]
mod tests {
    use super::{Segment, first_gap, list, segment_name, segment_path};
    use crate::disk::RealDisk;
    use crate::disk::faulty::{Faults, FaultyDisk, Operation};
    use std::fs;
    use std::io::ErrorKind;

    #[test]
    fn a_listing_has_only_segments_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["00000002", "00000001", "7", "0000000x", "checkpoint.00000001", "00000003.tmp"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("00000009")).unwrap();
        let segments = list(&RealDisk, dir.path()).unwrap();
        let numbers: Vec<u32> = segments.iter().map(|segment| segment.number).collect();
        assert_eq!(numbers, [1, 2, 7]);
        assert_eq!(segments[0].bytes, 8);
        assert_eq!(first_gap(&segments), Some((2, 7)));
        assert_eq!(first_gap(&segments[..2]), None);
        assert_eq!(segment_name(4_294_967_295), "4294967295");
    }

    #[test]
    fn a_new_file_that_cannot_be_made_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        let path = segment_path(dir.path(), 0);
        let mut segment = Segment::create(&disk, path.clone(), 0).unwrap();
        segment.append(b"whole record").unwrap();
        disk.set(Faults::refusing([Operation::Write, Operation::Rename], libc::ENOSPC));
        assert_eq!(segment.rewrite(&disk, 5).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read(&path).unwrap(), b"whole record");
        disk.heal();
        segment.rewrite(&disk, 5).unwrap();
        segment.append(b" again").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole again");
    }

    #[test]
    fn an_append_that_fails_can_be_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        let path = segment_path(dir.path(), 0);
        let mut segment = Segment::create(&disk, path.clone(), 0).unwrap();
        segment.append(b"whole").unwrap();
        disk.set(Faults::default().with_room(3));
        assert_eq!(segment.append(b"record").unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"wholerec");
        segment.cut(5).unwrap();
        disk.heal();
        segment.append(b" again").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole again");
        assert_eq!(segment.bytes(), 11);
    }
}
