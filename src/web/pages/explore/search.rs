//! What the log has for a selector, made on the query thread: the series that are drawn, how many more there are, and how to
//! ask on.

use crate::query::Found;
use crate::query::error::QueryError;
use crate::web::pages::chart::{Line, MAX_LINES, n_columns};
use crate::web::pages::explore::known::Known;
use crate::web::pages::explore::narrowing::{Narrowing, narrowings};
use scraped_engine::float::{Layout, format_go};
use scraped_engine::history::{Bounds, History, Sample, SampleValue, SelectedSeries};
use scraped_engine::labels::Labels;
use scraped_engine::labels::selector::{Matcher, Selector, of_series};
use std::ops::RangeInclusive;

/// With more series than this the newest samples are looked for first, and those of the drawn series afterwards: all
/// samples of all of them may be too many.
const MAX_READ_AT_ONCE: usize = 200;
/// The part of the range that is drawn takes no less than this.
const MIN_DRAWN_MS: i64 = 60_000;
/// A number with more digits gets an exponent.
const MAX_DIGITS: usize = 20;

/// What is shown for a selector.
#[derive(Debug)]
pub(super) struct Seen {
    /// Series with samples in the range.
    pub(super) n_series: usize,
    /// The first of them, at most [`MAX_LINES`].
    pub(super) rows: Vec<Row>,
    /// The part of the range that is drawn, in milliseconds.
    pub(super) drawn_ms: RangeInclusive<i64>,
    /// The time of which the log has samples, in milliseconds; looked for only where no series was found.
    pub(super) log_ms: Option<RangeInclusive<i64>>,
    /// How the selector can be made narrower.
    pub(super) narrowings: Vec<Narrowing>,
    pub(super) known: Known,
}

/// A series that is drawn.
#[derive(Debug)]
pub(super) struct Row {
    /// As a selector has it.
    pub(super) series: String,
    /// The newest value, stale markers left out, and its time in milliseconds.
    pub(super) newest: Option<(i64, String)>,
    /// When a stale marker ended it, unless it went on.
    pub(super) ended_ms: Option<i64>,
    /// Of native histograms the number of observations.
    pub(super) line: Line,
}

impl Found for Seen {
    fn memory_bytes(&self) -> usize {
        let rows = self.rows.iter().map(|row| row.series.len() + row.line.memory_bytes());
        rows.sum::<usize>() + self.known.memory_bytes()
    }
}

/// Looks for series of a selector and their samples in a range.
///
/// # Errors
/// Those of [`History::select`].
pub(super) fn search(
    history: &History,
    selector: Selector,
    range_ms: &RangeInclusive<i64>,
    bounds: &Bounds,
) -> Result<Seen, QueryError> {
    let selectors = [selector];
    let n_matching = history.matching(&selectors, bounds)?.len();
    let (n_series, drawn, narrowings) = if n_matching <= MAX_READ_AT_ONCE {
        let mut found = history.select(&selectors, range_ms.clone(), bounds)?;
        let (n_series, narrowings) = (found.len(), narrowings(found.iter().map(|series| &series.labels)));
        found.truncate(MAX_LINES);
        (n_series, found, narrowings)
    } else {
        let found = history.newest(&selectors, range_ms.clone(), bounds)?;
        let narrowings = narrowings(found.iter().map(|series| &series.labels));
        let drawn: Vec<&Labels> = found.iter().take(MAX_LINES).map(|series| &series.labels).collect();
        let mut selected = history.select(&exactly(&drawn), range_ms.clone(), bounds)?;
        // A series with more labels passes, too.
        selected.retain(|series| drawn.contains(&&series.labels));
        (found.len(), selected, narrowings)
    };
    let n_columns = n_columns(drawn.len());
    let oldest_ms = drawn.iter().filter_map(|series| Some(series.samples.first()?.ts_ms)).min();
    let drawn_ms = drawn_part(range_ms, oldest_ms);
    let rows = drawn.iter().map(|series| row(series, &drawn_ms, n_columns)).collect();
    let log_ms = if n_series == 0 { history.extent()? } else { None };
    Ok(Seen { n_series, rows, drawn_ms, log_ms, narrowings, known: Known::of(history, bounds)? })
}

/// Where there are samples: those of a box that has just been started would be a dot at the edge of a chart of an hour.
fn drawn_part(range_ms: &RangeInclusive<i64>, oldest_ms: Option<i64>) -> RangeInclusive<i64> {
    let (start_ms, end_ms) = (*range_ms.start(), *range_ms.end());
    let with_samples_ms = oldest_ms.map_or(i64::MAX, |oldest_ms| end_ms.saturating_sub(oldest_ms));
    if with_samples_ms > end_ms.saturating_sub(start_ms) / 4 {
        return range_ms.clone();
    }
    // A little room before the first sample shows that there was none.
    end_ms.saturating_sub((with_samples_ms + with_samples_ms / 8).max(MIN_DRAWN_MS)).max(start_ms)..=end_ms
}

/// A selector for each of these label sets.
fn exactly(label_sets: &[&Labels]) -> Vec<Selector> {
    let of_pair = |(name, value)| Matcher::equal(name, value);
    label_sets.iter().map(|labels| Selector::of(labels.iter().map(of_pair).collect())).collect()
}

fn row(series: &SelectedSeries, range_ms: &RangeInclusive<i64>, n_columns: u16) -> Row {
    let is_value = |sample: &&Sample| !sample.value.is_stale();
    let newest = series.samples.iter().rev().find(is_value);
    let ended = series.samples.last().filter(|last| !is_value(last));
    let points = series.samples.iter().map(|sample| (sample.ts_ms, height(&sample.value)));
    Row {
        series: of_series(&series.labels),
        newest: newest.map(|sample| (sample.ts_ms, value_text(&sample.value))),
        ended_ms: ended.map(|sample| sample.ts_ms),
        line: Line::trace(points, range_ms, n_columns),
    }
}

/// What is drawn of a value.
fn height(value: &SampleValue) -> f64 {
    match value {
        SampleValue::Float(value) => *value,
        SampleValue::Histogram(histogram) if value.is_stale() => histogram.sum,
        SampleValue::Histogram(histogram) => histogram.count(),
    }
}

/// A value for people.
fn value_text(value: &SampleValue) -> String {
    match value {
        SampleValue::Float(value) => {
            let mut text = String::new();
            format_go(*value, Layout::Fixed, &mut text);
            if text.len() > MAX_DIGITS {
                text.clear();
                format_go(*value, Layout::General, &mut text);
            }
            text
        }
        SampleValue::Histogram(histogram) => histogram.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_begins_where_samples_do() {
        let check = |oldest_ms: Option<i64>, want_start_ms: i64| {
            assert_eq!(
                drawn_part(&(1_000_000..=4_600_000), oldest_ms),
                want_start_ms..=4_600_000,
                "{oldest_ms:?}"
            );
        };
        check(None, 1_000_000);
        check(Some(1_000_000), 1_000_000);
        check(Some(3_699_999), 1_000_000);
        check(Some(3_700_000), 4_600_000 - 1_012_500);
        check(Some(4_600_000), 4_540_000);
        assert_eq!(drawn_part(&(0..=40_000), Some(39_000)), 0..=40_000, "no longer than the range");
    }
}
