//! Native histograms as messages: the same fields in remote write 1.0 and 2.0.
//!
//! After `Histogram` of `prompb/types.proto`. Fields come in the order of their numbers; what is empty or zero is left
//! out, except the two counts, whose presence says which flavour it is.

use crate::histogram::{CounterResetHint, Counts, Histogram, Span};
use crate::protobuf::write::{
    number_len, push_bytes, push_double, push_long_tag, push_number, push_varint, tag, zigzag,
};
use crate::protobuf::{BYTES, FIXED64, VARINT};

const COUNT_INT: u8 = tag(1, VARINT);
const COUNT_FLOAT: u8 = tag(2, FIXED64);
const SUM: u8 = tag(3, FIXED64);
const SCHEMA: u8 = tag(4, VARINT);
const ZERO_THRESHOLD: u8 = tag(5, FIXED64);
const ZERO_COUNT_INT: u8 = tag(6, VARINT);
const ZERO_COUNT_FLOAT: u8 = tag(7, FIXED64);
const NEGATIVE_SPANS: u8 = tag(8, BYTES);
const NEGATIVE_DELTAS: u8 = tag(9, BYTES);
const NEGATIVE_COUNTS: u8 = tag(10, BYTES);
const POSITIVE_SPANS: u8 = tag(11, BYTES);
const POSITIVE_DELTAS: u8 = tag(12, BYTES);
const POSITIVE_COUNTS: u8 = tag(13, BYTES);
const RESET_HINT: u8 = tag(14, VARINT);
const TIMESTAMP: u8 = tag(15, VARINT);
/// Its tag takes two bytes.
const CUSTOM_VALUES_FIELD: u8 = 16;
const SPAN_OFFSET: u8 = tag(1, VARINT);
const SPAN_LENGTH: u8 = tag(2, VARINT);

/// Writes the content of a message at the end of `out`; `scratch` is overwritten.
pub(crate) fn write(out: &mut Vec<u8>, scratch: &mut Vec<u8>, ts_ms: i64, histogram: &Histogram) {
    let Histogram { counts, negative_spans, positive_spans, custom_values, .. } = histogram;
    match *counts {
        Counts::Integer { count, .. } => {
            out.push(COUNT_INT);
            push_varint(out, count);
        }
        Counts::Float { count, .. } => push_count(out, COUNT_FLOAT, count),
    }
    push_double(out, SUM, histogram.sum);
    push_number(out, SCHEMA, zigzag(i64::from(histogram.schema)));
    push_double(out, ZERO_THRESHOLD, histogram.zero_threshold);
    match counts {
        Counts::Integer { zero_count, positive_deltas, negative_deltas, .. } => {
            out.push(ZERO_COUNT_INT);
            push_varint(out, *zero_count);
            push_spans(out, NEGATIVE_SPANS, negative_spans);
            push_deltas(out, scratch, NEGATIVE_DELTAS, negative_deltas);
            push_spans(out, POSITIVE_SPANS, positive_spans);
            push_deltas(out, scratch, POSITIVE_DELTAS, positive_deltas);
        }
        Counts::Float { zero_count, positive, negative, .. } => {
            push_count(out, ZERO_COUNT_FLOAT, *zero_count);
            push_spans(out, NEGATIVE_SPANS, negative_spans);
            if !negative.is_empty() {
                out.push(NEGATIVE_COUNTS);
                push_doubles(out, negative);
            }
            push_spans(out, POSITIVE_SPANS, positive_spans);
            if !positive.is_empty() {
                out.push(POSITIVE_COUNTS);
                push_doubles(out, positive);
            }
        }
    }
    push_number(out, RESET_HINT, reset_hint(histogram.counter_reset_hint));
    push_number(out, TIMESTAMP, ts_ms as u64);
    if !custom_values.is_empty() {
        push_long_tag(out, CUSTOM_VALUES_FIELD, BYTES);
        push_doubles(out, custom_values);
    }
}

/// `ResetHint`.
fn reset_hint(hint: CounterResetHint) -> u64 {
    match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 1,
        CounterResetHint::NotCounterReset => 2,
        CounterResetHint::Gauge => 3,
    }
}

/// Written even if it is zero.
fn push_count(out: &mut Vec<u8>, tag: u8, count: f64) {
    out.push(tag);
    out.extend_from_slice(&count.to_le_bytes());
}

fn push_spans(out: &mut Vec<u8>, tag: u8, spans: &[Span]) {
    for span in spans {
        let offset = zigzag(i64::from(span.offset));
        let length = u64::from(span.length);
        out.push(tag);
        push_varint(out, (number_len(offset) + number_len(length)) as u64);
        push_number(out, SPAN_OFFSET, offset);
        push_number(out, SPAN_LENGTH, length);
    }
}

fn push_deltas(out: &mut Vec<u8>, scratch: &mut Vec<u8>, tag: u8, deltas: &[i64]) {
    if deltas.is_empty() {
        return;
    }
    scratch.clear();
    deltas.iter().for_each(|delta| push_varint(scratch, zigzag(*delta)));
    push_bytes(out, tag, scratch);
}

/// Length and content of a packed field.
fn push_doubles(out: &mut Vec<u8>, values: &[f64]) {
    push_varint(out, 8 * values.len() as u64);
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}
