//! Segments, or the newer parts of them, in memory.
//!
//! A commit adds to it under the head's lock, followers copy from it, wal-maintenance writes and empties it. Its own lock is a
//! leaf, held for as long as it takes to copy a batch or a page. Segments are small against the ring, so that what is
//! settled leaves it early.
//!
//! **Invariant:** the log is contiguous: what stands before the first piece of a segment is on the disk, or the segment was
//! settled as a whole.

use crate::mutant::{self, Mutant};
use crate::wal::format::closed_segment::BatchSamples;
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::position::Position;
use crate::wal::format::record_batch::RecordBatch;
use crate::wal::memory::piece::Piece;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// A segment takes no more than this part of the ring, and no more than this many bytes as long as nothing of it is written:
/// what is settled leaves by the segment.
const SEGMENT_PART: u64 = 4;
const UNWRITTEN_SEGMENT_BYTES: u64 = 256 << 10;

/// Fuller than this part, it is written though nothing in it is old.
const WRITE_PART: u64 = 2;

/// What is settled stays up to this part of the ring, for whoever asks what was.
const PAST_PART: u64 = 32;

/// The newest part of the log.
#[derive(Debug)]
pub(in crate::wal) struct Ring {
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first; the last one is being written to. Empty while commits go to the disk.
    segments: VecDeque<Held>,
    /// In all pieces.
    n_bytes: u64,
    /// Bytes of segments that are complete, also of those that have left, from the first on that somebody has not settled.
    sizes: BTreeMap<u32, u64>,
    /// The last segment that left it without being on the disk as a whole.
    skipped: Option<u32>,
    /// What is left is settled, and is not written any more.
    is_final: bool,
}

#[derive(Debug)]
struct Held {
    /// All that was committed to it.
    segment: ClosedSegment,
    pieces: VecDeque<Piece>,
    /// Bytes of it that were handed to the disk.
    written_bytes: u64,
    /// Its file has gone with what stands before the first piece: it is sent, and never written.
    is_unwritable: bool,
}

/// The next piece to write.
#[derive(Debug)]
pub(in crate::wal) struct Unwritten {
    /// Its segment.
    pub(in crate::wal) number: u32,
    /// The piece, which does not change any more.
    pub(in crate::wal) piece: Piece,
}

/// There is no room for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wal) struct Full;

/// A batch is in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wal) struct Appended {
    /// The segment that it is in.
    pub(in crate::wal) segment: u32,
    /// The ring has just become so full that it is to be written.
    pub(in crate::wal) is_filling: bool,
}

