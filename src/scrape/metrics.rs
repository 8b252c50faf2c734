//! What scraping counts: Prometheus' names where the meaning is the same, ours beside them.
//!
//! Written by the scrape manager, the scheduler and the workers; read by the web server.

use scraped_engine::metrics::{Counter, Family, Gauge, Histogram, Summary};
use scraped_engine::metrics_table;
use std::sync::Arc;
use std::time::Duration;

/// Upper bounds of `scraped_scrape_lateness_seconds`: from the tolerance of aligned timestamps to a whole interval.
const LATENESS_BOUNDS_SECONDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0];

/// Upper bounds of `prometheus_target_scrape_duration_seconds`, which has no classic buckets in Prometheus.
const DURATION_BOUNDS_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

metrics_table! {
    /// What scraping counts.
    pub struct ScrapeMetrics {
        scrape_pools: Counter => "prometheus_target_scrape_pools_total",
            "Total number of scrape pool creation attempts.";
        unknown_jobs: Counter => "scraped_unknown_jobs_total",
            "Target sets of a job that the configuration does not know, by reload.";
        scrape_pool_reloads: Counter => "prometheus_target_scrape_pool_reloads_total",
            "Total number of scrape pool reloads.";
        reload_length: Family<Summary> = Family::new(&["interval"]) => "prometheus_target_reload_length_seconds",
            "Actual interval to reload the scrape pool with a given configuration.";
        exceeded_target_limit: Counter => "prometheus_target_scrape_pool_exceeded_target_limit_total",
            "Total number of times scrape pools hit the target limit, during sync or config reload.";
        target_limit: Family<Gauge> = Family::new(&["scrape_job"]) => "prometheus_target_scrape_pool_target_limit",
            "Maximum number of targets allowed in this scrape pool.";
        scrape_pool_targets: Family<Gauge> = Family::new(&["scrape_job"]) => "prometheus_target_scrape_pool_targets",
            "Current number of targets in this scrape pool.";
        scrape_pool_syncs: Family<Counter> = Family::new(&["scrape_job"]) =>
            "prometheus_target_scrape_pool_sync_total",
            "Total number of syncs that were executed on a scrape pool.";
        sync_length: Family<Summary> = Family::new(&["scrape_job"]) => "prometheus_target_sync_length_seconds",
            "Actual interval to sync the scrape pool.";
        sync_failed: Family<Counter> = Family::new(&["scrape_job"]) => "prometheus_target_sync_failed_total",
            "Total number of target sync failures.";
        interval_length: Family<Summary> = Family::new(&["interval"]) => "prometheus_target_interval_length_seconds",
            "Actual intervals between scrapes.";
        exceeded_sample_limit: Counter => "prometheus_target_scrapes_exceeded_sample_limit_total",
            "Total number of scrapes that hit the sample limit and were rejected.";
        exceeded_body_size_limit: Counter => "prometheus_target_scrapes_exceeded_body_size_limit_total",
            "Total number of scrapes that hit the body size limit";
        sample_duplicate: Counter => "prometheus_target_scrapes_sample_duplicate_timestamp_total",
            "Total number of samples rejected due to duplicate timestamps but different values.";
        sample_out_of_order: Counter => "prometheus_target_scrapes_sample_out_of_order_total",
            "Total number of samples rejected due to not being out of the expected order.";
        sample_out_of_bounds: Counter => "prometheus_target_scrapes_sample_out_of_bounds_total",
            "Total number of samples rejected due to timestamp falling outside of the time bounds.";
        exceeded_label_limits: Counter => "prometheus_target_scrape_pool_exceeded_label_limits_total",
            "Total number of times scrape pools hit the label limits, during sync or config reload.";
        exceeded_bucket_limit: Counter => "prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total",
            "Total number of scrapes that hit the native histogram bucket limit and were rejected.";
        /// Stays 0 as in an agent, whose log has no order of them.
        exemplar_out_of_order: Counter => "prometheus_target_scrapes_exemplar_out_of_order_total",
            "Total number of exemplar rejected due to not being out of the expected order.";
        /// Whole scrapes, of jobs with `extra_scrape_metrics` as in Prometheus.
        scrape_duration: Histogram = Histogram::new(DURATION_BOUNDS_SECONDS) =>
            "prometheus_target_scrape_duration_seconds",
            "Total duration of the scrape from start to commit completion in seconds.";
        over_series_limit: Family<Counter> = Family::new(&["scrape_job"]) =>
            "scraped_series_limit_samples_dropped_total",
            "Samples of series that were new to a target and over its series_limit.";
        over_max_series: Family<Counter> = Family::new(&["scrape_job"]) => "scraped_max_series_samples_dropped_total",
            "Samples of new series that were left out because of --storage.agent.max-series.";
        cache_flush_forced: Counter => "prometheus_target_scrapes_cache_flush_forced_total",
            "How many times a scrape cache was flushed due to getting big while scrapes are failing.";
        workers: Family<Gauge> = Family::new(&["state"]) => "scraped_scrape_workers",
            "Scrape worker threads by what they do.";
        lateness: Histogram = Histogram::new(LATENESS_BOUNDS_SECONDS) => "scraped_scrape_lateness_seconds",
            "Start of a scrape against its slot on the grid, of targets that answered last time.";
        suspect_targets: Gauge => "scraped_suspect_targets",
            "Targets that did not answer last time, or were not asked yet.";
        scrapes_skipped: Family<Counter> = Family::of(&["reason"], &["late", "no_worker", "set_aside"]) =>
            "scraped_scrapes_skipped_total",
            "Slots on the grid without a scrape, by reason.";
        set_aside: Counter => "scraped_targets_set_aside_total",
            "Times that a target was set aside because its scrapes panicked one after the other.";
        clock_steps: Family<Counter> = Family::of(&["direction"], &["forward", "backward"]) =>
            "scraped_clock_steps_total",
            "Steps of the wall clock against the monotonic clock by more than a second.";
        reloads: Counter => "scraped_target_set_reloads_total",
            "Times that the scrape pools were synced with new target sets.";
    }
}

impl ScrapeMetrics {
    /// The child of `interval_length` for loops with this interval.
    pub fn interval_length_of(&self, interval: Duration) -> Arc<Summary> {
        self.interval_length.with(&[&go_duration(interval)])
    }

    /// Forgets what is counted for a job that is gone.
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
