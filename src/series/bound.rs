//! How many series there may be in all: a soft bound. Those that are known go on, new ones are left out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The bound is over once this part of it is free again, in percent.
const FREE_AGAIN_PERCENT: u64 = 5;

/// The bound and how it stands.
#[derive(Debug)]
pub struct SeriesBound {
    /// 0: none.
    max: u64,
    /// Where the number comes from.
    origin: String,
    n_series: AtomicU64,
    /// Series are left out, or were a moment ago.
    is_reached: AtomicBool,
}

impl SeriesBound {
    /// At most `max` series, 0 for any number; `origin` says where that comes from.
    pub fn new(max: u64, origin: impl Into<String>) -> Self {
        Self { max, origin: origin.into(), n_series: AtomicU64::new(0), is_reached: AtomicBool::new(false) }
    }

    /// The bound; `None` without one.
    pub fn max(&self) -> Option<u64> {
        Some(self.max).filter(|max| *max > 0)
    }

    /// Whether there may be another beside `n_series`.
    pub fn admits(&self, n_series: u64) -> bool {
        self.max().is_none_or(|max| n_series < max)
    }

    /// A series was left out beside `n_series`. The first one is logged, and then no more until some are gone.
    pub fn left_out(&self, n_series: u64) {
        if !self.is_reached.swap(true, Ordering::Relaxed) {
            log::warn!(
                "{n_series} series are in memory: new ones are left out until some are gone, known ones go on \
                 (--storage.agent.max-series: {}, {}); see scraped_max_series_samples_dropped_total for their jobs",
                self.max,
                self.origin
            );
        }
    }

    /// There are this many series now.
    pub fn note(&self, n_series: u64) {
        self.n_series.store(n_series, Ordering::Relaxed);
        if self.is_reached.load(Ordering::Relaxed)
            && n_series < self.max - self.max / 100 * FREE_AGAIN_PERCENT
            && self.is_reached.swap(false, Ordering::Relaxed)
        {
            log::info!("{n_series} series are in memory: new ones are taken again");
        }
    }

    /// True while new series are left out.
    pub fn is_reached(&self) -> bool {
        self.is_reached.load(Ordering::Relaxed)
    }
}

/// One line for a page.
impl std::fmt::Display for SeriesBound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let n_series = self.n_series.load(Ordering::Relaxed);
        let Some(max) = self.max() else { return write!(f, "{n_series} series, no bound ({})", self.origin) };
        write!(f, "{n_series} of at most {max} series ({})", self.origin)?;
        if self.is_reached() {
            f.write_str(": new series are left out, known ones go on; raise --storage.agent.max-series")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_reached_once_and_left_once() {
        let bound = SeriesBound::new(100, "of a test");
        assert!(bound.admits(99) && !bound.is_reached());
        assert!(!bound.admits(100) && !bound.is_reached());
        bound.left_out(100);
        bound.note(96);
        assert!(bound.is_reached() && bound.admits(96), "a little room is no room for long");
        let line = "96 of at most 100 series (of a test): new series are left out, known ones go on; raise \
                    --storage.agent.max-series";
        assert_eq!(bound.to_string(), line);
        bound.note(94);
        assert_eq!(bound.to_string(), "94 of at most 100 series (of a test)");
        let none = SeriesBound::new(0, "of a test");
        none.note(7);
        assert!(none.admits(u64::MAX) && none.max().is_none());
        assert_eq!(none.to_string(), "7 series, no bound (of a test)");
    }
}
