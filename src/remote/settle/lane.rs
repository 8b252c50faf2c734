//! A lane: a part of the log that is read in order, with the records of it that are not settled.
//!
//! Plain state under the lock of `progress`, which holds the lanes of an endpoint.

use std::collections::{BTreeSet, VecDeque};

use crate::remote::settle::ledger::{DropReason, Fate, Kind, Ledger};
use crate::remote::settle::mark::Mark;
use scraped_engine::mutant::{self, Mutant};
use scraped_engine::wal::format::position::Position;
use scraped_engine::wal::gone::{Gone, SegmentSamples};

/// Bits of a record's number that name its lane: twice as many names as lanes.
pub(in crate::remote) const LANE_BITS: u32 = 5;

/// Bits that count records of a lane; they wrap. So many unsettled records do not fit into any memory.
pub(in crate::remote) const NUMBER_BITS: u32 = 32 - LANE_BITS;

/// Names a lane; used again when the lane is long gone.
pub type LaneId = u8;

/// A record that is not settled: its lane, and its number there, in the four bytes that every item carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordSeq(u32);

impl RecordSeq {
    pub(in crate::remote) fn new(lane: LaneId, number: u32) -> Self {
        Self(u32::from(lane) << NUMBER_BITS | number & ((1 << NUMBER_BITS) - 1))
    }

    pub(in crate::remote) fn lane(self) -> LaneId {
        (self.0 >> NUMBER_BITS) as LaneId
    }

    /// Records of its lane between number `first` and this one.
    pub(in crate::remote) fn distance(self, first: u32) -> usize {
        (self.0.wrapping_sub(first) & ((1 << NUMBER_BITS) - 1)) as usize
    }
}

/// A lane.
#[derive(Debug, Default)]
pub(in crate::remote) struct Lane {
    pub(in crate::remote) id: LaneId,
    /// Its first segment; without a meaning for the first lane.
    pub(in crate::remote) start: u32,
    /// Records from the first unsettled one on, up to the last taken.
    pub(in crate::remote) open: VecDeque<Tally>,
    pub(in crate::remote) first_number: u32,
    /// The end of the last record taken.
    pub(in crate::remote) read: Reached,
    /// No more of it will be read.
    pub(in crate::remote) is_read: bool,
    pub(in crate::remote) watermark: Mark,
    /// Of the watermark's segment.
    before_watermark: SegmentSamples,
    /// Up to the watermark: nothing in it is pending.
    pub(in crate::remote) settled: Ledger,
    /// The log begins here: segments before this one are gone and counted.
    gone_before: u32,
    /// Segments whose content is gone and counted, though older ones may be there; none before the watermark.
    hollow: BTreeSet<u32>,
}

/// How far a lane is read.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::remote) struct Reached {
    pub(in crate::remote) position: Position,
    /// Samples of the position's segment that stand before it.
    pub(in crate::remote) samples: SegmentSamples,
}

/// A record that is not settled.
#[derive(Clone, Copy, Debug)]
pub(in crate::remote) struct Tally {
    /// Where it stands; its end is behind that if something was passed over.
    segment: u32,
    end: Mark,
    /// Samples of the segment up to its end.
    before_end: SegmentSamples,
    /// The record is complete: no further sample of it will be taken.
    pub(in crate::remote) is_closed: bool,
    /// Of all that it holds.
    pub(in crate::remote) kind: Kind,
    pub(in crate::remote) ledger: Ledger,
    /// Timestamp of its oldest sample; `None` of exemplars, whose times are those of their page.
    pub(in crate::remote) oldest_ms: Option<i64>,
    /// No record, but what was lost between two: it is not met again.
    is_loss: bool,
}

impl Lane {
    /// A lane in which everything up to `watermark` is settled; `before` are the samples of that segment.
    pub(in crate::remote) fn new(
        id: LaneId,
        start: u32,
        watermark: Mark,
        settled: Ledger,
        before: SegmentSamples,
    ) -> Self {
        let read = Reached { position: watermark.position, samples: before };
        Self { id, start, read, watermark, before_watermark: before, settled, ..Self::default() }
    }

    /// Takes a record of `n` items; `None` if its segment is gone and that is counted.
    pub(in crate::remote) fn take(
        &mut self,
        kind: Kind,
        end: Mark,
        n: u64,
        oldest_ms: Option<i64>,
    ) -> Option<RecordSeq> {
        if end.position <= self.read.position {
            return None;
        }
        let number = self.first_number.wrapping_add(self.open.len() as u32);
        self.read.advance(end.position);
        match kind {
            Kind::Float => self.read.samples.floats += n,
            Kind::Histogram => self.read.samples.histograms += n,
            Kind::Exemplar => {}
        }
        let ledger = Ledger { taken: n, ..Ledger::default() };
        let before_end = self.read.samples;
        let segment = end.position.segment;
        let (is_closed, is_loss) = (false, false);
        self.open.push_back(Tally { segment, end, before_end, is_closed, kind, ledger, oldest_ms, is_loss });
        Some(RecordSeq::new(self.id, number))
    }

    /// Passes over what ends at `end`, unless it is gone and that is counted.
    pub(in crate::remote) fn pass(&mut self, end: Mark) {
        if end.position <= self.read.position {
            return;
        }
        self.read.advance(end.position);
        match self.open.back_mut() {
            // Goes with the record before it.
            Some(last) if last.is_closed => (last.end, last.before_end) = (end, self.read.samples),
            Some(_) => {}
            None => (self.watermark, self.before_watermark) = (end, self.read.samples),
        }
    }

