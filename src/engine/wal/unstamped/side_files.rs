//! Samples without a time on the disk: `unstamped/<number>.<boot>` in the data directory, one file for each process that had
//! some, in the format of a segment and complete in itself.
//!
//! Owned by the keeper of the clock. Once the time is known, what stands in them is committed to the log, oldest first, and
//! they go when it is durable there. When a boot was whose clock never became right can only be estimated: it ended no later
//! than the next one began. The place that it gets becomes part of the file's name, and so does the segment that is begun for
//! it: a start that finds such a file removes what a power cut left of these segments ([`undo_unfinished`]), for anything may be
//! missing in the middle, and what comes again behind it would be out of order.

use crate::data_dir;
use crate::disk::{Access, Disk, DiskFile};
use crate::labels::builder::LabelsBuilder;
use crate::series::SeriesHandle;
use crate::sorting::sort_by_key;
use crate::wal::error::WalError;
use crate::wal::format::record::exemplars::ExemplarEntry;
use crate::wal::format::record::metadata::MetadataEntry;
use crate::wal::format::record::samples::Sample;
use crate::wal::format::record::{self, Record};
use crate::wal::format::segment;
use crate::wal::format::segment_reader::{SegmentReader, Tail};
use crate::wal::head::Wal;
use crate::wal::keep::flush;
use crate::wal::options::Compression;
use crate::wal::unstamped::{EPOCH_MS, is_unstamped, stamped};
use crate::wal::write::encoded_records::Records;
use crate::wal::write::staged::{ExemplarTime, Staged};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// In the data directory.
const DIR: &str = "unstamped";

/// All files together have no more bytes. What comes then stays in memory, where the oldest goes last.
const MAX_BYTES: u64 = 64 << 20;

/// Entries that are committed at a time.
const COMMIT_ENTRIES: usize = 4096;

/// The files, and the one that this process writes.
#[derive(Debug)]
pub struct SideFiles {
    wal: Wal,
    dir: PathBuf,
    /// Which boot this is; no dot is in it.
    boot: String,
    current: Option<Current>,
    /// Bytes of the files that other processes left.
    others_bytes: u64,
    /// Samples in the one of this process.
    n_spilled: u64,
    /// Files whose samples are in the log, and not known to be durable there.
    unfinished: Vec<Unfinished>,
}

#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    bytes: u64,
    /// Whose record stands in it.
    series: HashSet<SeriesHandle>,
}

/// A file that has been committed.
#[derive(Debug)]
struct Unfinished {
    path: PathBuf,
    /// Without the segment.
    open_path: PathBuf,
    /// To its end.
    is_read: bool,
}

/// A file by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SideFile {
    number: u32,
    boot: String,
    /// When that boot was, if that was settled before.
    offset_ms: Option<i64>,
    /// The segment that its samples begin with, if it was settled with that.
    segment: Option<u32>,
    path: PathBuf,
}

impl SideFile {
    /// A file of the directory by its name.
    fn named(dir: &Path, name: &str) -> Option<SideFile> {
        let mut parts = name.split('.');
        let (number, boot) = (parts.next()?.parse().ok()?, parts.next()?.to_owned());
        let offset_ms = parts.next().and_then(|offset| offset.parse().ok());
        let segment = parts.next().and_then(|segment| segment.parse().ok());
        Some(SideFile { number, boot, offset_ms, segment, path: dir.join(name) })
    }

    /// Its path without the segment.
    fn open_path(&self, dir: &Path) -> PathBuf {
        let offset = self.offset_ms.map(|offset_ms| format!(".{offset_ms}")).unwrap_or_default();
        dir.join(format!("{:08}.{}{offset}", self.number, self.boot))
    }
}

