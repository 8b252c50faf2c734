//! Files that may change while the program runs: secrets, certificates, keys.
//!
//! A file is looked at when it is needed, at most once a second, on the thread that asks, and read again when its
//! time, size or inode differs. What is half written, gone or nonsense does not replace what was good before: that
//! stays in use, and the log says so once. Knows nothing of what is in a file.

use scraped_engine::sorting::sort;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use xxhash_rust::xxh64::xxh64;

use crate::config::text::encoding::without_mark;
use crate::http::error::system_words;

/// A change is seen after this at the latest; looking costs a system call.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A file this young may change again without another time or size (two seconds: the clock of FAT).
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// A CA bundle has 250 KiB; a disk image is a mistake.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// What a file says, parsed.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    places: Places,
    parse: fn(&[u8]) -> Result<T, String>,
    state: Mutex<State<T>>,
}

/// Where it stands.
#[derive(Debug)]
enum Places {
    /// In a file, or in all files of a directory.
    One(PathBuf),
    /// In the first of some files that can be read, and in all files of some directories. What is not there is passed over.
    Store { files: Vec<PathBuf>, directories: Vec<PathBuf> },
}

#[derive(Debug)]
struct State<T> {
    looked_at: Option<Instant>,
    stamp: Option<u64>,
    /// Of the bytes that `good` was made of.
    hash: u64,
    good: Option<Arc<T>>,
    /// Why the newest content is of no use; empty if it is.
    failure: String,
}

impl<T> Watched<T> {
    /// Watches `path`; nothing is read yet. `parse` must not put the content into its error.
    pub(crate) fn new(path: &Path, parse: fn(&[u8]) -> Result<T, String>) -> Self {
        Self::at(Places::One(path.to_owned()), parse)
    }

    /// Watches the first of `files` that can be read, and all files of `directories`.
    pub(in crate::http) fn store(
        files: Vec<PathBuf>,
        directories: Vec<PathBuf>,
        parse: fn(&[u8]) -> Result<T, String>,
    ) -> Self {
        Self::at(Places::Store { files, directories }, parse)
    }

    fn at(places: Places, parse: fn(&[u8]) -> Result<T, String>) -> Self {
        let state = State { looked_at: None, stamp: None, hash: 0, good: None, failure: String::new() };
        Self { places, parse, state: Mutex::new(state) }
    }

    /// The newest content that was good. The same `Arc` as before means that nothing changed.
    pub(crate) fn current(&self) -> Result<Arc<T>, String> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let is_due = state.looked_at.is_none_or(|at| now.duration_since(at) >= LOOK_INTERVAL);
        if is_due {
            state.looked_at = Some(now);
            if let Err(failure) = self.look(&mut state)
                && state.failure != failure
            {
                if state.good.is_some() {
                    log::warn!("{failure}; what was read of it before stays in use");
                }
                state.failure = failure;
            }
        }
        state.good.clone().ok_or_else(|| state.failure.clone())
    }

    fn look(&self, state: &mut State<T>) -> Result<(), String> {
        let (stamp, modified) = self.places.stamp()?;
        if state.stamp == Some(stamp) {
            return Ok(());
        }
        let bytes = self.places.read()?;
        let hash = xxh64(&bytes, 0);
        if state.good.is_none() || hash != state.hash {
            let shown = self.places.shown();
            if state.good.is_some() && bytes.trim_ascii().is_empty() {
                return Err(format!("file {shown} is empty"));
            }
            let good = (self.parse)(&bytes).map_err(|cause| format!("{shown}: {cause}"))?;
            state.good = Some(Arc::new(good));
            state.hash = hash;
        }
        state.failure.clear();
        let age = modified.and_then(|at| SystemTime::now().duration_since(at).ok());
        state.stamp = age.is_some_and(|age| age > SETTLED_AFTER).then_some(stamp);
        Ok(())
    }
}

