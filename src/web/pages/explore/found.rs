//! What was found: the chart, the newest values as its legend, and how to ask on.

use crate::web::pages::chart::{chart, swatch};
use crate::web::pages::explore::form::{REFRESH_S, TITLE, form, links};
use crate::web::pages::explore::narrowing::{Narrowing, narrowed};
use crate::web::pages::explore::question::{Question, time_text};
use crate::web::pages::explore::search::{Row, Seen};
use crate::web::pages::{ago, cut, escape, live_page, ms, page};
use crate::web::serve::http::Response;
use crate::web::site::Site;
use std::fmt::Write as _;
use std::iter::once;
use std::ops::RangeInclusive;
use std::time::SystemTime;

/// Bytes of the table: fewer rows rather than shorter labels, which are there to be copied.
const MAX_TABLE_BYTES: usize = 10_000;
/// Bytes of the links of one label; each has the whole selector in it.
const MAX_NARROWING_BYTES: usize = 1500;
/// What is longer is cut.
const MAX_SERIES_BYTES: usize = 1500;

/// The page of what was found.
pub(super) fn shown(
    site: &Site,
    question: &Question,
    range_ms: &RangeInclusive<i64>,
    seen: &Seen,
) -> Response {
    let mut content = form(site, question, &seen.known);
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
    let _ = match question.end_ms {
        Some(end_ms) => {
            let later_ms = Some(end_ms.saturating_add(question.length_ms()));
            let later_ms = later_ms.filter(|later_ms| *later_ms < ms(SystemTime::now()));
            write!(content, "<a href=\"{}\">later</a> <a href=\"{}\">now</a> ", at(later_ms), at(None))
        }
        // To be shared: what is seen here stays.
        None => write!(content, "<a href=\"{}\">this moment</a> ", at(Some(*range_ms.end()))),
    };
    if seen.rows.is_empty() {
        content.push_str("</p><p>No series is like that in this time.");
        if let Some(log_ms) = &seen.log_ms {
            let (oldest, newest) = (time_text(*log_ms.start()), time_text(*log_ms.end()));
            let _ = write!(content, " The log has samples from about {oldest} to {newest} UTC.");
        }
        content.push_str(&similar(site, question, &seen.known.names));
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
    let end = out.len() + MAX_NARROWING_BYTES;
    let mut has_more = narrowing.has_more;
    for value in &narrowing.values {
        let expr = narrowed(&question.expr, &narrowing.name, value);
        let link =
            format!("<a href=\"{}\">{}</a> ", link(&Question { expr, ..question.clone() }), escape(value));
        if out.len() + link.len() > end {
            has_more = true;
            break;
        }
        out.push_str(&link);
    }
    out.push_str(if has_more { "…</p>" } else { "</p>" });
}

/// Metrics whose names hold what was typed.
fn similar(site: &Site, question: &Question, names: &[String]) -> String {
    let typed = question.expr.split('{').next().unwrap_or_default().trim().to_lowercase();
    let similar = names.iter().filter(|name| !typed.is_empty() && name.to_lowercase().contains(&typed));
    match links(site, question, similar.map(String::as_str)) {
        links if links.is_empty() => links,
        links => format!(" Metrics by that name: <span class=links>{links}</span>"),
    }
}
