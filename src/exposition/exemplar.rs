//! An exemplar as a page has it; one is reused for all of a page.

use std::ops::Range;

/// An exemplar as long as a page does not stay in memory.
const KEPT_BYTES: usize = 4 * 1024;

/// One exemplar: an observation that stands for others, with labels of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplar {
    /// The observed value.
    pub value: f64,
    /// Its own timestamp in milliseconds.
    pub timestamp_ms: Option<i64>,
    /// Names and values, one behind the other.
    texts: String,
    /// Where each name and its value stand in `texts`.
    labels: Vec<(Range<usize>, Range<usize>)>,
}

impl Exemplar {
    /// Nothing; keeps the memory.
    pub fn clear(&mut self) {
        self.value = 0.0;
        self.timestamp_ms = None;
        self.texts.clear();
        self.texts.shrink_to(KEPT_BYTES);
        self.labels.clear();
        self.labels.shrink_to(KEPT_BYTES / size_of::<(Range<usize>, Range<usize>)>());
    }

    /// Adds a label behind the others.
    pub fn push_label(&mut self, name: &str, value: &str) {
        let mut push = |text: &str| {
            let start = self.texts.len();
            self.texts.push_str(text);
            start..self.texts.len()
        };
        let label = (push(name), push(value));
        self.labels.push(label);
    }

    /// Puts the labels in the order of their names, as they are stored; of the same name the first stays first.
    pub fn sort_labels(&mut self) {
        let Self { texts, labels, .. } = self;
        labels.sort_unstable_by_key(|(name, _)| (text_at(texts, name), name.start));
    }

    /// Its labels, in the order of the page until they are sorted. Names may repeat.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.labels.iter().map(|(name, value)| (text_at(&self.texts, name), text_at(&self.texts, value)))
    }
}

fn text_at<'texts>(texts: &'texts str, range: &Range<usize>) -> &'texts str {
    texts.get(range.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Exemplar;

    #[test]
    fn labels_come_back_in_order() {
        let mut exemplar = Exemplar::default();
        for _ in 0..2 {
            exemplar.clear();
            exemplar.push_label("trace_id", "a");
            exemplar.push_label("é", "ü");
            exemplar.push_label("empty", "");
            exemplar.push_label("trace_id", "b");
            let labels: Vec<_> = exemplar.labels().collect();
            assert_eq!(labels, [("trace_id", "a"), ("é", "ü"), ("empty", ""), ("trace_id", "b")]);
            exemplar.sort_labels();
            let labels: Vec<_> = exemplar.labels().collect();
            assert_eq!(labels, [("empty", ""), ("trace_id", "a"), ("trace_id", "b"), ("é", "ü")]);
        }
    }
}
