//! What chunks hold, read again by a decoder that knows nothing of what wrote them.

use super::{Chunk, Chunks, Encoding, Value};
use crate::cases;
use crate::float::{is_stale_nan, stale_nan};
use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Counts, Flavour, Histogram, Span};
use proptest::prelude::*;

/// Reads bits as `bstreamReader` does.
struct Bits<'a> {
    data: &'a [u8],
    pos: usize,
}

impl Bits<'_> {
    fn bits(&mut self, n_bits: u32) -> u64 {
        (0..n_bits).fold(0, |number, _| {
            let bit = self.data[self.pos / 8] >> (7 - self.pos % 8) & 1;
            self.pos += 1;
            number << 1 | u64::from(bit)
        })
    }

    fn float(&mut self) -> f64 {
        f64::from_bits(self.bits(64))
    }

    fn uvarint(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.bits(8);
            number |= (byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return number;
            }
        }
    }

    /// Ones until a zero, `most` at most.
    fn ones(&mut self, most: usize) -> usize {
        (0..most).take_while(|_| self.bits(1) == 1).count()
    }

    fn signed(&mut self, n_bits: u32) -> i64 {
        let number = self.bits(n_bits);
        // The highest number of these bits is positive.
        if n_bits < 64 && number > 1 << (n_bits - 1) { number as i64 - (1 << n_bits) } else { number as i64 }
    }

    fn varbit_int(&mut self) -> i64 {
        match self.ones(8) {
            0 => 0,
            n_ones => self.signed([3, 6, 9, 12, 18, 25, 56, 64][n_ones - 1]),
        }
    }

    fn varbit_uint(&mut self) -> u64 {
        match self.ones(8) {
            0 => 0,
            n_ones => self.bits([3, 6, 9, 12, 18, 25, 56, 64][n_ones - 1]),
        }
    }
}

#[derive(Clone, Copy)]
struct Xor {
    value: f64,
    leading: u32,
    n_bits: u32,
}

impl Xor {
    fn first(bits: &mut Bits<'_>) -> Self {
        Self { value: bits.float(), leading: 0, n_bits: 0 }
    }

    fn next(&mut self, bits: &mut Bits<'_>) -> f64 {
        if bits.bits(1) == 1 {
            if bits.bits(1) == 1 {
                self.leading = bits.bits(5) as u32;
                self.n_bits = match bits.bits(6) as u32 {
                    0 => 64,
                    n_bits => n_bits,
                };
            }
            let delta = bits.bits(self.n_bits) << (64 - self.leading - self.n_bits);
            self.value = f64::from_bits(self.value.to_bits() ^ delta);
        }
        self.value
    }
}

fn floats(chunk: &Chunk) -> Vec<(i64, u64)> {
    let n_samples = u16::from_be_bytes([chunk.data[0], chunk.data[1]]);
    let mut bits = Bits { data: &chunk.data[2..], pos: 0 };
    let zigzag = bits.uvarint();
    let mut ts_ms = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
    let mut value = Xor::first(&mut bits);
    let mut samples = vec![(ts_ms, value.value.to_bits())];
    let mut step = 0_i64;
    for n_read in 1..n_samples {
        step = match n_read {
            1 => bits.uvarint() as i64,
            _ => match bits.ones(4) {
                0 => step,
                n_ones => step.wrapping_add(bits.signed([14, 17, 20, 64][n_ones - 1])),
            },
        };
        ts_ms = ts_ms.wrapping_add(step);
        samples.push((ts_ms, value.next(&mut bits).to_bits()));
    }
    samples
}

fn spans(bits: &mut Bits<'_>) -> Vec<Span> {
    let n_spans = bits.varbit_uint();
    let span = |_| {
        let length = bits.varbit_uint() as u32;
        Span { offset: bits.varbit_int() as i32, length }
    };
    (0..n_spans).map(span).collect()
}

