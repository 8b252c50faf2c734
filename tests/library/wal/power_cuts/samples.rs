//! What becomes of each sample of a life, and when.

use std::collections::BTreeMap;

use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::wal::format::position::Position;

/// Series of a scrape; the first two are others every tenth scrape.
pub(super) const N_SERIES: usize = 24;

/// A moment of a life: the number of a mark in its recording.
pub(super) type Moment = u64;

/// Which sample it is: its timestamp in milliseconds, and which series of its scrape.
pub(super) type Sample = (i64, usize);

/// What becomes of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    /// Its commit began.
    pub(super) committed: Moment,
    /// The end of its commit.
    pub(super) end: Position,
    /// The log said that it is durable.
    pub(super) durable: Option<Moment>,
    /// The endpoint had it, whether or not it could say so.
    pub(super) taken: Option<Moment>,
    /// Its answer was there.
    pub(super) acknowledged: Option<Moment>,
}

/// All samples of a life.
pub(super) type Fates = BTreeMap<Sample, Fate>;

/// Labels of a series of the scrape at `ts_ms`.
pub(super) fn labels(sample: Sample, labels: &mut LabelsBuilder) {
    labels.clear();
    labels.set("__name__", "page_of_a_target_total");
    labels.set("series", &series(sample));
}

/// The series' label that says which it is.
pub(super) fn series((ts_ms, idx): Sample) -> String {
    if idx < 2 { format!("{idx} of {}", ts_ms / 10_000) } else { idx.to_string() }
}

/// Of each sample another one, so that none is taken for another.
pub(super) fn value((ts_ms, idx): Sample) -> f64 {
    (ts_ms * 100 + idx as i64) as f64
}

/// The sample that a record holds, by what stands there.
///
/// # Panics
/// It was never scraped.
pub(super) fn recognised(series_label: &str, ts_ms: i64, found: f64) -> Sample {
    let idx = series_label.split(' ').next().unwrap_or_default().parse().unwrap_or(usize::MAX);
    let sample = (ts_ms, idx);
    assert!(
        idx < N_SERIES && series(sample) == series_label,
        "{ts_ms}: series {series_label:?} was invented"
    );
    assert_eq!(found, value(sample), "{ts_ms}: the value of series {series_label:?} was invented");
    sample
}
