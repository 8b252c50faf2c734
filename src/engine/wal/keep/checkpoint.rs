//! Checkpoints: the series that older segments named, once those are gone.
//!
//! `checkpoint.NNNNNNNN` is a directory of segments, as Prometheus writes it (`tsdb/agent/checkpoint.go`); it stands
//! for all segments up to its number. Written under another name, fsynced, then renamed: it is there whole or not at
//! all. Knows nothing of when one is due.

use crate::mutant::{self, Mutant};
use crate::sorting::sort_by_key;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data_dir;
use crate::disk::{Access, Disk, DiskFile, Entry};
use crate::wal::error::WalError;
use crate::wal::format::record_batch::RecordBatch;
use crate::wal::format::segment;
use crate::wal::format::segment::{SegmentInfo, segment_path};
use crate::wal::keep::checkpoint;
use crate::wal::keep::reserve::Reserve;
use crate::wal::options::Compression;

const PREFIX: &str = "checkpoint.";

/// Ending of a checkpoint that is being written.
const TEMPORARY_SUFFIX: &str = ".tmp";

/// Digits in a checkpoint's name; Prometheus pads with zeros.
const NAME_DIGITS: usize = 8;

/// A finished checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// Number of the newest segment it stands for.
    pub number: u32,
    /// Its directory.
    pub path: PathBuf,
}

impl CheckpointInfo {
    /// Its files, in order.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn segments(&self, disk: &dyn Disk) -> Result<Vec<SegmentInfo>, WalError> {
        segment::list(disk, &self.path)
    }
}

/// Directory of the checkpoint with this number.
pub fn checkpoint_path(wal_dir: &Path, number: u32) -> PathBuf {
    wal_dir.join(format!("{PREFIX}{number:0NAME_DIGITS$}"))
}

fn parse_name(name: &OsStr) -> Option<u32> {
    let digits = name.to_str()?.strip_prefix(PREFIX)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Finished checkpoints in `wal_dir`, oldest first.
///
/// # Errors
/// The directory cannot be read.
pub fn list(disk: &dyn Disk, wal_dir: &Path) -> Result<Vec<CheckpointInfo>, WalError> {
    let mut checkpoints = Vec::new();
    for Entry { name, .. } in disk.list(wal_dir).map_err(WalError::io("read", wal_dir))? {
        if let Some(number) = parse_name(&name) {
            checkpoints.push(CheckpointInfo { number, path: wal_dir.join(name) });
        }
    }
    sort_by_key(&mut checkpoints, |checkpoint| checkpoint.number);
    Ok(checkpoints)
}

/// Removes a checkpoint; one that is already gone is fine.
///
/// # Errors
/// A file in it cannot be removed.
#[inline(never)] // Called in many places and never in a hurry.
pub fn remove(disk: &dyn Disk, path: &Path) -> Result<(), WalError> {
    let removed = if disk.is_dir(path) { disk.remove_dir_all(path) } else { disk.remove_file(path) };
    match removed {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(WalError::io("remove", path)(cause)),
        _ => Ok(()),
    }
}

/// Removes what a process that was killed while it wrote a checkpoint left behind.
///
/// # Errors
/// The directory cannot be read or something in it cannot be removed.
pub fn remove_unfinished(disk: &dyn Disk, wal_dir: &Path) -> Result<(), WalError> {
    for Entry { name, .. } in disk.list(wal_dir).map_err(WalError::io("read", wal_dir))? {
        let text = name.to_string_lossy();
        if text.starts_with(PREFIX) && text.ends_with(TEMPORARY_SUFFIX) {
            remove(disk, &wal_dir.join(&name))?;
        }
    }
    Ok(())
}

/// Makes a checkpoint: `write` fills the empty directory it is given with durable segments. There must be none of this
/// number yet: to replace one would leave a moment without any.
///
/// # Errors
/// The disk refused; nothing of it is left.
pub fn create<T>(
    disk: &dyn Disk,
    wal_dir: &Path,
    number: u32,
    write: impl FnOnce(&Path) -> Result<T, WalError>,
) -> Result<T, WalError> {
    let path = checkpoint_path(wal_dir, number);
    let mut temporary = path.clone().into_os_string();
    temporary.push(TEMPORARY_SUFFIX);
    let temporary = PathBuf::from(temporary);
    let written = begin(disk, &temporary)
        .and_then(|()| write(&temporary))
        .and_then(|written| finish(disk, &temporary, &path, wal_dir).map(|()| written));
    // Room matters more here than a second error; the next start tries again.
    written.inspect_err(|_| drop(remove(disk, &temporary)))
}

fn begin(disk: &dyn Disk, temporary: &Path) -> Result<(), WalError> {
    remove(disk, temporary)?;
    data_dir::create_dir(disk, temporary).map_err(WalError::io("create checkpoint", temporary))
}

fn finish(disk: &dyn Disk, temporary: &Path, path: &Path, wal_dir: &Path) -> Result<(), WalError> {
    segment::sync_dir(disk, temporary)?;
    disk.rename(temporary, path).map_err(WalError::io("rename checkpoint to", path))?;
    if mutant::is_on(Mutant::CheckpointNotSynced) {
        return Ok(());
    }
    // A checkpoint that readers find and the log does not count on would hide samples: it goes again, and at once.
    segment::sync_dir(disk, wal_dir).inspect_err(|_| drop(disk.rename(path, temporary)))
}

/// Writes the one file of a checkpoint.
#[derive(Debug)]
pub struct CheckpointWriter {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    bytes: u64,
    batch: RecordBatch,
    pages: Vec<u8>,
}

impl CheckpointWriter {
    /// Starts the file in `dir`. With a reserve, that becomes the file and is overwritten: the disk is full.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(
        disk: &dyn Disk,
        dir: &Path,
        compression: Compression,
        reserve: Option<&Reserve>,
    ) -> Result<CheckpointWriter, WalError> {
        let path = segment_path(dir, 0);
        if let Some(reserve) = reserve {
            reserve.spend(disk, &path);
        }
        let opened = disk.open(&path, Access::Overwrite);
        let file = opened.map_err(WalError::io("create checkpoint", &path))?;
        let batch = RecordBatch::new(compression);
        Ok(CheckpointWriter { path, file, bytes: 0, batch, pages: Vec::new() })
    }

    /// Adds a whole record.
    ///
    /// # Errors
    /// The disk refused.
    pub fn append(&mut self, record: &[u8]) -> Result<(), WalError> {
        self.batch.clear();
        self.batch.push(record);
        self.pages.clear();
        self.batch.cut_into_pages(self.bytes, &mut self.pages);
        self.file.write_all(&self.pages).map_err(WalError::io("write checkpoint", &self.path))?;
        self.bytes += self.pages.len() as u64;
        Ok(())
    }

    /// Makes the file durable; returns its size.
    ///
    /// # Errors
    /// The disk refused.
    pub fn finish(self) -> Result<u64, WalError> {
        let finished = self.file.set_len(self.bytes).and_then(|()| self.file.sync());
        finished.map_err(WalError::io("fsync checkpoint", &self.path))?;
        Ok(self.bytes)
    }
}

/// Bytes of the checkpoints that are there.
pub fn checkpoint_bytes(disk: &dyn Disk, wal_dir: &Path) -> u64 {
    let checkpoints = checkpoint::list(disk, wal_dir).unwrap_or_default();
    checkpoints.iter().map(|checkpoint| disk.bytes_under(&checkpoint.path).unwrap_or_default()).sum()
}
