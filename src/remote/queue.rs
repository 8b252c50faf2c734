//! One endpoint as the manager sees it: its watcher's thread, its place in the log, and what is remembered of both.
//!
//! All of it runs on thread `remote-manager`.

use crate::remote::endpoint_name::name_of;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::clock::Clock;
use crate::config::remote_write::RemoteWriteConfig;
use crate::remote::endpoint_state::Shared;
use crate::remote::metrics::EndpointMetrics;
use crate::remote::read::claims::Place;
use crate::remote::read::dealer::THREAD;
use crate::remote::read::orders::{Control, Orders};
use crate::remote::read::watcher::Watcher;
use crate::remote::send::request_thread::RequestThread;
use crate::remote::send::shard_count::{EwmaRate, Situation, UPDATE_SECONDS};
use crate::remote::send::{clock_asker, metadata_sender, shard_count};
use crate::remote::settle::ledger::{DropReason, Fate, Kind, Ledger};
use crate::remote::settle::losses;
use crate::remote::settle::position::Positions;
use crate::remote::settle::progress::Progress;
use crate::remote::settle::saved_position::SavedPosition;
use crate::remote::traffic::TrafficMeter;
use scraped_engine::encode::series_labels::SeriesLabels;
use scraped_engine::families::MetadataStore;
use scraped_engine::labels::Labels;
use scraped_engine::threads::Thread;
use scraped_engine::threads::restarts::Restarts;
use scraped_engine::threads::stop::{StopToken, Stopper, stop_pair};
use scraped_engine::wal::head::{LogReader, ReaderMark};

/// Commits that a watcher has not noticed: one is enough to be awake.
const COMMITS: usize = 1;

/// When a queue ends without being flushed, requests in flight have this long before they are cancelled: what they
/// carry would be sent twice.
const GRACE: Duration = Duration::from_secs(2);

/// An endpoint's section with the labels that all endpoints get.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// The section.
    pub config: Arc<RemoteWriteConfig>,
    /// `global.external_labels`.
    pub external_labels: Labels,
}

/// A running endpoint.
#[derive(Debug)]
pub struct Queue {
    endpoint: Endpoint,
    log: LogReader,
    clock: Clock,
    /// Families of all targets.
    families: Arc<MetadataStore>,
    /// Memory there may be; `None`: nothing says how much.
    memory_bytes: Option<u64>,
    progress: Arc<Progress>,
    metrics: Arc<EndpointMetrics>,
    position: SavedPosition,
    is_save_failing: bool,
    rates: [EwmaRate; 4],
    sample_meter: TrafficMeter,
    byte_meter: TrafficMeter,
    running: Option<Running>,
    /// Of all its threads: when one dies, the others end.
    restarts: Restarts,
    /// It has died, and starts again at this time.
    restart_at: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    control: Sender<Control>,
    stopper: Stopper,
    /// Closed when the watcher has ended.
    done: Receiver<()>,
    thread: Thread,
    /// Threads beside the shards.
    beside: Vec<RequestThread>,
}

impl Queue {
    /// Goes on at the place of a claim; nothing runs yet.
    pub fn new(
        endpoint: Endpoint,
        log: LogReader,
        clock: Clock,
        families: Arc<MetadataStore>,
        memory_bytes: Option<u64>,
        (Place { saved, before, .. }, mark): (Place, ReaderMark),
    ) -> Self {
        let (config, now) = (&endpoint.config, Instant::now());
        let metrics = Arc::new(EndpointMetrics::new(name_of(config), config.shown_url()));
        Self {
            position: SavedPosition::new(log.clone(), mark, saved.clone()),
            progress: Arc::new(Progress::new(&saved, &before)),
            metrics,
            endpoint,
            log,
            clock,
            families,
            memory_bytes,
            is_save_failing: false,
            rates: [EwmaRate::default(); 4],
            sample_meter: TrafficMeter::new(now),
            byte_meter: TrafficMeter::new(now),
            running: None,
            restarts: Restarts::of(THREAD.name),
            restart_at: None,
        }
    }

    /// The section it runs with.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its counters.
    pub fn metrics(&self) -> &Arc<EndpointMetrics> {
        &self.metrics
    }

    /// What became of its samples.
    pub fn ledger(&self) -> Ledger {
        self.progress.ledger()
    }

    /// What happened last while the endpoint fails; empty while it works.
    pub fn last_error(&self) -> String {
        self.running.as_ref().map(|running| running.shared.last_error()).unwrap_or_default()
    }

