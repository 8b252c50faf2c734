//! Cost: what jobs, metrics and label values take on disk and on the wire, and what dropping them would save.

pub(in crate::web) mod latest;
mod measure;
mod price;
mod rule;
mod tally;

use crate::query::TIMEOUT;
use crate::query::error::QueryError;
use crate::web::api::query::status_of;
use crate::web::pages::cost::measure::{Costs, MAX_SERIES, measure};
use crate::web::pages::cost::price::Prices;
use crate::web::pages::cost::rule::drop_rule;
use crate::web::pages::cost::tally::{Cost, Kind, Sum};
use crate::web::pages::explore::question::link_to;
use crate::web::pages::figures::{Figures, figure};
use crate::web::pages::{ago, bytes, coarse, cut, escape, lost, ms, page};
use crate::web::serve::http::{Request, Response};
use crate::web::serve::reply::Reply;
use crate::web::site::Site;
use crate::web::state::WebState;
use scraped_engine::history::error::HistoryError;
use scraped_engine::labels::quote::Quoted;
use scraped_engine::labels::selector::of_series;
use scraped_engine::labels::{Labels, is_legacy_label_name};
use std::fmt::Write as _;
use std::iter::once;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

const TITLE: &str = "cost";
const DAY_S: f64 = 86_400.0;
/// What is measured over less time says nothing of a day.
const LEAST_SPAN: Duration = Duration::from_secs(60);
/// Bytes of one table; labels may be long.
const MAX_TABLE_BYTES: usize = 14_000;
/// A longer selector makes no link, and a longer rule is not offered.
const MAX_LINKED_BYTES: usize = 2000;
/// Bytes of a value.
const MAX_VALUE_BYTES: usize = 200;

/// `/cost`.
pub(in crate::web) fn cost(state: &WebState, _: &Request) -> Reply {
    let site = Arc::clone(&state.site);
    let started = ago(ms(state.running.started()));
    let prices = Prices::read(&Figures::read(state), &state.remote.endpoints(), &started);
    if let Some(costs) = state.costs.fresh() {
        return Reply::Now(page(&site, TITLE, once(shown(&site, &costs, &prices))));
    }
    let now_ms = ms(SystemTime::now());
    let latest = state.costs.clone();
    let outcome = state.queries.ask(Instant::now() + TIMEOUT, move |history, bounds| {
        let costs = Arc::new(measure(history, now_ms, bounds)?);
        latest.keep(&costs);
        Ok(costs)
    });
    Reply::later_or(outcome, lost, move |outcome| match outcome {
        Ok(answer) => page(&site, TITLE, once(shown(&site, &answer.found, &prices))),
        Err(error) => refused(&site, &error),
    })
}

fn refused(site: &Site, error: &QueryError) -> Response {
    let sentence = match error {
        QueryError::History(HistoryError::TooManySeries { .. }) => {
            format!("There are more than {MAX_SERIES} series: too many to be measured here.")
        }
        error => error.to_string(),
    };
    let mut response = page(site, TITLE, once(format!("<p class=down>{}</p>", escape(&sentence))));
    response.status = status_of(error).0;
    response
}

/// From what was measured to a day.
struct Scale<'a> {
    per_day: Option<f64>,
    prices: &'a Prices,
    weight: u64,
    knows_new: bool,
}

impl Scale<'_> {
    fn samples(&self, sum: Sum) -> String {
        self.per_day.map_or_else(|| UNKNOWN.to_owned(), |per_day| count(sum.weight as f64 * per_day))
    }

    fn bytes(&self, sum: Sum, price: Option<f64>) -> String {
        let n_bytes = self.per_day.zip(price).map(|(per_day, price)| sum.weight as f64 * per_day * price);
        n_bytes.map_or_else(|| UNKNOWN.to_owned(), bytes)
    }

    fn new_series(&self, sum: Sum) -> String {
        if self.knows_new { sum.n_new.to_string() } else { UNKNOWN.to_owned() }
    }

    fn share(&self, sum: Sum) -> String {
        format!("{:.1} %", sum.weight as f64 * 100.0 / self.weight.max(1) as f64)
    }
}

/// Stands where there is no figure; the basis says why.
const UNKNOWN: &str = "—";

fn shown(site: &Site, costs: &Costs, prices: &Prices) -> String {
    if costs.sum.weight == 0 {
        return "<p>Nothing can be measured yet: the log has no sample of the last two hours.</p>".to_owned();
    }
    let per_day = (costs.span >= LEAST_SPAN).then(|| DAY_S / costs.span.as_secs_f64());
    let scale = Scale { per_day, prices, weight: costs.sum.weight, knows_new: costs.knows_new };
    let mut out = String::from("<dl class=figures>");
    for (name, text) in [
        ("Samples a day", scale.samples(costs.sum)),
        ("On disk a day", scale.bytes(costs.sum, prices.disk)),
        ("On the wire a day", scale.bytes(costs.sum, prices.wire)),
        ("Series now", costs.sum.n_series.to_string()),
        ("Series that are new in the last hour", scale.new_series(costs.sum)),
    ] {
        out.push_str(&figure(name, &text));
    }
    out.push_str("</dl>");
    write_basis(&mut out, costs, prices);
    for (kind, title, order) in [
        (Kind::Job, "Jobs", "the 20 that cost most"),
        (Kind::Metric, "Metrics", "the 20 that cost most"),
        (Kind::Label, "Labels", "the 20 with most values"),
        (Kind::LabelValue, "Label values", "the 20 that cost most"),
    ] {
        let _ = write!(out, "<h2>{title} <small>{order}</small></h2>");
        write_table(&mut out, site, kind, &costs.costs, &scale);
    }
    out
}

