//! What scraping counts: Prometheus' names where the meaning is the same, ours beside them.
//!
//! Written by the scrape manager, the scheduler and the workers; read by the web server.

use scraped_engine::metrics::page::Page;
use scraped_engine::metrics::{Collect, Counter, Family, Gauge, Histogram, Summary};
use std::sync::Arc;
use std::time::Duration;

/// Upper bounds of `scraped_scrape_lateness_seconds`: from the tolerance of aligned timestamps to a whole interval.
const LATENESS_BOUNDS_SECONDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0];

/// Upper bounds of `prometheus_target_scrape_duration_seconds`, which has no classic buckets in Prometheus.
const DURATION_BOUNDS_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What scraping counts.
#[derive(Debug)]
pub struct ScrapeMetrics {
    /// `prometheus_target_scrape_pools_total`.
    pub scrape_pools: Counter,
    /// `scraped_unknown_jobs_total`: target sets of a job that the configuration does not know.
    pub unknown_jobs: Counter,
    /// `prometheus_target_scrape_pool_reloads_total`.
    pub scrape_pool_reloads: Counter,
    /// `prometheus_target_reload_length_seconds` by interval.
    pub reload_length: Family<Summary>,
    /// `prometheus_target_scrape_pool_exceeded_target_limit_total`.
    pub exceeded_target_limit: Counter,
    /// `prometheus_target_scrape_pool_target_limit` by job.
    pub target_limit: Family<Gauge>,
    /// `prometheus_target_scrape_pool_targets` by job.
    pub scrape_pool_targets: Family<Gauge>,
    /// `prometheus_target_scrape_pool_sync_total` by job.
    pub scrape_pool_syncs: Family<Counter>,
    /// `prometheus_target_sync_length_seconds` by job.
    pub sync_length: Family<Summary>,
    /// `prometheus_target_sync_failed_total` by job.
    pub sync_failed: Family<Counter>,
    /// `prometheus_target_interval_length_seconds` by interval.
    pub interval_length: Family<Summary>,
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
    /// `prometheus_target_scrape_pool_exceeded_label_limits_total`.
    pub exceeded_label_limits: Counter,
    /// `prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total`.
    pub exceeded_bucket_limit: Counter,
    /// `prometheus_target_scrapes_exemplar_out_of_order_total`; stays 0 as in an agent, whose log has no order of them.
    pub exemplar_out_of_order: Counter,
    /// `prometheus_target_scrape_duration_seconds`: whole scrapes, of jobs with `extra_scrape_metrics` as in Prometheus.
    pub scrape_duration: Histogram,
    /// `scraped_series_limit_samples_dropped_total` by job.
    pub over_series_limit: Family<Counter>,
    /// `scraped_max_series_samples_dropped_total` by job.
    pub over_max_series: Family<Counter>,
    /// `prometheus_target_scrapes_cache_flush_forced_total`.
    pub cache_flush_forced: Counter,
    /// `scraped_scrape_workers` by state: `busy`, `idle`.
    pub workers: Family<Gauge>,
    /// `scraped_scrape_lateness_seconds`: start of a scrape against its slot, of targets that answered last time.
    pub lateness: Histogram,
    /// `scraped_suspect_targets`: targets that did not answer last time or were never asked.
    pub suspect_targets: Gauge,
    /// `scraped_scrapes_skipped_total` by reason: `late`, `no_worker`.
    pub scrapes_skipped: Family<Counter>,
    /// `scraped_panics_total` by thread.
    pub panics: Family<Counter>,
    /// `scraped_clock_steps_total` by direction: `forward`, `backward`.
    pub clock_steps: Family<Counter>,
    /// `scraped_target_set_reloads_total`: times that new target sets were worked in.
    pub reloads: Counter,
}

