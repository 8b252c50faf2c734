//! The samples of a simulated box: whatever a log or an endpoint has of one says which it is.

use scraped_engine::labels::builder::LabelsBuilder;

/// Series of a scrape.
pub(crate) const N_SERIES: usize = 24;

/// The first two of them are others after so many milliseconds: some scrapes.
const LIFE_OF_SERIES_MS: i64 = 40_000;

/// Which sample it is: its timestamp in milliseconds, and which series of its scrape.
pub(crate) type Sample = (i64, usize);

/// Labels of a series of the scrape at `ts_ms`.
pub(crate) fn labels(sample: Sample, labels: &mut LabelsBuilder) {
    labels.clear();
    labels.set("__name__", "page_of_a_target_total");
    labels.set("series", &series(sample));
}

/// The series' label that says which it is.
fn series((ts_ms, idx): Sample) -> String {
    if idx < 2 { format!("{idx} of {}", ts_ms / LIFE_OF_SERIES_MS) } else { idx.to_string() }
}

/// Of each sample another one, so that none is taken for another.
pub(crate) fn value((ts_ms, idx): Sample) -> f64 {
    (ts_ms * 100 + idx as i64) as f64
}

/// The sample that a record holds, by what stands there.
///
/// # Panics
/// It was never scraped.
pub(crate) fn recognised(series_label: &str, ts_ms: i64, found: f64) -> Sample {
    let idx = series_label.split(' ').next().unwrap_or_default().parse().unwrap_or(usize::MAX);
    let sample = (ts_ms, idx);
    assert!(
        idx < N_SERIES && series(sample) == series_label,
        "{ts_ms}: series {series_label:?} was invented"
    );
    assert_eq!(found, value(sample), "{ts_ms}: the value of series {series_label:?} was invented");
    sample
}
