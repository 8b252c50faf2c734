//! Self-metrics of remote write under Prometheus' names, so that its dashboards and alerts work.
//!
//! Counted by watchers, shards and the manager, a child an endpoint; gone with the endpoint. Pending samples and
//! positions are set by the manager before a page is made.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::metrics::page::Page;
use crate::metrics::{Collect, Counter, Family, Gauge, Histogram};
use crate::remote::ledger::{DropReason, Ledger};

/// Upper bounds in seconds, Prometheus' `DefBuckets` and three more as in `queue_manager.go`.
const SENT_BATCH_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0];

/// Metrics of one endpoint.
#[derive(Debug)]
#[allow(missing_docs, reason = "the help texts below say what each one is")]
pub struct EndpointMetrics {
    pub name: String,
    pub url: String,
    pub samples: Counter,
    pub samples_failed: Counter,
    pub samples_retried: Counter,
    /// By reason, in the order of `DropReason::ALL`.
    pub samples_dropped: [Counter; 4],
    pub enqueue_retries: Counter,
    pub bytes: Counter,
    pub sent_batch_duration: Histogram,
    pub highest_timestamp: Gauge,
    pub highest_sent_timestamp: Gauge,
    pub samples_pending: Gauge,
    pub shards: Gauge,
    pub shards_max: Gauge,
    pub shards_min: Gauge,
    pub shards_desired: Gauge,
    pub shard_capacity: Gauge,
    pub max_samples_per_send: Gauge,
    pub lag_bytes: Gauge,
    /// The ledger over all restarts; set by the manager.
    pub ledger: Mutex<Ledger>,
    /// Samples read from the log, for the shard rule.
    pub samples_in: Counter,
    /// Nanoseconds spent in requests, for the shard rule.
    pub send_ns: Counter,
    /// Wall-clock milliseconds of the last answer with 2xx.
    pub last_send_ms: Gauge,
    /// What happened last while the endpoint fails; empty while it works.
    pub last_error: Mutex<String>,
    pub watcher_records_read: Family<Counter>,
    pub watcher_decode_failures: Counter,
    pub watcher_current_segment: Gauge,
}

impl EndpointMetrics {
    /// All zero.
    pub fn new(name: String, url: String) -> Self {
        Self {
            name,
            url,
            samples: Counter::default(),
            samples_failed: Counter::default(),
            samples_retried: Counter::default(),
            samples_dropped: Default::default(),
            enqueue_retries: Counter::default(),
            bytes: Counter::default(),
            sent_batch_duration: Histogram::new(&SENT_BATCH_BUCKETS),
            highest_timestamp: Gauge::default(),
            highest_sent_timestamp: Gauge::default(),
            samples_pending: Gauge::default(),
            shards: Gauge::default(),
            shards_max: Gauge::default(),
            shards_min: Gauge::default(),
            shards_desired: Gauge::default(),
            shard_capacity: Gauge::default(),
            max_samples_per_send: Gauge::default(),
            lag_bytes: Gauge::default(),
            ledger: Mutex::default(),
            samples_in: Counter::default(),
            send_ns: Counter::default(),
            last_send_ms: Gauge::default(),
            last_error: Mutex::default(),
            watcher_records_read: Family::new(&["type"]),
            watcher_decode_failures: Counter::default(),
            watcher_current_segment: Gauge::default(),
        }
    }
}

/// Metrics of all endpoints, in the order of the configuration.
#[derive(Debug, Default)]
pub struct RemoteMetrics {
    endpoints: Mutex<Vec<Arc<EndpointMetrics>>>,
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

const COUNTERS: [(&str, &str, Value); 5] = [
    ("samples_total", "Total number of samples sent to remote storage.", |it| it.samples.get() as f64),
    (
        "samples_failed_total",
        "Total number of samples which failed on send to remote storage, non-recoverable errors.",
        |it| it.samples_failed.get() as f64,
    ),
    (
        "samples_retried_total",
        "Total number of samples which failed on send to remote storage but were retried because the send error was \
         recoverable.",
        |it| it.samples_retried.get() as f64,
    ),
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
];

const GAUGES: [(&str, &str, Value); 9] = [
    ("samples_pending", "The number of samples read from the log that are neither sent nor dropped.", |it| {
        it.samples_pending.get()
    }),
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

impl Collect for RemoteMetrics {
    fn collect(&self, page: &mut Page) {
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
        let newest = endpoints.iter().map(|it| it.highest_timestamp.get()).fold(0.0, f64::max);
        page.gauge_value(
            "prometheus_remote_storage_highest_timestamp_in_seconds",
            "Highest timestamp that has come into the remote storage, in seconds since epoch.",
            newest,
        );
        let name = "prometheus_remote_storage_samples_dropped_total";
        page.header(name, "Total number of samples which were dropped, by reason.", "counter");
        for endpoint in &endpoints {
            for (reason, counter) in DropReason::ALL.iter().zip(&endpoint.samples_dropped) {
                let [remote_name, url] = labels(endpoint);
                page.sample(name, &[("reason", reason.name()), remote_name, url], counter.get() as f64);
            }
        }
        let name = "prometheus_remote_storage_sent_batch_duration_seconds";
        page.header(name, "Duration of send calls to the remote storage.", "histogram");
        for endpoint in &endpoints {
            page.histogram_samples(name, &labels(endpoint), &endpoint.sent_batch_duration);
        }
        let name = "scraped_wal_lag_bytes";
        page.header(name, "Bytes of the log that the endpoint has not acknowledged.", "gauge");
        for endpoint in &endpoints {
            page.sample(name, &[("remote_name", &endpoint.name)], endpoint.lag_bytes.get());
        }
        ledger(page, &endpoints);
        watcher(page, &endpoints);
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
    let name = "prometheus_wal_watcher_record_decode_failures_total";
    page.header(
        name,
        "Number of records read by the WAL watcher that resulted in an error when decoding.",
        "counter",
    );
    for endpoint in endpoints {
        let n_failures = endpoint.watcher_decode_failures.get() as f64;
        page.sample(name, &[("consumer", &endpoint.name)], n_failures);
    }
    let name = "prometheus_wal_watcher_current_segment";
    page.header(name, "Current segment the WAL watcher is reading records from.", "gauge");
    for endpoint in endpoints {
        page.sample(name, &[("consumer", &endpoint.name)], endpoint.watcher_current_segment.get());
    }
}

fn labels(endpoint: &EndpointMetrics) -> [(&'static str, &str); 2] {
    [("remote_name", &endpoint.name), ("url", &endpoint.url)]
}