    pub(in crate::remote) fn advance(&mut self) {
        while let Some(tally) = self.open.front() {
            let is_pending = tally.ledger.pending() > 0 && !mutant::is_on(Mutant::WatermarkIgnoresPending);
            if !tally.is_closed || is_pending {
                return;
            }
            (self.watermark, self.before_watermark) = (tally.end, tally.before_end);
            tally.add_to(&mut self.settled);
            self.first_number = self.first_number.wrapping_add(1);
            self.open.pop_front();
        }
    }

    /// Counts what has gone of what is not read, up to the lane's end in front of segment `until`; the reader goes on
    /// behind it. Returns what was lost.
    pub(in crate::remote) fn lose(
        &mut self,
        gone: &Gone,
        until: u32,
        sends_histograms: bool,
    ) -> SegmentSamples {
        let mut lost = SegmentSamples::default();
        let from = self.read.position.segment;
        if self.is_read || from >= until {
            return lost;
        }
        for (number, holds) in gone.segments.range(from..until) {
            let is_counted = *number < self.gone_before || self.hollow.contains(number);
            if is_counted && !mutant::is_on(Mutant::LossCountedAgain) {
                continue;
            }
            let before = if *number == from && !mutant::is_on(Mutant::LossCountsRead) {
                self.read.samples
            } else {
                SegmentSamples::default()
            };
            lost.floats += holds.floats.saturating_sub(before.floats);
            lost.histograms += holds.histograms.saturating_sub(before.histograms);
            self.hollow.insert(*number);
        }
        if !sends_histograms {
            lost.histograms = 0;
        }
        let mut next = gone.before.max(from);
        // What has vanished where the reader stands, and behind it, has nothing to be read.
        while next < until && gone.segments.contains_key(&next) {
            next += 1;
        }
        let next = next.min(until);
        let is_overtaken = from < next;
        self.gone_before = self.gone_before.max(gone.before);
        self.hollow = self.hollow.split_off(&self.watermark.position.segment);
        let here = self.open.back().map_or(self.watermark, |last| last.end);
        let end = if is_overtaken { Mark::start_of(next) } else { here };
        let n_lost = lost.floats + lost.histograms;
        if is_overtaken || n_lost > 0 {
            self.read.advance(end.position);
            let mut ledger = Ledger { taken: n_lost, ..Ledger::default() };
            ledger.settle(Fate::Dropped(DropReason::WalTruncated), n_lost);
            let before_end = self.read.samples;
            let kind = Kind::Float;
            let segment = if is_overtaken { next - 1 } else { end.position.segment };
            let (is_closed, is_loss, oldest_ms) = (true, true, None);
            self.open.push_back(Tally {
                segment,
                end,
                before_end,
                is_closed,
                kind,
                ledger,
                oldest_ms,
                is_loss,
            });
        }
        lost
    }

    /// What would be settled if the process ended now: what is pending and cannot be read again is lost.
    pub(in crate::remote) fn settled_for_good(&self) -> (Mark, Ledger) {
        let (mut mark, mut settled) = (self.watermark, self.settled);
        for tally in self.open.iter().take_while(|tally| self.is_gone(tally)) {
            mark = tally.end;
            tally.given_up().add_to(&mut settled);
        }
        if mutant::is_on(Mutant::PositionAheadOfSettled) {
            mark = self.open.back().map_or(mark, |last| last.end);
        }
        (mark, settled)
    }

    /// Forgets what is not settled: it will be taken again from the watermark on, unless it cannot be read again. Returns
    /// how much of that is lost, by kind.
    pub(in crate::remote) fn rewind(&mut self) -> [u64; Kind::ALL.len()] {
        let mut lost = [0; Kind::ALL.len()];
        self.first_number = self.first_number.wrapping_add(self.open.len() as u32);
        let mut is_first = true;
        for tally in std::mem::take(&mut self.open) {
            let is_gone = self.is_gone(&tally);
            is_first &= is_gone;
            if is_first {
                (self.watermark, self.before_watermark) = (tally.end, tally.before_end);
            }
            if is_gone {
                if let Some(n) = lost.get_mut(tally.kind as usize) {
                    *n += tally.ledger.pending();
                }
                tally.given_up().add_to(&mut self.settled);
            } else if tally.is_loss {
                tally.add_to(&mut self.settled);
            }
        }
        if !mutant::is_on(Mutant::RewindStaysAhead) {
            self.read = Reached { position: self.watermark.position, samples: self.before_watermark };
        }
        self.is_read = false;
        lost
    }

    /// Whether it cannot be read again.
    fn is_gone(&self, tally: &Tally) -> bool {
        tally.segment < self.gone_before || self.hollow.contains(&tally.segment)
    }
}

impl Reached {
    fn advance(&mut self, end: Position) {
        if end.segment != self.position.segment {
            self.samples = SegmentSamples::default();
        }
        self.position = end;
    }
}

impl Tally {
    /// Exemplars are waited for, and are no samples.
    pub(in crate::remote) fn add_to(&self, ledger: &mut Ledger) {
        if self.kind != Kind::Exemplar {
            ledger.add(&self.ledger);
        }
    }

    /// No one will send what is pending.
    fn given_up(&self) -> Tally {
        let mut tally = *self;
        tally.ledger.settle(Fate::Dropped(DropReason::WalTruncated), self.ledger.pending());
        tally
    }
}
