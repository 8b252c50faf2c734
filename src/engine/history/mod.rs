//! What the log of this box knows of the past: series by selectors, and their samples in a range of time.
//!
//! Reads beside those who commit: the head is locked for slices of some tens of microseconds, the log is read like a
//! remote write endpoint reads it. Every question has bounds, and its answer is whole or an error. Knows no query language.

mod bounds;
mod distinct;
pub mod error;
mod matching;
mod scan;
mod spans;

use crate::histogram::Histogram;
pub use crate::history::bounds::Bounds;
use crate::history::error::HistoryError;
pub use crate::history::scan::{Matched, SeenSample, SeenValue};
use crate::history::spans::Spans;
use crate::labels::Labels;
use crate::labels::selector::Selector;
use crate::series::table::LabelPairs;
use crate::sorting::{sort_by, sort_by_key};
use crate::wal::head::LogReader;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::time::Instant;

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectedSeries {
    /// In order of name, the metric's name among them.
    pub labels: Labels,
    /// In order of time, one for each timestamp.
    pub samples: Vec<Sample>,
}

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// What it says.
    pub value: SampleValue,
}

/// What a sample says.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// A number; the stale marker is known by its bits ([`crate::float::is_stale_nan`]).
    Float(f64),
    /// A native histogram; the sum of a stale marker is one.
    Histogram(Box<Histogram>),
}

impl SampleValue {
    /// Whether it says that the series has ended.
    pub fn is_stale(&self) -> bool {
        crate::float::is_stale_nan(match self {
            Self::Float(value) => *value,
            Self::Histogram(histogram) => histogram.sum,
        })
    }
}

impl SelectedSeries {
    /// About what it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        let of_samples = self.samples.iter().map(|sample| match &sample.value {
            SampleValue::Float(_) => 0,
            SampleValue::Histogram(histogram) => size_of::<Histogram>() + 8 * histogram.n_buckets(),
        });
        self.labels.memory_bytes()
            + self.samples.capacity() * size_of::<Sample>()
            + of_samples.sum::<usize>()
            + size_of::<Self>()
    }
}

impl From<SeenValue<'_>> for SampleValue {
    fn from(value: SeenValue<'_>) -> Self {
        match value {
            SeenValue::Float(value) => Self::Float(value),
            SeenValue::Histogram(encoded) => {
                let mut histogram = Box::<Histogram>::default();
                encoded.decode_into(&mut histogram);
                Self::Histogram(histogram)
            }
        }
    }
}

/// What the log knows of the past; cheap to clone.
#[derive(Clone, Debug)]
pub struct History {
    log: LogReader,
    spans: Arc<Spans>,
}

impl History {
    /// Of a log, which may not be open yet.
    pub fn new(log: LogReader) -> Self {
        Self { log, spans: Arc::default() }
    }

    /// The series there are now that match one of the selectors.
    ///
    /// # Errors
    /// See [`HistoryError`].
    pub fn matching(&self, selectors: &[Selector], bounds: &Bounds) -> Result<Matched, HistoryError> {
        Matched::of(&self.log, || matching::matching(&self.log, selectors, bounds))
    }

