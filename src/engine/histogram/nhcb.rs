//! From a classic histogram to a native one with the same bounds (Prometheus' `util/convertnhcb`).
//!
//! Samples come one by one and in any order; the first that does not fit spoils the histogram.

use crate::float;
use crate::float::Layout;
use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, Counts, Flavour, Histogram, Span};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

/// Empty buckets in a row that stay in a histogram with integer counts.
const MAX_EMPTY_BUCKETS: i64 = 2;

/// Cumulative counts up to here are integers.
const MAX_INTEGER: f64 = (1u64 << 63) as f64;

/// Bounds of an idle histogram that room is kept for.
const KEPT_BUCKETS: usize = 4096;

/// Why classic series are no histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the sentences are in `Display`")]
pub enum ConvertError {
    NanBound,
    NegativeBucket { bound: f64, count: f64 },
    NegativeCount(f64),
    NotCumulative { count: f64, sign: &'static str, other: f64 },
    CountMismatch { count: f64, bound: f64, last: f64 },
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let go = |value: f64| {
            let mut text = String::new();
            float::format_go(value, Layout::General, &mut text);
            text
        };
        match *self {
            Self::NanBound => f.write_str("bucket boundary must not be NaN"),
            Self::NegativeBucket { bound, count } => {
                write!(f, "bucket count must be non-negative: le={}, count={}", go(bound), go(count))
            }
            Self::NegativeCount(count) => write!(f, "count must be non-negative: count={}", go(count)),
            Self::NotCumulative { count, sign, other } => {
                write!(f, "count is not cumulative: {} {sign} {}", go(count), go(other))
            }
            Self::CountMismatch { count, bound, last } => {
                // Prometheus writes an integer count without exponent.
                let count = if is_integer(count) { format!("{count}") } else { go(count) };
                write!(f, "count mismatch: count={count} != le={} count={}", go(bound), go(last))
            }
        }
    }
}

impl std::error::Error for ConvertError {}

/// The series of one classic histogram, as far as they were seen.
#[derive(Clone, Debug, Default)]
pub struct ClassicHistogram {
    /// Bounds and cumulative counts, rising.
    buckets: Vec<(f64, f64)>,
    /// All of them instead, once one came out of order.
    moved: BTreeMap<Bound, f64>,
    count: Option<f64>,
    sum: f64,
    error: Option<ConvertError>,
}

/// A bound that is a number, in order.
#[derive(Clone, Copy, Debug)]
struct Bound(f64);

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Bound {}

impl ClassicHistogram {
    /// Nothing seen; keeps the memory.
    pub fn clear(&mut self) {
        self.buckets.clear();
        self.buckets.shrink_to(KEPT_BUCKETS);
        self.moved.clear();
        self.count = None;
        self.sum = 0.0;
        self.error = None;
    }

    /// Sees a bucket; the second with a bound does not count.
    pub fn set_bucket(&mut self, bound: f64, count: f64) {
        if self.error.is_some() {
            return;
        }
        if bound.is_nan() {
            self.error = Some(ConvertError::NanBound);
            return;
        }
        if count < 0.0 {
            self.error = Some(ConvertError::NegativeBucket { bound, count });
            return;
        }
        // Nearly always behind the last one.
        if self.moved.is_empty() && self.buckets.last().is_none_or(|(last_bound, _)| *last_bound < bound) {
            match self.buckets.last() {
                Some(&(_, other)) if count < other => {
                    self.error = Some(ConvertError::NotCumulative { count, sign: "<", other });
                }
                _ => self.buckets.push((bound, count)),
            }
            return;
        }
        self.moved.extend(self.buckets.drain(..).map(|(bound, count)| (Bound(bound), count)));
        let key = Bound(bound);
        if self.moved.contains_key(&key) {
            return;
        }
        let before = self.moved.range(..key).next_back().map(|(_, count)| *count);
        let behind = self.moved.range(key..).next().map(|(_, count)| *count);
        if let Some(other) = before.filter(|other| count < *other) {
            self.error = Some(ConvertError::NotCumulative { count, sign: "<", other });
        } else if let Some(other) = behind.filter(|other| count > *other) {
            self.error = Some(ConvertError::NotCumulative { count, sign: ">", other });
        } else {
            self.moved.insert(key, count);
        }
    }

