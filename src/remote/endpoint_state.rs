//! What the watcher, the shards and the manager of one endpoint share, and what they say to people about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::config::remote_write::{ProtobufMessage, RemoteWriteConfig};
use crate::duration::format_duration;
use crate::http::Canceller;
use crate::http::dial::dialer::Turn;
use crate::remote::metrics::EndpointMetrics;
use crate::remote::refuse::panics::{MAX_PANICS, PanickingSeries};
use crate::remote::refuse::pause::{Pass, Pause};
use crate::remote::refuse::refusals::Refusals;
use crate::remote::refuse::size_bound::SizeBound;
use crate::remote::send::batch::{Batch, Queued};
use crate::remote::send::client::Written;
use crate::remote::settle::ledger::{DropReason, Fate, Kind};
use crate::remote::settle::progress::Progress;
use scraped_engine::encode::Message;
use scraped_engine::encode::series_labels::SeriesLabels;
use scraped_engine::labels::Labels;
use scraped_engine::series::SeriesHandle;
use scraped_engine::threads::Panicked;
use scraped_engine::wal::head::LogReader;

/// A sentence about the same trouble is repeated no more often.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// State of one endpoint.
#[derive(Debug)]
pub struct Shared {
    /// The log.
    pub log: LogReader,
    /// For ages.
    pub clock: Clock,
    /// The section of the configuration.
    pub config: Arc<RemoteWriteConfig>,
    /// Labels as the endpoint sees them.
    pub labels: SeriesLabels,
    /// What became of the samples.
    pub progress: Arc<Progress>,
    /// Counters.
    pub metrics: Arc<EndpointMetrics>,
    /// Shards there may be.
    pub max_shards: usize,
    /// For `round_robin_dns`.
    pub turn: Turn,
    /// What it refuses.
    pub refusals: Refusals,
    /// What our own code does not get over.
    pub panicking: PanickingSeries,
    /// While it is wrong.
    pub pause: Pause,
    /// How much it takes at a time.
    pub size_bound: SizeBound,
    is_draining: AtomicBool,
    /// What shards that have ended leave to the next ones.
    parked: Mutex<Batch>,
    speaks_only_v1: AtomicBool,
    is_nhcb_said: AtomicBool,
    trouble: Mutex<Trouble>,
    lost: Mutex<Lost>,
    cancellers: Mutex<Cancellers>,
}

#[derive(Debug, Default)]
struct Trouble {
    since: Option<Instant>,
    said: Option<Instant>,
}

#[derive(Debug, Default)]
struct Cancellers {
    known: Vec<(u64, Canceller)>,
    last_id: u64,
    is_over: bool,
}

/// What is to be said of items that the endpoint refuses.
#[derive(Debug, Default)]
struct Lost {
    said: Option<Instant>,
    /// Which, and why.
    last: Option<(String, String)>,
}

impl Shared {
    /// A fresh state; `progress` and `metrics` may be those of an earlier one.
    pub fn new(
        log: LogReader,
        clock: Clock,
        config: Arc<RemoteWriteConfig>,
        labels: SeriesLabels,
        max_shards: usize,
        progress: Arc<Progress>,
        metrics: Arc<EndpointMetrics>,
    ) -> Self {
        let refusals = Refusals::new(Arc::clone(&metrics), Instant::now());
        Self {
            log,
            clock,
            config,
            labels,
            progress,
            metrics,
            max_shards,
            turn: Turn::default(),
            refusals,
            panicking: PanickingSeries::default(),
            pause: Pause::default(),
            size_bound: SizeBound::default(),
            is_draining: AtomicBool::new(false),
            parked: Mutex::default(),
            speaks_only_v1: AtomicBool::new(false),
            is_nhcb_said: AtomicBool::new(false),
            trouble: Mutex::default(),
            lost: Mutex::default(),
            cancellers: Mutex::default(),
        }
    }

    /// The message to send now.
    pub fn message(&self) -> Message {
        match self.config.protobuf_message {
            ProtobufMessage::V2 if !self.speaks_only_v1.load(Ordering::Relaxed) => Message::V2,
            _ => Message::V1,
        }
    }

    /// From now on 1.0 is sent, whatever the configuration says.
    pub fn fall_back(&self, error: &str) {
        if !self.speaks_only_v1.swap(true, Ordering::Relaxed) {
            log::warn!(
                "remote_write {}: the endpoint does not take remote write 2.0 ({error}); 1.0 is sent until the next \
                 start or change of its section; set protobuf_message: prometheus.WriteRequest to say so",
                self.metrics.name
            );
        }
    }

    /// Whether the section sends items of this kind now. 2.0 always has native histograms, as in Prometheus.
    pub fn sends(&self, kind: Kind) -> bool {
        match kind {
            Kind::Float => true,
            Kind::Histogram => self.config.send_native_histograms || self.message() == Message::V2,
            Kind::Exemplar => self.config.send_exemplars,
        }
    }

