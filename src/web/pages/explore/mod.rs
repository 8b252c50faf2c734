//! Explore: what the log of this box knows of a selector, as newest values, as a chart, and as CSV.
//!
//! The query thread looks; the `web` thread writes what it found. The address of the page is all there is to share.

mod csv;
mod form;
mod found;
mod known;
mod mistake;
mod narrowing;
pub(in crate::web::pages) mod question;
mod search;

use crate::query::{Answer, Outcome, TIMEOUT};
use crate::web::api::query::status_of;
use crate::web::pages::explore::form::{REFRESH_S, TITLE, form, links};
use crate::web::pages::explore::found::shown;
use crate::web::pages::explore::known::Known;
use crate::web::pages::explore::mistake::{Mistake, selector_of};
use crate::web::pages::explore::question::Question;
use crate::web::pages::explore::search::search;
use crate::web::pages::{live_page, lost, ms, page};
use crate::web::serve::http::{Request, Response};
use crate::web::serve::reply::Reply;
use crate::web::site::Site;
use crate::web::state::WebState;
use std::fmt::Write as _;
use std::iter::once;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// What is good to begin with, if it is there.
const EXAMPLES: [&str; 4] =
    ["up", "scrape_duration_seconds", "scrape_samples_scraped", "process_resident_memory_bytes"];

/// `/query`: so Prometheus 3 calls the page.
pub(in crate::web) fn elsewhere(state: &WebState, request: &Request) -> Response {
    let path = format!("{}/graph", state.site.prefix());
    match request.query.as_str() {
        "" => Response::moved(302, &path),
        query => Response::moved(302, &format!("{path}?{query}")),
    }
}

/// `/graph`.
pub(in crate::web) fn explore(state: &WebState, request: &Request) -> Reply {
    let (question, mistake) = Question::of(request);
    let site = Arc::clone(&state.site);
    if let Some(mistake) = mistake {
        return Reply::Now(refused(&site, &question, &Mistake::new(400, &mistake)));
    }
    let deadline = Instant::now() + TIMEOUT;
    if question.expr.is_empty() {
        let outcome = state.queries.ask(deadline, Known::of);
        return answered(outcome, site, question, |site, question, known| begin(site, question, &known));
    }
    let (expr, base) = (question.expr.clone(), site.base().to_owned());
    let range_ms = question.range_ms(ms(SystemTime::now()));
    if request.query_value("format") == "csv" {
        let outcome = state.queries.ask(deadline, move |history, bounds| match selector_of(&expr, &base) {
            Ok(selector) => Ok(Ok(history.select(&[selector], range_ms, bounds)?)),
            Err(mistake) => Ok(Err(mistake)),
        });
        return Reply::later_or(outcome, lost, move |outcome| match outcome {
            Ok(Answer { found: Ok(found), counted }) => csv::csv(Answer { found, counted }),
            Ok(Answer { found: Err(mistake), .. }) => refused(&site, &question, &mistake),
            Err(error) => Response::text(status_of(&error).0, format!("{error}\n")),
        });
    }
    let searched_ms = range_ms.clone();
    let outcome = state.queries.ask(deadline, move |history, bounds| match selector_of(&expr, &base) {
        Ok(selector) => Ok(Ok(search(history, selector, &searched_ms, bounds)?)),
        Err(mistake) => Ok(Err(mistake)),
    });
    answered(outcome, site, question, move |site, question, found| match found {
        Ok(seen) => shown(site, question, &range_ms, &seen),
        Err(mistake) => refused(site, question, &mistake),
    })
}

/// The page that `render` makes of what was found, or one that says why nothing was.
fn answered<T: 'static>(
    outcome: Outcome<T>,
    site: Arc<Site>,
    question: Question,
    render: impl Fn(&Site, &Question, T) -> Response + 'static,
) -> Reply {
    Reply::later_or(outcome, lost, move |outcome| match outcome {
        Ok(answer) => render(&site, &question, answer.found),
        Err(error) => refused(&site, &question, &Mistake::new(status_of(&error).0, &error.to_string())),
    })
}

/// The page before anything is asked.
fn begin(site: &Site, question: &Question, known: &Known) -> Response {
    let mut content = form(site, question, known);
    let names = &known.names;
    if names.is_empty() {
        content.push_str("<p>The log holds no series yet: nothing was scraped.</p>");
        return live_page(site, TITLE, REFRESH_S, once(content));
    }
    let is_there = |name: &&str| names.binary_search_by(|it| it.as_str().cmp(name)).is_ok();
    let examples = links(site, question, EXAMPLES.into_iter().filter(is_there));
    if !examples.is_empty() {
        let _ = write!(content, "<p class=links>Good to begin with: {examples}</p>");
    }
    let _ = write!(
        content,
        "<h2>Metrics <small>{} names</small></h2><p class=links>{}</p>",
        names.len(),
        links(site, question, names.iter().map(String::as_str))
    );
    page(site, TITLE, once(content))
}

/// The page with what is wrong in place of an answer.
fn refused(site: &Site, question: &Question, mistake: &Mistake) -> Response {
    let content = format!("{}{}", form(site, question, &Known::default()), mistake.html);
    let mut response = page(site, TITLE, once(content));
    response.status = mistake.status;
    response
}
