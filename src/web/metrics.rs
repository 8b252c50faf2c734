//! What the web server counts.

use scraped_engine::metrics::{Counter, Family, Summary};
use scraped_engine::metrics_table;

metrics_table! {
    /// What `/metrics` says of the web server itself.
    pub struct WebMetrics {
        requests: Family<Counter> = Family::new(&["handler", "code"]) =>
            "prometheus_http_requests_total", "Counter of HTTP requests.";
        durations: Family<Summary> = Family::new(&["handler"]) =>
            "scraped_http_request_duration_seconds", "Time to make an answer; quantiles over the newest.";
    }
}