impl Ring {
    /// An empty one.
    pub(in crate::wal) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, state: Mutex::default() }
    }

    /// Whether commits go to the disk.
    pub(in crate::wal) fn is_empty(&self) -> bool {
        self.state.lock().segments.is_empty()
    }

    /// From now on commits go here: behind what is on the disk, which `current` says.
    pub(in crate::wal) fn begin(&self, current: ClosedSegment) {
        let mut state = self.state.lock();
        if state.segments.is_empty() {
            let written_bytes = current.bytes;
            state.segments.push_back(Held { written_bytes, ..Held::new(current) });
        }
    }

    /// The end of the log; `None` while it is empty.
    pub(in crate::wal) fn end(&self) -> Option<Position> {
        self.state.lock().segments.back().map(Held::end)
    }

    /// Timestamp of the newest sample in the segment being written to.
    pub(in crate::wal) fn newest_ts_ms(&self) -> Option<i64> {
        self.state.lock().segments.iter().rev().find_map(|held| held.segment.newest_ts_ms)
    }

    /// The oldest segment of which something is here.
    pub(in crate::wal) fn first_number(&self) -> Option<u32> {
        self.state.lock().segments.front().map(|held| held.segment.number)
    }

    /// Bytes of a segment that was complete after it was here; `None` of others.
    pub(in crate::wal) fn size_of(&self, number: u32) -> Option<u64> {
        self.state.lock().sizes.get(&number).copied()
    }

    /// Bytes in it.
    pub(in crate::wal) fn bytes(&self) -> u64 {
        self.state.lock().n_bytes
    }

    /// Adds a batch at the end of the log, in the next segment if this one is full.
    ///
    /// # Errors
    /// Nothing was added.
    pub(in crate::wal) fn append(
        &self,
        batch: &RecordBatch,
        holds: BatchSamples,
        segment_size_bytes: u64,
        now: Instant,
    ) -> Result<Appended, Full> {
        let mut state = self.state.lock();
        let batch_bytes = batch.max_bytes();
        if state.n_bytes > 0 && state.n_bytes + batch_bytes > self.max_bytes {
            return Err(Full);
        }
        let is_segment_full = state.segments.back().is_some_and(|held| {
            let part_bytes = match held.written_bytes {
                0 => (self.max_bytes / SEGMENT_PART).min(UNWRITTEN_SEGMENT_BYTES),
                _ => self.max_bytes / SEGMENT_PART,
            };
            held.segment.bytes > 0
                && (held.segment.bytes + batch_bytes > segment_size_bytes
                    || held.bytes_here() > 0 && held.bytes_here() + batch_bytes > part_bytes)
        });
        if is_segment_full {
            state.rotate();
        }
        let was_filling = self.is_filling(state.n_bytes);
        let Some(held) = state.segments.back_mut() else { return Err(Full) };
        let n_bytes = held.append(batch, holds, now);
        let segment = held.segment.number;
        state.n_bytes += n_bytes;
        Ok(Appended { segment, is_filling: !was_filling && self.is_filling(state.n_bytes) })
    }

    /// The next commit goes to a segment of which there is nothing yet; its number.
    pub(in crate::wal) fn rotate(&self) -> Option<u32> {
        let mut state = self.state.lock();
        state.rotate();
        state.segments.back().map(|held| held.segment.number)
    }

    /// Copies from place `at` of a segment; `None` if that is not here.
    pub(in crate::wal) fn read_at(&self, number: u32, buf: &mut [u8], at: u64) -> Option<usize> {
        self.state.lock().held(number)?.read_at(buf, at)
    }

    /// Whether something is to be written: commits in front of which nothing is settled are older than `max_age`, or there
    /// is little room left. `settled` is how far all readers have come.
    pub(in crate::wal) fn is_due(&self, settled: Option<Position>, max_age: Duration, now: Instant) -> bool {
        let state = self.state.lock();
        if state.is_final {
            return false;
        }
        let max_age = if mutant::is_on(Mutant::FlushTooLate) { max_age * 2 } else { max_age };
        let is_old = |held: &Held| {
            let number = held.segment.number;
            let is_unsettled = |piece: &&Piece| {
                piece.end() > held.written_bytes
                    && settled
                        .is_none_or(|settled| settled < Position { segment: number, offset: piece.end() })
            };
            let oldest = held.pieces.iter().find(is_unsettled);
            oldest.is_some_and(|piece| now.saturating_duration_since(piece.since) >= max_age)
        };
        self.is_filling(state.n_bytes) || state.segments.iter().any(is_old)
    }

    /// Whether there is something here that a reader has not settled, and that is still to be written.
    pub(in crate::wal) fn has_unsettled(&self, settled: Option<Position>) -> bool {
        let state = self.state.lock();
        let end = state.segments.back().map(Held::end);
        !state.is_final && end.is_some_and(|end| settled.is_none_or(|settled| settled < end))
    }

    /// The oldest piece that was not handed to the disk.
    pub(in crate::wal) fn next_unwritten(&self) -> Option<Unwritten> {
        let mut state = self.state.lock();
        state.segments.iter_mut().filter(|held| !held.is_unwritable).find_map(|held| {
            let written_bytes = held.written_bytes;
            let piece = held.pieces.iter_mut().find(|piece| piece.end() > written_bytes)?;
            piece.seal();
            Some(Unwritten { number: held.segment.number, piece: piece.clone() })
        })
    }

    /// This segment was handed to the disk up to `bytes`; less than before if the disk has lost it.
    pub(in crate::wal) fn note_written(&self, number: u32, bytes: u64) {
        if let Some(held) = self.state.lock().held_mut(number) {
            held.written_bytes = bytes;
        }
    }

    /// The file of this segment has gone: what is here of it is not written.
    pub(in crate::wal) fn give_up(&self, number: u32) {
        if let Some(held) = self.state.lock().held_mut(number) {
            held.is_unwritable = true;
        }
    }

    /// Lets go what is on the disk for good, which `is_durable` says of a place in the log, and whole segments that are settled,
    /// but for a little of the past.
    pub(in crate::wal) fn free(&self, settled: Option<Position>, is_durable: impl Fn(Position) -> bool) {
        self.free_but(self.max_bytes / PAST_PART, settled, is_durable);
    }

    /// The same without the past: what is settled is not to be written with the rest.
    pub(in crate::wal) fn forget_past(&self, settled: Option<Position>) {
        self.free_but(0, settled, |_| false);
    }

    fn free_but(&self, past_bytes: u64, settled: Option<Position>, is_durable: impl Fn(Position) -> bool) {
        let mut state = self.state.lock();
        if let Some(settled) = settled {
            state.sizes = state.sizes.split_off(&settled.segment);
        }
        while state.segments.len() > 1
            && let Some(oldest) = state.segments.front()
        {
            let end = oldest.end();
            let is_on_disk = oldest.is_written_to(end.offset) && is_durable(end);
            let is_early = mutant::is_on(Mutant::MemoryFreedTooEarly);
            let settled = settled.map(|at| if is_early && at.segment == end.segment { end } else { at });
            let is_past = settled.is_some_and(|settled| settled >= end) && state.n_bytes > past_bytes;
            if !is_on_disk && !is_past {
                break;
            }
            if !is_on_disk {
                state.skipped = Some(end.segment);
            }
            state.let_go_oldest();
        }
        let State { segments, n_bytes, .. } = &mut *state;
        for held in segments {
            while let Some(piece) = held.pieces.front() {
                let end = Position { segment: held.segment.number, offset: piece.end() };
                if !held.is_written_to(end.offset) || !is_durable(end) {
                    break;
                }
                *n_bytes -= piece.bytes.len() as u64;
                held.pieces.pop_front();
            }
        }
    }

    /// The disk has lost the file of this segment, the newest one there. The number to go on with there: the same one if all of
    /// the segment is here, the oldest one here if somebody needs what comes before it, and else the next. And what is lost
    /// with it if somebody still needs what is not here.
    pub(in crate::wal) fn lose_file(
        &self,
        number: u32,
        settled: Option<Position>,
    ) -> (Option<u32>, Option<ClosedSegment>) {
        let mut state = self.state.lock();
        let Some(idx) = state.segments.iter().position(|held| held.segment.number == number) else {
            let is_needed = settled.is_none_or(|settled| settled.segment <= number);
            let oldest = state.segments.front().filter(|_| is_needed).map(|held| held.segment.number);
            return (oldest.filter(|oldest| *oldest > number).or(number.checked_add(1)), None);
        };
        let Some(held) = state.segments.get_mut(idx) else { return (None, None) };
        let start = held.pieces.front().map_or(held.segment.bytes, |piece| piece.start);
        if start == 0 {
            held.written_bytes = 0;
            return (Some(number), None);
        }
        held.is_unwritable = true;
        let is_needed = settled.is_none_or(|settled| settled < Position { segment: number, offset: start });
        let lost = held.segment;
        if idx + 1 == state.segments.len() {
            state.rotate();
        }
        if !is_needed {
            return (number.checked_add(1), None);
        }
        if let Some(held) = state.segments.remove(idx) {
            state.n_bytes -= held.bytes_here();
        }
        (number.checked_add(1), Some(lost))
    }

    /// Whether something of this segment is here.
    pub(in crate::wal) fn holds(&self, number: u32) -> bool {
        self.state.lock().held(number).is_some()
    }

    /// Lets the oldest segment go though it was neither sent nor written, so that there is room; what it held. `note` is called
    /// with that first: no reader finds it missing before it is known why.
    pub(in crate::wal) fn drop_oldest(&self, note: impl FnOnce(&ClosedSegment)) -> Option<ClosedSegment> {
        let mut state = self.state.lock();
        if state.segments.len() < 2 {
            state.rotate();
        }
        if state.segments.len() < 2 {
            return None;
        }
        let oldest = state.segments.front()?.segment;
        if !mutant::is_on(Mutant::DroppedNotNoted) {
            note(&oldest);
        }
        state.skipped = Some(oldest.number);
        state.let_go_oldest()
    }

    /// The last segment that left without being on the disk as a whole.
    pub(in crate::wal) fn skipped(&self) -> Option<u32> {
        self.state.lock().skipped
    }

    /// Nothing is written any more: what matters has been.
    pub(in crate::wal) fn note_final(&self) {
        self.state.lock().is_final = true;
    }

    /// There are readers again.
    pub(in crate::wal) fn note_readers(&self) {
        self.state.lock().is_final = false;
    }

    /// Commits go to the disk again, if all that is here was written up to `end`, the end on the disk.
    pub(in crate::wal) fn leave(&self, end: Position) {
        let mut state = self.state.lock();
        if state.segments.len() == 1 && state.segments.back().is_some_and(|held| held.end() == end) {
            state.clear();
        }
    }

    /// The log is closed.
    pub(in crate::wal) fn clear(&self) {
        self.state.lock().clear();
    }

    fn is_filling(&self, n_bytes: u64) -> bool {
        n_bytes > self.max_bytes / WRITE_PART
    }
}

