//! The series that every scrape writes about itself: `up` and its companions (Prometheus' `scrapeLoop.report`), and
//! those that a setting asks for.

use crate::float::stale_nan;
use crate::labels::builder::LabelsBuilder;
use crate::labels::{Labels, METRIC_NAME};
use crate::series::SeriesHandle;
use crate::wal::appender::Appender;
use crate::wal::error::WalError;
use std::time::Duration;

/// In the order in which they are written.
const REPORT_NAMES: [&str; 11] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    // `extra_scrape_metrics`.
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
    // `series_limit`; vmagent's names.
    "scrape_series_limit",
    "scrape_series_current",
    "scrape_series_limit_samples_dropped",
];

/// Whether a metric is one that scrapes write about themselves: no rule of `metric_relabel_configs` sees it.
pub fn is_report_name(name: &str) -> bool {
    REPORT_NAMES.contains(&name)
}

/// What a page had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCounts {
    /// Samples read.
    pub scraped: u64,
    /// Samples that relabelling left.
    pub post_metric_relabeling: u64,
    /// Series that the cache did not know.
    pub series_added: u64,
}

/// What a scrape says about itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// The page was stored.
    pub is_up: bool,
    /// From the start of the request to the last sample staged.
    pub duration: Duration,
    /// What the page had.
    pub counts: PageCounts,
    /// With `extra_scrape_metrics`.
    pub extra: Option<ExtraReport>,
    /// With `series_limit`.
    pub series_use: Option<SeriesUse>,
}

/// What `extra_scrape_metrics` adds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExtraReport {
    /// The target's timeout.
    pub timeout: Duration,
    /// `sample_limit`; 0 for none.
    pub sample_limit: u64,
    /// Unpacked size of the page; −1 if it was over `body_size_limit`, 0 if there was none for another reason.
    pub body_size_bytes: f64,
}

/// How much of its series budget a target uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeriesUse {
    /// The budget.
    pub limit: u64,
    /// Series that it has.
    pub current: u64,
    /// Samples of the last page whose series were new and over the budget.
    pub samples_dropped: u64,
}

impl Report {
    /// In the order of [`REPORT_NAMES`]; `None` is not written.
    fn values(&self) -> [Option<f64>; REPORT_NAMES.len()] {
        let Self { is_up, duration, counts, extra, series_use } = self;
        [
            Some(f64::from(u8::from(*is_up))),
            Some(duration.as_secs_f64()),
            Some(counts.scraped as f64),
            Some(counts.post_metric_relabeling as f64),
            Some(counts.series_added as f64),
            extra.map(|extra| extra.timeout.as_secs_f64()),
            extra.map(|extra| extra.sample_limit as f64),
            extra.map(|extra| extra.body_size_bytes),
            series_use.map(|series_use| series_use.limit as f64),
            series_use.map(|series_use| series_use.current as f64),
            series_use.map(|series_use| series_use.samples_dropped as f64),
        ]
    }
}

/// Handles of a target's report series.
#[derive(Clone, Debug, Default)]
pub struct ReportSeries {
    handles: [Option<SeriesHandle>; REPORT_NAMES.len()],
    /// Which of them the last report in the log has.
    was_written: [bool; REPORT_NAMES.len()],
    /// Which of them the staged report has.
    is_staged: [bool; REPORT_NAMES.len()],
}

impl ReportSeries {
    /// True once a report was written.
    pub fn was_written(&self) -> bool {
        self.was_written.contains(&true)
    }

    /// The staged report is in the log.
    pub fn written(&mut self) {
        self.was_written = self.is_staged;
    }

    /// Handles are stale, or the transaction that made them was rolled back.
    pub fn forget(&mut self) {
        self.handles = Default::default();
    }

    /// Stages a report, and the end of what the last one had and this one has not.
    ///
    /// # Errors
    /// The log has no room for the series or is closed.
    pub fn stage(
        &mut self,
        appender: &mut Appender,
        builder: &mut LabelsBuilder,
        target_labels: &Labels,
        ts_ms: i64,
        report: Report,
    ) -> Result<(), WalError> {
        let mut values = report.values();
        self.is_staged = values.map(|value| value.is_some());
        for (value, was_written) in values.iter_mut().zip(self.was_written) {
            if was_written {
                value.get_or_insert(stale_nan());
            }
        }
        self.stage_values(appender, builder, target_labels, ts_ms, values)
    }

    /// Stages the end of all report series that were written.
    ///
    /// # Errors
    /// As [`ReportSeries::stage`].
    pub fn stage_end(
        &mut self,
        appender: &mut Appender,
        builder: &mut LabelsBuilder,
        target_labels: &Labels,
        ts_ms: i64,
    ) -> Result<(), WalError> {
        let values = self.was_written.map(|was_written| was_written.then(stale_nan));
        self.stage_values(appender, builder, target_labels, ts_ms, values)
    }

    fn stage_values(
        &mut self,
        appender: &mut Appender,
        builder: &mut LabelsBuilder,
        target_labels: &Labels,
        ts_ms: i64,
        values: [Option<f64>; REPORT_NAMES.len()],
    ) -> Result<(), WalError> {
        for ((name, handle), value) in REPORT_NAMES.iter().zip(&mut self.handles).zip(values) {
            let Some(value) = value else { continue };
            let handle = match handle {
                Some(handle) => *handle,
                None => {
                    builder.reset(target_labels);
                    builder.set(METRIC_NAME, name);
                    *handle.insert(appender.series(builder)?.handle)
                }
            };
            appender.append(handle, ts_ms, value);
        }
        Ok(())
    }
}