impl ScrapeMetrics {
    /// All at zero.
    pub fn new() -> Self {
        let metrics = Self {
            scrape_pools: Counter::default(),
            unknown_jobs: Counter::default(),
            scrape_pool_reloads: Counter::default(),
            reload_length: Family::new(&["interval"]),
            exceeded_target_limit: Counter::default(),
            target_limit: Family::new(&["scrape_job"]),
            scrape_pool_targets: Family::new(&["scrape_job"]),
            scrape_pool_syncs: Family::new(&["scrape_job"]),
            sync_length: Family::new(&["scrape_job"]),
            sync_failed: Family::new(&["scrape_job"]),
            interval_length: Family::new(&["interval"]),
            exceeded_sample_limit: Counter::default(),
            exceeded_body_size_limit: Counter::default(),
            sample_duplicate: Counter::default(),
            sample_out_of_order: Counter::default(),
            sample_out_of_bounds: Counter::default(),
            exceeded_label_limits: Counter::default(),
            exceeded_bucket_limit: Counter::default(),
            exemplar_out_of_order: Counter::default(),
            scrape_duration: Histogram::new(DURATION_BOUNDS_SECONDS),
            over_series_limit: Family::new(&["scrape_job"]),
            over_max_series: Family::new(&["scrape_job"]),
            cache_flush_forced: Counter::default(),
            workers: Family::new(&["state"]),
            lateness: Histogram::new(LATENESS_BOUNDS_SECONDS),
            suspect_targets: Gauge::default(),
            scrapes_skipped: Family::new(&["reason"]),
            panics: Family::new(&["thread"]),
            clock_steps: Family::new(&["direction"]),
            reloads: Counter::default(),
        };
        // A rate needs the zero before the first event.
        for reason in ["late", "no_worker"] {
            metrics.scrapes_skipped.with(&[reason]);
        }
        for direction in ["forward", "backward"] {
            metrics.clock_steps.with(&[direction]);
        }
        metrics.panics.with(&["scrape-worker"]);
        metrics
    }

    /// The child of `interval_length` for loops with this interval.
    pub fn interval_length_of(&self, interval: Duration) -> Arc<Summary> {
        self.interval_length.with(&[&go_duration(interval)])
    }

    /// Forgets what is told apart by a job that is gone.
    pub fn forget_job(&self, job_name: &str) {
        self.target_limit.remove(&[job_name]);
        self.scrape_pool_targets.remove(&[job_name]);
        self.scrape_pool_syncs.remove(&[job_name]);
        self.sync_length.remove(&[job_name]);
        self.sync_failed.remove(&[job_name]);
        self.over_series_limit.remove(&[job_name]);
        self.over_max_series.remove(&[job_name]);
    }
}