/// Histograms, each with the hint that a reader takes it to have.
fn histograms(chunk: &Chunk) -> Vec<(i64, Histogram)> {
    let n_samples = u16::from_be_bytes([chunk.data[0], chunk.data[1]]);
    let is_float = chunk.encoding == Encoding::FloatHistogram;
    let mut bits = Bits { data: &chunk.data[3..], pos: 0 };
    let mut layout = Histogram::default();
    layout.clear(if is_float { Flavour::Float } else { Flavour::Integer });
    layout.zero_threshold = match bits.bits(8) {
        0 => 0.0,
        255 => bits.float(),
        exponent => 0.5 * 2_f64.powi(exponent as i32 - 243),
    };
    layout.schema = bits.varbit_int() as i32;
    layout.positive_spans = spans(&mut bits);
    layout.negative_spans = spans(&mut bits);
    if layout.has_custom_buckets() {
        let n_bounds = bits.varbit_uint();
        let bound = |_| match bits.varbit_uint() {
            0 => bits.float(),
            thousandths => (thousandths - 1) as f64 / 1000.0,
        };
        layout.custom_values = (0..n_bounds).map(bound).collect();
    }
    let [first_hint, later_hint] = match chunk.data[2] >> 6 {
        0 => [CounterResetHint::Unknown, CounterResetHint::NotCounterReset],
        1 => [CounterResetHint::NotCounterReset, CounterResetHint::NotCounterReset],
        2 => [CounterResetHint::CounterReset, CounterResetHint::NotCounterReset],
        _ => [CounterResetHint::Gauge, CounterResetHint::Gauge],
    };
    let n_positive = layout.positive_spans.iter().map(|span| span.length as usize).sum();
    let n_negative: usize = layout.negative_spans.iter().map(|span| span.length as usize).sum();
    let n_buckets = n_positive + n_negative;
    // A number and its step, for each of: time, count, zero count, buckets.
    let mut ints = vec![(0_i64, 0_i64); 3 + n_buckets];
    let mut xors = vec![Xor { value: 0.0, leading: 0, n_bits: 0 }; 3 + n_buckets];
    let mut samples = Vec::new();
    for n_read in 0..n_samples {
        let mut int = |bits: &mut Bits<'_>, at: usize, is_unsigned: bool| {
            let (value, step) = &mut ints[at];
            match n_read {
                0 if is_unsigned => *value = bits.varbit_uint() as i64,
                0 => *value = bits.varbit_int(),
                _ => {
                    *step = step.wrapping_add(bits.varbit_int());
                    *value = value.wrapping_add(*step);
                }
            }
            *value
        };
        let mut xor = |bits: &mut Bits<'_>, at: usize| {
            if n_read == 0 {
                xors[at] = Xor::first(bits);
            } else {
                xors[at].next(bits);
            }
            xors[at].value
        };
        let mut histogram = layout.clone();
        histogram.counter_reset_hint = if n_read == 0 { first_hint } else { later_hint };
        let ts_ms = int(&mut bits, 0, false);
        match &mut histogram.counts {
            Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
                *count = int(&mut bits, 1, true) as u64;
                *zero_count = int(&mut bits, 2, true) as u64;
                histogram.sum = xor(&mut bits, 2);
                let deltas: Vec<i64> = (3..3 + n_buckets).map(|at| int(&mut bits, at, false)).collect();
                *positive_deltas = deltas[..n_positive].to_vec();
                *negative_deltas = deltas[n_positive..].to_vec();
            }
            Counts::Float { count, zero_count, positive, negative } => {
                *count = xor(&mut bits, 0);
                *zero_count = xor(&mut bits, 1);
                histogram.sum = xor(&mut bits, 2);
                let counts: Vec<f64> = (3..3 + n_buckets).map(|at| xor(&mut bits, at)).collect();
                *positive = counts[..n_positive].to_vec();
                *negative = counts[n_positive..].to_vec();
            }
        }
        samples.push((ts_ms, histogram));
    }
    samples
}

fn of_floats(samples: &[(i64, f64)]) -> Vec<Chunk> {
    Chunks::of(samples.iter().map(|(ts_ms, value)| (*ts_ms, Value::Float(*value)))).collect()
}

