//! The scrape-manager thread.

use crate::clock::Clock;
use crate::config::Config;
use crate::discovery::TargetSets;
use crate::scrape::buffers::BodyBudget;
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::status::StatusBoard;
use crate::wal::head::Wal;
use crossbeam_channel::Receiver;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// What the scraping side needs.
pub struct ManagerOptions {
    /// Where samples go.
    pub wal: Wal,
    /// Both clocks.
    pub clock: Clock,
    /// Where the lists of targets are put up.
    pub board: Arc<StatusBoard>,
    /// What is counted.
    pub metrics: Arc<ScrapeMetrics>,
    /// Bytes that bodies may hold together.
    pub budget: Arc<BodyBudget>,
    /// The configuration to start with.
    pub config: Arc<Config>,
    /// `--scrape.discovery-reload-interval`: the tick.
    pub discovery_reload_interval: Duration,
    /// `--scrape.on-start`.
    pub first_scrape: FirstScrape,
    /// `--scrape.timestamp-tolerance`; zero when `--scrape.adjust-timestamps` is false.
    pub timestamp_tolerance: Duration,
    /// `--scrape.max-workers`.
    pub max_workers: usize,
    /// Called with the name of a thread that died by a panic.
    pub thread_ended: Arc<dyn Fn(&str) + Send + Sync>,
}

/// When a new loop scrapes for the first time (`--scrape.on-start`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstScrape {
    /// At once, over at most a second when there are many; then on its grid.
    AtOnce,
    /// At its first slot on the grid, as Prometheus does.
    OnGrid,
}

/// The scraping side: manager, scheduler and workers.
pub struct Handle {}

impl Handle {
    /// Starts the scrape manager and the scheduler; workers come with the first target.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub fn spawn(options: ManagerOptions, target_sets: Receiver<TargetSets>) -> io::Result<Handle> {
        let _ = (options, target_sets);
        Ok(Handle {})
    }

    /// Works a new configuration in; returns when the scheduler has every change.
    pub fn apply(&self, config: Arc<Config>) {
        let _ = config;
    }

    /// Ends all of it. Requests in flight are cancelled and leave no sample; returns within about a second.
    pub fn stop(self) {}
}
