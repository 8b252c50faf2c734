//! The watcher: reads the log from the endpoint's position on and deals the samples out to shards.
//!
//! Runs on thread `wal-watcher-<name>`. A full shard makes it wait: nothing is kept in memory that stands in the log.
//! Between two records it may change the number of shards.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select};

use crate::remote::batch::{Batch, Item};
use crate::remote::ledger::{DropReason, Fate, Kind};
use crate::remote::progress::Mark;
use crate::remote::record_items::RecordItems;
use crate::remote::series_labels::Verdicts;
use crate::remote::shards::Shards;
use crate::remote::shared::Shared;
use crate::series::SeriesHandle;
use crate::wal::error::WalError;
use crate::wal::follow::{Ended, Follower, Next, fingerprint};
use crate::wal::record::RecordType;
use crate::wal::writer::Position;

/// The log is looked at no more often than this: batches wait for seconds anyway.
const READ_PAUSE: Duration = Duration::from_millis(50);

/// It is looked at without being told after this long.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// After a failure to read the log or to start a thread.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// What the manager wants; a closed channel means: end at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// From the next record on there are so many shards.
    Reshard(usize),
    /// Read what there is, send everything, end.
    Drain,
}

/// The watcher of one endpoint.
pub struct Watcher {
    follower: Follower,
    dealer: Dealer,
    /// Told after every commit.
    commits: Receiver<()>,
}

/// The part that is called back while the log is read.
struct Dealer {
    shared: Arc<Shared>,
    shards: Shards,
    verdicts: Verdicts,
    control: Receiver<Control>,
    stop: Receiver<()>,
    wanted_shards: Option<usize>,
    is_draining: bool,
    is_stopped: bool,
    is_truncated: bool,
    /// Nothing was read to the end of the log yet.
    is_catching_up: bool,
    record: RecordItems,
    handles: Vec<Option<SeriesHandle>>,
}

impl Watcher {
    /// A watcher that starts at `position`; `stop` ends it and its shards at once when it is closed.
    pub fn new(
        shared: Arc<Shared>,
        position: Position,
        control: Receiver<Control>,
        stop: Receiver<()>,
        commits: Receiver<()>,
    ) -> std::io::Result<Self> {
        let shards = Shards::spawn(shared.config.queue.min_shards, &shared, &stop)?;
        let follower = Follower::new(shared.wal.clone(), position);
        let dealer = Dealer {
            shared,
            shards,
            verdicts: Verdicts::default(),
            control,
            stop,
            wanted_shards: None,
            is_draining: false,
            is_stopped: false,
            is_truncated: false,
            is_catching_up: true,
            record: RecordItems::default(),
            handles: Vec::new(),
        };
        Ok(Self { follower, dealer, commits })
    }

    /// Reads until it is told to end.
    pub fn run(mut self) {
        let mut is_said = false;
        while !self.dealer.is_stopped {
            let pause = match self.read() {
                Ok(Ended::CaughtUp) if self.dealer.is_draining => break,
                Ok(Ended::CaughtUp) => {
                    is_said = false;
                    self.dealer.is_catching_up = false;
                    READ_PAUSE
                }
                Ok(Ended::Paused | Ended::Truncated) => continue,
                Err(error) => {
                    if !is_said {
                        is_said = true;
                        log::error!(
                            "remote_write {}: {error}; it is tried again",
                            self.dealer.shared.metrics.name
                        );
                    }
                    FAILURE_PAUSE
                }
            };
            self.wait(pause);
        }
        self.end();
    }

    fn read(&mut self) -> Result<Ended, WalError> {
        let Self { follower, dealer, .. } = self;
        dealer.reshard();
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
        dealer.shared.metrics.watcher_current_segment.set(f64::from(position.segment));
        let is_truncated = std::mem::take(&mut dealer.is_truncated) || matches!(ended, Ok(Ended::Truncated));
        if is_truncated {
            let n_lost = follower.jump()?;
            let position = follower.position();
            let fate = Fate::Dropped(DropReason::WalTruncated);
            dealer.shared.count(Kind::Float, n_lost, fate);
            dealer.shared.progress.lose(fate, n_lost);
            dealer.shared.progress.pass(Mark { position, fingerprint: 0 });
            log::error!(
                "remote_write {name}: {n_lost} samples were removed from the log before they could be sent; raise \
                 storage.agent.retention.max-bytes, or make room on the disk"
            );
        }
        ended
    }

    /// Waits for a commit, an order, or the time of an open batch.
    fn wait(&mut self, pause: Duration) {
        let now = Instant::now();
        // However often samples come, they are read in bulk.
        let dealer = &mut self.dealer;
        select! {
            recv(dealer.control) -> order => dealer.obey(order.ok()),
            recv(dealer.stop) -> _ => dealer.is_stopped = true,
            default(pause) => {}
        }
        if dealer.is_stopped || dealer.is_draining || dealer.wanted_shards.is_some() {
            return;
        }
        let deadline = dealer.shared.config.queue.batch_send_deadline;
        let until_due = match dealer.shards.oldest_open() {
            Some((opened, _)) => (opened + deadline).saturating_duration_since(now),
            None => LONGEST_PAUSE,
        };
        select! {
            recv(self.commits) -> told => if told.is_err() { self.commits = never() },
            recv(dealer.control) -> order => dealer.obey(order.ok()),
            recv(dealer.stop) -> _ => dealer.is_stopped = true,
            default(until_due.min(LONGEST_PAUSE)) => {}
        }
        dealer.flush_due(Instant::now());
    }

