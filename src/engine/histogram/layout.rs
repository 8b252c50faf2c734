//! Buckets and the spans that say where they are, rewritten in place: without empty buckets, or at a lower resolution
//! (Prometheus' `compactBuckets` with no empty bucket allowed, and `reduceResolution`).

use crate::histogram::{Counts, Histogram, Span};

/// How a bucket stands for its count.
trait Bucket: Copy {
    const EMPTY: Self;
    /// The count of this bucket, behind one with the count `previous`.
    fn absolute(self, previous: Self) -> Self;
    /// The bucket that has this count behind `previous`.
    fn encoded(self, previous: Self) -> Self;
    fn plus(self, other: Self) -> Self;
    fn is_empty(self) -> bool;
}

impl Bucket for i64 {
    const EMPTY: Self = 0;

    fn absolute(self, previous: Self) -> Self {
        previous.wrapping_add(self)
    }

    fn encoded(self, previous: Self) -> Self {
        self.wrapping_sub(previous)
    }

    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    fn is_empty(self) -> bool {
        self == 0
    }
}

impl Bucket for f64 {
    const EMPTY: Self = 0.0;

    fn absolute(self, _previous: Self) -> Self {
        self
    }

    fn encoded(self, _previous: Self) -> Self {
        self
    }

    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn is_empty(self) -> bool {
        self == 0.0
    }
}

impl Histogram {
    /// Cuts out empty buckets and joins spans that touch. The spans must fit the buckets.
    pub fn compact(&mut self) {
        self.each_side(compact, compact);
    }

    /// Cuts out empty buckets where there are more than `max_empty` in a row, and at both ends. Each side must be one
    /// span.
    pub(in crate::histogram) fn compact_one_span(&mut self, max_empty: i64) {
        self.each_side(
            |spans, buckets| rewrite(spans, buckets, |idx| idx, |count| !count.is_empty(), max_empty),
            |spans, buckets| rewrite(spans, buckets, |idx| idx, |count| !count.is_empty(), max_empty),
        );
    }

    /// Merges buckets as a resolution lower by `shift` has them. The spans must fit the buckets, and none but the
    /// first may go back.
    pub(in crate::histogram) fn merge_buckets(&mut self, shift: u32) {
        let target = |idx: i64| ((idx - 1) >> shift.min(i64::BITS - 1)) + 1;
        self.each_side(
            |spans, buckets| rewrite(spans, buckets, target, |_| true, 0),
            |spans, buckets| rewrite(spans, buckets, target, |_| true, 0),
        );
    }

    fn each_side(
        &mut self,
        mut integers: impl FnMut(&mut Vec<Span>, &mut Vec<i64>),
        mut floats: impl FnMut(&mut Vec<Span>, &mut Vec<f64>),
    ) {
        let Self { counts, positive_spans, negative_spans, .. } = self;
        match counts {
            Counts::Integer { positive_deltas, negative_deltas, .. } => {
                integers(positive_spans, positive_deltas);
                integers(negative_spans, negative_deltas);
            }
            Counts::Float { positive, negative, .. } => {
                floats(positive_spans, positive);
                floats(negative_spans, negative);
            }
        }
    }
}

fn compact<T: Bucket>(spans: &mut Vec<Span>, buckets: &mut Vec<T>) {
    let has_gaps = spans.iter().skip(1).all(|span| span.offset != 0);
    let mut count = T::EMPTY;
    let is_compact = has_gaps
        && spans.iter().all(|span| span.length > 0)
        && buckets.iter().all(|bucket| {
            count = bucket.absolute(count);
            !count.is_empty()
        });
    if !is_compact {
        rewrite(spans, buckets, |idx| idx, |count| !count.is_empty(), 0);
    }
}

/// Buckets being written over those that are being read.
struct Output<'a, T> {
    buckets: &'a mut Vec<T>,
    len: usize,
    /// The count written last, and the one before it.
    last: T,
    before: T,
}

impl<T: Bucket> Output<'_, T> {
    fn push(&mut self, count: T) {
        (self.before, self.last) = (self.last, count);
        self.len += 1;
        self.write();
    }

    fn add_to_last(&mut self, count: T) {
        self.last = self.last.plus(count);
        self.write();
    }

    fn write(&mut self) {
        if let Some(slot) = self.buckets.get_mut(self.len - 1) {
            *slot = self.last.encoded(self.before);
        }
    }
}

