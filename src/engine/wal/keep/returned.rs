//! Files that come back: a disk is mounted again over the place where the log was begun again meanwhile.
//!
//! Believed is what this process wrote or read itself: each file by how it begins, each series record by the table, each
//! sample by a series record before it. Whatever else stands in the directory is set aside: never mixed in, never
//! removed. Knows nothing of when the log has vanished.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use crate::data_dir;
use crate::disk::Disk;
use crate::labels::builder::LabelsBuilder;
use crate::series::SeriesRef;
use crate::series::table::SeriesTable;
use crate::wal::error::WalError;
use crate::wal::format::closed_segment::{ClosedSegment, Head};
use crate::wal::format::record;
use crate::wal::format::record::Record;
use crate::wal::format::segment;
use crate::wal::format::segment::SegmentInfo;
use crate::wal::format::segment_reader::{SegmentReader, Tail};
use crate::wal::head::{TruncationMark, Wal};
use crate::wal::keep::checkpoint;
use crate::wal::keep::checkpoint::CheckpointInfo;
use crate::wal::keep::truncate_series::{SLICE_SERIES, last_of_full};
use crate::wal::open::{loader, repair};

/// Directories beside the segments in which files are set aside, each a data directory of its own.
const ASIDE_PREFIX: &str = "found.";

/// More files than this between what came back and the present are not made.
const MAX_BETWEEN: u32 = 10_000;

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::wal) struct Returned {
    /// Segments.
    pub(in crate::wal) n_segments: usize,
    /// Samples in them.
    pub(in crate::wal) n_samples: u64,
}

/// Whether a file is the segment that is known, all of it or the front of it.
///
/// # Errors
/// It cannot be read.
pub(in crate::wal) fn is_known(
    disk: &dyn Disk,
    known: &ClosedSegment,
    file: &SegmentInfo,
) -> io::Result<bool> {
    // A file that names series may be the front of one that goes on with samples. Behind those of ours there may be torn
    // bytes.
    let is_longer = file.bytes > known.bytes && known.samples == 0;
    if known.number != file.number || file.bytes < known.head.bytes || is_longer {
        return Ok(false);
    }
    match known.head.bytes {
        0 => Ok(file.bytes == 0),
        head_bytes => Ok(Head::read(disk, &file.path, head_bytes)? == known.head),
    }
}

/// Moves files out of the log's way into `aside`, which is a new directory if it is none yet. Empty ones are removed.
///
/// # Errors
/// One of them cannot be moved: the next call goes on.
pub(in crate::wal) fn set_aside<'a>(
    disk: &dyn Disk,
    wal_dir: &Path,
    aside: &mut Option<PathBuf>,
    segments: &mut dyn Iterator<Item = &'a SegmentInfo>,
    checkpoints: &mut dyn Iterator<Item = &'a CheckpointInfo>,
) -> Result<(), WalError> {
    let (empty, segments): (Vec<_>, Vec<_>) = segments.partition(|file| file.bytes == 0);
    for file in empty {
        checkpoint::remove(disk, &file.path)?;
    }
    let paths: Vec<&Path> = segments
        .into_iter()
        .map(|file| file.path.as_path())
        .chain(checkpoints.map(|checkpoint| checkpoint.path.as_path()))
        .collect();
    if paths.is_empty() {
        return Ok(());
    }
    let mut free = (1_u64..).map(|number| wal_dir.join(format!("{ASIDE_PREFIX}{number}")));
    let Some(dir) = aside.take().or_else(|| free.find(|dir| !disk.exists(dir))) else { return Ok(()) };
    // As a data directory has it, so that it can be queried.
    let place = aside.insert(dir).join("wal");
    data_dir::create_dirs(disk, &place).map_err(WalError::io("create", &place))?;
    for (path, name) in paths.iter().filter_map(|path| Some((path, path.file_name()?))) {
        disk.rename(path, &place.join(name)).map_err(WalError::io("move", path))?;
    }
    segment::sync_dir(disk, &place)
}

/// Takes segments of `lost` back that stand in the directory now, `there`, with the checkpoint before them: in the table
/// the record of each series is where it stands then, and all others in the first segment behind them, whose file the
/// caller writes, as those of all up to the one being written. `None` if they are not ours, or not whole.
///
/// # Errors
/// A torn end cannot be cut.
pub(in crate::wal) fn take_back(
    wal: &Wal,
    current: u32,
    lost: &[ClosedSegment],
    there: &[SegmentInfo],
    checkpoints: &[CheckpointInfo],
) -> Result<Option<Vec<ClosedSegment>>, WalError> {
    let (Some(first), Some(last)) = (there.first(), there.last()) else { return Ok(None) };
    let is_behind_checkpoint = match checkpoints {
        [] => first.number == 0,
        [checkpoint] => checkpoint.number.checked_add(1) == Some(first.number),
        _ => false,
    };
    let n_between = current.saturating_sub(last.number).saturating_sub(1);
    if !is_behind_checkpoint || segment::first_gap(there).is_some() || !(1..=MAX_BETWEEN).contains(&n_between)
    {
        return Ok(None);
    }
    let mut known = Vec::with_capacity(there.len());
    for file in there {
        let is_it = |lost: &&ClosedSegment| is_known(wal.disk(), lost, file).unwrap_or(false);
        let Some(lost) = lost.iter().rev().find(is_it) else { return Ok(None) };
        known.push(*lost);
    }
    let mut believed = Believed::new(wal, current, last.number);
    for checkpoint in checkpoints {
        for file in checkpoint.segments(wal.disk())? {
            if !believed.read(&file, checkpoint.number) {
                return Ok(None);
            }
        }
    }
    let mut taken = Vec::with_capacity(there.len());
    for (file, known) in there.iter().zip(known) {
        // The disk may have gone before the end was written.
        let is_whole = file.bytes == known.bytes;
        if !is_whole {
            repair::cut_torn_end(wal.disk(), file)?;
        }
        if !believed.read(file, file.number) {
            return Ok(None);
        }
        taken.push(if is_whole { known } else { counted(wal.disk(), file, &known)? });
    }
    believed.adopt();
    Ok(Some(taken))
}

