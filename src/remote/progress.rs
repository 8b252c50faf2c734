//! How far an endpoint has come: which records are settled, and the ledger up to there.
//!
//! Shared by the watcher, which takes records, the shards, which settle samples, and the manager, which persists. The
//! rule in one sentence: every sample in a record before the watermark has been acknowledged or deliberately dropped.
//! Samples behind it that are acknowledged already are sent again after a crash, and counted once. Who sends the newest
//! samples first has a backlog beside them: then the log is cut into lanes, each with a watermark of its own, and lanes
//! become one again when the gap between them is settled.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::remote::ledger::{Fate, Kind, Ledger};
use crate::wal::writer::Position;

/// Lanes at most; every outage while a backlog is being sent adds one. Beyond, the newest lane is read in order.
const MAX_LANES: usize = 16;

/// A settled place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The end of the last settled record.
    pub position: Position,
    /// Fingerprint of that record; meaningless at the start of a segment.
    pub fingerprint: u32,
}

impl Mark {
    /// The start of a segment.
    pub fn start_of(segment: u32) -> Self {
        Self { position: Position { segment, offset: 0 }, fingerprint: 0 }
    }
}

/// What is settled of the log, to be remembered over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Everything before it is settled.
    pub mark: Mark,
    /// The ledger up to there.
    pub ledger: Ledger,
    /// What is settled ahead of it, in the order of the log: the newest samples were sent first.
    pub ahead: Vec<Ahead>,
}

/// A settled part of the log that begins behind one that is not settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// It begins with this segment.
    pub start: u32,
    /// Everything from there to here is settled.
    pub mark: Mark,
    /// The ledger of this part.
    pub ledger: Ledger,
}

impl Saved {
    /// The newest place in it.
    pub fn newest(&self) -> Position {
        self.ahead.last().map_or(self.mark, |ahead| ahead.mark).position
    }

    /// The ends of its parts.
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        [self.mark].into_iter().chain(self.ahead.iter().map(|ahead| ahead.mark))
    }

    /// The ledger of all parts.
    pub fn total(&self) -> Ledger {
        let mut total = self.ledger;
        self.ahead.iter().for_each(|ahead| total.add(&ahead.ledger));
        total
    }
}

/// Bits of a record's number that name its lane: twice as many names as lanes.
const LANE_BITS: u32 = 5;

/// Bits that count records of a lane; they wrap. So many unsettled records do not fit into any memory.
const NUMBER_BITS: u32 = 32 - LANE_BITS;

/// Names a lane; used again when the lane is long gone.
pub type LaneId = u8;

/// A record that is not settled: its lane, and its number there, in the four bytes that every item carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordSeq(u32);

impl RecordSeq {
    fn new(lane: LaneId, number: u32) -> Self {
        Self(u32::from(lane) << NUMBER_BITS | number & ((1 << NUMBER_BITS) - 1))
    }

    fn lane(self) -> LaneId {
        (self.0 >> NUMBER_BITS) as LaneId
    }

    /// Records of its lane between number `first` and this one.
    fn distance(self, first: u32) -> usize {
        (self.0.wrapping_sub(first) & ((1 << NUMBER_BITS) - 1)) as usize
    }
}

/// A part of the log that nobody has read yet, older than what is read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its lane.
    pub lane: LaneId,
    /// Where to begin.
    pub from: Position,
    /// The segment in front of which it ends.
    pub until: u32,
}

/// Progress of one endpoint.
#[derive(Debug)]
pub struct Progress(Mutex<State>);

#[derive(Debug)]
struct State {
    /// In the order of the log, never empty. A lane ends where the next one starts; the last one does not end.
    lanes: Vec<Lane>,
    last_id: LaneId,
}

#[derive(Debug, Default)]
struct Lane {
    id: LaneId,
    /// Its first segment; without a meaning for the first lane.
    start: u32,
    /// Records from the first unsettled one on, up to the last taken.
    open: VecDeque<Tally>,
    first_number: u32,
    /// The end of the last record taken.
    read: Position,
    /// No more of it will be read.
    is_read: bool,
    watermark: Mark,
    /// Up to the watermark: nothing in it is pending.
    settled: Ledger,
}

