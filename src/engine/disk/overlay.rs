//! A disk whose changes stay in memory, over one that takes none: for a start that has to read and repair what is on a disk
//! that is full or read-only.
//!
//! What is below is only read. A file can be cut, which takes no memory, or gets another content as a whole, so it is for
//! small repairs; directories below keep their names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Access, Disk, DiskFile, Entry, FileId, FileSystem, Kind, Metadata, TryLockError};

/// More bytes than this are not kept: a large repair waits for the disk.
const MAX_BYTES: usize = 16 << 20;

/// No device has this number.
const DEVICE: u64 = u64::MAX;

/// A disk whose changes are forgotten with it.
#[derive(Debug)]
pub struct OverlayDisk {
    below: Arc<dyn Disk>,
    changes: Arc<Changes>,
}

type Changes = Mutex<BTreeMap<PathBuf, Change>>;

/// What stands at a path instead of what is there below.
#[derive(Clone, Debug)]
enum Change {
    File(Arc<MemoryFile>),
    /// So many bytes of the file below.
    Front(u64),
    Directory,
    Removed,
}

#[derive(Debug, Default)]
struct MemoryFile(Mutex<Vec<u8>>);

/// The front of a file below, or all of it: it can be cut.
#[derive(Debug)]
struct FileBelow {
    file: Arc<dyn DiskFile>,
    bytes: u64,
    /// Where it says that it was cut.
    place: (PathBuf, Arc<Changes>),
}

/// A file that is open to be written.
#[derive(Debug)]
struct Writer {
    file: Arc<MemoryFile>,
    /// Where the next bytes go; `None`: to the end.
    at: Option<Mutex<usize>>,
}

impl OverlayDisk {
    /// Nothing is changed yet.
    pub fn over(below: Arc<dyn Disk>) -> Self {
        Self { below, changes: Arc::default() }
    }

    /// What was changed at `path` or took away a directory above it.
    fn change(&self, path: &Path) -> Option<Change> {
        let changes = self.changes.lock();
        let above = || path.ancestors().skip(1).find_map(|dir| changes.get(dir));
        changes.get(path).or_else(|| above().filter(|change| matches!(change, Change::Removed))).cloned()
    }

    fn put(&self, path: &Path, change: Change) {
        self.changes.lock().insert(path.to_owned(), change);
    }