    /// Items have met their fate.
    pub fn settle(&self, items: &[Queued], fate: Fate) {
        if items.is_empty() {
            return;
        }
        for (kind, n) in Kind::ALL.into_iter().zip(numbers(items)) {
            self.count(kind, n, fate);
        }
        self.progress.settle(items.iter().map(|item| item.record), fate);
    }

    /// The endpoint has answered for good and said how much it has written; which of the items, it does not say.
    /// Returns the number of items it does not have.
    pub fn settle_written(&self, items: &[Queued], written: Written) -> u64 {
        let Written { samples, histograms, exemplars } = written;
        let mut left = [samples, histograms, exemplars];
        if numbers(items).iter().zip(left).all(|(n, written)| *n <= written) {
            self.settle(items, Fate::Sent);
            return 0;
        }
        let (sent, lost): (Vec<Queued>, Vec<Queued>) = items.iter().partition(|item| {
            left.get_mut(item.kind() as usize).is_some_and(|left| {
                let is_sent = *left > 0;
                *left = left.saturating_sub(1);
                is_sent
            })
        });
        self.settle(&sent, Fate::Sent);
        self.metrics.items_refused.add(lost.len() as u64);
        self.settle(&lost, Fate::Dropped(DropReason::Rejected));
        lost.len() as u64
    }

    /// Counts items in the metrics alone.
    pub fn count(&self, kind: Kind, n: u64, fate: Fate) {
        self.metrics.count(kind, n, fate);
    }

    /// A request with these items is sent again.
    pub fn count_retry(&self, items: &[Queued]) {
        for (kind, n) in Kind::ALL.into_iter().zip(numbers(items)) {
            self.metrics.kind(kind).retried.add(n);
        }
    }

    /// A timestamp before which samples are too old; `None` without `sample_age_limit`.
    pub fn oldest_wanted_ms(&self) -> Option<i64> {
        let limit = self.config.queue.sample_age_limit;
        if limit.is_zero() {
            return None;
        }
        let limit_ms = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
        Some(self.clock.wall_ms().saturating_sub(limit_ms))
    }

    /// A try has failed and is repeated.
    pub fn failed(&self, error: &str) {
        self.trouble(error, "it is tried again");
    }

    /// The endpoint is wrong: it is left alone for a while, or for as long as it `asked`.
    pub fn wrong(&self, pass: Pass, error: &str, asked: Option<Duration>) {
        let Some(pause) = self.pause.begin(pass, asked) else { return };
        let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        self.metrics.paused_until_ms.set(self.clock.wall_ms().saturating_add(pause_ms) as f64);
        self.trouble(error, &format!("nothing is sent for {}", format_duration(pause)));
    }

    /// The endpoint is away: it has other pauses than one that is wrong.
    pub fn away(&self) {
        if self.pause.end(false) {
            self.metrics.paused_until_ms.set(0.0);
        }
    }

    fn trouble(&self, error: &str, what_next: &str) {
        let mut trouble = self.trouble.lock();
        let now = Instant::now();
        trouble.since.get_or_insert(now);
        error.clone_into(&mut self.metrics.last_error.lock());
        if trouble.said.is_some_and(|said| now.duration_since(said) < SAY_AGAIN) {
            return;
        }
        trouble.said = Some(now);
        drop(trouble);
        log::warn!("remote_write {}: {error}; {what_next}, the samples wait in the log", self.metrics.name);
    }

    /// A try has worked.
    pub fn worked(&self) {
        if self.pause.end(true) {
            self.metrics.paused_until_ms.set(0.0);
        }
        self.metrics.last_send_ms.set(self.clock.wall_ms() as f64);
        let mut trouble = self.trouble.lock();
        if let Some(since) = trouble.since.take() {
            trouble.said = None;
            self.metrics.last_error.lock().clear();
            drop(trouble);
            log::info!(
                "remote_write {}: the endpoint takes samples again after {:.1} s",
                self.metrics.name,
                since.elapsed().as_secs_f64()
            );
        }
    }

    /// What happened last while the endpoint fails; empty while it works.
    pub fn last_error(&self) -> String {
        self.metrics.last_error.lock().clone()
    }

    /// Items are dropped because the endpoint refuses them; `what` says which. Said with [`Shared::say_lost`].
    pub fn lost(&self, what: impl FnOnce() -> String, error: &str) {
        if self.lost.lock().is_due(Instant::now()) {
            let last = (what(), error.to_owned());
            *self.metrics.last_refusal.lock() = format!("{}: {}", last.0, last.1);
            self.lost.lock().last = Some(last);
        }
    }