#[derive(Clone, Copy, Debug)]
struct Tally {
    end: Mark,
    /// The record is complete: no further sample of it will be taken.
    is_closed: bool,
    /// Of all that it holds.
    kind: Kind,
    ledger: Ledger,
}

impl Progress {
    /// Starts with what is settled.
    pub fn new(saved: &Saved) -> Self {
        let Saved { mark, ledger, ahead } = saved;
        let first = Ahead { start: 0, mark: *mark, ledger: *ledger };
        let mut state = State { lanes: Vec::new(), last_id: 0 };
        for Ahead { start, mark, ledger } in [first].into_iter().chain(ahead.iter().copied()) {
            state.add_lane(start, mark, ledger);
        }
        Self(Mutex::new(state))
    }

    /// The newest lane, which has no end, and how far it is read.
    pub fn newest_lane(&self) -> (LaneId, Position) {
        let state = self.0.lock();
        state.lanes.last().map(|lane| (lane.id, lane.read)).unwrap_or_default()
    }

    /// A record of this kind is being taken; it ends at `end`.
    pub fn open(&self, lane: LaneId, kind: Kind, end: Mark) -> RecordSeq {
        let mut state = self.0.lock();
        let Some(lane) = state.lane(lane) else { return RecordSeq::default() };
        let number = lane.first_number.wrapping_add(lane.open.len() as u32);
        lane.open.push_back(Tally { end, is_closed: false, kind, ledger: Ledger::default() });
        lane.read = end.position;
        RecordSeq::new(lane.id, number)
    }

    /// `n` samples of the record are taken.
    pub fn take(&self, seq: RecordSeq, n: u64) {
        self.0.lock().with(seq, |tally| tally.ledger.taken += n);
    }

    /// No more samples of the record will be taken.
    pub fn close(&self, seq: RecordSeq) {
        let mut state = self.0.lock();
        state.with(seq, |tally| tally.is_closed = true);
        state.advance();
    }

    /// A record without samples, or one that cannot be read: passed over.
    pub fn pass(&self, lane: LaneId, end: Mark) {
        let mut state = self.0.lock();
        if let Some(lane) = state.lane(lane) {
            lane.pass(end);
        }
    }

    /// Samples of these records, taken before, have met their fate.
    pub fn settle(&self, seqs: impl Iterator<Item = RecordSeq>, fate: Fate) {
        let mut state = self.0.lock();
        for seq in seqs {
            state.with(seq, |tally| tally.ledger.settle(fate, 1));
        }
        state.advance();
    }

    /// Samples that were never taken from the log are gone: the reader jumped.
    pub fn lose(&self, lane: LaneId, fate: Fate, n: u64) {
        let mut state = self.0.lock();
        let Some(lane) = state.lane(lane) else { return };
        let ledger = match lane.open.back_mut() {
            Some(last) => &mut last.ledger,
            None => &mut lane.settled,
        };
        ledger.taken += n;
        ledger.settle(fate, n);
    }

    /// From segment `start` on, which nobody has read yet, the log is a lane of its own; what lies between the last
    /// record read and there is a gap now. `None` if there are too many lanes, or nothing lies between.
    pub fn split(&self, start: u32) -> Option<LaneId> {
        let mut state = self.0.lock();
        let is_behind = state.lanes.last().is_some_and(|newest| newest.read.segment < start);
        if !is_behind || state.lanes.len() >= MAX_LANES {
            return None;
        }
        state.add_lane(start, Mark::start_of(start), Ledger::default());
        state.lanes.last().map(|lane| lane.id)
    }

    /// The oldest gap that is not read to its end.
    pub fn gap(&self) -> Option<Gap> {
        let state = self.0.lock();
        let pairs = state.lanes.iter().zip(state.lanes.iter().skip(1));
        let mut gaps = pairs.filter(|(lane, _)| !lane.is_read).map(|(lane, next)| Gap {
            lane: lane.id,
            from: lane.read,
            until: next.start,
        });
        gaps.next()
    }

    /// The gap's reader has come to its end.
    pub fn finish(&self, gap: Gap) {
        let mut state = self.0.lock();
        if let Some(lane) = state.lane(gap.lane) {
            lane.is_read = true;
            lane.pass(Mark::start_of(gap.until));
        }
        state.advance();
    }

