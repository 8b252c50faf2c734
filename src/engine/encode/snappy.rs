//! A snappy block that is compressed while it is written, by what its writer knows of it.
//!
//! Most of a request are labels that stand in it already. Who writes them knows where, so that they need not be looked for
//! ([`SnappyWriter::repeat`]). All else is compared with what followed there, and only what differs from that is searched for
//! ([`SnappyWriter::push`]), which is what others do with each byte. The format is that of `format_description.txt` of google/snappy; copies reach
//! back as far as they need to, over its blocks of 64 KiB.

use std::ops::Range;

/// A copy that is shorter costs as much as it saves.
const MIN_COPY: usize = 4;

/// A copy from farther away takes five bytes, and is worth it from this length on.
const NEAR: usize = 1 << 16;
const MIN_FAR_COPY: usize = 8;

/// The longest copy of one element.
const MAX_ELEMENT: usize = 64;

/// Copies of this length at most, from nearer than this, take two bytes.
const MAX_SHORT: usize = 11;
const SHORT_DISTANCE: usize = 1 << 11;

/// Places that a search remembers, by the four bytes that stand there.
const SEARCH_SLOTS: usize = 1 << 12;

/// The longest number of 32 bits, as the length of a block is written.
const LENGTH_BYTES: usize = 5;

/// A block being written. Its memory is used again.
#[derive(Debug, Default)]
pub(in crate::encode) struct SnappyWriter {
    /// All that was written, as it is.
    raw: Vec<u8>,
    /// Elements for `raw[..n_packed]`.
    packed: Vec<u8>,
    n_packed: usize,
    /// The end of `raw`, from here on, stands at this place, too.
    copy: Option<Copy>,
    /// Place of four bytes, and one more; allocated at first use.
    found: Vec<u32>,
}

/// From `start` on there is what stands from `from` on.
#[derive(Clone, Copy, Debug)]
struct Copy {
    from: usize,
    start: usize,
}

impl SnappyWriter {
    /// Starts again.
    pub(in crate::encode) fn clear(&mut self) {
        self.raw.clear();
        self.packed.clear();
        self.n_packed = 0;
        self.copy = None;
        self.found.fill(0);
    }

    /// What was written, uncompressed.
    pub(in crate::encode) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Writes bytes that stand at this place.
    #[inline]
    pub(in crate::encode) fn repeat(&mut self, place: Range<usize>) {
        let (from, end) = (place.start, self.raw.len());
        if !place.is_empty() && !self.goes_on(&place) {
            self.end_copy(end);
            self.begin_copy(from, end);
        }
        self.raw.extend_from_within(place);
    }

    /// Whether the bytes of this place come next where the open copy is from.
    #[inline]
    fn goes_on(&self, place: &Range<usize>) -> bool {
        let Some(copy) = self.copy else { return false };
        let next = copy.from + (self.raw.len() - copy.start);
        next == place.start || self.raw.get(next..next + place.len()) == self.raw.get(place.clone())
    }

    /// Writes bytes that may stand somewhere, or parts of them.
    pub(in crate::encode) fn push(&mut self, bytes: &[u8]) {
        let mut at = self.append(bytes);
        let end = self.raw.len();
        self.found.resize(SEARCH_SLOTS, 0);
        let mut n_vain = 0;
        while let Some(word) = word_at(&self.raw, at) {
            // The upper bits are the well mixed ones.
            let slot =
                (word.wrapping_mul(0x1e35_a7bd) >> (u32::BITS - SEARCH_SLOTS.trailing_zeros())) as usize;
            // One more, so that zero is none.
            let here = u32::try_from(at + 1).unwrap_or(0);
            let before = self.found.get_mut(slot).map_or(0, |found| std::mem::replace(found, here)) as usize;
            match before.checked_sub(1).filter(|from| word_at(&self.raw, *from) == Some(word)) {
                Some(from) => {
                    self.begin_copy(from, at);
                    let n_same = MIN_COPY + n_common(&self.raw, from + MIN_COPY, at + MIN_COPY..end);
                    at += n_same;
                    n_vain = 0;
                    if at < end {
                        self.end_copy(at);
                    }
                }
                // What does not repeat itself is looked at less and less often.
                None => {
                    n_vain += 1;
                    at += 1 + n_vain / 32;
                }
            }
        }
    }

