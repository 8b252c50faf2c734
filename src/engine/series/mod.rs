//! The series table: the only copy of label sets; the WAL, the caches and the remotes refer to it by ref.
//!
//! Owned by the WAL's head (`wal/head.rs`) and only touched under its lock. Knows no file.

pub mod annotations;
pub mod bound;
mod slots;
pub mod table;

use std::num::NonZeroU32;

/// Number of a series in memory and in the WAL: one label set in all readable WAL. Slot index + 1; 0 means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub NonZeroU32);

/// A ref with the generation of its slot: a handle held over a garbage collection is known to be stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesHandle {
    /// The series.
    pub series_ref: SeriesRef,
    /// Generation of the slot when the handle was made; a slot freed since has another one.
    pub generation: u16,
}
