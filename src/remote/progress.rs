//! How far an endpoint has come: which records are settled, and the ledger up to there.
//!
//! Shared by the watcher, which takes records, the shards, which settle samples, and the manager, which persists. The
//! rule in one sentence: every sample in a record before the watermark has been acknowledged or deliberately dropped.
//! Samples behind it that are acknowledged already are sent again after a crash, and counted once.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::remote::ledger::{Fate, Kind, Ledger};
use crate::wal::writer::Position;

/// A settled place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The end of the last settled record.
    pub position: Position,
    /// Fingerprint of that record; meaningless at the start of a segment.
    pub fingerprint: u32,
}

/// Number of a record among those that are not settled; wraps.
pub type RecordSeq = u32;

/// Progress of one endpoint.
#[derive(Debug)]
pub struct Progress(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Records from the first unsettled one on, up to the last taken.
    open: VecDeque<Tally>,
    first_seq: RecordSeq,
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
    /// Starts at a place that is settled, with the ledger up to there.
    pub fn new(watermark: Mark, settled: Ledger) -> Self {
        Self(Mutex::new(State { open: VecDeque::new(), first_seq: 0, watermark, settled }))
    }

    /// A record of this kind is being taken; it ends at `end`.
    pub fn open(&self, kind: Kind, end: Mark) -> RecordSeq {
        let mut state = self.0.lock();
        let seq = state.first_seq.wrapping_add(state.open.len() as u32);
        state.open.push_back(Tally { end, is_closed: false, kind, ledger: Ledger::default() });
        seq
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
    pub fn pass(&self, end: Mark) {
        let mut state = self.0.lock();
        match state.open.back_mut() {
            // Goes with the record before it.
            Some(last) if last.is_closed => last.end = end,
            Some(_) => {}
            None => state.watermark = end,
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
    pub fn lose(&self, fate: Fate, n: u64) {
        let mut state = self.0.lock();
        let ledger = match state.open.back_mut() {
            Some(last) => &mut last.ledger,
            None => &mut state.settled,
        };
        ledger.taken += n;
        ledger.settle(fate, n);
    }

    /// Forgets what is not settled: it will be taken again from [`Progress::watermark`] on.
    pub fn rewind(&self) {
        let mut state = self.0.lock();
        state.first_seq = state.first_seq.wrapping_add(state.open.len() as u32);
        state.open.clear();
    }

    /// Everything before it is settled.
    pub fn watermark(&self) -> Mark {
        self.0.lock().watermark
    }

    /// The watermark and the ledger up to there, which holds nothing pending.
    pub fn settled(&self) -> (Mark, Ledger) {
        let state = self.0.lock();
        (state.watermark, state.settled)
    }

    /// The ledger of all that was taken.
    pub fn ledger(&self) -> Ledger {
        let state = self.0.lock();
        let mut ledger = state.settled;
        state.open.iter().for_each(|tally| tally.add_to(&mut ledger));
        ledger
    }

    /// Items taken that are neither sent nor dropped, in the order of [`Kind::ALL`].
    pub fn pending(&self) -> [u64; Kind::ALL.len()] {
        let state = self.0.lock();
        let mut pending = [0; Kind::ALL.len()];
        for tally in &state.open {
            if let Some(n) = pending.get_mut(tally.kind as usize) {
                *n += tally.ledger.pending();
            }
        }
        pending
    }
}

impl State {
    fn with(&mut self, seq: RecordSeq, change: impl FnOnce(&mut Tally)) {
        // A record that was rewound has a number from before the first.
        if let Some(tally) = self.open.get_mut(seq.wrapping_sub(self.first_seq) as usize) {
            change(tally);
        }
    }

    fn advance(&mut self) {
        while let Some(tally) = self.open.front() {
            if !tally.is_closed || tally.ledger.pending() > 0 {
                return;
            }
            self.watermark = tally.end;
            tally.add_to(&mut self.settled);
            self.first_seq = self.first_seq.wrapping_add(1);
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
    use super::{Mark, Progress};
    use crate::remote::ledger::{DropReason, Fate, Kind, Ledger};
    use crate::wal::writer::Position;

    fn mark(offset: u64) -> Mark {
        Mark { position: Position { segment: 1, offset }, fingerprint: offset as u32 }
    }

    #[test]
    fn the_watermark_waits_for_the_oldest_record() {
        let progress = Progress::new(mark(0), Ledger::default());
        let first = progress.open(Kind::Float, mark(10));
        progress.take(first, 2);
        progress.close(first);
        let second = progress.open(Kind::Float, mark(20));
        progress.take(second, 1);
        progress.settle([second].into_iter(), Fate::Sent);
        assert_eq!(progress.watermark(), mark(0));
        progress.close(second);
        progress.settle([first].into_iter(), Fate::Sent);
        assert_eq!(progress.watermark(), mark(0));
        assert_eq!((progress.ledger().pending(), progress.settled().1), (1, Ledger::default()));
        progress.settle([first].into_iter(), Fate::Dropped(DropReason::Rejected));
        assert_eq!(progress.watermark(), mark(20));
        let ledger = Ledger { taken: 3, sent: 2, dropped: [0, 0, 1, 0, 0] };
        assert_eq!((progress.ledger(), progress.settled()), (ledger, (mark(20), ledger)));
    }

    #[test]
    fn a_record_being_taken_is_not_settled_however_fast_its_samples_are() {
        let progress = Progress::new(mark(0), Ledger::default());
        let seq = progress.open(Kind::Float, mark(10));
        progress.take(seq, 1);
        progress.settle([seq].into_iter(), Fate::Sent);
        assert_eq!(progress.watermark(), mark(0));
        progress.close(seq);
        assert_eq!(progress.watermark(), mark(10));
    }

    #[test]
    fn records_without_samples_do_not_hold_anything_up() {
        let progress = Progress::new(mark(0), Ledger::default());
        progress.pass(mark(10));
        assert_eq!(progress.watermark(), mark(10));
        let seq = progress.open(Kind::Float, mark(20));
        progress.take(seq, 1);
        progress.close(seq);
        progress.pass(mark(30));
        assert_eq!(progress.watermark(), mark(10));
        progress.settle([seq].into_iter(), Fate::Sent);
        assert_eq!(progress.watermark(), mark(30));
    }

    #[test]
    fn what_is_taken_again_is_counted_once() {
        let progress = Progress::new(mark(0), Ledger::default());
        let lost = progress.open(Kind::Float, mark(10));
        progress.take(lost, 2);
        progress.close(lost);
        progress.settle([lost].into_iter(), Fate::Sent);
        progress.rewind();
        // An answer that comes too late.
        progress.settle([lost].into_iter(), Fate::Sent);
        assert_eq!(progress.ledger(), Ledger::default());
        let again = progress.open(Kind::Float, mark(10));
        progress.take(again, 2);
        progress.close(again);
        progress.settle([again, again].into_iter(), Fate::Sent);
        assert_eq!(progress.settled(), (mark(10), Ledger { taken: 2, sent: 2, dropped: Default::default() }));
    }

    #[test]
    fn exemplars_hold_the_watermark_and_are_no_samples() {
        let progress = Progress::new(mark(0), Ledger::default());
        let histograms = progress.open(Kind::Histogram, mark(10));
        let exemplars = progress.open(Kind::Exemplar, mark(20));
        for seq in [histograms, exemplars] {
            progress.take(seq, 2);
            progress.close(seq);
        }
        assert_eq!(progress.pending(), [0, 2, 2]);
        progress.settle([histograms, histograms, exemplars].into_iter(), Fate::Sent);
        assert_eq!((progress.watermark(), progress.pending()), (mark(10), [0, 0, 1]));
        progress.settle([exemplars].into_iter(), Fate::Dropped(DropReason::TooOld));
        let ledger = Ledger { taken: 2, sent: 2, ..Ledger::default() };
        assert_eq!((progress.ledger(), progress.settled()), (ledger, (mark(20), ledger)));
    }
}
