//! A disk that writes down what is done to it, for tests; nothing that is shipped is built with it.
//!
//! It stands over another disk and passes everything on. What changed something below its root becomes a [`Step`], with the
//! bytes that were written, in the order in which it was done: one operation at a time, however many threads there are. A
//! disk that fails belongs over it: what failed below it is not written down.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::disk::image::Image;
use crate::disk::{Access, Disk, DiskFile, Entry, FileSystem, Metadata, TryLockError};

/// What was done to a disk. Paths go from its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A file was opened to be written: made, emptied, or as it was; or to be read, and then synced.
    Open {
        /// By this number the steps that follow speak of it.
        handle: u64,
        /// Its name at this moment.
        path: PathBuf,
        /// How.
        access: Access,
    },
    /// Bytes were written, to the end or behind what was written last.
    Write {
        /// The file.
        handle: u64,
        /// All of them.
        data: Vec<u8>,
    },
    /// A file was cut or made longer; room that is allocated is a part of it.
    SetLen {
        /// The file.
        handle: u64,
        /// Its length by now.
        bytes: u64,
    },
    /// What a file holds was made durable.
    Sync {
        /// The file.
        handle: u64,
    },
    /// A directory was made.
    CreateDir(PathBuf),
    /// Names in a directory were made durable.
    SyncDir(PathBuf),
    /// A file or a directory got another name.
    Rename {
        /// Its name before.
        from: PathBuf,
        /// Its name by now.
        to: PathBuf,
    },
    /// A file or an empty directory was removed.
    Remove(PathBuf),
    /// Something else happened that a test wants to know the time of.
    Mark(u64),
}

/// What was done to a disk, and what stood there before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// All of it was durable.
    pub base: Image,
    /// In the order in which it was done.
    pub steps: Vec<Step>,
}

/// A disk that writes down what is done to it. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    below: Arc<dyn Disk>,
    root: PathBuf,
    /// Locked for as long as an operation takes.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    recording: Recording,
    last_handle: u64,
}

impl Recorder {
    /// Writes down what happens below `root`, which exists, from now on.
    ///
    /// # Errors
    /// What stands there cannot be read.
    pub fn over(below: Arc<dyn Disk>, root: &Path) -> io::Result<Recorder> {
        let recording = Recording { base: Image::of(root)?, steps: Vec::new() };
        let state = Mutex::new(State { recording, last_handle: 0 });
        Ok(Recorder(Arc::new(Shared { below, root: root.to_owned(), state })))
    }

    /// Something else happened, which the caller knows by `number`: what was done before it stands before it.
    pub fn mark(&self, number: u64) {
        self.0.state.lock().recording.steps.push(Step::Mark(number));
    }

    /// What was written down so far.
    pub fn recording(&self) -> Recording {
        self.0.state.lock().recording.clone()
    }
}

impl Shared {
    /// Does something with `path`, and writes it down if that went well.
    fn record<T>(
        &self,
        path: &Path,
        done: impl FnOnce(&dyn Disk) -> io::Result<T>,
        step: impl FnOnce(PathBuf) -> Step,
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        let done = done(&*self.below)?;
        if let Some(path) = self.inside(path) {
            state.recording.steps.push(step(path));
        }
        Ok(done)
    }

    fn inside(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root).ok().map(Path::to_owned)
    }
}