/// How the figures were worked out.
fn write_basis(out: &mut String, costs: &Costs, prices: &Prices) {
    let _ = write!(
        out,
        "<p><small>Measured over {}: {} samples of the log were counted{}, {} s ago in {:.2} s. A native histogram counts as \
         several. {}{}{} Rules do not see <code>up</code> and the <code>scrape_…</code> series, which stay.</small></p>",
        coarse(costs.span),
        costs.n_samples,
        if costs.is_cut { " (there are more, which would have taken too long to read)" } else { "" },
        costs.at.elapsed().as_secs(),
        costs.took.as_secs_f64(),
        if costs.span < LEAST_SPAN { "A day is worked out of a minute or more. " } else { "" },
        prices.basis.join(" "),
        match costs.knows_new {
            true => "",
            false => " Which series are new is known when the log reaches back for more than an hour.",
        },
    );
    if costs.n_uncounted > 0 {
        let _ = write!(
            out,
            "<p>{} labels found no room to be counted: some label has a value of its own in every series.</p>",
            costs.n_uncounted
        );
    }
}

fn write_table(out: &mut String, site: &Site, kind: Kind, costs: &[Cost], scale: &Scale<'_>) {
    let (first, last) = match kind {
        Kind::Job => ("Job", "<th>"),
        Kind::Metric => ("Metric", "<th>Rule"),
        Kind::Label => ("Label", "<th>Values"),
        Kind::LabelValue => ("Label", "<th>Rule"),
    };
    let _ = write!(
        out,
        "<table class=costs><thead><tr><th>{first}<th>Share<th>Series now<th>New<th>Samples a day<th>On disk a day\
         <th>On the wire a day{last}</tr></thead><tbody>"
    );
    let end = out.len() + MAX_TABLE_BYTES;
    for cost in costs.iter().filter(|cost| cost.kind == kind) {
        let (share, sum) = (scale.share(cost.sum), cost.sum);
        let last = match kind {
            Kind::Job => "<td>".to_owned(),
            Kind::Label => format!("<td data-label=Values>{}", cost.n_values),
            Kind::Metric | Kind::LabelValue => format!("<td>{}", rule(cost, &share)),
        };
        let row = format!(
            "<tr><td>{}<td data-label=Share>{share}<td data-label=\"Series now\">{}<td data-label=New>{}\
             <td data-label=\"Samples a day\">{}<td data-label=\"On disk a day\">{}<td data-label=\"On the wire a day\">{}\
             {last}</tr>\n",
            link(site, cost),
            sum.n_series,
            scale.new_series(sum),
            scale.samples(sum),
            scale.bytes(sum, scale.prices.disk),
            scale.bytes(sum, scale.prices.wire),
        );
        if out.len() + row.len() > end {
            break;
        }
        out.push_str(&row);
    }
    out.push_str("</tbody></table>");
}

/// The way to its series.
fn link(site: &Site, cost: &Cost) -> String {
    let (name, value) = (cut(&cost.name, MAX_VALUE_BYTES), cut(&cost.value, MAX_VALUE_BYTES));
    let (text, expr) = match cost.kind {
        Kind::Job | Kind::Metric => (value, of_series(&labels_of(cost))),
        Kind::LabelValue => (format!("{name}={}", Quoted(&value)), of_series(&labels_of(cost))),
        Kind::Label => (name, with_label(&cost.name)),
    };
    match expr.len() <= MAX_LINKED_BYTES {
        true => {
            format!("<a href=\"{}{}\">{}</a>", escape(site.base()), escape(&link_to(&expr)), escape(&text))
        }
        false => escape(&text),
    }
}

fn labels_of(cost: &Cost) -> Labels {
    Labels::from_pairs([(cost.name.as_str(), cost.value.as_str())])
}

/// The selector of all series with a label.
fn with_label(name: &str) -> String {
    match is_legacy_label_name(name) {
        true => format!("{{{name}!=\"\"}}"),
        false => format!("{{{}!=\"\"}}", Quoted(name)),
    }
}

/// The rule that drops it, to be opened and copied.
fn rule(cost: &Cost, share: &str) -> String {
    match drop_rule(&cost.name, &cost.value).filter(|rule| rule.len() <= MAX_LINKED_BYTES) {
        Some(rule) => {
            format!("<details><summary>saves {share}</summary><pre>{}</pre></details>", escape(&rule))
        }
        None => String::new(),
    }
}

/// A number for people.
fn count(n: f64) -> String {
    match n {
        n if n >= 1e9 => format!("{:.1} G", n / 1e9),
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e4 => format!("{:.0} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}
