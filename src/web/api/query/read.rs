//! `/api/v1/read`: samples of this box, for a Prometheus elsewhere that computes with them
//! (`storage/remote/read_handler.go`). Errors are plain text, as there.

use crate::config::Config;
use crate::query::error::QueryError;
use crate::query::{Answer, Found};
use crate::web::api::query::{LOST, params, status_of};
use crate::web::serve::http::{PIECE_BYTES, Request, Response};
use crate::web::serve::reply::Reply;
use crate::web::state::WebState;
use scraped_engine::chunk::Value;
use scraped_engine::history::error::HistoryError;
use scraped_engine::history::{Bounds, History, Sample, SampleValue, SelectedSeries};
use scraped_engine::labels::Labels;
use scraped_engine::remote_read::error::RequestError;
use scraped_engine::remote_read::frames::frame;
use scraped_engine::remote_read::request::{AnswerType, ReadRequest};
use scraped_engine::remote_read::samples::ResponseWriter;
use scraped_engine::sorting::sort;
use std::sync::Arc;

/// What a request comes to.
enum Read {
    Refused(RequestError),
    /// All samples in one message.
    Block(Vec<u8>),
    /// The series of each query, for frames.
    Series(Vec<Vec<SelectedSeries>>),
}

impl Found for Read {
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Refused(_) => 0,
            Self::Block(block) => block.capacity(),
            Self::Series(queries) => queries.iter().flatten().map(SelectedSeries::memory_bytes).sum(),
        }
    }
}

/// Answers `/api/v1/read`.
pub(in crate::web) fn read(state: &WebState, request: &Request) -> Reply {
    let (config, body) = (state.running.config(), request.body.clone());
    let asked = Arc::clone(&config);
    let work = move |history: &History, bounds: &Bounds| match ReadRequest::read(
        &body,
        &asked.global.external_labels,
    ) {
        Ok(request) => found(request, history, bounds, &asked),
        Err(error) => Ok(Read::Refused(error)),
    };
    let outcome = state.queries.ask(params::deadline(), work);
    let lost = || Response::text(500, format!("{LOST}\n"));
    Reply::later_or(outcome, lost, move |outcome| match outcome {
        Ok(answer) => rendered(answer, &config),
        Err(error) => refused(&error),
    })
}

fn found(
    request: ReadRequest,
    history: &History,
    bounds: &Bounds,
    config: &Config,
) -> Result<Read, QueryError> {
    let mut left = *bounds;
    let mut queries = Vec::new();
    for query in request.queries {
        if left.max_samples == 0 {
            return Err(HistoryError::TooManySamples { limit: bounds.max_samples }.into());
        }
        let selectors = [query.selector];
        let series = match query.is_for_series {
            // Who asks which series there are reads no more than that they have a sample.
            true => history.newest(&selectors, query.range_ms, &left)?,
            false => history.select(&selectors, query.range_ms, &left)?,
        };
        let used_bytes: usize = series.iter().map(SelectedSeries::memory_bytes).sum();
        left.max_samples = left.max_samples.saturating_sub(used_bytes / size_of::<Sample>());
        queries.push(series);
    }
    Ok(match request.answer {
        AnswerType::Chunks => Read::Series(queries),
        AnswerType::Samples => Read::Block(block(queries, &config.global.external_labels)),
    })
}

fn block(queries: Vec<Vec<SelectedSeries>>, external_labels: &Labels) -> Vec<u8> {
    let mut writer = ResponseWriter::default();
    for series in queries {
        for SelectedSeries { labels, samples } in series {
            writer.series(merged(&labels, external_labels).into_iter(), samples.iter().map(value));
        }
        writer.end_query();
    }
    // The bound of samples is far below what a block can hold.
    writer
        .into_block()
        .unwrap_or_else(|error| panic!("BUG: an answer that is too long to be packed: {error}"))
}

fn rendered(answer: Answer<Read>, config: &Arc<Config>) -> Response {
    match &answer.found {
        Read::Refused(error) => Response::text(400, format!("{error}\n")),
        Read::Block(_) => {
            Response::in_pieces("application/x-protobuf", pieces(answer)).header("Content-Encoding", "snappy")
        }
        Read::Series(_) => Response::in_pieces(
            "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
            Frames { answer, config: Arc::clone(config), query_idx: 0, series_idx: 0, n_sent: 0 },
        ),
    }
}

/// A block as it is sent. The answer counts until all of it is.
fn pieces(answer: Answer<Read>) -> impl Iterator<Item = Vec<u8>> {
    let mut n_sent = 0;
    std::iter::from_fn(move || {
        // All of it is borrowed, or the closure would own the block alone and what it is counted by would be dropped.
        let answer = &answer;
        let Read::Block(block) = &answer.found else { return None };
        let piece = block.get(n_sent..)?.chunks(PIECE_BYTES).next()?;
        n_sent += piece.len();
        Some(piece.to_vec())
    })
}

fn refused(error: &QueryError) -> Response {
    match error {
        QueryError::History(HistoryError::TooManySamples { .. }) => {
            Response::text(400, format!("exceeded sample limit ({})\n", crate::query::MAX_SAMPLES))
        }
        QueryError::History(HistoryError::TooManySeries { .. }) => Response::text(400, format!("{error}\n")),
        error => Response::text(status_of(error).0, format!("{error}\n")),
    }
}

/// Frames of all series, one after the other.
struct Frames {
    answer: Answer<Read>,
    config: Arc<Config>,
    /// The series that is being sent, and samples of it that were.
    query_idx: usize,
    series_idx: usize,
    n_sent: usize,
}

impl Iterator for Frames {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let Read::Series(queries) = &self.answer.found else { return None };
        loop {
            let series = queries.get(self.query_idx)?;
            let Some(SelectedSeries { labels, samples }) = series.get(self.series_idx) else {
                (self.query_idx, self.series_idx) = (self.query_idx + 1, 0);
                continue;
            };
            let rest = samples.get(self.n_sent..).unwrap_or_default();
            if rest.is_empty() {
                (self.series_idx, self.n_sent) = (self.series_idx + 1, 0);
                continue;
            }
            let labels = merged(labels, &self.config.global.external_labels);
            let (frame, n_samples) = frame(self.query_idx, labels.into_iter(), rest.iter().map(value));
            self.n_sent += n_samples;
            return Some(frame);
        }
    }
}

fn value(sample: &Sample) -> (i64, Value<'_>) {
    let value = match &sample.value {
        SampleValue::Float(value) => Value::Float(*value),
        SampleValue::Histogram(histogram) => Value::Histogram(histogram),
    };
    (sample.ts_ms, value)
}

/// The labels of a series, and the external ones that it does not have itself (`MergeLabels`).
fn merged<'a>(labels: &'a Labels, external_labels: &'a Labels) -> Vec<(&'a str, &'a str)> {
    let missing = external_labels.iter().filter(|(name, _)| labels.get(name).is_empty());
    let mut merged: Vec<(&str, &str)> = labels.iter().chain(missing).collect();
    sort(&mut merged);
    merged
}
