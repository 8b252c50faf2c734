//! Self-metrics of remote write under Prometheus' names, so that its dashboards and alerts work.
//!
//! Counted by watchers, shards and the manager, a child an endpoint; gone with the endpoint. What is pending, and what
//! has come into the log, is set by the manager, every second.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::remote::answers::Answers;
use crate::remote::settle::ledger::{DropReason, Fate, Kind, Ledger};
use crate::remote::traffic::Traffic;
use scraped_engine::metrics::kind::Metric;
use scraped_engine::metrics::page::Page;
use scraped_engine::metrics::{Collect, Counter, Family, Gauge, Histogram};

/// Upper bounds in seconds, Prometheus' `DefBuckets` and four more as in `queue_manager.go`.
const SENT_BATCH_BUCKETS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0];

/// Metrics of what one endpoint gets of one kind.
#[derive(Debug, Default)]
pub struct KindMetrics {
    /// Acknowledged.
    pub sent: Counter,
    /// Refused for good.
    pub failed: Counter,
    /// Sent again, once a try.
    pub retried: Counter,
    /// By reason, in the order of `DropReason::ALL`.
    pub dropped: [Counter; DropReason::ALL.len()],
    /// Taken from the log, neither sent nor dropped.
    pub pending: Gauge,
}

/// Metrics of the metadata that one endpoint gets.
#[derive(Debug, Default)]
pub struct MetadataMetrics {
    /// Acknowledged entries.
    pub sent: Counter,
    /// Entries refused for good.
    pub failed: Counter,
    /// Entries sent again, once a try.
    pub retried: Counter,
    /// Bytes sent in requests of nothing but metadata.
    pub bytes: Counter,
}

/// Metrics of one endpoint.
#[derive(Debug)]
#[allow(missing_docs, reason = "the help texts below say what each one is")]
pub struct EndpointMetrics {
    pub name: String,
    pub url: String,
    /// In the order of `Kind::ALL`.
    pub kinds: [KindMetrics; Kind::ALL.len()],
    pub metadata: MetadataMetrics,
    pub enqueue_retries: Counter,
    pub bytes: Counter,
    pub sent_batch_duration: Histogram,
    pub highest_timestamp: Gauge,
    pub highest_sent_timestamp: Gauge,
    /// Newest timestamp in seconds of what was read last of a backlog; 0 without one.
    pub backlog_timestamp: Gauge,
    /// Newest timestamp in seconds of what the endpoint has answered for good, taken or not, for the shard rule; 0
    /// before.
    pub highest_answered_timestamp: Gauge,
    pub shards: Gauge,
    pub shards_max: Gauge,
    pub shards_min: Gauge,
    pub shards_desired: Gauge,
    pub shard_capacity: Gauge,
    pub max_samples_per_send: Gauge,
    pub lag_bytes: Gauge,
    /// The ledger over all restarts; set by the manager.
    pub ledger: Mutex<Ledger>,
    /// Items of all kinds read from the log, for the shard rule.
    pub items_in: Counter,
    /// Items of all kinds that were sent and refused, for the shard rule: they have taken time, unlike others that are
    /// dropped.
    pub items_refused: Counter,
    pub set_aside: Gauge,
    pub search_requests: Counter,
    /// Series and records that made a thread panic again and again.
    pub panics_set_aside: Counter,
    /// Wall-clock milliseconds until which nothing is sent to an endpoint that is wrong; 0 without a pause.
    pub paused_until_ms: Gauge,
    pub max_request_bytes: Gauge,
    /// Nanoseconds spent in requests that were answered, for the shard rule.
    pub send_ns: Counter,
    /// Wall-clock milliseconds of the last answer with 2xx.
    pub last_send_ms: Gauge,
    /// What happened last while the endpoint fails; empty while it works.
    pub last_error: Mutex<String>,
    /// What was refused last, and why; empty before. Of refusals in quick succession, one a minute.
    pub last_refusal: Mutex<String>,
    pub answers: Answers,
    /// Samples that were taken; set by the manager.
    pub sample_traffic: Mutex<Traffic>,
    /// Bytes sent, repetitions included; set by the manager.
    pub byte_traffic: Mutex<Traffic>,
    /// Timestamp in milliseconds of the oldest sample that is read and waits; 0 if none is known. Set by the manager.
    pub oldest_pending_ms: Gauge,
    pub watcher_records_read: Family<Counter>,
    pub watcher_decode_failures: Counter,
    pub watcher_current_segment: Gauge,
    pub watcher_pre_tailing: Counter,
    /// Counted by the log.
    pub watcher_notifications_skipped: Arc<Counter>,
}

