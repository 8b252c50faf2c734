//! Counters of the scraping side.

use crate::metrics::Counter;

/// What scrapes count.
#[derive(Debug, Default)]
pub struct ScrapeMetrics {
    /// `prometheus_target_scrapes_exceeded_sample_limit_total`.
    pub exceeded_sample_limit: Counter,
    /// `prometheus_target_scrapes_exceeded_body_size_limit_total`.
    pub exceeded_body_size_limit: Counter,
    /// `prometheus_target_scrapes_sample_duplicate_timestamp_total`.
    pub sample_duplicate: Counter,
    /// `prometheus_target_scrapes_sample_out_of_order_total`.
    pub sample_out_of_order: Counter,
    /// `prometheus_target_scrapes_sample_out_of_bounds_total`.
    pub sample_out_of_bounds: Counter,
    /// `prometheus_target_scrapes_cache_flush_forced_total`.
    pub cache_flush_forced: Counter,
}
