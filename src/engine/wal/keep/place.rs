//! Whether the log is still where it was: somebody may remove its directory, or the disk may go away and come back.
//!
//! Part of wal-maintenance, looked at in every round. What has vanished is counted and the log begun again in its place:
//! files that are left stay, and those that are missing are made again with the series they named, so that every
//! sample that is left has its series before it.

use std::io;
use std::path::{Path, PathBuf};

use crate::data_dir;
use crate::wal::error::WalError;
use crate::wal::format::closed_segment::{ClosedSegment, Head};
use crate::wal::format::segment;
use crate::wal::format::segment::{SegmentInfo, rewrite_path, segment_path};
use crate::wal::head::Wal;
use crate::wal::keep::checkpoint;
use crate::wal::keep::returned;
use crate::wal::keep::returned::Returned;
use crate::wal::keep::truncate_series::{move_to_checkpoint, write_series};
use crate::wal::open::repair;
use crate::wal::write::bulk_writer::BulkWriter;

/// So many segments that had vanished are known again, the newest of them: some hundred KiB.
const MAX_LOST: usize = 4096;

/// Where the log is.
#[derive(Debug)]
pub(in crate::wal) enum Place {
    /// Where it was, and writable.
    Ours,
    /// The file system is mounted read-only.
    ReadOnly,
    /// Files are missing, or others stand in their place; what the system said of the one being written.
    Vanished(Option<io::Error>),
}

/// What was found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::wal) struct Restored {
    /// Segments that are missing.
    pub(in crate::wal) n_segments: usize,
    /// Samples in them.
    pub(in crate::wal) n_samples: u64,
    /// The segment that is written now.
    pub(in crate::wal) current: u32,
    /// What had vanished before and is part of the log again.
    pub(in crate::wal) returned: Option<Returned>,
    /// Where files are by now that are not of this log.
    pub(in crate::wal) set_aside: Option<PathBuf>,
}

/// Looks whether the files are there: the one being written, those in `closed`, the checkpoint before them.
pub(in crate::wal) fn look(wal: &Wal, closed: &[ClosedSegment]) -> Place {
    let Some(file) = wal.upkeep().current_file() else { return Place::Ours };
    match file.is_in_place(wal.disk()) {
        Ok(true) => {}
        Ok(false) => return Place::Vanished(None),
        Err(error) => return Place::Vanished(Some(error)),
    }
    if wal.disk().file_system(wal.wal_dir()).is_ok_and(|file_system| file_system.is_read_only) {
        return Place::ReadOnly;
    }
    if !wal.upkeep().is_lock_in_place() {
        return Place::Vanished(None);
    }
    let is_complete = closed.iter().all(|it| wal.disk().exists(&segment_path(wal.wal_dir(), it.number)))
        && checkpoint_before(closed)
            .is_none_or(|number| wal.disk().exists(&checkpoint::checkpoint_path(wal.wal_dir(), number)));
    if is_complete { Place::Ours } else { Place::Vanished(None) }
}

/// Number of the checkpoint that must stand before the oldest segment.
fn checkpoint_before(closed: &[ClosedSegment]) -> Option<u32> {
    closed.first().and_then(|oldest| oldest.number.checked_sub(1))
}

