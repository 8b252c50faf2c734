//! What must have become of every sample, kept beside the box and compared with it after each event.
//!
//! A sample that was committed waits in the log, is on its way, or has met its fate: sent, refused, or lost and counted.
//! The ledger knows which by what went in and what came out, and by no word of the program but the places of records.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use scraped::remote::settle::ledger::DropReason;
use scraped_engine::wal::format::position::Position;
use scraped_engine::wal::gone::Gone;

use super::endpoint::Endpoint;
use super::reading::Read;
use super::samples::{N_SERIES, Sample};

/// Commits that are settled and saved are known for as long: none of them may come again.
const KEPT_COMMITS: usize = 400;

/// Where a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the log, behind what was read.
    Waiting,
    /// In a request.
    OnItsWay,
    /// Acknowledged.
    Sent,
    /// Refused for good.
    Refused,
    /// Gone, and counted.
    Lost,
}

impl State {
    fn is_settled(self) -> bool {
        !matches!(self, State::Waiting | State::OnItsWay)
    }
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// The endpoint has had it.
    has_arrived: bool,
    /// It has arrived since the endpoint was begun.
    is_here: bool,
    /// Its answer was lost, or not remembered.
    may_come_again: bool,
}

#[derive(Debug)]
struct Commit {
    number: u64,
    ts_ms: i64,
    end: Position,
    /// When it was committed, by the monotonic clock in milliseconds.
    at_ms: u64,
    /// By the series' numbers; the others were left out.
    entries: BTreeMap<usize, Entry>,
}

impl Commit {
    fn is_settled(&self) -> bool {
        self.entries.values().all(|entry| entry.state.is_settled())
    }
}

/// Samples that met their fate since the endpoint was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    sent: i64,
    refused: i64,
    lost: i64,
}

impl Counts {
    fn of(endpoint: &Endpoint) -> Counts {
        let ledger = endpoint.progress().ledger();
        let dropped = |reason: DropReason| ledger.dropped[reason as usize] as i64;
        Counts {
            sent: ledger.sent as i64,
            refused: dropped(DropReason::Rejected),
            lost: dropped(DropReason::WalTruncated),
        }
    }
}

/// All samples of a box.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// In the order of the log.
    commits: VecDeque<Commit>,
    /// Where each is, by its timestamp.
    number_at: BTreeMap<i64, u64>,
    n_committed: u64,
    /// All before this one are settled.
    first_open: u64,
    n_on_their_way: u64,
    counts: Counts,
    counts_at_begin: Counts,
    /// The last sample of each series that has arrived since the endpoint was begun, by its commit.
    last_arrived: [u64; N_SERIES],
    /// Segments before this one are known to be gone, and so are these.
    gone_before: u32,
    gone: BTreeSet<u32>,
    /// Commits of the process before that were in memory alone, if the disk did what it said.
    in_doubt: VecDeque<Commit>,
    /// Lost in all, whoever counted it.
    pub(super) n_lost: u64,
}

impl Ledger {
    /// These samples were committed.
    pub(super) fn committed(&mut self, ts_ms: i64, series: Vec<usize>, end: Position, at_ms: u64) {
        assert!(
            self.commits.back().is_none_or(|last| last.end < end),
            "{end:?} is not behind the commit before"
        );
        self.n_committed += 1;
        let new = |idx| {
            (idx, Entry { state: State::Waiting, has_arrived: false, is_here: false, may_come_again: false })
        };
        let entries = series.into_iter().map(new).collect();
        self.commits.push_back(Commit { number: self.n_committed, ts_ms, end, at_ms, entries });
        self.number_at.insert(ts_ms, self.n_committed);
    }

    /// A record was read that ends at `end`.
    pub(super) fn read(&mut self, end: Position, samples: &[Sample]) {
        let is_in_part = self.gone.contains(&end.segment);
        for sample in samples {
            let entry = self.entry(*sample);
            entry.may_come_again |= is_in_part;
            let is_awaited = entry.state == State::Waiting
                || entry.state == State::Lost && entry.may_come_again
                || is_in_part && entry.state.is_settled();
            assert!(is_awaited, "{sample:?} is read again: {entry:?}");
            entry.state = State::OnItsWay;
            self.first_open = self.first_open.min(self.number_at.get(&sample.0).copied().unwrap_or(u64::MAX));
        }
        self.n_on_their_way += samples.len() as u64;
        self.reached(Position { offset: end.offset.saturating_sub(1), ..end });
    }

