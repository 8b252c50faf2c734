//! `Appender`: one transaction. Stage, then [`Appender::commit`]; [`Appender::rollback`] or a drop touches no disk.
//!
//! Lives in a scrape worker and is reused for every scrape of it. Staging takes no lock; only a series that the
//! caller has no handle for does. Knows no file.

use crate::histogram::Histogram;
use crate::labels::builder::LabelsBuilder;
use crate::metric_type::MetricType;
use crate::series::SeriesHandle;
use crate::wal::error::WalError;
use crate::wal::head::Wal;
use crate::wal::unstamped::waiting::Admission;
use crate::wal::write::commit::CommitReport;
use crate::wal::write::staged::ExemplarTime;
use crate::wal::write::staged::Staged;
use std::fmt;

/// Series an idle appender keeps room for; there are as many appenders as workers.
const KEPT_SERIES: usize = 4096;

/// Most characters in all names and values of an exemplar's labels (`exemplar.ExemplarMaxLabelSetLength`; OpenMetrics
/// says so).
pub const MAX_EXEMPLAR_LABEL_CHARS: usize = 128;

/// What [`Appender::series`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesLookup {
    /// Handle for [`Appender::append`].
    pub handle: SeriesHandle,
    /// Newest sample's timestamp in milliseconds; `i64::MIN` when there is none.
    pub last_ts_ms: i64,
}

/// Why an exemplar is not staged; its sample is not touched by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExemplarError {
    /// Its labels have more characters than OpenMetrics allows.
    TooLong,
    /// A label name comes twice.
    DuplicateLabel,
}

impl fmt::Display for ExemplarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExemplarError::TooLong => write!(
                f,
                "label length for exemplar exceeds maximum of {MAX_EXEMPLAR_LABEL_CHARS} UTF-8 characters"
            ),
            ExemplarError::DuplicateLabel => f.write_str("label name in exemplar is not unique"),
        }
    }
}

impl std::error::Error for ExemplarError {}

/// One transaction over the WAL, reused by its worker.
#[derive(Debug)]
pub struct Appender {
    wal: Wal,
    staged: Staged,
    /// Series made since the last commit; no one else may have logged them yet.
    created: Vec<SeriesHandle>,
    /// Labels of the exemplar being staged.
    exemplar_labels: LabelsBuilder,
}

impl Appender {
    pub(in crate::wal) fn new(wal: Wal) -> Self {
        Self { wal, staged: Staged::default(), created: Vec::new(), exemplar_labels: LabelsBuilder::new() }
    }

    /// Finds or makes the series with these labels. Series made here and never committed are taken back by
    /// [`Appender::rollback`].
    ///
    /// # Errors
    /// [`WalError::TooManySeries`], [`WalError::Closed`].
    pub fn series(&mut self, labels: &LabelsBuilder) -> Result<SeriesLookup, WalError> {
        self.lookup(labels, false)?.ok_or(WalError::TooManySeries)
    }

    /// The same for a series that may be left out: `None` if it is new and the process has as many as it may.
    ///
    /// # Errors
    /// As [`Appender::series`].
    pub fn bounded_series(&mut self, labels: &LabelsBuilder) -> Result<Option<SeriesLookup>, WalError> {
        self.lookup(labels, true)
    }

    fn lookup(&mut self, labels: &LabelsBuilder, is_bounded: bool) -> Result<Option<SeriesLookup>, WalError> {
        let Some((lookup, last_ts_ms)) = self.wal.lookup(labels, is_bounded)? else { return Ok(None) };
        if lookup.created {
            self.created.push(lookup.handle);
        }
        Ok(Some(SeriesLookup { handle: lookup.handle, last_ts_ms }))
    }

    /// Stages one float sample; the order check happens in [`Appender::commit`].
    pub fn append(&mut self, handle: SeriesHandle, ts_ms: i64, value: f64) {
        self.staged.push_sample(handle, ts_ms, value);
    }

