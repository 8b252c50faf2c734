//! Whether a histogram is one (Prometheus' `Histogram.Validate` and `FloatHistogram.Validate`), in its words.

use crate::histogram::{Counts, Histogram, MAX_SCHEMA, MIN_SCHEMA, Span};
use std::fmt;

/// Why a histogram is refused.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum HistogramError {
    /// Neither exponential nor custom buckets.
    InvalidSchema(i32),
    /// A span that goes back; the first one may where buckets are exponential.
    NegativeOffset {
        /// From 1.
        span: usize,
        /// The offset.
        offset: i32,
    },
    /// More or fewer buckets than the spans describe.
    SpansMismatch {
        /// Buckets that the spans describe.
        needed: u64,
        /// Buckets there are.
        found: usize,
    },
    /// A bucket with less than nothing.
    NegativeBucket {
        /// From 1.
        bucket: usize,
        /// Its count, as written.
        count: String,
    },
    /// Less than nothing in the zero bucket.
    NegativeZeroCount(f64),
    /// Less than no observation.
    NegativeCount(f64),
    /// Buckets and count differ.
    CountMismatch {
        /// Observations in the buckets.
        in_buckets: u64,
        /// The count.
        count: u64,
    },
    /// More in the buckets than observed at all; what is in none was not a number.
    CountTooSmall {
        /// Observations in the buckets.
        in_buckets: u64,
        /// The count.
        count: u64,
    },
    /// A bound that is no number.
    BoundIsNan,
    /// A bound that is not above the one before.
    BoundsNotRising {
        /// The one before.
        previous: f64,
        /// The bound.
        bound: f64,
    },
    /// The last bound is +Inf, which is meant anyway.
    InfiniteBound,
    /// Spans reach behind the last bound.
    TooFewBounds {
        /// Bounds there are.
        bounds: usize,
        /// Buckets that the spans reach over.
        covered: i64,
    },
    /// Custom buckets beside a zero bucket with observations.
    CustomZeroCount,
    /// Custom buckets beside a zero bucket with a width.
    CustomZeroThreshold,
    /// Custom buckets beside negative spans.
    CustomNegativeSpans,
    /// Custom buckets beside negative buckets.
    CustomNegativeBuckets,
    /// Bounds beside exponential buckets.
    BoundsOfExponential,
    /// An error on one side, or in the bounds.
    In(&'static str, Box<HistogramError>),
}

impl fmt::Display for HistogramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSchema(schema) => write!(
                f,
                "histogram has an invalid schema, which must be between {MIN_SCHEMA} and {MAX_SCHEMA} for \
                 exponential buckets, or {} for custom buckets, got schema {schema}",
                crate::histogram::CUSTOM_BUCKETS_SCHEMA
            ),
            Self::NegativeOffset { span, offset } => write!(
                f,
                "span number {span} with offset {offset}: histogram has a span whose offset is negative"
            ),
            Self::SpansMismatch { needed, found } => write!(
                f,
                "spans need {needed} buckets, have {found} buckets: histogram spans specify different number of \
                 buckets than provided"
            ),
            Self::NegativeBucket { bucket, count } => write!(
                f,
                "bucket number {bucket} has observation count of {count}: histogram has a bucket whose observation \
                 count is negative"
            ),
            Self::NegativeZeroCount(count) => write!(
                f,
                "zero bucket has observation count of {count}: histogram has a bucket whose observation count is \
                 negative"
            ),
            Self::NegativeCount(count) => {
                write!(f, "observation count is  {count}: histogram's observation count is negative")
            }
            Self::CountMismatch { in_buckets, count } => write!(
                f,
                "{in_buckets} observations found in buckets, but the Count field is {count}: histogram's \
                 observation count should equal the number of observations found in the buckets (in absence of NaN)"
            ),
            Self::CountTooSmall { in_buckets, count } => write!(
                f,
                "{in_buckets} observations found in buckets, but the Count field is {count}: histogram's \
                 observation count should be at least the number of observations found in the buckets"
            ),
            Self::BoundIsNan => f.write_str("histogram custom bounds must not be NaN"),
            Self::BoundsNotRising { previous, bound } => write!(
                f,
                "previous bound is {previous:.6} and current is {bound:.6}: histogram custom bounds must be in \
                 strictly increasing order"
            ),
            Self::InfiniteBound => f.write_str(
                "last +Inf bound must not be explicitly defined: histogram custom bounds must be finite",
            ),
            Self::TooFewBounds { bounds, covered } => write!(
                f,
                "only {bounds} custom bounds defined which is insufficient to cover total span length of {covered}: \
                 histogram custom bounds are too few"
            ),
            Self::CustomZeroCount => f.write_str("custom buckets: must have zero count of 0"),
            Self::CustomZeroThreshold => f.write_str("custom buckets: must have zero threshold of 0"),
            Self::CustomNegativeSpans => f.write_str("custom buckets: must not have negative spans"),
            Self::CustomNegativeBuckets => f.write_str("custom buckets: must not have negative buckets"),
            Self::BoundsOfExponential => {
                f.write_str("histogram with exponential schema must not have custom bounds")
            }
            Self::In(where_from, error) => write!(f, "{where_from}: {error}"),
        }
    }
}

