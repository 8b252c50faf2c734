//! What messages of remote write 1.0 and of remote read are made of (`prompb/types.proto`).

use crate::protobuf::write::{
    bytes_len, double_len, number_len, push_bytes, push_double, push_number, push_varint, tag,
};
use crate::protobuf::{BYTES, FIXED64, VARINT};

const LABEL_NAME: u8 = tag(1, BYTES);
const LABEL_VALUE: u8 = tag(2, BYTES);
const SAMPLE_VALUE: u8 = tag(1, FIXED64);
const SAMPLE_TIMESTAMP: u8 = tag(2, VARINT);

/// `Label`, as a field of another message.
pub(crate) fn push_label(out: &mut Vec<u8>, field: u8, name: &str, value: &str) {
    out.push(field);
    push_varint(out, (bytes_len(name.len()) + bytes_len(value.len())) as u64);
    push_bytes(out, LABEL_NAME, name.as_bytes());
    push_bytes(out, LABEL_VALUE, value.as_bytes());
}

/// `Sample`, as a field of another message.
pub(crate) fn push_sample(out: &mut Vec<u8>, field: u8, ts_ms: i64, value: f64) {
    let ts = ts_ms as u64;
    out.push(field);
    push_varint(out, (number_len(ts) + double_len(value)) as u64);
    // Samples of a scrape share the timestamp: behind the tags it makes one long repetition for snappy, into which the
    // zeros run that most values start with.
    push_number(out, SAMPLE_TIMESTAMP, ts);
    push_double(out, SAMPLE_VALUE, value);
}
