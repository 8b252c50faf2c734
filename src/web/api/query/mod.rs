//! What asks the log of this box: `query`, `series`, `labels`, `/federate`. The `web` thread reads the request and writes the
//! answer; what is found in the log is the query thread's.

pub(in crate::web) mod expressions;
pub(in crate::web) mod federate;
pub(in crate::web) mod params;
pub(in crate::web) mod read;
mod result;
pub(in crate::web) mod series;

use crate::query::Queries;
use crate::query::error::QueryError;
use crate::query::{Answer, Found};
use crate::web::api::json::{failure, json_in_pieces, with_commas};
use crate::web::serve::http::Response;
use crate::web::serve::reply::Reply;
use scraped_engine::history::error::HistoryError;
use scraped_engine::history::{Bounds, History};
use std::time::Instant;

/// What is said if there is no answer at all.
const LOST: &str = "the query has ended by a fault of this program; its log says which";

/// The answer of the query thread, as `render` shows it.
fn ask<T: Found>(
    queries: &Queries,
    deadline: Instant,
    work: impl FnOnce(&History, &Bounds) -> Result<T, QueryError> + Send + 'static,
    render: impl Fn(Answer<T>) -> Response + 'static,
) -> Reply {
    let outcome = queries.ask(deadline, work);
    let lost = || failure(500, "internal", LOST);
    Reply::later_or(outcome, lost, move |outcome| match outcome {
        Ok(answer) => render(answer),
        Err(error) => refused(&error),
    })
}

/// Why there is no answer.
fn refused(error: &QueryError) -> Response {
    let (status, error_type) = status_of(error);
    failure(status, error_type, &error.to_string())
}

/// Prometheus' status, and its type of the error.
pub(in crate::web) fn status_of(error: &QueryError) -> (u16, &'static str) {
    match error {
        QueryError::QueueFull { .. }
        | QueryError::TimedOutInQueue
        | QueryError::AnswersUnread { .. }
        | QueryError::History(HistoryError::TimedOut) => (503, "timeout"),
        QueryError::BadParameter(_) => (400, "bad_data"),
        QueryError::NoThread(_) | QueryError::History(HistoryError::NotOpen) => (503, "unavailable"),
        QueryError::History(HistoryError::Wal(_)) => (500, "internal"),
        QueryError::NeedsEngine | QueryError::History(_) => (422, "execution"),
    }
}

/// A list in pieces, with a warning if it was longer.
fn listed(members: impl Iterator<Item = Vec<u8>> + 'static, is_cut: bool) -> Response {
    let end: &[u8] = match is_cut {
        true => br#"],"warnings":["results truncated due to limit"]}"#,
        false => b"]}",
    };
    let begin = std::iter::once(br#"{"status":"success","data":["#.to_vec());
    json_in_pieces(begin.chain(with_commas(members)).chain(std::iter::once(end.to_vec())))
}
