//! How much a total has grown in the last minute, hour and day, and since midnight.
//!
//! The manager owns the readings and takes one every second; pages get a copy of what came out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Windows, each with the time between two readings that are kept of it.
const MINUTE: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(5)];
const HOUR: [Duration; 2] = [Duration::from_secs(60 * 60), Duration::from_secs(60)];
const DAY: [Duration; 2] = [Duration::from_secs(24 * 60 * 60), Duration::from_secs(30 * 60)];

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A rate over less time says nothing.
const LEAST: Duration = Duration::from_secs(1);

/// How much a total has grown, and in which time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// In the unit of the total.
    pub n: u64,
    /// The window and at most one step more, or less after a start.
    pub over: Duration,
}

impl Growth {
    /// Per second; `None` right after the start.
    pub fn per_second(self) -> Option<f64> {
        (self.over >= LEAST).then(|| self.n as f64 / self.over.as_secs_f64())
    }
}

/// The growth of one total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Traffic {
    pub minute: Growth,
    pub hour: Growth,
    pub day: Growth,
    /// Since midnight, UTC, or since the start if that was later.
    pub today: Growth,
}

/// Readings of one total, from which its growth follows: about 3 kB after a day.
#[derive(Debug)]
pub struct TrafficMeter {
    minute: Window,
    hour: Window,
    day: Window,
    today: Today,
}

impl TrafficMeter {
    /// Of a total that is 0 at `start`.
    pub fn new(start: Instant) -> Self {
        let [minute, hour, day] = [MINUTE, HOUR, DAY].map(|[length, step]| Window {
            length,
            step,
            readings: VecDeque::from([(start, 0)]),
        });
        Self { minute, hour, day, today: Today { day: None, start, before: 0, last: 0 } }
    }

    /// Takes a reading, at a time of the wall clock in milliseconds since the Unix epoch.
    pub fn read(&mut self, now: Instant, wall_ms: i64, total: u64) -> Traffic {
        Traffic {
            minute: self.minute.read(now, total),
            hour: self.hour.read(now, total),
            day: self.day.read(now, total),
            today: self.today.read(now, wall_ms.div_euclid(DAY_MS), total),
        }
    }
}

#[derive(Debug)]
struct Window {
    length: Duration,
    step: Duration,
    /// Oldest first; only the first one may lie outside the window.
    readings: VecDeque<(Instant, u64)>,
}

impl Window {
    fn read(&mut self, now: Instant, total: u64) -> Growth {
        let Self { length, step, readings } = self;
        let age = |(at, _): &(Instant, u64)| now.saturating_duration_since(*at);
        if readings.back().is_none_or(|last| age(last) >= *step) {
            readings.push_back((now, total));
        }
        // The one in front of the window stays: with it the whole window is covered.
        while readings.get(1).is_some_and(|second| age(second) >= *length) {
            readings.pop_front();
        }
        let (at, before) = readings.front().copied().unwrap_or((now, total));
        Growth { n: total.saturating_sub(before), over: now.saturating_duration_since(at) }
    }
}

/// What was read before the day began.
#[derive(Debug)]
struct Today {
    /// Days since the Unix epoch; `None` before the first reading.
    day: Option<i64>,
    start: Instant,
    before: u64,
    last: u64,
}

impl Today {
    fn read(&mut self, now: Instant, day: i64, total: u64) -> Growth {
        // A clock that is set begins another day, too.
        if self.day.is_some_and(|known| known != day) {
            (self.start, self.before) = (now, self.last);
        }
        (self.day, self.last) = (Some(day), total);
        Growth { n: total.saturating_sub(self.before), over: now.saturating_duration_since(self.start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_window() {
        let start = Instant::now();
        let mut meter = TrafficMeter::new(start);
        let mut last = meter.read(start, 0, 0);
        assert_eq!((last.day, last.minute.per_second()), (Growth::default(), None));
        // 10 a second for two days, read every second.
        for s in 1..=2 * 86_400_u64 {
            last = meter.read(start + Duration::from_secs(s), 0, 10 * s);
            if s == 30 {
                let growth = Growth { n: 300, over: Duration::from_secs(30) };
                assert_eq!([last.minute, last.hour, last.day], [growth; 3], "as far as it goes");
            }
        }
        for (growth, [length, step]) in [(last.minute, MINUTE), (last.hour, HOUR), (last.day, DAY)] {
            assert!(growth.over >= length && growth.over < length + step, "{growth:?}");
            assert_eq!(growth.per_second(), Some(10.0));
        }
        let n_kept = [&meter.minute, &meter.hour, &meter.day].map(|window| window.readings.len());
        assert!(n_kept.iter().sum::<usize>() < 130, "{n_kept:?}");
    }

    #[test]
    fn a_reading_that_comes_late_is_counted_over_its_time() {
        let start = Instant::now();
        let mut meter = TrafficMeter::new(start);
        let late = start + Duration::from_secs(7200);
        let growth = meter.read(late, 0, 7200);
        assert_eq!(growth.minute, Growth { n: 7200, over: Duration::from_secs(7200) });
        let growth = meter.read(late + Duration::from_secs(60), 0, 7200);
        assert_eq!(growth.minute, Growth { n: 0, over: Duration::from_secs(60) });
        assert_eq!(growth.hour.n, 7200);
    }

    #[test]
    fn a_day_begins_at_midnight_and_where_the_clock_is_set() {
        let start = Instant::now();
        let mut meter = TrafficMeter::new(start);
        let mut today = |s: u64, wall_ms: i64, total: u64| {
            let Growth { n, over } = meter.read(start + Duration::from_secs(s), wall_ms, total).today;
            (n, over.as_secs())
        };
        assert_eq!(today(10, DAY_MS - 20_000, 5), (5, 10));
        assert_eq!(today(29, DAY_MS - 1000, 7), (7, 29));
        assert_eq!(today(31, DAY_MS + 1000, 9), (2, 0), "what came over midnight is of the new day");
        assert_eq!(today(40, DAY_MS + 10_000, 12), (5, 9));
        assert_eq!(today(41, 20_000 * DAY_MS, 20), (8, 0));
    }
}
