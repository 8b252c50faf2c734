//! How much of the log may go: arithmetic over what the segments hold, without files and clocks.
//!
//! Age is measured against the newest sample in the log, never against the wall clock: a box that was off for a week
//! finds its data again. Only whole segments go, oldest first.

use std::time::Duration;

use crate::mutant::{self, Mutant};
use crate::wal::format::closed_segment::ClosedSegment;

/// Segments that always have room under the bound in bytes: the one being written and two to choose from.
const FLOOR_SEGMENTS: u64 = 3;

/// Checkpoints that always have room: the last one, and the next while both are there.
const FLOOR_CHECKPOINTS: u64 = 2;

/// A checkpoint is written for no less than this many times its own size, unless a bound is broken.
const MIN_GAIN_OF_CHECKPOINT: u64 = 2;

/// The bounds, in the units of the segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Samples younger than this stay unless another bound is broken.
    pub min_age_ms: i64,
    /// Samples older than this go as soon as their segment can; `None`: no such bound.
    pub max_age_ms: Option<i64>,
    /// Bytes of everything under the data directory.
    pub max_bytes: u64,
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage<'a> {
    /// Segments that are no longer written, oldest first.
    pub closed: &'a [ClosedSegment],
    /// The segment being written.
    pub current: ClosedSegment,
    /// Size of the newest checkpoint; zero without one.
    pub checkpoint_bytes: u64,
    /// Bytes of everything under the data directory, by the time when segments can go again.
    pub total_bytes: u64,
    /// The first segment that a reader still needs: it stays unless a bound is broken. `None` without readers.
    pub needed_from: Option<u32>,
}

/// A decision: all closed segments up to this one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Number of the last segment that goes.
    pub last: u32,
    /// Bytes of the segments that go.
    pub bytes: u64,
    /// Samples younger than `min_age_ms` among them.
    pub lost_samples: u64,
    /// Segments that hold such samples.
    pub lost_segments: u64,
}

/// Milliseconds of a duration, at most `i64::MAX`.
pub fn to_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The least bound in bytes that can be kept: three segments, or what makes a checkpoint worth its writing; two
/// checkpoints; what is set aside.
pub fn floor_bytes(segment_size_bytes: u64, checkpoint_bytes: u64, reserve_bytes: u64) -> u64 {
    let gain_bytes = checkpoint_bytes.saturating_mul(MIN_GAIN_OF_CHECKPOINT);
    segment_size_bytes
        .saturating_mul(FLOOR_SEGMENTS)
        .max(segment_size_bytes.saturating_add(gain_bytes))
        .saturating_add(checkpoint_bytes.saturating_mul(FLOOR_CHECKPOINTS))
        .saturating_add(reserve_bytes)
}

/// Whether segments are due to go, by age or by a broken bound.
pub fn due(bounds: Bounds, usage: Usage<'_>) -> Option<Truncation> {
    let ages = ages_ms(usage);
    let too_old = |max_age_ms: i64| ages.iter().take_while(|age_ms| **age_ms > max_age_ms).count();
    let n_aged = too_old(bounds.min_age_ms);
    let aged_bytes: u64 = usage.closed.iter().take(n_aged).map(|segment| segment.bytes).sum();
    let is_worth_it = aged_bytes >= usage.checkpoint_bytes.saturating_mul(MIN_GAIN_OF_CHECKPOINT);
    let is_done = |segment: &ClosedSegment| usage.needed_from.is_none_or(|needed| segment.number < needed);
    let is_done =
        |segment: &ClosedSegment| is_done(segment) || mutant::is_on(Mutant::RetentionForgetsReaders);
    let n_done = usage.closed.iter().take_while(|segment| is_done(segment)).count();
    let n_by_age = if is_worth_it { n_aged.min(n_done) } else { 0 };
    let n_by_max_age = bounds.max_age_ms.map_or(0, too_old);
    let over_bytes = usage.total_bytes.saturating_sub(bounds.max_bytes);
    let n_by_bytes = if over_bytes == 0 { 0 } else { n_for_bytes(gain_at_limit(usage, over_bytes), usage) };
    let is_one_more = mutant::is_on(Mutant::RetentionTakesOneMore) && n_by_age > 0 && n_by_age < n_done;
    let n_by_age = n_by_age + usize::from(is_one_more);
    let n_due = n_by_age.max(n_by_max_age).max(n_by_bytes);
    truncation(n_due, n_aged, usage)
}