/// Takes back what an attempt wrote into the log that did not come to its end: the files are still there, and are committed
/// again. Nothing else stands in these segments.
///
/// # Errors
/// A directory cannot be read, or a segment cannot be removed.
pub(in crate::wal) fn undo_unfinished(
    disk: &dyn Disk,
    data_dir: &Path,
    wal_dir: &Path,
) -> Result<(), WalError> {
    let files = list(disk, &data_dir.join(DIR))?;
    let Some(from) = files.iter().filter_map(|file| file.segment).min() else { return Ok(()) };
    // The newest first: what is left of them at any time is a log.
    for segment in segment::list(disk, wal_dir)?.iter().rev().filter(|segment| segment.number >= from) {
        disk.remove_file(&segment.path).map_err(WalError::io("remove", &segment.path))?;
    }
    segment::sync_dir(disk, wal_dir)
}

/// The files of the directory, oldest first.
fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<SideFile>, WalError> {
    if !disk.exists(dir) {
        return Ok(Vec::new());
    }
    let entries = disk.list(dir).map_err(WalError::io("read", dir))?;
    let file = |name: &str| SideFile::named(dir, name);
    let mut files: Vec<_> = entries.iter().filter_map(|entry| entry.name.to_str().and_then(file)).collect();
    sort_by_key(&mut files, |file| file.number);
    Ok(files)
}

/// What was stamped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamped {
    /// Samples and histograms of earlier boots, whose time is an estimate.
    pub estimated: u64,
    /// Places in the files that could not be read.
    pub damaged_places: u64,
}

impl SideFiles {
    /// Looks at what earlier processes left in the data directory. `boot` says which boot this is.
    pub fn open(wal: &Wal, boot: &str) -> Self {
        let dir = wal.path().join(DIR);
        let mut files = Self {
            wal: wal.clone(),
            dir,
            boot: boot.replace('.', "-"),
            current: None,
            others_bytes: 0,
            n_spilled: 0,
            unfinished: Vec::new(),
        };
        files.others_bytes = files.disk().bytes_under(&files.dir).unwrap_or(0);
        files
    }

    /// Whether there is something to stamp.
    pub fn is_empty(&self) -> bool {
        self.others_bytes == 0 && self.current.is_none()
    }

    fn disk(&self) -> &dyn Disk {
        &*self.wal.options().disk
    }

    /// Samples that wait, here and in memory, go to the page of metrics.
    pub fn note_waiting(&self) {
        let n_samples = self.wal.unstamped().n_samples() + self.n_spilled;
        self.wal.metrics().unstamped_samples.set(n_samples as f64);
    }

    /// Writes what waits in memory if some of it has waited for longer than `max_age`, or there is little room left.
    ///
    /// # Errors
    /// As [`SideFiles::spill`].
    pub fn spill_if_due(&mut self, max_age: Duration, now: Instant) -> Result<(), WalError> {
        match self.wal.unstamped().is_spill_due(max_age, now) {
            true => self.spill(),
            false => Ok(()),
        }
    }

    /// Writes what waits in memory, and makes it durable.
    ///
    /// # Errors
    /// The disk refused, or the files would become too large: it waits in memory as before.
    pub fn spill(&mut self) -> Result<(), WalError> {
        let taken = self.wal.unstamped().take();
        if taken.is_empty() {
            return Ok(());
        }
        let written = self.write(taken.iter().map(|held| &held.staged));
        match &written {
            Ok(()) => self.n_spilled += taken.iter().map(|held| held.staged.n_samples() as u64).sum::<u64>(),
            Err(_) => self.wal.unstamped().put_back(taken),
        }
        written
    }

