//! Targets as their sources name them, before any of them is relabelled.

use crate::config::discovery::Provenance;
use scraped_engine::labels::Labels;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Targets that came together from one source, with the labels they share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroup {
    /// Whose word it is; given by the kind of the provider, never by what the provider received.
    pub provenance: Provenance,
    /// Distinguishes groups of one provider: an index, or a file name and an index.
    pub source: String,
    /// Labels of each target; `__address__` at least.
    pub targets: Vec<Labels>,
    /// Labels that all of them share; a target's own win.
    pub labels: Labels,
}

/// Job name → its groups; jobs without targets are there with an empty list.
pub type TargetSets = BTreeMap<String, Vec<Arc<TargetGroup>>>;

/// The address of a target before relabelling.
pub(crate) const ADDRESS_LABEL: &str = "__address__";
