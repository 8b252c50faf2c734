//! Native histograms of one layout as differences (`tsdb/chunkenc/histogram.go`, `float_histogram.go`, `histogram_meta.go`).

use crate::chunk::bits::BitWriter;
use crate::chunk::xor::XorFloat;
use crate::float::is_stale_nan;
use crate::histogram::{CounterResetHint, Counts, Histogram, Span};
use std::cmp::Ordering;

/// Exponents of zero thresholds that fit one byte, as `math.Frexp` gives them.
const SHORT_EXPONENTS: std::ops::RangeInclusive<i64> = -242..=11;

/// Stands for a zero threshold that follows as a double.
const LONG_THRESHOLD: u64 = 255;

/// Bits of the fraction of a double, and what its exponent is written with.
const FRACTION_BITS: u32 = 52;
const EXPONENT_BIAS: i64 = 1022;

/// Largest bound of a custom bucket, in thousandths, that is written as an integer.
const MAX_SHORT_BOUND: f64 = 33_554_430.0;

/// A chunk of histograms being written. All that it holds have one layout, and no counter is reset between them.
#[derive(Debug)]
pub(in crate::chunk) struct HistogramWriter {
    bits: BitWriter,
    ts_ms: Changing,
    sum: XorFloat,
    counts: CountsWriter,
}

#[derive(Debug)]
enum CountsWriter {
    Integer { count: Changing, zero_count: Changing, buckets: Vec<Changing> },
    Float { count: XorFloat, zero_count: XorFloat, buckets: Vec<XorFloat> },
}

/// An integer whose steps change little.
#[derive(Clone, Copy, Debug)]
struct Changing {
    value: i64,
    step: i64,
}

impl Changing {
    fn first(value: i64) -> Self {
        Self { value, step: 0 }
    }

    fn next(&mut self, bits: &mut BitWriter, value: i64) {
        let step = value.wrapping_sub(self.value);
        bits.varbit_int(step.wrapping_sub(self.step));
        *self = Self { value, step };
    }
}

impl HistogramWriter {
    /// Begins with a histogram, which gives the layout.
    pub(in crate::chunk) fn new(header: &[u8], ts_ms: i64, histogram: &Histogram) -> Self {
        let mut bits = BitWriter::behind(header);
        put_layout(&mut bits, histogram);
        bits.varbit_int(ts_ms);
        let (sum, counts) = match &histogram.counts {
            Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
                bits.varbit_uint(*count);
                bits.varbit_uint(*zero_count);
                let sum = XorFloat::first(&mut bits, histogram.sum);
                let deltas = positive_deltas.iter().chain(negative_deltas);
                let buckets = deltas.map(|delta| {
                    bits.varbit_int(*delta);
                    Changing::first(*delta)
                });
                let buckets = buckets.collect();
                let (count, zero_count) = (*count as i64, *zero_count as i64);
                let [count, zero_count] = [count, zero_count].map(Changing::first);
                (sum, CountsWriter::Integer { count, zero_count, buckets })
            }
            Counts::Float { count, zero_count, positive, negative } => {
                let [count, zero_count, sum] =
                    [*count, *zero_count, histogram.sum].map(|value| XorFloat::first(&mut bits, value));
                let buckets = positive.iter().chain(negative);
                let buckets = buckets.map(|value| XorFloat::first(&mut bits, *value)).collect();
                (sum, CountsWriter::Float { count, zero_count, buckets })
            }
        };
        Self { bits, ts_ms: Changing::first(ts_ms), sum, counts }
    }

    /// The next histogram, which [`continues`] the one before.
    pub(in crate::chunk) fn push(&mut self, ts_ms: i64, histogram: &Histogram) {
        let Self { bits, ts_ms: known_ts_ms, sum, counts } = self;
        known_ts_ms.next(bits, ts_ms);
        match (counts, &histogram.counts) {
            (
                CountsWriter::Integer { count, zero_count, buckets },
                Counts::Integer { count: new, zero_count: new_zero, positive_deltas, negative_deltas },
            ) => {
                count.next(bits, *new as i64);
                zero_count.next(bits, *new_zero as i64);
                sum.next(bits, histogram.sum);
                let deltas = positive_deltas.iter().chain(negative_deltas);
                buckets.iter_mut().zip(deltas).for_each(|(bucket, delta)| bucket.next(bits, *delta));
            }
            (
                CountsWriter::Float { count, zero_count, buckets },
                Counts::Float { count: new, zero_count: new_zero, positive, negative },
            ) => {
                count.next(bits, *new);
                zero_count.next(bits, *new_zero);
                sum.next(bits, histogram.sum);
                let values = positive.iter().chain(negative);
                buckets.iter_mut().zip(values).for_each(|(bucket, value)| bucket.next(bits, *value));
            }
            _ => panic!("BUG: a chunk of histograms was given counts of both kinds"),
        }
    }

    /// Bytes until now.
    pub(in crate::chunk) fn len(&self) -> usize {
        self.bits.len()
    }

    /// The whole chunk.
    pub(in crate::chunk) fn into_bytes(self) -> Vec<u8> {
        self.bits.into_bytes()
    }
}