    fn write<'a>(&mut self, staged: impl Iterator<Item = &'a Staged>) -> Result<(), WalError> {
        if self.current.is_none() {
            self.current = Some(self.begin()?);
        }
        let Some(Current { path, file, bytes, series }) = &mut self.current else { return Ok(()) };
        let mut records = Records::new(Compression::Snappy);
        let mut new_series = Vec::new();
        let mut labels = LabelsBuilder::new();
        let mut pages = Vec::new();
        // Each by itself: a series may change its kind from one to the next.
        for staged in staged {
            for handle in staged.handles() {
                if series.insert(handle) {
                    new_series.push(handle);
                    self.wal.with_table(|table, _| table.labels_into(handle.series_ref, &mut labels));
                    records.push_series(u64::from(handle.series_ref.0.get()), labels.iter());
                }
            }
            push(&mut records, staged);
            records.finish().cut_into_pages(*bytes, &mut pages);
            records.clear();
        }
        let is_room = self.others_bytes + *bytes + pages.len() as u64 <= MAX_BYTES;
        let written = match is_room {
            true => file.write_all(&pages).and_then(|()| file.sync()),
            false => Err(std::io::Error::from_raw_os_error(libc::ENOSPC)),
        };
        if let Err(cause) = written {
            // What stands there of it is cut off, so that what comes next is read.
            let _ = file.set_len(*bytes);
            for handle in &new_series {
                series.remove(handle);
            }
            return Err(WalError::io("write samples without a time to", path)(cause));
        }
        *bytes += pages.len() as u64;
        Ok(())
    }

    fn begin(&self) -> Result<Current, WalError> {
        let disk = self.disk();
        data_dir::create_dirs(disk, &self.dir).map_err(WalError::io("create", &self.dir))?;
        let number = self.list()?.last().map_or(0, |last| last.number.saturating_add(1));
        let path = self.dir.join(format!("{number:08}.{}", self.boot));
        let file = disk.open(&path, Access::CreateNew).map_err(WalError::io("create", &path))?;
        segment::sync_dir(disk, &self.dir)?;
        Ok(Current { path, file, bytes: 0, series: HashSet::new() })
    }

    fn list(&self) -> Result<Vec<SideFile>, WalError> {
        list(self.disk(), &self.dir)
    }

    /// The time is known: this boot was `offset_ms` behind the Unix epoch. Commits all that waits, on the disk and in memory;
    /// what is staged without a time from now on is stamped when it is committed.
    ///
    /// # Errors
    /// A file cannot be read or removed; it is tried again at the next start. All else is done.
    pub fn stamp(&mut self, offset_ms: i64) -> Result<Stamped, WalError> {
        let log = self.wal.reader();
        let answer = || flush::request(&log).and_then(|answer| answer.recv().ok());
        self.stamp_and_flush(offset_ms, || answer().is_some_and(|written| written.is_ok()))
    }

    /// As [`SideFiles::stamp`], where `flush` makes durable what has been committed; whether it could.
    ///
    /// # Errors
    /// The same.
    pub fn stamp_and_flush(
        &mut self,
        offset_ms: i64,
        flush: impl FnOnce() -> bool,
    ) -> Result<Stamped, WalError> {
        self.current = None;
        let mut done = Stamped::default();
        let mut files = self.list().unwrap_or_default();
        let mut outcome = self.settle_offsets(&mut files, offset_ms);
        self.unfinished.clear();
        for file in files {
            let committed = self.commit_file(&file, offset_ms, &mut done);
            let (is_read, open_path) = (committed.is_ok(), file.open_path(&self.dir));
            self.unfinished.push(Unfinished { path: file.path, open_path, is_read });
            outcome = outcome.and(committed);
        }
        // What was durable is to stay so. What comes now waits meanwhile: a start may take all of this back.
        if flush() {
            outcome = outcome.and(self.finish());
        }
        self.wal.stamp_held(offset_ms);
        (self.others_bytes, self.n_spilled) = (0, 0);
        self.note_waiting();
        outcome.map(|()| done)
    }

    /// Whether files are still there that a start would take for an attempt that did not come to its end: what was committed of
    /// them could not be made durable, or they could not be removed.
    pub fn is_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// Tries again to make durable what was committed of them, and removes them.
    pub fn finish_when_durable(&mut self) {
        let log = self.wal.reader();
        if flush::request(&log).and_then(|answer| answer.recv().ok()).is_some_and(|written| written.is_ok())
            && let Err(error) = self.finish()
        {
            log::debug!("{error}; it is tried again");
        }
    }

    /// What was committed of the files is durable in the log: they are removed. One that could not be read is left for the
    /// next start.
    fn finish(&mut self) -> Result<(), WalError> {
        if self.unfinished.is_empty() {
            return Ok(());
        }
        let disk = self.disk();
        let missing_is_done = |done: std::io::Result<()>| match done {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        // All are there until no name says any more that a start is to take back what was committed of them.
        for Unfinished { path, open_path, .. } in &self.unfinished {
            missing_is_done(disk.rename(path, open_path)).map_err(WalError::io("rename to", open_path))?;
        }
        segment::sync_dir(disk, &self.dir)?;
        for Unfinished { open_path, .. } in self.unfinished.iter().filter(|file| file.is_read) {
            missing_is_done(disk.remove_file(open_path)).map_err(WalError::io("remove", open_path))?;
        }
        // Segments may go from now on: whoever finds the files again cannot see that all this was in the log.
        segment::sync_dir(disk, &self.dir)?;
        self.unfinished.clear();
        Ok(())
    }

    /// Decides of each file when its boot was and which segment its samples begin with, and writes that into its name.
    fn settle_offsets(&self, files: &mut [SideFile], offset_ms: i64) -> Result<(), WalError> {
        if files.is_empty() {
            return Ok(());
        }
        let segment = self.wal.reader().start_segment()?;
        // When the boot behind it began.
        let mut later_ms = offset_ms;
        for boot in files.chunk_by_mut(|one, next| one.boot == next.boot).rev() {
            let settled_ms = boot.iter().find_map(|file| file.offset_ms);
            later_ms = match settled_ms {
                Some(settled_ms) => settled_ms,
                None if boot.iter().any(|file| file.boot == self.boot) => offset_ms,
                None => later_ms.saturating_sub(self.newest_ms(boot)?),
            };
            for file in boot.iter_mut().filter(|file| file.segment.is_none()) {
                let name = format!("{:08}.{}.{later_ms}.{segment:08}", file.number, file.boot);
                let path = self.dir.join(name);
                self.disk().rename(&file.path, &path).map_err(WalError::io("rename to", &path))?;
                (file.offset_ms, file.segment, file.path) = (Some(later_ms), Some(segment), path);
            }
        }
        segment::sync_dir(self.disk(), &self.dir)
    }

    /// Milliseconds from a boot to the newest sample in its files.
    fn newest_ms(&self, boot: &[SideFile]) -> Result<i64, WalError> {
        let mut newest_ms = 0;
        let mut note = |ts_ms: i64| {
            if is_unstamped(ts_ms) {
                newest_ms = newest_ms.max(ts_ms - EPOCH_MS);
            }
        };
        for file in boot {
            self.read(&file.path, &mut |record| match record {
                Record::Samples(samples) => samples.flatten().for_each(|sample| note(sample.ts_ms)),
                Record::Histograms(histograms) => histograms.flatten().for_each(|entry| note(entry.ts_ms)),
                _ => {}
            })?;
        }
        Ok(newest_ms)
    }

    /// Calls `visit` with each record; the number of places that cannot be read.
    fn read(&self, path: &Path, visit: &mut dyn FnMut(Record<'_>)) -> Result<u64, WalError> {
        let mut reader = SegmentReader::new(segment::open(self.disk(), path)?, 0, Tail::Closed);
        let mut damaged_places = 0;
        loop {
            match reader.next_record() {
                Ok(Some(raw)) => visit(record::decode(raw.bytes)),
                Ok(None) => return Ok(damaged_places),
                Err(_) => damaged_places += 1,
            }
        }
    }

    fn commit_file(&self, file: &SideFile, offset_ms: i64, done: &mut Stamped) -> Result<(), WalError> {
        let mut replay = Replay {
            wal: &self.wal,
            offset_ms: file.offset_ms.unwrap_or(offset_ms),
            labels: LabelsBuilder::new(),
            handles: HashMap::new(),
            staged: Staged::default(),
            n_samples: 0,
        };
        done.damaged_places += self.read(&file.path, &mut |record| replay.stage(record))?;
        replay.commit();
        if file.boot != self.boot {
            done.estimated += replay.n_samples;
        }
        Ok(())
    }
}

/// Adds what a transaction speaks of, but for its series.
fn push(records: &mut Records, staged: &Staged) {
    let number = |handle: SeriesHandle| u64::from(handle.series_ref.0.get());
    for entry in staged.metadata(0) {
        let (metric_type, unit, help) = (entry.metric_type, entry.unit, entry.help);
        records.push_metadata(&MetadataEntry { series_ref: number(entry.handle), metric_type, unit, help });
    }
    for sample in &staged.samples {
        let (ts_ms, value) = (sample.ts_ms, sample.value);
        records.push_sample(Sample { series_ref: number(sample.handle), ts_ms, value });
    }
    for entry in staged.histograms(0) {
        records.push_histogram(entry.kind, number(entry.handle), entry.ts_ms, entry.encoded);
    }
    for entry in staged.exemplars(0) {
        let (ts_ms, value, labels) = (entry.time.ts_ms(), entry.value, entry.labels);
        records.push_exemplar(&ExemplarEntry { series_ref: number(entry.handle), ts_ms, value, labels });
    }
}

/// A file on its way into the log.
struct Replay<'a> {
    wal: &'a Wal,
    offset_ms: i64,
    labels: LabelsBuilder,
    /// Its refs, and our series.
    handles: HashMap<u64, SeriesHandle>,
    staged: Staged,
    n_samples: u64,
}

