//! The button "scrape now": one scrape beside those of the schedule, and then the page with what came of it.

use crate::scrape::targets::on_demand::{Outcome, Refusal};
use crate::web::serve::http::{Request, Response};
use crate::web::serve::reply::Reply;
use crate::web::state::WebState;
use std::time::{Duration, Instant};

/// Beyond the target's timeout: for a worker, a turn at the processor and the log.
const SLACK: Duration = Duration::from_secs(5);

/// `POST /targets/scrape` with `job` and `target`, the target's hash. Ends with 303 to the target's row when the scrape has
/// ended, be it in vain; 400 without a target, 404 for one that is not there, 409 for one that cannot be scraped now, 503
/// when too much waits.
pub(in crate::web) fn scrape_now(state: &WebState, request: &Request) -> Reply {
    let (job, hash) = (request.form_value("job"), request.form_value("target"));
    if hash.is_empty() {
        return Reply::Now(Response::text(
            400,
            "name the target: job and target, as the button of its row does\n",
        ));
    }
    let pool = state.board.pool(&job);
    let found = hash.parse::<u64>().ok().zip(pool.as_ref()).and_then(|(hash, pool)| {
        pool.active.iter().find(|active| active.target.hash == hash).map(|active| (hash, active))
    });
    let Some((hash, active)) = found else { return Reply::Now(refused(Refusal::Gone)) };
    let outcome = match state.on_demand.ask(active.key) {
        Ok(outcome) => outcome,
        Err(refusal) => return Reply::Now(refused(refusal)),
    };
    let row = format!("{}/targets?target={hash}", state.site.base());
    let render = move |outcome: Outcome| match outcome {
        Ok(()) => Response::moved(303, &row),
        Err(refusal) => refused(refusal),
    };
    Reply::later_until(outcome, render, Instant::now() + active.target.scrape_timeout + SLACK, unfinished)
}

fn refused(refusal: Refusal) -> Response {
    let status = match refusal {
        Refusal::Gone => 404,
        Refusal::Running(_) | Refusal::SetAside => 409,
        Refusal::NoWorker | Refusal::TooMany | Refusal::NotStarted => 503,
    };
    Response::text(status, format!("{refusal}\n"))
}

fn unfinished() -> Response {
    Response::text(
        503,
        "the scrape has not ended within the timeout of its target; its page shows it when it has\n",
    )
}