/// What is left of a segment that lost its end.
fn counted(disk: &dyn Disk, file: &SegmentInfo, known: &ClosedSegment) -> Result<ClosedSegment, WalError> {
    let bytes = disk.metadata(&file.path).map_err(WalError::io("read segment", &file.path))?.bytes;
    let ClosedSegment { samples, histograms, .. } = loader::count(disk, file)?;
    Ok(ClosedSegment { bytes, samples, histograms, ..*known })
}

/// What has been read and agrees with the table.
struct Believed<'a> {
    wal: &'a Wal,
    /// The segment that was begun when they came.
    current: u32,
    /// The last that came back.
    last: u32,
    /// In which segment, or checkpoint, the record of a series stands.
    homes: HashMap<SeriesRef, u32, foldhash::fast::RandomState>,
    labels: LabelsBuilder,
}

impl<'a> Believed<'a> {
    fn new(wal: &'a Wal, current: u32, last: u32) -> Self {
        Self { wal, current, last, homes: HashMap::default(), labels: LabelsBuilder::new() }
    }

    /// Reads a file whose series records count as those of segment `home`; false if something in it is not ours.
    fn read(&mut self, file: &SegmentInfo, home: u32) -> bool {
        let Ok(source) = segment::open(self.wal.disk(), &file.path) else { return false };
        let mut reader = SegmentReader::new(source, home, Tail::Closed);
        loop {
            match reader.next_record() {
                Ok(Some(raw)) if self.believes(raw.bytes, home) => {}
                Ok(None) => return true,
                Ok(Some(_)) | Err(_) => return false,
            }
        }
    }

    fn believes(&mut self, record: &[u8], home: u32) -> bool {
        match record::decode(record) {
            Record::Series(mut entries) => {
                let wal = self.wal;
                wal.with_table(|table, _| {
                    entries.all(|entry| {
                        entry.is_ok_and(|it| self.agrees(table, it.series_ref, it.labels, home).is_some())
                    })
                })
            }
            Record::Samples(mut entries) => {
                entries.all(|entry| entry.is_ok_and(|it| self.has(it.series_ref)))
            }
            Record::Histograms(mut entries) => {
                entries.all(|entry| entry.is_ok_and(|it| self.has(it.series_ref)))
            }
            Record::Exemplars(mut entries) => {
                entries.all(|entry| entry.is_ok_and(|it| self.has(it.series_ref)))
            }
            Record::Metadata(mut entries) => {
                entries.all(|entry| entry.is_ok_and(|it| self.has(it.series_ref)))
            }
            Record::Other(_) => false,
        }
    }

    fn has(&self, series_ref: u64) -> bool {
        known_ref(series_ref).is_some_and(|series_ref| self.homes.contains_key(&series_ref))
    }

    /// `None` if the ref or the labels mean something else, or have a record elsewhere that stays. A series that was
    /// forgotten is known again; whatever becomes of the files, its record is in what is written next.
    fn agrees<'r>(
        &mut self,
        table: &mut SeriesTable,
        series_ref: u64,
        labels: impl Iterator<Item = (&'r str, &'r str)>,
        home: u32,
    ) -> Option<()> {
        let series_ref = known_ref(series_ref)?;
        self.labels.clear();
        for (name, value) in labels {
            self.labels.set(name, value);
        }
        let handle = table.insert(series_ref, &self.labels)?;
        let state = table.state_mut(handle)?;
        let is_logged_elsewhere = state.logged > self.current;
        if is_logged_elsewhere || self.homes.insert(series_ref, home).is_some() {
            return None;
        }
        if state.logged == 0 {
            state.logged = home.saturating_add(1);
            state.last_segment = state.last_segment.max(self.last);
        }
        Some(())
    }

    /// Writes into the table where the records stand now. Readers are behind all of it.
    fn adopt(self) {
        let behind = self.last.saturating_add(2);
        let mut after = None;
        loop {
            after = self.wal.with_next_slice(|table, mark| {
                let truncated = mark.truncated.max(self.current.checked_sub(1));
                *mark = TruncationMark { truncated, ..TruncationMark::default() };
                let slice = table.slice(after, SLICE_SERIES);
                for (handle, state) in &slice {
                    let logged = match self.homes.get(&handle.series_ref) {
                        Some(home) => home.saturating_add(1),
                        None if (1..behind).contains(&state.logged) => behind,
                        None => continue,
                    };
                    if let Some(state) = table.state_mut(*handle) {
                        state.logged = logged;
                    }
                }
                last_of_full(&slice)
            });
            if after.is_none() {
                return;
            }
        }
    }
}

fn known_ref(series_ref: u64) -> Option<SeriesRef> {
    u32::try_from(series_ref).ok().and_then(NonZeroU32::new).map(SeriesRef)
}
