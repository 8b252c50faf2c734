//! Charts of series in characters, for `scraped query --plot`.

use std::io::{self, Write};

use crate::commands::query::matrix::{Series, UtcTime, Value};
use scraped_engine::labels::selector::of_series;

/// Where nothing says how wide it may be.
pub(in crate::commands::query) const USUAL_COLUMNS: usize = 100;
/// Lines of a chart, without its axis.
const ROWS: usize = 10;
/// In front of the axis.
const LABEL_COLUMNS: usize = 12;
/// More charts than this show nothing.
const MAX_SERIES: usize = 20;

/// A chart of each series, all over the same time.
///
/// # Errors
/// `out` refuses.
pub(in crate::commands::query) fn print(
    matrix: &[&Series],
    selector: &str,
    columns: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let times = || matrix.iter().flat_map(|series| series.samples.iter().map(|(ts_ms, _)| *ts_ms));
    let (Some(first_ms), Some(last_ms)) = (times().min(), times().max()) else {
        return writeln!(out, "no samples match {selector}");
    };
    let width = columns.saturating_sub(LABEL_COLUMNS + 2).max(20);
    for series in matrix.iter().take(MAX_SERIES).filter(|series| !series.samples.is_empty()) {
        writeln!(out, "{}", of_series(&series.labels))?;
        print_chart(&series.samples, (first_ms, last_ms), width, out)?;
    }
    if matrix.len() > MAX_SERIES {
        writeln!(out, "and {} more series; a narrower selector shows them", matrix.len() - MAX_SERIES)?;
    }
    Ok(())
}

fn print_chart(
    samples: &[(i64, f64)],
    (first_ms, last_ms): (i64, i64),
    width: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let finite = || samples.iter().filter(|(_, value)| value.is_finite());
    let low = finite().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let high = finite().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        return writeln!(out, "{:LABEL_COLUMNS$} (no numbers)", "");
    }
    let mut rows = vec![vec![b' '; width]; ROWS];
    for (ts_ms, value) in finite() {
        let part = |at: f64, of: f64, n: usize| {
            if of > 0.0 { (at / of * (n - 1) as f64).round() as usize } else { 0 }
        };
        let column = part((ts_ms - first_ms) as f64, (last_ms - first_ms) as f64, width);
        let row = part(value - low, high - low, ROWS);
        rows[ROWS - 1 - row][column] = b'*';
    }
    for (idx, row) in rows.iter().enumerate() {
        let label = match idx {
            0 if low < high => short(high),
            _ if idx == ROWS - 1 => short(low),
            _ => String::new(),
        };
        writeln!(out, "{label:>LABEL_COLUMNS$} |{}", String::from_utf8_lossy(row).trim_end())?;
    }
    writeln!(out, "{:LABEL_COLUMNS$} +{}", "", "-".repeat(width))?;
    let last = UtcTime(last_ms).to_string();
    let gap = width.saturating_sub(24).max(26);
    writeln!(out, "{:LABEL_COLUMNS$}  {:gap$}{last}", "", UtcTime(first_ms))
}

/// In at most twelve characters.
fn short(value: f64) -> String {
    let text = Value(value).to_string();
    if text.chars().count() <= LABEL_COLUMNS { text } else { format!("{value:.4e}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scraped_engine::labels::Labels;

    #[test]
    fn a_chart_has_gaps_and_limits() {
        let labels = Labels::from_pairs([("__name__", "up")]);
        let samples = vec![(0, 1.0), (10_000, 2.0), (20_000, f64::NAN), (60_000, 3.0)];
        let series = Series { labels, samples, histograms: Vec::new() };
        let mut out = Vec::new();
        print(&[&series], "up", 60, &mut out).unwrap();
        let want = "\
up
           3 |                                             *
             |
             |
             |
             |        *
             |
             |
             |
             |
           1 |*
             +----------------------------------------------
              1970-01-01T00:00:00.000Z  1970-01-01T00:01:00.000Z
";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}