fn of_histograms(samples: &[(i64, Histogram)]) -> Vec<Chunk> {
    Chunks::of(samples.iter().map(|(ts_ms, histogram)| (*ts_ms, Value::Histogram(histogram)))).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// What `promtool tsdb create-blocks-from openmetrics` (3.5.3) makes of the same samples.
#[test]
fn floats_are_written_as_prometheus_writes_them() {
    let check = |samples: &[(i64, f64)], want: &str| {
        let chunks = of_floats(samples);
        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks[0].data, hex(want), "{samples:?}");
        assert_eq!(chunks[0].encoding, Encoding::Xor);
        let ts_ms = [samples[0].0, samples[samples.len() - 1].0];
        assert_eq!([chunks[0].first_ts_ms, chunks[0].last_ts_ms], ts_ms);
    };
    check(
        &[
            (1_700_000_000_000, 1.0),
            (1_700_000_015_000, 1.0),
            (1_700_000_030_000, 2.5),
            (1_700_000_045_007, 2.5),
            (1_700_000_060_000, -3.25),
            (1_700_000_300_000, 1e300),
            (1_700_000_301_000, f64::from_bits(0x7ff8_0000_0000_0001)),
            (1_700_000_301_001, 0.0),
        ],
        "000880a0abfef9623ff00000000000009875309bffd80075ff9603e003f1b777e0faf8f790f22001d67ec5a68cfcf3f90f2200\
         1d676f0670ffffe0000000000004",
    );
    check(
        &[(1_700_086_000_000, 0.0), (1_700_087_000_000, 123_456_789.125)],
        "000280a6add0fa620000000000000000c0843dc34419d6f34548",
    );
}

#[test]
fn a_long_series_is_cut_after_120_samples() {
    let samples: Vec<(i64, f64)> = (0..250).map(|number| (number * 15_000, number as f64)).collect();
    let chunks = of_floats(&samples);
    let n_samples: Vec<usize> = chunks.iter().map(|chunk| floats(chunk).len()).collect();
    assert_eq!(n_samples, [120, 120, 10]);
    assert_eq!(chunks[1].first_ts_ms, 120 * 15_000);
    assert_eq!(chunks[1].last_ts_ms, 239 * 15_000);
}

fn integer(count: u64, deltas: &[i64]) -> Histogram {
    Histogram {
        schema: 3,
        zero_threshold: 2_f64.powi(-128),
        sum: count as f64 * 1.5,
        counts: Counts::Integer {
            count,
            zero_count: 1,
            positive_deltas: deltas.to_vec(),
            negative_deltas: vec![1],
        },
        positive_spans: vec![Span { offset: -2, length: deltas.len() as u32 }],
        negative_spans: vec![Span { offset: 4, length: 1 }],
        ..Histogram::default()
    }
}

fn float(count: f64, positive: &[f64]) -> Histogram {
    Histogram {
        zero_threshold: 0.001,
        counts: Counts::Float { count, zero_count: 0.5, positive: positive.to_vec(), negative: Vec::new() },
        negative_spans: Vec::new(),
        ..integer(0, &vec![0; positive.len()])
    }
}

/// The chunks of some histograms hold as many of them each, and all that was said of them.
fn check_cut(what: &str, given: &[Histogram], n_samples: &[usize]) {
    let given: Vec<(i64, Histogram)> = (0..).step_by(1000).zip(given.iter().cloned()).collect();
    let chunks = of_histograms(&given);
    let read: Vec<Vec<(i64, Histogram)>> = chunks.iter().map(histograms).collect();
    assert_eq!(read.iter().map(Vec::len).collect::<Vec<_>>(), n_samples, "{what}");
    for ((ts_ms, histogram), (read_ts_ms, mut read)) in given.into_iter().zip(read.into_iter().flatten()) {
        // A chunk says more than its samples do: there is no reset inside.
        if histogram.counter_reset_hint == CounterResetHint::Unknown {
            read.counter_reset_hint = CounterResetHint::Unknown;
        }
        if is_stale_nan(histogram.sum) && is_stale_nan(read.sum) {
            read.sum = 0.0;
            assert_eq!((read_ts_ms, read), (ts_ms, Histogram { sum: 0.0, ..histogram }), "{what}");
        } else {
            assert_eq!((read_ts_ms, read), (ts_ms, histogram), "{what}");
        }
    }
}

