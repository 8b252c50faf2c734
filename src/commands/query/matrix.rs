//! Series and their samples on paper: as a table for people, as Prometheus' JSON for scripts.
//!
//! Knows nothing of where they come from.

use std::fmt;
use std::io::{self, Write};

use crate::calendar::{Seconds, civil_from_days};
use scraped_engine::float::STALE_NAN_BITS;
use scraped_engine::histogram::Histogram;
use scraped_engine::labels::Labels;
use scraped_engine::labels::selector::of_series;

/// Two gaps, a time, and the value of most samples.
const TIME_AND_VALUE_COLUMNS: usize = 2 + 24 + 2 + 12;

/// One series of an answer.
#[derive(Debug)]
pub(in crate::commands::query) struct Series {
    /// Its labels.
    pub(in crate::commands::query) labels: Labels,
    /// Milliseconds since the Unix epoch and value, in order of time.
    pub(in crate::commands::query) samples: Vec<(i64, f64)>,
    /// Native histograms, likewise.
    pub(in crate::commands::query) histograms: Vec<(i64, Histogram)>,
}

/// A line a sample: series, time, value or histogram. Where lines would be wider than `columns`, a series stands once above
/// its samples.
///
/// # Errors
/// `out` refuses.
pub(in crate::commands::query) fn print_table(
    matrix: &[&Series],
    selector: &str,
    columns: Option<usize>,
    out: &mut dyn Write,
) -> io::Result<()> {
    if matrix.is_empty() {
        return writeln!(out, "no samples match {selector}");
    }
    let names: Vec<String> = matrix.iter().map(|series| of_series(&series.labels)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let is_too_wide = columns.is_some_and(|columns| width + TIME_AND_VALUE_COLUMNS > columns);
    if !is_too_wide {
        writeln!(out, "{:width$}  {:24}  VALUE", "SERIES", "TIME")?;
    }
    for (series, name) in matrix.iter().zip(&names) {
        if is_too_wide {
            writeln!(out, "{name}")?;
        }
        print_samples(series, &mut |ts_ms, value| match is_too_wide {
            true => writeln!(out, "  {:24}  {value}", UtcTime(ts_ms)),
            false => writeln!(out, "{name:width$}  {:24}  {value}", UtcTime(ts_ms)),
        })?;
    }
    Ok(())
}

/// A line a sample, without a head, for what is followed.
///
/// # Errors
/// `out` refuses.
pub(in crate::commands::query) fn print_lines(matrix: &[&Series], out: &mut dyn Write) -> io::Result<()> {
    for series in matrix {
        let name = of_series(&series.labels);
        print_samples(series, &mut |ts_ms, value| writeln!(out, "{}  {name}  {value}", UtcTime(ts_ms)))?;
    }
    Ok(())
}

/// Floats and histograms in the order of time.
fn print_samples(
    series: &Series,
    print: &mut dyn FnMut(i64, &dyn fmt::Display) -> io::Result<()>,
) -> io::Result<()> {
    let mut histograms = series.histograms.iter().peekable();
    for (ts_ms, value) in &series.samples {
        while let Some((ts_ms, histogram)) = histograms.next_if(|(before_ms, _)| before_ms < ts_ms) {
            print(*ts_ms, histogram)?;
        }
        print(*ts_ms, &Value(*value))?;
    }
    histograms.try_for_each(|(ts_ms, histogram)| print(*ts_ms, histogram))
}

/// What Prometheus answers to a range selector; `query` says how it looks.
///
/// # Errors
/// `out` refuses.
pub(in crate::commands::query) fn print_json(matrix: &[&Series], out: &mut dyn Write) -> io::Result<()> {
    out.write_all(br#"{"status":"success","data":{"resultType":"matrix","result":["#)?;
    for (idx, series) in matrix.iter().enumerate() {
        out.write_all(if idx == 0 { br#"{"metric":{"# } else { br#",{"metric":{"# })?;
        for (label_idx, (name, value)) in series.labels.iter().enumerate() {
            if label_idx > 0 {
                out.write_all(b",")?;
            }
            serde_json::to_writer(&mut *out, name)?;
            out.write_all(b":")?;
            serde_json::to_writer(&mut *out, value)?;
        }
        out.write_all(b"}")?;
        for (sample_idx, (ts_ms, value)) in series.samples.iter().enumerate() {
            let before = if sample_idx == 0 { r#","values":["# } else { "," };
            write!(out, "{before}[{},\"{}\"]", Seconds(*ts_ms), Value(*value))?;
        }
        if !series.samples.is_empty() {
            out.write_all(b"]")?;
        }
        let mut text = String::new();
        for (idx, (ts_ms, histogram)) in series.histograms.iter().enumerate() {
            let before = if idx == 0 { r#","histograms":["# } else { "," };
            text.clear();
            histogram.push_json(&mut text);
            write!(out, "{before}[{},{text}]", Seconds(*ts_ms))?;
        }
        if !series.histograms.is_empty() {
            out.write_all(b"]")?;
        }
        out.write_all(b"}")?;
    }
    out.write_all(b"]}}\n")
}

/// A float as Prometheus' API writes it (`strconv.FormatFloat(v, 'f', -1, 64)`), a staleness marker as `stale`.
pub(in crate::commands) struct Value(pub(in crate::commands) f64);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            stale if stale.to_bits() == STALE_NAN_BITS => f.write_str("stale"),
            nan if nan.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            value => write!(f, "{value}"),
        }
    }
}

/// Milliseconds since the Unix epoch as `2026-01-31T12:00:00.000Z`.
pub(in crate::commands) struct UtcTime(pub(in crate::commands) i64);

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MS_A_DAY: i64 = 86_400_000;
        let (days, ms) = (self.0.div_euclid(MS_A_DAY), self.0.rem_euclid(MS_A_DAY));
        let (year, month, day) = civil_from_days(days);
        let (seconds, ms) = (ms / 1000, ms % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let time = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z");
        f.pad(&time)
    }
}
