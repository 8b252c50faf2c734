//! Relabelling: rules over a [`LabelsBuilder`], as Prometheus' `model/relabel/relabel.go` does them.

use crate::labels::builder::LabelsBuilder;

/// What relabelling puts together on the way; part of a [`LabelsBuilder`].
#[derive(Clone, Debug, Default)]
pub(in crate::labels) struct Scratch {}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Prometheus' action names")]
pub enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

/// A rule as written, with Prometheus' defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelabelConfig {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// Between the joined values; default `;`.
    pub separator: String,
    /// Unanchored text of the pattern; default `(.*)`.
    pub regex: String,
    /// For `hashmod`; 0 when not given.
    pub modulus: u64,
    /// Label to write.
    pub target_label: String,
    /// Template with `$1`, `${name}`; default `$1`.
    pub replacement: String,
    /// Default `replace`.
    pub action: Action,
}

/// A checked rule with its compiled pattern.
#[derive(Clone, Debug)]
pub struct RelabelRule {
    config: RelabelConfig,
}

impl RelabelRule {
    /// Checks and compiles; the error is Prometheus' sentence (`Config.Validate`).
    pub fn new(config: RelabelConfig) -> Result<Self, String> {
        Ok(Self { config })
    }

    /// The rule as written.
    pub fn config(&self) -> &RelabelConfig {
        &self.config
    }
}

impl PartialEq for RelabelRule {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
    }
}

/// Whether a label set outlived its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on.
    Keep,
    /// Dropped by the rule with this index.
    Drop {
        /// Index in the list of rules.
        rule_idx: usize,
    },
}

/// Applies `rules` in order; stops at the rule that drops.
pub fn relabel(labels: &mut LabelsBuilder, rules: &[RelabelRule]) -> Verdict {
    let _ = (labels, rules);
    todo!("labels helper")
}
