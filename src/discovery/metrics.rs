//! `prometheus_sd_*`: what discovery counts about itself, under Prometheus' names (`discovery/metrics.go`,
//! `discovery/metrics_refresh.go`, `discovery/file/metrics.go`).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::discovery::complaints::Complaints;
use scraped_engine::metrics::{Counter, Family, Gauge, Histogram, Summary};
use scraped_engine::metrics_table;

/// Label `name`: the one discovery manager of an agent.
const MANAGER_NAME: &str = "scrape";

/// Prometheus' bounds.
const REFRESH_BOUNDS_SECONDS: &[f64] = &[0.01, 0.1, 1.0, 10.0];

metrics_table! {
    /// Metrics of all discovery threads.
    pub struct DiscoveryMetrics {
        failed_configs: Gauge => "prometheus_sd_failed_configs" ["name" = "scrape"],
            "Current number of service discovery configurations that failed to load.";
        discovered_targets: Family<Gauge> = Family::new(&["name", "config"]) => "prometheus_sd_discovered_targets",
            "Current number of discovered targets.";
        received_updates: Counter => "prometheus_sd_received_updates_total" ["name" = "scrape"],
            "Total number of update events received from the SD providers.";
        /// Times that the receiver had not yet taken the sets before.
        delayed_updates: Counter => "prometheus_sd_updates_delayed_total" ["name" = "scrape"],
            "Total number of update events that couldn't be sent immediately.";
        sent_updates: Counter => "prometheus_sd_updates_total" ["name" = "scrape"],
            "Total number of update events sent to the SD consumers.";
        last_update_seconds: Family<Gauge> = Family::new(&["name", "config"]) =>
            "prometheus_sd_last_update_timestamp_seconds",
            "Timestamp of the last update sent to the SD consumers.";
        refresh_failures: Family<Counter> = Family::new(&["mechanism", "config"]) =>
            "prometheus_sd_refresh_failures_total",
            "Number of refresh failures for the given SD mechanism.";
        refresh_seconds: Family<Summary> = Family::new(&["mechanism", "config"]) =>
            "prometheus_sd_refresh_duration_seconds",
            "The duration of a refresh in seconds for the given SD mechanism.";
        refresh_histograms: Family<Histogram> = Family::made_by(&["mechanism"], || Histogram::new(REFRESH_BOUNDS_SECONDS)) =>
            "prometheus_sd_refresh_duration_histogram_seconds",
            "The duration of a refresh for the given SD mechanism.";
        http_failures: Counter => "prometheus_sd_http_failures_total",
            "Number of HTTP service discovery refresh failures.";
        consul_rpc_seconds: Family<Summary> = Family::new(&["endpoint", "call"]) =>
            "prometheus_sd_consul_rpc_duration_seconds",
            "The duration of a Consul RPC call in seconds.";
        consul_rpc_failures: Counter => "prometheus_sd_consul_rpc_failures_total",
            "The number of Consul RPC call failures.";
        kubernetes_events: Family<Counter> = kubernetes_events() => "prometheus_sd_kubernetes_events_total",
            "The number of Kubernetes events handled.";
        kubernetes_failures: Counter => "prometheus_sd_kubernetes_failures_total",
            "The number of failed WATCH/LIST requests.";
        dns_lookups: Counter => "prometheus_sd_dns_lookups_total", "The number of DNS-SD lookups.";
        dns_lookup_failures: Counter => "prometheus_sd_dns_lookup_failures_total",
            "The number of DNS-SD lookup failures.";
        file_watcher_errors: Counter => "prometheus_sd_file_watcher_errors_total",
            "The number of File-SD errors caused by filesystem watch failures.";
        file_read_errors: Counter => "prometheus_sd_file_read_errors_total", "The number of File-SD read errors.";
        file_scan_seconds: Summary => "prometheus_sd_file_scan_duration_seconds",
            "The duration of the File-SD scan in seconds.";
        file_mtime_seconds: Family<Gauge> = Family::new(&["filename"]) => "prometheus_sd_file_mtime_seconds",
            "Timestamp (mtime) of files read by FileSD. Timestamp is set at read time.";
    }
    beside {
        /// What sources complain of now.
        complaints: Arc<Complaints>;
    }
}

/// By role and kind of event, all at zero.
fn kubernetes_events() -> Family<Counter> {
    let events = Family::new(&["role", "event"]);
    for role in ["endpointslice", "endpoints", "node", "pod", "service", "ingress"] {
        for event in ["add", "delete", "update"] {
            events.with(&[role, event]);
        }
    }
    events
}

/// What is counted about one provider. It outlives the names it is shown under.
#[derive(Debug)]
pub(in crate::discovery) struct RefreshMetrics {
    /// Questions that failed.
    pub failures: Arc<Counter>,
    seconds: Arc<Summary>,
    histogram: Arc<Histogram>,
}

impl RefreshMetrics {
    /// A question took so long.
    pub(in crate::discovery) fn took(&self, time: Duration) {
        self.seconds.observe_duration(time);
        self.histogram.observe(time.as_secs_f64());
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
