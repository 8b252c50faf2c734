//! `/api/v1/series`, `/api/v1/labels` and `/api/v1/label/<name>/values`, field for field as Prometheus
//! (`web/api/v1/api.go: series, labelNames, labelValues`).
//!
//! Of series it is known which have a sample in a range. Names and values of labels are those of all series, if the range
//! touches the log at all; Prometheus' head is not more exact.

use crate::percent::decoded;
use crate::query::Answer;
use crate::query::error::QueryError;
use crate::web::api::json::{as_map, failure, json_bytes};
use crate::web::api::query::params::{self, BadParameter};
use crate::web::api::query::{ask, listed};
use crate::web::serve::http::{Request, Response};
use crate::web::serve::reply::Reply;
use crate::web::state::WebState;
use scraped_engine::history::{Bounds, History};
use scraped_engine::labels::Labels;
use scraped_engine::labels::quote::Quoted;
use serde::Serialize;
use std::ops::RangeInclusive;

/// The parameter with selectors.
const MATCH: &str = "match[]";

/// Digits of the largest code point in hexadecimal.
const MAX_CODE_DIGITS: usize = 6;

#[derive(Serialize)]
struct Series<'a>(#[serde(serialize_with = "as_map")] &'a Labels);

/// Answers `/api/v1/series`.
pub(in crate::web) fn series(state: &WebState, request: &Request) -> Reply {
    reply(prepared_series(state, request))
}

/// Answers `/api/v1/labels`.
pub(in crate::web) fn label_names(state: &WebState, request: &Request) -> Reply {
    reply(prepared_labels(state, request, None))
}

/// Answers `/api/v1/label/<name>/values`.
pub(in crate::web) fn label_values(state: &WebState, request: &Request) -> Reply {
    let written = decoded(request.path.rsplit('/').nth(1).unwrap_or_default());
    let name = std::str::from_utf8(&written).map(unescaped).unwrap_or_default();
    reply(match name.is_empty() {
        true => {
            let written = String::from_utf8_lossy(&written);
            Err(BadParameter(format!("invalid label name: {}", Quoted(&written))))
        }
        false => prepared_labels(state, request, Some(name)),
    })
}

fn reply(prepared: Result<Reply, BadParameter>) -> Reply {
    prepared.unwrap_or_else(|BadParameter(why)| Reply::Now(failure(400, "bad_data", &why)))
}

fn prepared_series(state: &WebState, request: &Request) -> Result<Reply, BadParameter> {
    let matches = request.form_values(MATCH);
    if matches.is_empty() {
        return Err(BadParameter("no match[] parameter provided".to_owned()));
    }
    let limit = params::limit(request)?;
    let range_ms = params::range(request)?;
    let work = move |history: &History, bounds: &Bounds| {
        let selectors = params::selectors(&matches).map_err(|why| BadParameter::new(MATCH, &why))?;
        Ok(history.series(&selectors, range_ms, bounds)?)
    };
    let render =
        move |answer: Answer<Vec<Labels>>| in_pieces(answer, limit, |labels| json_bytes(&Series(labels)));
    Ok(ask(&state.queries, params::deadline(), work, render))
}

/// Without a name: of label names.
fn prepared_labels(state: &WebState, request: &Request, name: Option<String>) -> Result<Reply, BadParameter> {
    let limit = params::limit(request)?;
    let range_ms = params::range(request)?;
    let matches = request.form_values(MATCH);
    let work = move |history: &History, bounds: &Bounds| -> Result<Vec<String>, QueryError> {
        let selectors = params::selectors(&matches).map_err(BadParameter)?;
        if !touches(history, range_ms)? {
            return Ok(Vec::new());
        }
        Ok(match &name {
            Some(name) => history.label_values(&[name.as_str()], &selectors, bounds)?.concat(),
            None => history.label_names(&selectors, bounds)?,
        })
    };
    let render = move |answer: Answer<Vec<String>>| in_pieces(answer, limit, json_bytes);
    Ok(ask(&state.queries, params::deadline(), work, render))
}

fn touches(history: &History, range_ms: Option<RangeInclusive<i64>>) -> Result<bool, QueryError> {
    let Some(range_ms) = range_ms else { return Ok(true) };
    let extent = history.extent()?;
    Ok(extent.is_some_and(|extent| extent.start() <= range_ms.end() && range_ms.start() <= extent.end()))
}

fn in_pieces<T: 'static>(
    answer: Answer<Vec<T>>,
    limit: Option<usize>,
    json: impl Fn(&T) -> Vec<u8> + 'static,
) -> Response {
    let Answer { mut found, counted } = answer;
    let is_cut = limit.is_some_and(|limit| found.len() > limit);
    found.truncate(limit.unwrap_or(usize::MAX));
    let members = found.into_iter().map(move |member| {
        // Counted as long as there are pieces to come.
        let _ = &counted;
        json(&member)
    });
    listed(members, is_cut)
}

/// A label's name as it stands in a path: one that is not plain may be written `U__…` (`model.UnescapeName`).
fn unescaped(name: &str) -> String {
    name.strip_prefix("U__").and_then(unescaped_value).unwrap_or_else(|| name.to_owned())
}

/// `__` is an underscore, `_1f600_` a character by its code; `None` for what is not written so.
fn unescaped_value(escaped: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        let (plain, behind) = rest.split_at(at);
        out.push_str(plain);
        let (code, after) = behind.get(1..)?.split_once('_')?;
        if code.is_empty() {
            out.push('_');
        } else {
            let is_code = code.len() <= MAX_CODE_DIGITS && code.bytes().all(|byte| byte.is_ascii_hexdigit());
            let code = u32::from_str_radix(code, 16).ok().filter(|_| is_code)?;
            out.push(char::from_u32(code)?);
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn names_are_unescaped_as_prometheus_does() {
        for (name, want) in [
            ("job", "job"),
            ("U__a_2e_b", "a.b"),
            ("U__a__b", "a_b"),
            ("U__my_1F600___x", "my😀_x"),
            ("U__my_1F600__x", "U__my_1F600__x"),
            ("U__a_", "U__a_"),
            ("U__a_zz_", "U__a_zz_"),
            ("U__a_d800_", "U__a_d800_"),
            ("U__a_0000020_", "U__a_0000020_"),
            ("U__", ""),
        ] {
            assert_eq!(unescaped(name), want, "{name}");
        }
    }
}
