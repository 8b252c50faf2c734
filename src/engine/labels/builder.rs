//! A label set being changed: scratch space that a worker reuses for every series.
//!
//! All text lies in one arena and the labels are sorted ranges of it, so a builder that has seen its largest label
//! set once allocates nothing any more. One thread owns it.

use crate::labels::relabel::Scratch;
use crate::labels::{Labels, hash_pairs, write_pairs};
use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

/// The arena is packed again when it holds more dead text than live text and this many bytes: far above what a few
/// rules leave behind, so packing is rare.
const DEAD_TEXT_SLACK_BYTES: usize = 16 * 1024;

/// Text memory that a builder keeps when it is cleared. A page may hold one label of a hundred megabytes; its worker
/// lives on.
pub(in crate::labels) const TEXT_KEPT_BYTES: usize = 256 * 1024;

/// Labels whose entries a builder keeps room for when it is cleared.
const ENTRIES_KEPT: usize = 4096;

/// A mutable label set; an empty value means the label is absent.
#[derive(Clone, Default)]
pub struct LabelsBuilder {
    /// Names and values of `entries`, and dead text between them.
    text: String,
    /// In order of name, none with an empty value.
    entries: Vec<Entry>,
    /// Bytes of `text` that `entries` name.
    live_bytes: usize,
    /// What relabelling puts together; kept here so that it is allocated once a builder.
    pub(in crate::labels) scratch: Scratch,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The name starts here and the value may stand anywhere behind.
    name_start: usize,
    name_len: usize,
    value_start: usize,
    value_len: usize,
}

impl Entry {
    fn name(&self) -> Range<usize> {
        self.name_start..self.name_start + self.name_len
    }

    fn value(&self) -> Range<usize> {
        self.value_start..self.value_start + self.value_len
    }
}

