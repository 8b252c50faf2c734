//! What some series have beside their samples: the exemplar written last, and metadata. Kept apart from the slots, so
//! that a series without either pays nothing.
//!
//! Part of the table: what is removed there is removed here. Touched under the head's lock only.

use crate::labels::symbols::Symbol;
use crate::metric_type::MetricType;
use crate::series::SeriesRef;
use std::collections::HashMap;

/// The exemplar written last: enough to know it again, without its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestExemplar {
    /// Hash of value and labels.
    pub fingerprint: u64,
    /// Milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// The page had the timestamp; otherwise it is that of the scrape, and says nothing.
    pub has_own_ts: bool,
}

impl LatestExemplar {
    /// Whether it is `earlier` once more (`exemplar.Equals`).
    pub fn repeats(&self, earlier: &LatestExemplar) -> bool {
        self.fingerprint == earlier.fingerprint
            && (self.ts_ms == earlier.ts_ms || !(self.has_own_ts || earlier.has_own_ts))
    }
}

/// Metadata of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) metric_type: MetricType,
    pub(super) unit: Symbol,
    pub(super) help: Symbol,
}

/// By ref of a live series.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    pub(super) exemplars: HashMap<SeriesRef, LatestExemplar, foldhash::fast::RandomState>,
    pub(super) metadata: HashMap<SeriesRef, Metadata, foldhash::fast::RandomState>,
}

impl Annotations {
    pub(super) fn remove(&mut self, series_ref: SeriesRef) {
        self.exemplars.remove(&series_ref);
        self.metadata.remove(&series_ref);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        // A place in the map is an entry and a byte of control.
        self.exemplars.capacity() * (size_of::<(SeriesRef, LatestExemplar)>() + 1)
            + self.metadata.capacity() * (size_of::<(SeriesRef, Metadata)>() + 1)
    }
}
