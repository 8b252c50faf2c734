//! Axes: which round values or times get a tick, where it stands, and what is written there.

use crate::calendar::rfc3339_ms;
use std::iter::successors;
use std::ops::RangeInclusive;

/// More ticks of time would touch each other on a phone.
const MAX_TIME_TICKS: i64 = 6;
/// The axis of values is cut into about so many parts.
const VALUE_PARTS: f64 = 4.0;
/// What lies beyond is drawn at the edge, and what is smaller is zero: so differences are finite and parts have digits.
const LARGEST: f64 = 1e300;
const SMALLEST: f64 = 1e-300;
/// A range that is a smaller part of its values is none: numbers have no more digits.
const LEAST_PART: f64 = 1e-12;

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Steps between ticks of time.
const TIME_STEPS_MS: [i64; 22] = [
    SECOND_MS,
    5 * SECOND_MS,
    10 * SECOND_MS,
    15 * SECOND_MS,
    30 * SECOND_MS,
    MINUTE_MS,
    2 * MINUTE_MS,
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    15 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
    2 * HOUR_MS,
    3 * HOUR_MS,
    6 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
    2 * DAY_MS,
    7 * DAY_MS,
    14 * DAY_MS,
    30 * DAY_MS,
    91 * DAY_MS,
];

/// A mark on an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// From the low end of the axis (0) to the high one (1).
    pub(super) at: f64,
    pub(super) label: String,
}

/// The axis of values: from one round value to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct ValueAxis {
    low: f64,
    high: f64,
    n_parts: u32,
}

impl ValueAxis {
    /// An axis that has room for all values from `low` to `high`, both finite.
    pub(super) fn over(low: f64, high: f64) -> Self {
        let drawable = |value: f64| if value.abs() < SMALLEST { 0.0 } else { value.clamp(-LARGEST, LARGEST) };
        let (mut low, mut high) = (drawable(low), drawable(high));
        if high - low <= low.abs().max(high.abs()) * LEAST_PART {
            // A line that is flat has zero for company.
            (low, high) = match low {
                0.0 => (0.0, 1.0),
                value => (value.min(0.0), value.max(0.0)),
            };
        }
        let step = round_step((high - low) / VALUE_PARTS);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        Self { low: first * step, high: last * step, n_parts: (last - first).max(1.0) as u32 }
    }

    /// Where a value stands.
    pub(super) fn place(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    pub(super) fn ticks(&self) -> Vec<Tick> {
        let n_parts = f64::from(self.n_parts);
        let step = (self.high - self.low) / n_parts;
        let (unit, suffix) = unit_of(self.low.abs().max(self.high.abs()));
        let n_decimals = (-(step / unit).log10().floor()).clamp(0.0, 9.0) as usize;
        let ticks = (0..=self.n_parts).map(|idx| {
            let value = (self.low + f64::from(idx) * step) / unit;
            // A rest of rounding is no minus zero.
            let value = if value.abs() < step / unit / 2.0 { 0.0 } else { value };
            Tick { at: f64::from(idx) / n_parts, label: format!("{value:.n_decimals$}{suffix}") }
        });
        ticks.collect()
    }
}

/// The next larger of 1, 2 and 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least * (1.0 - LEAST_PART));
    factor.unwrap_or(10.0) * power
}

