//! Segment files: names, listing, creation, appending, cutting back, reading.
//!
//! Nothing else may know whether the newest pages of a segment are in memory or in a file. Knows no record.

use crate::data_dir;
use crate::sorting::sort_by_key;
use crate::wal::error::WalError;
#[cfg(any(test, feature = "faults"))]
use crate::wal::format::full_disk::FullDisk;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Digits in a segment's file name; Prometheus pads with zeros.
const NAME_DIGITS: usize = 8;

/// File name of a segment.
pub fn segment_name(number: u32) -> String {
    format!("{number:0NAME_DIGITS$}")
}

/// Path of a segment in the directory `dir`.
pub fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(segment_name(number))
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
pub fn list(dir: &Path) -> Result<Vec<SegmentInfo>, WalError> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).map_err(WalError::io("read", dir))? {
        let entry = entry.map_err(WalError::io("read", dir))?;
        let Some(number) = parse_segment_name(&entry.file_name()) else { continue };
        let path = entry.path();
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => {
                segments.push(SegmentInfo { number, path, bytes: metadata.len() });
            }
            Ok(_) => {}
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
pub fn sync_dir(dir: &Path) -> Result<(), WalError> {
    data_dir::sync_dir(dir).map_err(WalError::io("fsync", dir))
}

/// The bytes of a segment, front to back.
#[derive(Debug)]
pub struct SegmentSource {
    file: File,
}

impl Read for SegmentSource {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read(buf)
    }
}

/// Opens a segment for reading.
///
/// # Errors
/// The file cannot be opened; `NotFound` means it was truncated away.
pub fn open(path: &Path) -> io::Result<SegmentSource> {
    Ok(SegmentSource { file: File::open(path)? })
}

/// A segment that is being written.
#[derive(Debug)]
pub struct Segment {
    number: u32,
    path: PathBuf,
    /// Shared with who fsyncs it: that needs no further descriptor.
    file: Arc<File>,
    bytes: u64,
    #[cfg(any(test, feature = "faults"))]
    pub(in crate::wal::format) disk: Option<FullDisk>,
}

impl Segment {
    /// Creates an empty segment file at `path`; it must not exist. Its name is durable after [`sync_dir`].
    ///
    /// # Errors
    /// The file exists or cannot be made.
    pub fn create(path: PathBuf, number: u32) -> Result<Segment, WalError> {
        let file = data_dir::options()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(WalError::io("create segment", &path))?;
        Ok(Segment {
            number,
            path,
            file: Arc::new(file),
            bytes: 0,
            #[cfg(any(test, feature = "faults"))]
            disk: None,
        })
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
        self.write_all(data)?;
        self.bytes += data.len() as u64;
        Ok(())
    }

    /// Takes back what stands behind the first `bytes` bytes.
    ///
    /// # Errors
    /// The disk refused.
    pub fn cut(&mut self, bytes: u64) -> io::Result<()> {
        #[cfg(any(test, feature = "faults"))]
        if let Some(disk) = &self.disk {
            disk.check_cut()?;
        }
        self.file.set_len(bytes)?;
        self.bytes = bytes;
        Ok(())
    }

    /// Puts a new file with only the first `bytes` bytes in the place of this one.
    ///
    /// # Errors
    /// The disk refused; the old file is still in use.
    pub fn rewrite(&mut self, bytes: u64) -> io::Result<()> {
        #[cfg(any(test, feature = "faults"))]
        if let Some(disk) = &self.disk {
            disk.check_rewrite()?;
        }
        let path = self.path.with_extension("tmp");
        let mut file = data_dir::create(&path)?;
        let copied = io::copy(&mut File::open(&self.path)?.take(bytes), &mut file)?;
        if copied < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.sync_data()?;
        drop(file);
        // Opened before it takes the old one's place, so that there is one to go on with in any case.
        let file = data_dir::options().append(true).open(&path)?;
        fs::rename(&path, &self.path)?;
        self.file = Arc::new(file);
        self.bytes = bytes;
        Ok(())
    }

    /// The file, for an fsync without a lock.
    pub fn sync_handle(&self) -> SyncHandle {
        SyncHandle {
            file: Arc::clone(&self.file),
            path: self.path.clone(),
            #[cfg(any(test, feature = "faults"))]
            disk: self.disk.clone(),
        }
    }

    #[cfg(not(any(test, feature = "faults")))]
    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        (&*self.file).write_all(data)
    }

    #[cfg(any(test, feature = "faults"))]
    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        match &self.disk {
            Some(disk) => disk.write_all(&self.file, data),
            None => (&*self.file).write_all(data),
        }
    }
}

/// A segment's file whose bytes are to reach the disk.
#[derive(Clone, Debug)]
pub struct SyncHandle {
    file: Arc<File>,
    path: PathBuf,
    #[cfg(any(test, feature = "faults"))]
    disk: Option<FullDisk>,
}

impl SyncHandle {
    /// Makes the bytes written so far durable.
    ///
    /// # Errors
    /// The disk refused: what was written since the last call is lost, or may be. The next call says nothing of it.
    pub fn sync(&self) -> io::Result<()> {
        #[cfg(any(test, feature = "faults"))]
        if let Some(disk) = &self.disk {
            disk.check_fsync()?;
        }
        self.file.sync_data()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is still the one at its path.
    ///
    /// # Errors
    /// Nothing is there, or the path cannot be reached.
    pub fn is_in_place(&self) -> io::Result<bool> {
        let named = fs::metadata(&self.path)?;
        let held = self.file.metadata()?;
        Ok((named.dev(), named.ino()) == (held.dev(), held.ino()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Segment, first_gap, list, segment_name, segment_path};
    use crate::wal::format::full_disk::{DiskState, FullDisk};
    use std::fs;
    use std::io::ErrorKind;

    #[test]
    fn a_listing_has_only_segments_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["00000002", "00000001", "7", "0000000x", "checkpoint.00000001", "00000003.tmp"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("00000009")).unwrap();
        let segments = list(dir.path()).unwrap();
        let numbers: Vec<u32> = segments.iter().map(|segment| segment.number).collect();
        assert_eq!(numbers, [1, 2, 7]);
        assert_eq!(segments[0].bytes, 8);
        assert_eq!(first_gap(&segments), Some((2, 7)));
        assert_eq!(first_gap(&segments[..2]), None);
        assert_eq!(segment_name(4_294_967_295), "4294967295");
    }

    #[test]
    fn an_append_that_fails_can_be_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FullDisk::default();
        let path = segment_path(dir.path(), 0);
        let mut segment = Segment::create(path.clone(), 0).unwrap().on(&disk);
        segment.append(b"whole").unwrap();
        disk.set(DiskState { room_bytes: Some(3), ..DiskState::default() });
        assert_eq!(segment.append(b"record").unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"wholerec");
        segment.cut(5).unwrap();
        disk.set(DiskState::default());
        segment.append(b" again").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole again");
        assert_eq!(segment.bytes(), 11);
    }
}
