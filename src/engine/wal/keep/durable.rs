//! How far the log survives a loss of power, for those who remember positions in it.

use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::position::Position;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// What was fsynced, and what could not be.
#[derive(Debug, Default)]
pub(in crate::wal) struct Durable(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Everything before it, but for what is in `given_up`.
    end: Position,
    /// Samples of the segment at `end` that are before it.
    samples: u64,
    /// Checksum of the record that ends there, where that is known.
    fingerprint: Option<u32>,
    /// Segments of which an fsync failed, and from where on they are not durable. A later fsync that works says nothing:
    /// the system may have thrown away what it could not write.
    given_up: BTreeMap<u32, u64>,
    /// What the start found was fsynced: its writer may have been killed before.
    is_start_synced: bool,
}

impl Durable {
    /// Whether everything up to this place in its segment survives.
    pub(in crate::wal) fn reaches(&self, position: Position) -> bool {
        let state = self.0.lock();
        let given_up = state.given_up.get(&position.segment);
        position <= state.end && given_up.is_none_or(|from| position.offset <= *from)
    }

    /// Up to where everything is durable, with the checksum of the record that ends there, 0 at the start of a segment; `None`
    /// where that is not known.
    pub(in crate::wal) fn last_record(&self) -> Option<(Position, u32)> {
        let state = self.0.lock();
        let is_given_up = state.given_up.contains_key(&state.end.segment);
        // The default is where nothing is known yet.
        let is_at_start = state.end.offset == 0 && state.end != Position::default();
        let at_start = is_at_start.then_some(0);
        state.fingerprint.or(at_start).filter(|_| !is_given_up).map(|fingerprint| (state.end, fingerprint))
    }

    /// Whether an fsync of this segment failed.
    pub(in crate::wal) fn is_given_up(&self, segment: u32) -> bool {
        self.0.lock().given_up.contains_key(&segment)
    }

    /// All that `segment` held was fsynced, up to a record with this checksum where that is known.
    pub(in crate::wal) fn note_synced(&self, segment: &ClosedSegment, fingerprint: Option<u32>) {
        let mut state = self.0.lock();
        let end = Position { segment: segment.number, offset: segment.bytes };
        if state.end < end || (state.end == end && fingerprint.is_some()) {
            (state.end, state.samples, state.fingerprint) = (end, segment.samples, fingerprint);
        }
    }

    /// An fsync of a segment with this many samples has failed. How many of them are not durable.
    pub(in crate::wal) fn give_up(&self, segment: u32, samples: u64) -> u64 {
        let mut state = self.0.lock();
        let is_begun = state.end.segment == segment;
        let (from, before) = if is_begun { (state.end.offset, state.samples) } else { (0, 0) };
        state.given_up.entry(segment).or_insert(from);
        samples.saturating_sub(before)
    }

    /// Bytes of a segment of which an fsync failed that are durable all the same, and samples in them.
    pub(in crate::wal) fn before_given_up(&self, segment: u32) -> (u64, u64) {
        let state = self.0.lock();
        if state.end.segment == segment { (state.end.offset, state.samples) } else { (0, 0) }
    }

    /// The file of this segment is another one, without what was given up.
    pub(in crate::wal) fn begin_again(&self, segment: u32) {
        self.0.lock().given_up.remove(&segment);
    }

    /// Whether what the start found was fsynced.
    pub(in crate::wal) fn is_start_synced(&self) -> bool {
        self.0.lock().is_start_synced
    }

    /// What the start found was fsynced.
    pub(in crate::wal) fn note_start_synced(&self) {
        self.0.lock().is_start_synced = true;
    }
}
