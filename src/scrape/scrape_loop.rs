//! One target's scrape state and what happens in one scrape.
//!
//! A `ScrapeLoop` is moved from the scheduler to a worker and back, never locked: whoever holds the box may write.
//! Waiting for the target happens outside the permit; unpacking, parsing and appending inside. Every scrape ends in
//! exactly one commit that holds `up` and the report samples, whatever went wrong (Prometheus'
//! `scrapeLoop.scrapeAndReport`).

use crate::clock::Clock;
use crate::config::ScrapeConfig;
use crate::scrape::error::ScrapeError;
use crate::scrape::fetch::failure_log::FailureLog;
use crate::scrape::fetch::negotiation::format;
use crate::scrape::fetch::scraper::{Canceller, Fetched, Scraper};
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::targets::bad_answer::BadAnswer;
use crate::scrape::targets::pool::LoopSettings;
use crate::scrape::targets::reuse::give_same_samples;
use crate::scrape::targets::status::{LastScrape, TargetStatus};
use crate::scrape::targets::target::Target;
use crate::scrape::targets::target_limit::TargetLimit;
use scraped_engine::families::MetadataStore;
use scraped_engine::float::stale_nan;
use scraped_engine::metrics::Counter;
use scraped_engine::store::append::tally::{LeftOut, Tally};
use scraped_engine::store::append::{LastPages, Page, PageAppend, Sink};
use scraped_engine::store::body_budget::BodyBudget;
use scraped_engine::store::cache::{PageFate, ScrapeCache};
use scraped_engine::store::decode::expected_bytes;
use scraped_engine::store::error::{PageError, Work};
use scraped_engine::store::family_cache::MetadataCache;
use scraped_engine::store::pace::Pace;
use scraped_engine::store::permits::{Permits, Scratch};
use scraped_engine::store::report::{ExtraReport, PageCounts, Report, ReportSeries, SeriesUse};
use scraped_engine::store::rules::{LabelLimits, MetadataRecords, PageRules};
use scraped_engine::wal::error::WalError;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Explicit timestamps may be ahead of the wall clock by this much (`maxAheadTime`).
const MAX_AHEAD: Duration = Duration::from_secs(10 * 60);

/// Commits that find stale handles are tried again: a truncation may just be running.
const MAX_COMMIT_ATTEMPTS: usize = 5;

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

/// Who wants to know how far a scrape is. What is stored is in the target's row afterwards.
pub trait PhaseWatch {
    /// The target has answered or not.
    fn fetched(&mut self, _fetched: &Result<Fetched, ScrapeError>) {}

    /// The page is unpacked to this many bytes; 0 if that failed.
    fn unpacked(&mut self, _n_bytes: usize) {}
}

/// For scrapes that no one looks at.
struct Unwatched;

impl PhaseWatch for Unwatched {}

/// What a worker thread has for its scrapes.
#[derive(Debug)]
pub struct Worker {
    permits: Permits,
    budget: Arc<BodyBudget>,
    metrics: Arc<ScrapeMetrics>,
    clock: Clock,
    metadata: Arc<MetadataStore>,
    metadata_records: MetadataRecords,
}

impl Worker {
    /// A worker's share of what all scrapes need.
    pub fn new(permits: Permits, budget: Arc<BodyBudget>, metrics: Arc<ScrapeMetrics>, clock: Clock) -> Self {
        let metadata = Arc::default();
        Self { permits, budget, metrics, clock, metadata, metadata_records: MetadataRecords::default() }
    }

    /// The same with a store of metadata that others read.
    pub fn with_metadata(self, metadata: Arc<MetadataStore>, metadata_records: MetadataRecords) -> Self {
        Self { metadata, metadata_records, ..self }
    }
}

/// A target's whole scrape state.
#[derive(Debug)]
pub struct ScrapeLoop {
    target: Arc<Target>,
    config: Arc<ScrapeConfig>,
    status: Arc<TargetStatus>,
    target_limit: Arc<TargetLimit>,
    failure_log: Option<Arc<FailureLog>>,
    /// Its job's, once there was something to count.
    over_series_limit: Option<Arc<Counter>>,
    scraper: Scraper,
    cache: ScrapeCache,
    metadata: MetadataCache,
    report: ReportSeries,
}

/// What a scrape came to, before it is written.
#[derive(Debug, Default)]
struct Staged {
    counts: PageCounts,
    left_out: LeftOut,
    error: Option<ScrapeError>,
    series_use: Option<SeriesUse>,
}

