//! An exemplar as a page has it; one is reused for all of a page.

use crate::exposition::label_list::LabelList;

/// One exemplar: an observation that stands for others, with labels of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplar {
    /// The observed value.
    pub value: f64,
    /// Its own timestamp in milliseconds.
    pub timestamp_ms: Option<i64>,
    labels: LabelList,
}

impl Exemplar {
    /// Nothing; keeps the memory.
    pub fn clear(&mut self) {
        self.value = 0.0;
        self.timestamp_ms = None;
        self.labels.clear();
    }

    /// Adds a label behind the others.
    pub fn push_label(&mut self, name: &str, value: &str) {
        self.labels.push(name, value);
    }

    /// Puts the labels in the order of their names, as they are stored; of the same name the first stays first.
    pub fn sort_labels(&mut self) {
        self.labels.sort();
    }

    /// Its labels, in the order of the page until they are sorted. Names may repeat.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.labels.iter()
    }
}
