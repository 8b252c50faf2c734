//! A label set being changed: scratch space that a worker reuses for every series.

use crate::labels::Labels;

/// A mutable label set; an empty value means the label is absent.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes everything and keeps the memory.
    pub fn clear(&mut self) {
        todo!("labels helper")
    }

    /// Replaces the content with `labels`.
    pub fn reset(&mut self, labels: &Labels) {
        let _ = labels;
        todo!("labels helper")
    }

    /// The value of `name`, or the empty string.
    pub fn get(&self, name: &str) -> &str {
        let _ = name;
        todo!("labels helper")
    }

    /// Sets `name`; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) {
        let _ = (name, value);
        todo!("labels helper")
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) {
        let _ = name;
        todo!("labels helper")
    }

    /// Pairs in order of name, none with an empty value.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        todo!("labels helper")
    }

    /// True without labels.
    pub fn is_empty(&self) -> bool {
        todo!("labels helper")
    }

    /// An owned copy.
    pub fn labels(&self) -> Labels {
        todo!("labels helper")
    }
}
