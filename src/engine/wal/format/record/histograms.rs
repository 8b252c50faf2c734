//! Histogram records: native histograms with integer or float counts, exponential or custom buckets.
//!
//! An entry is checked when it is read and unfolded only for who asks, so that a log is replayed and re-logged without
//! building a histogram. Those of version 2 are read only: start times are left out.

use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Counts, Flavour, Histogram, Span};
use crate::wal::format::record::bytes::{Bytes, put_uvarint, put_varint};
use crate::wal::format::record::deltas::{DeltaEncoder, Deltas};
use crate::wal::format::record::entries::{Entries, ReadEntry};
use crate::wal::format::record::record_type::DecodeError;

/// Which record a histogram belongs into: each holds histograms of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistogramKind {
    /// Integer counts, exponential buckets: type 7.
    Integer,
    /// Float counts, exponential buckets: type 8.
    Float,
    /// Integer counts, custom buckets: type 9.
    CustomInteger,
    /// Float counts, custom buckets: type 10.
    CustomFloat,
}

impl HistogramKind {
    /// In the order in which Prometheus writes their records.
    pub const ALL: [HistogramKind; 4] = [
        HistogramKind::Integer,
        HistogramKind::CustomInteger,
        HistogramKind::Float,
        HistogramKind::CustomFloat,
    ];

    /// Of a histogram.
    pub fn of(histogram: &Histogram) -> Self {
        let flavour = match histogram.counts {
            Counts::Integer { .. } => Flavour::Integer,
            Counts::Float { .. } => Flavour::Float,
        };
        Self::new(flavour, histogram.schema)
    }

    fn new(flavour: Flavour, schema: i32) -> Self {
        match (flavour, schema == CUSTOM_BUCKETS_SCHEMA) {
            (Flavour::Integer, false) => Self::Integer,
            (Flavour::Integer, true) => Self::CustomInteger,
            (Flavour::Float, false) => Self::Float,
            (Flavour::Float, true) => Self::CustomFloat,
        }
    }

    /// Unfolds what [`EncodedHistogram::bytes`] gave into `out`, whose memory is used again.
    ///
    /// # Errors
    /// It is not what [`put_histogram`] writes of this kind.
    pub fn decode_into(self, encoded: &[u8], out: &mut Histogram) -> Result<(), DecodeError> {
        let flavour = match self {
            Self::Integer | Self::CustomInteger => Flavour::Integer,
            Self::Float | Self::CustomFloat => Flavour::Float,
        };
        decode(&mut Bytes(encoded), flavour, out)
    }

    /// Whether its bounds are listed.
    pub fn has_custom_buckets(self) -> bool {
        matches!(self, Self::CustomInteger | Self::CustomFloat)
    }

    fn record_type(self) -> u8 {
        match self {
            Self::Integer => 7,
            Self::Float => 8,
            Self::CustomInteger => 9,
            Self::CustomFloat => 10,
        }
    }
}

/// One histogram.
#[derive(Clone, Copy, Debug)]
pub struct HistogramEntry<'a> {
    /// Ref of a series record that stands before it.
    pub series_ref: u64,
    /// Milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// The histogram.
    pub histogram: EncodedHistogram<'a>,
}

/// A histogram as a record has it, checked.
#[derive(Clone, Copy, Debug)]
pub struct EncodedHistogram<'a> {
    flavour: Flavour,
    schema: i32,
    bytes: &'a [u8],
}

impl EncodedHistogram<'_> {
    /// The record it belongs into.
    pub fn kind(&self) -> HistogramKind {
        HistogramKind::new(self.flavour, self.schema)
    }

    /// As [`put_histogram`] writes it.
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// Unfolds it into `out`, whose memory is used again.
    pub fn decode_into(&self, out: &mut Histogram) {
        // It was checked: there is no error to be had.
        let _ = decode(&mut Bytes(self.bytes), self.flavour, out);
    }
}

/// Entries of a histogram record.
pub type Histograms<'a> = Entries<'a, HistogramReader>;

/// Reads them.
#[derive(Clone, Debug)]
pub struct HistogramReader {
    pub(super) deltas: Deltas,
    pub(super) flavour: Flavour,
}

impl<'a> ReadEntry<'a> for HistogramReader {
    type Entry = HistogramEntry<'a>;

    fn read(&mut self, body: &mut Bytes<'a>) -> Result<HistogramEntry<'a>, DecodeError> {
        let (series_ref, ts_ms) = self.deltas.next(body)?;
        let start = body.0;
        let schema = skip(body, self.flavour)?;
        let used = start.len() - body.0.len();
        let bytes = start.get(..used).unwrap_or_default();
        let histogram = EncodedHistogram { flavour: self.flavour, schema, bytes };
        Ok(HistogramEntry { series_ref, ts_ms, histogram })
    }
}

/// Writes a histogram record entry by entry at the end of a buffer.
#[derive(Debug)]
pub struct HistogramsEncoder {
    deltas: DeltaEncoder,
}

impl HistogramsEncoder {
    /// Starts a record for histograms of `kind` in `out`, which must be empty.
    pub fn start(out: &mut Vec<u8>, kind: HistogramKind) -> Self {
        out.push(kind.record_type());
        Self { deltas: DeltaEncoder::default() }
    }