    /// Whether a part of the log is sent ahead of an older one.
    pub fn is_split(&self) -> bool {
        self.0.lock().lanes.len() > 1
    }

    /// Forgets what is not settled: it will be taken again from the watermarks on.
    pub fn rewind(&self) {
        let mut state = self.0.lock();
        for lane in &mut state.lanes {
            lane.first_number = lane.first_number.wrapping_add(lane.open.len() as u32);
            lane.open.clear();
            lane.read = lane.watermark.position;
            lane.is_read = false;
        }
    }

    /// Bytes of the log that are not settled, when it ends at `end`; each segment counted as `segment_bytes`.
    pub fn lag_bytes(&self, end: Position, segment_bytes: u64) -> u64 {
        let state = self.0.lock();
        let next_starts = state.lanes.iter().skip(1).map(|lane| Mark::start_of(lane.start).position);
        let ends = next_starts.chain([end]);
        let lag = |(lane, end): (&Lane, Position)| {
            let at = lane.watermark.position;
            let whole = u64::from(end.segment.saturating_sub(at.segment)) * segment_bytes;
            (whole + end.offset).saturating_sub(at.offset)
        };
        state.lanes.iter().zip(ends).map(lag).sum()
    }

    /// What is settled; its ledger holds nothing pending.
    pub fn settled(&self) -> Saved {
        let state = self.0.lock();
        let mut parts = state.lanes.iter().map(|lane| Ahead {
            start: lane.start,
            mark: lane.watermark,
            ledger: lane.settled,
        });
        let Ahead { mark, ledger, .. } = parts.next().unwrap_or_default();
        Saved { mark, ledger, ahead: parts.collect() }
    }

    /// The ledger of all that was taken.
    pub fn ledger(&self) -> Ledger {
        let state = self.0.lock();
        let mut ledger = Ledger::default();
        for lane in &state.lanes {
            ledger.add(&lane.settled);
            lane.open.iter().for_each(|tally| tally.add_to(&mut ledger));
        }
        ledger
    }

    /// Items taken that are neither sent nor dropped, in the order of [`Kind::ALL`].
    pub fn pending(&self) -> [u64; Kind::ALL.len()] {
        let state = self.0.lock();
        let mut pending = [0; Kind::ALL.len()];
        for tally in state.lanes.iter().flat_map(|lane| &lane.open) {
            if let Some(n) = pending.get_mut(tally.kind as usize) {
                *n += tally.ledger.pending();
            }
        }
        pending
    }
}

impl State {
    fn add_lane(&mut self, start: u32, watermark: Mark, settled: Ledger) {
        loop {
            self.last_id = (self.last_id + 1) % (1 << LANE_BITS);
            if self.lanes.iter().all(|lane| lane.id != self.last_id) {
                break;
            }
        }
        let read = watermark.position;
        self.lanes.push(Lane { id: self.last_id, start, read, watermark, settled, ..Lane::default() });
    }

    fn lane(&mut self, id: LaneId) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.id == id)
    }

    fn with(&mut self, seq: RecordSeq, change: impl FnOnce(&mut Tally)) {
        // A record that was rewound has a number from before the first.
        if let Some(lane) = self.lane(seq.lane())
            && let Some(tally) = lane.open.get_mut(seq.distance(lane.first_number))
        {
            change(tally);
        }
    }

    fn advance(&mut self) {
        self.lanes.iter_mut().for_each(Lane::advance);
        let mut idx = 0;
        while idx + 1 < self.lanes.len() {
            let Some(done) = self.lanes.get(idx).filter(|lane| lane.is_read && lane.open.is_empty()) else {
                idx += 1;
                continue;
            };
            // The gap behind it is closed: the next lane begins where it did.
            let (start, settled) = (done.start, done.settled);
            if let Some(next) = self.lanes.get_mut(idx + 1) {
                next.start = start;
                next.settled.add(&settled);
            }
            self.lanes.remove(idx);
        }
    }
}

impl Lane {
    fn pass(&mut self, end: Mark) {
        self.read = end.position;
        match self.open.back_mut() {
            // Goes with the record before it.
            Some(last) if last.is_closed => last.end = end,
            Some(_) => {}
            None => self.watermark = end,
        }
    }

