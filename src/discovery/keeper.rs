//! The last targets of a provider on disk, for a start while its source cannot be reached.
//!
//! One file a provider under `discovery/` of the data directory, named by its settings. The provider's thread writes
//! it, beside, fsynced and renamed, when what it found has changed and not too often; the manager reads it once, when
//! it starts the provider. Losing it loses nothing but that start.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh64::xxh64;

use crate::config::discovery::{DiscoveryConfig, Provenance};
use crate::config::text::yaml::MAX_TEXT_BYTES;
use crate::discovery::target_group::TargetGroup;
use scraped_engine::data_dir;
use scraped_engine::disk::{Access, Disk};
use scraped_engine::labels::Labels;

/// Directory in the data directory.
const DISCOVERY_DIR: &str = "discovery";

/// How the extension of a file begins that is not whole yet.
const HALF_PREFIX: &str = "tmp";

/// On every group that comes from the disk; it is not there any more once the source has answered. No `__meta_` label,
/// so that a `labelmap` of all of these makes the same series of it.
pub const REMEMBERED_LABEL: &str = "__remembered__";

/// A source that changes all the time must not wear the flash out.
pub(in crate::discovery) const MIN_PAUSE: Duration = Duration::from_secs(60);

/// The directory `discovery/`.
#[derive(Clone, Debug)]
pub(in crate::discovery) struct KeptDir {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

/// A provider's file.
#[derive(Debug)]
pub(in crate::discovery) struct Keeper {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    /// Of the provider that the file is of; what stands in the file has no say in it.
    provenance: Provenance,
    /// What stands in the file.
    kept: Vec<Arc<TargetGroup>>,
    /// Which file was written: there is another one after its disk has gone or come back.
    place: Option<(u64, u64)>,
    /// News that came too soon after the last write.
    waiting: Option<Vec<Arc<TargetGroup>>>,
    written_at: Option<Instant>,
    is_failing: bool,
}

/// A group as the file has it; of one that is written everything is borrowed.
#[derive(Debug, Deserialize, Serialize)]
struct Kept<T> {
    source: T,
    targets: Vec<Vec<(T, T)>>,
    labels: Vec<(T, T)>,
}

impl KeptDir {
    /// The directory below `data_dir`; nothing is made yet.
    pub(in crate::discovery) fn new(data_dir: &Path, disk: Arc<dyn Disk>) -> Self {
        Self { path: data_dir.join(DISCOVERY_DIR), disk }
    }

    /// The file of a provider that was started for `job`; `None` where the configuration says all.
    /// Two that differ in nothing but a secret, which must not show on disk, are distinguished by their jobs.
    pub(in crate::discovery) fn keeper(&self, config: &DiscoveryConfig, job: &str) -> Option<Keeper> {
        if matches!(config, DiscoveryConfig::Static(_)) {
            return None;
        }
        let identity = format!("{job}\0{}", config.identity());
        let path = self.path.join(format!("{:016x}.json", xxh64(identity.as_bytes(), 0)));
        let provenance = config.provenance();
        Some(Keeper {
            path,
            disk: Arc::clone(&self.disk),
            provenance,
            kept: Vec::new(),
            waiting: None,
            written_at: None,
            place: None,
            is_failing: false,
        })
    }

