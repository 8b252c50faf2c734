//! A record as an endpoint counts it: where it ends and how many samples it has.

use scraped_engine::wal::format::position::Position;

/// A settled place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The end of the last settled record.
    pub position: Position,
    /// Fingerprint of that record; meaningless at the start of a segment.
    pub fingerprint: u32,
}

impl Mark {
    /// The start of a segment.
    pub fn start_of(segment: u32) -> Self {
        Self { position: Position { segment, offset: 0 }, fingerprint: 0 }
    }
}
