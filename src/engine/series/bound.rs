//! How many series there may be in all: a soft bound. Those that are known go on, new ones are left out.

use portable_atomic::{AtomicBool, AtomicU64, Ordering};

/// The bound is over once this part of it is free again, in percent.
const FREE_AGAIN_PERCENT: u64 = 5;

/// The bound and how it stands.
#[derive(Debug)]
pub struct SeriesBound {
    /// 0: none.
    max: u64,
    /// Of the series table; 0: any number.
    max_bytes: u64,
    /// Where the number comes from.
    origin: String,
    n_series: AtomicU64,
    n_bytes: AtomicU64,
    /// Series are left out, or were a moment ago.
    is_reached: AtomicBool,
}

impl SeriesBound {
    /// At most `max` series, 0 for any number; `origin` says where that comes from.
    pub fn new(max: u64, origin: impl Into<String>) -> Self {
        Self {
            max,
            max_bytes: 0,
            origin: origin.into(),
            n_series: AtomicU64::new(0),
            n_bytes: AtomicU64::new(0),
            is_reached: AtomicBool::new(false),
        }
    }

    /// The same for series that, all together, take no more than about this many bytes: labels may be long.
    pub fn with_max_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// The bound; `None` without one.
    pub fn max(&self) -> Option<u64> {
        Some(self.max).filter(|max| *max > 0)
    }

    /// Whether there may be another beside `n_series`, which take `n_bytes`.
    pub fn admits(&self, n_series: u64, n_bytes: u64) -> bool {
        is_below(n_series, self.max) && is_below(n_bytes, self.max_bytes)
    }

    /// A series was left out beside `n_series`. The first one is logged, and then no more until some are gone.
    pub fn left_out(&self, n_series: u64, n_bytes: u64) {
        self.keep(n_series, n_bytes);
        if !self.is_reached.swap(true, Ordering::Relaxed) {
            let (max, origin) = (self.max, &self.origin);
            let why = self.bytes_text();
            log::warn!(
                "{n_series} series are in memory{why}: new ones are left out until some are gone, known ones go on \
                 (--storage.agent.max-series: {max}, {origin}); see scraped_max_series_samples_dropped_total for their \
                 jobs"
            );
        }
    }

    /// There are this many series now, which take this many bytes.
    pub fn note(&self, n_series: u64, n_bytes: u64) {
        self.keep(n_series, n_bytes);
        let is_free = |now: u64, max: u64| is_below(now, max - max / 100 * FREE_AGAIN_PERCENT);
        if self.is_reached.load(Ordering::Relaxed)
            && is_free(n_series, self.max)
            && is_free(n_bytes, self.max_bytes)
            && self.is_reached.swap(false, Ordering::Relaxed)
        {
            log::info!("{n_series} series are in memory: new ones are taken again");
        }
    }

    fn keep(&self, n_series: u64, n_bytes: u64) {
        self.n_series.store(n_series, Ordering::Relaxed);
        self.n_bytes.store(n_bytes, Ordering::Relaxed);
    }

    /// What they take, once that is what new ones are left out for.
    fn bytes_text(&self) -> String {
        let n_bytes = self.n_bytes.load(Ordering::Relaxed);
        match is_below(n_bytes, self.max_bytes - self.max_bytes / 100 * FREE_AGAIN_PERCENT) {
            true => String::new(),
            false => format!(" and take {} MiB of at most {} MiB", n_bytes >> 20, self.max_bytes >> 20),
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
            f.write_str(&self.bytes_text())?;
            f.write_str(": new series are left out, known ones go on; raise --storage.agent.max-series")?;
        }
        Ok(())
    }
}

/// 0 is no bound.
fn is_below(now: u64, max: u64) -> bool {
    max == 0 || now < max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_reached_once_and_left_once() {
        let bound = SeriesBound::new(100, "of a test");
        assert!(bound.admits(99, 0) && !bound.is_reached());
        assert!(!bound.admits(100, 0) && !bound.is_reached());
        bound.left_out(100, 0);
        bound.note(96, 0);
        assert!(bound.is_reached() && bound.admits(96, 0), "a little room is no room for long");
        let line = "96 of at most 100 series (of a test): new series are left out, known ones go on; raise \
                    --storage.agent.max-series";
        assert_eq!(bound.to_string(), line);
        bound.note(94, 0);
        assert_eq!(bound.to_string(), "94 of at most 100 series (of a test)");
        let none = SeriesBound::new(0, "of a test");
        none.note(7, 7);
        assert!(none.admits(u64::MAX, u64::MAX) && none.max().is_none());
        assert_eq!(none.to_string(), "7 series, no bound (of a test)");
    }

    #[test]
    fn long_labels_reach_the_bound_in_bytes() {
        let bound = SeriesBound::new(1000, "of a test").with_max_bytes(100 << 20);
        assert!(bound.admits(10, 99 << 20) && !bound.admits(10, 100 << 20) && !bound.admits(1000, 1));
        bound.left_out(10, 100 << 20);
        let line = "10 of at most 1000 series (of a test) and take 100 MiB of at most 100 MiB: new series are left out, \
                    known ones go on; raise --storage.agent.max-series";
        assert_eq!(bound.to_string(), line);
        bound.note(10, 96 << 20);
        assert!(bound.is_reached());
        bound.note(10, 94 << 20);
        assert!(!bound.is_reached());
    }
}
