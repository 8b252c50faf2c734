//! A series as it is drawn: no more points than the chart has columns, and no spike lost.

use scraped_engine::float::is_stale_nan;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// A line is broken where samples are so much farther apart than usual, and than the two before them.
const GAP_FACTOR: i64 = 3;
/// An end in so many columns gets a mark; a series that ends more often is seen to be broken.
const COLUMNS_AN_END: usize = 4;

/// A series, reduced to the columns of a chart: of each column the smallest and the largest value, in the order they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::web::pages) struct Line {
    /// What is connected, in order of time: columns and finite values.
    runs: Vec<Vec<(u16, f64)>>,
    /// Where a staleness marker ended the series, and its last value.
    ends: Vec<(u16, f64)>,
}

impl Line {
    /// Reads samples (times in milliseconds, ascending). What is outside the range is left out; a value that is no number
    /// breaks the line, and so does a gap.
    pub(in crate::web::pages) fn trace(
        samples: impl Iterator<Item = (i64, f64)> + Clone,
        range_ms: &RangeInclusive<i64>,
        n_columns: u16,
    ) -> Self {
        let (start_ms, length_ms) = (*range_ms.start(), (range_ms.end() - range_ms.start()).max(1));
        let samples = samples.filter(|(ts_ms, _)| range_ms.contains(ts_ms));
        let usual_ms = usual_interval(samples.clone().map(|(ts_ms, _)| ts_ms));
        let mut line = Self::default();
        let (mut run, mut is_broken) = (Run::default(), false);
        let (mut last_ms, mut last_interval_ms) = (None, 0);
        for (ts_ms, value) in samples {
            let column =
                i128::from(ts_ms - start_ms) * i128::from(n_columns.max(1) - 1) / i128::from(length_ms);
            let column = u16::try_from(column).unwrap_or(u16::MAX);
            let interval_ms = last_ms.map_or(0, |last_ms| ts_ms - last_ms);
            is_broken |= interval_ms > usual_ms.max(last_interval_ms) * GAP_FACTOR;
            (last_ms, last_interval_ms) = (Some(ts_ms), interval_ms);
            if value.is_finite() {
                // Nobody would see a break within a column.
                if is_broken && run.column().is_some_and(|newest| newest < column) {
                    line.runs.push(std::mem::take(&mut run).finish());
                }
                run.push(column, value);
                is_broken = false;
            } else {
                is_broken = true;
                line.ends.extend(run.last.take().filter(|_| is_stale_nan(value)).map(|last| (column, last)));
            }
        }
        line.runs.push(run.finish());
        line.runs.retain(|run| !run.is_empty());
        // The newest ends are those that somebody looks for.
        let max_ends = usize::from(n_columns) / COLUMNS_AN_END;
        line.ends.drain(..line.ends.len().saturating_sub(max_ends));
        line
    }

    /// About what it takes in memory.
    pub(in crate::web::pages) fn memory_bytes(&self) -> usize {
        let n_points = self.runs.iter().map(Vec::len).sum::<usize>() + self.ends.len();
        n_points * size_of::<(u16, f64)>() + self.runs.len() * size_of::<Vec<(u16, f64)>>()
    }

    /// The smallest and the largest value.
    pub(super) fn bounds(&self) -> Option<(f64, f64)> {
        let mut values = self.runs.iter().flatten().map(|(_, value)| *value);
        let first = values.next()?;
        Some(values.fold((first, first), |(low, high), value| (low.min(value), high.max(value))))
    }

    /// Path data of the samples without neighbours.
    pub(super) fn dots(&self, y_of: impl Fn(f64) -> i32) -> String {
        dots(self.runs.iter().filter(|run| run.len() == 1).flatten(), y_of)
    }

    /// Path data of the line.
    pub(super) fn path(&self, y_of: impl Fn(f64) -> i32) -> String {
        let mut out = String::new();
        for run in self.runs.iter().filter(|run| run.len() > 1) {
            let mut points = run.iter().map(|(column, value)| (i32::from(*column), y_of(*value)));
            let Some((mut x, mut y)) = points.next() else { continue };
            let _ = write!(out, "M{x} {y}l");
            for (idx, (next_x, next_y)) in points.enumerate() {
                let (dx, dy) = (next_x - x, next_y - y);
                // A minus sign parts two numbers, too.
                let space = |number: i32, is_first: bool| if number < 0 || is_first { "" } else { " " };
                let _ = write!(out, "{}{dx}{}{dy}", space(dx, idx == 0), space(dy, false));
                (x, y) = (next_x, next_y);
            }
        }
        out
    }

    /// Path data of the marks where the series ended.
    pub(super) fn end_marks(&self, y_of: impl Fn(f64) -> i32) -> String {
        dots(self.ends.iter(), y_of)
    }
}

/// Points as path data: lines of no length, of which the ends of the stroke are seen.
fn dots<'a>(points: impl Iterator<Item = &'a (u16, f64)>, y_of: impl Fn(f64) -> i32) -> String {
    points.map(|(column, value)| format!("M{column} {}h0", y_of(*value))).collect()
}