    /// Appends, as a part of the copy that is open as long as that goes; where the rest begins.
    #[inline]
    fn append(&mut self, bytes: &[u8]) -> usize {
        let end = self.raw.len();
        self.raw.extend_from_slice(bytes);
        let Some(copy) = self.copy else { return end };
        let n_same = n_common(&self.raw, copy.from + (end - copy.start), end..self.raw.len());
        if n_same < bytes.len() {
            self.end_copy(end + n_same);
        }
        end + n_same
    }

    /// From `start` on there is what stands from `from` on. No copy is open.
    #[inline]
    fn begin_copy(&mut self, mut from: usize, mut start: usize) {
        // What stands in front of it may be the same.
        while start > self.n_packed && from > 0 && self.raw.get(from - 1) == self.raw.get(start - 1) {
            (from, start) = (from - 1, start - 1);
        }
        self.copy = Some(Copy { from, start });
    }

    /// The copy that is open, if one is, ends in front of `end`.
    #[inline]
    fn end_copy(&mut self, end: usize) {
        let Some(Copy { from, start }) = self.copy.take() else { return };
        let (distance, len) = (start - from, end - start);
        if len < if distance < NEAR { MIN_COPY } else { MIN_FAR_COPY } {
            return;
        }
        self.pack_new(start);
        pack_copy(&mut self.packed, distance, len);
        self.n_packed = end;
    }

    /// What stands in front of `end` and is not packed is packed as it is.
    #[inline]
    fn pack_new(&mut self, end: usize) {
        let bytes = self.raw.get(self.n_packed..end).unwrap_or_default();
        pack_literal(&mut self.packed, bytes);
        self.n_packed = end;
    }

    /// Ends all that is open: what there is makes the elements of a block.
    pub(in crate::encode) fn elements(&mut self) -> &[u8] {
        let end = self.raw.len();
        self.end_copy(end);
        self.pack_new(end);
        &self.packed
    }
}

/// The head of a block of so many bytes, uncompressed, in front of its elements.
pub(in crate::encode) fn push_head(out: &mut Vec<u8>, raw_bytes: u32) {
    out.reserve(LENGTH_BYTES);
    crate::protobuf::write::push_varint(out, u64::from(raw_bytes));
}

fn pack_literal(packed: &mut Vec<u8>, bytes: &[u8]) {
    let Some(last) = bytes.len().checked_sub(1) else { return };
    match last {
        0..60 => packed.push((last as u8) << 2),
        60..0x100 => packed.extend_from_slice(&[60 << 2, last as u8]),
        0x100..0x1_0000 => packed.extend_from_slice(&[61 << 2, last as u8, (last >> 8) as u8]),
        _ => {
            let [a, b, c, d, ..] = (last as u64).to_le_bytes();
            packed.extend_from_slice(&[63 << 2, a, b, c, d]);
        }
    }
    packed.extend_from_slice(bytes);
}

fn pack_copy(packed: &mut Vec<u8>, distance: usize, mut len: usize) {
    while len > 0 {
        // None is left over that is too short for two bytes.
        let part = if len > MAX_ELEMENT && len < MAX_ELEMENT + MIN_COPY {
            MAX_ELEMENT - MIN_COPY
        } else {
            len.min(MAX_ELEMENT)
        };
        let [near, far, farther, farthest, ..] = (distance as u64).to_le_bytes();
        if distance >= NEAR {
            packed.extend_from_slice(&[((part - 1) as u8) << 2 | 3, near, far, farther, farthest]);
        } else if distance < SHORT_DISTANCE && (MIN_COPY..=MAX_SHORT).contains(&part) {
            packed.extend_from_slice(&[far << 5 | ((part - MIN_COPY) as u8) << 2 | 1, near]);
        } else {
            packed.extend_from_slice(&[((part - 1) as u8) << 2 | 2, near, far]);
        }
        len -= part;
    }
}