    /// The endpoint goes on behind `position`: nothing waits before.
    fn reached(&mut self, position: Position) {
        let first_open = self.first_open;
        for commit in self.commits.iter().skip_while(|commit| commit.number < first_open) {
            if commit.end > position {
                break;
            }
            for (idx, entry) in &commit.entries {
                let sample = (commit.ts_ms, *idx);
                assert!(
                    entry.state != State::Waiting,
                    "{sample:?} up to {:?} was passed over at {position:?}",
                    commit.end
                );
            }
        }
    }

    /// The endpoint has learnt what has gone, with `n_lost` samples that it had not read, and goes on at `position`.
    pub(super) fn lost(&mut self, gone: &Gone, n_lost: u64, position: Position) {
        let is_gone = |commit: &Commit| gone.segments.contains_key(&commit.end.segment);
        let n_expected = self.lose_where(|commit, state| state == State::Waiting && is_gone(commit));
        assert_eq!(n_lost, n_expected, "samples are lost and counted; {gone:?}");
        self.counts.lost += n_lost as i64;
        self.gone_before = self.gone_before.max(gone.before);
        self.gone.extend(gone.segments.keys());
        // Of what had to leave the memory a part may be on the disk: it is read yet, and counted twice.
        let in_part = self.commits.iter_mut().filter(|commit| commit.end.segment >= gone.before);
        for commit in in_part.filter(|commit| gone.segments.contains_key(&commit.end.segment)) {
            commit.entries.values_mut().for_each(|entry| entry.may_come_again |= entry.state == State::Lost);
        }
        self.reached(position);
    }

    fn lose_where(&mut self, is_it: impl Fn(&Commit, State) -> bool) -> u64 {
        let mut n_lost = 0;
        let mut commits = std::mem::take(&mut self.commits);
        for commit in commits.iter_mut().skip_while(|commit| commit.number < self.first_open) {
            let lost: Vec<usize> = commit
                .entries
                .iter()
                .filter(|(_, entry)| is_it(commit, entry.state))
                .map(|(idx, _)| *idx)
                .collect();
            for idx in lost {
                n_lost += 1;
                if let Some(entry) = commit.entries.get_mut(&idx) {
                    self.n_on_their_way -= u64::from(entry.state == State::OnItsWay);
                    entry.state = State::Lost;
                }
            }
        }
        self.commits = commits;
        self.n_lost += n_lost;
        n_lost
    }

    /// A request has reached the endpoint.
    pub(super) fn arrived(&mut self, samples: &[Sample]) {
        for sample in samples {
            let number = self.number_at.get(&sample.0).copied().unwrap_or_default();
            let last = self.last_arrived[sample.1];
            let entry = self.entry(*sample);
            assert!(entry.state == State::OnItsWay, "{sample:?} was sent without being read: {entry:?}");
            assert!(!entry.has_arrived || entry.may_come_again, "{sample:?} comes twice: {entry:?}");
            // Each scrape has others of the first two.
            assert!(entry.is_here || sample.1 < 2 || last < number, "{sample:?} comes behind what is newer");
            (entry.has_arrived, entry.is_here, entry.may_come_again) = (true, true, false);
            self.last_arrived[sample.1] = last.max(number);
        }
    }

    /// Their answer is lost.
    pub(super) fn unanswered(&mut self, samples: &[Sample]) {
        samples.iter().for_each(|sample| self.entry(*sample).may_come_again = true);
    }

    /// They are acknowledged.
    pub(super) fn sent(&mut self, samples: &[Sample]) {
        self.settled(samples, State::Sent);
        self.counts.sent += samples.len() as i64;
    }

    /// They are refused.
    pub(super) fn refused(&mut self, samples: &[Sample]) {
        self.settled(samples, State::Refused);
        self.counts.refused += samples.len() as i64;
    }

    fn settled(&mut self, samples: &[Sample], state: State) {
        samples.iter().for_each(|sample| self.entry(*sample).state = state);
        self.n_on_their_way -= samples.len() as u64;
    }

    /// The endpoint reads again from `position` on; with what was on its way, `n_lost` samples are lost.
    pub(super) fn rewound(&mut self, position: Position, n_lost: u64) {
        let gone = std::mem::take(&mut self.gone);
        let is_gone = |commit: &Commit| commit.end <= position || gone.contains(&commit.end.segment);
        let is_lost = |commit: &Commit, state| state == State::OnItsWay && is_gone(commit);
        assert_eq!(n_lost, self.lose_where(is_lost), "samples on their way are lost and counted");
        self.gone = gone;
        self.counts.lost += n_lost as i64;
        self.go_back(position);
    }

