//! `/api/v1/status/self_metrics`: the metrics of `/metrics` as JSON, as protobuf's `MetricFamily` is written in it
//! (`web/api/v1/api.go: selfMetrics`).

use crate::web::api::json::{failure, json_bytes, json_in_pieces, with_commas};
use crate::web::serve::http::{Request, Response};
use crate::web::state::WebState;
use scraped_engine::exposition::Entry;
use scraped_engine::exposition::recall::NoRecall;
use scraped_engine::exposition::series_text::{LabelScratch, visit_labels};
use scraped_engine::exposition::text::TextParser;
use scraped_engine::labels::pattern::Pattern;
use scraped_engine::metric_type::MetricType;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::iter::once;

/// Families of the page with one name each, their samples in order.
#[derive(Serialize)]
struct Family {
    name: String,
    help: String,
    r#type: &'static str,
    metric: Vec<Metric>,
}

#[derive(Serialize)]
struct Metric {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    label: Vec<Label>,
    /// Under the name of its type.
    #[serde(flatten)]
    value: Map<String, Value>,
}

#[derive(Serialize, PartialEq, Eq)]
struct Label {
    name: String,
    value: String,
}

/// Answers `/api/v1/status/self_metrics`, a module's families a piece.
pub(in crate::web) fn families(state: &WebState, request: &Request) -> Response {
    let pattern = match request.form_value("metric_name_pattern").as_str() {
        "" => None,
        text => match Pattern::new(text) {
            Ok(pattern) => Some(pattern),
            Err(why) => return failure(400, "bad_data", &format!("invalid metric_name_pattern: {why}")),
        },
    };
    let families = state.registry.pieces().flat_map(move |page| {
        let mut families = families_of(&page);
        families.retain(|family| pattern.as_ref().is_none_or(|pattern| pattern.is_match(&family.name)));
        families.into_iter().map(|family| json_bytes(&family))
    });
    let start = once(br#"{"status":"success","data":["#.to_vec());
    json_in_pieces(start.chain(with_commas(families)).chain(once(b"]}".to_vec())))
}

/// The families of a page that was written by [`scraped_engine::metrics::page::Page`].
fn families_of(page: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    let mut parser = TextParser::new(page.as_bytes());
    let mut scratch = LabelScratch::default();
    let mut help = String::new();
    loop {
        let entry = parser.next(&mut NoRecall);
        match entry.unwrap_or_else(|why| panic!("BUG: cannot read the own metrics: {why}")) {
            None => return families,
            Some(Entry::Help { text, .. }) => help = text.replace("\\n", "\n").replace("\\\\", "\\"),
            Some(Entry::Type { name, metric_type }) => families.push(Family {
                name: String::from_utf8_lossy(name).into_owned(),
                help: std::mem::take(&mut help),
                r#type: type_name(metric_type),
                metric: Vec::new(),
            }),
            Some(Entry::Series { value, .. }) => {
                let Some(family) = families.last_mut() else { continue };
                let mut labels: Vec<Label> = Vec::new();
                let text = parser.series_text();
                // The type decides how `le` is spelled; here it stays as it is.
                let visited = visit_labels(text, MetricType::Unknown, &mut scratch, |name, value| {
                    labels.push(Label { name: name.to_owned(), value: value.to_owned() });
                });
                if visited.is_ok() {
                    family.add(labels, value);
                }
            }
            Some(_) => {}
        }
    }
}

/// As the enumeration has it.
fn type_name(metric_type: MetricType) -> &'static str {
    match metric_type {
        MetricType::Counter => "COUNTER",
        MetricType::Gauge => "GAUGE",
        MetricType::Histogram => "HISTOGRAM",
        MetricType::Summary => "SUMMARY",
        _ => "UNTYPED",
    }
}