/// What the header of a chunk says of a counter reset before its first histogram (`CounterResetHeader`). Within a chunk
/// readers take it that there is none.
pub(in crate::chunk) fn reset_header(hint: CounterResetHint) -> u8 {
    match hint {
        CounterResetHint::Unknown => 0b0000_0000,
        CounterResetHint::NotCounterReset => 0b0100_0000,
        CounterResetHint::CounterReset => 0b1000_0000,
        CounterResetHint::Gauge => 0b1100_0000,
    }
}

/// Whether a histogram may stand behind another one in a chunk: same layout, both gauges or no counter reset between
/// them, and neither a staleness marker.
pub(in crate::chunk) fn continues(before: &Histogram, next: &Histogram) -> bool {
    let is_gauge = |histogram: &Histogram| histogram.counter_reset_hint == CounterResetHint::Gauge;
    let same_layout = before.schema == next.schema
        && before.zero_threshold == next.zero_threshold
        && before.positive_spans == next.positive_spans
        && before.negative_spans == next.negative_spans
        && before.custom_values == next.custom_values;
    let same_kind = is_gauge(before) == is_gauge(next)
        && next.counter_reset_hint != CounterResetHint::CounterReset
        && !is_stale_nan(before.sum)
        && !is_stale_nan(next.sum);
    same_layout && same_kind && none_falls(&before.counts, &next.counts, is_gauge(next))
}

/// False for counts of both kinds, and for a count that is lower than before, unless that means nothing.
fn none_falls(before: &Counts, next: &Counts, is_gauge: bool) -> bool {
    match (before, next) {
        (
            Counts::Integer { count, zero_count, positive_deltas, negative_deltas },
            Counts::Integer {
                count: next_count,
                zero_count: next_zero_count,
                positive_deltas: next_positive,
                negative_deltas: next_negative,
            },
        ) => {
            is_gauge
                || count <= next_count
                    && zero_count <= next_zero_count
                    && no_bucket_falls(positive_deltas, next_positive)
                    && no_bucket_falls(negative_deltas, next_negative)
        }
        (
            Counts::Float { count, zero_count, positive, negative },
            Counts::Float {
                count: next_count,
                zero_count: next_zero_count,
                positive: next_positive,
                negative: next_negative,
            },
        ) => {
            let rises = |pair: (&f64, &f64)| {
                matches!(pair.0.partial_cmp(pair.1), Some(Ordering::Less | Ordering::Equal))
            };
            is_gauge
                || rises((count, next_count))
                    && rises((zero_count, next_zero_count))
                    && positive.iter().zip(next_positive).all(rises)
                    && negative.iter().zip(next_negative).all(rises)
        }
        _ => false,
    }
}

fn no_bucket_falls(before: &[i64], next: &[i64]) -> bool {
    let (mut count, mut next_count) = (0_i64, 0_i64);
    before.iter().zip(next).all(|(delta, next_delta)| {
        count = count.wrapping_add(*delta);
        next_count = next_count.wrapping_add(*next_delta);
        count <= next_count
    })
}

fn put_layout(bits: &mut BitWriter, histogram: &Histogram) {
    put_zero_threshold(bits, histogram.zero_threshold);
    bits.varbit_int(i64::from(histogram.schema));
    put_spans(bits, &histogram.positive_spans);
    put_spans(bits, &histogram.negative_spans);
    if histogram.has_custom_buckets() {
        bits.varbit_uint(histogram.custom_values.len() as u64);
        histogram.custom_values.iter().for_each(|bound| put_bound(bits, *bound));
    }
}

fn put_spans(bits: &mut BitWriter, spans: &[Span]) {
    bits.varbit_uint(spans.len() as u64);
    for span in spans {
        bits.varbit_uint(u64::from(span.length));
        bits.varbit_int(i64::from(span.offset));
    }
}

/// One byte for powers of two (`putZeroThreshold`).
fn put_zero_threshold(bits: &mut BitWriter, threshold: f64) {
    if threshold == 0.0 {
        return bits.bits(0, u8::BITS);
    }
    // Of a normal positive number; what is neither has an exponent out of the range.
    let exponent = (threshold.to_bits() >> FRACTION_BITS) as i64 - EXPONENT_BIAS;
    let is_power_of_two = threshold.to_bits().trailing_zeros() >= FRACTION_BITS;
    if is_power_of_two && SHORT_EXPONENTS.contains(&exponent) {
        bits.bits((exponent + 243) as u64, u8::BITS);
    } else {
        bits.bits(LONG_THRESHOLD, u8::BITS);
        bits.float(threshold);
    }
}

/// Few bits for a bound of whole thousandths (`putCustomBound`).
fn put_bound(bits: &mut BitWriter, bound: f64) {
    let thousandths = bound * 1000.0;
    let is_short = (0.0..=MAX_SHORT_BOUND).contains(&thousandths) && thousandths.round() / 1000.0 == bound;
    if is_short {
        bits.varbit_uint(thousandths.round() as u64 + 1);
    } else {
        bits.bit(false);
        bits.float(bound);
    }
}
