//! The files' side of a truncation: a checkpoint of the series that go on, then the old segments are deleted.
//!
//! Runs on wal-maintenance while scrapes commit. **Invariant:** at any moment a kill leaves a log that holds every
//! sample of the segments that stay. The table's side is `truncation`; why a segment has to go is not known here.

use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::wal::error::WalError;
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::segment;
use crate::wal::head::Wal;
use crate::wal::keep::checkpoint;
use crate::wal::keep::checkpoint::CheckpointWriter;
use crate::wal::keep::reserve::Reserve;
use crate::wal::keep::truncate_series::SeriesTruncation;

/// What a truncation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truncated {
    /// The last segment that went; more than was asked for if an earlier truncation was given up.
    pub last: u32,
    /// Size of the new checkpoint.
    pub checkpoint_bytes: u64,
    /// Series in it.
    pub checkpoint_series: u64,
    /// Series without samples in what stays: gone.
    pub removed_series: u64,
}

/// Truncates the log up to segment `last`, which must not be the one being written. `closed` says what is in the
/// segments: what readers still needed of those that go is noted for them. With a reserve, that is spent on the
/// checkpoint.
///
/// # Errors
/// The checkpoint could not be written: nothing has changed. Or a file could not be deleted: the next truncation and
/// the next start try again.
pub fn truncate(
    wal: &Wal,
    last: u32,
    closed: &[ClosedSegment],
    reserve: Option<&Reserve>,
) -> Result<Truncated, WalError> {
    let truncated = checkpoint_up_to(wal, last, closed, reserve)?;
    delete_files(wal, truncated.last)?;
    Ok(truncated)
}

/// A checkpoint of the series that go on behind segment `last`, and the others are forgotten; its segments are still there.
///
/// # Errors
/// The checkpoint could not be written: nothing has changed.
pub(in crate::wal) fn checkpoint_up_to(
    wal: &Wal,
    last: u32,
    closed: &[ClosedSegment],
    reserve: Option<&Reserve>,
) -> Result<Truncated, WalError> {
    let series = SeriesTruncation::begin(wal, last);
    let last = series.last();
    wal.readers().note_going(closed.iter().filter(|segment| segment.number <= last));
    let metrics = wal.metrics();
    metrics.checkpoint_creations.inc();
    let is_finished = wal.with_table(|_, mark| mark.truncated.is_some_and(|truncated| truncated >= last));
    let mut repeated = checkpoint::list(wal.disk(), wal.wal_dir())?.into_iter().find(|it| it.number == last);
    if let Some(left) = repeated.take_if(|_| !is_finished) {
        // It was given up, and the disk did not let it go: others may have come back since than it names.
        checkpoint::remove(wal.disk(), &left.path)?;
    }
    let written = match repeated {
        // Its files could not be deleted the last time; it names every series that a new one would.
        Some(checkpoint) => {
            let checkpoint_bytes = checkpoint.segments(wal.disk())?.iter().map(|file| file.bytes).sum();
            Ok(Truncated { last, checkpoint_bytes, ..Truncated::default() })
        }
        None => checkpoint::create(wal.disk(), wal.wal_dir(), last, |dir| {
            let mut writer = CheckpointWriter::create(wal.disk(), dir, wal.options().compression, reserve)?;
            let checkpoint_series = series.write_series_to(|record| writer.append(record))?;
            Ok(Truncated { last, checkpoint_bytes: writer.finish()?, checkpoint_series, removed_series: 0 })
        }),
    };
    let mut truncated = written.inspect_err(|_| metrics.checkpoint_creations_failed.inc())?;
    truncated.removed_series = series.finish();
    Ok(truncated)
}

/// Removes the segments up to `last`, oldest first so that the numbers stay contiguous.
///
/// # Errors
/// One of them cannot be removed.
pub(in crate::wal) fn remove_segments(disk: &dyn Disk, wal_dir: &Path, last: u32) -> Result<(), WalError> {
    for segment in segment::list(disk, wal_dir)?.into_iter().filter(|segment| segment.number <= last) {
        remove_segment(disk, &segment.path)?;
    }
    Ok(())
}

/// Deletes the segments that go, and the checkpoints before.
pub(in crate::wal) fn delete_files(wal: &Wal, last: u32) -> Result<(), WalError> {
    let (disk, wal_dir) = (wal.disk(), wal.wal_dir());
    remove_segments(disk, wal_dir, last)?;
    wal.readers().close_where(|number| number <= last);
    let metrics = wal.metrics();
    for checkpoint in checkpoint::list(disk, wal_dir)? {
        if checkpoint.number < last {
            metrics.checkpoint_deletions.inc();
            checkpoint::remove(disk, &checkpoint.path)
                .inspect_err(|_| metrics.checkpoint_deletions_failed.inc())?;
        }
    }
    segment::sync_dir(disk, wal_dir)
}

fn remove_segment(disk: &dyn Disk, path: &Path) -> Result<(), WalError> {
    match disk.remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(WalError::io("remove segment", path)(cause))
        }
        _ => Ok(()),
    }
}
