//! A reader: follows a part of the log and deals what stands in it out to shards.
//!
//! Runs on the watcher's thread or the backlog's. A full shard makes it wait, and then it still obeys: it ends between two
//! records, or at once. Knows neither requests nor positions on disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::remote::endpoint_state::Shared;
use crate::remote::read::orders::{Mode, Orders};
use crate::remote::read::record_items::RecordItems;
use crate::remote::refuse::panics::MAX_PANICS;
use crate::remote::send::batch::Item;
use crate::remote::send::shards::{Outbox, Patience};
use crate::remote::settle::ledger::{DropReason, Fate, Kind};
use crate::remote::settle::losses;
use crate::remote::settle::mark::Mark;
use crate::remote::settle::progress::LaneId;
use scraped_engine::encode::series_labels::Verdicts;
use scraped_engine::series::SeriesHandle;
use scraped_engine::threads::{Panicked, ThreadKind};
use scraped_engine::wal::error::WalError;
use scraped_engine::wal::follow::{Ended, Follower, Next, fingerprint};
use scraped_engine::wal::format::position::Position;
use scraped_engine::wal::format::record::record_type::RecordType;

/// Each endpoint has a watcher, `wal-watcher-<remote>`. What is caught while the backlog is read counts here, too.
pub const THREAD: ThreadKind = ThreadKind { name: "wal-watcher", stack_bytes: 256 << 10 };

/// Further behind than this many times `batch_send_deadline`, and this, samples are no longer fresh.
const FRESH_DEADLINES: u32 = 2;
const LEAST_BEHIND: Duration = Duration::from_secs(2);

/// The log is split no more often: each time it costs a segment.
const SPLIT_INTERVAL: Duration = Duration::from_secs(30);

/// Truncation has overtaken a reader whose endpoint works: this many times per shard.
const MORE_SHARDS: usize = 2;

/// Reads a part of the log and deals it out.
pub struct Reader {
    follower: Follower,
    pub(in crate::remote) dealer: Dealer,
}

/// The part that is called back while the log is read.
pub(in crate::remote) struct Dealer {
    pub(in crate::remote) shared: Arc<Shared>,
    pub(in crate::remote) outbox: Outbox,
    verdicts: Verdicts,
    pub(in crate::remote) orders: Orders,
    lane: LaneId,
    /// The segment in front of which the lane ends; `None` for the newest.
    until: Option<u32>,
    is_truncated: bool,
    pub(in crate::remote) is_split_due: bool,
    /// When the log was last split, or that was tried.
    pub(in crate::remote) last_split: Option<Instant>,
    /// Nothing was read to the end of the log yet.
    pub(in crate::remote) is_catching_up: bool,
    record: RecordItems,
    /// The newest timestamp of the record in hand, where somebody needs it.
    newest_here_ms: Option<i64>,
    handles: Vec<Option<SeriesHandle>>,
}

impl Reader {
    /// Reads `lane` from `position` on and fills `outbox`.
    pub fn new(
        shared: Arc<Shared>,
        (lane, position): (LaneId, Position),
        outbox: Outbox,
        orders: Orders,
    ) -> Self {
        let follower = Follower::new(shared.log.clone(), position);
        let dealer = Dealer {
            shared,
            outbox,
            verdicts: Verdicts::default(),
            orders,
            lane,
            until: None,
            is_truncated: false,
            is_split_due: false,
            last_split: None,
            is_catching_up: true,
            record: RecordItems::default(),
            newest_here_ms: None,
            handles: Vec::new(),
        };
        Self { follower, dealer }
    }

    /// Goes on elsewhere.
    pub fn move_to(&mut self, lane: LaneId, position: Position, until: Option<u32>) {
        self.follower = Follower::new(self.dealer.shared.log.clone(), position);
        self.dealer.lane = lane;
        self.dealer.until = until;
    }

    /// Whether its lane is read to its end.
    pub fn is_done(&self) -> bool {
        self.dealer.until.is_some_and(|until| self.follower.position().segment >= until)
    }

    /// Reads and deals out until there is no more, or something else is to be done.
    ///
    /// # Errors
    /// The log cannot be read; the next call tries again.
    pub fn read(&mut self) -> Result<Ended, WalError> {
        let Self { follower, dealer } = self;
        let mut n_damaged = 0;
        let name = &dealer.shared.metrics.name.clone();
        let metrics = Arc::clone(&dealer.shared.metrics);
        let ended = follower.read(&mut |at, end, bytes| dealer.take_record(at, end, bytes), &mut |error| {
            metrics.watcher_decode_failures.inc();
            n_damaged += 1;
            if n_damaged == 1 {
                log::warn!("remote_write {name}: {error}; it is passed over, what stands behind it is sent");
            }
        });
        let position = follower.position();
        if dealer.until.is_none() {
            metrics.watcher_current_segment.set(f64::from(position.segment));
        }
        let is_truncated = std::mem::take(&mut dealer.is_truncated) || matches!(ended, Ok(Ended::Truncated));
        if is_truncated {
            let Shared { log, config, progress, metrics, .. } = &*dealer.shared;
            // What it has read to its end is not where something is missing.
            progress.pass(dealer.lane, Mark::start_of(position.segment));
            losses::count_gone(log, config, progress, metrics);
            match progress.read_to(dealer.lane) {
                Some(behind) if behind > position => follower.go_to(behind),
                // Not truncated and yet not there: wal-maintenance finds out why.
                _ => return Ok(Ended::CaughtUp),
            }
            dealer.want_more_shards();
            return Ok(Ended::Truncated);
        }
        ended
    }
}

