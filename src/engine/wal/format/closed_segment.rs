//! A segment that is no longer written, and what it holds.

/// What truncation needs to know of a segment that is no longer written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClosedSegment {
    /// Its number.
    pub number: u32,
    /// Size of the file.
    pub bytes: u64,
    /// Samples in it, native histograms among them.
    pub samples: u64,
    /// Native histograms in it.
    pub histograms: u64,
    /// Timestamp of its newest sample in milliseconds.
    pub newest_ts_ms: Option<i64>,
}
