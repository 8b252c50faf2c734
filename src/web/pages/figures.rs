//! Figures of `/metrics`, read there, so that no figure is counted twice.

use crate::web::state::WebState;
use std::collections::BTreeMap;

/// Families that are summed up for pages.
const FAMILIES: &[&str] = &[
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "prometheus_agent_active_series",
    "prometheus_agent_checkpoint_creations_failed_total",
    "prometheus_agent_checkpoint_creations_total",
    "prometheus_agent_samples_appended_total",
    "prometheus_remote_storage_samples_dropped_total",
    "prometheus_tsdb_wal_record_parts_bytes_written_total",
    "prometheus_tsdb_wal_segment_current",
    "prometheus_tsdb_wal_storage_size_bytes",
    "prometheus_tsdb_wal_truncations_failed_total",
    "prometheus_tsdb_wal_truncations_total",
    "scraped_clock_steps_total",
    "scraped_panics_total",
    "scraped_series_bytes",
    "scraped_unstamped_samples",
    "scraped_wal_fsyncs_failed_total",
    "scraped_wal_limit_bytes",
    "scraped_wal_memory_bytes",
    "scraped_wal_poisoned",
    "scraped_wal_samples_lost_total",
    "scraped_wal_segment_first",
    "scraped_wal_segment_first_timestamp_seconds",
    "scraped_wal_unusable",
];

/// Sums of the families that pages show.
#[derive(Debug, Default)]
pub(in crate::web::pages) struct Figures(BTreeMap<&'static str, f64>);

impl Figures {
    pub(in crate::web::pages) fn read(state: &WebState) -> Self {
        let mut figures = Self::default();
        state.registry.pieces().for_each(|piece| figures.take(&piece));
        figures
    }

    /// Adds what a page of metrics has of them.
    pub(in crate::web::pages) fn take(&mut self, page: &str) {
        for line in page.lines() {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let Some(known) = FAMILIES.iter().find(|known| **known == name) else { continue };
            let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
            *self.0.entry(known).or_default() += value.filter(|value| value.is_finite()).unwrap_or(0.0);
        }
    }

    /// Zero where there is no such family.
    pub(in crate::web::pages) fn of(&self, family: &str) -> f64 {
        debug_assert!(FAMILIES.contains(&family), "BUG: {family} is not read");
        self.0.get(family).copied().unwrap_or(0.0)
    }

    /// Samples that were taken and reach nobody.
    pub(in crate::web::pages) fn n_lost(&self) -> f64 {
        self.of("prometheus_remote_storage_samples_dropped_total") + self.of("scraped_wal_samples_lost_total")
    }
}

/// A figure with its name, for a list of class `figures`; `text` is HTML.
pub(in crate::web::pages) fn figure(name: &str, text: &str) -> String {
    // A browser for text would take what follows for a part of it without the end tag.
    format!("<div><dt>{name}<dd>{text}</dd></div>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_sums_over_series() {
        let mut figures = Figures::default();
        figures.take(
            "# TYPE scraped_panics_total counter\nscraped_panics_total{thread=\"a b\"} 1\n\
             scraped_panics_total{thread=\"c\"} 2\nscraped_panics_total_more 9\n",
        );
        figures.take("process_open_fds 7\nprocess_max_fds +Inf\nunknown 4\n");
        let got =
            ["scraped_panics_total", "process_open_fds", "process_max_fds"].map(|name| figures.of(name));
        assert_eq!(got, [3.0, 7.0, 0.0]);
    }
}