/// What goes when the disk is full: the oldest segments, until `wanted_bytes` are free or none is left.
pub fn for_room(bounds: Bounds, usage: Usage<'_>, wanted_bytes: u64) -> Option<Truncation> {
    let n_aged = ages_ms(usage).iter().take_while(|age_ms| **age_ms > bounds.min_age_ms).count();
    truncation(n_for_bytes(gain_at_limit(usage, wanted_bytes), usage).max(n_aged), n_aged, usage)
}

/// At a limit more goes than has to, so that not every segment costs a checkpoint.
fn gain_at_limit(usage: Usage<'_>, over_bytes: u64) -> u64 {
    over_bytes.max(usage.checkpoint_bytes.saturating_mul(MIN_GAIN_OF_CHECKPOINT))
}

fn n_for_bytes(wanted_bytes: u64, usage: Usage<'_>) -> usize {
    let mut gained_bytes = 0_u64;
    let mut n_segments = 0;
    for segment in usage.closed {
        if gained_bytes >= wanted_bytes {
            break;
        }
        gained_bytes += segment.bytes;
        n_segments += 1;
    }
    n_segments
}

fn truncation(n_segments: usize, n_aged: usize, usage: Usage<'_>) -> Option<Truncation> {
    let going = usage.closed.get(..n_segments)?;
    let last = going.last()?.number;
    let young = going.get(n_aged..).unwrap_or_default();
    Some(Truncation {
        last,
        bytes: going.iter().map(|segment| segment.bytes).sum(),
        lost_samples: young.iter().map(|segment| segment.samples).sum(),
        lost_segments: young.iter().filter(|segment| segment.samples > 0).count() as u64,
    })
}