impl EndpointMetrics {
    /// All zero.
    pub fn new(name: String, url: String) -> Self {
        Self {
            name,
            url,
            kinds: Default::default(),
            metadata: MetadataMetrics::default(),
            enqueue_retries: Counter::default(),
            bytes: Counter::default(),
            sent_batch_duration: Histogram::new(&SENT_BATCH_BUCKETS),
            highest_timestamp: Gauge::default(),
            highest_sent_timestamp: Gauge::default(),
            backlog_timestamp: Gauge::default(),
            highest_answered_timestamp: Gauge::default(),
            shards: Gauge::default(),
            shards_max: Gauge::default(),
            shards_min: Gauge::default(),
            shards_desired: Gauge::default(),
            shard_capacity: Gauge::default(),
            max_samples_per_send: Gauge::default(),
            lag_bytes: Gauge::default(),
            ledger: Mutex::default(),
            items_in: Counter::default(),
            items_refused: Counter::default(),
            set_aside: Gauge::default(),
            search_requests: Counter::default(),
            panics_set_aside: Counter::default(),
            paused_until_ms: Gauge::default(),
            max_request_bytes: Gauge::default(),
            send_ns: Counter::default(),
            last_send_ms: Gauge::default(),
            last_error: Mutex::default(),
            last_refusal: Mutex::default(),
            answers: Answers::default(),
            sample_traffic: Mutex::default(),
            byte_traffic: Mutex::default(),
            oldest_pending_ms: Gauge::default(),
            watcher_records_read: Family::new(&["type"]),
            watcher_decode_failures: Counter::default(),
            watcher_current_segment: Gauge::default(),
            watcher_pre_tailing: Counter::default(),
            watcher_notifications_skipped: Arc::default(),
        }
    }

    /// How far the newest sample that the endpoint has taken is behind the newest there is, in seconds; `None` if it has
    /// taken none.
    pub fn lag_s(&self) -> Option<f64> {
        // Both are a sample's time in seconds; 0 while nothing was read or sent.
        let (newest, sent) = (self.highest_timestamp.get(), self.highest_sent_timestamp.get());
        (sent > 0.0).then(|| (newest - sent).max(0.0))
    }

    /// Metrics of one kind.
    pub fn kind(&self, kind: Kind) -> &KindMetrics {
        let [floats, histograms, exemplars] = &self.kinds;
        match kind {
            Kind::Float => floats,
            Kind::Histogram => histograms,
            Kind::Exemplar => exemplars,
        }
    }

