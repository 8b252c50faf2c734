//! How much a question may cost.

use std::time::Instant;

/// How much a question may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Series that match.
    pub max_series: usize,
    /// Samples of an answer; a native histogram counts as one for each 16 bytes.
    pub max_samples: usize,
    /// When it is given up.
    pub deadline: Instant,
}
