//! How far an endpoint has come: which records are settled, and the ledger up to there.
//!
//! Shared by the watcher, which takes records, the shards, which settle samples, and the manager, which persists. The
//! rule in one sentence: every sample in a record before the watermark has been acknowledged or deliberately dropped.
//! Samples behind it that are acknowledged already are sent again after a crash, and counted once. Who sends the newest
//! samples first has a backlog beside them: then the log is cut into lanes, each with a watermark of its own, and lanes
//! become one again when the gap between them is settled.

use crate::remote::settle::mark::Mark;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::remote::settle::lane::{LANE_BITS, Lane, Tally};
pub use crate::remote::settle::lane::{LaneId, RecordSeq};
use crate::remote::settle::ledger::{Fate, Kind, Ledger};
use scraped_engine::wal::format::position::Position;
use scraped_engine::wal::gone::{Gone, SegmentSamples};

/// What is lost while the endpoint is away is reported no more often.
const REPORT_PAUSE: Duration = Duration::from_secs(60);

/// Lanes at most; every outage while a backlog is being sent adds one. Beyond, the newest lane is read in order.
const MAX_LANES: usize = 16;

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

/// A part of the log that no one has read yet, older than what is read now.
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
    /// Lost and not reported.
    unreported: u64,
    reported: Option<Instant>,
}

impl Progress {
    /// Starts with what is settled; `before` are the samples of each part's segment up to there.
    pub fn new(saved: &Saved, before: &[SegmentSamples]) -> Self {
        let Saved { mark, ledger, ahead } = saved;
        let first = Ahead { start: 0, mark: *mark, ledger: *ledger };
        let mut state = State { lanes: Vec::new(), last_id: 0, unreported: 0, reported: None };
        let parts = [first].into_iter().chain(ahead.iter().copied());
        for (Ahead { start, mark, ledger }, idx) in parts.zip(0..) {
            state.add_lane(start, mark, ledger, before.get(idx).copied().unwrap_or_default());
        }
        Self(Mutex::new(state))
    }

    /// The newest lane, which has no end, and how far it is read.
    pub fn newest_lane(&self) -> (LaneId, Position) {
        let state = self.0.lock();
        state.lanes.last().map(|lane| (lane.id, lane.read.position)).unwrap_or_default()
    }

    /// A record of `n` items of this kind is being taken; it ends at `end`, and `oldest_ms` is the timestamp of its oldest
    /// sample. `None` if it is counted as lost already.
    pub fn open(
        &self,
        lane: LaneId,
        kind: Kind,
        end: Mark,
        n: u64,
        oldest_ms: Option<i64>,
    ) -> Option<RecordSeq> {
        self.0.lock().lane(lane)?.take(kind, end, n, oldest_ms)
    }

    /// How far a lane is read, or where to go on behind what is gone.
    pub fn read_to(&self, lane: LaneId) -> Option<Position> {
        self.0.lock().lane(lane).map(|lane| lane.read.position)
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
        let mut seqs = seqs.peekable();
        while let Some(seq) = seqs.next() {
            // Most come record by record.
            let n = 1 + std::iter::from_fn(|| seqs.next_if_eq(&seq)).count() as u64;
            state.with(seq, |tally| tally.ledger.settle(fate, n));
        }
        state.advance();
    }

    /// What has gone of the log since it was last looked and is not read is lost; returns how much that is.
    pub fn lose(&self, gone: &Gone, sends_histograms: bool) -> SegmentSamples {
        let mut state = self.0.lock();
        let starts: Vec<u32> = state.lanes.iter().skip(1).map(|lane| lane.start).chain([u32::MAX]).collect();
        let mut lost = SegmentSamples::default();
        for (lane, until) in state.lanes.iter_mut().zip(starts) {
            let of_lane = lane.lose(gone, until, sends_histograms);
            lost.floats += of_lane.floats;
            lost.histograms += of_lane.histograms;
        }
        state.unreported += lost.floats + lost.histograms;
        state.advance();
        lost
    }

