//! `file_sd_configs`: target groups in files that others write.
//!
//! The thread `sd-file-<n>` looks at its files, a `stat` each, when a watch of their directories says that something has
//! changed, and every few seconds, since some file systems say nothing. What has changed is read; a file that cannot be
//! read or understood keeps the groups it had. Semantics are those of Prometheus' `discovery/file/file.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{never, select};
use xxhash_rust::xxh64::xxh64;

use crate::config::discovery::Provenance;
use crate::config::discovery::file::FileSdConfig;
use crate::config::text::encoding::without_mark;
use crate::config::text::yaml::MAX_TEXT_BYTES;
use crate::discovery::complaints::Complaint;
use crate::discovery::directory_watch::DirectoryWatch;
use crate::discovery::discoverer::{Discoverer, GroupSender};
use crate::discovery::lists::group_list::{Format, parse};
use crate::discovery::lists::path_pattern::{is_pattern, matching_files};
use crate::discovery::lists::raw_group::Origin;
use crate::discovery::lists::tally::Wanted;
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::target_group::TargetGroup;
use scraped_engine::threads::stop::StopToken;

/// Label with the path of the file.
const FILEPATH_LABEL: &str = "__meta_filepath";

/// How often the files are looked at if nothing reports a change, and while one may be hidden.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How often they are looked at while a watch reports changes.
const WATCHED_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Changes are collected for this long before the files are looked at.
const COLLECT_TIME: Duration = Duration::from_millis(100);

/// A file that is being written is read when it has not changed for this long, so that half of it is not taken for
/// all of it.
const SETTLE_TIME: Duration = Duration::from_millis(50);

/// After this many times the file is read as it is: somebody writes to it all the time.
const SETTLE_ATTEMPTS: usize = 10;

/// What is wrong with a list that is not there.
const MISSING: &str = "the file does not exist, so it has no targets; they come when it is there, unless its name is \
                       mistyped";

/// Time stamps of files have steps of up to two seconds: a file that has just changed may change again without
/// showing it, and is read again for this long.
const STAMP_STEP: Duration = Duration::from_secs(2);

/// One entry of `file_sd_configs`.
#[derive(Debug)]
pub(in crate::discovery) struct FileDiscoverer {
    config: FileSdConfig,
    wanted: Wanted,
    metrics: Arc<DiscoveryMetrics>,
    files: BTreeMap<PathBuf, KnownFile>,
    /// Directories that could not be listed.
    unlisted: BTreeMap<PathBuf, Complaint>,
    /// Lists that the configuration names, without a pattern, and that are not there. No failure that is counted: whoever
    /// writes them may not have come to it yet.
    missing: BTreeMap<PathBuf, Complaint>,
    /// The log has it that a directory cannot be watched.
    is_unwatched: bool,
}

#[derive(Debug, Default)]
struct KnownFile {
    stamp: Option<Stamp>,
    content_hash: u64,
    /// Bytes that are no list, and what is wrong with them: it need not be found out again.
    broken: Option<(u64, String)>,
    /// `None` until it was first read.
    suspicious_until: Option<Instant>,
    groups: Vec<Arc<TargetGroup>>,
    /// While the last attempt failed.
    complaint: Option<Complaint>,
}

/// Everything that shows a change without reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            size_bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Discoverer for FileDiscoverer {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn run(mut self: Box<Self>, groups: &mut GroupSender, stop: &StopToken) {
        let mut refreshed_at = Instant::now();
        self.look(Depth::Contents, stop);
        self.remember(groups.remembered());
        // Also when there is nothing: the manager waits for the first word of every provider.
        groups.send(self.groups());
        let watch = DirectoryWatch::start().inspect_err(|error| {
            self.metrics.file_watcher_errors.inc();
            log::warn!("file_sd: no watch of directories: {error}; files are looked at every second");
        });
        let watch = watch.ok();
        let nothing = never();
        loop {
            let changed = watch.as_ref().and_then(DirectoryWatch::changed).unwrap_or(&nothing);
            select! {
                recv(stop.receiver()) -> _ => return,
                recv(changed) -> _ => {
                    // Others may write to the directory all the time.
                    if stop.wait(COLLECT_TIME) {
                        return;
                    }
                }
                default(self.pause(watch.as_ref())) => {}
            }
            let depth = if refreshed_at.elapsed() >= self.config.refresh_interval {
                refreshed_at = Instant::now();
                Depth::Contents
            } else {
                Depth::Stamps
            };
            if self.look(depth, stop) {
                groups.send(self.groups());
            }
            groups.settle();
        }
    }
}

/// What a look compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// `refresh_interval`: every file is read.
    Contents,
    /// A file is read when its stamp differs.
    Stamps,
}

impl FileDiscoverer {
    /// A provider for one entry.
    pub(in crate::discovery) fn new(
        config: FileSdConfig,
        wanted: Wanted,
        metrics: Arc<DiscoveryMetrics>,
    ) -> Self {
        Self {
            config,
            wanted,
            metrics,
            files: BTreeMap::new(),
            unlisted: BTreeMap::new(),
            missing: BTreeMap::new(),
            is_unwatched: false,
        }
    }

