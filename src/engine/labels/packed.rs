//! A label set as numbers: for each label the symbols of its name and its value as varints, in order of name.
//!
//! The bytes are prefixed with their length, so that many label sets lie in one buffer without a list of lengths.
//! Knows symbols, not the table that holds the buffers.

use crate::labels::symbols::Symbol;

/// Appends a label set's pairs, length first.
pub(crate) fn push(buffer: &mut Vec<u8>, packed_pairs: &[u8]) {
    push_varint(buffer, packed_pairs.len() as u64);
    buffer.extend_from_slice(packed_pairs);
}

/// Bytes that [`push`] appends for a label set of `pairs_len` bytes.
pub(crate) fn packed_len(pairs_len: usize) -> usize {
    let len_bits = (usize::BITS - pairs_len.leading_zeros()).max(1);
    len_bits.div_ceil(7) as usize + pairs_len
}

/// Appends one label to the pairs of a label set.
pub(crate) fn push_pair(pairs: &mut Vec<u8>, name: Symbol, value: Symbol) {
    push_varint(pairs, u64::from(name.0));
    push_varint(pairs, u64::from(value.0));
}

/// The pairs of the label set that starts at `start` of `buffer`, and where it ends.
pub(crate) fn at(buffer: &[u8], start: usize) -> (Pairs<'_>, usize) {
    let mut rest = &buffer[start..];
    let len = pop_varint(&mut rest);
    let first = buffer.len() - rest.len();
    // Lengths are written by `push` from a slice that was in memory.
    #[allow(clippy::cast_possible_truncation, reason = "was a usize when it was written")]
    let end = first + len as usize;
    (Pairs { bytes: &buffer[first..end] }, end)
}

/// Name and value symbols of one label set.
#[derive(Clone, Debug)]
pub(crate) struct Pairs<'a> {
    bytes: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// As [`push_pair`] wrote them.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl Iterator for Pairs<'_> {
    type Item = (Symbol, Symbol);

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let (name, value) = (pop_varint(&mut self.bytes), pop_varint(&mut self.bytes));
        #[allow(clippy::cast_possible_truncation, reason = "`push_pair` wrote u32s")]
        let pair = (Symbol(name as u32), Symbol(value as u32));
        Some(pair)
    }
}

fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        #[allow(clippy::cast_possible_truncation, reason = "the low seven bits are meant")]
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    #[allow(clippy::cast_possible_truncation, reason = "below 0x80")]
    out.push(number as u8);
}

#[inline]
fn pop_varint(bytes: &mut &[u8]) -> u64 {
    // Most numbers are of one or two bytes.
    match *bytes {
        [first @ 0..0x80, rest @ ..] => {
            *bytes = rest;
            u64::from(*first)
        }
        [first, second @ 0..0x80, rest @ ..] => {
            *bytes = rest;
            u64::from(first & 0x7f) | u64::from(*second) << 7
        }
        _ => pop_long_varint(bytes),
    }
}

fn pop_long_varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    let mut shift = 0;
    while let Some((first, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if *first < 0x80 {
            break;
        }
        shift += 7;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_of_all_sizes_come_back() {
        let edges = [0, 1, 127, 128, 16_383, 16_384, u32::MAX - 1, u32::MAX];
        let sets: Vec<Vec<(u32, u32)>> = [0, 1, 3, 30, 3000]
            .iter()
            .map(|len| (0..*len).map(|it| (edges[it % 8], edges[it / 8 % 8])).collect())
            .collect();
        let mut buffer = vec![0xff; 3];
        let mut starts = Vec::new();
        for set in &sets {
            let mut pairs = Vec::new();
            for (name, value) in set {
                push_pair(&mut pairs, Symbol(*name), Symbol(*value));
            }
            starts.push(buffer.len());
            push(&mut buffer, &pairs);
            assert_eq!(buffer.len(), starts[starts.len() - 1] + packed_len(pairs.len()));
        }
        let mut end = 3;
        for (set, start) in sets.iter().zip(starts) {
            assert_eq!(start, end);
            let (pairs, set_end) = at(&buffer, start);
            assert!(pairs.map(|(name, value)| (name.0, value.0)).eq(set.iter().copied()));
            end = set_end;
        }
        assert_eq!(end, buffer.len());
    }
}
