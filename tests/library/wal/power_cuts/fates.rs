//! What becomes of each sample of a life, and when.

use std::collections::BTreeMap;

use scraped_engine::wal::format::position::Position;

use crate::simulation::samples::Sample;

/// A moment of a life: the number of a mark in its recording.
pub(super) type Moment = u64;

/// What becomes of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    /// Its commit began.
    pub(super) committed: Moment,
    /// The end of its commit.
    pub(super) end: Position,
    /// The log said that it is durable.
    pub(super) durable: Option<Moment>,
    /// The endpoint had it, whether or not it could say so.
    pub(super) taken: Option<Moment>,
    /// Its answer was there.
    pub(super) acknowledged: Option<Moment>,
}

/// All samples of a life.
pub(super) type Fates = BTreeMap<Sample, Fate>;
