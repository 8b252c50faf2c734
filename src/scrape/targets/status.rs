//! What the API says of targets: one row a target, written after each scrape, and the board that lists them.
//!
//! Workers write rows, the scrape manager publishes a job's list after each sync, the web reads both. No lock here is
//! held for longer than a copy.

use crate::scrape::targets::bad_answer::BadAnswer;
use crate::scrape::targets::history::{Attempt, History, ScrapeStage};
use crate::scrape::targets::loop_key::LoopKey;
use crate::scrape::targets::target::{Discovered, Target};
use parking_lot::{Mutex, RwLock};
use scraped_engine::families::FamilyList;
use scraped_engine::metrics::Collect;
use scraped_engine::metrics::page::Page;
use scraped_engine::series::bound::SeriesBound;
use scraped_engine::store::report::SeriesUse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Result of one scrape, for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastScrape {
    /// Timestamp of its samples in milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// From the start of the request to the last sample staged.
    pub duration: Duration,
    /// Why it failed; `None` when it did not.
    pub error: Option<String>,
    /// Where it failed.
    pub failed_in: Option<ScrapeStage>,
    /// What came instead of a page, where it can be shown.
    pub answer: Option<BadAnswer>,
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
    /// Samples of new series that `--storage.agent.max-series` left out.
    pub over_max_series: u64,
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
#[derive(Debug)]
pub struct TargetStatus {
    last: Mutex<Option<LastScrape>>,
    history: Mutex<History>,
    /// When the last scrape ended, or the row was made.
    since: Mutex<Instant>,
    families: Mutex<Arc<FamilyList>>,
}

impl Default for TargetStatus {
    fn default() -> Self {
        Self {
            last: Mutex::default(),
            history: Mutex::default(),
            since: Mutex::new(Instant::now()),
            families: Mutex::default(),
        }
    }
}

/// No scrape has ended for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// For so long.
    pub lasts: Duration,
    /// The longest interval of all targets; three times that is too long.
    pub longest_interval: Duration,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no scrape of any target has ended for {} s, three times the longest scrape_interval is {} s",
            self.lasts.as_secs(),
            (self.longest_interval * STALLED_INTERVALS).as_secs_f64()
        )
    }
}

/// Scraping has stalled when no scrape ended for this many of the longest interval.
const STALLED_INTERVALS: u32 = 3;

impl TargetStatus {
    /// Replaces the row.
    pub fn record(&self, last: LastScrape) {
        self.history.lock().push(Attempt {
            ts_s: u32::try_from(last.ts_ms / 1000).unwrap_or(0),
            duration_us: u32::try_from(last.duration.as_micros()).unwrap_or(u32::MAX),
            failed_in: last.failed_in,
        });
        *self.last.lock() = Some(last);
        *self.since.lock() = Instant::now();
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

    /// A copy of its last attempts.
    pub fn history(&self) -> History {
        self.history.lock().clone()
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
    /// Its loop.
    pub key: LoopKey,
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
    series_bound: OnceLock<Arc<SeriesBound>>,
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

    /// The pages say how the bound of series stands, from now on.
    pub fn show_series_bound(&self, bound: Arc<SeriesBound>) {
        // It is set once, at the start.
        let _ = self.series_bound.set(bound);
    }

    /// The bound of series, once the log is open.
    pub fn series_bound(&self) -> Option<&SeriesBound> {
        self.series_bound.get().map(|bound| &**bound)
    }

    /// Whether scraping stands still at `now`. With a configuration that was loaded at `loaded` there was no time before
    /// that; without targets there is nothing to scrape.
    pub fn stall(&self, now: Instant, loaded: Instant) -> Option<Stall> {
        let pools = self.pools();
        let row = |it: &ActiveTarget| Row {
            interval: it.target.scrape_interval,
            since: *it.status.since.lock(),
            has_ended: it.status.last.lock().is_some(),
        };
        let rows: Vec<Row> = pools.iter().flat_map(|(_, pool)| &pool.active).map(row).collect();
        stall(&rows, now, loaded)
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

/// What a target says of whether scraping goes on.
#[derive(Clone, Copy, Debug)]
struct Row {
    interval: Duration,
    /// When its last scrape ended, or when it came.
    since: Instant,
    has_ended: bool,
}

fn stall(rows: &[Row], now: Instant, loaded: Instant) -> Option<Stall> {
    let longest_interval = rows.iter().map(|row| row.interval).max()?;
    let ended = rows.iter().filter(|row| row.has_ended).map(|row| row.since).max();
    // New targets get time as well; where they come all the time, the oldest of all counts.
    let oldest = rows.iter().map(|row| row.since).min();
    let last = [ended, oldest, Some(loaded)].into_iter().flatten().max()?;
    let lasts = now.saturating_duration_since(last);
    (lasts > longest_interval * STALLED_INTERVALS).then_some(Stall { lasts, longest_interval })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scraping_stands_still_when_nothing_ended_for_three_of_the_longest_intervals() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let row = |interval: u64, since: u64, has_ended| Row {
            interval: Duration::from_secs(interval),
            since: at(since),
            has_ended,
        };
        let check = |rows: &[Row], now: u64, loaded: u64, lasts: Option<u64>| {
            let stall = stall(rows, at(now), at(loaded)).map(|it| it.to_string());
            let told = lasts.map(|lasts| {
                format!(
                    "no scrape of any target has ended for {lasts} s, three times the longest scrape_interval is 30 s"
                )
            });
            assert_eq!(stall, told, "{rows:?} at {now}");
        };
        check(&[], 1000, 0, None);
        let never = [row(1, 0, false), row(10, 0, false)];
        check(&never, 30, 0, None);
        check(&never, 31, 0, Some(31));
        check(&never, 31, 5, None);
        check(&never, 36, 5, Some(31));
        let once = [row(1, 20, true), row(10, 0, false)];
        check(&once, 50, 0, None);
        check(&once, 51, 0, Some(31));
        check(&[row(1, 20, true), row(10, 50, false)], 51, 0, Some(31));
        check(&[row(10, 1000, false)], 1030, 0, None);
    }
}