impl Family {
    /// Adds a sample; the first label is the name. Buckets and quantiles go to the metric that they are of.
    fn add(&mut self, mut labels: Vec<Label>, value: f64) {
        let name = if labels.is_empty() { String::new() } else { labels.remove(0).value };
        let field = match self.r#type {
            "COUNTER" => "counter",
            "GAUGE" => "gauge",
            "HISTOGRAM" => "histogram",
            "SUMMARY" => "summary",
            _ => "untyped",
        };
        let bound_idx = labels.iter().position(|label| matches!(label.name.as_str(), "le" | "quantile"));
        let bound = match field {
            "histogram" | "summary" => bound_idx.map(|idx| labels.remove(idx).value),
            _ => None,
        };
        let is_known = self.metric.last().is_some_and(|metric| metric.label == labels);
        if !is_known || !matches!(field, "histogram" | "summary") {
            self.metric
                .push(Metric { label: labels, value: Map::from_iter([(field.to_owned(), json!({}))]) });
        }
        let Some(Value::Object(metric)) = self.metric.last_mut().and_then(|it| it.value.get_mut(field))
        else {
            return;
        };
        let mut add_to = |list: &str, item: Value| {
            if let Value::Array(items) = metric.entry(list).or_insert_with(|| json!([])) {
                items.push(item);
            }
        };
        match (bound.as_deref(), name.strip_prefix(&self.name).unwrap_or_default()) {
            // Implied.
            (Some("+Inf"), _) => {}
            (Some(le), "_bucket") => add_to(
                "bucket",
                json!({"cumulativeCount": count(value), "upperBound": double(le.parse().unwrap_or(f64::NAN))}),
            ),
            (Some(quantile), _) => add_to(
                "quantile",
                json!({"quantile": double(quantile.parse().unwrap_or(f64::NAN)), "value": double(value)}),
            ),
            (None, "_count") if field != "gauge" => {
                drop(metric.insert("sampleCount".to_owned(), count(value)))
            }
            (None, "_sum") if field != "gauge" => drop(metric.insert("sampleSum".to_owned(), double(value))),
            (None, _) => drop(metric.insert("value".to_owned(), double(value))),
        }
    }
}

/// 64-bit integers are texts there.
fn count(value: f64) -> Value {
    Value::String((value as u64).to_string())
}

/// What JSON has no number for is a text there.
fn double(value: f64) -> Value {
    match value {
        value if value.is_finite() => json!(value),
        value if value.is_nan() => json!("NaN"),
        value if value > 0.0 => json!("Infinity"),
        _ => json!("-Infinity"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_as_protobuf_writes_it() {
        let page = "# HELP c_total A \\\\ and\\nb.\n# TYPE c_total counter\nc_total{a=\"x\"} 2\nc_total{a=\"y\"} 3\n\
                    # HELP g G.\n# TYPE g gauge\ng -Inf\n\
                    # HELP h H.\n# TYPE h histogram\nh_bucket{a=\"x\",le=\"0.5\"} 1\nh_bucket{a=\"x\",le=\"+Inf\"} 2\n\
                    h_sum{a=\"x\"} 7.5\nh_count{a=\"x\"} 2\n\
                    # HELP s S.\n# TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 0\ns_count 0\n";
        let label = |value: &str| json!([{"name": "a", "value": value}]);
        let want = json!([
            {"name": "c_total", "help": "A \\ and\nb.", "type": "COUNTER", "metric": [
                {"label": label("x"), "counter": {"value": 2.0}},
                {"label": label("y"), "counter": {"value": 3.0}},
            ]},
            {"name": "g", "help": "G.", "type": "GAUGE", "metric": [{"gauge": {"value": "-Infinity"}}]},
            {"name": "h", "help": "H.", "type": "HISTOGRAM", "metric": [{"label": label("x"), "histogram": {
                "bucket": [{"cumulativeCount": "1", "upperBound": 0.5}], "sampleCount": "2", "sampleSum": 7.5,
            }}]},
            {"name": "s", "help": "S.", "type": "SUMMARY", "metric": [{"summary": {
                "quantile": [{"quantile": 0.5, "value": "NaN"}], "sampleCount": "0", "sampleSum": 0.0,
            }}]},
        ]);
        assert_eq!(serde_json::to_value(families_of(page)).unwrap(), want);
    }
}
