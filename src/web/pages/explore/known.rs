//! What the log knows by name, for the browser to complete and for the page to list: metrics, and labels with their values.

use crate::query::Found;
use crate::query::error::QueryError;
use crate::web::pages::explore::narrowing::{MAX_VALUE_BYTES, MAX_VALUES, narrowed};
use scraped_engine::history::{Bounds, History};
use scraped_engine::labels::METRIC_NAME;

/// Labels whose values are offered.
const MAX_LABELS: usize = 8;

/// Those that every target has come first.
const FIRST: [&str; 2] = ["job", "instance"];

/// Names, in order, and selectors of one label and one value.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) names: Vec<String>,
    pub(super) selectors: Vec<String>,
}

impl Known {
    /// Looks through all series that the log knows.
    ///
    /// # Errors
    /// Those of [`History::label_values`].
    pub(super) fn of(history: &History, bounds: &Bounds) -> Result<Self, QueryError> {
        let labels = history.label_names(&[], bounds)?;
        let others = labels.iter().map(String::as_str).filter(|label| !FIRST.contains(label));
        let others = others.filter(|label| *label != METRIC_NAME);
        let there = FIRST.into_iter().filter(|first| labels.iter().any(|label| label == first));
        let offered: Vec<&str> =
            [METRIC_NAME].into_iter().chain(there.chain(others).take(MAX_LABELS)).collect();
        let mut values = history.label_values(&offered, &[], bounds)?.into_iter();
        let names = values.next().unwrap_or_default();
        let mut selectors = Vec::new();
        for (label, values) in offered.iter().skip(1).zip(values) {
            let short = values.iter().filter(|value| value.len() <= MAX_VALUE_BYTES);
            selectors.extend(short.take(MAX_VALUES).map(|value| narrowed("{}", label, value)));
        }
        Ok(Self { names, selectors })
    }
}

impl Found for Known {
    fn memory_bytes(&self) -> usize {
        let texts = self.names.iter().chain(&self.selectors);
        texts.map(|text| text.len() + size_of::<String>()).sum()
    }
}
