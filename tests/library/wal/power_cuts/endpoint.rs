//! An endpoint of a simulated box: its requests are taken and answered when the life's seed says so.
//!
//! Its place, its progress and what is saved of it are the program's own; the wire, and the threads, are not.

use std::collections::VecDeque;

use scraped::remote::read::claims::Claim;
use scraped::remote::settle::ledger::{Fate, Kind};
use scraped::remote::settle::position::Positions;
use scraped::remote::settle::progress::{Progress, RecordSeq};
use scraped::remote::settle::saved_position::SavedPosition;
use scraped_engine::wal::follow::{Ended, Follower};
use scraped_engine::wal::format::position::Position;
use scraped_engine::wal::head::Wal;

use super::reading;
use super::samples::Sample;

/// As `remote_write` distinguishes endpoints.
pub(super) const URL: &str = "http://127.0.0.1:9090/api/v1/write";

/// Series are dealt out to these.
pub(super) const N_SHARDS: usize = 3;

/// A request holds no more samples.
pub(super) const REQUEST_SAMPLES: usize = 20;

/// Requests of a shard that wait: with more the endpoint reads no further.
const CAPACITY: usize = 4;

/// A request of a shard; the first one is in flight once it is taken.
#[derive(Default)]
struct Request {
    items: Vec<(RecordSeq, Sample)>,
    is_taken: bool,
}

/// An endpoint.
pub(super) struct Endpoint {
    wal: Wal,
    follower: Follower,
    progress: Progress,
    position: SavedPosition,
    shards: [VecDeque<Request>; N_SHARDS],
    /// Samples that were removed from the log before they were read.
    pub(super) n_lost: u64,
}

/// Where an endpoint goes on; without a log before it, at its end.
pub(super) fn claim(wal: &Wal, positions: &Positions, has_data: bool) -> Claim {
    let log = wal.reader();
    let mut claim = Claim::new(&log, URL, positions.recall(URL, has_data));
    claim.find_place(&log, "simulated").expect("the log can be read");
    claim
}

impl Endpoint {
    /// Goes on where it is claimed to be.
    pub(super) fn new(wal: &Wal, claim: Claim) -> Endpoint {
        let (place, mark) = claim.take().expect("its place was found");
        let log = wal.reader();
        Endpoint {
            wal: wal.clone(),
            follower: Follower::new(log.clone(), place.saved.mark.position),
            progress: Progress::new(&place.saved, &place.before),
            position: SavedPosition::new(log, mark, place.saved),
            shards: Default::default(),
            n_lost: 0,
        }
    }

    /// Reads a record; false if there is none, or its shards have no room.
    pub(super) fn read(&mut self) -> bool {
        if self.shards.iter().any(|requests| requests.len() >= CAPACITY) {
            return false;
        }
        let (lane, _) = self.progress.newest_lane();
        match reading::next(&self.wal.reader(), &mut self.follower) {
            Ok(read) if read.samples.is_empty() => self.progress.pass(lane, read.end),
            Ok(read) => {
                let n = read.samples.len() as u64;
                let Some(seq) = self.progress.open(lane, Kind::Float, read.end, n, None) else { return true };
                read.samples.into_iter().for_each(|sample| self.deal(seq, sample));
                self.progress.close(seq);
            }
            Err(Ended::Truncated) => {
                let gone = self.wal.reader().gone_from(self.progress.needed_from());
                self.n_lost += self.progress.lose(&gone, true).total();
                let behind = self.progress.read_to(lane).expect("the lane that is read");
                assert!(behind > self.follower.position(), "{behind:?} is missing from the log");
                self.follower.go_to(behind);
            }
            Err(_) => return false,
        }
        true
    }

    /// Reads everything, and has it answered at once; all samples.
    pub(super) fn read_all(&mut self) -> Vec<Sample> {
        let mut received = Vec::new();
        while self.read() {
            for shard in 0..N_SHARDS {
                received.extend(self.take(shard));
                self.answer(shard);
            }
        }
        (0..N_SHARDS).for_each(|shard| assert!(self.shards[shard].is_empty()));
        received
    }

    fn deal(&mut self, seq: RecordSeq, sample: Sample) {
        let requests = &mut self.shards[sample.1 % N_SHARDS];
        match requests.back_mut().filter(|last| !last.is_taken && last.items.len() < REQUEST_SAMPLES) {
            Some(last) => last.items.push((seq, sample)),
            None => requests.push_back(Request { items: vec![(seq, sample)], is_taken: false }),
        }
    }

    /// The endpoint takes a shard's next request; what is in it.
    pub(super) fn take(&mut self, shard: usize) -> Vec<Sample> {
        let Some(next) = self.shards[shard].front_mut().filter(|next| !next.is_taken) else {
            return Vec::new();
        };
        next.is_taken = true;
        next.items.iter().map(|(_, sample)| *sample).collect()
    }

    /// The answer to a request that was taken arrives; what was in it.
    pub(super) fn answer(&mut self, shard: usize) -> Vec<Sample> {
        let shard = &mut self.shards[shard];
        if !shard.front().is_some_and(|next| next.is_taken) {
            return Vec::new();
        }
        let Some(answered) = shard.pop_front() else { return Vec::new() };
        self.progress.settle(answered.items.iter().map(|(seq, _)| *seq), Fate::Sent);
        answered.items.into_iter().map(|(_, sample)| sample).collect()
    }

    /// As every second.
    pub(super) fn note_settled(&mut self) {
        self.position.note_settled(self.progress.settled());
    }

    /// As every few seconds; the place that is saved by then.
    pub(super) fn save(&mut self, positions: &Positions) -> Position {
        self.note_settled();
        self.position.save(positions, URL, URL).expect("the position can be saved");
        self.position.position()
    }

    /// Its section is another one: what was not answered is read and sent again.
    pub(super) fn reload(&mut self) {
        self.shards = Default::default();
        self.progress.rewind();
        self.follower.go_to(self.progress.settled().mark.position);
    }
}