    /// Until the next look, if nothing is heard before.
    fn pause(&mut self, watch: Option<&DirectoryWatch>) -> Duration {
        let now = Instant::now();
        let may_hide = self.files.values().any(|file| file.suspicious_until.is_some_and(|until| now < until));
        // Directories come and go.
        let covers_all = watch.is_some_and(|watch| self.cover_all(watch));
        let pause = if covers_all && !may_hide { WATCHED_LOOK_INTERVAL } else { LOOK_INTERVAL };
        pause.min(self.config.refresh_interval)
    }

    /// Whether every directory is watched for changes.
    fn cover_all(&mut self, watch: &DirectoryWatch) -> bool {
        let mut covers_all = true;
        for directory in self.config.files.iter().filter_map(|pattern| pattern.parent()) {
            let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            let Err(error) = watch.cover(directory) else { continue };
            covers_all = false;
            // Mostly that the system has no watches left; one that is not there yet is no failure.
            if error.kind() != io::ErrorKind::NotFound && !self.is_unwatched {
                self.is_unwatched = true;
                self.metrics.file_watcher_errors.inc();
                log::warn!(
                    "file_sd: no watch of {}: {error}; its files are looked at every second",
                    directory.display()
                );
            }
        }
        covers_all
    }

    fn groups(&self) -> Vec<Arc<TargetGroup>> {
        self.files.values().flat_map(|file| file.groups.iter().cloned()).collect()
    }

    /// What was found before a restart, for files that are there and cannot be read or listed now.
    fn remember(&mut self, remembered: Vec<Arc<TargetGroup>>) {
        for group in remembered {
            let path = PathBuf::from(group.labels.get(FILEPATH_LABEL));
            let is_unlisted =
                |pattern: &PathBuf| pattern.parent() == path.parent() && self.unlisted.contains_key(pattern);
            if self.config.files.iter().any(is_unlisted) {
                self.files.entry(path).or_default().groups.push(group);
            } else if let Some(file) = self.files.get_mut(&path).filter(|file| file.complaint.is_some()) {
                file.groups.push(group);
            }
        }
    }

    /// Looks at all files; true when groups have changed.
    fn look(&mut self, depth: Depth, stop: &StopToken) -> bool {
        let start = Instant::now();
        let (listed, kept_directories) = self.list();
        let mut changed = false;
        let mut n_read = 0;
        for path in &listed {
            let mut file = self.files.remove(path).unwrap_or_default();
            if file.must_be_read(path, depth) {
                n_read += 1;
                changed |= file.read(path, depth, self.wanted, &self.metrics, stop);
            }
            self.files.insert(path.clone(), file);
        }
        let gone: Vec<PathBuf> = self
            .files
            .keys()
            .filter(|path| !listed.contains(*path))
            .filter(|path| !path.parent().is_some_and(|parent| kept_directories.contains(parent)))
            .cloned()
            .collect();
        for path in gone {
            let file = self.files.remove(&path).unwrap_or_default();
            changed |= !file.groups.is_empty();
            self.metrics.file_mtime_seconds.remove(&[&path.to_string_lossy()]);
            log::debug!("file_sd: {} is gone, its {} groups go with it", path.display(), file.groups.len());
        }
        if n_read > 0 {
            self.metrics.file_scan_seconds.observe_duration(start.elapsed());
        }
        changed
    }

    /// Files there are now, and directories that could not be listed: what is known of them stays.
    fn list(&mut self) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
        let mut listed = BTreeSet::new();
        let mut kept_directories = BTreeSet::new();
        let patterns = std::mem::take(&mut self.config.files);
        for pattern in &patterns {
            match matching_files(pattern) {
                Ok(paths) => {
                    self.unlisted.remove(pattern);
                    self.follow_missing(pattern, paths.is_empty() && !is_pattern(pattern));
                    listed.extend(paths);
                }
                Err(error) => {
                    let sentence = error.to_string();
                    let source = || format!("file_sd: {}", pattern.display());
                    let complaints = &self.metrics.complaints;
                    if let Some(new) = complaints.raise(self.unlisted.get(pattern), source, &sentence) {
                        self.metrics.file_read_errors.inc();
                        log::error!(
                            "file_sd: cannot list {}: {sentence}; the targets found there stay",
                            pattern.display()
                        );
                        self.unlisted.insert(pattern.clone(), new);
                    }
                    kept_directories.extend(pattern.parent().map(Path::to_owned));
                }
            }
        }
        self.config.files = patterns;
        (listed, kept_directories)
    }

    /// Says once that a list is not there, since its name may be mistyped, and once that it is there now.
    fn follow_missing(&mut self, path: &Path, is_missing: bool) {
        if !is_missing {
            if self.missing.remove(path).is_some() {
                log::info!("file_sd: {} is there now", path.display());
            }
            return;
        }
        let was_there = self.files.contains_key(path);
        let source = || format!("file_sd: {}", path.display());
        if let Some(new) = self.metrics.complaints.raise(self.missing.get(path), source, MISSING) {
            let since = if was_there { "is gone, and its targets with it" } else { "does not exist" };
            log::warn!(
                "file_sd: {} {since}; its targets come when it is there, if it is not a mistyped name",
                path.display()
            );
            self.missing.insert(path.to_owned(), new);
        }
    }
}

