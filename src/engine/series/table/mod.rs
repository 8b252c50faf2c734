//! `SeriesTable`: label set → ref, ref → series. Slots in chunks, a hash index of slot numbers, labels as symbols.
//!
//! About 66 bytes a series of nine labels, from a hundred thousand to a million, with everything counted. Nothing in it grows by doubling at once: not
//! the slots, not the labels, and the index a shard at a time. Touched under the head's lock only; knows no file.

use crate::labels::Labels;
use crate::labels::builder::LabelsBuilder;
use crate::labels::index::NumberIndex;
use crate::labels::packed;
use crate::labels::packed::Pairs;
use crate::labels::symbols::{Symbol, SymbolTable, fold};
use crate::metric_type::MetricType;
use crate::series::annotations::{Annotations, LatestExemplar, Metadata};
use crate::series::slots::Slots;
use crate::series::table::compaction::Moving;
use crate::series::{SeriesHandle, SeriesRef};
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU32;

/// With this much text of new series it is counted what the table takes.
const COUNT_EVERY_BYTES: usize = 1 << 20;

/// Scratch larger than this is given back: a label set of a hundred thousand labels comes once.
const SCRATCH_KEPT_BYTES: usize = 64 * 1024;

/// What the head knows of one series beside its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesState {
    /// Timestamp of the newest sample in milliseconds; `i64::MIN` when there is none or the order check starts again.
    pub last_ts_ms: i64,
    /// Segment of the newest sample; 0 is also "none yet" (see `logged`).
    pub last_segment: u32,
    /// Segment that holds the series record, plus one; 0: not in the WAL yet. A checkpoint N counts as N.
    pub logged: u32,
}

/// All active series.
#[derive(Debug, Default)]
pub struct SeriesTable {
    slots: Slots,
    /// Slot numbers by hash of the labels.
    index: NumberIndex,
    symbols: SymbolTable,
    /// How often the symbols got other numbers.
    edition: u32,
    /// The symbols before them, while labels are moved from there.
    moving: Option<Moving>,
    annotations: Annotations,
    /// Seeded per process: targets choose the labels.
    hash_state: RandomState,
    /// Scratch for the labels of a series being made.
    pairs: Vec<u8>,
    /// Text of removed series since the symbols were last looked through: at least what is dead, as text that other
    /// series share is counted too.
    maybe_dead_bytes: usize,
    /// What [`SeriesTable::memory_bytes`] was when it was last looked at, and text of series made since.
    counted_bytes: usize,
    uncounted_bytes: usize,
}

/// Result of [`SeriesTable::get_or_create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The series.
    pub handle: SeriesHandle,
    /// True if it was made just now.
    pub created: bool,
}

/// Labels of one series in order of name, straight from the table.
#[derive(Clone, Debug)]
pub struct LabelPairs<'a> {
    pairs: Pairs<'a>,
    symbols: &'a SymbolTable,
    edition: u32,
}

/// A label by the numbers that its texts have in the table: two labels of one edition of the table are the same if
/// both their numbers are.
#[derive(Clone, Copy, Debug)]
pub struct NumberedLabel<'a> {
    /// Number of the name.
    pub name: u32,
    /// Number of the value.
    pub value: u32,
    symbols: &'a SymbolTable,
}

impl<'a> NumberedLabel<'a> {
    /// The name.
    pub fn name_text(&self) -> &'a str {
        self.symbols.text(Symbol(self.name))
    }

    /// The value.
    pub fn value_text(&self) -> &'a str {
        self.symbols.text(Symbol(self.value))
    }
}

impl<'a> LabelPairs<'a> {
    /// The labels that are left with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = NumberedLabel<'a>> + use<'a> {
        let symbols = self.symbols;
        self.pairs.clone().map(move |(name, value)| NumberedLabel { name: name.0, value: value.0, symbols })
    }

    /// Which edition of the table the numbers are of.
    pub fn edition(&self) -> u32 {
        self.edition
    }
}

impl<'a> Iterator for LabelPairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.pairs.next()?;
        Some((self.symbols.text(name), self.symbols.text(value)))
    }
}

