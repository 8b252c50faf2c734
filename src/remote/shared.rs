//! What the watcher, the shards and the manager of one endpoint share, and what they say to people about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::config::remote_write::{ProtobufMessage, RemoteWriteConfig};
use crate::http::Canceller;
use crate::http::dial::Turn;
use crate::remote::batch::Queued;
use crate::remote::client::Written;
use crate::remote::encode::Message;
use crate::remote::ledger::{DropReason, Fate, Kind};
use crate::remote::metrics::EndpointMetrics;
use crate::remote::progress::Progress;
use crate::remote::series_labels::SeriesLabels;
use crate::wal::head::Wal;

/// A sentence about the same trouble is repeated no more often.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// State of one endpoint.
#[derive(Debug)]
pub struct Shared {
    /// The log.
    pub wal: Wal,
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
    /// For `round_robin_dns`.
    pub turn: Turn,
    speaks_only_v1: AtomicBool,
    is_nhcb_said: AtomicBool,
    trouble: Mutex<Trouble>,
    refusal_said: Mutex<Option<Instant>>,
    cancellers: Mutex<Vec<Canceller>>,
}

#[derive(Debug, Default)]
struct Trouble {
    since: Option<Instant>,
    said: Option<Instant>,
}

impl Shared {
    /// A fresh state; `progress` and `metrics` may be those of an earlier one.
    pub fn new(
        wal: Wal,
        clock: Clock,
        config: Arc<RemoteWriteConfig>,
        labels: SeriesLabels,
        progress: Arc<Progress>,
        metrics: Arc<EndpointMetrics>,
    ) -> Self {
        Self {
            wal,
            clock,
            config,
            labels,
            progress,
            metrics,
            turn: Turn::default(),
            speaks_only_v1: AtomicBool::new(false),
            is_nhcb_said: AtomicBool::new(false),
            trouble: Mutex::default(),
            refusal_said: Mutex::default(),
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
        self.settle(&lost, Fate::Dropped(DropReason::Rejected));
        lost.len() as u64
    }

    /// Counts items in the metrics alone.
    pub fn count(&self, kind: Kind, n: u64, fate: Fate) {
        if n == 0 {
            return;
        }
        let metrics = self.metrics.kind(kind);
        match fate {
            Fate::Sent => metrics.sent.add(n),
            Fate::Dropped(reason) => {
                if let Some(counter) = metrics.dropped.get(reason as usize) {
                    counter.add(n);
                }
                if reason == DropReason::Rejected {
                    metrics.failed.add(n);
                }
            }
        }
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
        let mut trouble = self.trouble.lock();
        let now = Instant::now();
        trouble.since.get_or_insert(now);
        error.clone_into(&mut self.metrics.last_error.lock());
        if trouble.said.is_some_and(|said| now.duration_since(said) < SAY_AGAIN) {
            return;
        }
        trouble.said = Some(now);
        drop(trouble);
        log::warn!(
            "remote_write {}: {error}; it is tried again, the samples wait in the log",
            self.metrics.name
        );
    }

    /// A try has worked.
    pub fn worked(&self) {
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

    /// Items are dropped because the endpoint refuses them; `what` says which.
    pub fn refused(&self, what: &str, error: &str) {
        let mut said = self.refusal_said.lock();
        let now = Instant::now();
        if said.is_some_and(|said| now.duration_since(said) < SAY_AGAIN) {
            return;
        }
        *said = Some(now);
        drop(said);
        log::error!(
            "remote_write {}: {what} are dropped: {error}; more of that is only counted, in \
             prometheus_remote_storage_samples_failed_total and those of histograms and exemplars",
            self.metrics.name
        );
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

    /// A shard's requests can be ended with this.
    pub fn register(&self, canceller: Canceller) {
        self.cancellers.lock().push(canceller);
    }

    /// Ends all requests in flight, and all that shards of this state will make.
    pub fn cancel_all(&self) {
        for canceller in self.cancellers.lock().iter() {
            canceller.cancel();
        }
    }

    /// The cancellers of shards that have ended are of no use.
    pub fn forget_cancellers(&self) {
        self.cancellers.lock().clear();
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
