//! Which series of the table match: a walk in short slices, so that no commit waits long.
//!
//! Patterns are looked at between two slices, once for each value of a label: under the lock there are only comparisons.

use crate::history::bounds::Bounds;
use crate::history::error::HistoryError;
use crate::labels::selector::{Matcher, Selector};
use crate::series::SeriesHandle;
use crate::series::table::{LabelPairs, NumberedLabel};
use crate::wal::head::LogReader;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::time::Instant;

/// Values of a label whose verdicts are remembered.
const MAX_REMEMBERED: usize = 1 << 16;

/// Text of values that is copied before the pattern is asked: copying is done under the lock.
const MAX_OPEN_BYTES: usize = 64 * 1024;

/// Whether a series matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    No,
    Yes,
    /// Some value was not compared with its pattern yet.
    Open,
}

/// A matcher, and what is known of the table by it. Numbers are of one edition of the table.
struct Condition<'a> {
    matcher: &'a Matcher,
    passes_without: bool,
    /// Number of the label's name.
    name: Option<u32>,
    /// By number of the value; `None` as long as it is one of `open`.
    verdicts: HashMap<u32, Option<bool>, RandomState>,
    /// Values that the pattern is to be compared with, and their bytes.
    open: Vec<(u32, Box<str>)>,
    open_bytes: usize,
}

/// The selectors of a question; a series that matches one of them matches.
struct Conditions<'a> {
    selectors: Vec<Vec<Condition<'a>>>,
    edition: Option<u32>,
}

/// All series that match one of the selectors.
pub(super) fn matching(
    log: &LogReader,
    selectors: &[Selector],
    bounds: &Bounds,
) -> Result<Vec<SeriesHandle>, HistoryError> {
    let mut found = Vec::new();
    visit_matching(log, selectors, bounds, &mut |handle, _| {
        found.push(handle);
        match found.len() > bounds.max_series {
            true => Err(HistoryError::TooManySeries { limit: bounds.max_series }),
            false => Ok(()),
        }
    })?;
    Ok(found)
}

/// Calls `visit` with each series that matches one of the selectors, or with every series if there is none, until it
/// fails. Runs under the head lock, in slices: `visit` only copies.
pub(super) fn visit_matching(
    log: &LogReader,
    selectors: &[Selector],
    bounds: &Bounds,
    visit: &mut dyn FnMut(SeriesHandle, LabelPairs<'_>) -> Result<(), HistoryError>,
) -> Result<(), HistoryError> {
    let mut conditions = Conditions::new(selectors);
    let mut first = Some(0);
    while let Some(slot) = first {
        let mut open = Vec::new();
        let mut visited = Ok(());
        first = log.visit_table(slot, |handle, labels| match conditions.verdict(&labels) {
            Verdict::Yes if visited.is_ok() => visited = visit(handle, labels),
            Verdict::Open => open.push(handle),
            Verdict::Yes | Verdict::No => {}
        });
        while visited.is_ok() && !open.is_empty() {
            conditions.compare_open(bounds.deadline)?;
            let again = std::mem::take(&mut open);
            log.visit_labels(&again, |idx, labels| {
                let Some((labels, handle)) = labels.zip(again.get(idx)) else { return };
                match conditions.verdict(&labels) {
                    Verdict::Yes if visited.is_ok() => visited = visit(*handle, labels),
                    Verdict::Open => open.push(*handle),
                    Verdict::Yes | Verdict::No => {}
                }
            });
        }
        visited?;
        if Instant::now() > bounds.deadline {
            return Err(HistoryError::TimedOut);
        }
    }
    Ok(())
}

impl<'a> Conditions<'a> {
    fn new(selectors: &'a [Selector]) -> Self {
        let conditions = |selector: &'a Selector| selector.matchers().iter().map(Condition::new).collect();
        Self { selectors: selectors.iter().map(conditions).collect(), edition: None }
    }

    fn verdict(&mut self, labels: &LabelPairs<'_>) -> Verdict {
        if self.edition != Some(labels.edition()) {
            // Numbers of another edition mean other texts.
            self.selectors.iter_mut().flatten().for_each(Condition::forget);
            self.edition = Some(labels.edition());
        }
        if self.selectors.is_empty() {
            return Verdict::Yes;
        }
        let mut of_any = Verdict::No;
        for conditions in &mut self.selectors {
            let mut of_all = Verdict::Yes;
            for condition in conditions {
                match condition.verdict(labels) {
                    Verdict::Yes => {}
                    Verdict::Open => of_all = Verdict::Open,
                    Verdict::No => {
                        of_all = Verdict::No;
                        break;
                    }
                }
            }
            match of_all {
                Verdict::Yes => return Verdict::Yes,
                Verdict::Open => of_any = Verdict::Open,
                Verdict::No => {}
            }
        }
        of_any
    }

    fn compare_open(&mut self, deadline: Instant) -> Result<(), HistoryError> {
        self.selectors.iter_mut().flatten().try_for_each(|condition| condition.compare_open(deadline))
    }
}

impl<'a> Condition<'a> {
    fn new(matcher: &'a Matcher) -> Self {
        Self {
            matcher,
            passes_without: matcher.passes(""),
            name: None,
            verdicts: HashMap::default(),
            open: Vec::new(),
            open_bytes: 0,
        }
    }

    fn forget(&mut self) {
        self.name = None;
        self.verdicts.clear();
        self.open.clear();
        self.open_bytes = 0;
    }

    fn verdict(&mut self, labels: &LabelPairs<'_>) -> Verdict {
        let wanted = self.matcher.name();
        let known = self.name;
        let label = labels.numbered().find(|label| match known {
            Some(number) => label.name == number,
            None => label.name_text() == wanted,
        });
        let passes = match label {
            None => self.passes_without,
            Some(label) => {
                self.name = Some(label.name);
                if !self.matcher.has_pattern() {
                    self.matcher.passes(label.value_text())
                } else {
                    match self.verdicts.get(&label.value) {
                        Some(Some(verdict)) => *verdict,
                        Some(None) => return Verdict::Open,
                        None => return self.leave_open(label),
                    }
                }
            }
        };
        if passes { Verdict::Yes } else { Verdict::No }
    }

    /// The pattern is asked later: now the head is locked.
    fn leave_open(&mut self, label: NumberedLabel<'_>) -> Verdict {
        // Without room for it, it comes again.
        if self.open_bytes < MAX_OPEN_BYTES {
            let value = label.value_text();
            self.open_bytes += value.len();
            self.open.push((label.value, value.into()));
            self.verdicts.insert(label.value, None);
        }
        Verdict::Open
    }

    fn compare_open(&mut self, deadline: Instant) -> Result<(), HistoryError> {
        self.open_bytes = 0;
        if self.verdicts.len() > MAX_REMEMBERED {
            self.verdicts.clear();
        }
        for (number, value) in std::mem::take(&mut self.open) {
            if self.matcher.is_too_costly(&value) {
                return Err(HistoryError::PatternTooCostly { name: self.matcher.name().to_owned() });
            }
            if Instant::now() > deadline {
                return Err(HistoryError::TimedOut);
            }
            self.verdicts.insert(number, Some(self.matcher.passes(&value)));
        }
        Ok(())
    }
}
