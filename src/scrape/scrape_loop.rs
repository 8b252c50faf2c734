//! One target's scrape state and what happens in one scrape.
//!
//! A `ScrapeLoop` is moved from the scheduler to a worker and back, never locked: whoever holds the box may write.
//! Waiting for the target happens outside the permit; unpacking, parsing and appending inside. Every scrape ends in
//! exactly one commit that holds `up` and the report samples, whatever went wrong.

use crate::clock::Clock;
use crate::config::ScrapeConfig;
use crate::scrape::buffers::BodyBudget;
use crate::scrape::error::ScrapeError;
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::permits::Permits;
use crate::scrape::scraper::{Canceller, Scraper};
use crate::scrape::status::TargetStatus;
use crate::scrape::target::Target;
use std::sync::Arc;
use std::time::Instant;

/// When a scrape happens.
#[derive(Clone, Copy, Debug)]
pub struct ScrapeTime {
    /// When the worker took the loop.
    pub start: Instant,
    /// Timestamp of its samples: wall clock in milliseconds, aligned to the grid.
    pub ts_ms: i64,
    /// When the answer must be complete.
    pub deadline: Instant,
}

/// Whether the target is to be trusted with a worker next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It gave an answer, be it an error status, within its timeout.
    Yes,
    /// It did not: a suspect.
    No,
}

/// What a worker thread owns and lends to each scrape.
#[derive(Debug)]
pub struct Worker {
    permits: Permits,
    budget: Arc<BodyBudget>,
    metrics: Arc<ScrapeMetrics>,
    clock: Clock,
}

impl Worker {
    /// A worker's scratch space.
    pub fn new(permits: Permits, budget: Arc<BodyBudget>, metrics: Arc<ScrapeMetrics>, clock: Clock) -> Self {
        Self { permits, budget, metrics, clock }
    }
}

/// A target's whole scrape state.
#[derive(Debug)]
pub struct ScrapeLoop {
    target: Arc<Target>,
    config: Arc<ScrapeConfig>,
    status: Arc<TargetStatus>,
    scraper: Scraper,
}

impl ScrapeLoop {
    /// A loop that has not scraped yet.
    pub fn new(target: Arc<Target>, config: Arc<ScrapeConfig>, status: Arc<TargetStatus>) -> Self {
        let scraper = Scraper::new(&target.url, &config, target.scrape_timeout);
        Self { target, config, status, scraper }
    }

    /// One scrape and exactly one commit (none if the fetch was cancelled).
    ///
    /// A panic inside is a bug: the worker catches it and calls [`ScrapeLoop::after_panic`].
    pub fn scrape(&mut self, worker: &mut Worker, at: ScrapeTime) -> Answered {
        let _ = (worker, at);
        todo!("append helper")
    }

    /// Report only: stale markers for everything known, `up 0`, this error.
    pub fn report_failure(&mut self, worker: &mut Worker, at: ScrapeTime, error: ScrapeError) {
        let _ = (worker, at, error);
        todo!("append helper")
    }

    /// After a panic in [`ScrapeLoop::scrape`]: rolls back, writes stale markers for what the cache held and `up 0`,
    /// and starts with a new cache.
    pub fn after_panic(&mut self, worker: &mut Worker, at: ScrapeTime) {
        let _ = (worker, at);
        todo!("append helper")
    }

    /// Stale markers for series and report series of a target that is gone; those that are out of order are ignored.
    pub fn end_of_run(&mut self, worker: &mut Worker, ts_ms: i64) {
        let _ = (worker, ts_ms);
        todo!("append helper")
    }

    /// New settings after a reload. Keeps the cache if only interval, timeout, `sample_limit` or client settings
    /// changed.
    pub fn replace(&mut self, target: Arc<Target>, config: Arc<ScrapeConfig>) {
        self.scraper = Scraper::new(&target.url, &config, target.scrape_timeout);
        self.target = target;
        self.config = config;
    }

    /// Ends a scrape that runs in another thread.
    pub fn canceller(&self) -> Canceller {
        self.scraper.canceller()
    }

    /// The target.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Its row for the API.
    pub fn status(&self) -> &Arc<TargetStatus> {
        &self.status
    }
}