    /// Items have met their fate.
    pub fn count(&self, kind: Kind, n: u64, fate: Fate) {
        if n == 0 {
            return;
        }
        let metrics = self.kind(kind);
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

    /// Items of all kinds that were sent, whether they were taken or not, and those that were dropped unsent, for the
    /// shard rule. What truncation took is not among them: it was never read.
    pub fn items_out(&self) -> (u64, u64) {
        let refused = self.items_refused.get();
        let sent = self.kinds.iter().map(|kind| kind.sent.get()).sum::<u64>() + refused;
        let by_reason = self.kinds.iter().flat_map(|kind| DropReason::ALL.into_iter().zip(&kind.dropped));
        let read = by_reason.filter(|(reason, _)| *reason != DropReason::WalTruncated);
        (sent, read.map(|(_, dropped)| dropped.get()).sum::<u64>().saturating_sub(refused))
    }
}

/// Metrics of all endpoints, in the order of the configuration.
#[derive(Debug, Default)]
pub struct RemoteMetrics {
    endpoints: Mutex<Vec<Arc<EndpointMetrics>>>,
    /// Written to the log since the start, in the order of `Kind::ALL`.
    pub kinds_in: [Gauge; Kind::ALL.len()],
    /// Bytes written to the log; set by the manager.
    pub log_traffic: Mutex<Traffic>,
    /// Bytes of the data directory above which the oldest segments go; 0 before it is known.
    pub log_limit_bytes: Gauge,
}

type Value = fn(&EndpointMetrics) -> f64;

impl RemoteMetrics {
    /// From now on these are shown.
    pub fn show(&self, endpoints: Vec<Arc<EndpointMetrics>>) {
        *self.endpoints.lock() = endpoints;
    }