impl Replay<'_> {
    fn stage(&mut self, record: Record<'_>) {
        // Another transaction begins: a series may have changed its kind.
        if matches!(record, Record::Samples(_)) && self.staged.n_histograms() > 0 {
            self.commit();
        }
        let (offset_ms, handles, staged) = (self.offset_ms, &mut self.handles, &mut self.staged);
        match record {
            Record::Series(entries) => {
                for entry in entries.flatten() {
                    self.labels.clear();
                    entry.labels.for_each(|(name, value)| self.labels.set(name, value));
                    if let Ok(Some((lookup, _))) = self.wal.lookup(&self.labels, true) {
                        handles.insert(entry.series_ref, lookup.handle);
                    }
                }
            }
            Record::Samples(samples) => {
                for sample in samples.flatten() {
                    let Some(handle) = handles.get(&sample.series_ref) else { continue };
                    staged.push_sample(*handle, stamped(sample.ts_ms, offset_ms), sample.value);
                }
            }
            Record::Histograms(histograms) => {
                for entry in histograms.flatten() {
                    let Some(handle) = handles.get(&entry.series_ref) else { continue };
                    let ts_ms = stamped(entry.ts_ms, offset_ms);
                    let histogram = entry.histogram;
                    staged.push_encoded_histogram(*handle, ts_ms, histogram.kind(), histogram.bytes());
                }
            }
            Record::Exemplars(exemplars) => {
                for entry in exemplars.flatten() {
                    let Some(handle) = handles.get(&entry.series_ref) else { continue };
                    let time = ExemplarTime::Own(stamped(entry.ts_ms, offset_ms));
                    staged.push_exemplar(*handle, time, entry.value, entry.labels);
                }
            }
            Record::Metadata(entries) => {
                for entry in entries.flatten() {
                    let Some(handle) = handles.get(&entry.series_ref) else { continue };
                    staged.push_metadata(*handle, entry.metric_type, entry.unit, entry.help);
                }
            }
            Record::Other(_) => {}
        }
        if self.staged.n_entries() >= COMMIT_ENTRIES {
            self.commit();
        }
    }

    fn commit(&mut self) {
        self.n_samples += self.staged.n_samples() as u64;
        self.wal.commit_or_count(&self.staged);
        self.staged.clear();
    }
}