    /// Sees the number of observations.
    pub fn set_count(&mut self, count: f64) {
        if self.error.is_some() {
            return;
        }
        if count < 0.0 {
            self.error = Some(ConvertError::NegativeCount(count));
            return;
        }
        self.count = Some(count);
    }

    /// Sees the sum of the observations.
    pub fn set_sum(&mut self, sum: f64) {
        if self.error.is_none() {
            self.sum = sum;
        }
    }

    /// Puts what was seen in `histogram`, whose memory is used again. Without a count the last bucket's is the count,
    /// without a bucket for +Inf the count is that bucket.
    ///
    /// # Errors
    /// It is no histogram.
    pub fn convert(&mut self, histogram: &mut Histogram) -> Result<(), ConvertError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.buckets
            .extend(std::mem::take(&mut self.moved).into_iter().map(|(bound, count)| (bound.0, count)));
        let last = self.buckets.last().copied();
        let count = self.count.or(last.map(|(_, count)| count)).unwrap_or_default();
        if last.is_none_or(|(bound, _)| bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let is_integer = is_integer(count) && self.buckets.iter().all(|(_, count)| is_integer(*count));
        histogram.clear(if is_integer { Flavour::Integer } else { Flavour::Float });
        histogram.schema = CUSTOM_BUCKETS_SCHEMA;
        histogram.sum = self.sum;
        // A page has fewer than 2^32 of them.
        histogram.positive_spans.push(Span { offset: 0, length: self.buckets.len() as u32 });
        let bounds = self.buckets.iter().map(|(bound, _)| *bound);
        histogram.custom_values.extend(bounds.filter(|bound| *bound != f64::INFINITY));
        match &mut histogram.counts {
            Counts::Integer { count: own_count, positive_deltas, .. } => {
                *own_count = count as u64;
                let (mut cumulative, mut previous) = (0i64, 0i64);
                positive_deltas.extend(self.buckets.iter().map(|(_, count)| {
                    let in_bucket = *count as i64 - cumulative;
                    let delta = in_bucket - previous;
                    (cumulative, previous) = (*count as i64, in_bucket);
                    delta
                }));
            }
            Counts::Float { count: own_count, positive, .. } => {
                *own_count = count;
                let mut cumulative = 0.0;
                positive.extend(self.buckets.iter().map(|(_, count)| {
                    let in_bucket = count - cumulative;
                    cumulative = *count;
                    in_bucket
                }));
            }
        }
        match self.buckets.last() {
            // Also where one is no number.
            Some(&(bound, last)) if last != count => Err(ConvertError::CountMismatch { count, bound, last }),
            _ => {
                histogram.compact_one_span(if is_integer { MAX_EMPTY_BUCKETS } else { 0 });
                Ok(())
            }
        }
    }
}

fn is_integer(count: f64) -> bool {
    count.abs() < MAX_INTEGER && count.round() == count
}

/// Which series of a classic histogram a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Suffix {
    Bucket,
    Sum,
    Count,
}