    /// Starts to send from the watermark on.
    ///
    /// # Errors
    /// The system refuses the threads.
    pub fn start(&mut self) -> io::Result<()> {
        for (kind, n) in Kind::ALL.into_iter().zip(self.progress.rewind()) {
            self.metrics.count(kind, n, Fate::Dropped(DropReason::WalTruncated));
        }
        let config = Arc::clone(&self.endpoint.config);
        let queue = &config.queue;
        let max_shards = shard_count::most_shards(queue, self.memory_bytes);
        self.metrics.shards_max.set(max_shards as f64);
        self.metrics.shards_min.set(queue.min_shards as f64);
        self.metrics.shards_desired.set(queue.min_shards as f64);
        self.metrics.shard_capacity.set(queue.capacity as f64);
        self.metrics.max_samples_per_send.set(queue.max_samples_per_send as f64);
        let labels =
            SeriesLabels::new(self.endpoint.external_labels.clone(), config.write_relabel_configs.clone());
        let shared = Arc::new(Shared::new(
            self.log.clone(),
            self.clock.clone(),
            config,
            labels,
            max_shards,
            Arc::clone(&self.progress),
            Arc::clone(&self.metrics),
        ));
        let (control, orders) = unbounded();
        let (stopper, stop) = stop_pair();
        let (is_running, done) = bounded(0);
        let (commit, commits) = bounded(COMMITS);
        let beside = self.start_beside(&shared, &stop)?;
        let watcher = Watcher::new(Arc::clone(&shared), Orders::new(orders, stop), commits)?;
        self.log.notify(commit, Arc::clone(&self.metrics.watcher_notifications_skipped));
        let consequence = "remote-manager starts it again";
        let thread = THREAD.spawn_owned(&self.metrics.name, consequence, move || {
            let _is_running: Sender<()> = is_running;
            watcher.run();
        })?;
        self.running = Some(Running { shared, control, stopper, done, thread, beside });
        Ok(())
    }

    fn start_beside(&self, shared: &Arc<Shared>, stop: &StopToken) -> io::Result<Vec<RequestThread>> {
        let mut beside = Vec::new();
        let config = shared.config.metadata;
        if config.send {
            let families = Arc::clone(&self.families);
            beside.push(metadata_sender::spawn(Arc::clone(shared), config, families, stop.clone())?);
        }
        if shared.clock.asks_servers() {
            beside.push(clock_asker::spawn(Arc::clone(shared), stop.clone())?);
        }
        Ok(beside)
    }

    /// Starts again what has ended by itself, after a pause.
    pub fn revive(&mut self) {
        let now = Instant::now();
        if self.running.as_ref().is_some_and(|running| running.thread.has_ended()) {
            let pause = self.restarts.next_pause();
            log::error!(
                "remote_write {}: a thread of it has died; all of them start again in {} s, what was not sent waits in \
                 the log",
                self.metrics.name,
                pause.as_secs()
            );
            self.halt(now + GRACE);
            self.restart_at = Some(now + pause);
        }
        if self.running.is_some() || self.restart_at.is_some_and(|restart_at| now < restart_at) {
            return;
        }
        match self.start() {
            Ok(()) if self.restart_at.take().is_some() => self.restarts.count(),
            Ok(()) => {}
            Err(error) => {
                log::error!("remote_write {}: cannot start: {error}; it is tried again", self.metrics.name);
            }
        }
    }

    /// Another section for the same endpoint: goes on where it is.
    pub fn replace(&mut self, endpoint: Endpoint) {
        self.halt(Instant::now() + GRACE);
        if self.endpoint.config.identity() != endpoint.config.identity() {
            // Its place is not remembered under this identity yet.
            self.position.forget_saved();
        }
        self.endpoint = endpoint;
        self.restart_at = None;
        self.revive();
    }

    /// Somebody has reloaded the configuration, perhaps because a file with a password is another one now: an endpoint
    /// that is wrong is asked again at once.
    pub fn ask_again(&self) {
        if let Some(running) = &self.running {
            running.shared.pause.cut_short();
        }
    }

    /// Asks the watcher to send what there is and to end.
    pub fn drain(&self) {
        if let Some(running) = &self.running {
            running.shared.start_draining();
            let _ = running.control.send(Control::Drain);
        }
    }

    /// Waits for the end of a drained queue until `deadline`.
    pub fn await_drained(&self, deadline: Instant) {
        if let Some(running) = &self.running {
            let _ = running.done.recv_deadline(deadline);
        }
    }