impl SeriesTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty table that will be replaced by one of [`SeriesTable::new`]: its handles are stale there.
    pub fn provisional() -> Self {
        Self { slots: Slots::provisional(), ..Self::default() }
    }

    /// Finds or makes the series with these labels. `None` when 2³²−1 series or 4 GiB of label text exist.
    pub fn get_or_create(&mut self, labels: &LabelsBuilder) -> Option<Lookup> {
        let hash = self.hash(labels);
        if let Some(slot_idx) = self.find(hash, labels) {
            return Some(Lookup { handle: self.handle_at(slot_idx)?, created: false });
        }
        let slot_idx = self.slots.free_slot()?;
        Some(Lookup { handle: self.create(slot_idx, hash, labels)?, created: true })
    }

    /// The series with these labels, if there is one.
    pub fn get(&self, labels: &LabelsBuilder) -> Option<SeriesHandle> {
        self.handle_at(self.find(self.hash(labels), labels)?)
    }

    /// Makes the series with a given ref (replay). `None` if the ref is taken by another label set or the label set
    /// by another ref.
    pub fn insert(&mut self, series_ref: SeriesRef, labels: &LabelsBuilder) -> Option<SeriesHandle> {
        let hash = self.hash(labels);
        let slot_idx = slot_idx(series_ref);
        match self.find(hash, labels) {
            Some(known_idx) => (known_idx == slot_idx).then(|| self.handle_at(slot_idx)).flatten(),
            None if self.slots.is_free(slot_idx) => self.create(slot_idx, hash, labels),
            None => None,
        }
    }

    /// The series' state if the handle is not stale.
    #[inline]
    pub fn state(&self, handle: SeriesHandle) -> Option<&SeriesState> {
        self.slots.state(slot_idx(handle.series_ref), handle.generation)
    }

    /// The series' state if the handle is not stale.
    #[inline]
    pub fn state_mut(&mut self, handle: SeriesHandle) -> Option<&mut SeriesState> {
        self.slots.state_mut(slot_idx(handle.series_ref), handle.generation)
    }

    /// Keeps a series from being removed until [`SeriesTable::unpin`]; false if the handle is stale.
    #[must_use]
    pub fn pin(&mut self, handle: SeriesHandle) -> bool {
        self.slots.pin(slot_idx(handle.series_ref), handle.generation)
    }

    /// Takes back one [`SeriesTable::pin`].
    pub fn unpin(&mut self, handle: SeriesHandle) {
        self.slots.unpin(slot_idx(handle.series_ref), handle.generation);
    }

    /// The live handle of a ref.
    pub fn handle(&self, series_ref: SeriesRef) -> Option<SeriesHandle> {
        self.handle_at(slot_idx(series_ref))
    }

    /// The labels of a live series, without copying them.
    #[inline]
    pub fn label_pairs(&self, series_ref: SeriesRef) -> Option<LabelPairs<'_>> {
        self.pairs_at(slot_idx(series_ref))
    }

    /// The labels of a series, without copying them; `None` if the handle is stale.
    #[inline]
    pub fn labels_of(&self, handle: SeriesHandle) -> Option<LabelPairs<'_>> {
        let slot_idx = slot_idx(handle.series_ref);
        Some(self.label_pairs_in(slot_idx, self.slots.pairs_of(slot_idx, handle.generation)?))
    }

    /// Writes the labels of a live series into `out` (cleared first); false if the ref is not live.
    pub fn labels_into(&self, series_ref: SeriesRef, out: &mut LabelsBuilder) -> bool {
        out.clear();
        let Some(pairs) = self.label_pairs(series_ref) else { return false };
        for (name, value) in pairs {
            out.set(name, value);
        }
        true
    }

    /// Owned labels of a live series.
    pub fn labels(&self, series_ref: SeriesRef) -> Option<Labels> {
        Some(Labels::from_pairs(self.label_pairs(series_ref)?))
    }

    /// Frees a series: its handle and all its copies become stale, its ref may be given to another label set. False, and
    /// it stays, if it is pinned or not there.
    pub fn remove(&mut self, handle: SeriesHandle) -> bool {
        let slot_idx = slot_idx(handle.series_ref);
        if !self.is_live(handle) || self.slots.is_pinned(slot_idx) {
            return false;
        }
        let text_bytes: usize = self
            .label_pairs(handle.series_ref)
            .into_iter()
            .flatten()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.maybe_dead_bytes = self.maybe_dead_bytes.saturating_add(text_bytes);
        if let Some(hash) = self.slots.hash(slot_idx) {
            self.index.remove(hash, slot_idx);
        }
        self.annotations.remove(handle.series_ref);
        self.slots.free(slot_idx);
        true
    }

    /// What is remembered of an exemplar. `None` for one whose value is no number: it never repeats.
    pub fn latest_exemplar<'a>(
        &self,
        value: f64,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        ts_ms: i64,
        has_own_ts: bool,
    ) -> Option<LatestExemplar> {
        let mut hasher = self.hash_state.build_hasher();
        // Zeros of both signs are equal.
        hasher.write_u64((value + 0.0).to_bits());
        hash_pairs(&mut hasher, labels);
        let fingerprint = hasher.finish();
        (!value.is_nan()).then_some(LatestExemplar { fingerprint, ts_ms, has_own_ts })
    }

    /// Remembers the newest exemplar of a live series; returns the one before.
    pub fn replace_exemplar(
        &mut self,
        series_ref: SeriesRef,
        exemplar: Option<LatestExemplar>,
    ) -> Option<LatestExemplar> {
        match exemplar {
            Some(exemplar) => self.annotations.exemplars.insert(series_ref, exemplar),
            None => self.annotations.exemplars.remove(&series_ref),
        }
    }

    /// The exemplar of a series that was remembered last.
    pub fn exemplar(&self, series_ref: SeriesRef) -> Option<&LatestExemplar> {
        self.annotations.exemplars.get(&series_ref)
    }

    /// Remembers type, unit and help of a live series; false if they are known already, or if no room is left for
    /// their text.
    pub fn set_metadata(
        &mut self,
        series_ref: SeriesRef,
        metric_type: MetricType,
        unit: &str,
        help: &str,
    ) -> bool {
        if self.metadata(series_ref) == Some((metric_type, unit, help)) {
            return false;
        }
        let symbols = symbols_of_mut(&mut self.symbols, &mut self.moving, slot_idx(series_ref));
        let (Some(unit), Some(help)) = (symbols.intern(unit), symbols.intern(help)) else {
            return false;
        };
        self.annotations.metadata.insert(series_ref, Metadata { metric_type, unit, help });
        true
    }

    /// Forgets what [`SeriesTable::set_metadata`] remembered.
    pub fn remove_metadata(&mut self, series_ref: SeriesRef) {
        self.annotations.metadata.remove(&series_ref);
    }

    /// Forgets the metadata of all series.
    pub fn forget_metadata(&mut self) {
        self.annotations.metadata = HashMap::default();
    }

    /// Type, unit and help of a series.
    pub fn metadata(&self, series_ref: SeriesRef) -> Option<(MetricType, &str, &str)> {
        let metadata = self.annotations.metadata.get(&series_ref)?;
        let (symbols, _) = self.symbols_of(slot_idx(series_ref));
        let (unit, help) = (symbols.text(metadata.unit), symbols.text(metadata.help));
        Some((metadata.metric_type, unit, help))
    }

    /// Live series in order of ref starting after `after`, at most `limit` of them (for work in slices under a lock).
    pub fn slice(&self, after: Option<SeriesRef>, limit: usize) -> Vec<(SeriesHandle, SeriesState)> {
        // The slot behind a ref has the ref's own number.
        let first = after.map_or(0, |it| it.0.get());
        self.slots
            .live_from(first)
            .filter_map(|(slot_idx, generation, state)| {
                Some((SeriesHandle { series_ref: series_ref(slot_idx)?, generation }, state))
            })
            .take(limit)
            .collect()
    }

    /// Calls `visit` with the live series in the slots from `first` on, in order of ref, having looked at no more than
    /// `limit` slots. The slot to go on from; `None` behind the last.
    pub fn visit_from(
        &self,
        first: u32,
        limit: usize,
        mut visit: impl FnMut(SeriesHandle, LabelPairs<'_>),
    ) -> Option<u32> {
        let run = self.slots.run_from(first, limit)?;
        let next = run.end;
        for slot_idx in run {
            if let (Some(handle), Some(labels)) = (self.handle_at(slot_idx), self.pairs_at(slot_idx)) {
                visit(handle, labels);
            }
        }
        Some(next)
    }

    /// Sets every series' `last_ts_ms` to `i64::MIN`: the order check starts again after a step of the wall clock.
    pub fn restart_order_check(&mut self) {
        for state in self.slots.states_mut() {
            state.last_ts_ms = i64::MIN;
        }
    }

    /// Number of live series.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True without series.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held by slots, labels, index and symbols.
    pub fn memory_bytes(&self) -> usize {
        self.slots.memory_bytes()
            + self.index.memory_bytes()
            + self.symbols_bytes()
            + self.annotations.memory_bytes()
            + self.pairs.capacity()
            + size_of::<Self>()
    }

    /// About what [`SeriesTable::memory_bytes`] says, without looking.
    pub fn counted_bytes(&self) -> u64 {
        (self.counted_bytes + self.uncounted_bytes) as u64
    }

    fn count_bytes(&mut self) {
        self.counted_bytes = self.memory_bytes();
        self.uncounted_bytes = 0;
    }

    /// Bytes held by the symbols, part of [`SeriesTable::memory_bytes`].
    pub fn symbols_bytes(&self) -> usize {
        self.symbols.memory_bytes() + self.moving.as_ref().map_or(0, Moving::memory_bytes)
    }

    fn create(&mut self, slot_idx: u32, hash: u32, labels: &LabelsBuilder) -> Option<SeriesHandle> {
        let series_ref = series_ref(slot_idx)?;
        // What a failure left over.
        self.pairs.clear();
        let symbols = symbols_of_mut(&mut self.symbols, &mut self.moving, slot_idx);
        for (name, value) in labels.iter() {
            self.uncounted_bytes += name.len() + value.len();
            let name = symbols.intern(name)?;
            let value = symbols.intern(value)?;
            packed::push_pair(&mut self.pairs, name, value);
        }
        let generation = self.slots.fill(slot_idx, hash, &self.pairs)?;
        self.pairs.clear();
        self.pairs.shrink_to(SCRATCH_KEPT_BYTES);
        let Self { index, slots, .. } = self;
        index.insert(hash, slot_idx, |it| hash_at(slots, it));
        if self.uncounted_bytes > COUNT_EVERY_BYTES {
            self.count_bytes();
        }
        Some(SeriesHandle { series_ref, generation })
    }

    fn find(&self, hash: u32, labels: &LabelsBuilder) -> Option<u32> {
        self.index.find(hash, |slot_idx| {
            // Most label sets that share an index place differ in their hash.
            self.slots.hash(slot_idx) == Some(hash)
                && self.pairs_at(slot_idx).is_some_and(|pairs| pairs.eq(labels.iter()))
        })
    }

    fn pairs_at(&self, slot_idx: u32) -> Option<LabelPairs<'_>> {
        Some(self.label_pairs_in(slot_idx, self.slots.pairs(slot_idx)?))
    }

    #[inline]
    fn label_pairs_in<'a>(&'a self, slot_idx: u32, pairs: Pairs<'a>) -> LabelPairs<'a> {
        let (symbols, edition) = self.symbols_of(slot_idx);
        LabelPairs { pairs, symbols, edition }
    }

    /// What the numbers in a slot mean, and their edition.
    fn symbols_of(&self, slot_idx: u32) -> (&SymbolTable, u32) {
        match self.moving.as_ref().filter(|moving| moving.is_ahead(slot_idx)) {
            Some(moving) => (moving.symbols(), moving.edition()),
            None => (&self.symbols, self.edition),
        }
    }

    fn hash(&self, labels: &LabelsBuilder) -> u32 {
        let mut hasher = self.hash_state.build_hasher();
        hash_pairs(&mut hasher, labels.iter());
        fold(hasher.finish())
    }

    fn is_live(&self, handle: SeriesHandle) -> bool {
        self.slots.generation(slot_idx(handle.series_ref)) == Some(handle.generation)
    }

    fn handle_at(&self, slot_idx: u32) -> Option<SeriesHandle> {
        Some(SeriesHandle { series_ref: series_ref(slot_idx)?, generation: self.slots.generation(slot_idx)? })
    }
}

fn symbols_of_mut<'a>(
    symbols: &'a mut SymbolTable,
    moving: &'a mut Option<Moving>,
    slot_idx: u32,
) -> &'a mut SymbolTable {
    match moving.as_mut().filter(|moving| moving.is_ahead(slot_idx)) {
        Some(moving) => moving.symbols_mut(),
        None => symbols,
    }
}

fn hash_pairs<'a>(hasher: &mut impl Hasher, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    for (name, value) in labels {
        hasher.write(name.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(value.as_bytes());
        hasher.write_u8(0xff);
    }
}

fn hash_at(slots: &Slots, slot_idx: u32) -> u32 {
    slots.hash(slot_idx).unwrap_or_default()
}

fn slot_idx(series_ref: SeriesRef) -> u32 {
    series_ref.0.get() - 1
}

fn series_ref(slot_idx: u32) -> Option<SeriesRef> {
    NonZeroU32::MIN.checked_add(slot_idx).map(SeriesRef)
}

pub mod compaction;

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
