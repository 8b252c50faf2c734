//! Series whose samples make a thread of an endpoint panic: each time those in hand are dropped, and after three times
//! all that come are, untried. So a bug costs the samples that it meets, and no others.

use parking_lot::Mutex;
use portable_atomic::{AtomicBool, Ordering};
use scraped_engine::series::SeriesHandle;
use std::collections::BTreeMap;

/// A series or a record may make a thread panic this many times.
pub const MAX_PANICS: u32 = 3;

/// What is known of the series of an endpoint, until its threads start again.
#[derive(Debug, Default)]
pub struct PanickingSeries {
    /// Panics of each series that had one.
    n_panics: Mutex<BTreeMap<SeriesHandle, u32>>,
    /// Nearly always there is none.
    has_any: AtomicBool,
}

impl PanickingSeries {
    /// Samples of the series have made a thread panic; whether they are dropped untried from now on.
    pub fn add(&self, handle: SeriesHandle) -> bool {
        self.has_any.store(true, Ordering::Relaxed);
        let mut n_panics = self.n_panics.lock();
        let n_panics = n_panics.entry(handle).or_default();
        *n_panics += 1;
        *n_panics == MAX_PANICS
    }

    /// Whether its samples are dropped untried.
    pub fn is_set_aside(&self, handle: SeriesHandle) -> bool {
        self.has_any.load(Ordering::Relaxed)
            && self.n_panics.lock().get(&handle).is_some_and(|n_panics| *n_panics >= MAX_PANICS)
    }
}