    /// Samples lost since the last report, if it is time for one.
    pub fn report_lost(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        let is_soon = state.reported.is_some_and(|last| now.duration_since(last) < REPORT_PAUSE);
        if state.unreported == 0 || is_soon {
            return None;
        }
        state.reported = Some(now);
        Some(std::mem::take(&mut state.unreported))
    }

    /// The first segment that somebody still has to read.
    pub fn needed_from(&self) -> u32 {
        let state = self.0.lock();
        state.lanes.iter().map(|lane| lane.read.position.segment).min().unwrap_or_default()
    }

    /// From segment `start` on, which no one has read yet, the log is a lane of its own; what lies between the last
    /// record read and there is a gap now. `None` if there are too many lanes, or nothing lies between.
    pub fn split(&self, start: u32) -> Option<LaneId> {
        let mut state = self.0.lock();
        let is_behind = state.lanes.last().is_some_and(|newest| newest.read.position.segment < start);
        if !is_behind || state.lanes.len() >= MAX_LANES {
            return None;
        }
        state.add_lane(start, Mark::start_of(start), Ledger::default(), SegmentSamples::default());
        state.lanes.last().map(|lane| lane.id)
    }

    /// The oldest gap that is not read to its end.
    pub fn gap(&self) -> Option<Gap> {
        let state = self.0.lock();
        let pairs = state.lanes.iter().zip(state.lanes.iter().skip(1));
        let mut gaps = pairs.filter(|(lane, _)| !lane.is_read).map(|(lane, next)| Gap {
            lane: lane.id,
            from: lane.read.position,
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

    /// Forgets what is not settled: it will be taken again from the watermarks on. What the log does not have any more is
    /// lost; returns how much that is, in the order of [`Kind::ALL`].
    pub fn rewind(&self) -> [u64; Kind::ALL.len()] {
        let mut state = self.0.lock();
        let mut lost = [0; Kind::ALL.len()];
        for lane in &mut state.lanes {
            lost.iter_mut().zip(lane.rewind()).for_each(|(n, more)| *n += more);
        }
        lost
    }

    /// Bytes of the log that are not settled, when it ends at `end` and a complete segment has as many as `bytes_of` says.
    pub fn lag_bytes(&self, end: Position, bytes_of: impl Fn(u32) -> u64) -> u64 {
        let state = self.0.lock();
        let next_starts = state.lanes.iter().skip(1).map(|lane| Mark::start_of(lane.start).position);
        let ends = next_starts.chain([end]);
        let lag = |(lane, end): (&Lane, Position)| {
            let at = lane.watermark.position;
            let whole: u64 = (at.segment..end.segment).map(&bytes_of).sum();
            (whole + end.offset).saturating_sub(at.offset)
        };
        state.lanes.iter().zip(ends).map(lag).sum()
    }

    /// What is settled, to be remembered: what is pending and is not in the log any more counts as lost, for so it will be
    /// after the next start. Its ledger holds nothing pending.
    pub fn settled(&self) -> Saved {
        let state = self.0.lock();
        let mut parts = state.lanes.iter().map(|lane| {
            let (mark, ledger) = lane.settled_for_good();
            Ahead { start: lane.start, mark, ledger }
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

    /// Timestamp of the oldest sample in a record that is not settled. `None` if none is, or if an older part of the log
    /// is still to be read.
    pub fn oldest_pending_ms(&self) -> Option<i64> {
        let state = self.0.lock();
        let oldest_lane = state.lanes.first()?;
        let waiting = oldest_lane.open.iter().filter(|tally| tally.ledger.pending() > 0);
        waiting.filter_map(|tally| tally.oldest_ms).min()
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
    fn add_lane(&mut self, start: u32, watermark: Mark, settled: Ledger, before: SegmentSamples) {
        loop {
            self.last_id = (self.last_id + 1) % (1 << LANE_BITS);
            if self.lanes.iter().all(|lane| lane.id != self.last_id) {
                break;
            }
        }
        self.lanes.push(Lane::new(self.last_id, start, watermark, settled, before));
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

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