impl std::error::Error for HistogramError {}

type Result<T> = std::result::Result<T, HistogramError>;

impl Histogram {
    /// Checks everything that a reader of it relies on.
    ///
    /// # Errors
    /// It is no histogram. Prometheus refuses the whole page then.
    pub fn validate(&self) -> Result<()> {
        let (n_positive, n_negative) = match &self.counts {
            Counts::Integer { positive_deltas, negative_deltas, .. } => {
                (positive_deltas.len(), negative_deltas.len())
            }
            Counts::Float { positive, negative, .. } => (positive.len(), negative.len()),
        };
        if self.has_custom_buckets() {
            in_part("custom buckets", self.check_bounds(n_positive))?;
            self.check_custom_is_bare(n_negative)?;
        } else if (MIN_SCHEMA..=MAX_SCHEMA).contains(&self.schema) {
            in_part("positive side", check_spans(&self.positive_spans, 1, n_positive))?;
            in_part("negative side", check_spans(&self.negative_spans, 1, n_negative))?;
        } else {
            return Err(HistogramError::InvalidSchema(self.schema));
        }
        self.check_counts()
    }

    fn check_custom_is_bare(&self, n_negative: usize) -> Result<()> {
        let has_zero_count = match self.counts {
            Counts::Integer { zero_count, .. } => zero_count != 0,
            Counts::Float { zero_count, .. } => zero_count != 0.0,
        };
        if has_zero_count {
            return Err(HistogramError::CustomZeroCount);
        }
        if self.zero_threshold != 0.0 {
            return Err(HistogramError::CustomZeroThreshold);
        }
        if !self.negative_spans.is_empty() {
            return Err(HistogramError::CustomNegativeSpans);
        }
        if n_negative > 0 {
            return Err(HistogramError::CustomNegativeBuckets);
        }
        Ok(())
    }