/// The name of the histogram that a series of this name would be of (`GetHistogramMetricBaseName`).
pub fn base_name(name: &str) -> (Option<Suffix>, &str) {
    [("_bucket", Suffix::Bucket), ("_sum", Suffix::Sum), ("_count", Suffix::Count)]
        .into_iter()
        .find_map(|(ending, suffix)| Some((Some(suffix), name.strip_suffix(ending)?)))
        .unwrap_or((None, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(buckets: &[(f64, f64)], count: Option<f64>, sum: f64) -> ClassicHistogram {
        let mut classic = ClassicHistogram::default();
        for (bound, count) in buckets {
            classic.set_bucket(*bound, *count);
        }
        if let Some(count) = count {
            classic.set_count(count);
        }
        classic.set_sum(sum);
        classic
    }

    fn check(buckets: &[(f64, f64)], count: Option<f64>, want: Result<&str, &str>) {
        let mut histogram = Histogram::default();
        let got = seen(buckets, count, 1.5).convert(&mut histogram).map(|()| {
            let spans: Vec<_> =
                histogram.positive_spans.iter().map(|span| (span.offset, span.length)).collect();
            let counts = match &histogram.counts {
                Counts::Integer { count, positive_deltas, .. } => format!("{count} {positive_deltas:?}"),
                Counts::Float { count, positive, .. } => format!("{count:?} {positive:?}"),
            };
            format!("{:?} {spans:?} {counts}", histogram.custom_values)
        });
        let got = got.map_err(|error| error.to_string());
        assert_eq!(got.as_deref().map_err(String::as_str), want, "{buckets:?} {count:?}");
        if got.is_ok() {
            assert_eq!(histogram.validate(), Ok(()), "{buckets:?} {count:?}");
        }
    }

    #[test]
    fn classic_histograms_are_converted() {
        const INF: f64 = f64::INFINITY;
        // Most are cases of Prometheus' util/convertnhcb/convertnhcb_test.go.
        check(&[], None, Ok("[] [] 0 []"));
        check(&[], Some(1.0), Ok("[] [(0, 1)] 1 [1]"));
        check(&[(10.0, 1.0)], None, Ok("[10.0] [(0, 1)] 1 [1]"));
        check(&[(0.5, 2.0), (1.0, 2.0)], Some(3.0), Ok("[0.5, 1.0] [(0, 3)] 3 [2, -2, 1]"));
        check(&[(1.0, 2.0), (0.5, 1.0)], Some(3.0), Ok("[0.5, 1.0] [(0, 3)] 3 [1, 0, 0]"));
        check(&[(0.5, 1.5), (INF, 3.0)], Some(3.0), Ok("[0.5] [(0, 2)] 3.0 [1.5, 1.5]"));
        check(&[(0.5, 1.0), (0.5, 9.0), (INF, 3.0)], Some(3.0), Ok("[0.5] [(0, 2)] 3 [1, 1]"));
        let gap = [(1.0, 0.0), (2.0, 1.0), (3.0, 1.0), (4.0, 1.0), (5.0, 1.0), (6.0, 2.0), (INF, 2.0)];
        check(&gap, Some(2.0), Ok("[1.0, 2.0, 3.0, 4.0, 5.0, 6.0] [(1, 1), (3, 1)] 2 [1, 0]"));
        let gap = [(1.0, 0.5), (2.0, 0.5), (INF, 2.0)];
        check(&gap, None, Ok("[1.0, 2.0] [(0, 1), (1, 1)] 2.0 [0.5, 1.5]"));
        check(&[(INF, 2.0)], Some(3.0), Err("count mismatch: count=3 != le=+Inf count=2"));
        check(&[(INF, 2.5)], Some(3.0), Err("count mismatch: count=3 != le=+Inf count=2.5"));
        check(&[(1.0, 2.0), (2.0, 1.0)], None, Err("count is not cumulative: 1 < 2"));
        check(&[(2.0, 1.0), (1.0, 2.0)], None, Err("count is not cumulative: 2 > 1"));
        check(&[(2.0, -1.0)], None, Err("bucket count must be non-negative: le=2, count=-1"));
        check(&[(2.0, 1.0)], Some(-1.0), Err("count must be non-negative: count=-1"));
        check(&[(f64::NAN, 1.0)], None, Err("bucket boundary must not be NaN"));
        check(&[(INF, f64::NAN)], Some(f64::NAN), Err("count mismatch: count=NaN != le=+Inf count=NaN"));
    }

    #[test]
    fn what_is_converted_may_still_be_invalid() {
        let mut histogram = Histogram::default();
        assert_eq!(seen(&[(0.5, 1.0)], Some(0.0), 0.0).convert(&mut histogram), Ok(()));
        assert!(histogram.validate().is_err());
    }

    #[test]
    fn names_have_a_base() {
        assert_eq!(base_name("a_bucket"), (Some(Suffix::Bucket), "a"));
        assert_eq!(base_name("a_sum"), (Some(Suffix::Sum), "a"));
        assert_eq!(base_name("a_count_count"), (Some(Suffix::Count), "a_count"));
        assert_eq!(base_name("a_created"), (None, "a_created"));
    }
}