    fn end(mut self) {
        if self.dealer.is_draining && !self.dealer.is_stopped {
            self.dealer.flush_all();
        }
        self.dealer.shards.join();
    }
}

impl Dealer {
    fn obey(&mut self, order: Option<Control>) {
        match order {
            Some(Control::Reshard(n)) => self.wanted_shards = Some(n),
            Some(Control::Drain) => {
                self.is_draining = true;
                self.shared.is_draining.store(true, Ordering::Relaxed);
            }
            None => self.is_stopped = true,
        }
    }

    fn take_record(&mut self, at: Position, end: Position, bytes: &[u8]) -> Next {
        let record_type = RecordType::of(bytes);
        let metrics = &self.shared.metrics;
        let end = Mark { position: end, fingerprint: fingerprint(bytes) };
        if !self.record.read(bytes, |kind| self.shared.sends(kind)) {
            metrics.watcher_records_read.with(&[record_type.name()]).inc();
            if record_type == RecordType::Unknown {
                metrics.watcher_decode_failures.inc();
            }
            self.shared.progress.pass(end);
            return Next::Record;
        }
        if self.shared.wal.handles(at.segment, &self.record.refs, &mut self.handles).is_err() {
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
        if self.deal(end) { self.after_record() } else { Next::Keep }
    }

    /// False if it is to end before the record is dealt out.
    fn deal(&mut self, end: Mark) -> bool {
        let shared = Arc::clone(&self.shared);
        let kind = self.record.kind;
        let seq = shared.progress.open(kind, end);
        shared.progress.take(seq, self.record.items.len() as u64);
        let now = Instant::now();
        let oldest_ms = shared.oldest_wanted_ms();
        let mut n_dropped = [0_u64; DropReason::ALL.len()];
        let mut items = std::mem::take(&mut self.record.items);
        let handles = std::mem::take(&mut self.handles);
        for ((ts_ms, content), handle) in items.drain(..).zip(handles.iter().copied()) {
            let reason = match handle {
                None => DropReason::WalTruncated,
                Some(_) if oldest_ms.is_some_and(|oldest_ms| ts_ms < oldest_ms) => DropReason::TooOld,
                Some(handle) if !shared.labels.wants(&shared.wal, &mut self.verdicts, handle) => {
                    DropReason::DroppedSeries
                }
                Some(handle) => {
                    let item = Item { handle, record: seq, ts_ms, content };
                    if let Some(full) = self.shards.push(item, now)
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

    fn after_record(&mut self) -> Next {
        self.flush_due(Instant::now());
        while let Ok(order) = self.control.try_recv() {
            self.obey(Some(order));
        }
        if self.is_stopped || self.wanted_shards.is_some() { Next::Pause } else { Next::Record }
    }

    /// Sends the open batches that have waited long enough.
    fn flush_due(&mut self, now: Instant) {
        let deadline = self.shared.config.queue.batch_send_deadline;
        while let Some((opened, idx)) = self.shards.oldest_open() {
            if now.saturating_duration_since(opened) < deadline || !self.flush(idx) {
                return;
            }
        }
    }

    fn flush_all(&mut self) {
        while let Some((_, idx)) = self.shards.oldest_open() {
            if !self.flush(idx) {
                return;
            }
        }
    }

    /// Gives a shard its open batch, waiting for room; false if it is to end.
    fn flush(&mut self, idx: usize) -> bool {
        let Some((mut batch, sender)) = self.shards.take(idx) else { return true };
        if let Err(full) = sender.try_send(batch) {
            self.shared.metrics.enqueue_retries.inc();
            batch = full.into_inner();
        } else {
            return true;
        }
        loop {
            match self.offer(&sender, batch) {
                Ok(()) => return true,
                Err(_) if self.is_stopped => return false,
                Err(back) => batch = back,
            }
        }
    }

    /// The batch back if an order came first.
    fn offer(&mut self, sender: &Sender<Batch>, batch: Batch) -> Result<(), Batch> {
        let mut batch = Some(batch);
        let mut order = None;
        select! {
            // The message is only made when there is room.
            send(sender, batch.take().unwrap_or_default()) -> sent => {
                // A shard that has ended was told to: so is the watcher.
                self.is_stopped |= sent.is_err();
                return if let Err(back) = sent { Err(back.into_inner()) } else { Ok(()) };
            }
            recv(self.control) -> it => order = it.ok(),
            recv(self.stop) -> _ => self.is_stopped = true,
        }
        if !self.is_stopped {
            self.obey(order);
        }
        Err(batch.unwrap_or_default())
    }

    /// Ends the shards and starts as many as are wanted.
    fn reshard(&mut self) {
        let Some(n) = self.wanted_shards.take().filter(|n| *n != self.shards.len()) else { return };
        self.flush_all();
        if self.is_stopped {
            return;
        }
        let n_before = self.shards.len();
        std::mem::replace(&mut self.shards, Shards::none()).join();
        self.shared.forget_cancellers();
        match Shards::spawn(n, &self.shared, &self.stop) {
            Ok(shards) => {
                self.shards = shards;
                log::info!(
                    "remote_write {}: resharding from {n_before} to {n} shards",
                    self.shared.metrics.name
                );
            }
            Err(error) => {
                log::error!("remote_write {}: cannot start a shard: {error}", self.shared.metrics.name);
                self.is_stopped = true;
            }
        }
    }
}
