//! Repair: loses only what is damaged, and leaves a log that Prometheus opens.
//!
//! Two steps at start. [`put_in_order`] makes the directory satisfy what is fatal to Prometheus otherwise: newest
//! checkpoint N, first segment N+1, numbers contiguous. [`rewrite`] gives a damaged file the records that survived:
//! Prometheus would delete every later segment instead (`tsdb/wlog/wlog.go`: `Repair`). Every change is one rename or
//! one cut, so that a kill in the middle is repaired like any other damage. Says what was lost in sentences.

use std::path::Path;

use crate::disk::{Access, Disk, Entry};
use crate::wal::error::WalError;
use crate::wal::format::segment;
use crate::wal::format::segment::{REWRITE_EXTENSION, Segment, SegmentInfo, rewrite_path, segment_path};
use crate::wal::format::segment_reader::{CorruptionCause, CorruptionError, SegmentReader, Tail};
use crate::wal::keep::checkpoint;
use crate::wal::keep::checkpoint::CheckpointInfo;
use crate::wal::open::loader::{FilterPass, Kept, Loader, Stop};
use crate::wal::options::Compression;
use crate::wal::write::bulk_writer::BulkWriter;

/// Gaps up to this many segments are filled with empty ones, which keeps all numbers as they are; over it the later
/// segments are renamed, for a stray file must not cost millions of files.
const MAX_EMPTY_SEGMENTS: u32 = 256;

/// The files of a log in order: the checkpoint, then segments with contiguous numbers behind it.
#[derive(Debug)]
pub struct Layout {
    /// The newest checkpoint.
    pub checkpoint: Option<CheckpointInfo>,
    /// The segments after it.
    pub segments: Vec<SegmentInfo>,
    /// Those that it stands for: the process that wrote it was killed before it could remove them. They stay until it is
    /// known which reader has had them.
    pub covered: Vec<SegmentInfo>,
}

/// Removes what is unfinished or superseded, chooses the checkpoint, closes gaps.
///
/// # Errors
/// The directory cannot be read or changed.
pub fn put_in_order(disk: &dyn Disk, wal_dir: &Path, losses: &mut Vec<String>) -> Result<Layout, WalError> {
    checkpoint::remove_unfinished(disk, wal_dir)?;
    remove_unfinished_rewrites(disk, wal_dir)?;
    let segments = segment::list(disk, wal_dir)?;
    let mut checkpoint = choose_checkpoint(disk, wal_dir, &segments, losses)?;
    let is_covered = |segment: &SegmentInfo| {
        checkpoint.as_ref().is_some_and(|checkpoint| segment.number <= checkpoint.number)
    };
    let (covered, mut segments): (Vec<_>, Vec<_>) = segments.into_iter().partition(is_covered);
    let first = segments.first().map_or(0, |segment| segment.number);
    if checkpoint.is_none() && first > 0 {
        let number = first - 1;
        losses.push(format!(
            "write-ahead log: there is no checkpoint before segment {first:08}; samples of series that only older \
             segments named are lost"
        ));
        checkpoint::create(disk, wal_dir, number, |dir| create_empty_segment(disk, dir))?;
        checkpoint = checkpoint::list(disk, wal_dir)?.pop();
    }
    let expected_first = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.number.saturating_add(1));
    if close_gaps(disk, wal_dir, expected_first, &segments, losses)? {
        segments = segment::list(disk, wal_dir)?;
        segments.retain(|segment| segment.number >= expected_first);
    }
    segment::sync_dir(disk, wal_dir)?;
    Ok(Layout { checkpoint, segments, covered })
}

fn remove_unfinished_rewrites(disk: &dyn Disk, wal_dir: &Path) -> Result<(), WalError> {
    let mut dirs = vec![wal_dir.to_owned()];
    dirs.extend(checkpoint::list(disk, wal_dir)?.into_iter().map(|checkpoint| checkpoint.path));
    for dir in dirs.iter().filter(|dir| disk.is_dir(dir)) {
        for Entry { name, .. } in disk.list(dir).map_err(WalError::io("read", dir))? {
            let path = dir.join(name);
            if path.extension().is_some_and(|extension| extension == REWRITE_EXTENSION) {
                disk.remove_file(&path).map_err(WalError::io("remove", &path))?;
            }
        }
    }
    Ok(())
}

