//! What labels a series may have: names by `metric_name_validation_scheme`, number and lengths by the label limits.
//!
//! Runs for series that a target's cache does not know, on their labels as they would be stored, the target's own
//! among them. Follows `labels.IsValid` and `verifyLabelLimits` of Prometheus (`scrape/scrape.go`).

use crate::labels::METRIC_NAME;
use crate::labels::builder::LabelsBuilder;
use crate::labels::quote::Quoted;
use crate::labels::relabel::NameScheme;
use crate::store::rules::LabelLimits;
use std::fmt;

/// Errors show no more characters of a name or a value than this.
const MAX_SHOWN_CHARS: usize = 50;

/// Labels that a series may expose where `label_limit` does not allow more: what is beyond is counted and not stored,
/// also where relabelling would drop it.
const MAX_LABELS: usize = 10_000;

/// A limit that the labels of a series exceed; the words are Prometheus'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelLimitError {
    /// `label_limit`.
    Labels {
        /// The metric's name, cut.
        metric: String,
        /// Labels of the series.
        labels: usize,
        /// The limit.
        limit: u64,
    },
    /// The limit that holds without a `label_limit`.
    Unlimited {
        /// The metric's name, cut.
        metric: String,
        /// Labels of the series.
        labels: usize,
        /// The limit.
        limit: usize,
    },
    /// `label_name_length_limit`.
    NameLength {
        /// The metric's name, cut.
        metric: String,
        /// The label's name, cut.
        name: String,
        /// Its length in bytes.
        bytes: usize,
        /// The limit.
        limit: u64,
    },
    /// `label_value_length_limit`.
    ValueLength {
        /// The metric's name, cut.
        metric: String,
        /// The label's name, cut.
        name: String,
        /// Its value, cut.
        value: String,
        /// Length of the value in bytes.
        bytes: usize,
        /// The limit.
        limit: u64,
    },
}

impl LabelLimitError {
    /// The sentence without names and values.
    pub fn without_labels(&self) -> String {
        match self {
            Self::Labels { labels, limit, .. } => {
                format!("label_limit exceeded (number of labels: {labels}, limit: {limit})")
            }
            Self::Unlimited { labels, limit, .. } => {
                format!("too many labels (number of labels: {labels}, limit: {limit})")
            }
            Self::NameLength { bytes, limit, .. } => {
                format!("label_name_length_limit exceeded (length: {bytes}, limit: {limit})")
            }
            Self::ValueLength { bytes, limit, .. } => {
                format!("label_value_length_limit exceeded (length: {bytes}, limit: {limit})")
            }
        }
    }
}

impl fmt::Display for LabelLimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labels { metric, labels, limit } => {
                write!(
                    f,
                    "label_limit exceeded (metric: {metric}, number of labels: {labels}, limit: {limit})"
                )
            }
            Self::Unlimited { metric, labels, limit } => write!(
                f,
                "too many labels (metric: {metric}, number of labels: {labels}, limit where label_limit is not set: \
                 {limit})"
            ),
            Self::NameLength { metric, name, bytes, limit } => write!(
                f,
                "label_name_length_limit exceeded (metric: {metric}, label name: {name}, length: {bytes}, limit: {limit})"
            ),
            Self::ValueLength { metric, name, value, bytes, limit } => write!(
                f,
                "label_value_length_limit exceeded (metric: {metric}, label name: {name}, value: {}, length: {bytes}, \
                 limit: {limit})",
                Quoted(value)
            ),
        }
    }
}

/// Whether every name is one, and the metric's name too.
pub fn has_valid_names(labels: &LabelsBuilder, names: NameScheme) -> bool {
    labels
        .iter()
        .all(|(name, value)| names.allows(name) && (name != METRIC_NAME || names.allows_metric(value)))
}

/// How many labels of a series are looked at.
pub fn max_labels(limits: &LabelLimits) -> usize {
    usize::try_from(limits.labels).unwrap_or(usize::MAX).max(MAX_LABELS)
}

/// What is said of a series that exposes more than [`max_labels`]; `labels` has some of its labels.
pub fn too_many_labels(labels: &LabelsBuilder, n_labels: usize, limits: &LabelLimits) -> LabelLimitError {
    let metric = cut(labels.get(METRIC_NAME));
    match limits.labels {
        0 => LabelLimitError::Unlimited { metric, labels: n_labels, limit: MAX_LABELS },
        limit => LabelLimitError::Labels { metric, labels: n_labels, limit },
    }
}

/// Of a text that exceeds its limit this much is kept, or one byte more than the limit: more than is ever shown.
const KEPT_BYTES: usize = 256;

/// Values of which only the start is kept, since they exceed their limit anyway, by the names of their labels.
#[derive(Clone, Debug, Default)]
pub struct LongValues(Vec<(String, usize)>);

impl LongValues {
    /// Forgets them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What is to be kept of a value that no rule will look at: mostly the whole.
    pub fn start_of<'a>(&mut self, name: &str, value: &'a str, limits: &LabelLimits) -> &'a str {
        let limit_bytes = usize::try_from(limits.value_bytes).unwrap_or(usize::MAX);
        let max_bytes = limit_bytes.saturating_add(1).max(KEPT_BYTES);
        if limit_bytes == 0 || value.len() <= max_bytes {
            return value;
        }
        self.0.push((name.to_owned(), value.len()));
        let end = (max_bytes..=value.len()).find(|idx| value.is_char_boundary(*idx));
        &value[..end.unwrap_or(value.len())]
    }

    fn bytes_of(&self, name: &str, value: &str) -> usize {
        self.0.iter().find(|(long, _)| long == name).map_or(value.len(), |(_, bytes)| *bytes)
    }
}