impl State {
    fn held(&self, number: u32) -> Option<&Held> {
        self.segments.iter().find(|held| held.segment.number == number)
    }

    fn held_mut(&mut self, number: u32) -> Option<&mut Held> {
        self.segments.iter_mut().find(|held| held.segment.number == number)
    }

    fn clear(&mut self) {
        self.segments.clear();
        self.n_bytes = 0;
    }

    fn rotate(&mut self) {
        let Some(held) = self.segments.back_mut().filter(|held| held.segment.bytes > 0) else { return };
        let Some(number) = held.segment.number.checked_add(1) else { return };
        self.sizes.insert(held.segment.number, held.segment.bytes);
        if let Some(piece) = held.pieces.back_mut() {
            piece.seal();
        }
        let segment = ClosedSegment { number, ..ClosedSegment::default() };
        self.segments.push_back(Held::new(segment));
    }

    fn let_go_oldest(&mut self) -> Option<ClosedSegment> {
        let held = self.segments.pop_front()?;
        self.n_bytes -= held.bytes_here();
        Some(held.segment)
    }
}

impl Held {
    fn new(segment: ClosedSegment) -> Self {
        Self { segment, pieces: VecDeque::new(), written_bytes: 0, is_unwritable: false }
    }

    fn end(&self) -> Position {
        Position { segment: self.segment.number, offset: self.segment.bytes }
    }