impl LabelsBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes everything and keeps the memory, except what only a monstrous label set needed.
    pub fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(TEXT_KEPT_BYTES);
        self.entries.clear();
        self.entries.shrink_to(ENTRIES_KEPT);
        self.live_bytes = 0;
    }

    /// Replaces the content with `labels`.
    pub fn reset(&mut self, labels: &Labels) {
        self.clear();
        for (name, value) in labels.iter() {
            self.push_entry(self.entries.len(), name, value);
        }
    }

    /// The value of `name`, or the empty string.
    pub fn get(&self, name: &str) -> &str {
        match self.find(name) {
            Ok(idx) => &self.text[self.entries[idx].value()],
            Err(_) => "",
        }
    }

    /// Sets `name`; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.find(name) {
            Ok(idx) if value.is_empty() => self.remove_entry(idx),
            Ok(idx) => self.replace_value(idx, value),
            Err(_) if value.is_empty() => {}
            Err(idx) => self.push_entry(idx, name, value),
        }
    }

    /// Adds a label that must not be there yet; false, and nothing changes, if `name` already has a value.
    ///
    /// An empty value is left out and counts as new.
    #[must_use]
    pub fn insert(&mut self, name: &str, value: &str) -> bool {
        match self.find(name) {
            Ok(_) => false,
            Err(_) if value.is_empty() => true,
            Err(idx) => {
                self.push_entry(idx, name, value);
                true
            }
        }
    }

    /// Takes in any number of labels in any order, beside those that are there: put in order once, so that each costs
    /// the same wherever its name belongs. Gives the first name, in order of names, that came twice.
    pub fn gather(&mut self, winner: Winner, fill: impl FnOnce(&mut Gather<'_>)) -> Option<String> {
        let mut gather = Gather { builder: self, is_in_order: true };
        fill(&mut gather);
        if gather.is_in_order { None } else { self.put_in_order(winner) }
    }

    fn put_in_order(&mut self, winner: Winner) -> Option<String> {
        let Self { text, entries, live_bytes, .. } = self;
        // Text is only ever added at the end, so of two labels of one name the later one has its name further back.
        let by_name = |a: &Entry, b: &Entry| text[a.name()].cmp(&text[b.name()]);
        entries.sort_unstable_by(|a, b| by_name(a, b).then(a.name_start.cmp(&b.name_start)));
        let mut repeated = None;
        entries.dedup_by(|later, kept| {
            let is_same = by_name(later, kept) == Ordering::Equal;
            if is_same {
                repeated.get_or_insert_with(|| text[kept.name()].to_owned());
                if winner == Winner::Last {
                    std::mem::swap(later, kept);
                }
                *live_bytes -= later.name_len + later.value_len;
            }
            is_same
        });
        repeated
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) {
        if let Ok(idx) = self.find(name) {
            self.remove_entry(idx);
        }
    }

    /// Keeps the labels whose name and value satisfy `keep`.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        let (text, live_bytes) = (&self.text, &mut self.live_bytes);
        self.entries.retain(|entry| {
            let kept = keep(&text[entry.name()], &text[entry.value()]);
            if !kept {
                *live_bytes -= entry.name_len + entry.value_len;
            }
            kept
        });
    }

    /// Pairs in order of name, none with an empty value.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (&self.text[entry.name()], &self.text[entry.value()]))
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without labels.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An owned copy.
    pub fn labels(&self) -> Labels {
        Labels(self.iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// [`Labels::hash`] of the content.
    pub fn hash(&self) -> u64 {
        hash_pairs(self.iter())
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        // Labels mostly come in order of name.
        match self.entries.last() {
            Some(last) if &self.text[last.name()] < name => Err(self.entries.len()),
            None => Err(0),
            Some(_) => self.entries.binary_search_by(|entry| self.text[entry.name()].cmp(name)),
        }
    }

    fn push_entry(&mut self, idx: usize, name: &str, value: &str) {
        self.pack_if_mostly_dead();
        let name_start = self.text.len();
        self.text.push_str(name);
        let value_start = self.text.len();
        self.text.push_str(value);
        let entry = Entry { name_start, name_len: name.len(), value_start, value_len: value.len() };
        self.entries.insert(idx, entry);
        self.live_bytes += name.len() + value.len();
    }

    fn replace_value(&mut self, idx: usize, value: &str) {
        self.live_bytes -= self.entries[idx].value_len;
        self.entries[idx].value_len = 0;
        self.pack_if_mostly_dead();
        self.entries[idx].value_start = self.text.len();
        self.entries[idx].value_len = value.len();
        self.text.push_str(value);
        self.live_bytes += value.len();
    }

    fn remove_entry(&mut self, idx: usize) {
        let entry = self.entries.remove(idx);
        self.live_bytes -= entry.name_len + entry.value_len;
    }

    fn pack_if_mostly_dead(&mut self) {
        if self.text.len() - self.live_bytes <= self.live_bytes + DEAD_TEXT_SLACK_BYTES {
            return;
        }
        let mut packed = String::with_capacity(self.text.len());
        for entry in &mut self.entries {
            let name_start = packed.len();
            packed.push_str(&self.text[entry.name()]);
            let value_start = packed.len();
            packed.push_str(&self.text[entry.value()]);
            (entry.name_start, entry.value_start) = (name_start, value_start);
        }
        self.text = packed;
    }
}

/// Which of several labels of one name stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Winner {
    /// The one that was there first.
    First,
    /// The one that came last.
    Last,
}

/// Labels on their way into a builder, of [`LabelsBuilder::gather`].
#[derive(Debug)]
pub struct Gather<'a> {
    builder: &'a mut LabelsBuilder,
    is_in_order: bool,
}

impl Gather<'_> {
    /// Takes in a label; one with an empty value is left out.
    pub fn push(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        let LabelsBuilder { text, entries, .. } = &*self.builder;
        // Labels mostly come in order of name.
        self.is_in_order &= entries.last().is_none_or(|last| &text[last.name()] < name);
        self.builder.push_entry(self.builder.entries.len(), name, value);
    }
}

