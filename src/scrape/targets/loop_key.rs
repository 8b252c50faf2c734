//! Names of scrape loops: what pools, pages and the scheduler call the same loop by.

use portable_atomic::{AtomicU64, Ordering};

/// Name of a scrape loop, given by its pool: the slots of the scheduler are no one else's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoopKey(u64);

/// Where keys come from; all pools share it.
#[derive(Debug, Default)]
pub struct LoopKeys(AtomicU64);

impl LoopKeys {
    /// A key that was never given before.
    pub fn next(&self) -> LoopKey {
        LoopKey(self.0.fetch_add(1, Ordering::Relaxed))
    }
}
