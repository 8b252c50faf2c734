//! Histograms for people and for clients of the API (`Histogram.String` and `util/jsonutil/marshal.go` of Prometheus).

use crate::float;
use crate::float::Layout;
use crate::histogram::bounds::Bucket;
use crate::histogram::{Counts, Histogram};
use std::fmt;

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::from("{count:");
        match &self.counts {
            Counts::Integer { count, .. } => text.push_str(&count.to_string()),
            Counts::Float { count, .. } => push(*count, &mut text),
        }
        text.push_str(", sum:");
        push(self.sum, &mut text);
        self.each_bucket(|bucket| {
            text.push_str(if bucket.lower_inclusive { ", [" } else { ", (" });
            push(bucket.lower, &mut text);
            text.push(',');
            push(bucket.upper, &mut text);
            text.push_str(if bucket.upper_inclusive { "]:" } else { "):" });
            self.push_count(bucket.count, &mut text);
        });
        text.push('}');
        f.write_str(&text)
    }
}

impl Histogram {
    /// Appends the object that Prometheus' API has for it: numbers are texts, buckets are bounds and a count, with the
    /// kind of the bounds in front.
    pub fn push_json(&self, out: &mut String) {
        out.push_str("{\"count\":\"");
        float::format_api(self.count(), out);
        out.push_str("\",\"sum\":\"");
        float::format_api(self.sum, out);
        out.push('"');
        let mut is_first = true;
        self.each_bucket(|bucket| {
            out.push_str(if is_first { ",\"buckets\":[[" } else { ",[" });
            is_first = false;
            out.push(kind_of_bounds(&bucket));
            let (lower, upper) = self.outside_zero_bucket(&bucket);
            for number in [lower, upper, bucket.count] {
                out.push_str(",\"");
                float::format_api(number, out);
                out.push('"');
            }
            out.push(']');
        });
        out.push_str(if is_first { "}" } else { "]}" });
    }

    /// The bounds of a bucket that begins inside the zero bucket are cut there.
    fn outside_zero_bucket(&self, bucket: &Bucket) -> (f64, f64) {
        let Bucket { lower, upper, .. } = *bucket;
        let threshold = self.zero_threshold;
        if lower > 0.0 && lower < threshold {
            (threshold, upper)
        } else if upper < 0.0 && upper > -threshold {
            (lower, -threshold)
        } else {
            (lower, upper)
        }
    }

    /// An integer has all its digits.
    fn push_count(&self, count: f64, out: &mut String) {
        match self.counts {
            Counts::Integer { .. } => out.push_str(&(count as u64).to_string()),
            Counts::Float { .. } => push(count, out),
        }
    }
}

/// Which of its bounds belong to a bucket.
fn kind_of_bounds(bucket: &Bucket) -> char {
    match (bucket.lower_inclusive, bucket.upper_inclusive) {
        (false, true) => '0',
        (true, false) => '1',
        (false, false) => '2',
        (true, true) => '3',
    }
}

fn push(value: f64, out: &mut String) {
    float::format_go(value, Layout::General, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};

    fn spans(pairs: &[(i32, u32)]) -> Vec<Span> {
        pairs.iter().map(|&(offset, length)| Span { offset, length }).collect()
    }

    fn check(histogram: &Histogram, text: &str, json: &str) {
        assert_eq!(histogram.to_string(), text);
        let mut got = String::new();
        histogram.push_json(&mut got);
        assert_eq!(got, json);
    }

    #[test]
    fn histograms_are_written_as_prometheus_writes_them() {
        let exponential = Histogram {
            schema: 0,
            zero_threshold: 0.001,
            sum: 3.5e9,
            positive_spans: spans(&[(-10, 1), (9, 2)]),
            negative_spans: spans(&[(1, 2)]),
            counts: Counts::Integer {
                count: 12_345_678,
                zero_count: 2,
                positive_deltas: vec![3, -2, 1],
                negative_deltas: vec![1, -1],
            },
            ..Histogram::default()
        };
        check(
            &exponential,
            "{count:12345678, sum:3.5e+09, [-2,-1):1, [-0.001,0.001]:2, (0.00048828125,0.0009765625]:3, (0.5,1]:1, (1,2]:2}",
            "{\"count\":\"12345678\",\"sum\":\"3500000000\",\"buckets\":[[1,\"-2\",\"-1\",\"1\"],\
             [3,\"-0.001\",\"0.001\",\"2\"],[0,\"0.001\",\"0.0009765625\",\"3\"],[0,\"0.5\",\"1\",\"1\"],\
             [0,\"1\",\"2\",\"2\"]]}",
        );
        let custom = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            sum: 1e-9,
            custom_values: vec![0.5, 1.0],
            positive_spans: spans(&[(0, 3)]),
            counts: Counts::Float {
                count: 4.5,
                zero_count: 0.0,
                positive: vec![1.5, 0.0, 3.0],
                negative: Vec::new(),
            },
            ..Histogram::default()
        };
        check(
            &custom,
            "{count:4.5, sum:1e-09, [-Inf,0.5]:1.5, (1,+Inf]:3}",
            "{\"count\":\"4.5\",\"sum\":\"1e-09\",\"buckets\":[[3,\"-Inf\",\"0.5\",\"1.5\"],\
             [0,\"1\",\"+Inf\",\"3\"]]}",
        );
        check(&Histogram::default(), "{count:0, sum:0}", "{\"count\":\"0\",\"sum\":\"0\"}");
    }
}