impl PartialEq for LabelsBuilder {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for LabelsBuilder {}

impl fmt::Debug for LabelsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// As [`Labels`] prints.
impl fmt::Display for LabelsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_pairs(f, self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Op {
        Set(String, String),
        Insert(String, String),
        Remove(String),
        RetainLongerThan(usize),
        Gather(Winner, Vec<(String, String)>),
        Clear,
    }

    fn op() -> impl Strategy<Value = Op> {
        let name = || "[a-cä]{1,2}";
        let value = || prop_oneof![3 => "[x-zß]{0,3}", 1 => "[m]{2000,9000}"];
        prop_oneof![
            8 => (name(), value()).prop_map(|(name, value)| Op::Set(name, value)),
            3 => (name(), value()).prop_map(|(name, value)| Op::Insert(name, value)),
            3 => name().prop_map(Op::Remove),
            1 => (0usize..4).prop_map(Op::RetainLongerThan),
            3 => (any::<bool>(), proptest::collection::vec((name(), value()), 0..8)).prop_map(|(first, labels)| {
                Op::Gather(if first { Winner::First } else { Winner::Last }, labels)
            }),
            1 => Just(Op::Clear),
        ]
    }

    proptest! {
        #![proptest_config(crate::cases::cases(256))]

        /// A builder behaves as a sorted map without empty values, whatever is done to it.
        #[test]
        fn behaves_as_a_sorted_map(ops in proptest::collection::vec(op(), 0..60)) {
            let mut builder = LabelsBuilder::new();
            let mut model: BTreeMap<String, String> = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Set(name, value) => {
                        builder.set(&name, &value);
                        model.insert(name, value);
                    }
                    Op::Insert(name, value) => {
                        let is_new = !model.contains_key(&name);
                        prop_assert_eq!(builder.insert(&name, &value), is_new);
                        if is_new {
                            model.insert(name, value);
                        }
                    }
                    Op::Remove(name) => {
                        builder.remove(&name);
                        model.remove(&name);
                    }
                    Op::RetainLongerThan(len) => {
                        builder.retain(|_, value| value.len() > len);
                        model.retain(|_, value| value.len() > len);
                    }
                    Op::Gather(winner, labels) => {
                        let repeated = builder.gather(winner, |gather| {
                            labels.iter().for_each(|(name, value)| gather.push(name, value));
                        });
                        let mut first_repeated: Option<String> = None;
                        for (name, value) in labels.into_iter().filter(|(_, value)| !value.is_empty()) {
                            let is_new = !model.contains_key(&name);
                            if !is_new && first_repeated.as_ref().is_none_or(|it| name < *it) {
                                first_repeated = Some(name.clone());
                            }
                            if is_new || winner == Winner::Last {
                                model.insert(name, value);
                            }
                        }
                        prop_assert_eq!(repeated, first_repeated);
                    }
                    Op::Clear => {
                        builder.clear();
                        model.clear();
                    }
                }
                model.retain(|_, value| !value.is_empty());
                prop_assert!(builder.iter().eq(model.iter().map(|(name, value)| (&**name, &**value))));
                prop_assert_eq!(builder.len(), model.len());
                for name in ["a", "b", "cc", "ä", "zz"] {
                    prop_assert_eq!(builder.get(name), model.get(name).map_or("", |value| value));
                }
            }
            let labels = Labels::from_pairs(model);
            prop_assert_eq!(builder.labels(), labels.clone());
            prop_assert_eq!(builder.hash(), labels.hash());
            let mut again = LabelsBuilder::new();
            again.set("left", "over");
            again.reset(&labels);
            prop_assert_eq!(&again, &builder);
        }
    }

    #[test]
    fn the_memory_of_a_monster_is_given_back() {
        let mut builder = LabelsBuilder::new();
        builder.set("huge", &"v".repeat(8 * 1024 * 1024));
        for idx in 0..10_000 {
            builder.set(&format!("name_{idx}"), "v");
        }
        builder.clear();
        assert!(builder.text.capacity() <= TEXT_KEPT_BYTES && builder.entries.capacity() <= ENTRIES_KEPT);
    }

    #[test]
    fn dead_text_does_not_pile_up() {
        let mut builder = LabelsBuilder::new();
        let value = "v".repeat(1000);
        builder.set("kept", "k");
        for idx in 0..10_000 {
            builder.set("a", &value[idx % 10..]);
        }
        assert_eq!((builder.get("kept"), builder.get("a")), ("k", &value[9..]));
        assert!(builder.text.capacity() < 100_000, "{}", builder.text.capacity());
    }
}
