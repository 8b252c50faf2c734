//! How many bytes were written, by what they are for: since the start and today.

use crate::metrics::kind::Metric;
use crate::metrics::page::Page;
use crate::metrics::{Counter, Family};
use crate::metrics_table;
use parking_lot::Mutex;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// What files of the data directory are for.
pub const CAUSES: [&str; 5] = ["log", "checkpoint", "position", "discovery", "other"];

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

metrics_table! {
    /// What was written to the data directory. Nothing of it is kept over a start.
    pub struct Written {
        bytes: Family<Counter> = Family::of(&["cause"], &CAUSES) => "scraped_disk_written_bytes_total",
            "Bytes handed to the file system of the data directory, by what they are for.";
        today: Today => "scraped_disk_written_today_bytes",
            "Bytes handed to the file system of the data directory since midnight, UTC, or since the start if that was later.";
    }
}

impl Written {
    /// Nothing yet. `wall_ms` is the clock that says which day it is, in milliseconds since the Unix epoch.
    pub fn by_clock(wall_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { today: Today::by_clock(wall_ms), ..Self::default() }
    }
}

/// What was written on the day that it is, UTC. A clock that is set to another day begins a day.
pub struct Today {
    wall_ms: Box<dyn Fn() -> i64 + Send + Sync>,
    day: Mutex<Day>,
}

#[derive(Debug, Default)]
struct Day {
    /// Days since the Unix epoch.
    number: i64,
    /// In the order of [`CAUSES`].
    bytes: [u64; CAUSES.len()],
}

impl Today {
    fn by_clock(wall_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { wall_ms: Box::new(wall_ms), day: Mutex::default() }
    }

    /// Bytes for each of [`CAUSES`], in their order.
    pub fn by_cause(&self) -> [(&'static str, u64); CAUSES.len()] {
        let bytes = self.with_day(|day| day.bytes);
        let mut bytes = bytes.into_iter();
        CAUSES.map(|cause| (cause, bytes.next().unwrap_or_default()))
    }

    /// Adds what was written for one of [`CAUSES`].
    pub fn add(&self, cause: &str, n_bytes: u64) {
        self.with_day(|day| {
            let counted = CAUSES.iter().zip(&mut day.bytes).find(|(known, _)| **known == cause);
            if let Some((_, counted)) = counted {
                *counted += n_bytes;
            }
        });
    }

    fn with_day<T>(&self, work: impl FnOnce(&mut Day) -> T) -> T {
        let number = (self.wall_ms)().div_euclid(DAY_MS);
        let mut day = self.day.lock();
        if day.number != number {
            *day = Day { number, ..Day::default() };
        }
        work(&mut day)
    }
}

impl Default for Today {
    /// By the system's clock.
    fn default() -> Self {
        Self::by_clock(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            since.as_millis() as i64
        })
    }
}

impl fmt::Debug for Today {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Today").field("day", &self.day).finish_non_exhaustive()
    }
}

impl Metric for Today {
    fn kind(&self) -> &'static str {
        "gauge"
    }

    fn write(&self, page: &mut Page, name: &str, labels: &[(&str, &str)]) {
        for (cause, n_bytes) in self.by_cause() {
            page.sample(name, &[labels, &[("cause", cause)]].concat(), n_bytes as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Collect;
    use portable_atomic::{AtomicI64, Ordering};
    use std::sync::Arc;

    #[test]
    fn a_day_begins_with_nothing_written() {
        let wall_ms = Arc::new(AtomicI64::new(DAY_MS - 1));
        let clock = Arc::clone(&wall_ms);
        let written = Written::by_clock(move || clock.load(Ordering::Relaxed));
        let today = || written.today.by_cause().map(|(_, n_bytes)| n_bytes);
        written.today.add("log", 5);
        written.today.add("position", 3);
        written.today.add("log", 1);
        assert_eq!(today(), [6, 0, 3, 0, 0]);
        // Midnight; nothing has to be written for it.
        wall_ms.store(DAY_MS, Ordering::Relaxed);
        assert_eq!(today(), [0; 5]);
        written.today.add("other", 2);
        assert_eq!(today(), [0, 0, 0, 0, 2]);
        // A clock that was wrong is set: forwards, and to before 1970.
        for day in [20_000, -1] {
            wall_ms.store(day * DAY_MS, Ordering::Relaxed);
            written.today.add("log", 7);
            wall_ms.store((day + 1) * DAY_MS - 1, Ordering::Relaxed);
            assert_eq!(today(), [7, 0, 0, 0, 0]);
        }
        let mut page = Page::default();
        written.collect(&mut page);
        let page = page.into_text();
        assert!(page.contains("\nscraped_disk_written_bytes_total{cause=\"log\"} 0\n"), "{page}");
        assert!(page.contains("# TYPE scraped_disk_written_today_bytes gauge\n"), "{page}");
        assert!(page.contains("\nscraped_disk_written_today_bytes{cause=\"log\"} 7\n"), "{page}");
        assert!(page.contains("\nscraped_disk_written_today_bytes{cause=\"position\"} 0\n"), "{page}");
    }
}