impl Default for ScrapeMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Collect for ScrapeMetrics {
    fn collect(&self, page: &mut Page) {
        page.counter(
            "prometheus_target_scrape_pools_total",
            "Total number of scrape pool creation attempts.",
            &self.scrape_pools,
        );
        page.counter(
            "scraped_unknown_jobs_total",
            "Target sets of a job that the configuration does not know, by reload.",
            &self.unknown_jobs,
        );
        page.counter(
            "prometheus_target_scrape_pool_reloads_total",
            "Total number of scrape pool reloads.",
            &self.scrape_pool_reloads,
        );
        page.summaries(
            "prometheus_target_reload_length_seconds",
            "Actual interval to reload the scrape pool with a given configuration.",
            &self.reload_length,
        );
        page.counter(
            "prometheus_target_scrape_pool_exceeded_target_limit_total",
            "Total number of times scrape pools hit the target limit, during sync or config reload.",
            &self.exceeded_target_limit,
        );
        page.gauges(
            "prometheus_target_scrape_pool_target_limit",
            "Maximum number of targets allowed in this scrape pool.",
            &self.target_limit,
        );
        page.gauges(
            "prometheus_target_scrape_pool_targets",
            "Current number of targets in this scrape pool.",
            &self.scrape_pool_targets,
        );
        page.counters(
            "prometheus_target_scrape_pool_sync_total",
            "Total number of syncs that were executed on a scrape pool.",
            &self.scrape_pool_syncs,
        );
        page.summaries(
            "prometheus_target_sync_length_seconds",
            "Actual interval to sync the scrape pool.",
            &self.sync_length,
        );
        page.counters(
            "prometheus_target_sync_failed_total",
            "Total number of target sync failures.",
            &self.sync_failed,
        );
        page.summaries(
            "prometheus_target_interval_length_seconds",
            "Actual intervals between scrapes.",
            &self.interval_length,
        );
        page.counter(
            "prometheus_target_scrapes_exceeded_sample_limit_total",
            "Total number of scrapes that hit the sample limit and were rejected.",
            &self.exceeded_sample_limit,
        );
        page.counter(
            "prometheus_target_scrapes_exceeded_body_size_limit_total",
            "Total number of scrapes that hit the body size limit",
            &self.exceeded_body_size_limit,
        );
        page.counter(
            "prometheus_target_scrapes_sample_duplicate_timestamp_total",
            "Total number of samples rejected due to duplicate timestamps but different values.",
            &self.sample_duplicate,
        );
        page.counter(
            "prometheus_target_scrapes_sample_out_of_order_total",
            "Total number of samples rejected due to not being out of the expected order.",
            &self.sample_out_of_order,
        );
        page.counter(
            "prometheus_target_scrapes_sample_out_of_bounds_total",
            "Total number of samples rejected due to timestamp falling outside of the time bounds.",
            &self.sample_out_of_bounds,
        );
        page.counter(
            "prometheus_target_scrape_pool_exceeded_label_limits_total",
            "Total number of times scrape pools hit the label limits, during sync or config reload.",
            &self.exceeded_label_limits,
        );
        page.counter(
            "prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total",
            "Total number of scrapes that hit the native histogram bucket limit and were rejected.",
            &self.exceeded_bucket_limit,
        );
        page.counter(
            "prometheus_target_scrapes_exemplar_out_of_order_total",
            "Total number of exemplar rejected due to not being out of the expected order.",
            &self.exemplar_out_of_order,
        );
        page.histogram(
            "prometheus_target_scrape_duration_seconds",
            "Total duration of the scrape from start to commit completion in seconds.",
            &self.scrape_duration,
        );
        page.counters(
            "scraped_series_limit_samples_dropped_total",
            "Samples of series that were new to a target and over its series_limit.",
            &self.over_series_limit,
        );
        page.counters(
            "scraped_max_series_samples_dropped_total",
            "Samples of new series that were left out because of --storage.agent.max-series.",
            &self.over_max_series,
        );
        page.counter(
            "prometheus_target_scrapes_cache_flush_forced_total",
            "How many times a scrape cache was flushed due to getting big while scrapes are failing.",
            &self.cache_flush_forced,
        );
        page.gauges("scraped_scrape_workers", "Scrape worker threads by what they do.", &self.workers);
        page.histogram(
            "scraped_scrape_lateness_seconds",
            "Start of a scrape against its slot on the grid, of targets that answered last time.",
            &self.lateness,
        );
        page.gauge(
            "scraped_suspect_targets",
            "Targets that did not answer last time, or were not asked yet.",
            &self.suspect_targets,
        );
        page.counters(
            "scraped_scrapes_skipped_total",
            "Slots on the grid without a scrape, by reason.",
            &self.scrapes_skipped,
        );
        page.counters("scraped_panics_total", "Panics that were caught, by thread.", &self.panics);
        page.counters(
            "scraped_clock_steps_total",
            "Steps of the wall clock against the monotonic clock by more than a second.",
            &self.clock_steps,
        );
        page.counter(
            "scraped_target_set_reloads_total",
            "Times that the scrape pools were synced with new target sets.",
            &self.reloads,
        );
    }
}

/// As Go prints a `time.Duration`, `1m0s`: the value of the label `interval`.
pub(in crate::scrape) fn go_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let (minutes, ms) = (ms / 60_000, ms % 60_000);
    let mut seconds = format!("{}.{:03}", ms / 1000, ms % 1000);
    seconds.truncate(seconds.trim_end_matches('0').trim_end_matches('.').len());
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_labelled_as_go_prints_them() {
        let cases = [
            (500, "500ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (15_000, "15s"),
            (60_000, "1m0s"),
            (3_610_050, "1h0m10.05s"),
        ];
        for (ms, want) in cases {
            assert_eq!(go_duration(Duration::from_millis(ms)), want);
        }
    }
}
