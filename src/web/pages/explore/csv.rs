//! Samples as comma-separated values (RFC 4180): a line a sample, a column a label.

use crate::calendar::rfc3339_ms;
use crate::query::Answer;
use crate::web::serve::http::{PIECE_BYTES, Response};
use scraped_engine::float::{Layout, format_go};
use scraped_engine::history::{SampleValue, SelectedSeries};
use scraped_engine::labels::METRIC_NAME;
use std::collections::BTreeSet;
use std::iter::once;

/// `metric`, the labels in order of name, `timestamp` (RFC 3339) and `value`: empty where the series ended, and as
/// Prometheus prints it of a native histogram.
pub(super) fn csv(answer: Answer<Vec<SelectedSeries>>) -> Response {
    let names: BTreeSet<&str> =
        answer.found.iter().flat_map(|series| series.labels.iter().map(|(name, _)| name)).collect();
    let names: Vec<String> =
        names.into_iter().filter(|name| *name != METRIC_NAME).map(str::to_owned).collect();
    let mut head = String::from("metric");
    for name in &names {
        head.push(',');
        push_field(name, &mut head);
    }
    head.push_str(",timestamp,value\r\n");
    let (mut series_idx, mut first) = (0, 0);
    let lines = std::iter::from_fn(move || {
        // All of the answer moves in here, so that it is counted as long as it is there.
        let answer = &answer;
        let series = answer.found.get(series_idx)?;
        let mut labels = String::new();
        push_field(series.labels.get(METRIC_NAME), &mut labels);
        for name in &names {
            labels.push(',');
            push_field(series.labels.get(name), &mut labels);
        }
        let mut out = String::new();
        while let Some(sample) = series.samples.get(first).filter(|_| out.len() < PIECE_BYTES) {
            first += 1;
            out.push_str(&labels);
            out.push(',');
            out.push_str(&rfc3339_ms(sample.ts_ms));
            out.push(',');
            match &sample.value {
                value if value.is_stale() => {}
                SampleValue::Float(value) => format_go(*value, Layout::Fixed, &mut out),
                SampleValue::Histogram(histogram) => push_field(&histogram.to_string(), &mut out),
            }
            out.push_str("\r\n");
        }
        if first >= series.samples.len() {
            (series_idx, first) = (series_idx + 1, 0);
        }
        Some(out)
    });
    Response::in_pieces("text/csv; charset=utf-8", once(head).chain(lines).map(String::into_bytes))
        .header("Content-Disposition", "attachment; filename=\"samples.csv\"")
}

/// In quotes where a reader would take it apart.
fn push_field(text: &str, out: &mut String) {
    if text.contains([',', '"', '\r', '\n']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}
