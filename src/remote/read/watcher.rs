//! The watcher: reads the log from the endpoint's position on and deals the samples out to shards.
//!
//! Runs on thread `wal-watcher-<name>`. A full shard makes it wait: nothing is kept in memory that stands in the log.
//! Between two records it may change the number of shards, and with `in_order: false` leave what it is behind by to the
//! backlog and go on at the present.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never};

use crate::remote::endpoint_state::Shared;
use crate::remote::read::backlog::Backlog;
use crate::remote::read::dealer::Reader;
use crate::remote::read::orders::{Mode, Orders};
use crate::remote::send::shards::{Outbox, Patience, Shards};
use crate::remote::settle::mark::Mark;
use scraped_engine::wal::follow::Ended;

/// The log is looked at no more often than this part of `batch_send_deadline` …
const READ_PAUSE_PART: u32 = 10;

/// … within these bounds: batches wait for seconds anyway, and every look wakes a thread.
const READ_PAUSE: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_millis(500);

/// Where samples are wanted soon it is looked at after this long, and a burst of scrapes is over when nothing came meanwhile.
const BURST_PAUSE: Duration = Duration::from_millis(100);

/// It is looked at without a commit after this long.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// After a failure to read the log or to start a thread.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// The watcher of one endpoint.
pub struct Watcher {
    reader: Reader,
    shards: Shards,
    backlog: Option<Backlog>,
    /// There was a backlog when it was last looked.
    had_backlog: bool,
    /// A message after each commit.
    commits: Receiver<()>,
}

