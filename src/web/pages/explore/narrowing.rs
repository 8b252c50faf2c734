//! How a selector can be made narrower: labels that differ among the series it finds, and their values.

use scraped_engine::labels::quote::Quoted;
use scraped_engine::labels::{Labels, METRIC_NAME, is_legacy_label_name};
use std::collections::{BTreeMap, BTreeSet};

/// Labels that are offered.
const MAX_LABELS: usize = 8;
/// Values of each label that are offered, and looked at.
pub(super) const MAX_VALUES: usize = 12;
/// A longer value is typed, not pressed.
pub(super) const MAX_VALUE_BYTES: usize = 80;

/// A label and some of its values.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Narrowing {
    pub(super) name: String,
    /// In order.
    pub(super) values: Vec<String>,
    /// Whether there are more of them.
    pub(super) has_more: bool,
}

/// The labels by which these series differ.
pub(super) fn narrowings<'a>(label_sets: impl Iterator<Item = &'a Labels>) -> Vec<Narrowing> {
    let mut values_of: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    let mut n_series = 0;
    for labels in label_sets {
        n_series += 1;
        for (name, value) in labels.iter() {
            let (n, values) = values_of.entry(name).or_default();
            *n += 1;
            if values.len() <= MAX_VALUES && value.len() <= MAX_VALUE_BYTES {
                values.insert(value);
            }
        }
    }
    let differing = values_of.into_iter().filter(|(_, (n, values))| values.len() > 1 || *n < n_series);
    let narrowing = |(name, (_, values)): (&str, (usize, BTreeSet<&str>))| Narrowing {
        name: name.to_owned(),
        has_more: values.len() > MAX_VALUES,
        values: values.into_iter().take(MAX_VALUES).map(str::to_owned).collect(),
    };
    differing.map(narrowing).filter(|it| !it.values.is_empty()).take(MAX_LABELS).collect()
}

/// A selector with one condition more; `expr` is one.
pub(super) fn narrowed(expr: &str, name: &str, value: &str) -> String {
    if name == METRIC_NAME && !expr.ends_with('}') {
        return expr.to_owned();
    }
    let name = if is_legacy_label_name(name) { name.to_owned() } else { Quoted(name).to_string() };
    let matcher = format!("{name}={}", Quoted(value));
    match expr.strip_suffix('}').map(str::trim_end) {
        None => format!("{expr}{{{matcher}}}"),
        Some(open) if open.ends_with(['{', ',']) => format!("{open}{matcher}}}"),
        Some(open) => format!("{open},{matcher}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scraped_engine::labels::selector::parser::parse_selector;

    #[test]
    fn only_labels_that_differ_are_offered() {
        let sets = [
            Labels::from_pairs([("__name__", "a"), ("job", "x"), ("zone", "b")]),
            Labels::from_pairs([("__name__", "a"), ("job", "y"), ("zone", "b")]),
            Labels::from_pairs([("__name__", "a"), ("job", "y"), ("zone", "b"), ("rack", "1")]),
        ];
        let found = narrowings(sets.iter());
        let found: Vec<(&str, String)> =
            found.iter().map(|it| (it.name.as_str(), it.values.join(" "))).collect();
        assert_eq!(found, [("job", "x y".to_owned()), ("rack", "1".to_owned())]);
        let many: Vec<Labels> = (0..50).map(|idx| Labels::from_pairs([("a", idx.to_string())])).collect();
        let found = narrowings(many.iter());
        assert!(found.len() == 1 && found[0].has_more && found[0].values.len() == MAX_VALUES, "{found:?}");
    }

    #[test]
    fn a_selector_takes_one_condition_more() {
        let check = |expr: &str, name: &str, value: &str, want: &str| {
            let got = narrowed(expr, name, value);
            assert_eq!(got, want);
            parse_selector(&got).unwrap();
        };
        check("up", "job", "a", "up{job=\"a\"}");
        check("up{}", "job", "a", "up{job=\"a\"}");
        check("up{a=\"b\", }", "job", "a}\"", "up{a=\"b\",job=\"a}\\\"\"}");
        check("{job=~\"a.*\"}", "with.dot", "<b>", "{job=~\"a.*\",\"with.dot\"=\"<b>\"}");
    }
}