/// The newest checkpoint, or an older one if the newest is damaged and the segments between them are still there.
/// All others are removed.
fn choose_checkpoint(
    disk: &dyn Disk,
    wal_dir: &Path,
    segments: &[SegmentInfo],
    losses: &mut Vec<String>,
) -> Result<Option<CheckpointInfo>, WalError> {
    let mut checkpoints = checkpoint::list(disk, wal_dir)?;
    checkpoints.retain(|checkpoint| {
        disk.is_dir(&checkpoint.path) || checkpoint::remove(disk, &checkpoint.path).is_err()
    });
    let Some(mut chosen) = checkpoints.pop() else { return Ok(None) };
    if let Some(older) = checkpoints.last() {
        let mut between = older.number..chosen.number;
        let is_replaceable =
            between.all(|number| segments.iter().any(|segment| segment.number == number + 1));
        if is_replaceable && !is_sound(disk, &chosen)? {
            losses.push(format!(
                "write-ahead log: checkpoint {:08} is damaged; checkpoint {:08} and the segments after it are used, \
                 nothing is lost",
                chosen.number, older.number
            ));
            checkpoint::remove(disk, &chosen.path)?;
            chosen = older.clone();
            checkpoints.pop();
        }
    }
    for superseded in checkpoints {
        checkpoint::remove(disk, &superseded.path)?;
    }
    let files = chosen.segments(disk)?;
    if files.is_empty() {
        losses.push(format!(
            "write-ahead log: checkpoint {:08} has no files; samples of series that only it named are lost",
            chosen.number
        ));
        create_empty_segment(disk, &chosen.path)?;
    }
    Ok(Some(chosen))
}

fn is_sound(disk: &dyn Disk, checkpoint: &CheckpointInfo) -> Result<bool, WalError> {
    let files = checkpoint.segments(disk)?;
    let mut has_records = false;
    for file in &files {
        let source = segment::open(disk, &file.path)?;
        let mut reader = SegmentReader::new(source, file.number, Tail::Closed);
        loop {
            match reader.next_record() {
                Ok(Some(_)) => has_records = true,
                Ok(None) => break,
                Err(_) => return Ok(false),
            }
        }
    }
    Ok(has_records)
}

fn create_empty_segment(disk: &dyn Disk, dir: &Path) -> Result<(), WalError> {
    Segment::create(disk, segment_path(dir, 0), 0).map(drop)
}

/// Makes the numbers start at `expected_first` and follow each other; true if anything was changed.
fn close_gaps(
    disk: &dyn Disk,
    wal_dir: &Path,
    expected_first: u32,
    segments: &[SegmentInfo],
    losses: &mut Vec<String>,
) -> Result<bool, WalError> {
    let mut is_changed = false;
    let mut expected = expected_first;
    for segment in segments {
        if segment.number > expected {
            is_changed = true;
            let (first, last) = (expected, segment.number - 1);
            let missing = match last - first {
                0 => format!("segment {first:08} is missing; its"),
                _ => format!("segments {first:08} to {last:08} are missing; their"),
            };
            losses.push(format!("write-ahead log: {missing} samples are lost"));
            if last - first < MAX_EMPTY_SEGMENTS {
                for number in first..=last {
                    Segment::create(disk, segment_path(wal_dir, number), number)?;
                }
                expected = segment.number;
            } else {
                let path = segment_path(wal_dir, expected);
                disk.rename(&segment.path, &path).map_err(WalError::io("rename segment to", &path))?;
            }
        }
        expected = expected.checked_add(1).ok_or(WalError::TooManySegments)?;
    }
    Ok(is_changed)
}

/// What a file lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Offset of the first damage.
    pub first_offset: Option<u64>,
    /// Stretches of damage: at least this many records are lost.
    pub stretches: u64,
    /// Bytes in these stretches.
    pub bytes: u64,
    /// Samples left out because their series is not known.
    pub samples_without_series: u64,
    /// The damage reaches to the end of the file and is the only thing wrong with it.
    pub is_torn_end: bool,
    /// Size of the file now.
    pub bytes_after: u64,
}

impl Loss {
    /// What was lost, for people; `place` names the file. `None` if only repetitions were left out.
    pub fn sentence(&self, place: &str) -> Option<String> {
        let orphans = match self.samples_without_series {
            0 => None,
            samples => Some(format!("{samples} samples are lost because the record of their series is")),
        };
        let damage = self.first_offset.map(|offset| {
            let (bytes, stretches) = (self.bytes, self.stretches);
            match (self.is_torn_end, stretches) {
                (true, _) => format!("is torn at offset {offset}: its last {bytes} bytes are lost"),
                (_, 1) => format!("is damaged at offset {offset}: {bytes} bytes (at least 1 record) are lost"),
                _ => format!(
                    "is damaged in {stretches} places from offset {offset} on: {bytes} bytes (at least {stretches} \
                     records) are lost"
                ),
            }
        });
        match (damage, orphans) {
            (Some(damage), Some(orphans)) => Some(format!("write-ahead log: {place} {damage}; {orphans}")),
            (Some(damage), None) => Some(format!("write-ahead log: {place} {damage}")),
            (None, Some(orphans)) => Some(format!("write-ahead log: {place}: {orphans}")),
            (None, None) => None,
        }
    }
}

