//! Those who read the log while it is written: what truncation keeps for them, and what it takes from them.
//!
//! A reader is nothing but a position here. Truncation by age waits for the lowest of them; the bounds in bytes and
//! time, and a full disk, do not. Then the reader learns how many samples it has lost.

use crate::mutant::{self, Mutant};
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::position::Position;
use crate::wal::gone::{Gone, OpenSegment, SegmentSamples};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

/// What the log knows of its readers.
#[derive(Debug, Default)]
pub(in crate::wal) struct Readers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    kept: BTreeMap<u64, Position>,
    /// How far each has settled the log, which is further than what is kept for it: that is remembered on the disk.
    settled: BTreeMap<u64, Position>,
    /// What segments that went held although a reader needed it, and those that are about to go.
    gone: BTreeMap<u32, SegmentSamples>,
    /// Numbers in `gone` of segments whose content has vanished while they stay in the log.
    hollow: BTreeSet<u32>,
    /// `gone` has what a start found, and not all readers have registered yet.
    awaits_readers: bool,
    open_segments: Vec<Weak<OpenSegment>>,
}

impl Readers {
    /// The first segment that a reader needs; `None` without readers.
    pub(in crate::wal) fn needed_from(&self) -> Option<u32> {
        self.0.lock().kept.values().map(|position| position.segment).min()
    }

    /// Where the reader that is the last has settled everything; `None` without readers.
    pub(in crate::wal) fn settled(&self) -> Option<Position> {
        self.0.lock().settled.values().min().copied()
    }

    /// The claim `id` has settled everything before `position`.
    pub(in crate::wal) fn settle(&self, id: u64, position: Position) {
        self.0.lock().settled.insert(id, position);
    }

    /// These segments are about to go: what they hold is remembered for readers that have not come so far.
    pub(in crate::wal) fn note_going<'a>(&self, segments: impl Iterator<Item = &'a ClosedSegment>) {
        let mut state = self.0.lock();
        let Some(needed_from) = state.kept.values().map(|position| position.segment).min() else { return };
        let needed_from = needed_from + u32::from(mutant::is_on(Mutant::GoneNotNoted));
        for segment in segments.filter(|segment| segment.number >= needed_from) {
            state.gone.insert(segment.number, SegmentSamples::from(segment));
        }
    }

    /// What the start found of segments that are to be removed, for readers that will register.
    pub(in crate::wal) fn note_covered(&self, segments: &[ClosedSegment]) {
        let mut state = self.0.lock();
        state.awaits_readers = !segments.is_empty();
        state.gone.extend(segments.iter().map(|segment| (segment.number, SegmentSamples::from(segment))));
    }

    /// The content of this segment has vanished; its number stays.
    pub(in crate::wal) fn note_hollow(&self, segment: &ClosedSegment) {
        let mut state = self.0.lock();
        // What it held is known already if it is hollow for the second time.
        state.gone.entry(segment.number).or_insert_with(|| SegmentSamples::from(segment));
        state.hollow.insert(segment.number);
    }

    /// A place for the file that a reader has open.
    pub(in crate::wal) fn open_segment(&self) -> Arc<OpenSegment> {
        let place = Arc::new(OpenSegment::default());
        let mut state = self.0.lock();
        state.open_segments.retain(|other| other.strong_count() > 0);
        state.open_segments.push(Arc::downgrade(&place));
        place
    }

    /// Whether the content of this segment has vanished.
    pub(in crate::wal) fn is_hollow(&self, number: u32) -> bool {
        self.0.lock().hollow.contains(&number)
    }

    /// Closes what readers have open of these segments, which are removed.
    pub(in crate::wal) fn close_where(&self, is_removed: impl Fn(u32) -> bool) {
        let open: Vec<_> = self.0.lock().open_segments.iter().filter_map(Weak::upgrade).collect();
        open.iter().for_each(|place| place.close_where(&is_removed));
    }

    /// A new claim that begins at `position`: its number.
    pub(in crate::wal) fn register(&self, position: Position) -> u64 {
        let mut state = self.0.lock();
        state.last_id += 1;
        let id = state.last_id;
        state.kept.insert(id, position);
        state.settled.insert(id, position);
        state.forget_gone();
        id
    }

    /// All readers there are have registered.
    pub(in crate::wal) fn are_known(&self) {
        let mut state = self.0.lock();
        state.awaits_readers = false;
        state.forget_gone();
    }

    /// The claim `id` begins at `position` now.
    pub(in crate::wal) fn keep(&self, id: u64, position: Position) {
        let mut state = self.0.lock();
        state.kept.insert(id, position);
        state.forget_gone();
    }

    /// The claim `id` has ended.
    pub(in crate::wal) fn release(&self, id: u64) {
        let mut state = self.0.lock();
        state.kept.remove(&id);
        state.settled.remove(&id);
        state.forget_gone();
    }

    /// What has gone from segment `first` on, if everything before `before` has.
    pub(in crate::wal) fn gone_from(&self, first: u32, before: u32) -> Gone {
        let state = self.0.lock();
        let is_gone = |number: u32| number < before || state.hollow.contains(&number);
        let gone = state.gone.range(first..).filter(|(number, _)| is_gone(**number));
        Gone { before, segments: gone.map(|(number, samples)| (*number, *samples)).collect() }
    }
}

impl State {
    fn forget_gone(&mut self) {
        if self.awaits_readers {
            return;
        }
        match self.kept.values().map(|position| position.segment).min() {
            Some(needed_from) => {
                self.gone = self.gone.split_off(&needed_from);
                self.hollow = self.hollow.split_off(&needed_from);
            }
            None => {
                self.gone.clear();
                self.hollow.clear();
            }
        }
    }
}
