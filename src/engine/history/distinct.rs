//! Label names, and the values of a label: each once, from the table of series.

use crate::history::bounds::Bounds;
use crate::history::error::HistoryError;
use crate::history::matching::visit_matching;
use crate::labels::selector::Selector;
use crate::wal::head::LogReader;
use foldhash::fast::RandomState;
use std::collections::{BTreeSet, HashSet};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'a> {
    Names,
    ValuesOf(&'a str),
}

/// In order. Without a selector, of all series.
pub(super) fn distinct(
    log: &LogReader,
    selectors: &[Selector],
    bounds: &Bounds,
    wanted: Wanted<'_>,
) -> Result<Vec<String>, HistoryError> {
    let mut texts = BTreeSet::new();
    // By their numbers in the table, which are cheaper to compare; they are of one edition.
    let mut numbers: HashSet<u32, RandomState> = HashSet::default();
    let mut edition = None;
    visit_matching(log, selectors, bounds, &mut |_, labels| {
        if edition.replace(labels.edition()) != Some(labels.edition()) {
            numbers.clear();
        }
        for label in labels.numbered() {
            let number = match wanted {
                Wanted::Names => label.name,
                Wanted::ValuesOf(_) => label.value,
            };
            match wanted {
                Wanted::Names if numbers.insert(number) => drop(texts.insert(label.name_text().to_owned())),
                Wanted::ValuesOf(name) if label.name_text() == name => {
                    if numbers.insert(number) {
                        texts.insert(label.value_text().to_owned());
                    }
                    break;
                }
                _ => {}
            }
        }
        match texts.len() > bounds.max_series {
            true => Err(HistoryError::TooManyTexts { limit: bounds.max_series }),
            false => Ok(()),
        }
    })?;
    Ok(texts.into_iter().collect())
}
