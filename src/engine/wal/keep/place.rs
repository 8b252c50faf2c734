//! Whether the log is still where it was: somebody may remove its directory, or the disk may go away and come back.
//!
//! Part of wal-maintenance, looked at in every round. What has vanished is counted and the log begun again in its place:
//! files that are left stay, and those that are missing are made again with the series they named, so that every
//! sample that is left has its series before it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::data_dir;
use crate::wal::error::WalError;
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::segment;
use crate::wal::format::segment::{SegmentInfo, segment_path};
use crate::wal::head::Wal;
use crate::wal::keep::checkpoint;
use crate::wal::keep::disk::FileSystem;
use crate::wal::keep::truncate_series::{move_to_checkpoint, write_series};
use crate::wal::open::repair;
use crate::wal::write::bulk_writer::BulkWriter;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::wal) struct Restored {
    /// Segments that are missing.
    pub(in crate::wal) n_segments: usize,
    /// Samples in them.
    pub(in crate::wal) n_samples: u64,
    /// The segment that is written now.
    pub(in crate::wal) current: u32,
}

/// Looks whether the files are there: the one being written, those in `closed`, the checkpoint before them.
pub(in crate::wal) fn look(wal: &Wal, closed: &[ClosedSegment]) -> Place {
    let Some(file) = wal.current_file() else { return Place::Ours };
    match file.is_in_place() {
        Ok(true) => {}
        Ok(false) => return Place::Vanished(None),
        Err(error) => return Place::Vanished(Some(error)),
    }
    if FileSystem::of(wal.wal_dir()).is_ok_and(|file_system| file_system.is_read_only) {
        return Place::ReadOnly;
    }
    if !wal.is_lock_in_place() {
        return Place::Vanished(None);
    }
    let is_complete = closed.iter().all(|it| segment_path(wal.wal_dir(), it.number).exists())
        && checkpoint_before(closed)
            .is_none_or(|number| checkpoint::checkpoint_path(wal.wal_dir(), number).exists());
    if is_complete { Place::Ours } else { Place::Vanished(None) }
}

/// Number of the checkpoint that must stand before the oldest segment.
fn checkpoint_before(closed: &[ClosedSegment]) -> Option<u32> {
    closed.first().and_then(|oldest| oldest.number.checked_sub(1))
}

/// Begins the log again where it was. `closed` is brought up to date.
///
/// # Errors
/// The directory cannot be made or written: nothing is lost that was not lost before, and the next round tries again.
pub(in crate::wal) fn restore(wal: &Wal, closed: &mut Vec<ClosedSegment>) -> Result<Restored, WalError> {
    let wal_dir = wal.wal_dir();
    data_dir::create_dirs(wal_dir).map_err(WalError::io("create", wal_dir))?;
    wal.lock_again()?;
    let is_in_place = wal.current_file().is_none_or(|file| file.is_in_place().unwrap_or(false));
    if !is_in_place {
        begin_again(wal, closed)?;
    }
    let current = wal.current().ok_or(WalError::Closed)?.number;
    let there: BTreeMap<u32, u64> =
        segment::list(wal_dir)?.into_iter().map(|segment| (segment.number, segment.bytes)).collect();
    if let Some(newest) = closed.iter().rev().find(|segment| there.contains_key(&segment.number)) {
        // The disk may be back under another name, without the end of what was written last.
        repair::cut_torn_end(&segment_info(wal_dir, newest.number))?;
    }
    let missing: Vec<ClosedSegment> =
        closed.iter().filter(|segment| !there.contains_key(&segment.number)).copied().collect();
    let restored = Restored {
        n_segments: missing.len(),
        n_samples: missing.iter().map(|segment| segment.samples).sum(),
        current,
    };
    let is_anything_left = missing.len() < closed.len();
    if is_anything_left {
        // Before the files are there again: what readers find then is not what they were reading.
        missing.iter().for_each(|segment| wal.readers().note_hollow(segment));
        wal.readers().close_where(|number| missing.iter().any(|segment| segment.number == number));
        for segment in &missing {
            let bytes = write_hollow(wal, segment.number)?;
            if let Some(kept) = closed.iter_mut().find(|kept| kept.number == segment.number) {
                *kept = ClosedSegment { number: segment.number, bytes, ..ClosedSegment::default() };
            }
        }
        if let Some(number) = checkpoint_before(closed) {
            write_checkpoint(wal, number)?;
        }
    } else if let Some(last) = closed.last().map(|segment| segment.number) {
        wal.readers().note_going(closed.iter());
        write_checkpoint(wal, last)?;
        move_to_checkpoint(wal, last);
        wal.readers().close_where(|number| number <= last);
        closed.clear();
    }
    segment::sync_dir(wal_dir)?;
    wal.metrics().samples_lost_to_vanishing.add(restored.n_samples);
    Ok(restored)
}

/// Leaves the file that has vanished for a new one behind all that are there.
fn begin_again(wal: &Wal, closed: &mut Vec<ClosedSegment>) -> Result<(), WalError> {
    let current = wal.current().ok_or(WalError::Closed)?.number;
    let there = segment::list(wal.wal_dir())?;
    let newest = there.last().map_or(current, |segment| segment.number.max(current));
    let next = newest.checked_add(1).ok_or(WalError::TooManySegments)?;
    closed.extend(wal.begin_again(next)?);
    // Segments of somebody else behind ours: no sample of ours is in them.
    for segment in there.iter().filter(|segment| segment.number > current) {
        closed.push(ClosedSegment {
            number: segment.number,
            bytes: segment.bytes,
            ..ClosedSegment::default()
        });
    }
    Ok(())
}

fn segment_info(wal_dir: &Path, number: u32) -> SegmentInfo {
    SegmentInfo { number, path: segment_path(wal_dir, number), bytes: 0 }
}

/// A file with the number of a segment that is missing and the series that it named.
fn write_hollow(wal: &Wal, number: u32) -> Result<u64, WalError> {
    let path = segment_path(wal.wal_dir(), number);
    let beside = path.with_extension("tmp");
    checkpoint::remove(&beside)?;
    let mut writer = BulkWriter::create_file(beside.clone(), wal.options().compression)?;
    let logged = number.saturating_add(1);
    write_series(wal, |state| state.logged == logged, |record| writer.append(record))?;
    let bytes = writer.finish()?.bytes;
    std::fs::rename(&beside, &path).map_err(WalError::io("rename segment to", &path))?;
    Ok(bytes)
}

/// A checkpoint with the series whose record stands in it or in front of it, if it is missing.
fn write_checkpoint(wal: &Wal, number: u32) -> Result<(), WalError> {
    if checkpoint::checkpoint_path(wal.wal_dir(), number).exists() {
        return Ok(());
    }
    let logged = number.saturating_add(1);
    checkpoint::create(wal.wal_dir(), number, |dir: &Path| {
        let mut writer = BulkWriter::create(dir, 0, u64::MAX, wal.options().compression)?;
        let is_wanted =
            |state: &crate::series::table::SeriesState| state.logged != 0 && state.logged <= logged;
        write_series(wal, is_wanted, |record| writer.append(record))?;
        writer.finish().map(drop)
    })
}
