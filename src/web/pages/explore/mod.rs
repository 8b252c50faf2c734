//! Explore: what the log of this box knows of a selector, as newest values, as a chart, and as CSV.
//!
//! The query thread looks; the `web` thread writes what it found. The address of the page is all there is to share.

mod csv;
mod narrowing;
pub(in crate::web::pages) mod question;
mod search;

use crate::query::{Outcome, TIMEOUT};
use crate::web::api::query::status_of;
use crate::web::pages::chart::{chart, swatch};
use crate::web::pages::explore::narrowing::{Narrowing, narrowed};
use crate::web::pages::explore::question::{Question, RANGES, time_text};
use crate::web::pages::explore::search::{Row, Seen, names, search};
use crate::web::pages::{ago, cut, escape, live_page, lost, ms, page};
use crate::web::serve::http::{Request, Response};
use crate::web::serve::reply::Reply;
use crate::web::site::Site;
use crate::web::state::WebState;
use scraped_engine::labels::quote::Quoted;
use scraped_engine::labels::selector::error::ParseError;
use scraped_engine::labels::selector::is_plain_metric_name;
use scraped_engine::labels::selector::parser::parse_selector;
use std::fmt::Write as _;
use std::iter::once;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Bytes of names that a browser completes, and of links to metrics on a page without a chart.
const MAX_COMPLETION_BYTES: usize = 10_000;
const MAX_LINK_BYTES: usize = 25_000;
/// Bytes of the table: fewer rows rather than shorter labels, which are there to be copied.
const MAX_TABLE_BYTES: usize = 12_000;
/// What is longer is cut.
const MAX_SERIES_BYTES: usize = 1500;
/// What is good to begin with, if it is there.
const EXAMPLES: [&str; 4] =
    ["up", "scrape_duration_seconds", "scrape_samples_scraped", "process_resident_memory_bytes"];
/// Seconds between two refreshes of a page that ends now.
const REFRESH_S: u8 = 15;

const TITLE: &str = "explore";

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
        return Reply::Now(refused(
            &site,
            &question,
            400,
            &format!("<p class=down>{}</p>", escape(&mistake)),
        ));
    }
    let deadline = Instant::now() + TIMEOUT;
    if question.expr.is_empty() {
        let outcome = state.queries.ask(deadline, names);
        return answered(outcome, site, question, |site, question, names| begin(site, question, &names));
    }
    let selector = match parse_selector(&question.expr) {
        Ok(selector) => selector,
        Err(error) => {
            let sentence = selector_mistake(&site, &question.expr, &error);
            return Reply::Now(refused(&site, &question, 400, &sentence));
        }
    };
    let range_ms = question.range_ms(ms(SystemTime::now()));
    if request.query_value("format") == "csv" {
        let outcome = state
            .queries
            .ask(deadline, move |history, bounds| Ok(history.select(&[selector], range_ms, bounds)?));
        return Reply::later_or(outcome, lost, |outcome| match outcome {
            Ok(answer) => csv::csv(answer),
            Err(error) => Response::text(status_of(&error).0, format!("{error}\n")),
        });
    }
    let searched_ms = range_ms.clone();
    let outcome =
        state.queries.ask(deadline, move |history, bounds| search(history, selector, &searched_ms, bounds));
    answered(outcome, site, question, move |site, question, seen| shown(site, question, &range_ms, &seen))
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
        Err(error) => {
            let sentence = format!("<p class=down>{}</p>", escape(&error.to_string()));
            refused(&site, &question, status_of(&error).0, &sentence)
        }
    })
}

/// The page before anything is asked.
fn begin(site: &Site, question: &Question, names: &[String]) -> Response {
    let mut content = form(site, question, names);
    let link = |expr: &str| {
        let question = Question { expr: expr.to_owned(), ..question.clone() };
        format!("<a href=\"{}{}\">{}</a> ", escape(site.base()), escape(&question.link()), escape(expr))
    };
    if names.is_empty() {
        content.push_str("<p>The log holds no series yet: nothing was scraped.</p>");
        return live_page(site, TITLE, REFRESH_S, once(content));
    }
    let examples =
        EXAMPLES.into_iter().filter(|name| names.binary_search_by(|it| it.as_str().cmp(name)).is_ok());
    let examples: String = examples.map(link).collect();
    if !examples.is_empty() {
        let _ = write!(content, "<p class=links>Good to begin with: {examples}</p>");
    }
    let _ = write!(content, "<h2>Metrics <small>{} names</small></h2><p class=links>", names.len());
    content.push_str(&bounded_list(names.iter().map(|name| link(&as_selector(name))), MAX_LINK_BYTES));
    content.push_str("</p>");
    page(site, TITLE, once(content))
}

