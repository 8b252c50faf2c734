//! The disk below a data directory: the one seam between the log and the file system.
//!
//! The log and what is remembered of endpoints reach files through [`Disk`] alone, so that tests can put another disk
//! below them: one that fails on demand (`faulty`), or one that writes down what is done to it (`recorder`), from which
//! `power_cut` builds what a loss of power leaves behind. A leaf.

use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

pub mod metered;
pub mod overlay;
mod real;
pub mod written;

#[cfg(any(test, feature = "faults"))]
pub mod draw;
#[cfg(any(test, feature = "faults"))]
pub mod faulty;
#[cfg(any(test, feature = "faults"))]
pub mod image;
#[cfg(any(test, feature = "faults"))]
pub mod power_cut;
#[cfg(any(test, feature = "faults"))]
pub mod recorder;

pub use real::RealDisk;
pub use std::fs::TryLockError;

/// Files and directories by their paths.
///
/// Errors are the system's, with its number. What is made is open to this user alone: modes 0600 and 0700.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file, or makes it, as `access` says.
    ///
    /// # Errors
    /// It cannot be opened or made.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file or a directory another name; a file in its place is gone.
    ///
    /// # Errors
    /// The disk refused.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// It is not there, or the disk refused.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// It is not there or not empty, or the disk refused.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory, which must not exist.
    ///
    /// # Errors
    /// It exists, or the disk refused.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes changes of names in a directory durable. Some file systems cannot and say so.
    ///
    /// # Errors
    /// The directory cannot be opened or synced.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// What stands in a directory, in no order.
    ///
    /// # Errors
    /// It cannot be read.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// What the system knows of a file or a directory; links are followed.
    ///
    /// # Errors
    /// Nothing is there, or it cannot be reached.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// The file system that a path is on.
    ///
    /// # Errors
    /// Nothing is there, or it cannot be reached.
    fn file_system(&self, path: &Path) -> io::Result<FileSystem>;

    /// Whether something is there and can be reached.
    fn exists(&self, path: &Path) -> bool {
        self.metadata(path).is_ok()
    }

    /// Whether a directory is there and can be reached.
    fn is_dir(&self, path: &Path) -> bool {
        self.metadata(path).is_ok_and(|metadata| metadata.kind == Kind::Directory)
    }

    /// All bytes of a file.
    ///
    /// # Errors
    /// It cannot be opened or read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Reader { file: self.open(path, Access::Read)?, at: 0 }.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Removes a directory with all that is in it.
    ///
    /// # Errors
    /// Something of it cannot be read or removed.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        for Entry { name, kind } in self.list(path)? {
            let inner = path.join(name);
            let removed = match kind {
                Kind::Directory => self.remove_dir_all(&inner),
                Kind::File | Kind::Other => self.remove_file(&inner),
            };
            match removed {
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        self.remove_dir(path)
    }

    /// Bytes of all files under a directory; what vanishes meanwhile counts nothing.
    ///
    /// # Errors
    /// A directory or a file cannot be read.
    fn bytes_under(&self, dir: &Path) -> io::Result<u64> {
        let entries = match self.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            entries => entries?,
        };
        let mut bytes = 0;
        for Entry { name, kind } in entries {
            let path = dir.join(name);
            bytes += match kind {
                Kind::Directory => self.bytes_under(&path)?,
                Kind::File => match self.metadata(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                    metadata => metadata?.bytes,
                },
                Kind::Other => 0,
            };
        }
        Ok(bytes)
    }
}

/// A file that is open. It is closed when it is dropped.
pub trait DiskFile: Debug + Send + Sync {
    /// Writes all of `data`: to the end of a file that is open to append, else behind what was written last.
    ///
    /// # Errors
    /// The disk refused; any part of `data` may be in the file.
    fn write_all(&self, data: &[u8]) -> io::Result<()>;

    /// Reads from offset `at` on; how many bytes, 0 behind the end.
    ///
    /// # Errors
    /// The disk refused.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// Cuts the file, or makes it longer by zeros.
    ///
    /// # Errors
    /// The disk refused.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Makes the file `to` bytes long with zeros from offset `from` on, and takes room on the disk for them.
    ///
    /// # Errors
    /// The disk refused; the file may be longer than before.
    fn allocate(&self, from: u64, to: u64) -> io::Result<()>;

    /// Makes what the file holds durable, and its length.
    ///
    /// # Errors
    /// The disk refused: what was written since the last call is lost, or may be. The next call says nothing of it.
    fn sync(&self) -> io::Result<()>;

    /// What the system knows of it.
    ///
    /// # Errors
    /// The disk refused.
    fn metadata(&self) -> io::Result<Metadata>;

    /// Locks the file until it is closed (`flock`).
    ///
    /// # Errors
    /// Another open file has the lock, or there are no locks here.
    fn try_lock(&self) -> Result<(), TryLockError>;
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// To be read.
    Read,
    /// To be written at its end.
    Append,
    /// To be made and written at its end; it must not exist.
    CreateNew,
    /// To be written from the start; it is made if it is missing and emptied if not.
    Replace,
    /// To be written from the start over what it holds; it is made if it is missing.
    Overwrite,
}

/// What stands in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name there.
    pub name: OsString,
    /// What it is; links are not followed.
    pub kind: Kind,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A link, or something else that no one here makes.
    Other,
}

/// What the system knows of a file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Length in bytes.
    pub bytes: u64,
    /// When it was written last, in milliseconds since the Unix epoch by the clock of that time.
    pub modified_ms: i64,
    /// The same for as long as it exists, whatever its name.
    pub id: FileId,
}

/// Which file or directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// Number of the device.
    pub device: u64,
    /// Number of the inode.
    pub inode: u64,
}

/// A file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// All of it.
    pub total_bytes: u64,
    /// What this user may still write.
    pub available_bytes: u64,
    /// Mounted so that nothing can be written.
    pub is_read_only: bool,
}

/// The bytes of a file, front to back.
#[derive(Debug)]
pub struct Reader {
    file: Arc<dyn DiskFile>,
    at: u64,
}

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(disk: &dyn Disk, path: &Path) -> io::Result<Reader> {
        Ok(Reader { file: disk.open(path, Access::Read)?, at: 0 })
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n_read = self.file.read_at(buf, self.at)?;
        self.at += n_read as u64;
        Ok(n_read)
    }
}

/// Whether an error says that the disk, or this user's share of it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn bytes_are_counted_in_depth() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk;
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/file"), [0; 300]).unwrap();
        fs::write(dir.path().join("file"), [0; 20]).unwrap();
        assert_eq!(disk.bytes_under(dir.path()).unwrap(), 320);
        assert_eq!(disk.bytes_under(&dir.path().join("none")).unwrap(), 0);
    }

    #[test]
    fn a_tree_is_removed_with_its_links_and_not_what_they_show() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk;
        fs::create_dir_all(dir.path().join("tree/a")).unwrap();
        fs::create_dir(dir.path().join("kept")).unwrap();
        fs::write(dir.path().join("kept/file"), "text").unwrap();
        fs::write(dir.path().join("tree/a/file"), "text").unwrap();
        std::os::unix::fs::symlink(dir.path().join("kept"), dir.path().join("tree/link")).unwrap();
        disk.remove_dir_all(&dir.path().join("tree")).unwrap();
        assert!(!disk.exists(&dir.path().join("tree")) && disk.is_dir(&dir.path().join("kept")));
        assert_eq!(disk.read(&dir.path().join("kept/file")).unwrap(), b"text");
    }
}
