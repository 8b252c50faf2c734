//! Label sets: the owned kind for people and targets, and the scratch kind that relabelling works on.
//!
//! A leaf: it knows no configuration file, no series and no metrics.

pub mod builder;
pub mod packed;
pub mod relabel;
pub mod symbols;

/// Name of the label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// A label set sorted by name, without empty values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Vec<(Box<str>, Box<str>)>);

impl Labels {
    /// Sorts and keeps the last value of a repeated name; pairs with an empty value are left out.
    pub fn from_pairs<N: Into<Box<str>>, V: Into<Box<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let _ = pairs;
        todo!("labels helper")
    }

    /// The value of `name`, or the empty string.
    pub fn get(&self, name: &str) -> &str {
        let _ = name;
        todo!("labels helper")
    }

    /// Pairs in order of name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Prometheus' `labels.Labels.Hash`: xxhash64 over name, 0xff, value, 0xff (`model/labels/labels_slicelabels.go`).
    pub fn hash(&self) -> u64 {
        todo!("labels helper")
    }
}