    /// What is behind `position` waits again.
    fn go_back(&mut self, position: Position) {
        self.last_arrived = [0; N_SERIES];
        let behind = self.commits.iter_mut().rev().take_while(|commit| commit.end > position);
        for commit in behind.filter(|commit| !self.gone.contains(&commit.end.segment)) {
            self.first_open = self.first_open.min(commit.number);
            for entry in commit.entries.values_mut() {
                match entry.state {
                    State::Sent => self.counts.sent -= 1,
                    State::Refused => self.counts.refused -= 1,
                    State::OnItsWay => self.n_on_their_way -= 1,
                    State::Waiting | State::Lost => continue,
                }
                entry.state = State::Waiting;
                entry.may_come_again = true;
            }
        }
        self.commits
            .iter_mut()
            .flat_map(|commit| commit.entries.values_mut())
            .for_each(|entry| entry.is_here = false);
    }

    /// The process ends: what `is_only_in_memory` says is lost if it was not settled, and the log had counted what is in
    /// `gone`. How much of it was lost with the memory.
    pub(super) fn killed(&mut self, is_only_in_memory: impl Fn(Position) -> bool, gone: &Gone) -> u64 {
        let is_counted = |commit: &Commit| gone.segments.contains_key(&commit.end.segment);
        self.lose_where(|commit, state| !state.is_settled() && is_counted(commit));
        let n_lost = self.lose_where(|commit, state| !state.is_settled() && is_only_in_memory(commit.end));
        // Their places will be those of others.
        self.in_doubt.clear();
        while self.commits.back().is_some_and(|commit| is_only_in_memory(commit.end)) {
            let popped = self.forget(VecDeque::pop_back);
            self.in_doubt.extend(popped);
        }
        for commit in self.commits.iter_mut().filter(|commit| is_counted(commit)) {
            for entry in commit.entries.values_mut() {
                // A part of its segment may be on the disk.
                (entry.state, entry.may_come_again) = (State::Lost, true);
            }
        }
        n_lost
    }

    /// A start behind a bad disk has found these records, and reads on at `position`: what was given up with a segment that
    /// could not be removed is there again, and so is what the disk had refused and kept.
    pub(super) fn found(&mut self, records: &[Read], position: Position) {
        let behind = records.iter().filter(|read| read.end.position > position);
        for read in behind.filter(|read| !read.samples.is_empty()) {
            let ts_ms = read.samples[0].0;
            if let Some(idx) = self.in_doubt.iter().position(|commit| commit.ts_ms == ts_ms)
                && let Some(mut commit) = self.in_doubt.remove(idx)
            {
                commit.end = read.end.position;
                self.number_at.insert(ts_ms, commit.number);
                self.commits.push_back(commit);
            }
            let number = self.number_at.get(&ts_ms).copied().unwrap_or(u64::MAX);
            for sample in &read.samples {
                let entry = self.entry(*sample);
                if entry.state == State::Lost {
                    (entry.state, entry.may_come_again) = (State::Waiting, true);
                    self.first_open = self.first_open.min(number);
                }
            }
        }
    }

    /// A start has written the log again, with these records: whatever is in it may come again.
    pub(super) fn written_again(&mut self, records: &[Read]) {
        let place_of = |read: &Read| read.samples.first().map(|(ts_ms, _)| (*ts_ms, read.end.position));
        let places: BTreeMap<i64, Position> = records.iter().filter_map(place_of).collect();
        let is_left = |commit: &Commit| places.contains_key(&commit.ts_ms);
        let n_missing = self.lose_where(|commit, state| !state.is_settled() && !is_left(commit));
        assert_eq!(n_missing, 0, "samples are missing in a log that was written again");
        self.commits.retain(is_left);
        self.number_at.retain(|ts_ms, _| places.contains_key(ts_ms));
        for commit in &mut self.commits {
            commit.end = places[&commit.ts_ms];
            commit.entries.values_mut().for_each(|entry| entry.may_come_again = true);
        }
        assert!(
            self.commits.iter().is_sorted_by_key(|commit| commit.end),
            "a log was written again in another order"
        );
    }