/// The page of what was found.
fn shown(site: &Site, question: &Question, range_ms: &RangeInclusive<i64>, seen: &Seen) -> Response {
    let mut content = form(site, question, &seen.names);
    let base = escape(site.base());
    let link = |question: &Question| format!("{base}{}", escape(&question.link()));
    let at = |end_ms: Option<i64>| link(&Question { end_ms, ..question.clone() });
    let _ = write!(
        content,
        "<p class=links>{} to {} UTC <a href=\"{}\">earlier</a> ",
        time_text(*range_ms.start()),
        time_text(*range_ms.end()),
        at(Some(*range_ms.start())),
    );
    if let Some(end_ms) = question.end_ms {
        let _ = write!(
            content,
            "<a href=\"{}\">later</a> <a href=\"{}\">now</a> ",
            at(Some(end_ms.saturating_add(question.length_ms()))
                .filter(|end_ms| *end_ms < ms(SystemTime::now()))),
            at(None)
        );
    }
    if seen.rows.is_empty() {
        let _ = write!(content, "</p><p>No series is like that in this time.");
        write_similar(&mut content, site, question, &seen.names);
        content.push_str("</p>");
    } else {
        let _ = write!(content, "<a href=\"{}&amp;format=csv\">CSV</a>", link(question));
        if seen.drawn_ms.start() > range_ms.start() {
            let _ = write!(
                content,
                " <small>drawn from {} on: nothing is older</small>",
                time_text(*seen.drawn_ms.start())
            );
        }
        content.push_str("</p>");
        write_rows(&mut content, seen);
        seen.narrowings
            .iter()
            .for_each(|narrowing| write_narrowing(&mut content, question, narrowing, &link));
    }
    match question.end_ms {
        None => live_page(site, TITLE, REFRESH_S, once(content)),
        Some(_) => page(site, TITLE, once(content)),
    }
}

/// The chart, and the newest values as its legend.
fn write_rows(out: &mut String, seen: &Seen) {
    let mut table =
        String::from("<table class=values><thead><tr><th>Series<th>Newest value<th>When</tr></thead><tbody>");
    let rows = seen.rows.iter().enumerate().take_while(|(idx, row)| {
        let text = table_row(*idx, row);
        let has_room = *idx == 0 || table.len() + text.len() <= MAX_TABLE_BYTES;
        if has_room {
            table.push_str(&text);
        }
        has_room
    });
    let lines: Vec<_> = rows.map(|(_, row)| (row.series.as_str(), &row.line)).collect();
    table.push_str("</tbody></table>");
    let what = format!("chart of {} series, whose newest values are listed below", lines.len());
    out.push_str(&chart(&lines, &seen.drawn_ms, &what));
    out.push_str(&table);
    let n_more = seen.n_series - lines.len().min(seen.n_series);
    if n_more > 0 {
        let _ = write!(
            out,
            "<p>{n_more} more series are not drawn: add a matcher, or take all of them as CSV.</p>"
        );
    }
}

fn table_row(idx: usize, row: &Row) -> String {
    let (value, when) = match &row.newest {
        Some((ts_ms, value)) => (escape(&cut(value, MAX_SERIES_BYTES)), ago(*ts_ms)),
        None => (String::from("none"), String::new()),
    };
    let when = match row.ended_ms {
        Some(ended_ms) => format!("{when} <b class=down>ended</b> {}", ago(ended_ms)),
        None => when,
    };
    format!(
        "<tr><td>{}<code>{}</code><td data-label=Value><b>{value}</b><td data-label=When>{when}</tr>\n",
        swatch(idx),
        escape(&cut(&row.series, MAX_SERIES_BYTES))
    )
}

/// Links that add a condition.
fn write_narrowing(
    out: &mut String,
    question: &Question,
    narrowing: &Narrowing,
    link: &dyn Fn(&Question) -> String,
) {
    let _ = write!(out, "<p class=links>Only <b>{}</b>: ", escape(&narrowing.name));
    for value in &narrowing.values {
        let expr = narrowed(&question.expr, &narrowing.name, value);
        let _ = write!(
            out,
            "<a href=\"{}\">{}</a> ",
            link(&Question { expr, ..question.clone() }),
            escape(value)
        );
    }
    out.push_str(if narrowing.has_more { "…</p>" } else { "</p>" });
}

