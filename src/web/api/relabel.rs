//! `/api/v1/targets/relabel_steps`: what each rule of a job makes of a target's labels (`web/api/v1/api.go:
//! targetRelabelSteps`).

use crate::config::Config;
use crate::web::api::json::{as_pairs, failure, json_bytes, json_in_pieces, no_such_pool, with_commas};
use crate::web::serve::http::{Request, Response};
use crate::web::state::WebState;
use scraped_engine::labels::Labels;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::labels::relabel::{RelabelConfig, Verdict, relabel};
use serde::Serialize;
use std::collections::BTreeMap;
use std::iter::once;
use std::sync::Arc;

#[derive(Serialize)]
struct Step<'a> {
    rule: Rule<'a>,
    #[serde(serialize_with = "as_pairs")]
    output: &'a [(&'a str, &'a str)],
    keep: bool,
}

/// `model/relabel: Config`.
#[derive(Serialize)]
struct Rule<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    source_labels: &'a [String],
    separator: &'a str,
    regex: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    modulus: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    target_label: &'a str,
    replacement: &'a str,
    action: String,
}

impl<'a> Rule<'a> {
    fn of(config: &'a RelabelConfig) -> Self {
        Self {
            source_labels: &config.source_labels,
            separator: &config.separator,
            regex: &config.regex,
            modulus: Some(config.modulus).filter(|modulus| *modulus != 0),
            target_label: &config.target_label,
            replacement: &config.replacement,
            action: config.action.to_string(),
        }
    }
}

/// Answers `/api/v1/targets/relabel_steps`.
pub(in crate::web) fn steps(state: &WebState, request: &Request) -> Response {
    let job_name = request.form_value("scrapePool");
    if job_name.is_empty() {
        return failure(400, "bad_data", "no scrapePool parameter provided");
    }
    let labels = request.form_value("labels");
    if labels.is_empty() {
        return failure(400, "bad_data", "no labels parameter provided");
    }
    let labels: BTreeMap<String, String> = match serde_json::from_str(&labels) {
        Ok(labels) => labels,
        Err(why) => return failure(400, "bad_data", &format!("error parsing labels: {why}")),
    };
    let config = state.running.config();
    match config.scrape_configs.iter().position(|job| job.job_name == job_name) {
        Some(job_idx) => one_by_one(config, job_idx, &Labels::from_pairs(labels)),
        None => no_such_pool(&job_name),
    }
}

/// One rule a piece.
fn one_by_one(config: Arc<Config>, job_idx: usize, labels: &Labels) -> Response {
    let mut builder = LabelsBuilder::new();
    builder.reset(labels);
    let (mut rule_idx, mut keep) = (0, true);
    let steps = std::iter::from_fn(move || {
        let rule = config.scrape_configs.get(job_idx)?.relabel_configs.get(rule_idx)?;
        rule_idx += 1;
        keep = keep && relabel(&mut builder, std::slice::from_ref(rule)) == Verdict::Keep;
        let output: Vec<(&str, &str)> = if keep { builder.iter().collect() } else { Vec::new() };
        Some(json_bytes(&Step { rule: Rule::of(rule.config()), output: &output, keep }))
    });
    let start = once(br#"{"status":"success","data":{"steps":["#.to_vec());
    json_in_pieces(start.chain(with_commas(steps)).chain(once(b"]}}".to_vec())))
}
