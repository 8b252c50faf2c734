//! The service discovery page: what discovery has found, what each relabel rule made of it, and what came out: a target, or
//! the rule that dropped it.

use crate::scrape::targets::status::PoolStatus;
use crate::scrape::targets::target::Discovered;
use crate::web::pages::filter::Filter;
use crate::web::pages::{cut, escape, page};
use crate::web::serve::http::{Request, Response};
use crate::web::state::WebState;
use crate::web::walk;
use scraped_engine::labels::Labels;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::labels::relabel::{RelabelConfig, RelabelRule, Verdict, relabel};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::iter::once;
use std::rc::Rc;
use std::sync::Arc;

/// Targets of one page: discovered labels may be many and long.
const PAGE_ROWS: usize = 16;

/// Labels that are shown of a set, and bytes of each value: what a list says may be of any size.
const MAX_LABELS: usize = 60;
const MAX_VALUE_BYTES: usize = 200;

const ACTIVE: &str = "active";
const DROPPED: &str = "dropped";

/// A target, or what was to be one.
struct Row {
    job: Rc<str>,
    pool: Arc<PoolStatus>,
    is_active: bool,
    idx: usize,
}

impl Row {
    fn discovered(&self) -> Option<&Discovered> {
        match self.is_active {
            true => self.pool.active.get(self.idx).map(|active| &active.discovered),
            false => self.pool.dropped.get(self.idx),
        }
    }

    /// Labels of its samples; `None` if relabelling dropped it.
    fn labels(&self) -> Option<&Labels> {
        self.pool.active.get(self.idx).filter(|_| self.is_active).map(|active| &active.target.labels)
    }
}

/// `/service-discovery`.
pub(in crate::web) fn discovery(state: &WebState, request: &Request) -> Response {
    let filter = Filter::of(request, &[ACTIVE, DROPPED]);
    let jobs = state.board.jobs();
    let mut content = filter.form(&jobs, "in a label");
    let jobs = filter.jobs(jobs);
    let rows = || rows(state, jobs.clone(), filter.clone());
    let n_rows = rows().count();
    content.push_str(&filter.steps(n_rows, n_rows, PAGE_ROWS));
    let mut open_job: Option<Rc<str>> = None;
    let shown = rows().skip(filter.from).take(PAGE_ROWS).map(move |row| {
        let head = match open_job.as_ref() == Some(&row.job) {
            true => String::new(),
            false => job_head(&row),
        };
        open_job = Some(Rc::clone(&row.job));
        head + &shown(&row)
    });
    page(&state.site, "service discovery", once(content).chain(shown))
}

fn rows(state: &WebState, jobs: Vec<String>, filter: Filter) -> impl Iterator<Item = Row> + use<> {
    walk::pools(&state.board, jobs).flat_map(move |(job, pool)| {
        let places = (0..pool.active.len()).map(|idx| (true, idx));
        let places = places.chain((0..pool.dropped.len()).map(|idx| (false, idx)));
        let filter = filter.clone();
        places
            .map(move |(is_active, idx)| Row {
                job: Rc::clone(&job),
                pool: Arc::clone(&pool),
                is_active,
                idx,
            })
            .filter(move |row| takes(&filter, row))
    })
}

fn takes(filter: &Filter, row: &Row) -> bool {
    let in_discovered =
        || row.discovered().is_some_and(|discovered| filter.is_in_labels(&discovered.labels()));
    filter.takes_state(if row.is_active { ACTIVE } else { DROPPED })
        && (filter.text.is_empty()
            || row.labels().is_some_and(|labels| filter.is_in_labels(labels))
            || in_discovered())
}

fn job_head(row: &Row) -> String {
    let (job, pool) = (escape(&row.job), &row.pool);
    let dropped = match (pool.dropped_count, pool.dropped.len()) {
        (0, _) => String::new(),
        (n, n_kept) if n == n_kept => format!(", {n} dropped"),
        (n, n_kept) => format!(", {n} dropped, {n_kept} of them kept (keep_dropped_targets)"),
    };
    format!("<h2 id=\"job-{job}\">{job} <small>{} active{dropped}</small></h2>\n", pool.active.len())
}

