//! An exemplar as a page has it; one is reused for all of a page.

/// One exemplar: an observation that stands for others, with labels of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplar {
    /// The observed value.
    pub value: f64,
    /// Its own timestamp in milliseconds.
    pub timestamp_ms: Option<i64>,
    /// Names and values, one behind the other.
    texts: String,
    /// End of each name and each value in `texts`.
    ends: Vec<usize>,
}

impl Exemplar {
    /// Nothing; keeps the memory.
    pub fn clear(&mut self) {
        self.value = 0.0;
        self.timestamp_ms = None;
        self.texts.clear();
        self.ends.clear();
    }

    /// Adds a label behind the others.
    pub fn push_label(&mut self, name: &str, value: &str) {
        for text in [name, value] {
            self.texts.push_str(text);
            self.ends.push(self.texts.len());
        }
    }

    /// Its labels in the order of the page.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = |from: usize, to: usize| self.texts.get(from..to).unwrap_or_default();
        let mut start = 0;
        self.ends.chunks_exact(2).map(move |ends| {
            let (name_end, value_end) = (ends[0], ends[1]);
            let label = (text(start, name_end), text(name_end, value_end));
            start = value_end;
            label
        })
    }
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
            exemplar.push_label("empty", "");
            exemplar.push_label("é", "ü");
            let labels: Vec<_> = exemplar.labels().collect();
            assert_eq!(labels, [("trace_id", "a"), ("empty", ""), ("é", "ü")]);
        }
    }
}