impl Places {
    /// What differs when something has changed, and when that was.
    fn stamp(&self) -> Result<(u64, Option<SystemTime>), String> {
        let mut stamp = 0;
        let mut newest = None;
        let mut add = |metadata: Option<&Metadata>| {
            let bytes = metadata.map(|it| {
                let numbers =
                    [it.mtime().cast_unsigned(), it.mtime_nsec().cast_unsigned(), it.len(), it.ino()];
                numbers.map(u64::to_le_bytes)
            });
            stamp = xxh64(bytes.unwrap_or_default().as_flattened(), stamp);
            newest = newest.max(metadata.and_then(|it| it.modified().ok()));
        };
        match self {
            Self::One(path) => add(Some(&fs::metadata(path).map_err(|error| unreadable(path, &error))?)),
            Self::Store { files, directories } => {
                files.iter().chain(directories).for_each(|path| add(fs::metadata(path).ok().as_ref()));
            }
        }
        Ok((stamp, newest))
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        let (files, directories) = match self {
            Self::One(path) => {
                let read = || read(path, &fs::metadata(path)?, OnFailure::Stop);
                return read().map_err(|error| unreadable(path, &error));
            }
            Self::Store { files, directories } => (files, directories),
        };
        // As Go's `loadSystemRoots`: the first failure counts if nothing is found at all.
        let mut failure = None;
        let mut try_read = |path: &PathBuf| {
            let read = || read(path, &fs::metadata(path)?, OnFailure::PassOver);
            let read = read().inspect_err(|error| {
                if error.kind() != io::ErrorKind::NotFound {
                    failure.get_or_insert_with(|| unreadable(path, error));
                }
            });
            read.ok()
        };
        let mut bytes = files.iter().find_map(&mut try_read).unwrap_or_default();
        for directory in directories {
            bytes.push(b'\n');
            bytes.extend(try_read(directory).unwrap_or_default());
        }
        match failure {
            Some(failure) if bytes.trim_ascii().is_empty() => Err(failure),
            Some(failure) => {
                log::warn!("{failure}; the other places are read");
                Ok(bytes)
            }
            None => Ok(bytes),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::One(path) => path.display().to_string(),
            Self::Store { files, directories } => {
                let shown: Vec<String> =
                    files.iter().chain(directories).map(|path| path.display().to_string()).collect();
                shown.join(", ")
            }
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("unable to read file {}: {}", path.display(), system_words(error))
}

/// What becomes of a file of a directory that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFailure {
    Stop,
    PassOver,
}

/// The bytes of a file, or those of all files of a directory, one after another.
fn read(path: &Path, metadata: &Metadata, on_failure: OnFailure) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if !metadata.is_dir() {
        read_file(path, metadata, &mut bytes)?;
        return Ok(bytes);
    }
    let mut paths: Vec<PathBuf> =
        fs::read_dir(path)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    sort(&mut paths);
    for path in paths {
        // Links to nowhere are usual in directories of certificates.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_file() {
            let n_before = bytes.len();
            match read_file(&path, &metadata, &mut bytes) {
                Err(_) if on_failure == OnFailure::PassOver => bytes.truncate(n_before),
                outcome => outcome?,
            }
            bytes.push(b'\n');
        }
    }
    Ok(bytes)
}

fn read_file(path: &Path, metadata: &Metadata, bytes: &mut Vec<u8>) -> io::Result<()> {
    if !metadata.is_file() {
        // To open a pipe may take for ever.
        return Err(io::Error::other("not a regular file"));
    }
    let start = bytes.len();
    let left_bytes = MAX_FILE_BYTES.saturating_sub(start as u64);
    let n_read = File::open(path)?.take(left_bytes + 1).read_to_end(bytes)?;
    if n_read as u64 > left_bytes {
        return Err(io::Error::other(format!("larger than {MAX_FILE_BYTES}B")));
    }
    let n_content = without_mark(&bytes[start..]).map_err(io::Error::other)?.len();
    bytes.drain(start..bytes.len() - n_content);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<String, String> {
        match bytes {
            b"bad" => Err("nonsense".to_owned()),
            bytes => Ok(String::from_utf8_lossy(bytes).trim().to_owned()),
        }
    }

    fn look_again<T>(watched: &Watched<T>) {
        watched.state.lock().looked_at = None;
    }

    #[test]
    fn a_change_is_seen_and_nonsense_does_not_replace_what_was_good() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        let watched = Watched::new(&path, parse);
        let missing = format!("unable to read file {}: no such file or directory", path.display());
        assert_eq!(watched.current().expect_err("nothing there"), missing);
        for (content, want) in [
            ("one\n", "one"),
            ("two", "two"),
            ("bad", "two"),
            (" \n", "two"),
            ("three", "three"),
            ("\u{feff}four\n", "four"),
        ] {
            fs::write(&path, content).expect("writable");
            look_again(&watched);
            assert_eq!(*watched.current().expect("good content"), want, "{content}");
        }
        let before = watched.current().expect("good content");
        fs::remove_file(&path).expect("there");
        look_again(&watched);
        let after = watched.current().expect("the old content");
        assert!(Arc::ptr_eq(&before, &after));
    }

    #[test]
    fn a_file_is_looked_at_once_a_second_and_the_same_content_is_no_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        fs::write(&path, "one").expect("writable");
        let watched = Watched::new(&path, parse);
        let first = watched.current().expect("good content");
        fs::write(&path, "two").expect("writable");
        watched.state.lock().looked_at = Some(Instant::now());
        assert!(Arc::ptr_eq(&first, &watched.current().expect("good content")));
        fs::write(&path, "one").expect("writable");
        look_again(&watched);
        assert!(Arc::ptr_eq(&first, &watched.current().expect("good content")));
    }

    #[test]
    fn what_is_no_file_or_too_large_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let error = Watched::new(Path::new("/dev/zero"), parse).current().expect_err("endless");
        assert_eq!(error, "unable to read file /dev/zero: not a regular file");
        let path = dir.path().join("large");
        fs::write(&path, vec![b'a'; MAX_FILE_BYTES as usize + 1]).expect("writable");
        let error = Watched::new(&path, parse).current().expect_err("too large");
        assert!(error.ends_with("larger than 4194304B"), "{error}");
    }
}