/// What was staged, and what the log said of it.
struct Attempt {
    staged: Staged,
    /// From the start of the request to the last sample staged.
    duration: Duration,
    /// Samples that the log left out because they are out of order.
    committed: Result<usize, WalError>,
}

impl ScrapeLoop {
    /// A loop that has not scraped yet.
    pub fn new(settings: &LoopSettings) -> Self {
        let LoopSettings { target, config, status, target_limit, failure_log } = settings.clone();
        let scraper = Scraper::of(&target, &config);
        Self {
            target,
            config,
            status,
            target_limit,
            failure_log,
            over_series_limit: None,
            scraper,
            cache: ScrapeCache::new(),
            metadata: MetadataCache::default(),
            report: ReportSeries::default(),
        }
    }

    /// One scrape and exactly one commit; none if the fetch was cancelled.
    ///
    /// A panic inside is a bug: the worker catches it and calls [`ScrapeLoop::after_panic`].
    pub fn scrape(&mut self, worker: &mut Worker, at: ScrapeTime) -> Answered {
        self.scrape_watched(worker, at, &mut Unwatched)
    }

    /// The same; `watch` learns of each phase when it ends.
    pub fn scrape_watched(
        &mut self,
        worker: &mut Worker,
        at: ScrapeTime,
        watch: &mut impl PhaseWatch,
    ) -> Answered {
        if let Some(error) = self.target_limit.error(self.config.limits.target_limit) {
            return self.store(worker, at, Err(error));
        }
        let mut body = worker.budget.wire_buffer();
        let fetched = self.scraper.fetch(at.deadline, &mut body, &worker.clock);
        watch.fetched(&fetched);
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(ScrapeError::Page(PageError::Cancelled)) => return Answered::No,
            Err(error) => {
                self.log_failure(worker, &error);
                return self.store(worker, at, Err(error));
            }
        };
        let mut decoded = worker.budget.decoded_buffer();
        let n_expected = expected_bytes(fetched.content_encoding, &body);
        let mut permit = match worker.permits.acquire(n_expected, at.deadline) {
            Ok(permit) => permit,
            Err(error) => return self.store(worker, at, Err(error.into())),
        };
        let (scratch, turn) = permit.parts();
        let is_cancelled = Arc::clone(self.scraper.is_cancelled());
        let mut pace = Pace::new(turn, &is_cancelled, at.deadline);
        let limit_bytes = self.config.limits.body_size_limit_bytes;
        let page = scratch
            .decoder
            .decode(fetched.content_encoding, &body, &mut decoded, limit_bytes, &mut pace)
            .map(|bytes| Page { content_type: &fetched.content_type, bytes })
            .map_err(ScrapeError::from);
        watch.unpacked(page.as_ref().map_or(0, |page| page.bytes.len()));
        if let Err(error) = &page {
            self.log_failure(worker, error);
        }
        self.store_with(worker, scratch, &mut pace, at, page)
    }

    /// A line for `scrape_failure_log_file`. What is wrong with a page is not written there, as in Prometheus.
    fn log_failure(&self, worker: &Worker, error: &ScrapeError) {
        if let Some(log) = &self.failure_log {
            let (job_name, url) = (&self.config.job_name, self.target.url.to_string());
            log.write(worker.clock.wall_ms(), job_name, &url, &error.to_string());
        }
    }

    /// Stores what came of a fetch: the page, or the report that there is none.
    pub fn store(
        &mut self,
        worker: &mut Worker,
        at: ScrapeTime,
        page: Result<Page<'_>, ScrapeError>,
    ) -> Answered {
        // What became of the scrape is written, in time or not.
        let permit = worker.permits.acquire(page.as_ref().map_or(0, |page| page.bytes.len()), at.deadline);
        let mut permit = permit.unwrap_or_else(|_| worker.permits.without());
        let (scratch, turn) = permit.parts();
        let is_cancelled = Arc::clone(self.scraper.is_cancelled());
        let mut pace = Pace::new(turn, &is_cancelled, at.deadline);
        self.store_with(worker, scratch, &mut pace, at, page)
    }

    /// Report only: stale markers for everything known, `up 0`, this error.
    pub fn report_failure(&mut self, worker: &mut Worker, at: ScrapeTime, error: ScrapeError) {
        self.store(worker, at, Err(error));
    }

    /// After a panic in [`ScrapeLoop::scrape`]: writes stale markers for what the cache held and `up 0`, and starts
    /// with a new cache.
    pub fn after_panic(&mut self, worker: &mut Worker, at: ScrapeTime) {
        self.cache.rewind();
        self.store(worker, at, Err(ScrapeError::Panicked));
        self.cache = ScrapeCache::new();
    }

    /// Stale markers for series and report series of a target that is gone. Those that are out of order are ignored:
    /// the target is back.
    pub fn end_of_run(&mut self, worker: &mut Worker, ts_ms: i64) {
        if !self.report.was_written() {
            return;
        }
        let deadline = Instant::now() + self.target.scrape_timeout;
        let permit = worker.permits.acquire(0, deadline);
        let mut permit = permit.unwrap_or_else(|_| worker.permits.without());
        let (Scratch { appender, cursor, page, .. }, turn) = permit.parts();
        let is_cancelled = Arc::clone(self.scraper.is_cancelled());
        let mut pace = Pace::new(turn, &is_cancelled, deadline);
        self.cache.begin(cursor);
        self.cache.for_each_stale(PageFate::Failed, |handle| appender.append(handle, ts_ms, stale_nan()));
        let staged = self.report.stage_end(appender, &mut page.labels.builder, &self.target.labels, ts_ms);
        // A stale handle means that truncation has taken a series since: nothing is left of it to be marked.
        if let Err(error) = staged.and_then(|()| appender.commit_in_turns(&mut || pace.give_way())) {
            appender.rollback();
            log::debug!(
                "{}: stale markers of the target that is gone are not written: {error}",
                self.target.url
            );
        }
        self.cache = ScrapeCache::new();
        self.report = ReportSeries::default();
    }

    /// New settings after a reload. Keeps the cache if only interval, timeout, `sample_limit` or client settings
    /// changed (`reusableCache`), and the row.
    pub fn replace(&mut self, settings: &LoopSettings) {
        let LoopSettings { target, config, target_limit, failure_log, .. } = settings.clone();
        let is_same_target = target.identity() == self.target.identity();
        if !is_same_target || !give_same_samples(&config, &self.config) {
            self.cache = ScrapeCache::new();
            self.metadata = MetadataCache::default();
        }
        if !is_same_target {
            self.report = ReportSeries::default();
        }
        let is_there = target.local_dir == self.target.local_dir;
        if !is_same_target
            || !is_there
            || config != self.config
            || target.scrape_timeout != self.target.scrape_timeout
        {
            self.scraper = Scraper::of(&target, &config);
        }
        self.target = target;
        self.config = config;
        self.target_limit = target_limit;
        self.failure_log = failure_log;
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

    fn store_with(
        &mut self,
        worker: &Worker,
        scratch: &mut Scratch,
        pace: &mut Pace<'_>,
        at: ScrapeTime,
        page: Result<Page<'_>, ScrapeError>,
    ) -> Answered {
        let Some(Attempt { mut staged, duration, committed }) =
            self.attempt(worker, scratch, pace, at, &page)
        else {
            return Answered::No;
        };
        if self.config.options.extra_scrape_metrics {
            let whole = worker.clock.now().saturating_duration_since(at.start);
            worker.metrics.scrape_duration.observe(whole.as_secs_f64());
        }
        let out_of_order = self.settle(worker, scratch, &page, &mut staged, committed);
        self.count(worker, &staged, out_of_order);
        self.publish(at, duration, page.ok().map(|page| page.bytes), staged)
    }

    /// Stages and commits, again as long as the commit finds stale handles. None if the scrape is cancelled.
    fn attempt(
        &mut self,
        worker: &Worker,
        scratch: &mut Scratch,
        pace: &mut Pace<'_>,
        at: ScrapeTime,
        page: &Result<Page<'_>, ScrapeError>,
    ) -> Option<Attempt> {
        pace.begin(Work::Storing);
        let mut n_attempts = 0;
        loop {
            n_attempts += 1;
            let staged = self.stage(worker, scratch, pace, at, page);
            if staged.error == Some(ScrapeError::Page(PageError::Cancelled)) {
                scratch.appender.rollback();
                self.cache.rewind();
                return None;
            }
            let duration = worker.clock.now().saturating_duration_since(at.start);
            let committed = self.report_and_commit(scratch, pace, at, duration, &staged, page);
            match committed {
                Err(WalError::StaleSeries) if n_attempts < MAX_COMMIT_ATTEMPTS => {
                    self.cache.rewind();
                    self.cache.forget_stale(|handle| scratch.appender.is_live(handle));
                    self.report.forget();
                }
                committed => return Some(Attempt { staged, duration, committed }),
            }
        }
    }

    /// The caches keep what was committed, or go back. Gives how many samples the log left out.
    fn settle(
        &mut self,
        worker: &Worker,
        scratch: &mut Scratch,
        page: &Result<Page<'_>, ScrapeError>,
        staged: &mut Staged,
        committed: Result<usize, WalError>,
    ) -> usize {
        let out_of_order = match committed {
            Ok(out_of_order) => {
                self.finish(worker, scratch, page, staged);
                out_of_order
            }
            Err(error) => {
                scratch.appender.rollback();
                self.cache.rewind();
                self.report.forget();
                staged.error.get_or_insert(ScrapeError::Page(PageError::Wal { cause: error.to_string() }));
                0
            }
        };
        if self.target.url.scheme.is_local_page() {
            staged.error = staged.error.take().map(ScrapeError::without_page);
        }
        self.finish_metadata(worker, page, staged);
        out_of_order
    }

    /// Writes the row.
    fn publish(&self, at: ScrapeTime, duration: Duration, page: Option<&[u8]>, staged: Staged) -> Answered {
        let answered = match &staged.error {
            Some(error) if !error.answered() => Answered::No,
            _ => Answered::Yes,
        };
        if let Some(error) = &staged.error {
            log::debug!("scrape of {} failed: {error}", self.target.url);
        }
        self.status.record(LastScrape {
            ts_ms: at.ts_ms,
            duration,
            failed_in: staged.error.as_ref().map(ScrapeError::stage),
            answer: staged
                .error
                .as_ref()
                .and_then(|error| BadAnswer::of(error, page, &self.target, &self.config)),
            error: staged.error.map(|error| error.to_string()),
            samples_scraped: staged.counts.scraped,
            samples_post_metric_relabeling: staged.counts.post_metric_relabeling,
            series_added: staged.counts.series_added,
            body_bytes: page.map_or(0, <[u8]>::len) as u64,
            series_use: staged.series_use,
            over_max_series: staged.left_out.over_max_series,
        });
        answered
    }

    /// Stages the samples of the page and the ends of what is gone.
    fn stage(
        &mut self,
        worker: &Worker,
        scratch: &mut Scratch,
        pace: &mut Pace<'_>,
        at: ScrapeTime,
        page: &Result<Page<'_>, ScrapeError>,
    ) -> Staged {
        let Scratch { appender, cursor, page: page_scratch, .. } = scratch;
        self.cache.begin(cursor);
        let series_limit = self.target.options.series_limit;
        let n_series = if series_limit > 0 { self.cache.n_series() } else { 0 };
        let mut series_use = SeriesUse { limit: series_limit, current: n_series, samples_dropped: 0 };
        let mut staged = Staged::default();
        match page {
            // An empty page is a good one, whatever its type.
            Ok(page) if page.bytes.is_empty() => {}
            Ok(page) => {
                let mut page_append = PageAppend {
                    rules: page_rules(&self.config, &self.target, worker, at.ts_ms),
                    last_pages: LastPages { cache: &mut self.cache, cursor, metadata: &mut self.metadata },
                    sink: Sink { appender, scratch: page_scratch },
                    tally: Tally::new(n_series),
                    pace,
                };
                staged.error = page_append.append(*page).err().map(ScrapeError::from);
                if page_append.is_over_limit() {
                    worker.metrics.exceeded_sample_limit.inc();
                }
                let tally = page_append.tally;
                if tally.is_over_bucket_limit {
                    worker.metrics.exceeded_bucket_limit.inc();
                }
                series_use.current = tally.n_series;
                series_use.samples_dropped = tally.left_out.over_series_limit;
                staged.counts = tally.counts;
                staged.left_out = tally.left_out;
            }
            Err(error) => staged.error = Some(error.clone()),
        }
        staged.series_use = (series_limit > 0).then_some(series_use);
        let fate = match &staged.error {
            None => PageFate::Stored,
            Some(_) => {
                appender.rollback();
                PageFate::Failed
            }
        };
        self.cache.for_each_stale(fate, |handle| appender.append(handle, at.ts_ms, stale_nan()));
        staged
    }

    /// Gives how many samples the log left out.
    fn report_and_commit(
        &mut self,
        scratch: &mut Scratch,
        pace: &mut Pace<'_>,
        at: ScrapeTime,
        duration: Duration,
        staged: &Staged,
        page: &Result<Page<'_>, ScrapeError>,
    ) -> Result<usize, WalError> {
        let Scratch { appender, page: page_scratch, .. } = scratch;
        let extra = self.config.options.extra_scrape_metrics.then(|| ExtraReport {
            timeout: self.target.scrape_timeout,
            sample_limit: self.config.limits.sample_limit,
            body_size_bytes: match page {
                Ok(page) => page.bytes.len() as f64,
                Err(
                    ScrapeError::Page(PageError::BodySizeLimit { .. })
                    | ScrapeError::Page(PageError::BodySizeCap { .. }),
                ) => -1.0,
                Err(_) => 0.0,
            },
        });
        let report = Report {
            is_up: staged.error.is_none(),
            duration,
            counts: staged.counts,
            extra,
            series_use: staged.series_use,
        };
        let builder = &mut page_scratch.labels.builder;
        self.report.stage(appender, builder, &self.target.labels, at.ts_ms, report)?;
        let committed = appender.commit_in_turns(&mut || pace.give_way())?;
        self.report.written();
        Ok(committed.out_of_order)
    }

    fn finish(
        &mut self,
        worker: &Worker,
        scratch: &mut Scratch,
        page: &Result<Page<'_>, ScrapeError>,
        staged: &Staged,
    ) {
        let has_page = staged.error.is_none() && page.as_ref().is_ok_and(|page| !page.bytes.is_empty());
        if has_page {
            self.cache.finish_page(&mut scratch.cursor);
        } else if self.cache.finish_without_page() {
            worker.metrics.cache_flush_forced.inc();
        }
    }

    /// What a page said counts, also if it was refused further down.
    fn finish_metadata(&mut self, worker: &Worker, page: &Result<Page<'_>, ScrapeError>, staged: &Staged) {
        let has_page = staged.error.is_none() && page.as_ref().is_ok_and(|page| !page.bytes.is_empty());
        let fate = if has_page { PageFate::Stored } else { PageFate::Failed };
        if self.metadata.finish(fate, &worker.metadata) {
            self.status.publish_families(Arc::clone(self.metadata.list()));
        }
    }

    fn count(&mut self, worker: &Worker, staged: &Staged, out_of_order: usize) {
        let metrics = &worker.metrics;
        if let Some(
            ScrapeError::Page(PageError::BodySizeLimit { .. })
            | ScrapeError::Page(PageError::BodySizeCap { .. }),
        ) = staged.error
        {
            metrics.exceeded_body_size_limit.inc();
        }
        if let Some(ScrapeError::Page(PageError::LabelLimit(_))) = staged.error {
            metrics.exceeded_label_limits.inc();
        }
        if staged.left_out.over_series_limit > 0 {
            let by_job = || metrics.over_series_limit.with(&[&self.config.job_name]);
            self.over_series_limit.get_or_insert_with(by_job).add(staged.left_out.over_series_limit);
        }
        if staged.left_out.over_max_series > 0 {
            metrics.over_max_series.with(&[&self.config.job_name]).add(staged.left_out.over_max_series);
        }
        metrics.sample_duplicate.add(staged.left_out.duplicates);
        metrics.sample_out_of_bounds.add(staged.left_out.out_of_bounds);
        metrics.sample_out_of_order.add(staged.left_out.out_of_order + out_of_order as u64);
    }
}