    fn check_bounds(&self, n_buckets: usize) -> Result<()> {
        let mut previous = None;
        for &bound in &self.custom_values {
            if bound.is_nan() {
                return Err(HistogramError::BoundIsNan);
            }
            if let Some(previous) = previous.filter(|previous| bound <= *previous) {
                return Err(HistogramError::BoundsNotRising { previous, bound });
            }
            previous = Some(bound);
        }
        if previous == Some(f64::INFINITY) {
            return Err(HistogramError::InfiniteBound);
        }
        check_spans(&self.positive_spans, 0, n_buckets)?;
        let covered = self.positive_spans.iter().map(|it| i64::from(it.length) + i64::from(it.offset)).sum();
        let bounds = self.custom_values.len();
        if covered > bounds as i64 + 1 {
            return Err(HistogramError::TooFewBounds { bounds, covered });
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<()> {
        match &self.counts {
            Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
                let n_negative = in_part("negative side", sum_deltas(negative_deltas))?;
                self.check_no_bounds_of_exponential()?;
                let n_positive = in_part("positive side", sum_deltas(positive_deltas))?;
                let in_buckets = n_negative.wrapping_add(n_positive).wrapping_add(*zero_count);
                let count = *count;
                if self.sum.is_nan() && in_buckets > count {
                    // Observations that are no number are counted and in no bucket.
                    return Err(HistogramError::CountTooSmall { in_buckets, count });
                }
                if !self.sum.is_nan() && in_buckets != count {
                    return Err(HistogramError::CountMismatch { in_buckets, count });
                }
            }
            Counts::Float { count, zero_count, positive, negative } => {
                in_part("negative side", check_floats(negative))?;
                if *zero_count < 0.0 {
                    return Err(HistogramError::NegativeZeroCount(*zero_count));
                }
                self.check_no_bounds_of_exponential()?;
                if *count < 0.0 {
                    return Err(HistogramError::NegativeCount(*count));
                }
                in_part("positive side", check_floats(positive))?;
            }
        }
        Ok(())
    }

    fn check_no_bounds_of_exponential(&self) -> Result<()> {
        match self.has_custom_buckets() || self.custom_values.is_empty() {
            true => Ok(()),
            false => Err(HistogramError::BoundsOfExponential),
        }
    }
}

fn in_part<T>(part: &'static str, result: Result<T>) -> Result<T> {
    result.map_err(|error| HistogramError::In(part, Box::new(error)))
}

/// Checks spans of which only those before `first_checked` may go back.
pub(in crate::histogram) fn check_offsets(spans: &[Span], first_checked: usize) -> Result<()> {
    match spans.iter().enumerate().skip(first_checked).find(|(_, span)| span.offset < 0) {
        Some((idx, span)) => Err(HistogramError::NegativeOffset { span: idx + 1, offset: span.offset }),
        None => Ok(()),
    }
}

fn check_spans(spans: &[Span], first_checked: usize, n_buckets: usize) -> Result<()> {
    check_offsets(spans, first_checked)?;
    let needed = spans.iter().map(|span| u64::from(span.length)).sum();
    match needed == n_buckets as u64 {
        true => Ok(()),
        false => Err(HistogramError::SpansMismatch { needed, found: n_buckets }),
    }
}

fn sum_deltas(deltas: &[i64]) -> Result<u64> {
    let (mut count, mut sum) = (0i64, 0u64);
    for (idx, delta) in deltas.iter().enumerate() {
        count = count.wrapping_add(*delta);
        match u64::try_from(count) {
            Ok(count) => sum = sum.wrapping_add(count),
            Err(_) => {
                return Err(HistogramError::NegativeBucket { bucket: idx + 1, count: count.to_string() });
            }
        }
    }
    Ok(sum)
}

fn check_floats(counts: &[f64]) -> Result<()> {
    match counts.iter().position(|count| *count < 0.0) {
        Some(idx) => {
            let count = counts.get(idx).map(f64::to_string).unwrap_or_default();
            Err(HistogramError::NegativeBucket { bucket: idx + 1, count })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(pairs: &[(i32, u32)]) -> Vec<Span> {
        pairs.iter().map(|&(offset, length)| Span { offset, length }).collect()
    }

    fn integer(count: u64, zero_count: u64, deltas: &[i64]) -> Counts {
        Counts::Integer { count, zero_count, positive_deltas: deltas.to_vec(), negative_deltas: Vec::new() }
    }

    fn float(count: f64, zero_count: f64, counts: &[f64]) -> Counts {
        Counts::Float { count, zero_count, positive: counts.to_vec(), negative: Vec::new() }
    }

    fn check(histogram: &Histogram, want: &str) {
        let got = histogram.validate().err().map(|it| it.to_string()).unwrap_or_default();
        assert_eq!(got, want, "{histogram:?}");
    }

    #[test]
    fn exponential_buckets() {
        let with = |pairs: &[(i32, u32)], counts| Histogram {
            positive_spans: spans(pairs),
            counts,
            ..Histogram::default()
        };
        check(&with(&[], integer(0, 0, &[])), "");
        check(&with(&[(-5, 2), (0, 1)], integer(7, 1, &[1, 1, 1])), "");
        check(&with(&[(0, 1)], integer(5, 0, &[5])), "");
        check(&with(&[(0, 1)], float(5.5, 0.0, &[1.25])), "");
        check(
            &with(&[(0, 1)], integer(5, 0, &[4])),
            "4 observations found in buckets, but the Count field is 5: histogram's observation count should equal \
             the number of observations found in the buckets (in absence of NaN)",
        );
        let nan = Histogram { sum: f64::NAN, ..with(&[(0, 1)], integer(5, 0, &[4])) };
        check(&nan, "");
        let nan = Histogram { sum: f64::NAN, ..with(&[(0, 1)], integer(3, 0, &[4])) };
        check(
            &nan,
            "4 observations found in buckets, but the Count field is 3: histogram's observation count should be at \
             least the number of observations found in the buckets",
        );
        check(
            &with(&[(0, 1), (-1, 1)], integer(2, 0, &[1, 0])),
            "positive side: span number 2 with offset -1: histogram has a span whose offset is negative",
        );
        check(
            &with(&[(0, 3)], integer(2, 0, &[1, 0])),
            "positive side: spans need 3 buckets, have 2 buckets: histogram spans specify different number of \
             buckets than provided",
        );
        check(
            &with(&[(0, 2)], integer(2, 0, &[1, -2])),
            "positive side: bucket number 2 has observation count of -1: histogram has a bucket whose observation \
             count is negative",
        );
        check(
            &with(&[(0, 1)], float(1.0, 0.0, &[-0.5])),
            "positive side: bucket number 1 has observation count of -0.5: histogram has a bucket whose observation \
             count is negative",
        );
        check(
            &with(&[], float(-1.0, 0.0, &[])),
            "observation count is  -1: histogram's observation count is negative",
        );
        check(
            &with(&[], float(1.0, -1.0, &[])),
            "zero bucket has observation count of -1: histogram has a bucket whose observation count is negative",
        );
        check(
            &Histogram { schema: 9, ..Histogram::default() },
            "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for \
             custom buckets, got schema 9",
        );
        check(
            &Histogram { custom_values: vec![1.0], ..Histogram::default() },
            "histogram with exponential schema must not have custom bounds",
        );
    }

    #[test]
    fn custom_buckets() {
        let with = |bounds: &[f64], pairs: &[(i32, u32)], counts| Histogram {
            schema: crate::histogram::CUSTOM_BUCKETS_SCHEMA,
            custom_values: bounds.to_vec(),
            positive_spans: spans(pairs),
            counts,
            ..Histogram::default()
        };
        check(&with(&[1.0, 2.0], &[(0, 3)], integer(3, 0, &[1, 0, 0])), "");
        check(
            &with(&[1.0], &[(0, 1), (1, 1)], integer(2, 0, &[1, 0])),
            "custom buckets: only 1 custom bounds defined which is insufficient to cover total span length of 3: \
             histogram custom bounds are too few",
        );
        check(
            &with(&[2.0, 1.0], &[(0, 1)], integer(1, 0, &[1])),
            "custom buckets: previous bound is 2.000000 and current is 1.000000: histogram custom bounds must be in \
             strictly increasing order",
        );
        check(
            &with(&[1.0, f64::INFINITY], &[(0, 1)], integer(1, 0, &[1])),
            "custom buckets: last +Inf bound must not be explicitly defined: histogram custom bounds must be finite",
        );
        check(
            &with(&[f64::NAN], &[(0, 1)], integer(1, 0, &[1])),
            "custom buckets: histogram custom bounds must not be NaN",
        );
        check(&with(&[], &[(0, 1)], integer(1, 1, &[1])), "custom buckets: must have zero count of 0");
        check(
            &with(&[], &[(-1, 1)], integer(1, 0, &[1])),
            "custom buckets: span number 1 with offset -1: histogram has a span whose offset is negative",
        );
        let negative = Histogram { negative_spans: spans(&[(0, 0)]), ..with(&[], &[], integer(0, 0, &[])) };
        check(&negative, "custom buckets: must not have negative spans");
    }
}
