//! The targets page: server-rendered, no script, readable in a text browser and on a phone.

use crate::discovery::complaints::{Complaints, OpenComplaint};
use crate::discovery::keeper::REMEMBERED_LABEL;
use crate::scrape::targets::status::{ActiveTarget, Health, PoolStatus};
use crate::scrape::targets::target_url::{TargetUrl, UrlScheme};
use crate::web::pages::{ago, escape, page};
use crate::web::serve::http::Response;
use crate::web::state::WebState;
use crate::web::walk;
use scraped_engine::labels::Labels;
use scraped_engine::store::report::SeriesUse;
use std::fmt::Write as _;
use std::iter::once;

/// Failing sources that are shown: of thousands of files the first say enough.
const MAX_COMPLAINTS: usize = 50;

/// `/targets`: each job's targets with state, labels, last scrape, duration and error.
pub(in crate::web) fn targets(state: &WebState) -> Response {
    let jobs = state.board.jobs();
    let mut content = String::new();
    if let Some(bound) = state.board.series_bound().filter(|bound| bound.is_reached()) {
        let _ = write!(content, "<p class=down>{}</p>", escape(&bound.to_string()));
    }
    write_complaints(&mut content, &state.complaints);
    if jobs.is_empty() {
        content.push_str("<p>No jobs yet. The configuration names none, or discovery has not answered.</p>");
    }
    let pools = walk::pools(&state.board, jobs).flat_map(|(job, pool)| {
        let mut place = 0..pool.active.len();
        let (head, foot) = (pool_head(&job, &pool), pool_foot(&pool));
        let rows = std::iter::from_fn(move || Some(row(pool.active.get(place.next()?)?)));
        once(head).chain(rows).chain(once(foot))
    });
    page(&state.site, "targets", once(content).chain(pools))
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
    let mut out = String::new();
    let n_up = pool.active.iter().filter(|active| active.status.health() == Health::Up).count();
    let job = escape(job);
    let _ = write!(
        out,
        "<section><h2 id=\"job-{job}\">{job} <small>{n_up} of {} up{}</small></h2>",
        pool.active.len(),
        match pool.dropped_count {
            0 => String::new(),
            n => format!(", {n} dropped by relabelling"),
        }
    );
    if !pool.active.is_empty() {
        out.push_str(
            "<table><thead><tr><th>Endpoint<th>State<th>Labels<th>Last scrape<th>Duration<th>Samples<th>Error</tr></thead><tbody>",
        );
    }
    out
}

fn pool_foot(pool: &PoolStatus) -> String {
    match pool.active.is_empty() {
        true => "</section>\n".to_owned(),
        false => "</tbody></table></section>\n".to_owned(),
    }
}

/// A target's address: a link if it leads to another page, and text if a browser would run it or open a file.
fn link(url: &TargetUrl) -> String {
    let text = escape(&url.to_string());
    match url.scheme {
        UrlScheme::Http | UrlScheme::Https => format!("<a href=\"{text}\">{text}</a>"),
        _ => text,
    }
}

fn row(active: &ActiveTarget) -> String {
    let mut out = String::new();
    let last = active.status.last();
    let health = active.status.health().as_str();
    let is_remembered = !active.discovered.labels().get(REMEMBERED_LABEL).is_empty();
    let remembered = if is_remembered { " (remembered: its source has not answered yet)" } else { "" };
    let _ = write!(
        out,
        "<tr><td data-label=Endpoint>{}<td data-label=State class={health}>{health}{remembered}\
         <td data-label=Labels>{}",
        link(&active.target.url),
        labels(&active.target.labels)
    );
    match last {
        None => out.push_str("<td data-label=\"Last scrape\">never<td><td><td>"),
        Some(last) => {
            let _ = write!(
                out,
                "<td data-label=\"Last scrape\">{}<td data-label=Duration>{:.1} ms<td data-label=Samples>{}{}{}\
                 <td data-label=Error>{}",
                ago(last.ts_ms),
                last.duration.as_secs_f64() * 1e3,
                last.samples_scraped,
                last.series_use.map(series_use).unwrap_or_default(),
                over_max_series(last.over_max_series),
                escape(last.error.as_deref().unwrap_or_default())
            );
        }
    }
    out.push_str("</tr>\n");
    out
}

/// Where a target stands with its `series_limit`.
fn series_use(series_use: SeriesUse) -> String {
    let SeriesUse { limit, current, samples_dropped } = series_use;
    match samples_dropped {
        0 => format!(" <small>{current} of {limit} series</small>"),
        n => format!(" <small class=down>{current} of {limit} series, {n} left out</small>"),
    }
}

/// What `--storage.agent.max-series` left out of a page.
fn over_max_series(n_samples: u64) -> String {
    match n_samples {
        0 => String::new(),
        n => format!(" <small class=down>{n} of new series left out: --storage.agent.max-series</small>"),
    }
}

fn labels(labels: &Labels) -> String {
    let pairs =
        labels.iter().map(|(name, value)| format!("<code>{}=\"{}\"</code>", escape(name), escape(value)));
    pairs.collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_targets_say_cannot_act() {
        let link_of = |scheme: UrlScheme| {
            let authority = "\"a".to_owned();
            link(&TargetUrl { scheme, authority, path_and_query: "/m".to_owned() })
        };
        assert_eq!(link_of(UrlScheme::Http), "<a href=\"http://&quot;a/m\">http://&quot;a/m</a>");
        assert_eq!(link_of(UrlScheme::Unsupported("javascript".into())), "javascript://&quot;a/m");
        assert!(!link_of(UrlScheme::File).contains("href"));
    }
}