    /// All endpoints, for the status page.
    pub fn endpoints(&self) -> Vec<Arc<EndpointMetrics>> {
        self.endpoints.lock().clone()
    }
}

const COUNTERS: [(&str, &str, Value); 6] = [
    (
        "enqueue_retries_total",
        "Total number of times enqueue has failed because a shards queue was full.",
        |it| it.enqueue_retries.get() as f64,
    ),
    (
        "bytes_total",
        "The total number of bytes of data (not metadata) sent by the queue after compression.",
        |it| it.bytes.get() as f64,
    ),
    ("metadata_total", "Total number of metadata entries sent to remote storage.", |it| {
        it.metadata.sent.get() as f64
    }),
    (
        "metadata_failed_total",
        "Total number of metadata entries which failed on send to remote storage, non-recoverable errors.",
        |it| it.metadata.failed.get() as f64,
    ),
    (
        "metadata_retried_total",
        "Total number of metadata entries which failed on send to remote storage but were retried because the send \
         error was recoverable.",
        |it| it.metadata.retried.get() as f64,
    ),
    (
        "metadata_bytes_total",
        "The total number of bytes of metadata sent by the queue after compression.",
        |it| it.metadata.bytes.get() as f64,
    ),
];

type KindValue = fn(&KindMetrics) -> f64;

/// Name behind that of the kind, type, help with the kind in its gap.
const KINDS: [(&str, &str, [&str; 2], KindValue); 4] = [
    ("total", "counter", ["Total number of ", " sent to remote storage."], |it| it.sent.get() as f64),
    (
        "failed_total",
        "counter",
        ["Total number of ", " which failed on send to remote storage, non-recoverable errors."],
        |it| it.failed.get() as f64,
    ),
    (
        "retried_total",
        "counter",
        [
            "Total number of ",
            " which failed on send to remote storage but were retried because the send error was recoverable.",
        ],
        |it| it.retried.get() as f64,
    ),
    ("pending", "gauge", ["The number of ", " read from the log that are neither sent nor dropped."], |it| {
        it.pending.get()
    }),
];

const GAUGES: [(&str, &str, Value); 8] = [
    (
        "queue_highest_timestamp_seconds",
        "Timestamp of the newest sample in the log, in seconds since epoch.",
        |it| it.highest_timestamp.get(),
    ),
    (
        "queue_highest_sent_timestamp_seconds",
        "Timestamp from a WAL sample, the highest timestamp successfully sent by this queue, in seconds since epoch.",
        |it| it.highest_sent_timestamp.get(),
    ),
    ("shards", "The number of shards used for parallel sending to the remote storage.", |it| it.shards.get()),
    ("shards_max", "The maximum number of shards that the queue is allowed to run.", |it| {
        it.shards_max.get()
    }),
    ("shards_min", "The minimum number of shards that the queue is allowed to run.", |it| {
        it.shards_min.get()
    }),
    (
        "shards_desired",
        "The number of shards that the queues shard calculation wants to run based on the rate of samples in vs. \
         samples out.",
        |it| it.shards_desired.get(),
    ),
    (
        "shard_capacity",
        "The capacity of each shard of the queue used for parallel sending to the remote storage.",
        |it| it.shard_capacity.get(),
    ),
    (
        "max_samples_per_send",
        "The maximum number of samples to be sent, in a single request, to the remote storage.",
        |it| it.max_samples_per_send.get(),
    ),
];

/// Name, help, type, value of what an endpoint refuses.
const REFUSALS: [(&str, &str, &str, Value); 5] = [
    (
        "scraped_remote_set_aside_series",
        "Series that the endpoint refused alone: their samples are dropped unsent, and now and then one is tried again.",
        "gauge",
        |it| it.set_aside.get(),
    ),
    (
        "scraped_remote_search_requests_total",
        "Requests sent to find out which series of a refused request the endpoint refuses.",
        "counter",
        |it| it.search_requests.get() as f64,
    ),
    (
        "scraped_remote_panics_set_aside_total",
        "Series and records that were set aside because they made a thread panic three times: a bug.",
        "counter",
        |it| it.panics_set_aside.get() as f64,
    ),
    (
        "scraped_remote_endpoint_paused",
        "1 while nothing is sent because the endpoint is wrong (credentials, URL, rate limit, login page), otherwise 0.",
        "gauge",
        |it| f64::from(it.paused_until_ms.get() > 0.0),
    ),
    (
        "scraped_remote_max_request_bytes",
        "Largest request in bytes that is sent since the endpoint answered 413 to a larger one; 0 without a bound.",
        "gauge",
        |it| it.max_request_bytes.get(),
    ),
];

/// `prometheus_wal_watcher_…`: what it ends in, help, type, value.
const WATCHER: [(&str, &str, &str, Value); 4] = [
    (
        "record_decode_failures_total",
        "Number of records read by the WAL watcher that resulted in an error when decoding.",
        "counter",
        |it| it.watcher_decode_failures.get() as f64,
    ),
    (
        "notifications_skipped_total",
        "The number of WAL write notifications that the Watcher has skipped due to already being in a WAL read routine.",
        "counter",
        |it| it.watcher_notifications_skipped.get() as f64,
    ),
    (
        "samples_sent_pre_tailing_total",
        "Number of sample records read by the WAL watcher and sent to remote write during replay of existing WAL.",
        "counter",
        |it| it.watcher_pre_tailing.get() as f64,
    ),
    ("current_segment", "Current segment the WAL watcher is reading records from.", "gauge", |it| {
        it.watcher_current_segment.get()
    }),
];

impl Collect for RemoteMetrics {
    fn collect(&self, page: &mut Page) {
        self.collect_input(page);
        let endpoints = self.endpoints();
        if endpoints.is_empty() {
            return;
        }
        for (families, kind) in [(&COUNTERS[..], "counter"), (&GAUGES[..], "gauge")] {
            for (name, help, value) in families {
                let name = format!("prometheus_remote_storage_{name}");
                page.header(&name, help, kind);
                for endpoint in &endpoints {
                    page.sample(&name, &labels(endpoint), value(endpoint));
                }
            }
        }
        kinds(page, &endpoints);
        let name = "prometheus_remote_storage_sent_batch_duration_seconds";
        page.header(name, "Duration of send calls to the remote storage.", "histogram");
        for endpoint in &endpoints {
            endpoint.sent_batch_duration.write(page, name, &labels(endpoint));
        }
        let name = "scraped_wal_lag_bytes";
        page.header(name, "Bytes of the log that the endpoint has not acknowledged.", "gauge");
        for endpoint in &endpoints {
            page.sample(name, &[("remote_name", &endpoint.name)], endpoint.lag_bytes.get());
        }
        for (name, help, kind, value) in &REFUSALS {
            page.header(name, help, kind);
            for endpoint in &endpoints {
                page.sample(name, &[("remote_name", &endpoint.name)], value(endpoint));
            }
        }
        ledger(page, &endpoints);
        watcher(page, &endpoints);
    }
}

impl RemoteMetrics {
    /// What is not of one endpoint.
    fn collect_input(&self, page: &mut Page) {
        let helps = [
            "Samples in to remote storage, compare to samples out for queue managers.",
            "HistogramSamples in to remote storage, compare to histograms out for queue managers.",
            "Exemplars in to remote storage, compare to exemplars out for queue managers.",
        ];
        for ((kind, help), n) in Kind::ALL.into_iter().zip(helps).zip(&self.kinds_in) {
            let name = format!("prometheus_remote_storage_{}_in_total", kind.plural());
            page.header(&name, help, "counter");
            page.sample(&name, &[], n.get());
        }
        let newest = self.endpoints().iter().map(|it| it.highest_timestamp.get()).fold(0.0, f64::max);
        page.gauge(
            "prometheus_remote_storage_highest_timestamp_in_seconds",
            "Highest timestamp that has come into the remote storage, in seconds since epoch.",
            newest,
        );
        // Prometheus counts its own mistakes here.
        let name = "prometheus_remote_storage_string_interner_zero_reference_releases_total";
        page.header(name, "Always zero: no strings are interned a second time for remote write.", "counter");
        page.sample(name, &[], 0.0);
    }
}

fn kinds(page: &mut Page, endpoints: &[Arc<EndpointMetrics>]) {
    for kind in Kind::ALL {
        for (suffix, metric_type, [before, behind], value) in &KINDS {
            let name = format!("prometheus_remote_storage_{}_{suffix}", kind.plural());
            page.header(&name, &format!("{before}{}{behind}", kind.plural()), metric_type);
            for endpoint in endpoints {
                page.sample(&name, &labels(endpoint), value(endpoint.kind(kind)));
            }
        }
        let name = format!("prometheus_remote_storage_{}_dropped_total", kind.plural());
        page.header(
            &name,
            &format!("Total number of {} which were dropped, by reason.", kind.plural()),
            "counter",
        );
        for endpoint in endpoints {
            for (reason, counter) in DropReason::ALL.iter().zip(&endpoint.kind(kind).dropped) {
                let [remote_name, url] = labels(endpoint);
                page.sample(&name, &[("reason", reason.name()), remote_name, url], counter.get() as f64);
            }
        }
    }
}

/// Taken = sent + pending + dropped, over all restarts.
fn ledger(page: &mut Page, endpoints: &[Arc<EndpointMetrics>]) {
    let name = "scraped_remote_ledger_samples";
    let help = "Samples by what became of them since the endpoint is known: taken is the sum of the others.";
    page.header(name, help, "gauge");
    for endpoint in endpoints {
        let ledger = *endpoint.ledger.lock();
        let states = [("taken", ledger.taken), ("sent", ledger.sent), ("pending", ledger.pending())];
        let dropped = DropReason::ALL.iter().map(|reason| reason.name()).zip(ledger.dropped);
        for (state, n) in states.into_iter().chain(dropped) {
            page.sample(name, &[("remote_name", &endpoint.name), ("state", state)], n as f64);
        }
    }
}

fn watcher(page: &mut Page, endpoints: &[Arc<EndpointMetrics>]) {
    let name = "prometheus_wal_watcher_records_read_total";
    page.header(name, "Number of records read by the WAL watcher from the WAL.", "counter");
    for endpoint in endpoints {
        for (values, counter) in endpoint.watcher_records_read.children() {
            let record_type = values.first().map_or("", String::as_str);
            page.sample(name, &[("consumer", &endpoint.name), ("type", record_type)], counter.get() as f64);
        }
    }
    for (suffix, help, kind, value) in &WATCHER {
        let name = format!("prometheus_wal_watcher_{suffix}");
        page.header(&name, help, kind);
        for endpoint in endpoints {
            page.sample(&name, &[("consumer", &endpoint.name)], value(endpoint));
        }
    }
}

fn labels(endpoint: &EndpointMetrics) -> [(&'static str, &str); 2] {
    [("remote_name", &endpoint.name), ("url", &endpoint.url)]
}