impl Drop for FileDiscoverer {
    fn drop(&mut self) {
        for path in self.files.keys() {
            self.metrics.file_mtime_seconds.remove(&[&path.to_string_lossy()]);
        }
    }
}

impl KnownFile {
    fn must_be_read(&self, path: &Path, depth: Depth) -> bool {
        depth == Depth::Contents
            || self.suspicious_until.is_none_or(|until| Instant::now() < until)
            || self.stamp != stamp_of(path)
    }

    /// Reads the file; true when its groups have changed.
    fn read(
        &mut self,
        path: &Path,
        depth: Depth,
        wanted: Wanted,
        metrics: &DiscoveryMetrics,
        stop: &StopToken,
    ) -> bool {
        let is_new = self.suspicious_until.is_none();
        let has_moved = is_new || self.stamp != stamp_of(path);
        if has_moved && !is_new {
            settle(path, stop);
        }
        let outcome = self.read_groups(path, wanted, metrics);
        if has_moved {
            self.suspicious_until = Some(Instant::now() + STAMP_STEP);
        }
        match outcome {
            Ok(groups) => {
                self.complaint = None;
                let groups: Vec<_> = groups.into_iter().map(Arc::new).collect();
                let changed = groups != self.groups;
                self.groups = groups;
                changed
            }
            Err(Unread::Unchanged) => false,
            Err(Unread::Failed(sentence)) => {
                if has_moved || depth == Depth::Contents {
                    metrics.file_read_errors.inc();
                }
                let source = || format!("file_sd: {}", path.display());
                if let Some(new) = metrics.complaints.raise(self.complaint.as_ref(), source, &sentence) {
                    log::error!(
                        "file_sd: cannot read {}: {sentence}; the {} groups it had stay",
                        path.display(),
                        self.groups.len()
                    );
                    self.complaint = Some(new);
                }
                false
            }
        }
    }

    fn read_groups(
        &mut self,
        path: &Path,
        wanted: Wanted,
        metrics: &DiscoveryMetrics,
    ) -> Result<Vec<TargetGroup>, Unread> {
        self.stamp = stamp_of(path);
        let (metadata, bytes) = read_bounded(path).map_err(Unread::Failed)?;
        let content_hash = xxh64(&bytes, bytes.len() as u64);
        if content_hash == self.content_hash && self.complaint.is_none() {
            return Err(Unread::Unchanged);
        }
        if let Some((_, sentence)) = self.broken.as_ref().filter(|(hash, _)| *hash == content_hash) {
            return Err(Unread::Failed(sentence.clone()));
        }
        let groups = parse_list(path, &bytes, wanted).map_err(|sentence| {
            self.broken = Some((content_hash, sentence.clone()));
            Unread::Failed(sentence)
        })?;
        self.broken = None;
        self.content_hash = content_hash;
        metrics.file_mtime_seconds.with(&[&path.to_string_lossy()]).set(metadata.mtime() as f64);
        Ok(groups)
    }
}

/// The groups of a list that is read once, to see whether it is good.
///
/// # Errors
/// A sentence: it cannot be read, or is no list of target groups.
pub fn read_list(path: &Path) -> Result<Vec<TargetGroup>, String> {
    let (_, bytes) = read_bounded(path)?;
    parse_list(path, &bytes, Wanted::default())
}

/// What the file is and what stands in it, one byte more than allowed at most: the parser then says so.
fn read_bounded(path: &Path) -> Result<(Metadata, Vec<u8>), String> {
    let failed = |error: io::Error| error.to_string();
    // Opening a device may do something, and opening a pipe would wait for its writer, also if it has come to stand
    // there a moment ago.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok((metadata, bytes))
}

fn parse_list(path: &Path, bytes: &[u8], wanted: Wanted) -> Result<Vec<TargetGroup>, String> {
    let extension = path.extension().unwrap_or_default();
    let format = if extension.eq_ignore_ascii_case("json") { Format::Json } else { Format::Yaml };
    let text = without_mark(bytes).map_err(|utf16| utf16.to_string())?;
    let name = path.to_string_lossy();
    let origin = Origin { provenance: Provenance::Operator, label: FILEPATH_LABEL, name: &name, wanted };
    parse(text, format, origin)
}

/// Why there are no new groups.
#[derive(Debug)]
enum Unread {
    /// The same bytes as before.
    Unchanged,
    /// The sentence why not.
    Failed(String),
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    std::fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
}

/// Waits until the file stays as it is for a moment.
fn settle(path: &Path, stop: &StopToken) {
    let mut before = stamp_of(path);
    for _ in 0..SETTLE_ATTEMPTS {
        if stop.wait(SETTLE_TIME) {
            return;
        }
        let now = stamp_of(path);
        if now == before {
            return;
        }
        before = now;
    }
}