    /// Stages one native histogram, which the caller has validated. Floats and histograms of a series share one
    /// order; a series that ends gets a float marker, whatever it was.
    pub fn append_histogram(&mut self, handle: SeriesHandle, ts_ms: i64, histogram: &Histogram) {
        self.staged.push_histogram(handle, ts_ms, histogram);
    }

    /// Stages one exemplar; `labels` in any order, those without a value are left out. One that repeats the series'
    /// last exemplar is left out by [`Appender::commit`].
    ///
    /// # Errors
    /// It is not staged: see [`ExemplarError`].
    pub fn append_exemplar<'a>(
        &mut self,
        handle: SeriesHandle,
        time: ExemplarTime,
        value: f64,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), ExemplarError> {
        self.exemplar_labels.clear();
        let mut n_chars = 0;
        for (name, label_value) in labels.filter(|(_, value)| !value.is_empty()) {
            n_chars += name.chars().count() + label_value.chars().count();
            if n_chars > MAX_EXEMPLAR_LABEL_CHARS {
                return Err(ExemplarError::TooLong);
            }
            if !self.exemplar_labels.insert(name, label_value) {
                return Err(ExemplarError::DuplicateLabel);
            }
        }
        self.staged.push_exemplar(handle, time, value, self.exemplar_labels.iter());
        Ok(())
    }

    /// Stages type, unit and help of a series; what the log knows already is left out by [`Appender::commit`].
    pub fn append_metadata(&mut self, handle: SeriesHandle, metric_type: MetricType, unit: &str, help: &str) {
        self.staged.push_metadata(handle, metric_type, unit, help);
    }

    /// False once truncation has taken the series away: for those whose commit found [`WalError::StaleSeries`].
    pub fn is_live(&self, handle: SeriesHandle) -> bool {
        self.wal.is_live(handle)
    }

    /// Number of staged samples and histograms.
    pub fn staged(&self) -> usize {
        self.staged.n_samples()
    }

    /// Forgets what is staged and the series made since the last commit.
    pub fn rollback(&mut self) {
        if !self.created.is_empty() {
            self.wal.take_back(&self.created);
        }
        self.clear();
    }

    /// Writes series records, then what speaks of them, and clears the staging area. One append, but for a transaction
    /// of many thousands of samples, or of very long ones: that is written in slices, each of them whole.
    ///
    /// # Errors
    /// [`WalError::StaleSeries`]: nothing was written, staging is as after [`Appender::rollback`]; look all series up
    /// again. [`WalError::Poisoned`]: the samples from the slice on that was refused are lost and counted; handles stay
    /// good. [`WalError::Closed`].
    pub fn commit(&mut self) -> Result<CommitReport, WalError> {
        self.commit_in_turns(&mut || {})
    }

    /// As [`Appender::commit`]; `between` is called between two slices, while others may commit.
    ///
    /// # Errors
    /// As there.
    pub fn commit_in_turns(&mut self, between: &mut dyn FnMut()) -> Result<CommitReport, WalError> {
        let committed = self.commit_or_wait(between);
        match &committed {
            // A series that could not be written stays: its next sample logs it, or truncation removes it.
            Ok(_) | Err(WalError::Poisoned { .. }) => self.clear(),
            Err(_) => self.rollback(),
        }
        committed
    }

    /// What has no time yet waits in front of the log.
    fn commit_or_wait(&mut self, between: &mut dyn FnMut()) -> Result<CommitReport, WalError> {
        if self.staged.is_unstamped() {
            match self.wal.hold(&self.staged)? {
                Admission::Waits(report) => return Ok(report),
                Admission::Stamp(offset_ms) => self.staged.stamp(offset_ms),
            }
        }
        self.wal.commit(&self.staged, between)
    }

    fn clear(&mut self) {
        self.staged.clear();
        self.created.clear();
        self.created.shrink_to(KEPT_SERIES);
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.rollback();
    }
}
