//! `prometheus_sd_*`: what discovery counts about itself, under Prometheus' names (`discovery/metrics.go`,
//! `discovery/metrics_refresh.go`, `discovery/file/metrics.go`).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::discovery::complaints::Complaints;
use scraped_engine::metrics::page::Page;
use scraped_engine::metrics::{Collect, Counter, Family, Gauge, Histogram, Summary};

/// Label `name`: the one discovery manager of an agent.
const MANAGER_NAME: &str = "scrape";

/// Counters of all discovery threads.
#[derive(Debug)]
pub struct DiscoveryMetrics {
    /// Providers that could not be started.
    pub failed_configs: Gauge,
    /// Targets a job.
    pub discovered_targets: Family<Gauge>,
    /// Sets of groups that came from providers.
    pub received_updates: Counter,
    /// Times that the receiver had not yet taken the sets before.
    pub delayed_updates: Counter,
    /// Target sets handed on.
    pub sent_updates: Counter,
    /// When a job's targets were handed on last, in seconds since 1970.
    pub last_update_seconds: Family<Gauge>,
    /// Questions to a provider that failed, by mechanism and job.
    pub refresh_failures: Family<Counter>,
    /// Seconds that a question took, by mechanism and job.
    pub refresh_seconds: Family<Summary>,
    /// The same by mechanism alone.
    refresh_histograms: Family<RefreshHistogram>,
    /// Lists of `http_sd_configs` that could not be had.
    pub http_failures: Counter,
    /// Seconds that a request to Consul took, by endpoint and call.
    pub consul_rpc_seconds: Family<Summary>,
    /// Requests to Consul that failed.
    pub consul_rpc_failures: Counter,
    /// Events of `kubernetes_sd_configs`, by role and kind.
    pub kubernetes_events: Family<Counter>,
    /// Requests of theirs that failed.
    pub kubernetes_failures: Counter,
    /// Names of `dns_sd_configs` that were looked up.
    pub dns_lookups: Counter,
    /// Those that no server had an answer for.
    pub dns_lookup_failures: Counter,
    /// Files that could not be read or understood.
    pub file_read_errors: Counter,
    /// Times that directories could not be watched.
    pub file_watcher_errors: Counter,
    /// Seconds that a look at all files of a provider took, if anything was read.
    pub file_scan_seconds: Summary,
    /// Modification time of each file read, in seconds since 1970.
    pub file_mtime_seconds: Family<Gauge>,
    /// What sources complain of now; not a metric, but as long-lived.
    pub complaints: Arc<Complaints>,
}

/// Seconds that questions took.
#[derive(Debug)]
struct RefreshHistogram(Histogram);

impl Default for RefreshHistogram {
    fn default() -> Self {
        // Prometheus' bounds.
        Self(Histogram::new(&[0.01, 0.1, 1.0, 10.0]))
    }
}

/// What is counted about one provider. It outlives the names it is shown under.
#[derive(Debug)]
pub(in crate::discovery) struct RefreshMetrics {
    /// Questions that failed.
    pub failures: Arc<Counter>,
    seconds: Arc<Summary>,
    histogram: Arc<RefreshHistogram>,
}

impl RefreshMetrics {
    /// A question took so long.
    pub(in crate::discovery) fn took(&self, time: Duration) {
        self.seconds.observe_duration(time);
        self.histogram.0.observe(time.as_secs_f64());
    }
}

impl Default for DiscoveryMetrics {
    fn default() -> Self {
        let kubernetes_events: Family<Counter> = Family::new(&["role", "event"]);
        for role in ["node", "pod"] {
            for event in ["add", "delete", "update"] {
                kubernetes_events.with(&[role, event]);
            }
        }
        Self {
            failed_configs: Gauge::default(),
            discovered_targets: Family::new(&["name", "config"]),
            received_updates: Counter::default(),
            delayed_updates: Counter::default(),
            sent_updates: Counter::default(),
            last_update_seconds: Family::new(&["name", "config"]),
            refresh_failures: Family::new(&["mechanism", "config"]),
            refresh_seconds: Family::new(&["mechanism", "config"]),
            refresh_histograms: Family::new(&["mechanism"]),
            http_failures: Counter::default(),
            consul_rpc_seconds: Family::new(&["endpoint", "call"]),
            consul_rpc_failures: Counter::default(),
            kubernetes_events,
            kubernetes_failures: Counter::default(),
            dns_lookups: Counter::default(),
            dns_lookup_failures: Counter::default(),
            file_read_errors: Counter::default(),
            file_watcher_errors: Counter::default(),
            file_scan_seconds: Summary::default(),
            file_mtime_seconds: Family::new(&["filename"]),
            complaints: Arc::default(),
        }
    }
}

impl DiscoveryMetrics {
    /// The gauge of a job's targets.
    pub(in crate::discovery) fn set_discovered(&self, job: &str, n_targets: usize) {
        self.discovered_targets.with(&[MANAGER_NAME, job]).set(n_targets as f64);
    }

