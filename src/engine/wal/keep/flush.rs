//! From memory to the disk: what is in the ring, piece by piece, where it belongs in its segments.
//!
//! Runs on wal-maintenance. Segments that left the ring unwritten were settled, so the log on the disk
//! has a gap there. Before anything is written behind it, a checkpoint takes the place of all that is older; while an
//! endpoint still needs something of that, the missing segments are made with the series that they named.
//!
//! **Invariant:** at any moment a kill leaves a log on the disk whose segments are contiguous behind its checkpoint, and in
//! which every sample has its series before it.

use crate::mutant::{self, Mutant};
use crate::wal::error::WalError;
use crate::wal::format::closed_segment::{BatchSamples, ClosedSegment};
use crate::wal::format::position::Position;
use crate::wal::format::record;
use crate::wal::format::record::Record;
use crate::wal::format::record_batch::RecordBatch;
use crate::wal::format::segment;
use crate::wal::format::segment::segment_path;
use crate::wal::format::segment_reader::{SegmentReader, Tail};
use crate::wal::head::{LogReader, Wal};
use crate::wal::keep::place::write_hollow;
use crate::wal::keep::reserve::Reserve;
use crate::wal::keep::truncate_files::{Truncated, checkpoint_up_to, delete_files};
use crate::wal::keep::truncate_series::write_series;
use crate::wal::memory::FlushRequest;
use crate::wal::memory::piece::Piece;
use crate::wal::memory::ring::{Ring, Unwritten};
use crossbeam_channel::{Receiver, bounded};
use std::collections::BTreeSet;
use std::time::Instant;

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
        let written = wal.upkeep().append_piece(&piece);
        let written = if mutant::is_on(Mutant::RefusedPieceWritten) { Ok(()) } else { written };
        written.map_err(WalError::io("write segment", &segment_path(wal.wal_dir(), number)))?;
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
        if !is_whole {
            complete_series(wal, end)?;
        }
        for number in end.segment + 1..at.segment {
            closed.push(write_hollow(wal, number)?);
        }
        wal.upkeep().rotate_to(at.segment)?;
    } else {
        begin_behind(wal, closed, at.segment - 1, None)?;
    }
    Ok(true)
}

/// Adds to the segment that is being left the series that it named in what was dropped from memory: what comes behind it may
/// have samples of them.
fn complete_series(wal: &Wal, end: Position) -> Result<(), WalError> {
    let there = series_in(wal, end)?;
    let logged = end.segment.saturating_add(1);
    let mut records = Vec::new();
    let n_series = write_series(
        wal,
        |series_ref, state| state.logged == logged && !there.contains(&u64::from(series_ref.0.get())),
        |record| {
            records.push(record.to_vec());
            Ok(())
        },
    )?;
    if n_series == 0 {
        return Ok(());
    }
    let mut batch = RecordBatch::new(wal.options().compression);
    records.iter().for_each(|record| batch.push(record));
    let mut piece = Piece::new(end.offset, Instant::now());
    piece.append(&batch, BatchSamples::default(), Instant::now());
    wal.upkeep()
        .append_piece(&piece)
        .map_err(WalError::io("write segment", &segment_path(wal.wal_dir(), end.segment)))
}

/// Refs of the series that the segment on the disk names.
fn series_in(wal: &Wal, end: Position) -> Result<BTreeSet<u64>, WalError> {
    let mut refs = BTreeSet::new();
    let source = segment::open(wal.disk(), &segment_path(wal.wal_dir(), end.segment))?;
    let mut reader = SegmentReader::new(source, end.segment, Tail::Live);
    while let Ok(Some(raw)) = reader.next_record() {
        if let Record::Series(entries) = record::decode(raw.bytes) {
            refs.extend(entries.flatten().map(|entry| entry.series_ref));
        }
    }
    Ok(refs)
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