impl Watcher {
    /// A watcher that goes on where the progress is; the stop signal of its orders ends its
    /// shards as well.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn new(shared: Arc<Shared>, orders: Orders, commits: Receiver<()>) -> std::io::Result<Self> {
        let n_shards = shared.config.queue.min_shards;
        let (shards, outbox) = Shards::spawn(n_shards, &shared, orders.stop_token())?;
        let place = shared.progress.newest_lane();
        let reader = Reader::new(shared, place, outbox, orders);
        Ok(Self { reader, shards, backlog: None, had_backlog: false, commits })
    }

    /// Reads until it is ordered to end.
    pub fn run(mut self) {
        let mut is_said = false;
        while self.reader.dealer.orders.mode() < Mode::Stopped {
            self.reshard();
            self.tend_backlog();
            let ended = self.reader.read();
            if std::mem::take(&mut self.reader.dealer.is_split_due) {
                self.split();
            }
            let pause = match ended {
                Ok(Ended::CaughtUp) if self.reader.dealer.orders.mode() >= Mode::Draining => break,
                Ok(Ended::CaughtUp) => {
                    is_said = false;
                    self.reader.dealer.is_catching_up = false;
                    self.read_pause()
                }
                Ok(Ended::Paused | Ended::Truncated) => continue,
                Err(error) => {
                    if !is_said {
                        is_said = true;
                        log::error!("remote_write {}: {error}; it is tried again", self.name());
                    }
                    FAILURE_PAUSE
                }
            };
            self.wait(pause);
        }
        self.end();
    }

    fn read_pause(&self) -> Duration {
        let dealer = &self.reader.dealer;
        let pause = dealer.shared.config.queue.batch_send_deadline / READ_PAUSE_PART;
        if dealer.wants_soon() { BURST_PAUSE } else { pause.clamp(*READ_PAUSE.start(), *READ_PAUSE.end()) }
    }

    fn name(&self) -> &str {
        &self.reader.dealer.shared.metrics.name
    }

    /// Waits for a commit, an order, or the time of an open batch.
    fn wait(&mut self, pause: Duration) {
        // However often samples come, they are read in bulk.
        let dealer = &mut self.reader.dealer;
        dealer.orders.rest(pause);
        if dealer.orders.mode() > Mode::Reading || dealer.orders.wanted_shards.is_some() {
            return;
        }
        let patience = dealer.patience();
        if dealer.wants_soon() && self.commits.is_empty() {
            // A burst of scrapes is over.
            dealer.flush_due(Patience { idle: Duration::ZERO, ..patience });
        }
        let until_due = match dealer.outbox.next_due(patience) {
            Some((due, _)) => due.saturating_duration_since(Instant::now()),
            None => LONGEST_PAUSE,
        };
        if !dealer.orders.rest_until_commit(&self.commits, until_due.min(LONGEST_PAUSE)) {
            self.commits = never();
        }
        dealer.flush_due(patience);
    }

    /// Leaves what it is behind by to the backlog. The gap ends with a segment, so that what truncation takes from it
    /// can be counted.
    fn split(&mut self) {
        let dealer = &mut self.reader.dealer;
        dealer.last_split = Some(Instant::now());
        let started = match dealer.shared.log.start_segment() {
            Ok(started) => started,
            Err(error) => return log::warn!("remote_write {}: {error}; samples go in order", self.name()),
        };
        if let Some(lane) = dealer.shared.progress.split(started) {
            self.reader.move_to(lane, Mark::start_of(started).position, None);
        }
    }

    /// Starts a reader for gaps that have none, and says when there is a backlog and when there is none any more.
    fn tend_backlog(&mut self) {
        if let Some(ended) = self.backlog.take_if(|backlog| backlog.has_ended())
            && !ended.join()
        {
            self.reader.dealer.orders.stop();
        }
        let dealer = &self.reader.dealer;
        let (shared, stop) = (&dealer.shared, dealer.orders.stop_token());
        let is_split = shared.progress.is_split();
        if is_split && !self.had_backlog {
            log::info!(
                "remote_write {}: behind; the newest samples are sent first, and the backlog beside them with a share \
                 of {} of the link",
                shared.metrics.name,
                shared.config.queue.backlog_share
            );
        } else if self.had_backlog && !is_split {
            log::info!(
                "remote_write {}: the backlog is sent; samples go in the order of the log",
                shared.metrics.name
            );
        }
        self.had_backlog = is_split;
        if !is_split {
            shared.metrics.backlog_timestamp.set(0.0);
        }
        if self.backlog.is_none() && shared.progress.gap().is_some() {
            match Backlog::spawn(Arc::clone(shared), self.shards.backlog_outbox(), stop.clone()) {
                Ok(backlog) => self.backlog = Some(backlog),
                Err(error) => {
                    log::error!(
                        "remote_write {}: cannot start the backlog: {error}; it is tried again",
                        shared.metrics.name
                    );
                }
            }
        }
    }

    fn end(mut self) {
        if self.reader.dealer.orders.mode() == Mode::Draining {
            self.tend_backlog();
            self.reader.dealer.flush_all();
        }
        let is_stopped = self.reader.dealer.orders.mode() == Mode::Stopped;
        drop(self.reader);
        match self.backlog {
            Some(backlog) if is_stopped => backlog.stop(),
            Some(backlog) => drop(backlog.join()),
            None => {}
        }
        self.shards.join();
    }

    /// Ends the shards and starts as many as are wanted.
    fn reshard(&mut self) {
        let n_before = self.shards.len();
        let dealer = &mut self.reader.dealer;
        let Some(n) = dealer.orders.wanted_shards.take().filter(|n| *n != n_before) else { return };
        if let Some(backlog) = self.backlog.take() {
            backlog.leave();
        }
        dealer.flush_all();
        if dealer.orders.mode() == Mode::Stopped {
            return;
        }
        let spawned = {
            dealer.outbox = Outbox::closed();
            std::mem::replace(&mut self.shards, Shards::none()).join();
            Shards::spawn(n, &dealer.shared, dealer.orders.stop_token())
        };
        match spawned {
            Ok((shards, outbox)) => {
                self.shards = shards;
                dealer.outbox = outbox;
                log::info!("remote_write {}: resharding from {n_before} to {n} shards", self.name());
            }
            Err(error) => {
                log::error!("remote_write {}: cannot start a shard: {error}", self.name());
                self.reader.dealer.orders.stop();
            }
        }
    }
}