/// Age of each closed segment's newest sample. No segment is younger than one after it: after the clock was set back
/// timestamps fall from one segment to the next, and an old one "of tomorrow" must not stay for ever.
fn ages_ms(usage: Usage<'_>) -> Vec<i64> {
    let newest_closed = || usage.closed.iter().rev().find_map(|segment| segment.newest_ts_ms);
    let Some(now_ms) = usage.current.newest_ts_ms.or_else(newest_closed) else {
        return vec![0; usage.closed.len()];
    };
    let mut newest_ms = now_ms;
    let mut ages: Vec<i64> = usage
        .closed
        .iter()
        .rev()
        .map(|segment| {
            newest_ms = newest_ms.min(segment.newest_ts_ms.unwrap_or(newest_ms));
            now_ms.saturating_sub(newest_ms)
        })
        .collect();
    ages.reverse();
    ages
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const MIB: u64 = 1024 * 1024;

    /// Closed segments of a mebibyte and a thousand samples with these newest timestamps in hours, numbers from 10.
    fn closed(newest_hours: &[Option<i64>]) -> Vec<ClosedSegment> {
        let segment = |(idx, hour): (usize, &Option<i64>)| ClosedSegment {
            number: 10 + idx as u32,
            bytes: MIB,
            samples: if hour.is_some() { 1000 } else { 0 },
            histograms: 0,
            newest_ts_ms: hour.map(|hour| hour * HOUR_MS),
            ..ClosedSegment::default()
        };
        newest_hours.iter().enumerate().map(segment).collect()
    }

    fn usage(closed: &[ClosedSegment], now_hour: Option<i64>, checkpoint_bytes: u64) -> Usage<'_> {
        let number = closed.last().map_or(0, |segment| segment.number + 1);
        let newest_ts_ms = now_hour.map(|hour| hour * HOUR_MS);
        Usage {
            closed,
            current: ClosedSegment {
                number,
                bytes: MIB,
                samples: 1000,
                newest_ts_ms,
                ..ClosedSegment::default()
            },
            checkpoint_bytes,
            total_bytes: closed.iter().map(|segment| segment.bytes).sum::<u64>() + MIB + checkpoint_bytes,
            needed_from: None,
        }
    }

    const BOUNDS: Bounds = Bounds { min_age_ms: HOUR_MS, max_age_ms: None, max_bytes: 1024 * MIB };

    fn check(bounds: Bounds, usage: Usage<'_>, last: Option<u32>, lost_samples: u64) {
        let truncation = due(bounds, usage);
        assert_eq!(truncation.map(|it| it.last), last, "{usage:?}");
        assert_eq!(truncation.map_or(0, |it| it.lost_samples), lost_samples, "{usage:?}");
    }

    #[test]
    fn what_is_older_than_min_time_goes() {
        let hours = closed(&[Some(1), Some(2), Some(3), Some(4)]);
        check(BOUNDS, usage(&hours, Some(4), 0), Some(11), 0);
        check(BOUNDS, usage(&hours, None, 0), Some(11), 0);
        check(BOUNDS, usage(&hours, Some(2), 0), None, 0);
        check(BOUNDS, usage(&[], Some(2), 0), None, 0);
        check(BOUNDS, usage(&closed(&[None, Some(5), None]), None, 0), None, 0);
        check(BOUNDS, usage(&closed(&[None, Some(3), Some(5), None]), None, 0), Some(11), 0);
    }

    #[test]
    fn what_a_reader_needs_stays_within_the_bounds() {
        let hours = closed(&[Some(1), Some(2), Some(3), Some(4)]);
        let needed = |from: u32| Usage { needed_from: Some(from), ..usage(&hours, Some(9), 0) };
        check(BOUNDS, needed(10), None, 0);
        check(BOUNDS, needed(12), Some(11), 0);
        check(BOUNDS, needed(99), Some(13), 0);
        check(Bounds { max_bytes: 4 * MIB, ..BOUNDS }, needed(10), Some(10), 0);
        check(Bounds { max_age_ms: Some(6 * HOUR_MS), ..BOUNDS }, needed(10), Some(11), 0);
    }

    #[test]
    fn a_checkpoint_is_not_written_for_little() {
        let hours = closed(&[Some(1), Some(2), Some(3), Some(4)]);
        check(BOUNDS, usage(&hours, Some(4), MIB), Some(11), 0);
        check(BOUNDS, usage(&hours, Some(4), MIB + 1), None, 0);
        let bounds = Bounds { max_age_ms: Some(2 * HOUR_MS), ..BOUNDS };
        check(bounds, usage(&hours, Some(4), MIB + 1), Some(10), 0);
    }

    #[test]
    fn max_time_goes_before_min_time() {
        let hours = closed(&[Some(1), Some(2), Some(3), Some(4)]);
        let bounds = Bounds { min_age_ms: 10 * HOUR_MS, max_age_ms: Some(HOUR_MS), ..BOUNDS };
        check(bounds, usage(&hours, Some(4), 0), Some(11), 2000);
    }

    #[test]
    fn bytes_go_oldest_first_and_are_counted() {
        let hours = closed(&[Some(4), Some(4), Some(4), Some(4), Some(4), Some(4)]);
        let bounds = |max_bytes| Bounds { max_bytes, ..BOUNDS };
        check(bounds(7 * MIB), usage(&hours, Some(4), 0), None, 0);
        check(bounds(7 * MIB - 1), usage(&hours, Some(4), 0), Some(10), 1000);
        check(bounds(5 * MIB), usage(&hours, Some(4), 0), Some(11), 2000);
        // With a checkpoint of a mebibyte, two segments have to go to be worth it.
        check(bounds(8 * MIB - 1), usage(&hours, Some(4), MIB), Some(11), 2000);
        check(bounds(0), usage(&hours, Some(4), 0), Some(15), 6000);
        let mixed = closed(&[Some(1), Some(4), Some(4)]);
        check(bounds(2 * MIB), usage(&mixed, Some(4), 0), Some(11), 1000);
        assert_eq!(due(bounds(2 * MIB), usage(&mixed, Some(4), 0)).unwrap().lost_segments, 1);
    }

    #[test]
    fn a_clock_set_back_keeps_nothing_for_ever() {
        // Two segments of the year before the step, then the right time.
        let hours = closed(&[Some(900_000), Some(900_001), Some(5), Some(6)]);
        check(BOUNDS, usage(&hours, Some(6), 0), None, 0);
        check(BOUNDS, usage(&hours, Some(7), 0), Some(12), 0);
    }

    #[test]
    fn room_on_a_full_disk_comes_from_the_oldest() {
        let hours = closed(&[Some(4), Some(4), Some(4)]);
        let room = |wanted| for_room(BOUNDS, usage(&hours, Some(4), 0), wanted).map(|it| it.last);
        assert_eq!(
            [room(1), room(MIB), room(MIB + 1), room(99 * MIB)],
            [Some(10), Some(10), Some(11), Some(12)]
        );
        assert_eq!(for_room(BOUNDS, usage(&[], Some(4), 0), 1), None);
    }

    #[test]
    fn floor_is_three_segments_two_checkpoints_and_the_reserve() {
        assert_eq!(floor_bytes(8 * MIB, MIB, 2 * MIB), 28 * MIB);
        // Segments that are small beside the checkpoint: one, and two checkpoints' worth of them.
        assert_eq!(floor_bytes(MIB, 4 * MIB, 6 * MIB), 23 * MIB);
        assert_eq!(floor_bytes(u64::MAX, u64::MAX, 1), u64::MAX);
    }
}