impl Dealer {
    /// While the endpoint works, more input than the shards can send is no reason to lose samples.
    fn want_more_shards(&mut self) {
        let queue = &self.shared.config.queue;
        let n_shards = self.shared.metrics.shards.get() as usize;
        if self.shared.last_error().is_empty() && self.until.is_none() && n_shards < self.shared.max_shards {
            self.orders.wanted_shards =
                Some((n_shards * MORE_SHARDS).clamp(queue.min_shards, self.shared.max_shards));
        }
    }

    /// Whether newer samples should not wait until this record's turn comes.
    fn is_behind(&self) -> bool {
        let queue = &self.shared.config.queue;
        let is_too_soon = self.last_split.is_some_and(|last| last.elapsed() < SPLIT_INTERVAL);
        if queue.in_order || self.until.is_some() || is_too_soon {
            return false;
        }
        let newest_ms = self.shared.log.newest_ts_ms();
        let Some((here_ms, newest_ms)) = self.newest_here_ms.zip(newest_ms) else {
            return false;
        };
        let fresh = (queue.batch_send_deadline * FRESH_DEADLINES).max(LEAST_BEHIND);
        u128::from(newest_ms.saturating_sub(here_ms).max(0).unsigned_abs()) > fresh.as_millis()
    }

    fn take_record(&mut self, at: Position, end: Position, bytes: &[u8]) -> Next {
        if self.until.is_some_and(|until| at.segment >= until) {
            return Next::Keep;
        }
        let record_type = RecordType::of(bytes);
        let end = Mark { position: end, fingerprint: fingerprint(bytes) };
        let is_wanted = match self.read_record(bytes) {
            Ok(is_wanted) => is_wanted,
            Err(panicked) => return self.set_aside(at, end, &panicked),
        };
        let metrics = &self.shared.metrics;
        if !is_wanted {
            metrics.watcher_records_read.with(&[record_type.name()]).inc();
            if record_type == RecordType::Unknown {
                metrics.watcher_decode_failures.inc();
            }
            self.shared.progress.pass(self.lane, end);
            return Next::Record;
        }
        if self.shared.log.handles(at.segment, &self.record.refs, &mut self.handles).is_err() {
            self.is_truncated = true;
            return Next::Keep;
        }
        if self.record.is_damaged {
            metrics.watcher_decode_failures.inc();
        }
        metrics.watcher_records_read.with(&[record_type.name()]).inc();
        if self.is_catching_up {
            metrics.watcher_pre_tailing.inc();
        }
        metrics.items_in.add(self.record.items.len() as u64);
        self.newest_here_ms = self.newest_ms_of_record();
        if self.deal(end) { self.after_record() } else { Next::Keep }
    }

    /// Reads a record, several times if that panics; false if it holds nothing that is sent.
    fn read_record(&mut self, bytes: &[u8]) -> Result<bool, Panicked> {
        let Self { record, shared, .. } = self;
        let mut read = || THREAD.catch(|| record.read(bytes, |kind| shared.sends(kind)));
        let mut outcome = read();
        for _ in 1..MAX_PANICS {
            outcome = outcome.or_else(|_| read());
        }
        outcome
    }

    /// Passes over a record that cannot be read for a bug; of what it holds only the items before that are known.
    fn set_aside(&mut self, at: Position, end: Mark, panicked: &Panicked) -> Next {
        let (shared, kind) = (&self.shared, self.record.kind);
        let n = self.record.items.len() as u64;
        log::error!(
            "BUG: remote_write {}: the record at {:08}:{} {panicked}, {MAX_PANICS} times; it is set aside with at least \
             {n} {}, what stands behind it is sent",
            shared.metrics.name,
            at.segment,
            at.offset,
            kind.plural()
        );
        shared.metrics.panics_set_aside.inc();
        let fate = Fate::Dropped(DropReason::Panicked);
        match shared.progress.open(self.lane, kind, end, n, self.record.oldest_ms) {
            Some(seq) => {
                shared.count(kind, n, fate);
                shared.progress.settle((0..n).map(|_| seq), fate);
                shared.progress.close(seq);
                self.after_record()
            }
            None => {
                self.is_truncated = true;
                Next::Keep
            }
        }
    }

    /// The newest timestamp of the record in hand, if it is known by it how old the record is: timestamps of exemplars
    /// are those of their page.
    fn newest_ms_of_record(&self) -> Option<i64> {
        let is_needed = self.until.is_some() || !self.shared.config.queue.in_order;
        if !is_needed || self.record.kind == Kind::Exemplar {
            return None;
        }
        self.record.items.iter().map(|(ts_ms, _)| *ts_ms).max()
    }

