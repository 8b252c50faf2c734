//! What is counted of questions to the log.

use scraped_engine::metrics::{Gauge, Histogram};
use scraped_engine::metrics_table;

/// From a question for one value to one that reads the whole log, in seconds.
const DURATION_BOUNDS: &[f64] = &[0.001, 0.01, 0.1, 1.0, 10.0];

metrics_table! {
    /// What `/metrics` says of them.
    pub struct QueryMetrics {
        queries: Gauge => "prometheus_engine_queries",
            "The current number of queries being executed or waiting.";
        concurrent_max: Gauge => "prometheus_engine_queries_concurrent_max",
            "The max number of concurrent queries.";
        durations: Histogram = Histogram::new(DURATION_BOUNDS) => "scraped_query_duration_seconds",
            "Time that the query thread took for a question, waiting left out.";
    }
}
