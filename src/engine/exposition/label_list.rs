//! Labels that are not borrowed from a page: one allocation for all texts, which is used again.

use std::ops::Range;

/// A list as long as a page does not stay in memory.
const KEPT_BYTES: usize = 4 * 1024;

/// Names and values in an order. Names may repeat.
#[derive(Clone, Debug, Default)]
pub struct LabelList {
    /// Names and values, one behind the other.
    texts: String,
    /// Where each name and its value stand in `texts`.
    labels: Vec<(Range<usize>, Range<usize>)>,
}

impl PartialEq for LabelList {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl LabelList {
    /// No label; keeps the memory.
    pub fn clear(&mut self) {
        self.texts.clear();
        self.texts.shrink_to(KEPT_BYTES);
        self.labels.clear();
        self.labels.shrink_to(KEPT_BYTES / size_of::<(Range<usize>, Range<usize>)>());
    }

    /// Adds a label behind the others.
    pub fn push(&mut self, name: &str, value: &str) {
        let mut push = |text: &str| {
            let start = self.texts.len();
            self.texts.push_str(text);
            start..self.texts.len()
        };
        let label = (push(name), push(value));
        self.labels.push(label);
    }

    /// Puts the labels in the order of their names, as they are stored; of the same name the first stays first.
    pub fn sort(&mut self) {
        let Self { texts, labels } = self;
        labels.sort_unstable_by_key(|(name, _)| (text_at(texts, name), name.start));
    }

    /// The labels in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.labels.iter().map(|(name, value)| (text_at(&self.texts, name), text_at(&self.texts, value)))
    }
}

fn text_at<'texts>(texts: &'texts str, range: &Range<usize>) -> &'texts str {
    texts.get(range.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::LabelList;

    #[test]
    fn labels_come_back_in_order() {
        let mut list = LabelList::default();
        for _ in 0..2 {
            list.clear();
            list.push("trace_id", "a");
            list.push("é", "ü");
            list.push("empty", "");
            list.push("trace_id", "b");
            let labels: Vec<_> = list.iter().collect();
            assert_eq!(labels, [("trace_id", "a"), ("é", "ü"), ("empty", ""), ("trace_id", "b")]);
            list.sort();
            let labels: Vec<_> = list.iter().collect();
            assert_eq!(labels, [("empty", ""), ("trace_id", "a"), ("trace_id", "b"), ("é", "ü")]);
        }
    }
}
