//! `/api/v1/targets/attempts`: what became of the last scrapes of each target, and where it came from. Ours; the page of
//! targets shows the same.

use crate::log::rfc3339_ms;
use crate::scrape::targets::status::ActiveTarget;
use crate::web::api::json::{json_bytes, json_in_pieces, with_commas};
use crate::web::serve::http::{Request, Response};
use crate::web::state::WebState;
use crate::web::walk;
use serde::Serialize;
use std::iter::once;
use std::time::{Duration, UNIX_EPOCH};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TargetAttempts<'a> {
    scrape_pool: &'a str,
    scrape_url: String,
    /// Which group of its source it is in.
    source: String,
    attempts: Vec<Attempt>,
    attempts_total: u64,
    failed_total: u64,
    /// Since when it is as it is.
    since: String,
    samples_scraped: u64,
    samples_kept: u64,
    body_bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    time: String,
    seconds: f64,
    /// The stage; empty if its page was stored.
    failed_in: &'static str,
}

/// Answers it, one target a piece; `scrapePool` asks for one job alone.
pub(in crate::web) fn attempts(state: &WebState, request: &Request) -> Response {
    let wanted_pool = request.query_value("scrapePool");
    let mut jobs = state.board.jobs();
    jobs.retain(|job| wanted_pool.is_empty() || *job == wanted_pool);
    let targets = walk::active(&state.board, jobs).map(|(job, target)| json_bytes(&of_target(&job, &target)));
    let start = once(br#"{"status":"success","data":{"targets":["#.to_vec());
    json_in_pieces(start.chain(with_commas(targets)).chain(once(b"]}}".to_vec())))
}

fn of_target<'a>(job: &'a str, active: &ActiveTarget) -> TargetAttempts<'a> {
    let history = active.status.history();
    let last = active.status.last().unwrap_or_default();
    let attempt = |attempt: crate::scrape::targets::history::Attempt| Attempt {
        time: rfc3339_of_s(attempt.ts_s),
        seconds: f64::from(attempt.duration_us) / 1e6,
        failed_in: attempt.failed_in.map_or("", |stage| stage.as_str()),
    };
    TargetAttempts {
        scrape_pool: job,
        scrape_url: active.target.url.to_string(),
        source: active.discovered.source().to_owned(),
        attempts: history.attempts().map(attempt).collect(),
        attempts_total: history.n_attempts(),
        failed_total: history.n_failed(),
        since: rfc3339_of_s(history.since_s()),
        samples_scraped: last.samples_scraped,
        samples_kept: last.samples_post_metric_relabeling,
        body_bytes: last.body_bytes,
    }
}

fn rfc3339_of_s(ts_s: u32) -> String {
    rfc3339_ms(UNIX_EPOCH + Duration::from_secs(u64::from(ts_s)))
}
