//! The JSON that all answers of the API are made of: the envelope, as a whole or in pieces.

use crate::web::serve::http::Response;
use scraped_engine::labels::Labels;
use scraped_engine::labels::quote::Quoted;
use serde::{Serialize, Serializer};

#[derive(Serialize)]
struct Success<T> {
    status: &'static str,
    data: T,
}

#[derive(Serialize)]
struct Failure<'a> {
    status: &'static str,
    #[serde(rename = "errorType")]
    error_type: &'a str,
    error: &'a str,
}

pub(in crate::web) fn success<T: Serialize>(data: &T) -> Response {
    json(200, &Success { status: "success", data })
}

pub(in crate::web) fn failure(status: u16, error_type: &str, error: &str) -> Response {
    json(status, &Failure { status: "error", error_type, error })
}

fn json<T: Serialize>(status: u16, value: &T) -> Response {
    Response::new(status, "application/json", json_bytes(value))
}

/// A part of an answer. Keys are texts and writing to memory does not fail.
pub(in crate::web) fn json_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|err| panic!("BUG: cannot write JSON: {err}"))
}

/// An answer whose pieces make one JSON text.
pub(in crate::web) fn json_in_pieces(pieces: impl Iterator<Item = Vec<u8>> + 'static) -> Response {
    Response::in_pieces("application/json", pieces)
}

/// Members of a list or a map, with commas between.
pub(in crate::web) fn with_commas(members: impl Iterator<Item = Vec<u8>>) -> impl Iterator<Item = Vec<u8>> {
    members.enumerate().map(|(idx, mut member)| {
        if idx > 0 {
            member.insert(0, b',');
        }
        member
    })
}

pub(in crate::web) fn as_map<S: Serializer>(labels: &Labels, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter())
}

/// The same of labels that are borrowed.
pub(in crate::web) fn as_pairs<S: Serializer>(
    labels: &[(&str, &str)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter().copied())
}

/// What is said of a job that there is not.
pub(in crate::web) fn no_such_pool(job_name: &str) -> Response {
    let sentence = format!("error retrieving scrape config: scrape pool {} not found", Quoted(job_name));
    failure(400, "bad_data", &sentence)
}
