//! Targets and their labels as files and `static_configs` spell them.

use crate::config::text::fields::Field;
use scraped_engine::labels::Labels;

/// Whether targets of `static_configs` may be anything, since relabelling makes addresses of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum TargetSpelling {
    /// No relabel rules: a target must be an address.
    Address,
    /// Rules will see to it.
    Anything,
}

/// A mapping of label names to texts; every UTF-8 name but the empty one is good.
pub(in crate::config) fn read_labels(field: &Field<'_>) -> Labels {
    let mut pairs = Vec::new();
    for (name, value) in field.entries() {
        if name.is_empty() {
            value.mistake(format!("{name:?} is not a valid label name"));
        }
        if let Some(text) = value.text() {
            pairs.push((name, text));
        }
    }
    Labels::from_pairs(pairs)
}