    /// The next process goes on at `position`, and the log begins with segment `oldest`; it has yet to count what is in `gone`.
    pub(super) fn restarted(&mut self, endpoint: &Endpoint, position: Position, oldest: u32, gone: &Gone) {
        // What had to go was counted by the log, and perhaps not remembered.
        let is_over =
            |commit: &Commit| commit.end.segment < oldest && !gone.segments.contains_key(&commit.end.segment);
        self.lose_where(|commit, state| !state.is_settled() && is_over(commit));
        self.reached(position);
        self.gone.clear();
        self.go_back(position);
        self.lose_where(|commit, state| state == State::Waiting && is_over(commit));
        let is_counted_again = |commit: &&mut Commit| commit.end > position && commit.end.segment < oldest;
        for commit in self.commits.iter_mut().filter(is_counted_again).filter(|commit| !is_over(commit)) {
            self.first_open = self.first_open.min(commit.number);
            commit.entries.values_mut().for_each(|entry| entry.state = State::Waiting);
        }
        self.counts = Counts::default();
        self.counts_at_begin = Counts::of(endpoint);
        self.gone_before = 0;
    }

    /// Compares all that the endpoint says of itself.
    pub(super) fn check(&mut self, endpoint: &Endpoint) {
        let Counts { sent, refused, lost } = Counts::of(endpoint);
        let begin = self.counts_at_begin;
        let counted =
            Counts { sent: sent - begin.sent, refused: refused - begin.refused, lost: lost - begin.lost };
        assert_eq!(counted, self.counts, "what the endpoint has counted is not what happened");
        assert_eq!(endpoint.progress().pending()[0], self.n_on_their_way, "what is on its way is miscounted");
        let settled = endpoint.progress().settled().mark.position;
        let mut idx = self.commits.partition_point(|commit| commit.number < self.first_open);
        while let Some(commit) = self.commits.get(idx).filter(|commit| commit.is_settled()) {
            let end = commit.end;
            // What is lost needs no place to be known by.
            let is_lost = commit.entries.values().all(|entry| entry.state == State::Lost);
            assert!(
                is_lost || end <= settled,
                "all is settled up to {end:?}, and no more than {settled:?} is remembered"
            );
            idx += 1;
        }
        let open = self.commits.get(idx);
        self.first_open = open.map_or(self.n_committed + 1, |commit| commit.number);
        // What has gone is not read again, wherever that begins.
        let is_there = |segment| segment >= self.gone_before && !self.gone.contains(&segment);
        if let Some(open) = open.filter(|commit| is_there(commit.end.segment)) {
            assert!(settled < open.end, "{} is not settled, and {settled:?} is: {open:?}", open.ts_ms);
        }
    }

    /// What is not settled of segments before `oldest`: how many samples.
    pub(super) fn open_before(&self, oldest: u32) -> usize {
        let open = self.commits.iter().skip_while(|commit| commit.number < self.first_open);
        let gone = open.take_while(|commit| commit.end.segment < oldest);
        gone.flat_map(|commit| commit.entries.values()).filter(|entry| !entry.state.is_settled()).count()
    }

    /// Timestamp of the newest sample in segments before `oldest`, in milliseconds.
    pub(super) fn newest_before(&self, oldest: u32) -> Option<i64> {
        self.commits.iter().take_while(|commit| commit.end.segment < oldest).last().map(|commit| commit.ts_ms)
    }

    /// When the first commit was made of those that are not settled and that `is_it` says of the end, in milliseconds.
    pub(super) fn oldest_open(&self, is_it: impl Fn(Position) -> bool) -> Option<u64> {
        let open = self.commits.iter().skip_while(|commit| commit.number < self.first_open);
        open.filter(|commit| !commit.is_settled()).find(|commit| is_it(commit.end)).map(|commit| commit.at_ms)
    }

    /// Samples that wait or are on their way.
    pub(super) fn n_open(&self) -> usize {
        self.open_before(u32::MAX)
    }

    /// What is settled up to `saved` comes never again, and is forgotten in the end.
    pub(super) fn saved(&mut self, saved: Position) {
        while self.commits.len() > KEPT_COMMITS
            && self.commits.front().is_some_and(|commit| commit.is_settled() && commit.end <= saved)
        {
            self.forget(VecDeque::pop_front);
        }
    }

    fn forget(&mut self, pop: impl Fn(&mut VecDeque<Commit>) -> Option<Commit>) -> Option<Commit> {
        let commit = pop(&mut self.commits)?;
        self.number_at.remove(&commit.ts_ms);
        Some(commit)
    }

    fn entry(&mut self, sample: Sample) -> &mut Entry {
        let number = self.number_at.get(&sample.0).copied();
        let found =
            number.and_then(|number| self.commits.binary_search_by_key(&number, |commit| commit.number).ok());
        let entry = found.and_then(|idx| self.commits.get_mut(idx)?.entries.get_mut(&sample.1));
        entry.unwrap_or_else(|| panic!("{sample:?} was never committed, or comes again"))
    }
}