    /// The file at `path` as a copy that can be changed; an empty one if it is missing.
    fn copy(&self, path: &Path) -> io::Result<Arc<MemoryFile>> {
        match self.change(path) {
            Some(Change::File(file)) => return Ok(file),
            Some(Change::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Change::Removed) => return Ok(Arc::default()),
            Some(Change::Front(_)) | None => {}
        }
        match self.metadata(path) {
            Ok(metadata) if metadata.bytes > MAX_BYTES as u64 => return Err(full()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
            metadata => metadata?,
        };
        Ok(Arc::new(MemoryFile(Mutex::new(self.read(path)?))))
    }

    fn open_below(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.below.open(path, Access::Read)?;
        let bytes = self.metadata(path)?.bytes;
        Ok(Arc::new(FileBelow { file, bytes, place: (path.to_owned(), Arc::clone(&self.changes)) }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.metadata(path)?;
        self.put(path, Change::Removed);
        Ok(())
    }
}

impl Disk for OverlayDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        if access == Access::Read {
            return match self.change(path) {
                Some(Change::File(file)) => Ok(file),
                Some(Change::Front(_)) => self.open_below(path),
                Some(Change::Directory | Change::Removed) => Err(not_found()),
                None => self.below.open(path, access),
            };
        }
        match (access, self.exists(path)) {
            (Access::CreateNew, true) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Access::Append, false) => return Err(not_found()),
            (Access::Append, true) if !matches!(self.change(path), Some(Change::File(_))) => {
                return self.open_below(path);
            }
            _ => {}
        }
        let file = if access == Access::Replace { Arc::default() } else { self.copy(path)? };
        self.put(path, Change::File(Arc::clone(&file)));
        let is_at_end = matches!(access, Access::Append | Access::CreateNew);
        Ok(Arc::new(Writer { file, at: (!is_at_end).then(Mutex::default) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let moved = match self.change(from) {
            Some(Change::Removed) => return Err(not_found()),
            None if self.below.is_dir(from) => return Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Some(Change::Front(_)) | None => Change::File(self.copy(from)?),
            Some(change) => change,
        };
        let mut changes = self.changes.lock();
        let inner: Vec<PathBuf> = changes.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in inner {
            let Some(change) = changes.remove(&path) else { continue };
            let Ok(rest) = path.strip_prefix(from) else { continue };
            if !rest.as_os_str().is_empty() {
                changes.insert(to.join(rest), change);
            }
        }
        changes.insert(from.to_owned(), Change::Removed);
        changes.insert(to.to_owned(), moved);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        match self.list(path)?.is_empty() {
            true => self.remove(path),
            false => Err(io::ErrorKind::DirectoryNotEmpty.into()),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if self.exists(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.put(path, Change::Directory);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries: BTreeMap<OsString, Kind> = match self.change(path) {
            Some(Change::Directory) => BTreeMap::new(),
            Some(Change::Removed) => return Err(not_found()),
            Some(Change::File(_) | Change::Front(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            None => self.below.list(path)?.into_iter().map(|Entry { name, kind }| (name, kind)).collect(),
        };
        for (changed, change) in self.changes.lock().iter().filter(|(it, _)| it.parent() == Some(path)) {
            let Some(name) = changed.file_name() else { continue };
            match change {
                Change::File(_) | Change::Front(_) => entries.insert(name.to_owned(), Kind::File),
                Change::Directory => entries.insert(name.to_owned(), Kind::Directory),
                Change::Removed => entries.remove(name),
            };
        }
        Ok(entries.into_iter().map(|(name, kind)| Entry { name, kind }).collect())
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        match self.change(path) {
            Some(Change::File(file)) => file.metadata(),
            Some(Change::Front(bytes)) => Ok(Metadata { bytes, ..self.below.metadata(path)? }),
            Some(Change::Directory) => {
                let id = FileId { device: DEVICE, inode: 0 };
                Ok(Metadata { kind: Kind::Directory, bytes: 0, modified_ms: 0, id })
            }
            Some(Change::Removed) => Err(not_found()),
            None => self.below.metadata(path),
        }
    }

    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        self.below.file_system(path)
    }
}

impl MemoryFile {
    fn write(&self, data: &[u8], at: Option<usize>) -> io::Result<usize> {
        let mut bytes = self.0.lock();
        let start = at.unwrap_or(bytes.len());
        let end = start.saturating_add(data.len());
        if end > MAX_BYTES {
            return Err(full());
        }
        let len = bytes.len().max(end);
        bytes.resize(len, 0);
        if let Some(place) = bytes.get_mut(start..end) {
            place.copy_from_slice(data);
        }
        Ok(end)
    }
}

impl DiskFile for MemoryFile {
    fn write_all(&self, data: &[u8]) -> io::Result<()> {
        self.write(data, None).map(drop)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let bytes = self.0.lock();
        let from = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        let n_read = from.len().min(buf.len());
        if let (Some(from), Some(to)) = (from.get(..n_read), buf.get_mut(..n_read)) {
            to.copy_from_slice(from);
        }
        Ok(n_read)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let len = usize::try_from(bytes).ok().filter(|len| *len <= MAX_BYTES).ok_or_else(full)?;
        self.0.lock().resize(len, 0);
        Ok(())
    }

    fn allocate(&self, _: u64, to: u64) -> io::Result<()> {
        self.set_len(to)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn metadata(&self) -> io::Result<Metadata> {
        // It stays where it is for as long as anybody compares it with another.
        let id = FileId { device: DEVICE, inode: std::ptr::from_ref(self).addr() as u64 };
        Ok(Metadata { kind: Kind::File, bytes: self.0.lock().len() as u64, modified_ms: 0, id })
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        Ok(())
    }
}

impl DiskFile for FileBelow {
    fn write_all(&self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let left = usize::try_from(self.bytes.saturating_sub(at)).unwrap_or(usize::MAX);
        let n_wanted = buf.len().min(left);
        self.file.read_at(buf.get_mut(..n_wanted).unwrap_or_default(), at)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        if bytes > self.bytes {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let (path, changes) = &self.place;
        changes.lock().insert(path.clone(), Change::Front(bytes));
        Ok(())
    }

    fn allocate(&self, _: u64, to: u64) -> io::Result<()> {
        self.set_len(to)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn metadata(&self) -> io::Result<Metadata> {
        Ok(Metadata { bytes: self.bytes, ..self.file.metadata()? })
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        Ok(())
    }
}

impl DiskFile for Writer {
    fn write_all(&self, data: &[u8]) -> io::Result<()> {
        match &self.at {
            None => self.file.write_all(data),
            Some(at) => {
                let mut at = at.lock();
                *at = self.file.write(data, Some(*at))?;
                Ok(())
            }
        }
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buf, at)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        self.file.allocate(from, to)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        self.file.try_lock()
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir;
    use crate::disk::RealDisk;
    use std::fs;

    #[test]
    fn changes_are_seen_through_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("wal")).unwrap();
        for (name, text) in [("wal/a", "old a"), ("wal/b", "old b"), ("wal/c", "old c")] {
            fs::write(at(name), text).unwrap();
        }
        let disk = OverlayDisk::over(Arc::new(RealDisk));
        let text = |name: &str| disk.read(&at(name)).map(|bytes| String::from_utf8(bytes).unwrap()).ok();
        let names = |dir: &str| {
            let entries = disk.list(&at(dir)).unwrap().into_iter();
            entries.map(|entry| entry.name.into_string().unwrap()).collect::<Vec<_>>()
        };
        let file = disk.open(&at("wal/a"), Access::Append).unwrap();
        assert_eq!(file.write_all(b" and more").unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
        file.set_len(3).unwrap();
        assert!(file.set_len(9).is_err());
        assert_eq!(disk.metadata(&at("wal/a")).unwrap().bytes, 3);
        data_dir::replace(&disk, &at("wal/b"), b"new").unwrap();
        disk.remove_file(&at("wal/c")).unwrap();
        assert_eq!(disk.open(&at("wal/c"), Access::Read).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.remove_file(&at("wal/c")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let lock = disk.open(&at("lock"), Access::Overwrite).unwrap();
        lock.try_lock().unwrap();
        assert_eq!(lock.metadata().unwrap().id, disk.metadata(&at("lock")).unwrap().id);
        data_dir::create_dir(&disk, &at("wal/dir.tmp")).unwrap();
        disk.open(&at("wal/dir.tmp/0"), Access::CreateNew).unwrap().write_all(b"0").unwrap();
        assert!(disk.open(&at("wal/dir.tmp/0"), Access::CreateNew).is_err());
        disk.rename(&at("wal/dir.tmp"), &at("wal/dir")).unwrap();
        assert_eq!([text("wal/a"), text("wal/b")].map(Option::unwrap), ["old", "new"]);
        assert_eq!(
            (names("wal"), names("wal/dir")),
            (vec!["a".into(), "b".into(), "dir".into()], vec!["0".into()])
        );
        disk.remove_dir_all(&at("wal/dir")).unwrap();
        assert!(!disk.exists(&at("wal/dir")) && !disk.exists(&at("wal/dir/0")));
        let error = disk.rename(&at("wal"), &at("elsewhere")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
        // Below nothing has changed.
        let below = |name: &str| fs::read_to_string(at(name)).unwrap();
        assert_eq!(["wal/a", "wal/b", "wal/c"].map(below), ["old a", "old b", "old c"]);
        assert_eq!(RealDisk.list(dir.path()).unwrap().len(), 1);
        assert_eq!(RealDisk.list(&at("wal")).unwrap().len(), 3);
    }

    #[test]
    fn large_changes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OverlayDisk::over(Arc::new(RealDisk));
        let path = dir.path().join("file");
        let file = disk.open(&path, Access::CreateNew).unwrap();
        file.set_len(MAX_BYTES as u64).unwrap();
        assert!(crate::disk::is_full(&file.write_all(b"1").unwrap_err()));
        fs::File::create(dir.path().join("large")).unwrap().set_len(MAX_BYTES as u64 + 1).unwrap();
        let error = disk.rename(&dir.path().join("large"), &dir.path().join("other")).unwrap_err();
        assert!(crate::disk::is_full(&error));
        // What is only cut takes no memory.
        disk.open(&dir.path().join("large"), Access::Append).unwrap().set_len(MAX_BYTES as u64).unwrap();
        assert_eq!(disk.metadata(&dir.path().join("large")).unwrap().bytes, MAX_BYTES as u64);
    }
}
