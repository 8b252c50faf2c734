//! What the web server counts.

use scraped_engine::metrics::{Counter, Family, Gauge, Histogram, Labelled};
use scraped_engine::metrics_table;
use std::sync::Arc;
use std::time::Instant;

/// Prometheus' buckets, in seconds (`web/web.go`).
const DURATION_BOUNDS: &[f64] = &[0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0];
/// Prometheus' buckets, in bytes.
const SIZE_BOUNDS: &[f64] = &[1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

metrics_table! {
    /// What `/metrics` says of the web server itself.
    pub struct WebMetrics {
        requests: Family<Counter> = Family::new(&["handler", "code"]) =>
            "prometheus_http_requests_total", "Counter of HTTP requests.";
        durations: Family<Histogram> = Family::made_by(&["handler"], || Histogram::new(DURATION_BOUNDS)) =>
            "prometheus_http_request_duration_seconds", "Histogram of latencies for HTTP requests.";
        sizes: Family<Histogram> = Family::made_by(&["handler"], || Histogram::new(SIZE_BOUNDS)) =>
            "prometheus_http_response_size_bytes", "Histogram of response size for HTTP requests.";
        scrapes: Family<Counter> = Family::of(&["code"], &["200", "500", "503"]) =>
            "promhttp_metric_handler_requests_total", "Total number of scrapes by HTTP status code.";
        scrapes_in_flight: Gauge =>
            "promhttp_metric_handler_requests_in_flight", "Current number of scrapes being served.";
        accepted: Labelled<Counter> = Labelled::new("listener_name", "http") =>
            "net_conntrack_listener_conn_accepted_total",
            "Total number of connections opened to the listener of a given name.";
        closed: Labelled<Counter> = Labelled::new("listener_name", "http") =>
            "net_conntrack_listener_conn_closed_total",
            "Total number of connections closed that were made to the listener of a given name.";
        federation_errors: Counter =>
            "prometheus_web_federation_errors_total",
            "Total number of errors that occurred while sending federation responses.";
        federation_warnings: Counter =>
            "prometheus_web_federation_warnings_total",
            "Total number of warnings that occurred while sending federation responses.";
        subscribers: Gauge =>
            "prometheus_api_notification_active_subscribers",
            "The current number of active notification subscribers.";
        notifications_sent: Counter =>
            "prometheus_api_notification_updates_sent_total",
            "Total number of notification updates sent.";
        notifications_dropped: Counter =>
            "prometheus_api_notification_updates_dropped_total",
            "Total number of notification updates dropped.";
    }
}

/// A connection, counted when it comes and when it goes.
#[derive(Debug)]
pub struct OpenConnection(Arc<WebMetrics>);

impl OpenConnection {
    /// One that was just accepted.
    pub(in crate::web) fn new(metrics: &Arc<WebMetrics>) -> Self {
        metrics.accepted.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.closed.inc();
    }
}

/// A page of metrics that is being sent, counted when it is gone.
#[derive(Debug)]
pub struct Scrape(Arc<WebMetrics>);

impl Scrape {
    /// One that begins.
    pub(in crate::web) fn new(metrics: &Arc<WebMetrics>) -> Self {
        metrics.scrapes_in_flight.add(1.0);
        Self(Arc::clone(metrics))
    }
}

impl Drop for Scrape {
    fn drop(&mut self) {
        self.0.scrapes_in_flight.add(-1.0);
        self.0.scrapes.with(&["200"]).inc();
    }
}

/// One request. It is counted when its answer is gone, whether the client has read it or not.
#[derive(Debug)]
pub struct Account {
    metrics: Arc<WebMetrics>,
    started: Instant,
    /// Path of the route.
    pub(in crate::web) handler: &'static str,
    /// Of the answer.
    pub(in crate::web) status: u16,
    /// Bytes of the body that were made.
    pub(in crate::web) body_bytes: usize,
}

impl Account {
    /// A request that comes now.
    pub(in crate::web) fn open(metrics: Arc<WebMetrics>) -> Self {
        Self { metrics, started: Instant::now(), handler: "", status: 0, body_bytes: 0 }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let Self { metrics, handler, .. } = self;
        metrics.requests.with(&[handler, &self.status.to_string()]).inc();
        metrics.durations.with(&[handler]).observe(self.started.elapsed().as_secs_f64());
        metrics.sizes.with(&[handler]).observe(self.body_bytes as f64);
    }
}