    /// Says how much is lost, if that was not said a moment ago.
    pub fn say_lost(&self) {
        let now = Instant::now();
        let mut lost = self.lost.lock();
        if !lost.is_due(now) {
            return;
        }
        let n_lost: u64 = self.metrics.kinds.iter().map(|kind| kind.failed.get()).sum();
        let Some((what, error)) = lost.last.take_if(|_| n_lost > 0) else { return };
        lost.said = Some(now);
        drop(lost);
        log::error!(
            "remote_write {}: samples are dropped because the endpoint refuses them, {n_lost} in all since the start, and \
             {} series are set aside, of which now and then one is tried again; the last: {what}: {error}; more of that is \
             only counted, in prometheus_remote_storage_samples_failed_total and those of histograms and exemplars",
            self.metrics.name,
            self.metrics.set_aside.get()
        );
    }

    /// Samples of a series, which are dropped now, have made a thread panic.
    pub fn note_panic(&self, handle: SeriesHandle, panicked: &Panicked) {
        let is_set_aside = self.panicking.add(handle);
        if is_set_aside {
            self.metrics.panics_set_aside.inc();
        }
        let what_next = match is_set_aside {
            true => {
                format!("after {MAX_PANICS} panics the series is set aside: all that comes of it is dropped")
            }
            false => "what was in hand of the series is dropped".to_owned(),
        };
        log::error!(
            "BUG: remote_write {}: sending samples of {} {panicked}; {what_next}, in \
             prometheus_remote_storage_samples_dropped_total with the reason panicked; all else is sent",
            self.metrics.name,
            self.series_text(handle)
        );
    }

    /// A series as text.
    pub fn series_text(&self, handle: SeriesHandle) -> String {
        let mut text = String::new();
        self.log.visit_labels(&[handle], |_, pairs| {
            text = Labels::from_pairs(pairs.into_iter().flatten()).to_string();
        });
        text
    }

    /// Series that the log has forgotten are forgotten here, too.
    pub fn forget_gone_series(&self) {
        let known = self.refusals.set_aside();
        let handles: Vec<SeriesHandle> = known.iter().map(|(handle, _)| *handle).collect();
        let mut gone = Vec::new();
        self.log.visit_labels(&handles, |idx, pairs| {
            if pairs.is_none() {
                gone.extend(known.get(idx));
            }
        });
        if !gone.is_empty() {
            self.refusals.forget(&gone);
        }
    }

    /// The daemon ends: what cannot be sent now stays in the log.
    pub fn start_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
        self.pause.give_up_waiting();
    }

    /// Whether the daemon ends.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Leaves items to the next shards.
    pub fn park(&self, batch: &Batch) {
        self.parked.lock().push_from(&batch.queued, &batch.rest);
    }

    /// Takes what was left to a shard by those before it; `is_own` says of which series.
    pub fn unpark(&self, is_own: impl Fn(SeriesHandle) -> bool) -> Batch {
        let mut parked = self.parked.lock();
        let (own, others): (Vec<Queued>, Vec<Queued>) =
            parked.queued.iter().partition(|item| is_own(item.handle));
        let (mut batch, mut left) = (Batch::default(), Batch::default());
        batch.push_from(&own, &parked.rest);
        left.push_from(&others, &parked.rest);
        *parked = left;
        batch
    }

    /// Histograms are dropped because 1.0 has no place for them.
    pub fn unsupported(&self, n: usize) {
        if !self.is_nhcb_said.swap(true, Ordering::Relaxed) {
            log::warn!(
                "remote_write {}: {n} native histograms with custom buckets are dropped: remote write 1.0 does not \
                 support them; set protobuf_message: io.prometheus.write.v2.Request if the endpoint takes it; more of \
                 that is only counted, in prometheus_remote_storage_histograms_dropped_total",
                self.metrics.name
            );
        }
    }

    /// Requests of a sender can be ended with this; its number.
    pub fn register(&self, canceller: Canceller) -> u64 {
        let mut cancellers = self.cancellers.lock();
        if cancellers.is_over {
            canceller.cancel();
        }
        cancellers.last_id += 1;
        let id = cancellers.last_id;
        cancellers.known.push((id, canceller));
        id
    }

    /// The sender of this number is gone.
    pub fn unregister(&self, id: u64) {
        self.cancellers.lock().known.retain(|(known, _)| *known != id);
    }

    /// Ends all requests in flight, and all that senders of this state will make.
    pub fn cancel_all(&self) {
        let mut cancellers = self.cancellers.lock();
        cancellers.is_over = true;
        for (_, canceller) in &cancellers.known {
            canceller.cancel();
        }
    }
}

impl Lost {
    fn is_due(&self, now: Instant) -> bool {
        self.said.is_none_or(|said| now.duration_since(said) >= SAY_AGAIN)
    }
}

/// By kind.
fn numbers(items: &[Queued]) -> [u64; Kind::ALL.len()] {
    let mut numbers = [0; Kind::ALL.len()];
    for item in items {
        if let Some(n) = numbers.get_mut(item.kind() as usize) {
            *n += 1;
        }
    }
    numbers
}