/// Compares with the limits in Prometheus' order: the number of labels, then label by label name and value. `long_values`
/// are those of `labels` that were cut, of the page and not of the target.
///
/// # Errors
/// The first limit that is exceeded.
pub fn check_limits(
    labels: &LabelsBuilder,
    limits: &LabelLimits,
    long_values: &LongValues,
) -> Result<(), LabelLimitError> {
    let &LabelLimits { labels: max_labels, name_bytes, value_bytes } = limits;
    let metric = || cut(labels.get(METRIC_NAME));
    let exceeds = |len: usize, limit: u64| limit > 0 && len as u64 > limit;
    if exceeds(labels.len(), max_labels) {
        return Err(LabelLimitError::Labels { metric: metric(), labels: labels.len(), limit: max_labels });
    }
    if name_bytes == 0 && value_bytes == 0 {
        return Ok(());
    }
    for (name, value) in labels.iter() {
        if exceeds(name.len(), name_bytes) {
            return Err(LabelLimitError::NameLength {
                metric: metric(),
                name: cut(name),
                bytes: name.len(),
                limit: name_bytes,
            });
        }
        if exceeds(value.len(), value_bytes) {
            return Err(LabelLimitError::ValueLength {
                metric: metric(),
                name: cut(name),
                value: cut(value),
                bytes: long_values.bytes_of(name, value),
                limit: value_bytes,
            });
        }
    }
    Ok(())
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;

    fn builder(pairs: &[(&str, &str)]) -> LabelsBuilder {
        let mut builder = LabelsBuilder::new();
        builder.reset(&Labels::from_pairs(pairs.iter().copied()));
        builder
    }

    /// Limits on labels, names and values, and what is said about a series.
    fn check(pairs: &[(&str, &str)], limits: (u64, u64, u64), want: &str) {
        let limits = LabelLimits { labels: limits.0, name_bytes: limits.1, value_bytes: limits.2 };
        let got = check_limits(&builder(pairs), &limits, &LongValues::default())
            .map_or_else(|error| error.to_string(), |()| String::new());
        assert_eq!(got, want, "{limits:?}");
    }

    #[test]
    fn limits_are_compared_in_prometheus_order() {
        let series = [(METRIC_NAME, "a_total"), ("instance", "host:1"), ("job", "node"), ("x", "yyyyyyyyy")];
        check(&series, (0, 0, 0), "");
        check(&series, (4, 8, 9), "");
        check(&series, (2, 3, 1), "label_limit exceeded (metric: a_total, number of labels: 4, limit: 2)");
        check(
            &series,
            (0, 3, 1),
            "label_name_length_limit exceeded (metric: a_total, label name: __name__, length: 8, limit: 3)",
        );
        check(
            &series,
            (0, 8, 8),
            "label_value_length_limit exceeded (metric: a_total, label name: x, value: \"yyyyyyyyy\", length: 9, \
             limit: 8)",
        );
        // The value of an earlier label comes before the name of a later one.
        check(
            &[(METRIC_NAME, "long_name"), ("very_long_name", "x")],
            (0, 10, 5),
            "label_value_length_limit exceeded (metric: long_name, label name: __name__, value: \"long_name\", length: \
             9, limit: 5)",
        );
        // Lengths are bytes, what is shown is cut by characters.
        let long = "ü".repeat(60);
        let shown = "ü".repeat(50);
        check(
            &[(METRIC_NAME, &long)],
            (0, 0, 119),
            &format!(
                "label_value_length_limit exceeded (metric: {shown}, label name: __name__, value: \"{shown}\", length: \
                 120, limit: 119)"
            ),
        );
    }

    #[test]
    fn a_long_value_is_known_by_its_start_and_its_length() {
        let limits = LabelLimits { labels: 0, name_bytes: 0, value_bytes: 300 };
        let mut long_values = LongValues::default();
        let mut builder = LabelsBuilder::new();
        let long = "ü".repeat(1_000_000);
        for (name, value) in
            [(METRIC_NAME, "a"), ("fits", &long[..300]), ("one_more", &long[..302]), ("x", &long)]
        {
            let kept = long_values.start_of(name, value, &limits);
            assert!(kept.len() <= 303 && value.starts_with(kept), "{name}: {}", kept.len());
            builder.set(name, kept);
        }
        let error =
            |builder: &LabelsBuilder| check_limits(builder, &limits, &long_values).expect_err("too long");
        assert!(error(&builder).to_string().ends_with("length: 302, limit: 300)"), "{}", error(&builder));
        builder.remove("one_more");
        let shown = "ü".repeat(50);
        assert_eq!(
            error(&builder).to_string(),
            format!(
                "label_value_length_limit exceeded (metric: a, label name: x, value: \"{shown}\", length: 2000000, limit: \
                 300)"
            )
        );
        // Without a limit nothing is cut.
        assert_eq!(LongValues::default().start_of("x", &long, &LabelLimits::default()), long);
    }

    #[test]
    fn names_by_scheme() {
        let check = |pairs: &[(&str, &str)], want: (bool, bool)| {
            let labels = builder(pairs);
            let got =
                (has_valid_names(&labels, NameScheme::Utf8), has_valid_names(&labels, NameScheme::Legacy));
            assert_eq!(got, want, "{pairs:?}");
        };
        check(&[(METRIC_NAME, "a:b_1"), ("_x1", "ü")], (true, true));
        check(&[(METRIC_NAME, "a.b")], (true, false));
        check(&[(METRIC_NAME, "1a")], (true, false));
        check(&[(METRIC_NAME, "a"), ("a:b", "c")], (true, false));
        check(&[(METRIC_NAME, "a"), ("a.b", "c")], (true, false));
        check(&[(METRIC_NAME, "a"), ("", "c")], (false, false));
    }
}
