//! What an endpoint sees of a series: its labels with the external ones, after `write_relabel_configs`.
//!
//! Without rules nothing is kept. With rules the verdict is remembered in four bytes a series, and only the labels
//! of series that the rules change are kept. A verdict belongs to a handle: when a ref gets another series, it is made
//! again.

use std::iter::Peekable;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::encode::known::LabelKey;
use crate::encode::{FamilyMetadata, RequestWriter};
use crate::labels::Labels;
use crate::labels::builder::LabelsBuilder;
use crate::labels::relabel::{RelabelRule, Verdict, relabel};
use crate::series::table::{LabelPairs, NumberedLabel};
use crate::series::{SeriesHandle, SeriesRef};
use crate::wal::head::LogReader;

/// Labels that rules made, by ref: those of the series that has it now.
type Changed = HashMap<SeriesRef, (SeriesHandle, Arc<Labels>), foldhash::fast::FixedState>;

/// The rules of an endpoint and what they said.
#[derive(Debug)]
pub struct SeriesLabels {
    external_labels: Labels,
    rules: Vec<RelabelRule>,
    changed: Mutex<Changed>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Known {
    #[default]
    Nothing,
    Kept,
    Dropped,
}

/// The watcher's side: verdicts by ref.
#[derive(Debug, Default)]
pub struct Verdicts {
    known: Vec<(u16, Known)>,
    labels: LabelsBuilder,
}

impl SeriesLabels {
    /// The labels and rules of an endpoint.
    pub fn new(external_labels: Labels, rules: Vec<RelabelRule>) -> Self {
        Self { external_labels, rules, changed: Mutex::default() }
    }

    /// Whether the endpoint wants a series, if that is known without a look at its labels.
    pub fn known(&self, verdicts: &Verdicts, handle: SeriesHandle) -> Option<bool> {
        if self.rules.is_empty() {
            return Some(true);
        }
        let (generation, known) = *verdicts.known.get(handle.series_ref.0.get() as usize - 1)?;
        (generation == handle.generation && known != Known::Nothing).then_some(known != Known::Dropped)
    }

    /// Whether the endpoint wants a series.
    pub fn wants(&self, log: &LogReader, verdicts: &mut Verdicts, handle: SeriesHandle) -> bool {
        if let Some(is_wanted) = self.known(verdicts, handle) {
            return is_wanted;
        }
        let idx = handle.series_ref.0.get() as usize - 1;
        if verdicts.known.len() <= idx {
            verdicts.known.resize(idx + 1, (0, Known::Nothing));
        }
        let labels = &mut verdicts.labels;
        let mut is_live = false;
        log.visit_labels(&[handle], |_, pairs| {
            labels.clear();
            is_live = pairs.is_some();
            merge(pairs.into_iter().flatten(), self.external_labels.iter(), |name, value| {
                labels.set(name, value);
            });
        });
        if !is_live {
            // It is found to be gone when it is sent.
            return true;
        }
        let known = self.judge(labels, handle);
        if let Some(slot) = verdicts.known.get_mut(idx) {
            *slot = (handle.generation, known);
        }
        known != Known::Dropped
    }

    fn judge(&self, labels: &mut LabelsBuilder, handle: SeriesHandle) -> Known {
        let before = labels.labels();
        #[cfg(any(test, feature = "faults"))]
        before.iter().for_each(|(_, value)| crate::threads::fault::strike_at("rule", value.as_bytes()));
        let verdict = relabel(labels, &self.rules);
        let mut changed = self.changed.lock();
        changed.remove(&handle.series_ref);
        if verdict != Verdict::Keep || labels.is_empty() {
            return Known::Dropped;
        }
        if !labels.iter().eq(before.iter()) {
            changed.insert(handle.series_ref, (handle, Arc::new(labels.labels())));
        }
        Known::Kept
    }

