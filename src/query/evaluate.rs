//! From an expression to its answer, step by step as Prometheus' engine does it for selectors (`promql/engine.go`).
//!
//! A sample counts until the next one, until a staleness marker, or for the lookback, whichever comes first. Windows are
//! open at their older end.

use crate::query::Found;
use crate::query::error::QueryError;
use crate::query::expression::{At, Expression, Vector};
use scraped_engine::history::error::HistoryError;
use scraped_engine::history::{Bounds, History, Sample, SampleValue, SelectedSeries};
use scraped_engine::labels::Labels;
use std::ops::RangeInclusive;

/// An answer; its kinds are Prometheus' result types.
#[derive(Debug)]
pub enum Evaluated {
    /// A number at a time.
    Scalar {
        /// Milliseconds since the Unix epoch.
        ts_ms: i64,
        /// The number.
        value: f64,
    },
    /// A text at a time.
    Text {
        /// Milliseconds since the Unix epoch.
        ts_ms: i64,
        /// The text.
        text: String,
    },
    /// Series with one sample each.
    Vector(Vec<SelectedSeries>),
    /// Series with their samples.
    Matrix(Vec<SelectedSeries>),
}

/// The times that a question asks for.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// The first, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// None is later.
    pub end_ms: i64,
    /// From one to the next, in milliseconds; at least 1.
    pub step_ms: i64,
}

impl Steps {
    fn times(self) -> impl Iterator<Item = i64> {
        std::iter::successors(Some(self.start_ms), move |ts_ms| ts_ms.checked_add(self.step_ms))
            .take_while(move |ts_ms| *ts_ms <= self.end_ms)
    }
}

/// The answer at one time.
///
/// # Errors
/// See [`QueryError`].
pub fn instant(
    history: &History,
    bounds: &Bounds,
    expression: Expression,
    ts_ms: i64,
    lookback_ms: i64,
) -> Result<Evaluated, QueryError> {
    let steps = Steps { start_ms: ts_ms, end_ms: ts_ms, step_ms: 1 };
    match expression {
        Expression::Number(value) => Ok(Evaluated::Scalar { ts_ms, value }),
        Expression::Text(text) => Ok(Evaluated::Text { ts_ms, text }),
        Expression::Vector(vector) => {
            let window = window(time_of(&vector, ts_ms, steps), lookback_ms);
            let mut found = history.newest(&[vector.selector], window, bounds)?;
            found.retain_mut(|series| {
                series.samples.retain(|sample| !sample.value.is_stale());
                series.samples.iter_mut().for_each(|sample| sample.ts_ms = ts_ms);
                !series.samples.is_empty()
            });
            Ok(Evaluated::Vector(found))
        }
        Expression::Range { vector, range_ms } => {
            let window = window(time_of(&vector, ts_ms, steps), range_ms);
            let mut found = history.select(&[vector.selector], window, bounds)?;
            found.retain_mut(|series| {
                series.samples.retain(|sample| !sample.value.is_stale());
                !series.samples.is_empty()
            });
            Ok(Evaluated::Matrix(found))
        }
    }
}

/// The answer at each step; `expression` is no range and no text.
///
/// # Errors
/// See [`QueryError`].
pub fn stepped(
    history: &History,
    bounds: &Bounds,
    expression: Expression,
    steps: Steps,
    lookback_ms: i64,
) -> Result<Evaluated, QueryError> {
    let mut found = match expression {
        Expression::Number(value) => {
            let sample = |ts_ms| Sample { ts_ms, value: SampleValue::Float(value) };
            let samples = steps.times().map(sample).collect();
            return Ok(Evaluated::Matrix(vec![SelectedSeries { labels: Labels::default(), samples }]));
        }
        // The one who asks has refused them.
        Expression::Text(_) | Expression::Range { .. } => return Ok(Evaluated::Matrix(Vec::new())),
        Expression::Vector(vector) => {
            let first = *window(time_of(&vector, steps.start_ms, steps), lookback_ms).start();
            let last = time_of(&vector, steps.end_ms, steps);
            let selector = [vector.selector];
            let found = history.select(&selector, first..=last, bounds)?;
            let [selector] = selector;
            (found, Vector { selector, ..vector })
        }
    };
    let (series, vector) = (&mut found.0, &found.1);
    let mut n_samples = 0;
    for series in series.iter_mut() {
        let raw = std::mem::take(&mut series.samples);
        for ts_ms in steps.times() {
            let window = window(time_of(vector, ts_ms, steps), lookback_ms);
            let Some(value) = value_in(&raw, &window) else { continue };
            n_samples += 1;
            if n_samples > bounds.max_samples {
                return Err(HistoryError::TooManySamples { limit: bounds.max_samples }.into());
            }
            series.samples.push(Sample { ts_ms, value: value.clone() });
        }
    }
    let mut series = found.0;
    series.retain(|series| !series.samples.is_empty());
    Ok(Evaluated::Matrix(series))
}

/// The time that a selector looks at, at a step.
fn time_of(vector: &Vector, ts_ms: i64, steps: Steps) -> i64 {
    let at_ms = match vector.at {
        None => ts_ms,
        Some(At::Time(at_ms)) => at_ms,
        Some(At::Start) => steps.start_ms,
        Some(At::End) => steps.end_ms,
    };
    at_ms.saturating_sub(vector.offset_ms)
}

/// What is at most `length_ms` before `end_ms`, the oldest millisecond left out.
fn window(end_ms: i64, length_ms: i64) -> RangeInclusive<i64> {
    end_ms.saturating_sub(length_ms).saturating_add(1)..=end_ms
}

/// The newest value in a window of samples in order of time, unless it says that the series has ended.
fn value_in<'a>(samples: &'a [Sample], window: &RangeInclusive<i64>) -> Option<&'a SampleValue> {
    let end = samples.partition_point(|sample| sample.ts_ms <= *window.end());
    let newest = samples.get(end.checked_sub(1)?)?;
    (newest.ts_ms >= *window.start() && !newest.value.is_stale()).then_some(&newest.value)
}

impl Found for Evaluated {
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Scalar { .. } => 0,
            Self::Text { text, .. } => text.capacity(),
            Self::Vector(series) | Self::Matrix(series) => series.memory_bytes(),
        }
    }
}
