//! `/api/v1/targets/queue`: how many loops are due before that of a target. Ours.

use crate::scrape::targets::on_demand::{Located, QueuePlace, Refusal};
use crate::web::api::json::{failure, success};
use crate::web::serve::http::{Request, Response};
use crate::web::serve::reply::Reply;
use crate::web::state::WebState;
use serde::Serialize;
use std::time::{Duration, Instant};

/// For the scheduler, which waits for nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// [`QueuePlace`]; `before` are loops.
#[derive(Serialize)]
#[serde(tag = "state", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Shown {
    Scheduled { due_in_seconds: f64, before: usize, scheduled: usize },
    Due { seconds: f64, before: usize },
    Waiting { before: usize },
    Running { seconds: f64 },
}

/// Answers it for the target of `scrapePool` with the URL `scrapeUrl`.
pub(in crate::web) fn queue_place(state: &WebState, request: &Request) -> Reply {
    let (job, url) = (request.query_value("scrapePool"), request.query_value("scrapeUrl"));
    if url.is_empty() {
        return Reply::Now(failure(400, "bad_data", "no scrapeUrl parameter provided"));
    }
    let pool = state.board.pool(&job);
    let active = pool.iter().flat_map(|pool| &pool.active).find(|it| it.target.url.to_string() == url);
    let located = active.ok_or(Refusal::Gone).and_then(|active| state.on_demand.locate(active.key));
    match located {
        Ok(place) => Reply::later_until(place, answer, Instant::now() + PATIENCE, unanswered),
        Err(refusal) => Reply::Now(answer(Err(refusal))),
    }
}

fn answer(located: Located) -> Response {
    let shown = match located {
        Ok(QueuePlace::Scheduled { due_in, n_before, n_scheduled }) => Shown::Scheduled {
            due_in_seconds: due_in.as_secs_f64(),
            before: n_before,
            scheduled: n_scheduled,
        },
        Ok(QueuePlace::Due { lasts, n_before }) => {
            Shown::Due { seconds: lasts.as_secs_f64(), before: n_before }
        }
        Ok(QueuePlace::Waiting { n_before }) => Shown::Waiting { before: n_before },
        Ok(QueuePlace::Running { lasts }) => Shown::Running { seconds: lasts.as_secs_f64() },
        Err(Refusal::Gone) => return failure(404, "not_found", &Refusal::Gone.to_string()),
        Err(refusal) => return failure(503, "unavailable", &refusal.to_string()),
    };
    success(&shown)
}

fn unanswered() -> Response {
    failure(503, "unavailable", "the scheduler has not answered; try again later")
}