    /// Ends the watcher and its shards; requests in flight may end until `deadline`.
    pub fn halt(&mut self, deadline: Instant) {
        let Some(Running { shared, control, stopper, done, thread, beside }) = self.running.take() else {
            return;
        };
        drop(control);
        drop(stopper);
        if done.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout) {
            shared.cancel_all();
        }
        thread.join();
        beside.into_iter().for_each(RequestThread::join);
        self.metrics.shards.set(0.0);
        self.metrics.paused_until_ms.set(0.0);
    }

    /// Counts what has gone of the log before it was read.
    pub fn count_gone(&self) {
        losses::count_gone(&self.log, &self.endpoint.config, &self.progress, &self.metrics);
    }

    /// What is settled now may be saved once it is durable.
    pub fn note_settled(&mut self) {
        self.position.note_settled(self.progress.settled());
    }

    /// What was remembered has vanished.
    pub fn forget_saved(&mut self) {
        self.position.forget_saved();
    }

    /// Remembers the newest settled place that is durable, and lets the log go up to there.
    pub fn save(&mut self, positions: &Positions) {
        self.note_settled();
        let config = &self.endpoint.config;
        match self.position.save(positions, config.identity(), &config.url) {
            Ok(()) => self.is_save_failing = false,
            Err(error) => {
                if !self.is_save_failing {
                    self.is_save_failing = true;
                    log::error!(
                        "remote_write {}: its position cannot be saved: {error}; after a restart samples are sent \
                         again from {:08} on",
                        self.metrics.name,
                        self.position.position().segment
                    );
                }
            }
        }
    }

    /// Brings the gauges up to date.
    pub fn measure(&mut self, now: Instant) {
        let ledger = self.progress.ledger();
        for (kind, n) in self.metrics.kinds.iter().zip(self.progress.pending()) {
            kind.pending.set(n as f64);
        }
        *self.metrics.ledger.lock() = ledger;
        self.metrics.oldest_pending_ms.set(self.progress.oldest_pending_ms().unwrap_or_default() as f64);
        let n_samples =
            [Kind::Float, Kind::Histogram].map(|kind| self.metrics.kind(kind).sent.get()).iter().sum();
        let wall_ms = self.clock.wall_ms();
        let samples = self.sample_meter.read(now, wall_ms, n_samples);
        *self.metrics.sample_traffic.lock() = samples;
        let n_bytes = self.metrics.bytes.get() + self.metrics.metadata.bytes.get();
        let bytes = self.byte_meter.read(now, wall_ms, n_bytes);
        *self.metrics.byte_traffic.lock() = bytes;
        if let Some(running) = &self.running {
            self.metrics.max_request_bytes.set(running.shared.size_bound.shown().bytes as f64);
        }
        // Of the log and not of the watcher, which waits while the endpoint is away: alerts compare it with what is sent.
        if let Some(newest_ms) = self.log.newest_ts_ms() {
            self.metrics.highest_timestamp.set(newest_ms as f64 / 1000.0);
        }
        if let Some(end) = self.log.committed_end() {
            let lag_bytes = self.progress.lag_bytes(end, |number| self.log.bytes_of_segment(number));
            self.metrics.lag_bytes.set(lag_bytes as f64);
        }
    }

    /// Every ten seconds: the number of shards by Prometheus' rule.
    pub fn reshard(&mut self) {
        let metrics = &self.metrics;
        let (sent, dropped) = metrics.items_out();
        let totals = [
            metrics.items_in.get() as f64,
            sent as f64,
            dropped as f64,
            Duration::from_nanos(metrics.send_ns.get()).as_secs_f64(),
        ];
        let mut values = [0.0; 4];
        for ((value, rate), total) in values.iter_mut().zip(&mut self.rates).zip(totals) {
            *value = rate.tick(total);
        }
        let [samples_in, samples_out, samples_dropped, send_seconds] = values;
        let Some(running) = &self.running else { return };
        let queue = &self.endpoint.config.queue;
        // Without a recent answer nothing is known.
        let age_ms = self.clock.wall_ms() as f64 - metrics.last_send_ms.get();
        let longest_ms = (2 * queue.batch_send_deadline).as_secs_f64().max(UPDATE_SECONDS) * 1000.0;
        if age_ms > longest_ms {
            return;
        }
        let newest = self.log.newest_ts_ms().map_or(metrics.highest_timestamp.get(), |ms| ms as f64 / 1000.0);
        let answered = metrics.highest_answered_timestamp.get();
        let backlog = Some(metrics.backlog_timestamp.get()).filter(|backlog| *backlog > 0.0);
        let situation = Situation {
            shards: metrics.shards.get() as usize,
            min: queue.min_shards,
            max: running.shared.max_shards,
            samples_in,
            samples_out,
            samples_dropped,
            send_seconds,
            delay_seconds: (newest - backlog.map_or(answered, |backlog| backlog.min(answered))).max(0.0),
        };
        let (desired, wanted) = shard_count::desired(situation);
        metrics.shards_desired.set(desired);
        if wanted != situation.shards {
            let _ = running.control.send(Control::Reshard(wanted));
        }
    }
}
