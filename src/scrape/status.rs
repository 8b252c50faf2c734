//! What the API says of targets: one row a target, written after each scrape, and the board that lists them.
//!
//! Workers write rows, the scrape manager publishes a job's list after each sync, the web reads both. No lock here is
//! held for longer than a copy.

use crate::metadata::FamilyList;
use crate::metrics::Collect;
use crate::metrics::page::Page;
use crate::scrape::report::SeriesUse;
use crate::scrape::target::{Discovered, Target};
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
    /// With `series_limit`: how much of it is used.
    pub series_use: Option<SeriesUse>,
}

/// How a target fared in its last scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not scraped yet.
    Unknown,
    /// The last scrape was stored.
    Up,
    /// The last scrape failed.
    Down,
}

impl Health {
    /// Prometheus' word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// One target's row.
#[derive(Debug, Default)]
pub struct TargetStatus {
    last: Mutex<Option<LastScrape>>,
    families: Mutex<Arc<FamilyList>>,
}

impl TargetStatus {
    /// Replaces the row.
    pub fn record(&self, last: LastScrape) {
        *self.last.lock() = Some(last);
    }

    /// Replaces what is known of the target's metric families.
    pub fn publish_families(&self, families: Arc<FamilyList>) {
        let previous = std::mem::replace(&mut *self.families.lock(), families);
        // It may be the last one of thousands of texts.
        drop(previous);
    }

    /// What its pages say of metric families; those that vanished some scrapes ago included.
    pub fn families(&self) -> Arc<FamilyList> {
        Arc::clone(&self.families.lock())
    }

    /// A copy of the row; `None` before the first scrape.
    pub fn last(&self) -> Option<LastScrape> {
        self.last.lock().clone()
    }

    /// The health that follows from the row.
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
    /// The target.
    pub target: Arc<Target>,
    /// Where it came from.
    pub discovered: Discovered,
    /// Its row.
    pub status: Arc<TargetStatus>,
}

/// The targets of one job after its last sync.
#[derive(Debug, Default)]
pub struct PoolStatus {
    /// Targets that are scraped.
    pub active: Vec<ActiveTarget>,
    /// Targets that relabelling dropped, at most `keep_dropped_targets` of them.
    pub dropped: Vec<Discovered>,
    /// How many were dropped, those that are not kept included.
    pub dropped_count: usize,
}

/// The lists of all jobs.
#[derive(Debug, Default)]
pub struct StatusBoard {
    pools: RwLock<BTreeMap<String, Arc<PoolStatus>>>,
}

impl StatusBoard {
    /// Puts up a job's list in place of its last one.
    pub fn publish(&self, job_name: &str, pool: PoolStatus) {
        let pool = Arc::new(pool);
        let previous = self.pools.write().insert(job_name.to_owned(), pool);
        // Thousands of labels are freed after the lock.
        drop(previous);
    }

    /// Takes down the list of a job that is gone.
    pub fn remove(&self, job_name: &str) {
        let previous = self.pools.write().remove(job_name);
        drop(previous);
    }

    /// All jobs in order of name with their lists.
    pub fn pools(&self) -> Vec<(String, Arc<PoolStatus>)> {
        self.pools.read().iter().map(|(job_name, pool)| (job_name.clone(), Arc::clone(pool))).collect()
    }

    /// All jobs in order of name.
    pub fn jobs(&self) -> Vec<String> {
        self.pools.read().keys().cloned().collect()
    }

    /// Targets that are scraped, of all jobs.
    pub fn n_active(&self) -> usize {
        self.pools.read().values().map(|pool| pool.active.len()).sum()
    }

    /// Metadata entries and their bytes, by job (`scrape.MetadataMetricsCollector`).
    fn metadata_sizes(&self) -> Vec<(String, usize, usize)> {
        let sizes = |(job_name, pool): (String, Arc<PoolStatus>)| {
            let lists = pool.active.iter().map(|target| target.status.families());
            let sizes = lists.map(|list| (list.families().len(), list.text_bytes()));
            let (entries, bytes) =
                sizes.fold((0, 0), |sum, (entries, bytes)| (sum.0 + entries, sum.1 + bytes));
            (job_name, entries, bytes)
        };
        self.pools().into_iter().map(sizes).collect()
    }

    /// One job's list.
    pub fn pool(&self, job_name: &str) -> Option<Arc<PoolStatus>> {
        self.pools.read().get(job_name).cloned()
    }
}

impl Collect for StatusBoard {
    fn collect(&self, page: &mut Page) {
        let sizes = self.metadata_sizes();
        let name = "prometheus_target_metadata_cache_entries";
        page.header(name, "Total number of metric metadata entries in the cache", "gauge");
        for (job_name, entries, _) in &sizes {
            page.sample(name, &[("scrape_job", job_name)], *entries as f64);
        }
        let name = "prometheus_target_metadata_cache_bytes";
        let help = "The number of bytes that are currently used for storing metric metadata in the cache";
        page.header(name, help, "gauge");
        for (job_name, _, bytes) in &sizes {
            page.sample(name, &[("scrape_job", job_name)], *bytes as f64);
        }
    }
}