#[test]
fn histograms_of_one_layout_share_a_chunk() {
    check_cut("rising", &[integer(5, &[1, 2]), integer(9, &[3, 2]), integer(9, &[3, 2])], &[3]);
    check_cut("of floats", &[float(1.5, &[1.0, 0.0]), float(2.25, &[1.0, 0.75])], &[2]);
    check_cut("a count that falls", &[integer(9, &[3, 2]), integer(8, &[3, 2])], &[1, 1]);
    check_cut("a bucket that falls", &[integer(9, &[3, 2]), integer(10, &[3, 1])], &[1, 1]);
    check_cut("a float that falls", &[float(1.0, &[0.5, 0.5]), float(1.0, &[1.0, 0.25])], &[1, 1]);
    check_cut("another bucket", &[integer(5, &[1, 2]), integer(9, &[1, 2, 0])], &[1, 1]);
    check_cut(
        "another threshold",
        &[integer(5, &[1]), Histogram { zero_threshold: 0.5, ..integer(5, &[1]) }],
        &[1, 1],
    );
    check_cut("both kinds of counts", &[integer(5, &[1]), float(5.0, &[1.0])], &[1, 1]);
    let gauge = |count| Histogram { counter_reset_hint: CounterResetHint::Gauge, ..integer(count, &[1]) };
    check_cut("gauges", &[gauge(9), gauge(2), integer(2, &[1])], &[2, 1]);
    let reset =
        |count| Histogram { counter_reset_hint: CounterResetHint::CounterReset, ..integer(count, &[1]) };
    check_cut("resets that are known", &[reset(2), integer(3, &[1]), reset(4)], &[2, 1]);
    let stale = Histogram { sum: stale_nan(), ..Histogram::default() };
    check_cut("markers", &[integer(2, &[1]), stale.clone(), stale, integer(2, &[1])], &[1, 1, 1, 1]);
    let custom = |bounds: &[f64]| Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        custom_values: bounds.to_vec(),
        ..integer(9, &[1, 2])
    };
    let bounds: [&[f64]; 2] = [&[-1.0, 0.0, 0.005, 33_554.43], &[0.000_1, 33_554.431, 1e300]];
    check_cut("bounds", &[custom(bounds[0]), custom(bounds[0]), custom(bounds[1])], &[2, 1]);
}

#[test]
fn a_chunk_of_large_histograms_is_cut_early() {
    let deltas: Vec<i64> =
        (0..4000).map(|number| if number % 2 == 0 { 1 << 40 } else { -(1 << 40) }).collect();
    let large = integer(1 << 60, &deltas);
    check_cut("large", &[large.clone(), large.clone(), large], &[1, 1, 1]);
}

proptest! {
    #![proptest_config(cases::cases(256))]

    #[test]
    fn any_floats_are_read_as_they_were(samples in prop::collection::vec((any::<i64>(), any::<u64>()), 1..300)) {
        let given: Vec<(i64, f64)> = samples.iter().map(|(ts_ms, bits)| (*ts_ms, f64::from_bits(*bits))).collect();
        let read: Vec<(i64, u64)> = of_floats(&given).iter().flat_map(floats).collect();
        prop_assert_eq!(read, samples);
    }

    #[test]
    fn steps_of_any_width_are_read_as_they_were(steps in prop::collection::vec(-(1_i64 << 21)..1 << 21, 1..100)) {
        let ts_ms = steps.iter().scan(0, |ts_ms, step| {
            *ts_ms += step;
            Some(*ts_ms)
        });
        let given: Vec<(i64, f64)> = ts_ms.map(|ts_ms| (ts_ms, 1.0)).collect();
        let read: Vec<i64> = of_floats(&given).iter().flat_map(floats).map(|(ts_ms, _)| ts_ms).collect();
        prop_assert_eq!(read, given.iter().map(|(ts_ms, _)| *ts_ms).collect::<Vec<_>>());
    }

    #[test]
    fn any_counts_are_read_as_they_were(counts in prop::collection::vec(any::<(u64, i64, i64)>(), 1..50)) {
        let histogram = |(number, (count, first, second)): (usize, (u64, i64, i64))| {
            let gauge = CounterResetHint::Gauge;
            (number as i64 * 1000, Histogram { counter_reset_hint: gauge, ..integer(count, &[first, second]) })
        };
        let given: Vec<(i64, Histogram)> = counts.into_iter().enumerate().map(histogram).collect();
        let read: Vec<(i64, Histogram)> = of_histograms(&given).iter().flat_map(histograms).collect();
        prop_assert_eq!(read, given);
    }
}