/// What a job and a target want of a page that is scraped at `ts_ms`.
fn page_rules<'a>(
    config: &'a ScrapeConfig,
    target: &'a Target,
    worker: &Worker,
    ts_ms: i64,
) -> PageRules<'a> {
    PageRules {
        target_labels: &target.labels,
        fallback_format: config.fallback_scrape_protocol.map(format),
        honor_labels: config.honor_labels,
        honor_timestamps: config.honor_timestamps,
        track_timestamps_staleness: config.track_timestamps_staleness,
        scrape_native_histograms: target.options.scrape_native_histograms,
        always_scrape_classic_histograms: target.options.always_scrape_classic_histograms,
        convert_classic_histograms_to_nhcb: target.options.convert_classic_histograms_to_nhcb,
        metric_relabel_configs: &config.metric_relabel_configs,
        metric_name_validation_scheme: config.options.metric_name_validation_scheme,
        sample_limit: config.limits.sample_limit,
        series_limit: target.options.series_limit,
        label_limits: LabelLimits {
            labels: config.limits.label_limit,
            name_bytes: config.limits.label_name_length_limit,
            value_bytes: config.limits.label_value_length_limit,
        },
        native_histogram_bucket_limit: config.native_histogram_bucket_limit,
        native_histogram_min_bucket_factor: config.native_histogram_min_bucket_factor,
        metadata_records: worker.metadata_records,
        ts_ms,
        max_ts_ms: worker.clock.stamp_ms().saturating_add(MAX_AHEAD.as_millis() as i64),
    }
}

#[cfg(test)]
#[path = "scrape_loop_tests.rs"]
mod tests;
