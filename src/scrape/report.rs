//! The series that every scrape writes about itself: `up` and its four companions (Prometheus' `scrapeLoop.report`).

use crate::labels::builder::LabelsBuilder;
use crate::labels::{Labels, METRIC_NAME};
use crate::series::SeriesHandle;
use crate::wal::appender::Appender;
use crate::wal::error::WalError;
use crate::wal::stale_nan;
use std::time::Duration;

/// In the order in which they are written.
const REPORT_NAMES: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The page was stored.
    pub is_up: bool,
    /// From the start of the request to the last sample staged.
    pub duration: Duration,
    /// What the page had.
    pub counts: PageCounts,
}

/// Handles of a target's report series.
#[derive(Clone, Debug, Default)]
pub struct ReportSeries {
    handles: [Option<SeriesHandle>; REPORT_NAMES.len()],
    was_written: bool,
}

impl ReportSeries {
    /// True once a report was written.
    pub fn was_written(&self) -> bool {
        self.was_written
    }

    /// The staged report is in the log.
    pub fn written(&mut self) {
        self.was_written = true;
    }

    /// Handles are stale, or the transaction that made them was rolled back.
    pub fn forget(&mut self) {
        self.handles = Default::default();
    }

    /// Stages a report.
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
        let values = [
            f64::from(u8::from(report.is_up)),
            report.duration.as_secs_f64(),
            report.counts.scraped as f64,
            report.counts.post_metric_relabeling as f64,
            report.counts.series_added as f64,
        ];
        self.stage_values(appender, builder, target_labels, ts_ms, values)
    }

    /// Stages the end of all report series.
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
        self.stage_values(appender, builder, target_labels, ts_ms, [stale_nan(); REPORT_NAMES.len()])
    }

    fn stage_values(
        &mut self,
        appender: &mut Appender,
        builder: &mut LabelsBuilder,
        target_labels: &Labels,
        ts_ms: i64,
        values: [f64; REPORT_NAMES.len()],
    ) -> Result<(), WalError> {
        for ((name, handle), value) in REPORT_NAMES.iter().zip(&mut self.handles).zip(values) {
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