/// What values of this size are counted in, and how that is written.
fn unit_of(largest: f64) -> (f64, String) {
    const UNITS: [(f64, &str); 6] =
        [(1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"), (1e-3, "")];
    match UNITS.iter().find(|(unit, _)| largest >= *unit) {
        Some((unit, suffix)) if largest < 1e18 => (unit.max(1.0), (*suffix).to_owned()),
        _ => {
            let exponent = largest.log10().floor();
            (10_f64.powf(exponent), format!("e{exponent}"))
        }
    }
}

/// Round times of a range, in UTC; midnight is written as the day that begins.
pub(super) fn time_ticks(range_ms: &RangeInclusive<i64>) -> Vec<Tick> {
    let (start_ms, length_ms) = (*range_ms.start(), (range_ms.end() - range_ms.start()).max(1));
    let year_ms = 365 * DAY_MS;
    let is_wide_enough = |step_ms: &i64| length_ms / step_ms < MAX_TIME_TICKS;
    let step_ms = TIME_STEPS_MS
        .into_iter()
        .find(is_wide_enough)
        .unwrap_or_else(|| (length_ms / MAX_TIME_TICKS / year_ms + 1) * year_ms);
    let first_ms = start_ms + (-start_ms).rem_euclid(step_ms);
    // `step_by` takes a `usize`: with 32 bits it ends at 49 days.
    let times_ms = successors(Some(first_ms), |ts_ms| ts_ms.checked_add(step_ms));
    let times_ms = times_ms.take_while(|ts_ms| ts_ms <= range_ms.end());
    let tick = |ts_ms: i64| {
        let text = rfc3339_ms(ts_ms);
        let label = match ts_ms.rem_euclid(DAY_MS) {
            0 => text.get(..10),
            _ if step_ms < MINUTE_MS => text.get(11..19),
            _ => text.get(11..16),
        };
        Tick { at: (ts_ms - start_ms) as f64 / length_ms as f64, label: label.unwrap_or_default().to_owned() }
    };
    times_ms.map(tick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn values_have_round_ticks_around_them() {
        let check = |low: f64, high: f64, want: &[&str]| {
            let axis = ValueAxis::over(low, high);
            let ticks = axis.ticks();
            assert_eq!(labels(&ticks), want, "{low} to {high}");
            assert_eq!((ticks[0].at, ticks[ticks.len() - 1].at), (0.0, 1.0));
            assert!((2..=7).contains(&ticks.len()));
            assert!(axis.place(low) <= axis.place(high));
        };
        check(0.0, 1.0, &["0.0", "0.5", "1.0"]);
        check(1.0, 1.0, &["0.0", "0.5", "1.0"]);
        check(0.0, 0.0, &["0.0", "0.5", "1.0"]);
        check(-3.0, -3.0, &["-3", "-2", "-1", "0"]);
        check(-0.1, 0.1, &["-0.10", "-0.05", "0.00", "0.05", "0.10"]);
        check(3.0, 18.0, &["0", "5", "10", "15", "20"]);
        check(1_200.0, 4_900.0, &["1 k", "2 k", "3 k", "4 k", "5 k"]);
        check(5.1e9, 5.3e9, &["5.10 G", "5.15 G", "5.20 G", "5.25 G", "5.30 G"]);
        check(2e-5, 9e-5, &["0.2e-4", "0.4e-4", "0.6e-4", "0.8e-4", "1.0e-4"]);
        check(0.002, 0.0091, &["0.002", "0.004", "0.006", "0.008", "0.010"]);
        check(7e20, 7e20, &["0e20", "2e20", "4e20", "6e20", "8e20"]);
    }

    #[test]
    fn no_values_break_the_axis() {
        let extremes = [0.0, -0.0, f64::MIN_POSITIVE, 5e-324, 1.0, 1e15 + 1.0, 1e16, f64::MAX];
        for low in extremes.into_iter().flat_map(|value| [value, -value]) {
            for high in extremes.into_iter().flat_map(|value| [value, -value]).filter(|high| *high >= low) {
                let axis = ValueAxis::over(low, high);
                let ticks = axis.ticks();
                assert!((2..=12).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
                let places = [axis.place(low), axis.place(high)];
                assert!(
                    places.iter().all(|place| (0.0..=1.0).contains(place)),
                    "{low} to {high}: {places:?}"
                );
            }
        }
    }

    #[test]
    fn times_are_round_in_utc() {
        let check = |start_ms: i64, length_ms: i64, want: &[&str]| {
            let ticks = time_ticks(&(start_ms..=start_ms + length_ms));
            assert_eq!(labels(&ticks), want);
            assert!(ticks.iter().all(|tick| (0.0..=1.0).contains(&tick.at)), "{ticks:?}");
        };
        let noon_ms = 1_767_355_200_000;
        check(noon_ms + 1, HOUR_MS, &["12:15", "12:30", "12:45", "13:00"]);
        check(noon_ms, 10_000, &["12:00:00", "12:00:05", "12:00:10"]);
        check(noon_ms, DAY_MS, &["12:00", "18:00", "2026-01-03", "06:00", "12:00"]);
        check(noon_ms, 3 * DAY_MS, &["2026-01-03", "2026-01-04", "2026-01-05"]);
        check(
            noon_ms,
            10 * 365 * DAY_MS,
            &["2027-12-18", "2029-12-17", "2031-12-17", "2033-12-16", "2035-12-16"],
        );
        check(-10_000, 10_000, &["23:59:50", "23:59:55", "1970-01-01"]);
        check(noon_ms, 0, &["12:00:00"]);
    }
}