    /// False if it is to end before the record is dealt out, or that is gone.
    fn deal(&mut self, end: Mark) -> bool {
        let shared = Arc::clone(&self.shared);
        let kind = self.record.kind;
        let (n, oldest_ms) = (self.record.items.len() as u64, self.record.oldest_ms);
        let Some(seq) = shared.progress.open(self.lane, kind, end, n, oldest_ms) else {
            self.is_truncated = true;
            return false;
        };
        let now = Instant::now();
        let oldest_ms = shared.oldest_wanted_ms();
        let mut n_dropped = [0_u64; DropReason::ALL.len()];
        let mut items = std::mem::take(&mut self.record.items);
        let handles = std::mem::take(&mut self.handles);
        for ((ts_ms, content), handle) in items.drain(..).zip(handles.iter().copied()) {
            let is_too_old = oldest_ms.is_some_and(|oldest_ms| ts_ms < oldest_ms);
            let reason = match self.wanted(handle, is_too_old) {
                Err(reason) => reason,
                Ok(handle) => {
                    let item = Item { handle, record: seq, ts_ms, content };
                    if let Some(full) = self.outbox.push(item, now)
                        && !self.flush(full)
                    {
                        return false;
                    }
                    continue;
                }
            };
            if let Some(n) = n_dropped.get_mut(reason as usize) {
                *n += 1;
            }
        }
        // Their memory is used again.
        (self.record.items, self.handles) = (items, handles);
        for (reason, n) in DropReason::ALL.into_iter().zip(n_dropped) {
            let fate = Fate::Dropped(reason);
            shared.count(kind, n, fate);
            shared.progress.settle((0..n).map(|_| seq), fate);
        }
        shared.progress.close(seq);
        true
    }

    /// The series of an item that is sent, or why it is not.
    fn wanted(&mut self, handle: Option<SeriesHandle>, is_too_old: bool) -> Result<SeriesHandle, DropReason> {
        let Self { shared, verdicts, .. } = self;
        let handle = handle.ok_or(DropReason::WalTruncated)?;
        if is_too_old {
            return Err(DropReason::TooOld);
        }
        if shared.panicking.is_set_aside(handle) {
            return Err(DropReason::Panicked);
        }
        let is_wanted = match shared.labels.known(verdicts, handle) {
            Some(is_wanted) => Ok(is_wanted),
            None => THREAD.catch(|| shared.labels.wants(&shared.log, verdicts, handle)),
        };
        match is_wanted {
            Ok(true) => Ok(handle),
            Ok(false) => Err(DropReason::DroppedSeries),
            Err(panicked) => {
                shared.note_panic(handle, &panicked);
                Err(DropReason::Panicked)
            }
        }
    }

    fn after_record(&mut self) -> Next {
        self.flush_due(self.patience());
        self.orders.obey_all();
        if let Some(newest_ms) = self.newest_here_ms.filter(|_| self.until.is_some()) {
            self.shared.metrics.backlog_timestamp.set(newest_ms as f64 / 1000.0);
        }
        self.is_split_due = self.is_behind();
        let is_leaving = self.orders.mode() >= Mode::Leaving;
        let is_to_pause = is_leaving || self.orders.wanted_shards.is_some() || self.is_split_due;
        if is_to_pause { Next::Pause } else { Next::Record }
    }

    /// Whether a burst of scrapes is sent when it is over. An endpoint that has taken nothing yet may refuse everything, and is
    /// asked no more often than it must be.
    pub(in crate::remote) fn wants_soon(&self) -> bool {
        !self.shared.config.queue.has_deadline() && self.shared.refusals.is_proven()
    }

    /// How long open batches wait.
    pub(in crate::remote) fn patience(&self) -> Patience {
        Patience::of(&self.shared.config.queue, self.wants_soon())
    }

    /// Sends the open batches that have waited long enough.
    pub(in crate::remote) fn flush_due(&mut self, patience: Patience) {
        let now = Instant::now();
        while let Some((due, idx)) = self.outbox.next_due(patience) {
            if now < due || !self.flush(idx) {
                return;
            }
        }
    }

    /// Sends the open batches.
    pub(in crate::remote) fn flush_all(&mut self) {
        self.flush_due(Patience::default());
    }

    /// Gives a shard its open batch, waiting for room; false if it is to end.
    fn flush(&mut self, idx: usize) -> bool {
        let Some((mut batch, sender)) = self.outbox.take(idx) else { return true };
        if let Err(full) = sender.try_send(batch) {
            self.shared.metrics.enqueue_retries.inc();
            batch = full.into_inner();
        } else {
            return true;
        }
        loop {
            match self.orders.offer(&sender, batch) {
                Ok(()) => return true,
                Err(_) if self.orders.mode() == Mode::Stopped => return false,
                Err(back) => batch = back,
            }
        }
    }
}