#[inline]
fn word_at(raw: &[u8], at: usize) -> Option<u32> {
    raw.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// How many bytes of the range are those that stand from `from` on, in front of it.
#[inline]
fn n_common(raw: &[u8], from: usize, range: Range<usize>) -> usize {
    let left = raw.get(from..).unwrap_or_default();
    let right = raw.get(range).unwrap_or_default();
    let mut n_same = 0;
    loop {
        let words = (
            left.get(n_same..).and_then(<[u8]>::first_chunk),
            right.get(n_same..).and_then(<[u8]>::first_chunk),
        );
        let (Some(a), Some(b)) = words else { break };
        let differs = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differs != 0 {
            return n_same + (differs.trailing_zeros() / 8) as usize;
        }
        n_same += size_of::<u64>();
    }
    let rest = left.iter().skip(n_same).zip(right.iter().skip(n_same));
    n_same + rest.take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::{SnappyWriter, pack_copy, push_head};
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_oneof, proptest};

    /// What is written at a time.
    #[derive(Clone, Debug)]
    enum Part {
        Push(Vec<u8>),
        /// Where it stands, as a part of all there is, and its length.
        Repeat(f64, usize),
    }

    /// Few different bytes, so that much is the same by chance.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(0..2_u8, 0..100),
            vec(any::<u8>(), 0..400),
            (0..5_000_usize).prop_map(|len| vec![b'a'; len])
        ]
    }

    fn parts() -> impl Strategy<Value = Part> {
        prop_oneof![
            bytes().prop_map(Part::Push),
            (0.0..1.0, 0..300_usize).prop_map(|(at, len)| Part::Repeat(at, len)),
            (0.0..1.0, 0..300_usize).prop_map(|(at, len)| Part::Repeat(at, len)),
        ]
    }

    fn unpacked(writer: &mut SnappyWriter) -> Vec<u8> {
        let mut block = Vec::new();
        push_head(&mut block, writer.raw().len() as u32);
        block.extend_from_slice(writer.elements());
        snap::raw::Decoder::new().decompress_vec(&block).unwrap()
    }

    proptest! {
        #![proptest_config(crate::cases::cases(256))]

        #[test]
        fn what_is_unpacked_is_what_was_written(rounds in vec(vec(parts(), 0..60), 1..3)) {
            let mut writer = SnappyWriter::default();
            for parts in rounds {
                writer.clear();
                let mut written = Vec::new();
                for part in parts {
                    match part {
                        Part::Push(bytes) => {
                            writer.push(&bytes);
                            written.extend(bytes);
                        }
                        Part::Repeat(at, len) => {
                            let from = (at * written.len() as f64) as usize;
                            let to = written.len().min(from + len);
                            writer.repeat(from..to);
                            written.extend_from_within(from..to);
                        }
                    }
                }
                assert_eq!(writer.raw(), written);
                assert_eq!(unpacked(&mut writer), written);
            }
        }
    }

    #[test]
    fn what_repeats_itself_takes_little_room() {
        let mut writer = SnappyWriter::default();
        let text = b"a text of some length that comes again";
        writer.push(text);
        let n_new = writer.elements().len();
        assert!(n_new <= text.len() + 1);
        writer.push(text);
        assert!(writer.elements().len() <= n_new + 3);
        writer.repeat(0..text.len());
        writer.push(&text[..20]);
        assert_eq!(unpacked(&mut writer), [&text[..], text, text, &text[..20]].concat());
        assert!(writer.elements().len() <= n_new + 3 + 3, "one copy goes on in the other");
    }

    #[test]
    fn copies_of_all_lengths_and_distances_are_read() {
        let far: Vec<u8> = (0..70_000_u32).map(|idx| (idx.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for distance in [4, 2047, 2048, 65_535, 65_536, 70_000] {
            for len in (4..200).chain([1000, 4096]).filter(|len| *len <= distance) {
                let mut block = Vec::new();
                push_head(&mut block, (far.len() + len) as u32);
                super::pack_literal(&mut block, &far);
                pack_copy(&mut block, distance, len);
                let from = far.len() - distance;
                let unpacked = snap::raw::Decoder::new().decompress_vec(&block).unwrap();
                assert_eq!(unpacked[far.len()..], far[from..from + len], "{distance} {len}");
            }
        }
    }
}
