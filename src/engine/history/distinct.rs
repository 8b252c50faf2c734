//! Label names, and the values of labels: each once, from one walk over the table of series.

use crate::history::bounds::Bounds;
use crate::history::error::HistoryError;
use crate::history::matching::visit_matching;
use crate::labels::selector::Selector;
use crate::wal::head::LogReader;
use foldhash::fast::RandomState;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Label names of the series that match one of the selectors, or of all series without a selector; in order.
pub(super) fn names(
    log: &LogReader,
    selectors: &[Selector],
    bounds: &Bounds,
) -> Result<Vec<String>, HistoryError> {
    let mut names = Distinct::default();
    let mut edition = None;
    visit_matching(log, selectors, bounds, &mut |_, labels| {
        if edition.replace(labels.edition()) != Some(labels.edition()) {
            names.numbers.clear();
        }
        labels.numbered().for_each(|label| names.add(label.name, || label.name_text()));
        names.check(bounds)
    })?;
    Ok(names.in_order())
}

/// The same of the values of these labels, a list for each of them.
pub(super) fn values(
    log: &LogReader,
    of: &[&str],
    selectors: &[Selector],
    bounds: &Bounds,
) -> Result<Vec<Vec<String>>, HistoryError> {
    let mut values: Vec<Distinct> = of.iter().map(|_| Distinct::default()).collect();
    // Which of the labels a name is, by its number.
    let mut wanted: HashMap<u32, Option<usize>, RandomState> = HashMap::default();
    let mut edition = None;
    visit_matching(log, selectors, bounds, &mut |_, labels| {
        if edition.replace(labels.edition()) != Some(labels.edition()) {
            wanted.clear();
            values.iter_mut().for_each(|values| values.numbers.clear());
        }
        for label in labels.numbered() {
            let idx = *wanted
                .entry(label.name)
                .or_insert_with(|| of.iter().position(|name| *name == label.name_text()));
            if let Some(values) = idx.and_then(|idx| values.get_mut(idx)) {
                values.add(label.value, || label.value_text());
                values.check(bounds)?;
            }
        }
        Ok(())
    })?;
    Ok(values.into_iter().map(Distinct::in_order).collect())
}

/// Texts, each once.
#[derive(Default)]
struct Distinct {
    texts: BTreeSet<String>,
    /// Their numbers in the table, which are cheaper to compare; they are of one edition.
    numbers: HashSet<u32, RandomState>,
}

impl Distinct {
    fn add<'a>(&mut self, number: u32, text: impl FnOnce() -> &'a str) {
        if self.numbers.insert(number) {
            self.texts.insert(text().to_owned());
        }
    }

    fn check(&self, bounds: &Bounds) -> Result<(), HistoryError> {
        match self.texts.len() > bounds.max_series {
            true => Err(HistoryError::TooManyTexts { limit: bounds.max_series }),
            false => Ok(()),
        }
    }

    fn in_order(self) -> Vec<String> {
        self.texts.into_iter().collect()
    }
}
