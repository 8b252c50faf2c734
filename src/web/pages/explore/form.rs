//! The form of the page, and lists of metrics that can be pressed.

use crate::web::pages::escape;
use crate::web::pages::explore::known::Known;
use crate::web::pages::explore::question::{Question, RANGES};
use crate::web::site::Site;
use scraped_engine::labels::quote::Quoted;
use scraped_engine::labels::selector::is_plain_metric_name;
use std::fmt::Write as _;

/// Of the page.
pub(super) const TITLE: &str = "explore";
/// Seconds between two refreshes of a page that ends now.
pub(super) const REFRESH_S: u8 = 15;
/// Bytes of names and of labels that a browser completes, each.
const MAX_COMPLETION_BYTES: usize = 8_000;
/// Bytes of links to metrics on a page without a chart.
const MAX_LINK_BYTES: usize = 25_000;

/// The form, with what was asked. The browser completes names of metrics, and labels with their values.
pub(super) fn form(site: &Site, question: &Question, known: &Known) -> String {
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
    write_options(&mut out, known.names.iter().map(|name| as_selector(name)));
    write_options(&mut out, known.selectors.iter().cloned());
    out.push_str("</datalist>\n");
    out
}

fn write_options(out: &mut String, selectors: impl Iterator<Item = String>) {
    let mut n_bytes = 0;
    out.extend(selectors.map(|selector| format!("<option value=\"{}\">", escape(&selector))).take_while(
        |option| {
            n_bytes += option.len();
            n_bytes <= MAX_COMPLETION_BYTES
        },
    ));
}

/// Links to metrics, as many as there is room for, and how many are left out.
pub(super) fn links<'a>(site: &Site, question: &Question, names: impl Iterator<Item = &'a str>) -> String {
    let (mut out, mut n_left_out) = (String::new(), 0);
    for name in names {
        let link = Question { expr: as_selector(name), ..question.clone() }.link();
        let link = format!("<a href=\"{}{}\">{}</a> ", escape(site.base()), escape(&link), escape(name));
        match out.len() + link.len() <= MAX_LINK_BYTES {
            true => out.push_str(&link),
            false => n_left_out += 1,
        }
    }
    if n_left_out > 0 {
        let _ = write!(out, "and {n_left_out} more");
    }
    out
}

/// A metric's name as a selector.
fn as_selector(name: &str) -> String {
    match is_plain_metric_name(name) {
        true => name.to_owned(),
        false => format!("{{{}}}", Quoted(name)),
    }
}
