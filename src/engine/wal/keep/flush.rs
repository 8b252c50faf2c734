//! From memory to the disk: what is in the ring, piece by piece, where it belongs in its segments.
//!
//! Runs on wal-maintenance. Segments that left the ring unwritten were settled, so the log on the disk
//! has a gap there. Before anything is written behind it, a checkpoint takes the place of all that is older; while an
//! endpoint still needs something of that, the missing segments are made with the series that they named.
//!
//! **Invariant:** at any moment a kill leaves a log on the disk whose segments are contiguous behind its checkpoint, and in
//! which every sample has its series before it.

use crate::wal::error::WalError;
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::position::Position;
use crate::wal::format::segment::segment_path;
use crate::wal::head::{LogReader, Wal};
use crate::wal::keep::place::write_hollow;
use crate::wal::keep::reserve::Reserve;
use crate::wal::keep::truncate_files::{Truncated, checkpoint_up_to, delete_files};
use crate::wal::memory::FlushRequest;
use crate::wal::memory::ring::{Ring, Unwritten};
use crossbeam_channel::{Receiver, bounded};

/// Asks for what is in memory and not settled to be written and made durable; the answer comes when it is, or when the disk
/// has refused. `None` while wal-maintenance does not run, or has more such questions than it can answer. Never waits.
pub fn request(log: &LogReader) -> Option<Receiver<Result<(), WalError>>> {
    let (done, answer) = bounded(1);
    let flusher = log.wal().upkeep().flusher()?;
    flusher.try_send(FlushRequest { done }).is_ok().then_some(answer)
}

/// Writes what is in memory and not settled, and makes it durable. Scraping has ended, and what is settled by now is never
/// written.
///
/// # Errors
/// The disk refused; what was not written is in memory.
pub fn finish(log: &LogReader) -> Result<(), WalError> {
    let Some(ring) = log.wal().ring() else { return log.sync() };
    // Nothing is lost with an answer that does not come: wal-maintenance writes what there is before it ends.
    if let Some(flusher) = log.wal().upkeep().flusher() {
        let (done, answer) = bounded(1);
        let _ = flusher.send(FlushRequest { done });
        answer.recv().unwrap_or(Ok(()))?;
    }
    ring.note_final();
    Ok(())
}

/// Writes all that is in memory, unless everything is settled. `closed` is brought up to date.
///
/// # Errors
/// The disk refused; what was not written is in memory.
pub(in crate::wal) fn write_unsettled(wal: &Wal, closed: &mut Vec<ClosedSegment>) -> Result<(), WalError> {
    let settled = wal.readers().settled();
    match wal.ring().filter(|ring| ring.has_unsettled(settled)) {
        Some(ring) => {
            ring.forget_past(settled);
            write_all(wal, ring, closed)
        }
        None => Ok(()),
    }
}

/// Writes all that is in memory.
///
/// # Errors
/// The disk refused; what was not written is in memory.
pub(in crate::wal) fn write_all(
    wal: &Wal,
    ring: &Ring,
    closed: &mut Vec<ClosedSegment>,
) -> Result<(), WalError> {
    while let Some(Unwritten { number, piece }) = ring.next_unwritten() {
        let at = Position { segment: number, offset: piece.start };
        if !make_way(wal, ring, closed, at)? {
            ring.give_up(number);
            continue;
        }
        wal.upkeep()
            .append_piece(&piece)
            .map_err(WalError::io("write segment", &segment_path(wal.wal_dir(), number)))?;
        ring.note_written(number, piece.end());
    }
    Ok(())
}

/// Brings the end on the disk to `at`; false if it cannot be brought there, because what stands before it has vanished.
fn make_way(wal: &Wal, ring: &Ring, closed: &mut Vec<ClosedSegment>, at: Position) -> Result<bool, WalError> {
    let end = wal.upkeep().disk_end()?;
    if at.segment <= end.segment {
        return Ok(at == end);
    }
    if at.offset > 0 {
        return Ok(false);
    }
    let is_whole = ring.skipped().is_none_or(|skipped| skipped < end.segment);
    if is_whole && at.segment - end.segment == 1 {
        wal.upkeep().rotate_to(at.segment)?;
    } else if wal.readers().settled().is_some_and(|settled| settled < end) {
        for number in end.segment + 1..at.segment {
            closed.push(write_hollow(wal, number)?);
        }
        wal.upkeep().rotate_to(at.segment)?;
    } else {
        begin_behind(wal, closed, at.segment - 1, None)?;
    }
    Ok(true)
}

/// Puts a checkpoint in the place of all that is on the disk, and goes on behind segment `last`, which was settled. With a
/// reserve, that is spent on the checkpoint.
///
/// # Errors
/// The disk refused: what is there stays as it is.
pub(in crate::wal) fn begin_behind(
    wal: &Wal,
    closed: &mut Vec<ClosedSegment>,
    last: u32,
    reserve: Option<&Reserve>,
) -> Result<Truncated, WalError> {
    let truncated = checkpoint_up_to(wal, last, closed, reserve)?;
    // Settled, and about to be deleted.
    wal.upkeep().begin_again(last.checked_add(1).ok_or(WalError::TooManySegments)?)?;
    closed.retain(|segment| segment.number > last);
    delete_files(wal, last)?;
    Ok(truncated)
}

#[cfg(test)]
#[path = "flush_tests.rs"]
mod tests;
