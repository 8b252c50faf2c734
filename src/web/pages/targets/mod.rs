//! The targets page: server-rendered, no script, readable in a text browser and on a phone.

mod row;
pub(in crate::web) mod scrape_now;
mod strip;

use crate::discovery::complaints::{Complaints, OpenComplaint};
use crate::scrape::targets::status::{ActiveTarget, Health, PoolStatus};
use crate::web::pages::filter::Filter;
use crate::web::pages::targets::row::row;
use crate::web::pages::{ago, escape, live_page};
use crate::web::serve::http::{Request, Response};
use crate::web::state::WebState;
use crate::web::walk;
use std::fmt::Write as _;
use std::iter::once;
use std::rc::Rc;
use std::sync::Arc;

/// Failing sources that are shown: of thousands of files the first say enough.
const MAX_COMPLAINTS: usize = 50;

/// Rows of one page: a target with all it says takes some 1.5 kB, and the whole page has to be small.
const PAGE_ROWS: usize = 36;

/// [`Health`], as the page has it.
const STATES: &[&str] = &["up", "down", "unknown"];

/// `/targets`: failing sources, then the targets that the form asks for, by job: state and since when, last attempts, labels,
/// error and a piece of the answer. At most [`PAGE_ROWS`] of them.
pub(in crate::web) fn targets(state: &WebState, request: &Request) -> Response {
    let filter = Filter::of(request, STATES);
    let jobs = state.board.jobs();
    let mut content = String::new();
    if let Some(bound) = state.board.series_bound().filter(|bound| bound.is_reached()) {
        let _ = write!(content, "<p class=down>{}</p>", escape(&bound.to_string()));
    }
    write_complaints(&mut content, &state.complaints);
    if jobs.is_empty() {
        content.push_str("<p>No jobs yet. The configuration names none, or discovery has not answered.</p>");
        return live_page(&state.site, "targets", 10, once(content));
    }
    content.push_str(&filter.form(&jobs, "in URL, labels or error"));
    let shown_jobs = filter.jobs(jobs);
    let rows = || rows(state, shown_jobs.clone(), filter.clone());
    let (n_rows, n_targets) = rows().fold((0, 0), |(rows, targets), row| {
        (rows + 1, targets + usize::from(matches!(row, Row::Target { .. })))
    });
    content.push_str(&filter.steps(n_rows, n_targets, PAGE_ROWS));
    let mut open_job: Option<Rc<str>> = None;
    let mut shown = rows().skip(filter.from).take(PAGE_ROWS).fuse();
    let tables = std::iter::from_fn(move || match shown.next() {
        Some(next) => {
            let mut out = String::new();
            let (job, pool) = next.pool();
            if open_job.as_ref() != Some(job) {
                if open_job.is_some() {
                    out.push_str(FOOT);
                }
                open_job = Some(Rc::clone(job));
                out.push_str(&pool_head(job, pool));
                out.push_str(if pool.active.is_empty() { NO_TABLE } else { row::HEAD });
            }
            if let Row::Target { pool, idx, .. } = &next {
                out.push_str(&pool.active.get(*idx).map(|active| row(job, active)).unwrap_or_default());
            }
            Some(out)
        }
        None => open_job.take().map(|_| FOOT.to_owned()),
    });
    live_page(&state.site, "targets", 10, once(content).chain(tables))
}

/// The end of a job.
const FOOT: &str = "</tbody></table></section>\n";
/// What stands between the head and the end of a job without targets.
const NO_TABLE: &str = "<table><tbody>";

/// A line of the page, before it is written.
enum Row {
    Target {
        job: Rc<str>,
        pool: Arc<PoolStatus>,
        idx: usize,
    },
    /// A job without any.
    Empty {
        job: Rc<str>,
        pool: Arc<PoolStatus>,
    },
}

impl Row {
    fn pool(&self) -> (&Rc<str>, &PoolStatus) {
        match self {
            Self::Target { job, pool, .. } | Self::Empty { job, pool } => (job, pool),
        }
    }
}

fn rows(state: &WebState, jobs: Vec<String>, filter: Filter) -> impl Iterator<Item = Row> + use<> {
    walk::pools(&state.board, jobs).flat_map(move |(job, pool)| {
        let mut empty = (pool.active.is_empty() && filter.is_open())
            .then(|| Row::Empty { job: Rc::clone(&job), pool: Arc::clone(&pool) });
        let mut place = 0..pool.active.len();
        let filter = filter.clone();
        std::iter::from_fn(move || {
            empty.take().or_else(|| {
                let idx = place.find(|idx| pool.active.get(*idx).is_some_and(|it| takes(&filter, it)))?;
                Some(Row::Target { job: Rc::clone(&job), pool: Arc::clone(&pool), idx })
            })
        })
    })
}

fn takes(filter: &Filter, active: &ActiveTarget) -> bool {
    let is_in_error =
        || active.status.last().and_then(|last| last.error).is_some_and(|error| filter.is_in(&error));
    filter.target.is_none_or(|hash| hash == active.target.hash)
        && filter.takes_state(active.status.health().as_str())
        && (filter.is_in(&active.target.url.to_string())
            || filter.is_in_labels(&active.target.labels)
            || is_in_error())
}

/// Sources that fail: what their jobs have is what they said last, which may be nothing.
fn write_complaints(out: &mut String, complaints: &Complaints) {
    let (oldest, n_open) = complaints.oldest(MAX_COMPLAINTS);
    if oldest.is_empty() {
        return;
    }
    out.push_str(
        "<section><h2 id=failing>Failing sources <small>their targets stay as they are</small></h2>",
    );
    out.push_str("<table><thead><tr><th>Source<th>Since<th>Error</tr></thead><tbody>");
    for OpenComplaint { source, sentence, since_ms } in &oldest {
        let (source, sentence) = (escape(source), escape(sentence));
        let _ = writeln!(
            out,
            "<tr><td data-label=Source>{source}<td data-label=Since>{}<td data-label=Error class=down>{sentence}</tr>",
            ago(*since_ms)
        );
    }
    out.push_str("</tbody></table>");
    if n_open > oldest.len() {
        let _ = write!(out, "<p>{} more are in the log.</p>", n_open - oldest.len());
    }
    out.push_str("</section>\n");
}

fn pool_head(job: &str, pool: &PoolStatus) -> String {
    let n_up = pool.active.iter().filter(|active| active.status.health() == Health::Up).count();
    let job = escape(job);
    let dropped = match pool.dropped_count {
        0 => String::new(),
        n => format!(", {n} dropped by relabelling"),
    };
    format!(
        "<section><h2 id=\"job-{job}\">{job} <small>{n_up} of {} up{dropped}</small></h2>",
        pool.active.len()
    )
}