/// The median time between samples; 0 of less than two.
fn usual_interval(times_ms: impl Iterator<Item = i64> + Clone) -> i64 {
    let mut intervals: Vec<i64> =
        times_ms.clone().zip(times_ms.skip(1)).map(|(ts_ms, next_ms)| next_ms - ts_ms).collect();
    let middle = intervals.len() / 2;
    if intervals.is_empty() { 0 } else { *intervals.select_nth_unstable(middle).1 }
}

/// What is connected so far.
#[derive(Default)]
struct Run {
    points: Vec<(u16, f64)>,
    /// Of the newest column: the smaller and the larger value, and whether the smaller one came first.
    newest: Option<(u16, f64, f64, bool)>,
    last: Option<f64>,
}

impl Run {
    fn column(&self) -> Option<u16> {
        self.newest.map(|(column, ..)| column)
    }

    fn push(&mut self, column: u16, value: f64) {
        self.last = Some(value);
        self.newest = Some(match self.newest {
            Some((newest, low, high, _)) if newest == column && value < low => (column, value, high, false),
            Some((newest, low, high, _)) if newest == column && value > high => (column, low, value, true),
            Some(known) if known.0 == column => known,
            _ => {
                self.flush();
                (column, value, value, true)
            }
        });
    }

    fn flush(&mut self) {
        let Some((column, low, high, is_rising)) = self.newest.take() else { return };
        let (first, second) = if is_rising { (low, high) } else { (high, low) };
        self.points.push((column, first));
        if first.to_bits() != second.to_bits() {
            self.points.push((column, second));
        }
    }

    fn finish(mut self) -> Vec<(u16, f64)> {
        self.flush();
        self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scraped_engine::float::stale_nan;

    /// A line over 100 columns of a second.
    fn trace(samples: &[(i64, f64)]) -> Line {
        Line::trace(samples.iter().copied(), &(0..=99_000), 100)
    }

    #[test]
    fn what_is_close_together_is_connected() {
        let line = trace(&[(0, 1.0), (10_000, 2.0), (20_000, 1.0)]);
        assert_eq!(line.runs, [[(0, 1.0), (10, 2.0), (20, 1.0)]]);
        assert_eq!(line.path(|value| 10 - value as i32), "M0 9l10-1 10 1");
        let single = trace(&[(50_000, 7.0)]);
        assert_eq!((single.path(|_| 3), single.dots(|_| 3)), (String::new(), "M50 3h0".to_owned()));
        assert_eq!(line.dots(|_| 3), "");
        assert_eq!(trace(&[]), Line::default());
        assert_eq!(trace(&[(-1, 1.0), (99_001, 1.0)]), Line::default(), "outside the range");
    }

    #[test]
    fn gaps_and_ends_break_it() {
        let steady = |from: i64, n: i64| (0..n).map(move |idx| ((from + idx) * 1000, 1.0));
        let gap: Vec<(i64, f64)> = steady(0, 10).chain(steady(20, 10)).collect();
        assert_eq!(trace(&gap).runs.len(), 2);
        assert_eq!(trace(&gap).ends, []);
        // A single sample that is missing is no gap, and another interval is none either.
        let missing: Vec<(i64, f64)> = steady(0, 10).chain(steady(11, 10)).collect();
        assert_eq!(trace(&missing).runs.len(), 1);
        let slower: Vec<(i64, f64)> =
            steady(0, 10).chain((1..9).map(|idx| ((9 + idx * 10) * 1000, 1.0))).collect();
        assert_eq!(trace(&slower).runs.len(), 2, "the first interval of another length looks like a gap");
        let stale =
            trace(&[(0, 1.0), (1000, 2.0), (2000, stale_nan()), (3000, 1.0), (4000, f64::NAN), (5000, 1.0)]);
        assert_eq!(stale.runs, [vec![(0, 1.0), (1, 2.0)], vec![(3, 1.0)], vec![(5, 1.0)]]);
        assert_eq!((stale.ends.as_slice(), stale.end_marks(|_| 5)), (&[(2, 2.0)][..], "M2 5h0".to_owned()));
        // A break in the column of the last value is one, too.
        let samples = [(0, 1.0), (1, stale_nan()), (10_000, 1.0)];
        assert_eq!(trace(&samples).runs, [[(0, 1.0)], [(10, 1.0)]]);
        assert_eq!(trace(&[(0, stale_nan()), (1000, stale_nan())]), Line::default(), "nothing has ended");
    }

    #[test]
    fn no_spike_vanishes_and_the_size_is_bounded() {
        let spike = |idx: i64| if idx == 4321 { 99.0 } else { 0.0 };
        let samples: Vec<(i64, f64)> = (0..100_000).map(|idx| (idx, spike(idx))).collect();
        let line = Line::trace(samples.iter().copied(), &(0..=99_999), 100);
        assert_eq!(line.bounds(), Some((0.0, 99.0)));
        assert_eq!(line.runs[0].len(), 101, "a point a column, and two where the spike is");
        // The worst there is: a series that ends after every sample.
        let broken =
            samples.iter().map(|&(ts_ms, _)| (ts_ms, if ts_ms % 2 == 0 { 1.0 } else { stale_nan() }));
        let line = Line::trace(broken, &(0..=99_999), 100);
        assert!(line.runs.len() <= 100 && line.ends.len() == 100 / COLUMNS_AN_END, "{line:?}");
        assert_eq!(line.ends.last().map(|(column, _)| *column), Some(99));
    }
}
