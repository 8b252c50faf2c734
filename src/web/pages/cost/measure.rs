//! What the series of the log cost: the samples of the last hours are counted, series by series. Made on the query thread;
//! nothing is kept of a sample, and 16 bytes of a series.

use crate::query::Found;
use crate::query::error::QueryError;
use crate::web::pages::cost::tally::{Cost, Sum, Tallies};
use scraped_engine::float::is_stale_nan;
use scraped_engine::history::{Bounds, History, SeenSample, SeenValue};
use scraped_engine::labels::METRIC_NAME;
use scraped_engine::labels::selector::{MatchType, Matcher, Selector};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is measured, in milliseconds: the hour that counts as "new", and the one before that it is compared with.
const WINDOW_MS: i64 = 2 * NEW_MS;
const NEW_MS: i64 = 60 * 60 * 1000;
/// A series that was not seen for so long before the last hour was not there.
const LEAST_BEFORE_MS: i64 = 5 * 60 * 1000;
/// A series without a sample for so long is not there now (Prometheus' lookback delta).
const LOOKBACK_MS: i64 = 5 * 60 * 1000;
/// Of more series not even the number is kept.
pub(super) const MAX_SERIES: usize = 300_000;
/// The log is read for no longer; what was read by then is what was measured.
const MAX_READING: Duration = Duration::from_secs(3);
/// How many samples are read between two looks at the clock.
const SAMPLES_PER_LOOK: u64 = 4096;

/// What was measured.
#[derive(Debug)]
pub(super) struct Costs {
    /// When it was measured.
    pub(super) at: Instant,
    /// How long that took.
    pub(super) took: Duration,
    /// The time that was measured.
    pub(super) span: Duration,
    /// Whether reading the log was ended early.
    pub(super) is_cut: bool,
    pub(super) n_samples: u64,
    /// Of all series.
    pub(super) sum: Sum,
    /// Whether the log reaches back far enough to know which series are new.
    pub(super) knows_new: bool,
    /// The largest of each kind, the largest first.
    pub(super) costs: Vec<Cost>,
    /// Labels that found no room to be counted.
    pub(super) n_uncounted: usize,
}

impl Found for Arc<Costs> {
    fn memory_bytes(&self) -> usize {
        self.costs.iter().map(|cost| size_of::<Cost>() + cost.name.len() + cost.value.len()).sum()
    }
}

/// One series: seconds since the start of the window, and what it cost.
#[derive(Clone, Copy, Default)]
struct Use {
    first_s: u32,
    last_s: u32,
    is_over: bool,
    weight: u32,
}

/// Measures what came in until `now_ms`.
///
/// # Errors
/// Those of [`History::matching`] and [`History::visit`].
pub(super) fn measure(history: &History, now_ms: i64, bounds: &Bounds) -> Result<Costs, QueryError> {
    let at = Instant::now();
    let any_name = Matcher::new(MatchType::NotEqual, METRIC_NAME, "").ok();
    let selectors = [Selector::of(any_name.into_iter().collect())];
    let series = history.matching(&selectors, &Bounds { max_series: MAX_SERIES, ..*bounds })?;
    let start_ms = now_ms - WINDOW_MS;
    let mut uses = vec![Use::default(); series.len()];
    let (mut from_ms, mut to_ms, mut n_samples, mut is_cut) = (now_ms, start_ms, 0_u64, false);
    let stop_at = at + MAX_READING;
    history.visit(&series, &(start_ms..=now_ms), bounds.deadline, &mut |sample| {
        if let Some(of_series) = uses.get_mut(sample.series_idx) {
            of_series.add(&sample, start_ms);
        }
        n_samples += 1;
        (from_ms, to_ms) = (from_ms.min(sample.ts_ms), to_ms.max(sample.ts_ms));
        is_cut = n_samples.is_multiple_of(SAMPLES_PER_LOOK) && Instant::now() > stop_at;
        if is_cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if !is_cut {
        to_ms = now_ms;
    }
    let seconds = |ts_ms: i64| u32::try_from((ts_ms - start_ms) / 1000).unwrap_or(0);
    let (new_from_s, there_from_s) = (seconds(to_ms - NEW_MS), seconds(to_ms - LOOKBACK_MS));
    let knows_new = from_ms <= to_ms - NEW_MS - LEAST_BEFORE_MS;
    let sum_of = |it: &Use| Sum {
        n_series: usize::from(!it.is_over && it.last_s >= there_from_s),
        n_new: usize::from(knows_new && it.first_s >= new_from_s),
        weight: u64::from(it.weight),
    };

    let mut tallies = Tallies::default();
    let mut all = Sum::default();
    history.visit_labels(&series, |series_idx, labels| {
        let used = uses.get(series_idx).filter(|it| it.weight > 0);
        let Some((labels, sum)) = labels.zip(used.map(sum_of)) else { return };
        labels.for_each(|(name, value)| tallies.add(name, value, sum));
        all.add(sum);
    });
    let mut largest = tallies.largest();
    history.visit_labels(&series, |_, labels| {
        labels.into_iter().flatten().for_each(|(name, value)| largest.name(name, value));
    });
    Ok(Costs {
        at,
        took: at.elapsed(),
        span: Duration::from_millis(u64::try_from(to_ms - from_ms).unwrap_or(0)),
        is_cut,
        n_samples,
        sum: all,
        knows_new,
        costs: largest.costs(),
        n_uncounted: tallies.n_uncounted,
    })
}

impl Use {
    fn add(&mut self, sample: &SeenSample<'_>, start_ms: i64) {
        let at_s = u32::try_from((sample.ts_ms - start_ms) / 1000).unwrap_or(0);
        self.first_s = if self.weight == 0 { at_s } else { self.first_s.min(at_s) };
        if at_s >= self.last_s {
            self.last_s = at_s;
            // A native histogram would have to be decoded; it is there until its last sample is old.
            self.is_over = matches!(sample.value, SeenValue::Float(value) if is_stale_nan(value));
        }
        let weight = u32::try_from(sample.value.weight()).unwrap_or(u32::MAX);
        self.weight = self.weight.saturating_add(weight);
    }
}
