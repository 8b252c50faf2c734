//! What the web server counts.

use scraped_engine::metrics::{Counter, Family, Gauge, Histogram};
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
        subscribers: Gauge =>
            "prometheus_api_notification_active_subscribers",
            "The current number of active notification subscribers.";
        notifications_sent: Counter =>
            "prometheus_api_notification_updates_sent_total",
            "Total number of notification updates sent.";
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