    fn advance(&mut self) {
        while let Some(tally) = self.open.front() {
            if !tally.is_closed || tally.ledger.pending() > 0 {
                return;
            }
            self.watermark = tally.end;
            tally.add_to(&mut self.settled);
            self.first_number = self.first_number.wrapping_add(1);
            self.open.pop_front();
        }
    }
}

impl Tally {
    /// Exemplars are waited for, and are no samples.
    fn add_to(&self, ledger: &mut Ledger) {
        if self.kind != Kind::Exemplar {
            ledger.add(&self.ledger);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ahead, Gap, Mark, Progress, Saved};
    use crate::remote::ledger::{DropReason, Fate, Kind, Ledger};
    use crate::wal::writer::Position;

    fn mark(offset: u64) -> Mark {
        Mark { position: Position { segment: 1, offset }, fingerprint: offset as u32 }
    }

    fn at_start() -> Progress {
        Progress::new(&Saved { mark: mark(0), ..Saved::default() })
    }

    /// Takes a record of `n` samples that ends at `end`; the fates of its samples come later.
    fn take(progress: &Progress, end: Mark, n: u64) -> super::RecordSeq {
        let seq = progress.open(progress.newest_lane().0, Kind::Float, end);
        progress.take(seq, n);
        progress.close(seq);
        seq
    }

    fn all_sent(n: u64) -> Ledger {
        Ledger { taken: n, sent: n, ..Ledger::default() }
    }

    #[test]
    fn the_watermark_waits_for_the_oldest_record() {
        let progress = at_start();
        let first = take(&progress, mark(10), 2);
        let second = progress.open(first.lane(), Kind::Float, mark(20));
        progress.take(second, 1);
        progress.settle([second].into_iter(), Fate::Sent);
        assert_eq!(progress.settled().mark, mark(0));
        progress.close(second);
        progress.settle([first].into_iter(), Fate::Sent);
        assert_eq!(progress.settled().mark, mark(0));
        assert_eq!((progress.ledger().pending(), progress.settled().ledger), (1, Ledger::default()));
        progress.settle([first].into_iter(), Fate::Dropped(DropReason::Rejected));
        let mut ledger = Ledger { taken: 3, sent: 2, ..Ledger::default() };
        ledger.dropped[DropReason::Rejected as usize] = 1;
        assert_eq!(progress.settled(), Saved { mark: mark(20), ledger, ahead: Vec::new() });
        assert_eq!(progress.ledger(), ledger);
    }

    #[test]
    fn a_record_being_taken_is_not_settled_however_fast_its_samples_are() {
        let progress = at_start();
        let seq = progress.open(progress.newest_lane().0, Kind::Float, mark(10));
        progress.take(seq, 1);
        progress.settle([seq].into_iter(), Fate::Sent);
        assert_eq!(progress.settled().mark, mark(0));
        progress.close(seq);
        assert_eq!(progress.settled().mark, mark(10));
    }

    #[test]
    fn records_without_samples_do_not_hold_anything_up() {
        let progress = at_start();
        let (lane, _) = progress.newest_lane();
        progress.pass(lane, mark(10));
        assert_eq!(progress.settled().mark, mark(10));
        let seq = take(&progress, mark(20), 1);
        progress.pass(lane, mark(30));
        assert_eq!(progress.settled().mark, mark(10));
        progress.settle([seq].into_iter(), Fate::Sent);
        assert_eq!(progress.settled().mark, mark(30));
    }

    #[test]
    fn what_is_taken_again_is_counted_once() {
        let progress = at_start();
        let lost = take(&progress, mark(10), 2);
        progress.settle([lost].into_iter(), Fate::Sent);
        progress.rewind();
        // An answer that comes too late.
        progress.settle([lost].into_iter(), Fate::Sent);
        assert_eq!(progress.ledger(), Ledger::default());
        let again = take(&progress, mark(10), 2);
        progress.settle([again, again].into_iter(), Fate::Sent);
        assert_eq!(progress.settled(), Saved { mark: mark(10), ledger: all_sent(2), ahead: Vec::new() });
    }

    #[test]
    fn exemplars_hold_the_watermark_and_are_no_samples() {
        let progress = at_start();
        let (lane, _) = progress.newest_lane();
        let histograms = progress.open(lane, Kind::Histogram, mark(10));
        let exemplars = progress.open(lane, Kind::Exemplar, mark(20));
        for seq in [histograms, exemplars] {
            progress.take(seq, 2);
            progress.close(seq);
        }
        assert_eq!(progress.pending(), [0, 2, 2]);
        progress.settle([histograms, histograms, exemplars].into_iter(), Fate::Sent);
        assert_eq!((progress.settled().mark, progress.pending()), (mark(10), [0, 0, 1]));
        progress.settle([exemplars].into_iter(), Fate::Dropped(DropReason::TooOld));
        let saved = Saved { mark: mark(20), ledger: all_sent(2), ahead: Vec::new() };
        assert_eq!((progress.ledger(), progress.settled()), (all_sent(2), saved));
    }

    #[test]
    fn numbers_of_records_wrap() {
        let progress = at_start();
        progress.0.lock().lanes[0].first_number = (1 << super::NUMBER_BITS) - 1;
        let before = take(&progress, mark(10), 1);
        let behind = take(&progress, mark(20), 1);
        progress.settle([behind].into_iter(), Fate::Sent);
        assert_eq!(progress.settled().mark, mark(0));
        progress.settle([before].into_iter(), Fate::Sent);
        assert_eq!(progress.settled().mark, mark(20));
    }

    #[test]
    fn a_gap_keeps_its_watermark_until_it_is_settled() {
        let progress = at_start();
        let in_flight = take(&progress, mark(10), 1);
        assert_eq!(progress.split(1), None, "nothing lies between");
        let fresh = progress.split(5).unwrap();
        let gap = Gap { lane: in_flight.lane(), from: mark(10).position, until: 5 };
        assert_eq!(progress.gap(), Some(gap));
        assert_eq!(progress.newest_lane(), (fresh, Position { segment: 5, offset: 0 }));
        let newest = Mark { position: Position { segment: 6, offset: 7 }, fingerprint: 9 };
        let sent = take(&progress, newest, 3);
        progress.settle([sent, sent, sent].into_iter(), Fate::Sent);
        let ahead = Ahead { start: 5, mark: newest, ledger: all_sent(3) };
        let saved = Saved { mark: mark(0), ledger: Ledger::default(), ahead: vec![ahead] };
        assert_eq!(progress.settled(), saved);
        assert_eq!((saved.newest(), saved.total()), (newest.position, all_sent(3)));
        // Four segments from the watermark on, and nothing behind the newest.
        assert_eq!(progress.lag_bytes(newest.position, 100), 400);

        // As after a kill: the same from what was remembered.
        let progress = Progress::new(&saved);
        assert_eq!(progress.settled(), saved);
        assert_eq!(progress.newest_lane().1, newest.position);
        let gap = progress.gap().unwrap();
        assert_eq!((gap.from, gap.until), (mark(0).position, 5));
        let old = progress.open(gap.lane, Kind::Float, mark(10));
        progress.take(old, 2);
        progress.close(old);
        progress.finish(gap);
        assert_eq!(progress.gap(), None);
        progress.settle([old].into_iter(), Fate::Sent);
        assert!(progress.is_split());
        assert_eq!(progress.settled(), saved);
        progress.settle([old].into_iter(), Fate::Sent);
        assert!(!progress.is_split());
        assert_eq!(progress.settled(), Saved { mark: newest, ledger: all_sent(5), ahead: Vec::new() });
    }

    #[test]
    fn gaps_close_in_any_order_and_are_bounded() {
        let progress = at_start();
        while progress.split(10 * progress.settled().ahead.len() as u32 + 10).is_some() {}
        assert_eq!(progress.settled().ahead.len(), super::MAX_LANES - 1);
        let first = progress.gap().unwrap();
        assert_eq!((first.from, first.until), (mark(0).position, 10));
        // The second one is done before the first.
        let second = Gap { lane: first.lane + 1, from: Mark::start_of(10).position, until: 20 };
        progress.finish(second);
        let ahead = progress.settled().ahead;
        assert_eq!(
            (ahead.len(), ahead[0].start, ahead[0].mark),
            (super::MAX_LANES - 2, 10, Mark::start_of(20))
        );
        while let Some(gap) = progress.gap() {
            progress.finish(gap);
        }
        assert_eq!(progress.settled(), Saved { mark: Mark::start_of(150), ..Saved::default() });
    }
}
