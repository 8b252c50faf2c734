//! What a page came to while it is read: counted, left out, and how far its texts have spread.

use crate::store::error::PageError;
use crate::store::report::PageCounts;

/// Texts that stand once in a page and are written for many series (labels of a histogram's buckets, the help of a
/// family) may take this many times its size together, and this many bytes beside. An API server's page of protobuf, with
/// some 50 buckets a histogram, comes to about eleven times its size.
const MAX_SPREAD: usize = 8;
const MIN_SPREAD_BYTES: usize = 64 << 20;

/// Samples that were read and not staged, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The same spelling stood in the page before.
    pub duplicates: u64,
    /// Not newer than the newest sample of a series that is new to the cache.
    pub out_of_order: u64,
    /// Timestamps too far ahead.
    pub out_of_bounds: u64,
    /// Of series that are new to a target with as many as `series_limit` allows.
    pub over_series_limit: u64,
    /// Of series that are new to a process with as many as `--storage.agent.max-series` allows.
    pub over_max_series: u64,
}

/// What a page came to so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// What the page had.
    pub counts: PageCounts,
    /// What was not staged.
    pub left_out: LeftOut,
    /// Samples that count against `sample_limit`, if there is one.
    pub n_limited: u64,
    /// Series that count against the target's `series_limit`.
    pub n_series: u64,
    /// A histogram has more buckets than `native_histogram_bucket_limit`, at every resolution.
    pub is_over_bucket_limit: bool,
    /// How much of it is written more often than it stands there.
    pub(super) spread: Spread,
}

impl Tally {
    /// Nothing was read yet; the target has this many series that count against its `series_limit`.
    pub fn new(n_series: u64) -> Self {
        Self { n_series, ..Self::default() }
    }
}

/// Bytes that the series of a page take for texts that may stand there once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    /// Of labels of new series, as they stand in the page or would.
    label_bytes: usize,
    /// Of metadata in the log.
    help_bytes: usize,
    /// How many there may be of each.
    max_bytes: usize,
}

impl Spread {
    /// None yet, of a page of this size.
    pub(super) fn of_page(page_bytes: usize) -> Self {
        let max_bytes = page_bytes.saturating_mul(MAX_SPREAD).saturating_add(MIN_SPREAD_BYTES);
        Self { max_bytes, ..Self::default() }
    }

    /// Counts the text of a new series.
    ///
    /// # Errors
    /// There are too many bytes of them for a page of this size.
    pub(super) fn add_labels(&mut self, series_text: &[u8]) -> Result<(), PageError> {
        self.label_bytes += series_text.len();
        if self.label_bytes > self.max_bytes {
            return Err(PageError::Amplified { bytes: self.label_bytes, limit: self.max_bytes });
        }
        Ok(())
    }

    /// Counts the help of a series, unless there is too much of it already. What is beyond is left out: a help of
    /// megabytes for each of a million series.
    pub(super) fn admits_help(&mut self, help: &str) -> bool {
        let is_admitted = self.help_bytes <= self.max_bytes;
        if is_admitted {
            self.help_bytes += help.len();
        }
        is_admitted
    }
}