/// Gives a file the records that may stay in it, in one rename; a file whose end is torn is only cut, which needs no
/// room. Series that stay are in the loader's table afterwards.
///
/// # Errors
/// The file cannot be read or written, or [`Stop::Foreign`].
pub fn rewrite(
    disk: &dyn Disk,
    file: &SegmentInfo,
    number: u32,
    compression: Compression,
    loader: &mut Loader,
) -> Result<Loss, Stop> {
    let mut loss = read_survivors(disk, file, number, loader, |_| Ok(()))?;
    if loss.is_torn_end {
        loss.bytes_after = loss.first_offset.unwrap_or(file.bytes);
        cut(disk, &file.path, loss.bytes_after)?;
        return Ok(loss);
    }
    let path = rewrite_path(&file.path);
    let written = BulkWriter::create_file(disk, path.clone(), compression).map_err(Stop::from).and_then(
        |mut writer| {
            read_survivors(disk, file, number, loader, |record| writer.append(record))?;
            Ok(writer.finish()?)
        },
    );
    let written = match written {
        Ok(written) => written,
        Err(stop) => {
            // The next start removes it as well; now room may be what is missing.
            let _ = disk.remove_file(&path);
            return Err(stop);
        }
    };
    disk.rename(&path, &file.path).map_err(WalError::io("rename segment to", &file.path))?;
    if let Some(dir) = file.path.parent() {
        segment::sync_dir(disk, dir)?;
    }
    loss.bytes_after = written.bytes;
    Ok(loss)
}

fn cut(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<(), WalError> {
    let file = disk.open(path, Access::Append).map_err(WalError::io("open segment", path))?;
    file.set_len(bytes).and_then(|()| file.sync()).map_err(WalError::io("cut segment", path))
}

/// Cuts a file whose last record is torn: with a successor it would make Prometheus delete that.
///
/// # Errors
/// The file cannot be read or cut.
pub fn cut_torn_end(disk: &dyn Disk, file: &SegmentInfo) -> Result<(), WalError> {
    let source = segment::open(disk, &file.path)?;
    let mut reader = SegmentReader::new(source, file.number, Tail::Closed);
    loop {
        match reader.next_record() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(CorruptionError { offset, cause: CorruptionCause::Torn, .. }) => {
                return cut(disk, &file.path, offset);
            }
            Err(_) => {}
        }
    }
}

/// Hands every record that may stay to `keep` and counts the rest.
fn read_survivors(
    disk: &dyn Disk,
    file: &SegmentInfo,
    number: u32,
    loader: &mut Loader,
    mut keep: impl FnMut(&[u8]) -> Result<(), WalError>,
) -> Result<Loss, Stop> {
    let source = segment::open(disk, &file.path)?;
    let mut reader = SegmentReader::new(source, number, Tail::Closed);
    let mut pass = FilterPass::default();
    let mut part = Vec::new();
    let mut loss = Loss::default();
    let mut damaged_from = None;
    let mut n_changed = 0_u64;
    loop {
        let (start, kept) = match reader.next_record() {
            Ok(Some(raw)) => {
                let kept = loader.filter(raw.bytes, number, &mut pass, &mut part)?;
                match kept {
                    Kept::Whole => keep(raw.bytes)?,
                    Kept::Part => keep(&part)?,
                    Kept::Nothing | Kept::Damaged => {}
                }
                (raw.start, kept)
            }
            Ok(None) => break,
            Err(error) => {
                loss.damage_from(error.offset, &mut damaged_from);
                continue;
            }
        };
        if kept == Kept::Damaged {
            loss.damage_from(start, &mut damaged_from);
            continue;
        }
        n_changed += u64::from(kept != Kept::Whole);
        // A whole record ends the damage before it; its own fragments may start in an earlier page.
        if let Some(from) = damaged_from.take() {
            loss.bytes += start.saturating_sub(from);
            n_changed += 1;
        }
    }
    if let Some(from) = damaged_from {
        loss.bytes += file.bytes.saturating_sub(from);
        loss.is_torn_end = n_changed == 0;
    }
    loss.samples_without_series = pass.samples_without_series;
    Ok(loss)
}

impl Loss {
    fn damage_from(&mut self, offset: u64, damaged_from: &mut Option<u64>) {
        self.first_offset.get_or_insert(offset);
        if damaged_from.is_none() {
            *damaged_from = Some(offset);
            self.stretches += 1;
        }
    }
}