/// Begins the log again where it was. `closed` is brought up to date, and so is `lost`, which says what has vanished so
/// far: what of it has come back is taken back. Files that are not of this log are set aside.
///
/// # Errors
/// The directory cannot be made or written: nothing is lost that was not lost before, and the next round tries again.
pub(in crate::wal) fn restore(
    wal: &Wal,
    closed: &mut Vec<ClosedSegment>,
    lost: &mut Vec<ClosedSegment>,
) -> Result<Restored, WalError> {
    let (disk, wal_dir) = (wal.disk(), wal.wal_dir());
    data_dir::create_dirs(disk, wal_dir).map_err(WalError::io("create", wal_dir))?;
    wal.upkeep().lock_again()?;
    let newest = wal.current().ok_or(WalError::Closed)?.number;
    let there = segment::list(disk, wal_dir)?;
    let mut beyond = there.iter().filter(|file| file.number > newest);
    let mut aside = None;
    returned::set_aside(disk, wal_dir, &mut aside, &mut beyond, &mut [].iter())?;
    let is_in_place = wal.upkeep().current_file().is_none_or(|file| file.is_in_place(disk).unwrap_or(false));
    if !is_in_place {
        let next = next_number(wal, newest).ok_or(WalError::TooManySegments)?;
        let left = wal.upkeep().begin_again(next)?;
        // What is in memory from its start on is written again; what has left it before is missing.
        closed.extend(left.into_iter().filter(|segment| segment.number < next));
        let behind = newest.saturating_add(1)..next;
        closed.extend(behind.map(|number| ClosedSegment { number, ..ClosedSegment::default() }));
    }
    let current = wal.current().ok_or(WalError::Closed)?.number;
    // What cannot be read stays: it has the name of a segment of ours.
    let is_ours = |file: &SegmentInfo| {
        closed
            .iter()
            .any(|known| returned::is_known(disk, known, file).unwrap_or(known.number == file.number))
    };
    let older = there.into_iter().filter(|file| file.number <= newest && file.number < current);
    let (present, others): (Vec<_>, Vec<_>) = older.partition(is_ours);
    let missing: Vec<ClosedSegment> = closed
        .iter()
        .filter(|segment| !present.iter().any(|file| file.number == segment.number))
        .copied()
        .collect();
    // What has come back and goes again was counted the first time.
    let is_counted = |segment: &ClosedSegment| {
        lost.iter().any(|lost| (lost.number, lost.head) == (segment.number, segment.head))
    };
    let newly_lost: Vec<ClosedSegment> =
        missing.iter().filter(|segment| segment.bytes > 0 && !is_counted(segment)).copied().collect();
    let n_samples = newly_lost.iter().map(|segment| segment.samples).sum();
    let mut taken_back = None;
    if missing.len() < closed.len() {
        let before = checkpoint_before(closed);
        let checkpoints = checkpoint::list(disk, wal_dir)?;
        let mut others_of = checkpoints.iter().filter(|checkpoint| Some(checkpoint.number) != before);
        returned::set_aside(disk, wal_dir, &mut aside, &mut others.iter(), &mut others_of)?;
        fill_up(wal, closed, &present, &missing)?;
    } else if let Some(last) = current.checked_sub(1) {
        wal.readers().note_going(closed.iter());
        let checkpoints = checkpoint::list(disk, wal_dir)?;
        taken_back = returned::take_back(wal, current, lost, &others, &checkpoints)?;
        if let Some(taken_back) = &taken_back {
            let behind = taken_back.last().map_or(0, |segment| segment.number.saturating_add(1));
            // All of them before the first is written: what fails is missing in the next round.
            let between =
                (behind..current).map(|number| ClosedSegment { number, ..ClosedSegment::default() });
            *closed = taken_back.iter().copied().chain(between).collect();
            for segment in closed.iter_mut().filter(|segment| segment.number >= behind) {
                *segment = write_hollow(wal, segment.number)?;
            }
        } else {
            returned::set_aside(disk, wal_dir, &mut aside, &mut others.iter(), &mut checkpoints.iter())?;
            write_checkpoint(wal, last)?;
            move_to_checkpoint(wal, last);
            closed.clear();
        }
        wal.readers().close_where(|number| number <= last);
    }
    segment::sync_dir(disk, wal_dir)?;
    wal.metrics().samples_lost_to_vanishing.add(n_samples);
    lost.extend(newly_lost);
    lost.drain(..lost.len().saturating_sub(MAX_LOST));
    Ok(Restored {
        n_segments: missing.len(),
        n_samples,
        current,
        returned: taken_back.map(|segments| Returned {
            n_segments: segments.len(),
            n_samples: segments.iter().map(|segment| segment.samples).sum(),
        }),
        set_aside: aside,
    })
}

