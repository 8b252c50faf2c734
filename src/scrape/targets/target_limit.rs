//! Whether a job has more targets than `target_limit`: set by its pool, read by its loops before they ask a target.

use crate::scrape::error::ScrapeError;
use portable_atomic::{AtomicU64, Ordering};

/// One for all targets of a job.
#[derive(Debug, Default)]
pub struct TargetLimit {
    /// Targets of the job while they are too many, else 0.
    n_over: AtomicU64,
}

impl TargetLimit {
    /// The job has `n_targets` now, of which `limit` are allowed; 0 for any number. Gives true if they are too many.
    pub fn check(&self, n_targets: usize, limit: u64) -> bool {
        let n_targets = n_targets as u64;
        let is_over = limit > 0 && n_targets > limit;
        self.n_over.store(if is_over { n_targets } else { 0 }, Ordering::Relaxed);
        is_over
    }

    /// The error that every scrape of the job ends with, if there is one.
    pub fn error(&self, limit: u64) -> Option<ScrapeError> {
        match self.n_over.load(Ordering::Relaxed) {
            0 => None,
            targets => Some(ScrapeError::TargetLimit { targets, limit }),
        }
    }
}
