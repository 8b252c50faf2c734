//! One target: how it is and since when, its last attempts, what was wrong, and what it said instead.

use crate::discovery::keeper::REMEMBERED_LABEL;
use crate::scrape::targets::bad_answer::BadAnswer;
use crate::scrape::targets::history::History;
use crate::scrape::targets::status::{ActiveTarget, LastScrape};
use crate::scrape::targets::target_url::{TargetUrl, UrlScheme};
use crate::web::pages::targets::strip::strip;
use crate::web::pages::{ago, escape, lasts, utc};
use scraped_engine::labels::Labels;
use scraped_engine::store::report::SeriesUse;
use std::fmt::Write as _;

/// The head of a table of such rows.
pub(super) const HEAD: &str = "<table class=targets><thead><tr><th>Endpoint<th>State<th>Last attempts<th>Last scrape<th>Labels<th>Error</tr></thead><tbody>";

/// The row of one of a job's targets.
pub(super) fn row(job: &str, active: &ActiveTarget) -> String {
    let mut out = String::new();
    let health = active.status.health().as_str();
    let _ = write!(
        out,
        "<tr><td data-label=Endpoint>{}<td data-label=State><b class={health}>{health}</b>",
        link(&active.target.url),
    );
    if !active.discovered.labels().get(REMEMBERED_LABEL).is_empty() {
        out.push_str(" (remembered: its source has not answered yet)");
    }
    let last = active.status.last();
    if let Some(last) = &last {
        let history = active.status.history();
        let _ = write!(
            out,
            "{}<td data-label=\"Last attempts\">{}<td data-label=\"Last scrape\">{}",
            since(&history, last),
            strip(&history, active.target.scrape_timeout),
            last_scrape(active, last),
        );
    } else {
        out.push_str("<td><td data-label=\"Last scrape\">never");
    }
    out.push_str(&button(job, active.target.hash));
    let _ = write!(out, "<td data-label=Labels>{}", labels(&active.target.labels));
    match last {
        Some(LastScrape { error: Some(error), failed_in, answer, .. }) => {
            let stage = failed_in.map(|stage| format!("<b>{}</b>: ", stage.as_str())).unwrap_or_default();
            let answer = answer.as_ref().map(bad_answer).unwrap_or_default();
            let _ = write!(out, "<td data-label=Error>{stage}{}{answer}", escape(&error));
        }
        _ => out.push_str("<td>"),
    }
    out.push_str("</tr>\n");
    out
}

/// ` for 3m, since 10:02:03 UTC; 4 of 120 scrapes failed`.
fn since(history: &History, last: &LastScrape) -> String {
    let since_ms = i64::from(history.since_s()) * 1000;
    let mut text = format!(" for {} <small>since {}", lasts(since_ms), utc(since_ms));
    if history.n_failed() > 0 {
        let _ = write!(text, "; {} of {} scrapes failed", history.n_failed(), history.n_attempts());
    }
    match history.last_success_s() {
        Some(success_s) if last.error.is_some() => {
            let _ = write!(text, ", the last good one {}", ago(i64::from(success_s) * 1000));
        }
        None => text.push_str(", none was good"),
        _ => {}
    }
    text.push_str("</small>");
    text
}

/// "Scrape now".
fn button(job: &str, hash: u64) -> String {
    format!(
        "<form method=post action=targets/scrape><input type=hidden name=job value=\"{}\"><button name=target value={hash}>\
         Scrape now</button></form>",
        escape(job)
    )
}

fn last_scrape(active: &ActiveTarget, last: &LastScrape) -> String {
    format!(
        "{} <small>took {:.1} ms of {} s, {} samples{}{}</small>",
        ago(last.ts_ms),
        last.duration.as_secs_f64() * 1e3,
        active.target.scrape_timeout.as_secs_f64(),
        last.samples_scraped,
        last.series_use.map(series_use).unwrap_or_default(),
        over_max_series(last.over_max_series),
    )
}

/// A target's address: a link if it leads to another page, and text if a browser would run it or open a file.
fn link(url: &TargetUrl) -> String {
    let text = escape(&url.to_string());
    match url.scheme {
        UrlScheme::Http | UrlScheme::Https => format!("<a href=\"{text}\">{text}</a>"),
        _ => text,
    }
}

/// The piece of the answer, with the place marked.
fn bad_answer(answer: &BadAnswer) -> String {
    let what = match answer.line {
        Some(line) => format!("line {line}"),
        None => "the answer begins".to_owned(),
    };
    let mark = match (&*answer.behind, answer.line) {
        (_, None) => String::new(),
        ("", Some(_)) => "<mark>&#x2424;</mark>".to_owned(),
        (behind, Some(_)) => format!("<mark>{}</mark>", escape(behind)),
    };
    format!("<pre><small>{what}:</small> {}{mark}</pre>", escape(&answer.before))
}

/// Where a target stands with its `series_limit`.
fn series_use(series_use: SeriesUse) -> String {
    let SeriesUse { limit, current, samples_dropped } = series_use;
    match samples_dropped {
        0 => format!(", {current} of {limit} series"),
        n => format!(", <b class=down>{current} of {limit} series, {n} left out</b>"),
    }
}

/// What `--storage.agent.max-series` left out of a page.
fn over_max_series(n_samples: u64) -> String {
    match n_samples {
        0 => String::new(),
        n => format!(", <b class=down>{n} of new series left out: --storage.agent.max-series</b>"),
    }
}

/// As a selector has them, so that it can be copied.
fn labels(labels: &Labels) -> String {
    format!("<code>{}</code>", escape(&labels.to_string()))
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
        let answer = BadAnswer { line: Some(7), before: "<a ".into(), behind: "<script>".into() };
        let shown = "<pre><small>line 7:</small> &lt;a <mark>&lt;script&gt;</mark></pre>";
        assert_eq!(bad_answer(&answer), shown);
    }
}
