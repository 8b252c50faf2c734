//! `/federate`: the newest samples as a page that another Prometheus scrapes (`web/federate.go`).
//!
//! In text, where Prometheus too leaves out native histograms. A name that is not plain is quoted for who says that it
//! understands that, and written with underscores for everyone else.

use crate::query::Answer;
use crate::query::error::QueryError;
use crate::web::api::query::expressions::LOOKBACK_MS;
use crate::web::api::query::params::{self, BadParameter};
use crate::web::api::query::{LOST, status_of};
use crate::web::metrics::WebMetrics;
use crate::web::serve::http::{Request, Response};
use crate::web::serve::reply::Reply;
use crate::web::state::WebState;
use scraped_engine::float::{Layout, format_go};
use scraped_engine::history::{Bounds, History, SampleValue, SelectedSeries};
use scraped_engine::labels::selector::is_plain_metric_name;
use scraped_engine::labels::{Labels, METRIC_NAME, is_legacy_label_name};
use scraped_engine::sorting::{sort, sort_by};
use std::fmt::Write;
use std::sync::Arc;

/// What a client asks for that reads quoted names.
const QUOTED: &str = "escaping=allow-utf-8";

/// Added without a value if a series has none, so that the scraper's own is not put there.
const INSTANCE: &str = "instance";

/// Answers `/federate`.
pub(in crate::web) fn federate(state: &WebState, request: &Request) -> Reply {
    let matches = request.form_values("match[]");
    let page = Page {
        external: state.running.config().global.external_labels.clone(),
        is_quoted: request.accept.as_deref().is_some_and(|accept| accept.contains(QUOTED)),
    };
    if matches.is_empty() {
        return Reply::Now(page.of_pieces(std::iter::empty()));
    }
    let now_ms = params::now_ms();
    let work = move |history: &History, bounds: &Bounds| {
        let selectors = params::any_selectors(&matches).map_err(BadParameter)?;
        let mut found = history.newest(&selectors, now_ms - LOOKBACK_MS..=now_ms, bounds)?;
        found.retain(|series| series.samples.iter().any(|sample| !sample.value.is_stale()));
        // Families together; within one the order stays.
        sort_by(&mut found, |a, b| a.labels.get(METRIC_NAME).cmp(b.labels.get(METRIC_NAME)));
        Ok(found)
    };
    let outcome = state.queries.ask(params::deadline(), work);
    let metrics = Arc::clone(&state.metrics);
    Reply::later_or(
        outcome,
        || Response::text(500, format!("{LOST}\n")),
        move |outcome| match outcome {
            Ok(answer) => page.render(answer),
            Err(QueryError::BadParameter(why)) => Response::text(400, format!("{why}\n")),
            Err(error) => failed(&metrics, status_of(&error).0, &error.to_string()),
        },
    )
}

fn failed(metrics: &WebMetrics, status: u16, why: &str) -> Response {
    metrics.federation_errors.inc();
    Response::text(status, format!("{why}\n"))
}

/// How a page is written.
#[derive(Clone)]
struct Page {
    external: Labels,
    is_quoted: bool,
}

impl Page {
    fn render(&self, answer: Answer<Vec<SelectedSeries>>) -> Response {
        let Answer { found, counted } = answer;
        let page = self.clone();
        let mut last_name = String::new();
        let pieces = found.into_iter().map(move |series| {
            // Counted as long as there are pieces to come.
            let _ = &counted;
            let mut out = String::new();
            page.push_series(&series, &mut last_name, &mut out);
            out.into_bytes()
        });
        self.of_pieces(pieces)
    }

    fn of_pieces(&self, pieces: impl Iterator<Item = Vec<u8>> + 'static) -> Response {
        let content_type = match self.is_quoted {
            true => "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
            false => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
        };
        let mut pieces = pieces.filter(|piece| !piece.is_empty()).peekable();
        match pieces.peek() {
            Some(_) => Response::in_pieces(content_type, pieces),
            // An empty answer would have no type.
            None => Response::text(200, "").header("Content-Type", content_type),
        }
    }

    fn push_series(&self, series: &SelectedSeries, last_name: &mut String, out: &mut String) {
        let name = series.labels.get(METRIC_NAME);
        let floats = series.samples.iter().filter_map(|sample| match &sample.value {
            SampleValue::Float(value) => Some((sample.ts_ms, *value)),
            SampleValue::Histogram(_) => None,
        });
        for (ts_ms, value) in floats.filter(|_| !name.is_empty()) {
            if name != last_name {
                out.push_str("# TYPE ");
                self.push_name(name, is_plain_metric_name(name), out);
                out.push_str(" untyped\n");
                name.clone_into(last_name);
            }
            self.push_labels(name, &series.labels, out);
            out.push(' ');
            // Both zeros are one there.
            format_go(value + 0.0, Layout::General, out);
            // Writing to memory does not fail.
            let _ = writeln!(out, " {ts_ms}");
        }
    }

    /// Name and labels, those of the configuration that the series has not got behind its own.
    fn push_labels(&self, name: &str, labels: &Labels, out: &mut String) {
        let is_inside = self.is_quoted && !is_plain_metric_name(name);
        if !is_inside {
            self.push_name(name, true, out);
        }
        out.push('{');
        if is_inside {
            self.push_name(name, false, out);
        }
        let own = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let instance = (self.external.get(INSTANCE).is_empty()).then_some((INSTANCE, ""));
        let mut added: Vec<(&str, &str)> = self.external.iter().chain(instance).collect();
        added.retain(|(name, _)| labels.get(name).is_empty());
        sort(&mut added);
        for (idx, (name, value)) in own.chain(added).enumerate() {
            if idx > 0 || is_inside {
                out.push(',');
            }
            self.push_name(name, is_legacy_label_name(name), out);
            out.push_str("=\"");
            push_escaped(value, out);
            out.push('"');
        }
        out.push('}');
    }

    /// A name, quoted or with underscores unless it `is_plain`.
    fn push_name(&self, name: &str, is_plain: bool, out: &mut String) {
        if self.is_quoted && !is_plain {
            out.push('"');
            push_escaped(name, out);
            out.push('"');
            return;
        }
        let is_kept = |idx: usize, c: char| {
            c.is_ascii_alphabetic() || matches!(c, '_' | ':') || (idx > 0 && c.is_ascii_digit())
        };
        out.extend(name.chars().enumerate().map(|(idx, c)| if is_kept(idx, c) { c } else { '_' }));
    }
}

fn push_escaped(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}
