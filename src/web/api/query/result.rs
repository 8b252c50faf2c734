//! Results of queries as JSON, a piece at a time (`promql/value.go`, `web/api/v1/json_codec.go`).

use crate::calendar::Seconds;
use crate::query::Answer;
use crate::query::evaluate::Evaluated;
use crate::web::api::json::{as_map, json_bytes, json_in_pieces};
use crate::web::serve::http::Response;
use scraped_engine::float::{Layout, format_api, format_go};
use scraped_engine::history::{Sample, SampleValue, SelectedSeries};
use scraped_engine::labels::Labels;
use serde::Serialize;
use std::fmt::Write;
use std::iter::once;

/// Samples of one piece: some ten kilobytes.
const SAMPLES_A_PIECE: usize = 256;

#[derive(Serialize)]
struct Metric<'a>(#[serde(serialize_with = "as_map")] &'a Labels);

/// The answer to a query; of more series than `limit` the rest is left out, with a warning.
pub(super) fn render(answer: Answer<Evaluated>, limit: Option<usize>) -> Response {
    let Answer { found, counted } = answer;
    let (kind, mut series, is_vector) = match found {
        Evaluated::Scalar { ts_ms, value } => {
            let mut text = String::new();
            // Never with an exponent, other than samples.
            format_go(value, Layout::Fixed, &mut text);
            return whole("scalar", &format!("[{},\"{text}\"]", Seconds(ts_ms)));
        }
        Evaluated::Text { ts_ms, text } => {
            let text = String::from_utf8_lossy(&json_bytes(&text)).into_owned();
            return whole("string", &format!("[{},{text}]", Seconds(ts_ms)));
        }
        Evaluated::Vector(series) => ("vector", series, true),
        Evaluated::Matrix(series) => ("matrix", series, false),
    };
    let is_cut = limit.is_some_and(|limit| series.len() > limit);
    series.truncate(limit.unwrap_or(usize::MAX));
    let begin = format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":["#);
    let end = match is_cut {
        true => r#"]},"warnings":["results truncated due to limit"]}"#,
        false => "]}}",
    };
    let members = series.into_iter().enumerate().flat_map(move |(idx, series)| {
        // Counted as long as there are pieces to come.
        let _ = &counted;
        let comma = if idx > 0 { "," } else { "" };
        let metric = json_bytes(&Metric(&series.labels));
        let head = format!(r#"{comma}{{"metric":{}"#, String::from_utf8_lossy(&metric));
        let rest: Box<dyn Iterator<Item = String>> = match is_vector {
            true => Box::new(once(of_vector(&series))),
            false => Box::new(of_matrix(series.samples)),
        };
        once(head).chain(rest).chain(once("}".to_owned()))
    });
    let pieces = once(begin).chain(members).chain(once(end.to_owned()));
    json_in_pieces(pieces.map(String::into_bytes))
}

fn whole(kind: &str, value: &str) -> Response {
    let text = format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{value}}}}}"#);
    Response::new(200, "application/json", text.into_bytes())
}

fn of_vector(series: &SelectedSeries) -> String {
    let mut out = String::new();
    for sample in &series.samples {
        out.push_str(match sample.value {
            SampleValue::Float(_) => r#","value":"#,
            SampleValue::Histogram(_) => r#","histogram":"#,
        });
        push_value(sample, &mut out);
    }
    out
}

/// The floats, then the histograms.
fn of_matrix(samples: Vec<Sample>) -> impl Iterator<Item = String> {
    let (floats, histograms): (Vec<Sample>, Vec<Sample>) =
        samples.into_iter().partition(|sample| matches!(sample.value, SampleValue::Float(_)));
    list("values", floats).chain(list("histograms", histograms))
}

/// Nothing if there are none.
fn list(name: &'static str, samples: Vec<Sample>) -> impl Iterator<Item = String> {
    let n_samples = samples.len();
    let mut at = 0;
    std::iter::from_fn(move || {
        let piece = samples.get(at..n_samples.min(at + SAMPLES_A_PIECE)).filter(|piece| !piece.is_empty())?;
        let mut out = String::new();
        for sample in piece {
            match at {
                0 => drop(write!(out, r#","{name}":["#)),
                _ => out.push(','),
            }
            at += 1;
            push_value(sample, &mut out);
        }
        if at == n_samples {
            out.push(']');
        }
        Some(out)
    })
}

/// `[time,"value"]` or `[time,{…}]`.
fn push_value(sample: &Sample, out: &mut String) {
    // Writing to memory does not fail.
    let _ = write!(out, "[{},", Seconds(sample.ts_ms));
    match &sample.value {
        SampleValue::Float(value) => {
            out.push('"');
            format_api(*value, out);
            out.push('"');
        }
        SampleValue::Histogram(histogram) => histogram.push_json(out),
    }
    out.push(']');
}