    /// Writes labels and metadata of each series in turn, then calls `samples`, which writes its samples and ends it; calls
    /// `gone` for a series that the log has forgotten. Series with the same name come one after the other: what they
    /// have in common is packed better, and they come in no order that means anything anyway.
    pub fn write(
        &self,
        log: &LogReader,
        handles: &[SeriesHandle],
        writer: &mut RequestWriter,
        mut samples: impl FnMut(usize, &mut RequestWriter),
        mut gone: impl FnMut(usize),
    ) {
        let mut order: Vec<(u64, usize)> = Vec::with_capacity(handles.len());
        log.visit_labels(handles, |idx, pairs| order.push((pairs.map_or(0, |it| likeness(&it)), idx)));
        // Those of one host mostly are in order, as they came: a stable sort merges such runs.
        order.sort_by_key(|(likeness, _)| *likeness);
        let ordered: Vec<SeriesHandle> =
            order.iter().filter_map(|(_, idx)| handles.get(*idx).copied()).collect();
        // Taken out first: no two locks are held at once.
        let changed: Vec<Option<Arc<Labels>>> = if self.rules.is_empty() {
            Vec::new()
        } else {
            let changed = self.changed.lock();
            let labels_of = |handle: &SeriesHandle| {
                let (of, labels) = changed.get(&handle.series_ref)?;
                (of == handle).then(|| Arc::clone(labels))
            };
            ordered.iter().map(labels_of).collect()
        };
        log.visit_series(&ordered, |at, series| {
            let idx = order.get(at).map_or(at, |(_, idx)| *idx);
            let Some(series) = series else { return gone(idx) };
            match changed.get(at).and_then(Option::as_ref) {
                Some(labels) => labels.iter().for_each(|(name, value)| writer.label(name, value)),
                None => self.write_labels(&series.labels, writer),
            }
            if let Some((metric_type, unit, help)) = series.metadata() {
                writer.metadata(FamilyMetadata { kind: metric_type.number(), help, unit });
            }
            samples(idx, writer);
        });
    }

    fn write_labels(&self, pairs: &LabelPairs<'_>, writer: &mut RequestWriter) {
        let edition = pairs.edition();
        let mut write = |source: Source<'_>| writer.numbered_label(edition, source.key(), || source.texts());
        if self.external_labels.is_empty() {
            return pairs.numbered().for_each(|label| write(Source::Own(label)));
        }
        let own = pairs.numbered().map(|label| (label.name_text(), Source::Own(label)));
        let external = (0..)
            .zip(self.external_labels.iter())
            .map(|(idx, (name, value))| (name, Source::External { idx, name, value }));
        merge(own, external, |_, source| write(source));
    }
}

/// Where a label comes from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Own(NumberedLabel<'a>),
    External { idx: u32, name: &'a str, value: &'a str },
}

impl<'a> Source<'a> {
    fn key(self) -> LabelKey {
        match self {
            Source::Own(label) => LabelKey { name: label.name, value: label.value },
            // No text of the table has this number.
            Source::External { idx, .. } => LabelKey { name: u32::MAX, value: idx },
        }
    }

    fn texts(self) -> (&'a str, &'a str) {
        match self {
            Source::Own(label) => (label.name_text(), label.value_text()),
            Source::External { name, value, .. } => (name, value),
        }
    }
}

/// Equal for series that have their name and the next two values in common, and in order of name.
fn likeness(pairs: &LabelPairs<'_>) -> u64 {
    let mut values = pairs.numbered().map(|label| u64::from(label.value));
    let mut next = || values.next().unwrap_or_default();
    next() << 32 | (next() & 0xffff) << 16 | next() & 0xffff
}

/// Both in order of name; a series' own label wins.
fn merge<'a, V>(
    own: impl Iterator<Item = (&'a str, V)>,
    external: impl Iterator<Item = (&'a str, V)>,
    mut push: impl FnMut(&'a str, V),
) {
    let mut own: Peekable<_> = own.peekable();
    let mut external = external.peekable();
    loop {
        let is_own = match (own.peek(), external.peek()) {
            (Some((name, _)), Some((other, _))) => name <= other,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return,
        };
        let next = if is_own { own.next() } else { external.next() };
        let Some((name, value)) = next else { return };
        if is_own {
            external.next_if(|(other, _)| *other == name);
        }
        push(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::merge;

    #[test]
    fn external_labels_fill_in_and_never_replace() {
        let check = |own: &[(&str, &str)], external: &[(&str, &str)], want: &str| {
            let mut got = String::new();
            merge(own.iter().copied(), external.iter().copied(), |name, value| {
                got.push_str(&format!("{name}={value} "));
            });
            assert_eq!(got.trim_end(), want);
        };
        check(&[("a", "1"), ("c", "2")], &[("b", "x"), ("c", "y"), ("d", "z")], "a=1 b=x c=2 d=z");
        check(&[], &[("a", "x")], "a=x");
        check(&[("b", "1")], &[], "b=1");
        check(&[("b", "1")], &[("a", "x"), ("b", "y")], "a=x b=1");
        check(&[], &[], "");
    }
}