    /// Calls `visit` with each sample of these series in the range, as it stands in the log: in order of the log, not of time,
    /// until it says that it has enough. Keeps nothing.
    ///
    /// # Errors
    /// The log cannot be read, or the deadline has passed.
    pub fn visit(
        &self,
        series: &Matched,
        range_ms: &RangeInclusive<i64>,
        deadline: Instant,
        visit: &mut dyn FnMut(SeenSample<'_>) -> ControlFlow<()>,
    ) -> Result<(), HistoryError> {
        scan::scan(&self.log, &self.spans, series, range_ms, deadline, visit)
    }

    /// Calls `visit` with the labels of each of these series in turn, `None` for one that has gone since. Runs under the
    /// head lock, in slices: `visit` only copies.
    pub fn visit_labels(&self, series: &Matched, visit: impl FnMut(usize, Option<LabelPairs<'_>>)) {
        self.log.visit_labels(&series.handles, visit);
    }

    /// Label sets that match one of the selectors and have a sample in the range; without a range, those that the log
    /// knows. In order.
    ///
    /// # Errors
    /// See [`HistoryError`].
    pub fn series(
        &self,
        selectors: &[Selector],
        range_ms: Option<RangeInclusive<i64>>,
        bounds: &Bounds,
    ) -> Result<Vec<Labels>, HistoryError> {
        let series = self.matching(selectors, bounds)?;
        let mut is_seen = vec![range_ms.is_none(); series.len()];
        if let Some(range_ms) = range_ms {
            let mut n_left = series.len();
            self.visit(&series, &range_ms, bounds.deadline, &mut |sample| {
                if let Some(is_seen @ false) = is_seen.get_mut(sample.series_idx) {
                    *is_seen = true;
                    n_left -= 1;
                }
                if n_left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        let mut found = self.labels(&series, |series_idx| is_seen.get(series_idx) == Some(&true));
        sort_by(&mut found, |(_, a), (_, b)| a.cmp(b));
        Ok(found.into_iter().map(|(_, labels)| labels).collect())
    }

    /// Series that match one of the selectors and their samples in the range, both ends included; in order of labels,
    /// none without samples.
    ///
    /// # Errors
    /// See [`HistoryError`].
    pub fn select(
        &self,
        selectors: &[Selector],
        range_ms: RangeInclusive<i64>,
        bounds: &Bounds,
    ) -> Result<Vec<SelectedSeries>, HistoryError> {
        let series = self.matching(selectors, bounds)?;
        let mut samples = vec![Vec::new(); series.len()];
        let mut n_samples = 0;
        self.visit(&series, &range_ms, bounds.deadline, &mut |sample| {
            n_samples += sample.value.weight();
            if n_samples > bounds.max_samples {
                return ControlFlow::Break(());
            }
            if let Some(samples) = samples.get_mut(sample.series_idx) {
                samples.push(Sample { ts_ms: sample.ts_ms, value: sample.value.into() });
            }
            ControlFlow::Continue(())
        })?;
        if n_samples > bounds.max_samples {
            return Err(HistoryError::TooManySamples { limit: bounds.max_samples });
        }
        samples.iter_mut().for_each(put_in_order);
        Ok(self.with_labels(&series, samples))
    }

    /// As [`History::select`] with the newest sample of each series alone.
    ///
    /// # Errors
    /// See [`HistoryError`].
    pub fn newest(
        &self,
        selectors: &[Selector],
        range_ms: RangeInclusive<i64>,
        bounds: &Bounds,
    ) -> Result<Vec<SelectedSeries>, HistoryError> {
        let series = self.matching(selectors, bounds)?;
        let mut newest: Vec<Option<Sample>> = vec![None; series.len()];
        self.visit(&series, &range_ms, bounds.deadline, &mut |sample| {
            let known = newest.get_mut(sample.series_idx);
            // Of two with one timestamp the last counts.
            if let Some(known) = known.filter(|it| it.as_ref().is_none_or(|it| it.ts_ms <= sample.ts_ms)) {
                *known = Some(Sample { ts_ms: sample.ts_ms, value: sample.value.into() });
            }
            ControlFlow::Continue(())
        })?;
        Ok(self.with_labels(&series, newest.into_iter().map(Vec::from_iter).collect()))
    }

    /// Names of labels of the series that match one of the selectors, or of all series without a selector; in order.
    ///
    /// # Errors
    /// See [`HistoryError`].
    pub fn label_names(&self, selectors: &[Selector], bounds: &Bounds) -> Result<Vec<String>, HistoryError> {
        distinct::names(&self.log, selectors, bounds)
    }

    /// The same of the values that each of the labels `names` has.
    ///
    /// # Errors
    /// See [`HistoryError`].
    pub fn label_values(
        &self,
        names: &[&str],
        selectors: &[Selector],
        bounds: &Bounds,
    ) -> Result<Vec<Vec<String>>, HistoryError> {
        distinct::values(&self.log, names, selectors, bounds)
    }

    /// Timestamps of about the oldest and the newest sample of the log; `None` without samples.
    ///
    /// # Errors
    /// The log is not open, or cannot be read.
    pub fn extent(&self) -> Result<Option<RangeInclusive<i64>>, HistoryError> {
        scan::extent(&self.log)
    }

    fn with_labels(&self, series: &Matched, mut samples: Vec<Vec<Sample>>) -> Vec<SelectedSeries> {
        let has_samples = |series_idx: usize| samples.get(series_idx).is_some_and(|it| !it.is_empty());
        let mut found: Vec<SelectedSeries> = self
            .labels(series, has_samples)
            .into_iter()
            .filter_map(|(series_idx, labels)| {
                let samples = std::mem::take(samples.get_mut(series_idx)?);
                Some(SelectedSeries { labels, samples })
            })
            .collect();
        sort_by(&mut found, |a, b| a.labels.cmp(&b.labels));
        found
    }

    /// Indices and labels of the series that are wanted and still there.
    fn labels(&self, series: &Matched, is_wanted: impl Fn(usize) -> bool) -> Vec<(usize, Labels)> {
        // Room for all: a list that grows is copied, and here the head is locked.
        let mut found = Vec::with_capacity(series.len());
        self.visit_labels(series, |series_idx, labels| {
            if let Some(labels) = labels.filter(|_| is_wanted(series_idx)) {
                found.push((series_idx, Labels::from_pairs(labels)));
            }
        });
        found
    }
}

/// By time; of several with one timestamp the last one stays.
fn put_in_order(samples: &mut Vec<Sample>) {
    if samples.is_sorted_by(|a, b| a.ts_ms < b.ts_ms) {
        return;
    }
    sort_by_key(samples, |sample| sample.ts_ms);
    let mut kept: Vec<Sample> = Vec::with_capacity(samples.len());
    for sample in samples.drain(..) {
        match kept.last_mut() {
            Some(last) if last.ts_ms == sample.ts_ms => *last = sample,
            _ => kept.push(sample),
        }
    }
    *samples = kept;
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