    /// Removes what was being written when the machine went down. Before the first provider starts.
    pub(in crate::discovery) fn remove_halves(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let extension = path.extension().map(|extension| extension.to_string_lossy());
            if extension.is_some_and(|extension| extension.starts_with(HALF_PREFIX)) {
                // What cannot be removed is read by no one.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Removes the files of providers that are not in `keepers`.
    pub(in crate::discovery) fn remove_others(&self, keepers: &BTreeSet<PathBuf>) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            // Providers that have just started may be writing beside their file.
            if !keepers.contains(&path.with_extension("json")) {
                // What cannot be removed is looked at again at the next reload, and read by no one.
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Keeper {
    /// Where it writes.
    pub(in crate::discovery) fn path(&self) -> &Path {
        &self.path
    }

    /// What the provider found in an earlier life, each group marked.
    pub(in crate::discovery) fn load(&self) -> Option<Vec<Arc<TargetGroup>>> {
        match read(&self.path, self.provenance) {
            Ok(groups) => Some(groups),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let path = self.path.display();
                log::warn!("discovery: {path}: {error}; the targets remembered there are not used");
                None
            }
        }
    }

    /// Writes `groups` if they are news; if the last write is not long enough ago, [`Keeper::keep_waiting`] does.
    pub(in crate::discovery) fn keep(&mut self, groups: &[Arc<TargetGroup>]) {
        self.waiting = None;
        if self.written_at.is_some() && self.kept == groups && place(&self.path) == self.place {
            return;
        }
        if self.written_at.is_some_and(|at| at.elapsed() < MIN_PAUSE) {
            self.waiting = Some(groups.to_vec());
            return;
        }
        self.written_at = Some(Instant::now());
        match write(&*self.disk, &self.path, groups) {
            Ok(()) => {
                self.kept = groups.to_vec();
                self.place = place(&self.path);
                self.is_failing = false;
            }
            Err(error) => {
                self.kept = Vec::new();
                if !self.is_failing {
                    self.is_failing = true;
                    let path = self.path.display();
                    log::warn!("discovery: {path}: {error}; after a restart its source has to answer first");
                }
            }
        }
    }

    /// Writes what came too soon, once it is time.
    pub(in crate::discovery) fn keep_waiting(&mut self) {
        if let Some(groups) = self.waiting.take() {
            self.keep(&groups);
        }
    }
}

/// Device and inode.
fn place(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn read(path: &Path, provenance: Provenance) -> io::Result<Vec<Arc<TargetGroup>>> {
    if fs::metadata(path)?.len() > MAX_TEXT_BYTES as u64 {
        return Err(io::Error::other(format!("larger than {MAX_TEXT_BYTES} bytes")));
    }
    let groups: Vec<Kept<String>> = serde_json::from_slice(&fs::read(path)?)?;
    let group = |kept: Kept<String>| {
        let labels = kept.labels.into_iter().chain([(REMEMBERED_LABEL.to_owned(), "true".to_owned())]);
        Arc::new(TargetGroup {
            provenance,
            source: kept.source,
            targets: kept.targets.into_iter().map(Labels::from_pairs).collect(),
            labels: Labels::from_pairs(labels),
        })
    };
    Ok(groups.into_iter().map(group).collect())
}

fn write(disk: &dyn Disk, path: &Path, groups: &[Arc<TargetGroup>]) -> io::Result<()> {
    // Looked at first: millions of targets are not copied for nothing.
    let n_text_bytes: usize = groups.iter().map(|group| text_bytes(group)).sum();
    check_size(n_text_bytes)?;
    let kept: Vec<Kept<&str>> = groups
        .iter()
        .map(|group| Kept {
            source: group.source.as_str(),
            targets: group.targets.iter().map(own_pairs).collect(),
            labels: own_pairs(&group.labels),
        })
        .collect();
    let text = serde_json::to_vec(&kept)?;
    check_size(text.len())?;
    if let Some(dir) = path.parent() {
        data_dir::create_dirs(disk, dir)?;
    }
    // Another name each time: a provider that was replaced may still be writing its own.
    let beside =
        path.with_extension(format!("{HALF_PREFIX}{:08x}", RandomState::new().hash_one(path) as u32));
    let written = disk
        .open(&beside, Access::Replace)
        .and_then(|file| file.write_all(&text).and_then(|()| file.sync()))
        .and_then(|()| disk.rename(&beside, path));
    if written.is_err() {
        // Half a file is of no use, and what it lacks may be room.
        let _ = disk.remove_file(&beside);
    }
    written
}

/// What is remembered may be kept on, and is marked when it is read.
fn own_pairs(labels: &Labels) -> Vec<(&str, &str)> {
    labels.iter().filter(|(name, _)| *name != REMEMBERED_LABEL).collect()
}

/// Of names and values alone.
fn text_bytes(group: &TargetGroup) -> usize {
    let labels = group.targets.iter().chain([&group.labels]);
    labels.flat_map(|labels| labels.iter()).map(|(name, value)| name.len() + value.len()).sum()
}

fn check_size(n_bytes: usize) -> io::Result<()> {
    if n_bytes <= MAX_TEXT_BYTES {
        return Ok(());
    }
    Err(io::Error::other(format!("{n_bytes} bytes are too much to be kept (limit: {MAX_TEXT_BYTES})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use scraped_engine::disk::RealDisk;

    fn group(address: &str) -> Arc<TargetGroup> {
        Arc::new(TargetGroup {
            provenance: Provenance::Network,
            source: "here".to_owned(),
            targets: vec![Labels::from_pairs([("__address__", address), ("é", "\"")])],
            labels: Labels::from_pairs([("env", "x")]),
        })
    }

    fn kept_dir(data_dir: &Path) -> KeptDir {
        KeptDir::new(data_dir, Arc::new(RealDisk))
    }

    fn keeper(dir: &Path) -> Keeper {
        let KeptDir { path, disk } = kept_dir(dir);
        Keeper {
            path: path.join("a.json"),
            disk,
            provenance: Provenance::Network,
            kept: Vec::new(),
            place: None,
            waiting: None,
            written_at: None,
            is_failing: false,
        }
    }

    #[test]
    fn what_did_not_change_is_written_again_where_another_file_stands() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        keeper.keep(&[group("a:1")]);
        // The disk was away and is back with what it had before.
        let beside = dir.path().join("beside");
        fs::write(&beside, "[]").unwrap();
        fs::rename(&beside, &keeper.path).unwrap();
        keeper.written_at = Instant::now().checked_sub(MIN_PAUSE);
        keeper.keep(&[group("a:1")]);
        assert_eq!(keeper.load().unwrap()[0].targets, group("a:1").targets);
    }

    #[test]
    fn groups_come_back_marked() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        assert!(keeper.load().is_none());
        keeper.keep(&[group("a:1")]);
        let back = keeper.load().unwrap();
        assert_eq!((&back[0].targets, back[0].provenance), (&group("a:1").targets, Provenance::Network));
        assert_eq!(back[0].labels.get(REMEMBERED_LABEL), "true");
        assert_eq!((back[0].labels.get("env"), back[0].source.as_str()), ("x", "here"));
        // Soon after the last write nothing is written, also when it is news.
        keeper.keep(&[group("b:1")]);
        assert_eq!(keeper.load().unwrap()[0].targets, group("a:1").targets);
        keeper.keep_waiting();
        assert_eq!(keeper.load().unwrap()[0].targets, group("a:1").targets);
        keeper.written_at = Instant::now().checked_sub(MIN_PAUSE);
        keeper.keep_waiting();
        assert_eq!(keeper.load().unwrap()[0].targets, group("b:1").targets);
        // What is remembered is kept without the mark.
        keeper.written_at = None;
        let back = keeper.load().unwrap();
        keeper.keep(&back);
        assert!(!fs::read_to_string(&keeper.path).unwrap().contains(REMEMBERED_LABEL));
        assert_eq!(keeper.load().unwrap()[0].targets, group("b:1").targets);
        assert_eq!(fs::read_dir(dir.path().join(DISCOVERY_DIR)).unwrap().count(), 1);
    }

    #[test]
    fn what_is_damaged_is_not_used_and_what_is_old_goes() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keeper(dir.path());
        fs::create_dir(dir.path().join(DISCOVERY_DIR)).unwrap();
        for damaged in ["", "[", "[{\"source\": 1}]", "{}"] {
            fs::write(&keeper.path, damaged).unwrap();
            assert!(keeper.load().is_none(), "{damaged}");
        }
        let kept_dir = kept_dir(dir.path());
        let beside = keeper.path.with_extension("tmp0123");
        fs::write(&beside, "").unwrap();
        kept_dir.remove_others(&BTreeSet::from([keeper.path.clone()]));
        assert!(keeper.path.exists() && beside.exists());
        kept_dir.remove_halves();
        assert!(keeper.path.exists() && !beside.exists());
        kept_dir.remove_others(&BTreeSet::new());
        assert!(!keeper.path.exists());
    }
}
