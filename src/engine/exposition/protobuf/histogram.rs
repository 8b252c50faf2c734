//! The `Histogram` message: its classic part is walked bucket by bucket, its native part goes into a kept
//! [`Histogram`].

use crate::exposition::excerpt::Excerpt;
use crate::exposition::protobuf::error::ProtobufError;
use crate::exposition::protobuf::place::{Field, Message, Packed, Result};
use crate::histogram::{CounterResetHint, Counts, Flavour, Histogram, Span};
use crate::protobuf::read::unzigzag;

/// The finest resolution has 537 088 buckets between the smallest double and the largest; more on one side of zero
/// are an attack on memory.
const MAX_BUCKETS_A_SIDE: usize = 1 << 20;

/// What both parts of a `Histogram` message share, and the numbers that decide what it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    count: u64,
    count_float: f64,
    pub(super) sum: f64,
    pub(super) has_buckets: bool,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    has_spans: bool,
    pub(super) has_exemplars: bool,
    pub(super) start_time_ms: Option<i64>,
}

/// One classic bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket<'page> {
    pub(super) upper_bound: f64,
    pub(super) cumulative_count: f64,
    pub(super) exemplar: Option<Message<'page>>,
}

impl Head {
    /// Reads all but buckets, spans and exemplars into this one.
    pub(super) fn read(&mut self, mut message: Message<'_>) -> Result<()> {
        while let Some(field) = message.field()? {
            match field.number {
                1 => self.count = field.integer("SampleCount")?,
                2 => self.sum = field.double("SampleSum")?,
                3 => {
                    field.bytes("Bucket")?;
                    self.has_buckets = true;
                }
                4 => self.count_float = field.double("SampleCountFloat")?,
                5 => self.schema = unzigzag(field.integer("Schema")?) as i32,
                6 => self.zero_threshold = field.double("ZeroThreshold")?,
                7 => self.zero_count = field.integer("ZeroCount")?,
                8 => self.zero_count_float = field.double("ZeroCountFloat")?,
                9 | 12 => {
                    field.bytes("PositiveSpan")?;
                    self.has_spans = true;
                }
                15 => self.start_time_ms = timestamp_ms(field.message("StartTimestamp", "Timestamp")?)?,
                16 => {
                    field.bytes("Exemplars")?;
                    self.has_exemplars = true;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether it has anything that only native histograms have: a client says so for one that is empty by a span of
    /// length 0 (`isNativeHistogram`).
    pub(super) fn is_native(&self) -> bool {
        self.has_spans || self.zero_threshold > 0.0 || self.zero_count > 0
    }

    fn has_float_counts(&self) -> bool {
        self.count_float > 0.0 || self.zero_count_float > 0.0
    }

    /// The number of observations of the classic part.
    pub(super) fn classic_count(&self) -> f64 {
        or_integer(self.count_float, self.count)
    }
}

/// The float if there is one.
fn or_integer(float: f64, integer: u64) -> f64 {
    if float == 0.0 { integer as f64 } else { float }
}

/// Reads a `Bucket` message.
pub(super) fn bucket(mut message: Message<'_>) -> Result<Bucket<'_>> {
    let mut bucket = Bucket::default();
    let (mut count, mut count_float) = (0, 0.0);
    while let Some(field) = message.field()? {
        match field.number {
            1 => count = field.integer("CumulativeCount")?,
            2 => bucket.upper_bound = field.double("UpperBound")?,
            3 => bucket.exemplar = Some(field.message("Exemplar", "Exemplar")?),
            4 => count_float = field.double("CumulativeCountFloat")?,
            _ => {}
        }
    }
    bucket.cumulative_count = or_integer(count_float, count);
    Ok(bucket)
}

/// Milliseconds of a `Timestamp` message, cut; `None` for the epoch, which stands for nothing.
pub(super) fn timestamp_ms(message: Message<'_>) -> Result<Option<i64>> {
    Ok(exact_timestamp_ms(message)?.filter(|ms| *ms != 0))
}

/// Milliseconds of a `Timestamp` message, cut.
pub(super) fn exact_timestamp_ms(mut message: Message<'_>) -> Result<Option<i64>> {
    let (mut seconds, mut nanos) = (0i64, 0i32);
    while let Some(field) = message.field()? {
        match field.number {
            1 => seconds = field.integer("Seconds")? as i64,
            2 => nanos = field.integer("Nanos")? as i32,
            _ => {}
        }
    }
    Ok(Some(seconds.wrapping_mul(1000).wrapping_add(i64::from(nanos) / 1_000_000)))
}

/// Puts the native part of a `Histogram` message in `histogram`, whose memory is used again. The message's fields
/// come from `next`, since they may be spread over several messages.
pub(super) fn read_native<'page>(
    head: &Head,
    family: &[u8],
    counter_reset_hint: CounterResetHint,
    histogram: &mut Histogram,
    mut next: impl FnMut() -> Result<Option<Field<'page>>>,
) -> Result<()> {
    histogram.clear(if head.has_float_counts() { Flavour::Float } else { Flavour::Integer });
    histogram.counter_reset_hint = counter_reset_hint;
    histogram.schema = head.schema;
    histogram.zero_threshold = head.zero_threshold;
    histogram.sum = head.sum;
    let Histogram { counts, positive_spans, negative_spans, .. } = histogram;
    let mut last_field = None;
    while let Some(field) = next()? {
        match (field.number, &mut *counts) {
            (9, _) => push(negative_spans, span(field.message("NegativeSpan", "BucketSpan")?)?, &field)?,
            (12, _) => push(positive_spans, span(field.message("PositiveSpan", "BucketSpan")?)?, &field)?,
            (10, Counts::Integer { negative_deltas, .. }) => {
                deltas(&field, "NegativeDelta", negative_deltas)?
            }
            (13, Counts::Integer { positive_deltas, .. }) => {
                deltas(&field, "PositiveDelta", positive_deltas)?
            }
            (11, Counts::Float { negative, .. }) => doubles(&field, "NegativeCount", negative)?,
            (14, Counts::Float { positive, .. }) => doubles(&field, "PositiveCount", positive)?,
            _ => {}
        }
        last_field = Some(field);
    }
    let (n_positive, n_negative) = match counts {
        Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
            (*count, *zero_count) = (head.count, head.zero_count);
            (positive_deltas.len(), negative_deltas.len())
        }
        Counts::Float { count, zero_count, positive, negative } => {
            (*count, *zero_count) = (head.count_float, head.zero_count_float);
            (positive.len(), negative.len())
        }
    };
    for (side, spans, n_buckets) in
        [("positive", &*positive_spans, n_positive), ("negative", &*negative_spans, n_negative)]
    {
        let described: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        let found = n_buckets as u64;
        if described != found
            && let Some(field) = last_field
        {
            let name = Excerpt::new(family);
            return Err(ProtobufError::SpansMismatch { name, side, described, found }.at(field.place()));
        }
    }
    histogram.compact();
    Ok(())
}

fn span(mut message: Message<'_>) -> Result<Span> {
    let mut span = Span::default();
    while let Some(field) = message.field()? {
        match field.number {
            1 => span.offset = unzigzag(field.integer("Offset")?) as i32,
            2 => span.length = field.integer("Length")? as u32,
            _ => {}
        }
    }
    Ok(span)
}

fn deltas(field: &Field<'_>, name: &'static str, out: &mut Vec<i64>) -> Result<()> {
    match field.integers(name)? {
        Packed::One(number) => push(out, unzigzag(number), field),
        Packed::Many(mut message) => {
            while !message.is_empty() {
                push(out, unzigzag(message.varint()?), field)?;
            }
            Ok(())
        }
    }
}

fn doubles(field: &Field<'_>, name: &'static str, out: &mut Vec<f64>) -> Result<()> {
    match field.doubles(name)? {
        Packed::One(bits) => push(out, f64::from_bits(bits), field),
        Packed::Many(mut message) => {
            while !message.is_empty() {
                push(out, f64::from_le_bytes(message.fixed()?), field)?;
            }
            Ok(())
        }
    }
}

fn push<T>(out: &mut Vec<T>, it: T, field: &Field<'_>) -> Result<()> {
    if out.len() >= MAX_BUCKETS_A_SIDE {
        return Err(ProtobufError::TooManyBuckets { limit: MAX_BUCKETS_A_SIDE }.at(field.place()));
    }
    out.push(it);
    Ok(())
}
