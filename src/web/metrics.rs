//! What the web server counts.

use scraped_engine::metrics::Counter;
use scraped_engine::metrics::Family;
use scraped_engine::metrics::Summary;

/// What `/metrics` says of the web server itself.
#[derive(Debug)]
pub struct WebMetrics {
    pub(in crate::web) requests: Family<Counter>,
    pub(in crate::web) durations: Family<Summary>,
}

impl Default for WebMetrics {
    fn default() -> Self {
        Self { requests: Family::new(&["handler", "code"]), durations: Family::new(&["handler"]) }
    }
}

impl scraped_engine::metrics::Collect for WebMetrics {
    fn collect(&self, page: &mut scraped_engine::metrics::page::Page) {
        page.counters("prometheus_http_requests_total", "Counter of HTTP requests.", &self.requests);
        let help = "Time to make an answer; quantiles over the newest.";
        page.summaries("scraped_http_request_duration_seconds", help, &self.durations);
    }
}
