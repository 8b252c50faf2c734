//! What the API says of targets: one row a target, written after each scrape.

use parking_lot::Mutex;
use std::time::Duration;

/// Result of one scrape, for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastScrape {
    /// Timestamp of its samples in milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// From the start of the request to the last sample staged.
    pub duration: Duration,
    /// Why it failed; `None` when it did not.
    pub error: Option<String>,
    /// `scrape_samples_scraped`.
    pub samples_scraped: u64,
    /// `scrape_samples_post_metric_relabeling`.
    pub samples_post_metric_relabeling: u64,
    /// `scrape_series_added`.
    pub series_added: u64,
    /// Decoded bytes of the page; 0 when there was none.
    pub body_bytes: u64,
}

/// One target's row.
#[derive(Debug, Default)]
pub struct TargetStatus {
    last: Mutex<Option<LastScrape>>,
}

impl TargetStatus {
    /// Replaces the row.
    pub fn record(&self, last: LastScrape) {
        *self.last.lock() = Some(last);
    }
}
