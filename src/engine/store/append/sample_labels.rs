//! From the labels in a page to the labels of a series: target labels, `honor_labels`, `metric_relabel_configs`.
//!
//! Runs only for series that a target's cache does not know. Follows Prometheus' `mutateSampleLabels` and the checks
//! behind it (`scrape/scrape.go`, `tsdb/agent/db.go`).

use crate::exposition::parser::Parser;
use crate::exposition::series_text::LabelScratch;
use crate::labels::builder::{LabelsBuilder, Winner};
use crate::labels::relabel::{Verdict, relabel};
use crate::labels::{Labels, METRIC_NAME};
use crate::store::append::label_check::{
    LongValues, check_limits, has_valid_names, max_labels, too_many_labels,
};
use crate::store::error::PageError;
use crate::store::rules::PageRules;
use std::collections::BTreeMap;

/// Put before an exposed label whose name a target label takes.
const EXPORTED_LABEL_PREFIX: &str = "exported_";

/// An error shows no more of a series than this.
const MAX_SHOWN_BYTES: usize = 240;

/// Memory for the labels of one series.
#[derive(Debug, Default)]
pub struct SampleLabels {
    /// The result of [`SampleLabels::build`].
    pub builder: LabelsBuilder,
    texts: LabelScratch,
    /// Labels that stand there without a value.
    empty_names: Vec<String>,
    long_values: LongValues,
}

/// What becomes of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampled {
    /// It is stored under the builder's labels.
    Kept,
    /// `metric_relabel_configs` drop it.
    Dropped,
}

impl SampleLabels {
    /// Puts the labels of the sample that `parser` read last in the builder.
    ///
    /// # Errors
    /// No series may have these labels: the whole page is refused.
    pub fn build(&mut self, parser: &Parser<'_>, rules: &PageRules<'_>) -> Result<Sampled, PageError> {
        let Self { builder, texts, empty_names, long_values } = self;
        let target_labels = rules.target_labels;
        builder.clear();
        empty_names.clear();
        long_values.clear();
        // A rule may look at all of a value, and take it away. What is a target's label too may be another's in the end.
        let limits = &rules.label_limits;
        let may_cut = |name: &str| {
            rules.metric_relabel_configs.is_empty()
                && name != METRIC_NAME
                && target_labels.get(name).is_empty()
        };
        let max_labels = max_labels(&rules.label_limits);
        let mut n_labels = 0;
        let mut visited = Ok(());
        let repeated_name = builder.gather(Winner::First, |gather| {
            visited = parser.visit_labels(texts, |name, value| {
                // What is more than any series may have is only counted.
                n_labels += 1;
                if n_labels > max_labels {
                    return;
                }
                if value.is_empty() {
                    empty_names.push(name.to_owned());
                } else if may_cut(name) {
                    gather.push(name, long_values.start_of(name, value, limits));
                } else {
                    gather.push(name, value);
                }
            });
        });
        if visited.is_err() {
            return Err(PageError::InvalidLabels { labels: shown(parser.series_text()) });
        }
        if n_labels > max_labels {
            let n_labels = n_labels + target_labels.len();
            return Err(PageError::LabelLimit(too_many_labels(builder, n_labels, &rules.label_limits)));
        }
        // A label without a value is no label, also where it has one a second time.
        if !empty_names.is_empty() {
            empty_names.sort_unstable();
            builder.retain(|name, _| !is_among(empty_names, name));
        }

        if rules.honor_labels {
            builder.gather(Winner::First, |gather| {
                // An exposed label without a value takes the target's label away.
                target_labels
                    .iter()
                    .filter(|(name, _)| !is_among(empty_names, name))
                    .for_each(|(name, value)| gather.push(name, value));
            });
        } else {
            set_target_labels(builder, target_labels);
        }

        match relabel(builder, rules.metric_relabel_configs) {
            Verdict::Keep if !builder.is_empty() => {}
            Verdict::Keep | Verdict::Drop { .. } => return Ok(Sampled::Dropped),
            Verdict::TooCostly { rule_idx } => return Err(PageError::RegexCost { rule: rule_idx + 1 }),
        }
        if builder.get(METRIC_NAME).is_empty() {
            return Err(PageError::NameLabelMandatory);
        }
        if !has_valid_names(builder, rules.metric_name_validation_scheme) {
            return Err(PageError::InvalidLabels { labels: shown(builder.to_string().as_bytes()) });
        }
        check_limits(builder, &rules.label_limits, long_values).map_err(PageError::LabelLimit)?;
        match repeated_name {
            Some(name) if !builder.get(&name).is_empty() => {
                Err(PageError::DuplicateLabel { name: shown(name.as_bytes()) })
            }
            _ => Ok(Sampled::Kept),
        }
    }
}

/// The start of a text that a target made as long as it liked.
fn shown(text: &[u8]) -> String {
    match text.get(..MAX_SHOWN_BYTES) {
        Some(start) => format!("{}…", String::from_utf8_lossy(start)),
        None => String::from_utf8_lossy(text).into_owned(),
    }
}

fn is_among(sorted_names: &[String], name: &str) -> bool {
    sorted_names.binary_search_by(|it| it.as_str().cmp(name)).is_ok()
}

/// Target labels win; an exposed label of the same name moves to `exported_<name>`.
fn set_target_labels(builder: &mut LabelsBuilder, target_labels: &Labels) {
    let mut conflicting: Vec<(&str, String)> = Vec::new();
    for (name, _) in target_labels.iter() {
        let exposed = builder.get(name);
        if !exposed.is_empty() {
            conflicting.push((name, exposed.to_owned()));
        }
    }
    builder.gather(Winner::Last, |gather| {
        target_labels.iter().for_each(|(name, value)| gather.push(name, value));
    });
    if conflicting.is_empty() {
        return;
    }
    // The shortest name first, so that `a` and `exported_a` do not depend on their order.
    conflicting.sort_by_key(|(name, _)| name.len());
    let mut exported: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in conflicting {
        let mut exported_name = format!("{EXPORTED_LABEL_PREFIX}{name}");
        while !builder.get(&exported_name).is_empty() || exported.contains_key(&exported_name) {
            exported_name.insert_str(0, EXPORTED_LABEL_PREFIX);
        }
        exported.insert(exported_name, value);
    }
    builder.gather(Winner::Last, |gather| {
        exported.iter().for_each(|(name, value)| gather.push(name, value));
    });
}