    /// The sets of these jobs were handed on.
    pub(in crate::discovery) fn sent<'a>(&self, jobs: impl Iterator<Item = &'a String>) {
        self.sent_updates.inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for job in jobs {
            self.last_update_seconds.with(&[MANAGER_NAME, job]).set(now.as_secs_f64());
        }
    }

    /// What is counted about a provider, for as long as it runs.
    pub(in crate::discovery) fn of_provider(&self, kind: &str, job: &str) -> RefreshMetrics {
        RefreshMetrics {
            failures: self.refresh_failures.with(&[kind, job]),
            seconds: self.refresh_seconds.with(&[kind, job]),
            histogram: self.refresh_histograms.with(&[kind]),
        }
    }

    /// A job is gone.
    pub(in crate::discovery) fn forget_job(&self, job: &str) {
        self.discovered_targets.remove(&[MANAGER_NAME, job]);
        self.last_update_seconds.remove(&[MANAGER_NAME, job]);
    }

    /// A provider that was started for `job` is gone, and there is no other of its kind.
    pub(in crate::discovery) fn forget_provider(&self, kind: &str, job: &str) {
        self.refresh_failures.remove(&[kind, job]);
        self.refresh_seconds.remove(&[kind, job]);
    }
}

impl Collect for DiscoveryMetrics {
    fn collect(&self, page: &mut Page) {
        let name = "prometheus_sd_failed_configs";
        let help = "Current number of service discovery configurations that failed to load.";
        page.header(name, help, "gauge");
        page.sample(name, &[("name", MANAGER_NAME)], self.failed_configs.get());
        page.gauges(
            "prometheus_sd_discovered_targets",
            "Current number of discovered targets.",
            &self.discovered_targets,
        );
        let updates = [
            (
                "prometheus_sd_received_updates_total",
                "Total number of update events received from the SD providers.",
                &self.received_updates,
            ),
            (
                "prometheus_sd_updates_delayed_total",
                "Total number of update events that couldn't be sent immediately.",
                &self.delayed_updates,
            ),
            (
                "prometheus_sd_updates_total",
                "Total number of update events sent to the SD consumers.",
                &self.sent_updates,
            ),
        ];
        for (name, help, counter) in updates {
            page.header(name, help, "counter");
            page.sample(name, &[("name", MANAGER_NAME)], counter.get() as f64);
        }
        page.gauges(
            "prometheus_sd_last_update_timestamp_seconds",
            "Timestamp of the last update sent to the SD consumers.",
            &self.last_update_seconds,
        );
        page.counters(
            "prometheus_sd_refresh_failures_total",
            "Number of refresh failures for the given SD mechanism.",
            &self.refresh_failures,
        );
        page.summaries(
            "prometheus_sd_refresh_duration_seconds",
            "The duration of a refresh in seconds for the given SD mechanism.",
            &self.refresh_seconds,
        );
        let name = "prometheus_sd_refresh_duration_histogram_seconds";
        page.header(name, "The duration of a refresh for the given SD mechanism.", "histogram");
        for (values, histogram) in self.refresh_histograms.children() {
            let labels: Vec<(&str, &str)> = values.iter().map(|kind| ("mechanism", kind.as_str())).collect();
            page.histogram_samples(name, &labels, &histogram.0);
        }
        page.counter(
            "prometheus_sd_http_failures_total",
            "Number of HTTP service discovery refresh failures.",
            &self.http_failures,
        );
        page.summaries(
            "prometheus_sd_consul_rpc_duration_seconds",
            "The duration of a Consul RPC call in seconds.",
            &self.consul_rpc_seconds,
        );
        page.counter(
            "prometheus_sd_consul_rpc_failures_total",
            "The number of Consul RPC call failures.",
            &self.consul_rpc_failures,
        );
        page.counters(
            "prometheus_sd_kubernetes_events_total",
            "The number of Kubernetes events handled.",
            &self.kubernetes_events,
        );
        page.counter(
            "prometheus_sd_kubernetes_failures_total",
            "The number of failed WATCH/LIST requests.",
            &self.kubernetes_failures,
        );
        page.counter("prometheus_sd_dns_lookups_total", "The number of DNS-SD lookups.", &self.dns_lookups);
        page.counter(
            "prometheus_sd_dns_lookup_failures_total",
            "The number of DNS-SD lookup failures.",
            &self.dns_lookup_failures,
        );
        page.counter(
            "prometheus_sd_file_watcher_errors_total",
            "The number of File-SD errors caused by filesystem watch failures.",
            &self.file_watcher_errors,
        );
        page.counter(
            "prometheus_sd_file_read_errors_total",
            "The number of File-SD read errors.",
            &self.file_read_errors,
        );
        page.summary(
            "prometheus_sd_file_scan_duration_seconds",
            "The duration of the File-SD scan in seconds.",
            &self.file_scan_seconds,
        );
        page.gauges(
            "prometheus_sd_file_mtime_seconds",
            "Timestamp (mtime) of files read by FileSD. Timestamp is set at read time.",
            &self.file_mtime_seconds,
        );
    }
}
