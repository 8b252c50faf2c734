//! `/api/v1/series`, field for field as Prometheus (`web/api/v1/api.go: series`).

use crate::query::Answer;
use crate::web::api::json::{as_map, failure, json_bytes};
use crate::web::api::query::{ask, listed, params};
use crate::web::serve::http::{Request, Response};
use crate::web::serve::reply::Reply;
use crate::web::state::WebState;
use scraped_engine::history::{Bounds, History};
use scraped_engine::labels::Labels;
use serde::Serialize;

#[derive(Serialize)]
struct Series<'a>(#[serde(serialize_with = "as_map")] &'a Labels);

/// Answers `/api/v1/series`.
pub(in crate::web) fn series(state: &WebState, request: &Request) -> Reply {
    match prepared(state, request) {
        Ok(reply) => reply,
        Err(why) => Reply::Now(failure(400, "bad_data", &why)),
    }
}

fn prepared(state: &WebState, request: &Request) -> Result<Reply, String> {
    if request.form_values("match[]").is_empty() {
        return Err("no match[] parameter provided".to_owned());
    }
    let limit = params::limit(request)?;
    let range_ms = params::range(request)?;
    let selectors = params::selectors(request).map_err(|why| params::invalid("match[]", &why))?;
    let work = move |history: &History, bounds: &Bounds| Ok(history.series(&selectors, range_ms, bounds)?);
    Ok(ask(&state.queries, params::deadline(), work, move |found| render(found, limit)))
}

fn render(mut answer: Answer<Vec<Labels>>, limit: Option<usize>) -> Response {
    let is_cut = limit.is_some_and(|limit| answer.found.len() > limit);
    answer.found.truncate(limit.unwrap_or(usize::MAX));
    let mut next = 0;
    let members = std::iter::from_fn(move || {
        let labels = answer.found.get(next)?;
        next += 1;
        Some(json_bytes(&Series(labels)))
    });
    listed(members, is_cut)
}