    /// Adds one histogram that [`put_histogram`] wrote.
    pub fn push(&mut self, out: &mut Vec<u8>, series_ref: u64, ts_ms: i64, encoded: &[u8]) {
        self.deltas.put(out, series_ref, ts_ms);
        out.extend_from_slice(encoded);
    }
}

/// Writes a histogram as records have it (`record.EncodeHistogram`, `record.EncodeFloatHistogram`).
pub fn put_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    out.push(match histogram.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 1,
        CounterResetHint::NotCounterReset => 2,
        CounterResetHint::Gauge => 3,
    });
    put_varint(out, i64::from(histogram.schema));
    put_float(out, histogram.zero_threshold);
    match &histogram.counts {
        Counts::Integer { count, zero_count, .. } => {
            put_uvarint(out, *zero_count);
            put_uvarint(out, *count);
        }
        Counts::Float { count, zero_count, .. } => {
            put_float(out, *zero_count);
            put_float(out, *count);
        }
    }
    put_float(out, histogram.sum);
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        put_uvarint(out, spans.len() as u64);
        for span in spans {
            put_varint(out, i64::from(span.offset));
            put_uvarint(out, u64::from(span.length));
        }
    }
    match &histogram.counts {
        Counts::Integer { positive_deltas, negative_deltas, .. } => {
            for deltas in [positive_deltas, negative_deltas] {
                put_uvarint(out, deltas.len() as u64);
                deltas.iter().for_each(|delta| put_varint(out, *delta));
            }
        }
        Counts::Float { positive, negative, .. } => {
            for counts in [positive, negative] {
                put_uvarint(out, counts.len() as u64);
                counts.iter().for_each(|count| put_float(out, *count));
            }
        }
    }
    if histogram.has_custom_buckets() {
        put_uvarint(out, histogram.custom_values.len() as u64);
        histogram.custom_values.iter().for_each(|bound| put_float(out, *bound));
    }
}

fn put_float(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_be_bytes());
}

/// Passes over a histogram; returns its schema.
fn skip(body: &mut Bytes<'_>, flavour: Flavour) -> Result<i32, DecodeError> {
    body.byte()?;
    // Go cuts numbers that are too large, too.
    let schema = body.varint()? as i32;
    body.be_u64()?;
    for _ in ["zero count", "count"] {
        match flavour {
            Flavour::Integer => body.uvarint()?,
            Flavour::Float => body.be_u64()?,
        };
    }
    body.be_u64()?;
    for _ in ["positive spans", "negative spans"] {
        for _ in 0..body.uvarint()? {
            body.varint()?;
            body.uvarint()?;
        }
    }
    for _ in ["positive buckets", "negative buckets"] {
        for _ in 0..body.uvarint()? {
            match flavour {
                Flavour::Integer => body.uvarint()?,
                Flavour::Float => body.be_u64()?,
            };
        }
    }
    if schema == CUSTOM_BUCKETS_SCHEMA {
        for _ in 0..body.uvarint()? {
            body.be_u64()?;
        }
    }
    Ok(schema)
}

fn decode(body: &mut Bytes<'_>, flavour: Flavour, out: &mut Histogram) -> Result<(), DecodeError> {
    out.clear(flavour);
    out.counter_reset_hint = match body.byte()? {
        1 => CounterResetHint::CounterReset,
        2 => CounterResetHint::NotCounterReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    };
    out.schema = body.varint()? as i32;
    out.zero_threshold = body.float()?;
    match &mut out.counts {
        Counts::Integer { count, zero_count, .. } => {
            (*zero_count, *count) = (body.uvarint()?, body.uvarint()?);
        }
        Counts::Float { count, zero_count, .. } => {
            (*zero_count, *count) = (body.float()?, body.float()?);
        }
    }
    out.sum = body.float()?;
    for spans in [&mut out.positive_spans, &mut out.negative_spans] {
        read_list(body, spans, |body| {
            Ok(Span { offset: body.varint()? as i32, length: body.uvarint()? as u32 })
        })?;
    }
    match &mut out.counts {
        Counts::Integer { positive_deltas, negative_deltas, .. } => {
            read_list(body, positive_deltas, Bytes::varint)?;
            read_list(body, negative_deltas, Bytes::varint)?;
        }
        Counts::Float { positive, negative, .. } => {
            read_list(body, positive, Bytes::float)?;
            read_list(body, negative, Bytes::float)?;
        }
    }
    if out.has_custom_buckets() {
        read_list(body, &mut out.custom_values, Bytes::float)?;
    }
    Ok(())
}

/// Reads a count and this many items, each of at least a byte: the list is no longer than the record.
fn read_list<'a, T>(
    body: &mut Bytes<'a>,
    list: &mut Vec<T>,
    mut item: impl FnMut(&mut Bytes<'a>) -> Result<T, DecodeError>,
) -> Result<(), DecodeError> {
    for _ in 0..body.uvarint()? {
        list.push(item(body)?);
    }
    Ok(())
}