    fn is_written_to(&self, offset: u64) -> bool {
        !self.is_unwritable && offset <= self.written_bytes
    }

    fn bytes_here(&self) -> u64 {
        self.pieces.front().map_or(0, |first| self.segment.bytes - first.start)
    }

    fn append(&mut self, batch: &RecordBatch, holds: BatchSamples, now: Instant) -> u64 {
        let before = self.segment.bytes;
        let is_in = self.pieces.back_mut().is_some_and(|piece| piece.append(batch, holds, now));
        if !is_in {
            if let Some(piece) = self.pieces.back_mut() {
                piece.seal();
            }
            let mut piece = Piece::new(before, now);
            piece.append(batch, holds, now);
            self.pieces.push_back(piece);
        }
        self.segment.bytes = self.pieces.back().map_or(before, Piece::end);
        self.segment.samples += holds.samples;
        self.segment.histograms += holds.histograms;
        self.segment.newest_ts_ms = self.segment.newest_ts_ms.max(holds.newest_ts_ms);
        self.segment.bytes - before
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> Option<usize> {
        if at >= self.segment.bytes {
            return Some(0);
        }
        if self.pieces.front().is_none_or(|first| at < first.start) {
            return None;
        }
        let first = self.pieces.partition_point(|piece| piece.end() <= at);
        let mut n_read = 0;
        for piece in self.pieces.iter().skip(first) {
            let from = (at + n_read as u64).saturating_sub(piece.start) as usize;
            let (Some(from), Some(to)) = (piece.bytes.get(from..), buf.get_mut(n_read..)) else { break };
            let n = from.len().min(to.len());
            if let (Some(from), Some(to)) = (from.get(..n), to.get_mut(..n)) {
                to.copy_from_slice(from);
            }
            n_read += n;
        }
        Some(n_read)
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
