//! An endpoint of a simulated box: its requests are taken and answered when the seed says so.
//!
//! Its place, its progress and what is saved of it are the program's own; the wire, and the threads, are not.

use std::collections::VecDeque;
use std::io;

use scraped::remote::read::claims::Claim;
use scraped::remote::settle::ledger::{DropReason, Fate, Kind};
use scraped::remote::settle::mark::Mark;
use scraped::remote::settle::position::Positions;
use scraped::remote::settle::progress::{Progress, RecordSeq};
use scraped::remote::settle::saved_position::SavedPosition;
use scraped_engine::wal::follow::{Ended, Follower};
use scraped_engine::wal::format::position::Position;
use scraped_engine::wal::gone::Gone;
use scraped_engine::wal::head::Wal;

use super::reading;
use super::samples::Sample;

/// As `remote_write` distinguishes endpoints.
pub(crate) const URL: &str = "http://127.0.0.1:9090/api/v1/write";

/// Series are dealt out to these.
pub(crate) const N_SHARDS: usize = 3;

/// A request holds no more samples.
pub(crate) const REQUEST_SAMPLES: usize = 20;

/// Requests of a shard that wait: with more the endpoint reads no further.
const CAPACITY: usize = 4;

/// A request of a shard; the first one is in flight once it is taken.
#[derive(Default)]
struct Request {
    items: Vec<(RecordSeq, Sample)>,
    is_taken: bool,
}

/// An endpoint.
pub(crate) struct Endpoint {
    wal: Wal,
    follower: Follower,
    progress: Progress,
    position: SavedPosition,
    shards: [VecDeque<Request>; N_SHARDS],
}

/// What an endpoint finds when it reads on.
pub(crate) enum Found {
    /// No record, or no room for one.
    Nothing,
    /// A record with these samples, none if it has others or is counted as lost.
    Record(Position, Vec<Sample>),
    /// This has gone of the log, with as many samples that were not read.
    Lost(Gone, u64),
}

/// Where an endpoint goes on; without a log before it, at its end.
pub(crate) fn claim(wal: &Wal, positions: &Positions, has_data: bool) -> Claim {
    let log = wal.reader();
    let mut claim = Claim::new(&log, URL, positions.recall(URL, has_data));
    claim.find_place(&log, "simulated").expect("the log can be read");
    claim
}

impl Endpoint {
    /// Goes on where it is claimed to be.
    pub(crate) fn new(wal: &Wal, claim: Claim) -> Endpoint {
        let (place, mark) = claim.take().expect("its place was found");
        let log = wal.reader();
        Endpoint {
            wal: wal.clone(),
            follower: Follower::new(log.clone(), place.saved.mark.position),
            progress: Progress::new(&place.saved, &place.before),
            position: SavedPosition::new(log, mark, place.saved),
            shards: Default::default(),
        }
    }

    /// Reads a record.
    pub(crate) fn read(&mut self) -> Found {
        if self.shards.iter().any(|requests| requests.len() >= CAPACITY) {
            return Found::Nothing;
        }
        let (lane, _) = self.progress.newest_lane();
        match reading::next(&self.wal.reader(), &mut self.follower) {
            Ok(read) if read.samples.is_empty() => {
                self.progress.pass(lane, read.end);
                Found::Record(read.end.position, read.samples)
            }
            Ok(read) => {
                let n = read.samples.len() as u64;
                let Some(seq) = self.progress.open(lane, Kind::Float, read.end, n, None) else {
                    return Found::Record(read.end.position, Vec::new());
                };
                read.samples.iter().for_each(|sample| self.deal(seq, *sample));
                self.progress.close(seq);
                Found::Record(read.end.position, read.samples)
            }
            Err(Ended::Truncated) => {
                self.progress.pass(lane, Mark::start_of(self.follower.position().segment));
                let (gone, n_lost) = self.count_gone();
                let behind = self.progress.read_to(lane).expect("the lane that is read");
                assert!(behind > self.follower.position(), "{behind:?} is missing from the log");
                self.follower.go_to(behind);
                Found::Lost(gone, n_lost)
            }
            Err(_) => Found::Nothing,
        }
    }

    /// As every second: what has gone of the log since, and samples of it that were not read.
    pub(crate) fn count_gone(&mut self) -> (Gone, u64) {
        let gone = self.wal.reader().gone_from(self.progress.needed_from());
        let n_lost = self.progress.lose(&gone, true).total();
        (gone, n_lost)
    }

    /// Reads everything, and has it answered at once; all samples.
    pub(crate) fn read_all(&mut self) -> Vec<Sample> {
        let mut received = Vec::new();
        while !matches!(self.read(), Found::Nothing) {
            for shard in 0..N_SHARDS {
                while !self.shards[shard].is_empty() {
                    received.extend(self.take(shard));
                    self.answer(shard);
                }
            }
        }
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
    pub(crate) fn take(&mut self, shard: usize) -> Vec<Sample> {
        let Some(next) = self.shards[shard].front_mut().filter(|next| !next.is_taken) else {
            return Vec::new();
        };
        next.is_taken = true;
        next.items.iter().map(|(_, sample)| *sample).collect()
    }

    /// The answer to a request that was taken arrives; what was in it.
    pub(crate) fn answer(&mut self, shard: usize) -> Vec<Sample> {
        self.settle(shard, Fate::Sent)
    }

    /// A request that was on its way is refused for good; what was in it.
    pub(crate) fn refuse(&mut self, shard: usize) -> Vec<Sample> {
        self.settle(shard, Fate::Dropped(DropReason::Rejected))
    }

    /// The connection of a request that was taken breaks: it will be sent again; what is in it.
    pub(crate) fn lose_answer(&mut self, shard: usize) -> Vec<Sample> {
        let Some(next) = self.shards[shard].front_mut().filter(|next| next.is_taken) else {
            return Vec::new();
        };
        next.is_taken = false;
        next.items.iter().map(|(_, sample)| *sample).collect()
    }

    fn settle(&mut self, shard: usize, fate: Fate) -> Vec<Sample> {
        let shard = &mut self.shards[shard];
        if !shard.front().is_some_and(|next| next.is_taken) {
            return Vec::new();
        }
        let Some(settled) = shard.pop_front() else { return Vec::new() };
        self.progress.settle(settled.items.iter().map(|(seq, _)| *seq), fate);
        settled.items.into_iter().map(|(_, sample)| sample).collect()
    }

    /// How far it has come.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// As every second.
    pub(crate) fn note_settled(&mut self) {
        self.position.note_settled(self.progress.settled());
    }

    /// As every few seconds; the place that is saved by then.
    pub(crate) fn save(&mut self, positions: &Positions) -> io::Result<Position> {
        self.note_settled();
        self.position.save(positions, URL, URL)?;
        Ok(self.position.position())
    }

    /// Its section is another one: what was not answered is read and sent again. Samples of that which have gone.
    pub(crate) fn reload(&mut self) -> u64 {
        self.shards = Default::default();
        let n_lost = self.progress.rewind().iter().sum();
        self.follower.go_to(self.progress.settled().mark.position);
        n_lost
    }
}