/// Gives every bucket that is kept the index `target` of its own, which never falls unless its own does; what gets
/// the same index is merged. Up to `max_empty` buckets between two are written as empty ones; they must have been
/// there.
fn rewrite<T: Bucket>(
    spans: &mut Vec<Span>,
    buckets: &mut Vec<T>,
    target: impl Fn(i64) -> i64,
    keep: impl Fn(T) -> bool,
    max_empty: i64,
) {
    let n_old_spans = spans.len();
    let mut idx = 0i64;
    let mut n_read = 0;
    let mut count = T::EMPTY;
    let mut last_target = None;
    let mut output = Output { buckets, len: 0, last: T::EMPTY, before: T::EMPTY };
    for span_idx in 0..n_old_spans {
        let Some(&span) = spans.get(span_idx) else { break };
        idx += i64::from(span.offset);
        for _ in 0..span.length {
            let Some(&bucket) = output.buckets.get(n_read) else { break };
            n_read += 1;
            count = bucket.absolute(count);
            let target = target(idx);
            idx += 1;
            if !keep(count) {
                continue;
            }
            if last_target == Some(target) {
                output.add_to_last(count);
                continue;
            }
            let gap = last_target.map(|last_target| target - last_target - 1);
            match (gap, spans.last_mut()) {
                (Some(gap), Some(span)) if (0..=max_empty).contains(&gap) => {
                    for _ in 0..gap {
                        output.push(T::EMPTY);
                        span.length += 1;
                    }
                    span.length += 1;
                }
                // A gap beyond the type is as invalid as one that goes back.
                _ => {
                    spans.push(Span { offset: i32::try_from(gap.unwrap_or(target)).unwrap_or(-1), length: 1 })
                }
            }
            output.push(count);
            last_target = Some(target);
        }
    }
    let n_written = output.len;
    spans.drain(..n_old_spans);
    buckets.truncate(n_written);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(pairs: &[(i32, u32)]) -> Vec<Span> {
        pairs.iter().map(|&(offset, length)| Span { offset, length }).collect()
    }

    #[test]
    fn empty_buckets_are_cut_out() {
        let check = |given: &[(i32, u32)], deltas: &[i64], want: &[(i32, u32)], want_deltas: &[i64]| {
            let (mut got, mut got_deltas) = (spans(given), deltas.to_vec());
            compact(&mut got, &mut got_deltas);
            assert_eq!((got, got_deltas), (spans(want), want_deltas.to_vec()), "{given:?} {deltas:?}");
            let absolute = |deltas: &[i64]| -> Vec<f64> {
                let counts = deltas.iter().scan(0, |count, delta| {
                    *count += delta;
                    Some(*count as f64)
                });
                counts.collect()
            };
            let (mut got, mut got_counts) = (spans(given), absolute(deltas));
            compact(&mut got, &mut got_counts);
            assert_eq!((got, got_counts), (spans(want), absolute(want_deltas)), "{given:?} as floats");
        };
        // From Prometheus' TestHistogramCompact with no empty bucket allowed.
        check(&[], &[], &[], &[]);
        check(&[(-2, 1), (2, 3)], &[5, 3, 1, -2], &[(-2, 1), (2, 3)], &[5, 3, 1, -2]);
        check(&[(0, 0)], &[], &[], &[]);
        check(&[(0, 1)], &[0], &[], &[]);
        check(&[(-4, 4), (1, 2)], &[0, 0, 1, 2, 1, 0], &[(-2, 2), (1, 2)], &[1, 2, 1, 0]);
        check(&[(-2, 1), (0, 1)], &[1, 1], &[(-2, 2)], &[1, 1]);
        check(&[(0, 5)], &[1, -1, 1, -1, 1], &[(0, 1), (1, 1), (1, 1)], &[1, 0, 0]);
        check(&[(-2, 2), (0, 0), (2, 0), (1, 1)], &[1, 3, -2], &[(-2, 2), (3, 1)], &[1, 3, -2]);
        check(&[(-3, 1), (2, 2), (2, 1)], &[4, -4, 0, 9], &[(-3, 1), (6, 1)], &[4, 5]);
        check(&[(3, 1), (-2, 1)], &[1, 1], &[(3, 1), (-2, 1)], &[1, 1]);
    }
}
