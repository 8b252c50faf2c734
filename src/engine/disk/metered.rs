//! A disk that counts what is written to it, by what it is for: flash wears out, and somebody wants to know of what.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::written::Written;
use crate::disk::{Access, Disk, DiskFile, Entry, FileSystem, Metadata, TryLockError};
use crate::metrics::Counter;

/// A disk that counts.
#[derive(Debug)]
pub struct MeteredDisk {
    disk: Arc<dyn Disk>,
    written: Arc<Written>,
}

#[derive(Debug)]
struct MeteredFile {
    file: Arc<dyn DiskFile>,
    cause: &'static str,
    /// Of the cause, since the start.
    bytes: Arc<Counter>,
    written: Arc<Written>,
}

impl MeteredDisk {
    /// Counts what goes to `disk` in `written`.
    pub fn new(disk: Arc<dyn Disk>, written: Arc<Written>) -> Self {
        Self { disk, written }
    }
}

/// What a file of the data directory is for, by the directory that it is in: one of [`CAUSES`](crate::disk::written::CAUSES).
fn cause_of(path: &Path) -> &'static str {
    let above = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    match above {
        Some("wal") => "log",
        Some(name) if name.starts_with("checkpoint.") => "checkpoint",
        Some("remote") => "position",
        Some("discovery") => "discovery",
        _ => "other",
    }
}

impl Disk for MeteredDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, access)?;
        if access == Access::Read {
            return Ok(file);
        }
        let cause = cause_of(path);
        let (bytes, written) = (self.written.bytes.with(&[cause]), Arc::clone(&self.written));
        Ok(Arc::new(MeteredFile { file, cause, bytes, written }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.disk.metadata(path)
    }

    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        self.disk.file_system(path)
    }
}

impl DiskFile for MeteredFile {
    fn write_all(&self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)?;
        self.bytes.add(data.len() as u64);
        self.written.today.add(self.cause, data.len() as u64);
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::disk::written::CAUSES;

    #[test]
    fn bytes_are_counted_by_what_they_are_for() {
        let dir = tempfile::tempdir().unwrap();
        let written = Arc::new(Written::default());
        let disk = MeteredDisk::new(Arc::new(RealDisk), Arc::clone(&written));
        for (name, n_bytes) in [
            ("wal/00000001", 5),
            ("wal/checkpoint.00000000/00000000", 7),
            ("wal/checkpoint.00000001.tmp/00000000", 7),
            ("remote/a.tmp", 11),
            ("discovery/a.json", 13),
            ("version", 17),
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            disk.open(&path, Access::Replace).unwrap().write_all(&vec![0; n_bytes]).unwrap();
        }
        let counted = CAUSES.map(|cause| written.bytes.with(&[cause]).get());
        assert_eq!(counted, [5, 14, 11, 13, 17]);
        assert_eq!(written.today.by_cause(), CAUSES.map(|cause| (cause, written.bytes.with(&[cause]).get())));
        assert_eq!(disk.read(&dir.path().join("version")).unwrap().len(), 17);
    }
}