/// Metrics whose names hold what was typed.
fn write_similar(out: &mut String, site: &Site, question: &Question, names: &[String]) {
    let typed = question.expr.split('{').next().unwrap_or_default().trim().to_lowercase();
    let similar = names.iter().filter(|name| !typed.is_empty() && name.to_lowercase().contains(&typed));
    let mut links = similar
        .map(|name| {
            let link = Question { expr: as_selector(name), ..question.clone() }.link();
            format!("<a href=\"{}{}\">{}</a> ", escape(site.base()), escape(&link), escape(name))
        })
        .peekable();
    if links.peek().is_some() {
        out.push_str(" Metrics by that name: <span class=links>");
        out.push_str(&bounded_list(links, MAX_LINK_BYTES));
        out.push_str("</span>");
    }
}

/// As many as there is room for, and how many are left out.
fn bounded_list(items: impl Iterator<Item = String>, max_bytes: usize) -> String {
    let (mut out, mut n_left_out) = (String::new(), 0);
    for item in items {
        match out.len() + item.len() <= max_bytes {
            true => out.push_str(&item),
            false => n_left_out += 1,
        }
    }
    if n_left_out > 0 {
        let _ = write!(out, "and {n_left_out} more");
    }
    out
}

fn form(site: &Site, question: &Question, names: &[String]) -> String {
    let mut out = format!(
        "<form class=\"filter explore\" action=\"{}/graph\"><label>Selector <input name=g0.expr type=search list=metrics \
         spellcheck=false autocomplete=off placeholder='up{{job=\"node\"}}' value=\"{}\"></label> <label>Range <select \
         name=g0.range_input>",
        escape(site.base()),
        escape(&question.expr)
    );
    let chosen = question.range_text();
    let own = Some(chosen.as_str()).filter(|chosen| !RANGES.contains(chosen));
    for range in own.into_iter().chain(RANGES) {
        let selected = if range == chosen { " selected" } else { "" };
        let _ = write!(out, "<option{selected}>{range}");
    }
    let _ = write!(
        out,
        "</select></label> <label>End (UTC) <input name=g0.end_input size=19 placeholder=now value=\"{}\"></label> \
         <button>Show</button></form><datalist id=metrics>",
        escape(&question.end_text())
    );
    let names = names.iter().map(|name| format!("<option>{}", escape(&as_selector(name))));
    let mut n_bytes = 0;
    out.extend(names.take_while(|option| {
        n_bytes += option.len();
        n_bytes <= MAX_COMPLETION_BYTES
    }));
    out.push_str("</datalist>\n");
    out
}

/// The page with some sentences, which are HTML, in place of an answer.
fn refused(site: &Site, question: &Question, status: u16, sentence: &str) -> Response {
    let content = format!("{}{sentence}", form(site, question, &[]));
    let mut response = page(site, TITLE, once(content));
    response.status = status;
    response
}

/// What is wrong with a selector, the place marked.
fn selector_mistake(site: &Site, expr: &str, error: &ParseError) -> String {
    let (before, behind) = expr.split_at_checked(error.offset()).unwrap_or((expr, ""));
    let (marked, rest) = match behind.chars().next() {
        Some(c) => behind.split_at(c.len_utf8()),
        None => ("\u{2424}", ""),
    };
    let place = format!(
        "{}<mark>{}</mark>{}",
        escape(&cut(before, MAX_SERIES_BYTES)),
        escape(marked),
        escape(&cut(rest, MAX_SERIES_BYTES))
    );
    let mut sentence = format!("<p class=down>{}</p><pre>{place}</pre>", escape(error.reason()));
    if needs_engine(expr) {
        let _ = write!(
            sentence,
            "<p>Functions and operators need PromQL&#39;s engine, which an agent has not: let a Prometheus read this box by \
             remote_read at <code>{}/api/v1/read</code>, and ask it.</p>",
            escape(site.base())
        );
    }
    sentence
}

/// Whether it looks like what needs PromQL's engine.
fn needs_engine(expr: &str) -> bool {
    expr.contains(['(', ')', '+', '*', '/', '[', '<', '>', '@'])
}

/// A metric's name as a selector.
fn as_selector(name: &str) -> String {
    match is_plain_metric_name(name) {
        true => name.to_owned(),
        false => format!("{{{}}}", Quoted(name)),
    }
}
