//! `SeriesTable`: label set → ref, ref → series. Slots in chunks, a hash index of slot numbers.

use crate::labels::Labels;
use crate::labels::builder::LabelsBuilder;
use crate::series::{SeriesHandle, SeriesRef};

/// What the head knows of one series beside its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesState {
    /// Timestamp of the newest sample in milliseconds; `i64::MIN` when there is none or the order check starts anew.
    pub last_ts_ms: i64,
    /// Segment of the newest sample; 0 is also "none yet" (see `logged_segment`).
    pub last_segment: u32,
    /// Segment that holds the series record, plus one; 0: not in the WAL yet. A checkpoint N counts as N.
    pub logged: u32,
}

/// All active series.
#[derive(Debug, Default)]
pub struct SeriesTable {}

/// Result of [`SeriesTable::get_or_create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The series.
    pub handle: SeriesHandle,
    /// True if it was made just now.
    pub created: bool,
}

impl SeriesTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Finds or makes the series with these labels. `None` when 2³²−1 series exist.
    pub fn get_or_create(&mut self, labels: &LabelsBuilder) -> Option<Lookup> {
        let _ = labels;
        todo!("labels helper")
    }

    /// Makes the series with a given ref (replay). `None` if the ref is taken by another label set or the label set
    /// by another ref.
    pub fn insert(&mut self, series_ref: SeriesRef, labels: &LabelsBuilder) -> Option<SeriesHandle> {
        let _ = (series_ref, labels);
        todo!("labels helper")
    }

    /// The series' state if the handle is not stale.
    pub fn state_mut(&mut self, handle: SeriesHandle) -> Option<&mut SeriesState> {
        let _ = handle;
        todo!("labels helper")
    }

    /// The live handle of a ref.
    pub fn handle(&self, series_ref: SeriesRef) -> Option<SeriesHandle> {
        let _ = series_ref;
        todo!("labels helper")
    }

    /// Writes the labels of a live series into `out` (cleared first); false if the ref is not live.
    pub fn labels_into(&self, series_ref: SeriesRef, out: &mut LabelsBuilder) -> bool {
        let _ = (series_ref, out);
        todo!("labels helper")
    }

    /// Owned labels of a live series.
    pub fn labels(&self, series_ref: SeriesRef) -> Option<Labels> {
        let _ = series_ref;
        todo!("labels helper")
    }

    /// Frees a series: its handle and all its copies become stale, its ref may be given to another label set.
    pub fn remove(&mut self, handle: SeriesHandle) {
        let _ = handle;
        todo!("labels helper")
    }

    /// Live series in order of ref starting after `after`, at most `limit` of them (for work in slices under a lock).
    pub fn slice(&self, after: Option<SeriesRef>, limit: usize) -> Vec<(SeriesHandle, SeriesState)> {
        let _ = (after, limit);
        todo!("labels helper")
    }

    /// Sets every series' `last_ts_ms` to `i64::MIN`: the order check starts anew after a step of the wall clock.
    pub fn restart_order_check(&mut self) {
        todo!("labels helper")
    }

    /// Number of live series.
    pub fn len(&self) -> usize {
        todo!("labels helper")
    }

    /// True without series.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held by slots, labels, index and symbols.
    pub fn memory_bytes(&self) -> usize {
        todo!("labels helper")
    }

    /// Rebuilds the symbol table without dead text when more than half of it is dead.
    pub fn compact_symbols(&mut self) {
        todo!("labels helper")
    }
}