impl Disk for Recorder {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.state.lock();
        let below = self.0.below.open(path, access)?;
        let Some(inside) = self.0.inside(path) else { return Ok(below) };
        state.last_handle += 1;
        let handle = state.last_handle;
        let opened = Step::Open { handle, path: inside, access };
        let unwritten = if access == Access::Read {
            Mutex::new(Some(opened))
        } else {
            state.recording.steps.push(opened);
            Mutex::default()
        };
        Ok(Arc::new(RecordedFile { below, handle, unwritten, shared: Arc::clone(&self.0) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let from_inside = self.0.inside(from).unwrap_or_default();
        let step = |to| Step::Rename { from: from_inside, to };
        self.0.record(to, |disk| disk.rename(from, to), step)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.record(path, |disk| disk.remove_file(path), Step::Remove)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.record(path, |disk| disk.remove_dir(path), Step::Remove)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.record(path, |disk| disk.create_dir(path), Step::CreateDir)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.record(path, |disk| disk.sync_dir(path), Step::SyncDir)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.0.below.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.0.below.metadata(path)
    }

    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        self.0.below.file_system(path)
    }
}

#[derive(Debug)]
struct RecordedFile {
    below: Arc<dyn DiskFile>,
    handle: u64,
    /// How it was opened to be read, until it is synced: by the name that it had.
    unwritten: Mutex<Option<Step>>,
    shared: Arc<Shared>,
}

impl RecordedFile {
    fn record(
        &self,
        done: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
        step: impl FnOnce(u64) -> Step,
    ) -> io::Result<()> {
        let mut state: MutexGuard<'_, State> = self.shared.state.lock();
        done(&*self.below)?;
        state.recording.steps.extend(self.unwritten.lock().take());
        state.recording.steps.push(step(self.handle));
        Ok(())
    }
}

impl DiskFile for RecordedFile {
    fn write_all(&self, data: &[u8]) -> io::Result<()> {
        self.record(|file| file.write_all(data), |handle| Step::Write { handle, data: data.to_owned() })
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.below.read_at(buf, at)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.record(|file| file.set_len(bytes), |handle| Step::SetLen { handle, bytes })
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        self.record(|file| file.allocate(from, to), |handle| Step::SetLen { handle, bytes: to })
    }

    fn sync(&self) -> io::Result<()> {
        self.record(|file| file.sync(), |handle| Step::Sync { handle })
    }

    fn metadata(&self) -> io::Result<Metadata> {
        self.below.metadata()
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        self.below.try_lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::disk::faulty::{Faults, FaultyDisk};

    #[test]
    fn what_is_done_is_written_down_in_order_and_reaches_the_disk_below() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("old"), "old").unwrap();
        let disk = Recorder::over(Arc::new(RealDisk), dir.path()).unwrap();
        let at = |name: &str| dir.path().join(name);
        disk.create_dir(&at("dir")).unwrap();
        let file = disk.open(&at("dir/a"), Access::CreateNew).unwrap();
        file.write_all(b"text").unwrap();
        file.sync().unwrap();
        file.set_len(2).unwrap();
        disk.mark(7);
        disk.rename(&at("dir/a"), &at("dir/b")).unwrap();
        disk.sync_dir(&at("dir")).unwrap();
        disk.remove_file(&at("old")).unwrap();
        assert!(disk.open(&at("none"), Access::Append).is_err());
        assert_eq!(disk.read(&at("dir/b")).unwrap(), b"te");
        disk.open(&at("dir/b"), Access::Read).unwrap().sync().unwrap();
        disk.sync_dir(dir.path().parent().unwrap()).unwrap();
        let Recording { base, steps } = disk.recording();
        assert_eq!(base.files, [(PathBuf::from("old"), b"old".to_vec())].into());
        let expected = [
            Step::CreateDir("dir".into()),
            Step::Open { handle: 1, path: "dir/a".into(), access: Access::CreateNew },
            Step::Write { handle: 1, data: b"text".to_vec() },
            Step::Sync { handle: 1 },
            Step::SetLen { handle: 1, bytes: 2 },
            Step::Mark(7),
            Step::Rename { from: "dir/a".into(), to: "dir/b".into() },
            Step::SyncDir("dir".into()),
            Step::Remove("old".into()),
            Step::Open { handle: 3, path: "dir/b".into(), access: Access::Read },
            Step::Sync { handle: 3 },
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn a_sync_that_lies_is_not_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::over(Arc::new(RealDisk), dir.path()).unwrap();
        let disk = FaultyDisk::over(Arc::new(recorder.clone()));
        disk.set(Faults { lies_about_syncs: true, ..Faults::default() }.with_room(3));
        let file = disk.open(&dir.path().join("file"), Access::CreateNew).unwrap();
        file.write_all(b"text").unwrap_err();
        file.sync().unwrap();
        disk.sync_dir(dir.path()).unwrap();
        let steps = recorder.recording().steps;
        assert_eq!(steps.len(), 2, "{steps:?}");
        assert_eq!(steps[1], Step::Write { handle: 1, data: b"tex".to_vec() });
    }
}
