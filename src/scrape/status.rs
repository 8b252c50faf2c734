//! What the API says of targets: one row a target, written after each scrape, and the board that lists them by job.
//!
//! Workers write rows, the scrape manager publishes pools, the web server reads copies. A lock is held for one row or
//! one list at a time.

use crate::labels::Labels;
use crate::scrape::target::Target;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
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

/// What is known of a target's health (`scrape/target.go: TargetHealth`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Never scraped.
    Unknown,
    /// The last scrape succeeded.
    Up,
    /// The last scrape failed.
    Down,
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

    /// A copy of the row; `None` before the first scrape.
    pub fn last(&self) -> Option<LastScrape> {
        self.last.lock().clone()
    }

    /// Health by the last scrape.
    pub fn health(&self) -> Health {
        match &*self.last.lock() {
            None => Health::Unknown,
            Some(last) if last.error.is_none() => Health::Up,
            Some(_) => Health::Down,
        }
    }
}

/// A target that is scraped.
#[derive(Clone, Debug)]
pub struct ActiveTarget {
    /// What is scraped.
    pub target: Arc<Target>,
    /// How it goes.
    pub status: Arc<TargetStatus>,
}

/// One job's targets.
#[derive(Clone, Debug, Default)]
pub struct PoolStatus {
    /// `job_name`.
    pub job: String,
    /// Scraped targets.
    pub active: Vec<ActiveTarget>,
    /// Discovered labels of targets that relabelling dropped, at most `keep_dropped_targets`.
    pub dropped: Vec<Labels>,
    /// How many were dropped, kept or not.
    pub dropped_count: usize,
}

/// All jobs' targets.
#[derive(Debug, Default)]
pub struct StatusBoard {
    pools: RwLock<BTreeMap<String, Arc<PoolStatus>>>,
}

impl StatusBoard {
    /// Replaces what is known of a job.
    pub fn publish(&self, pool: PoolStatus) {
        self.pools.write().insert(pool.job.clone(), Arc::new(pool));
    }

    /// Forgets a job that left the configuration.
    pub fn remove(&self, job: &str) {
        self.pools.write().remove(job);
    }

    /// All jobs in order of name.
    pub fn pools(&self) -> Vec<Arc<PoolStatus>> {
        self.pools.read().values().map(Arc::clone).collect()
    }
}