/// The segment to go on with where the file of segment `newest` is not what it was.
fn next_number(wal: &Wal, newest: u32) -> Option<u32> {
    let Some(ring) = wal.ring().filter(|ring| !ring.is_empty()) else { return newest.checked_add(1) };
    let (next, lost) = ring.lose_file(newest, wal.readers().settled());
    if let Some(lost) = lost {
        wal.readers().note_hollow(&lost);
    }
    // Somebody has put another file there.
    let is_taken = next == Some(newest) && wal.options().disk.exists(&segment_path(wal.wal_dir(), newest));
    if !is_taken {
        return next;
    }
    ring.give_up(newest);
    if ring.end().is_some_and(|end| end.segment == newest) {
        ring.rotate();
    }
    newest.checked_add(1)
}

/// Makes files for those that are missing between others that are there.
fn fill_up(
    wal: &Wal,
    closed: &mut [ClosedSegment],
    present: &[SegmentInfo],
    missing: &[ClosedSegment],
) -> Result<(), WalError> {
    if let Some(newest) = present.last() {
        // The disk may be back under another name, without the end of what was written last.
        repair::cut_torn_end(wal.disk(), newest)?;
    }
    // Before the files are there again: what readers find then is not what they were reading.
    let is_in_memory = |number: u32| wal.ring().is_some_and(|ring| ring.holds(number));
    let unreadable = missing.iter().filter(|segment| !is_in_memory(segment.number));
    unreadable.for_each(|segment| wal.readers().note_hollow(segment));
    wal.readers().close_where(|number| missing.iter().any(|segment| segment.number == number));
    for segment in missing {
        let hollow = write_hollow(wal, segment.number)?;
        if let Some(kept) = closed.iter_mut().find(|kept| kept.number == segment.number) {
            *kept = hollow;
        }
    }
    match checkpoint_before(closed) {
        Some(number) => write_checkpoint(wal, number),
        None => Ok(()),
    }
}

/// A file with the number of a segment that is missing and the series that it named.
pub(super) fn write_hollow(wal: &Wal, number: u32) -> Result<ClosedSegment, WalError> {
    let path = segment_path(wal.wal_dir(), number);
    let beside = rewrite_path(&path);
    checkpoint::remove(wal.disk(), &beside)?;
    let mut writer = BulkWriter::create_file(wal.disk(), beside.clone(), wal.options().compression)?;
    let logged = number.saturating_add(1);
    write_series(wal, |_, state| state.logged == logged, |record| writer.append(record))?;
    let bytes = writer.finish()?.bytes;
    let head = Head::read(wal.disk(), &beside, bytes).map_err(WalError::io("read segment", &beside))?;
    wal.disk().rename(&beside, &path).map_err(WalError::io("rename segment to", &path))?;
    Ok(ClosedSegment { number, bytes, head, ..ClosedSegment::default() })
}

/// A checkpoint with the series whose record stands in it or in front of it, if it is missing.
fn write_checkpoint(wal: &Wal, number: u32) -> Result<(), WalError> {
    if wal.disk().exists(&checkpoint::checkpoint_path(wal.wal_dir(), number)) {
        return Ok(());
    }
    let logged = number.saturating_add(1);
    checkpoint::create(wal.disk(), wal.wal_dir(), number, |dir: &Path| {
        let mut writer = BulkWriter::create(wal.disk(), dir, 0, u64::MAX, wal.options().compression)?;
        let is_wanted =
            |_, state: &crate::series::table::SeriesState| state.logged != 0 && state.logged <= logged;
        write_series(wal, is_wanted, |record| writer.append(record))?;
        writer.finish().map(drop)
    })
}
