//! Tags, variable-length numbers, doubles and fields of bytes at the end of a buffer.
//!
//! Fields with their default value are left out by the caller, as Prometheus' generated code does.

/// Bytes of a double with its tag.
const DOUBLE_BYTES: usize = 9;

/// Tag of a field; numbers from 16 on need [`push_long_tag`].
pub(crate) const fn tag(field: u8, wire_type: u8) -> u8 {
    assert!(field < 16);
    field << 3 | wire_type
}

/// A tag of two bytes.
pub(crate) fn push_long_tag(out: &mut Vec<u8>, field: u8, wire_type: u8) {
    push_varint(out, u64::from(field) << 3 | u64::from(wire_type));
}

pub(crate) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small numbers of either sign in few bytes: `sint32`, `sint64`.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(crate) fn varint_len(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// A number; zero is the default and left out.
pub(crate) fn push_number(out: &mut Vec<u8>, tag: u8, value: u64) {
    if value != 0 {
        out.push(tag);
        push_varint(out, value);
    }
}

/// Bytes of what [`push_number`] writes.
pub(crate) fn number_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + varint_len(value) }
}

/// A double; zero is the default and left out, and minus zero is not zero.
pub(crate) fn push_double(out: &mut Vec<u8>, tag: u8, value: f64) {
    if value.to_bits() != 0 {
        out.push(tag);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Bytes of what [`push_double`] writes.
pub(crate) fn double_len(value: f64) -> usize {
    if value.to_bits() == 0 { 0 } else { DOUBLE_BYTES }
}

/// Bytes of a field with this much content, tag and length included.
pub(crate) fn bytes_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

pub(crate) fn push_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::{push_varint, varint_len, zigzag};

    #[test]
    fn lengths_of_numbers_are_right() {
        for shift in 0..64 {
            for value in [(1_u64 << shift) - 1, 1 << shift] {
                let mut bytes = Vec::new();
                push_varint(&mut bytes, value);
                assert_eq!(bytes.len(), varint_len(value), "{value}");
            }
        }
    }

    #[test]
    fn signs_go_into_the_lowest_bit() {
        let check = |value: i64, expected: u64| assert_eq!(zigzag(value), expected, "{value}");
        check(0, 0);
        check(-1, 1);
        check(1, 2);
        check(i64::MAX, u64::MAX - 1);
        check(i64::MIN, u64::MAX);
    }
}
