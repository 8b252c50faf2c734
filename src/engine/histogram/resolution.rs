//! Native histograms with fewer buckets: `native_histogram_bucket_limit` and `native_histogram_min_bucket_factor`
//! (Prometheus' `bucketLimitAppender`, `maxSchemaAppender` and `pickSchema`).

use crate::histogram::validate::{HistogramError, check_offsets};
use crate::histogram::{Histogram, MAX_SCHEMA, MIN_SCHEMA};
use std::fmt;

/// A schema that a later version may have: coarser and finer than ours (`ExponentialSchemaMinReserved`, `…Max…`).
const RESERVED_SCHEMAS: std::ops::RangeInclusive<i32> = -9..=52;

/// The factor of the highest resolution.
const FINEST_BUCKET_FACTOR: f64 = 1.00271;

/// Why a histogram does not fit the bucket limit.
#[derive(Clone, Debug, PartialEq)]
pub enum FitError {
    /// No resolution has so few buckets, or the bounds are listed.
    TooManyBuckets,
    /// It is no histogram that buckets can be merged in.
    Malformed(HistogramError),
}

impl fmt::Display for FitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyBuckets => f.write_str("histogram bucket limit exceeded"),
            Self::Malformed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FitError {}

/// The highest resolution whose buckets grow by at least `factor` each (`native_histogram_min_bucket_factor`).
pub fn schema_of_bucket_factor(factor: f64) -> i32 {
    let factor = if factor <= 1.0 { FINEST_BUCKET_FACTOR } else { factor };
    (-factor.log2().log2()).floor().clamp(f64::from(MIN_SCHEMA), f64::from(MAX_SCHEMA)) as i32
}

impl Histogram {
    /// Merges buckets until there are at most `limit` on both sides together.
    ///
    /// # Errors
    /// That is not possible; the histogram is of no use any more.
    pub fn fit_buckets(&mut self, limit: usize) -> Result<(), FitError> {
        while self.n_buckets() > limit {
            if !(MIN_SCHEMA + 1..=MAX_SCHEMA).contains(&self.schema) {
                return Err(FitError::TooManyBuckets);
            }
            self.reduce_resolution(self.schema - 1).map_err(FitError::Malformed)?;
        }
        Ok(())
    }

    /// Merges buckets until the resolution is at most `max_schema`; listed bounds stay.
    ///
    /// # Errors
    /// A span but the first goes back.
    pub fn cap_schema(&mut self, max_schema: i32) -> Result<(), HistogramError> {
        match RESERVED_SCHEMAS.contains(&self.schema) && self.schema > max_schema {
            true => self.reduce_resolution(max_schema),
            false => Ok(()),
        }
    }

    fn reduce_resolution(&mut self, schema: i32) -> Result<(), HistogramError> {
        check_offsets(&self.positive_spans, 1)?;
        check_offsets(&self.negative_spans, 1)?;
        self.merge_buckets(self.schema.abs_diff(schema));
        self.schema = schema;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, Counts, Span};

    fn spans(pairs: &[(i32, u32)]) -> Vec<Span> {
        pairs.iter().map(|&(offset, length)| Span { offset, length }).collect()
    }

    fn histogram(schema: i32, pairs: &[(i32, u32)], deltas: &[i64]) -> Histogram {
        Histogram {
            schema,
            positive_spans: spans(pairs),
            counts: Counts::Integer {
                count: 0,
                zero_count: 0,
                positive_deltas: deltas.to_vec(),
                negative_deltas: Vec::new(),
            },
            ..Histogram::default()
        }
    }

    #[test]
    fn buckets_are_merged() {
        // From Prometheus' TestReduceResolution.
        let (pairs, deltas) = ([(0, 4), (0, 0), (3, 2)], [1, 2, -2, 1, -1, 0]);
        let mut got = histogram(0, &pairs, &deltas);
        got.cap_schema(-1).unwrap();
        assert_eq!(got, histogram(-1, &[(0, 3), (1, 1)], &[1, 3, -2, 0]));
        let floats = |schema, pairs: &[(i32, u32)], counts: &[f64]| Histogram {
            counts: Counts::Float {
                count: 0.0,
                zero_count: 0.0,
                positive: counts.to_vec(),
                negative: Vec::new(),
            },
            ..histogram(schema, pairs, &[])
        };
        let mut got = floats(0, &pairs, &[1.0, 3.0, 1.0, 2.0, 1.0, 1.0]);
        got.cap_schema(-1).unwrap();
        assert_eq!(got, floats(-1, &[(0, 3), (1, 1)], &[1.0, 4.0, 2.0, 2.0]));

        let mut kept = histogram(0, &pairs, &deltas);
        kept.cap_schema(0).unwrap();
        assert_eq!(kept, histogram(0, &pairs, &deltas));
        let mut future = histogram(20, &[(1, 1)], &[3]);
        future.cap_schema(3).unwrap();
        assert_eq!(future, histogram(3, &[(1, 1)], &[3]));
        assert!(histogram(1, &[(0, 1), (-1, 1)], &[1, 1]).cap_schema(0).is_err());
    }

    #[test]
    fn a_histogram_fits_its_limit_or_is_refused() {
        let check = |schema, limit, want: Result<i32, &str>| {
            let mut it = histogram(schema, &[(1, 1), (15, 1), (100, 1)], &[1, 0, 0]);
            let got = it.fit_buckets(limit).map(|()| it.schema).map_err(|error| error.to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{schema} {limit}");
        };
        check(3, 3, Ok(3));
        check(3, 2, Ok(-2));
        check(3, 1, Ok(-4));
        check(3, 0, Err("histogram bucket limit exceeded"));
        check(-4, 3, Ok(-4));
        check(-4, 2, Err("histogram bucket limit exceeded"));
        check(9, 2, Err("histogram bucket limit exceeded"));
        check(CUSTOM_BUCKETS_SCHEMA, 3, Ok(CUSTOM_BUCKETS_SCHEMA));
        check(CUSTOM_BUCKETS_SCHEMA, 2, Err("histogram bucket limit exceeded"));
    }

    #[test]
    fn a_factor_has_a_schema() {
        // From Prometheus' TestPickSchema.
        for (factor, want) in [
            (65536.0, -4),
            (256.0, -3),
            (16.0, -2),
            (4.0, -1),
            (2.0, 0),
            (1.4, 1),
            (1.1, 2),
            (1.09, 3),
            (1.04, 4),
            (1.02, 5),
            (1.01, 6),
            (1.005, 7),
            (1.002, 8),
            (1.0, 8),
            (0.0, 8),
            (1e9, -4),
        ] {
            assert_eq!(schema_of_bucket_factor(factor), want, "{factor}");
        }
    }
}
