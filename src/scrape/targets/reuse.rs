//! What of a target's scrape state outlives a change of its job: Prometheus' `reusableCache` (`scrape/scrape.go`).

use crate::config::ScrapeConfig;
use crate::config::scrape_options::ScrapeLimits;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What becomes of a loop when its job's configuration changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It does not notice.
    Untouched,
    /// New settings, same cache.
    Cache,
    /// A new loop; the old one ends as if its target were gone.
    Nothing,
}

/// Prometheus' `reusableCache`, with one case more: where only discovery changed, loops are none the wiser. (There, one
/// target more in `static_configs` costs every target of the job its cache.)
pub fn reuse(old: &Arc<ScrapeConfig>, new: &Arc<ScrapeConfig>) -> Reuse {
    if Arc::ptr_eq(old, new) || differ_in_discovery_only(old, new) {
        Reuse::Untouched
    } else if give_same_samples(old, new) {
        Reuse::Cache
    } else {
        Reuse::Nothing
    }
}

/// Whether two jobs differ at most in where their targets come from: their loops are none the wiser.
fn differ_in_discovery_only(a: &ScrapeConfig, b: &ScrapeConfig) -> bool {
    without_discovery(a) == without_discovery(b)
}

/// Whether two jobs make the same series of the same page, so that a cache serves both.
pub fn give_same_samples(a: &ScrapeConfig, b: &ScrapeConfig) -> bool {
    what_caches_know(a) == what_caches_know(b)
}

fn without_discovery(config: &ScrapeConfig) -> ScrapeConfig {
    ScrapeConfig {
        discovery: Vec::new(),
        limits: ScrapeLimits { keep_dropped_targets: 0, ..config.limits },
        ..config.clone()
    }
}

/// What is blanked here changes neither which series a page gives nor what their labels are. It is more than Prometheus
/// blanks by two settings: `series_limit`, which is there to keep series, and the failure log.
fn what_caches_know(config: &ScrapeConfig) -> ScrapeConfig {
    ScrapeConfig {
        scrape_interval: Duration::ZERO,
        scrape_timeout: Duration::ZERO,
        limits: ScrapeLimits { sample_limit: 0, series_limit: 0, keep_dropped_targets: 0, ..config.limits },
        scrape_failure_log_file: PathBuf::new(),
        enable_http2: false,
        http_client: Arc::default(),
        ..without_discovery(config)
    }
}