/// A target: closed, what it became; open, how.
fn shown(row: &Row) -> String {
    let Some(discovered) = row.discovered() else { return String::new() };
    let before = discovered.labels();
    let mut out = String::from("<details class=discovered><summary>");
    match row.labels() {
        Some(labels) => {
            let _ = write!(out, "<code>{}</code>", escape(&labels.to_string()));
        }
        None => {
            let address = escape(&cut(before.get("__address__"), MAX_VALUE_BYTES));
            let _ = write!(out, "<code>{address}</code> <b class=down>dropped</b>");
        }
    }
    let _ = write!(out, "</summary><h3>Discovered</h3>{}<h3>Rules</h3>", table(&before));
    out.push_str(&steps(&before, discovered.relabel_configs()));
    if let Some(labels) = row.labels() {
        let _ = write!(out, "<h3>Target</h3>{}", table(labels));
    }
    out.push_str("</details>\n");
    out
}

/// What each rule did. As the labels are shown: of an address with a password the rules see the rest.
fn steps(labels: &Labels, rules: &[RelabelRule]) -> String {
    if rules.is_empty() {
        return "<p>The job has no relabel_configs.</p>".to_owned();
    }
    let mut builder = LabelsBuilder::new();
    builder.reset(labels);
    let mut out = String::from("<ol>");
    for rule in rules {
        let before = labels_of(&builder);
        let verdict = relabel(&mut builder, std::slice::from_ref(rule));
        let _ = write!(out, "<li><code>{}</code> ", escape(&text_of(rule.config())));
        if verdict != Verdict::Keep {
            out.push_str("<b class=down>drops it</b>");
            break;
        }
        let action = rule.config().action.to_string();
        match action.starts_with("keep") || action.starts_with("drop") {
            true => out.push_str("keeps it"),
            false => out.push_str(&changes(&before, &labels_of(&builder))),
        }
    }
    out.push_str("</ol>");
    out
}

fn labels_of(builder: &LabelsBuilder) -> BTreeMap<String, String> {
    builder.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> String {
    let set = after.iter().filter(|(name, value)| before.get(*name) != Some(*value));
    let set = set.map(|(name, value)| {
        format!("<b>{}</b>=\"{}\"", escape(&cut(name, MAX_VALUE_BYTES)), escape(&cut(value, MAX_VALUE_BYTES)))
    });
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let gone = gone.map(|name| format!("<s>{}</s>", escape(&cut(name, MAX_VALUE_BYTES))));
    let changes: Vec<String> = set.chain(gone).take(MAX_LABELS).collect();
    if changes.is_empty() { "changes nothing".to_owned() } else { format!("&rarr; {}", changes.join(", ")) }
}

/// A rule in one line, without what is the default.
fn text_of(rule: &RelabelConfig) -> String {
    let mut parts = vec![format!("action: {}", rule.action)];
    if !rule.source_labels.is_empty() {
        parts.push(format!("source_labels: [{}]", rule.source_labels.join(", ")));
    }
    for (name, value, default) in [
        ("separator", &rule.separator, ";"),
        ("regex", &rule.regex, "(.*)"),
        ("target_label", &rule.target_label, ""),
        ("replacement", &rule.replacement, "$1"),
    ] {
        if &**value != default {
            parts.push(format!("{name}: {}", cut(value, MAX_VALUE_BYTES)));
        }
    }
    if rule.modulus != 0 {
        parts.push(format!("modulus: {}", rule.modulus));
    }
    parts.join(", ")
}

fn table(labels: &Labels) -> String {
    let mut out = String::from("<table class=labels><tbody>");
    let n_labels = labels.iter().count();
    for (name, value) in labels.iter().take(MAX_LABELS) {
        let _ = write!(
            out,
            "<tr><td>{}<td>{}</tr>",
            escape(&cut(name, MAX_VALUE_BYTES)),
            escape(&cut(value, MAX_VALUE_BYTES))
        );
    }
    if n_labels > MAX_LABELS {
        let _ = write!(out, "<tr><td colspan=2>and {} more</tr>", n_labels - MAX_LABELS);
    }
    out.push_str("</tbody></table>");
    out
}
