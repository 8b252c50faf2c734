//! Bits in the order in which chunks hold them: the highest of a byte first (`tsdb/chunkenc/bstream.go`, `varbit.go`).

/// Bits of the longest of the prefixes that say how long a number is.
const LONGEST_PREFIX: u32 = 8;

/// Lengths of numbers with variable length, shortest first; the prefix of each is a one for each shorter length, one
/// more, and a zero.
const LENGTHS: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

/// Writes at the end of a list of bytes, bit by bit.
#[derive(Debug, Default)]
pub(in crate::chunk) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not written yet.
    n_free: u32,
}

impl BitWriter {
    /// Behind a header of whole bytes.
    pub(in crate::chunk) fn behind(header: &[u8]) -> Self {
        Self { bytes: header.to_vec(), n_free: 0 }
    }

    /// All that was written; the last byte is filled up with zeros.
    pub(in crate::chunk) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes until now, the last one perhaps not full.
    pub(in crate::chunk) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(in crate::chunk) fn bit(&mut self, bit: bool) {
        self.bits(u64::from(bit), 1);
    }

    /// The lowest `n_bits` of `value`, 64 at most.
    pub(in crate::chunk) fn bits(&mut self, value: u64, n_bits: u32) {
        let mut n_left = n_bits;
        while n_left > 0 {
            if self.n_free == 0 {
                self.bytes.push(0);
                self.n_free = u8::BITS;
            }
            let n_now = n_left.min(self.n_free);
            n_left -= n_now;
            let piece = (value >> n_left) as u8 & (u8::MAX >> (u8::BITS - n_now));
            self.n_free -= n_now;
            if let Some(last) = self.bytes.last_mut() {
                *last |= piece << self.n_free;
            }
        }
    }

    pub(in crate::chunk) fn float(&mut self, value: f64) {
        self.bits(value.to_bits(), u64::BITS);
    }

    /// Go's `binary.PutUvarint`.
    pub(in crate::chunk) fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bits(value & 0x7f | 0x80, u8::BITS);
            value >>= 7;
        }
        self.bits(value, u8::BITS);
    }

    /// Go's `binary.PutVarint`.
    pub(in crate::chunk) fn varint(&mut self, value: i64) {
        self.uvarint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// `putVarbitInt`: small numbers in few bits.
    pub(in crate::chunk) fn varbit_int(&mut self, value: i64) {
        self.varbit(value as u64, value == 0, |n_bits| fits(value, n_bits));
    }

    /// `putVarbitUint`: the same without a sign.
    pub(in crate::chunk) fn varbit_uint(&mut self, value: u64) {
        self.varbit(value, value == 0, |n_bits| value >> n_bits == 0);
    }

    fn varbit(&mut self, bits: u64, is_zero: bool, fits: impl Fn(u32) -> bool) {
        if is_zero {
            return self.bit(false);
        }
        match LENGTHS.iter().zip(2..).find(|(n_bits, _)| fits(**n_bits)) {
            Some((&n_bits, n_prefix)) => {
                self.bits((1 << n_prefix) - 2, n_prefix);
                self.bits(bits, n_bits);
            }
            None => {
                self.bits(u64::from(u8::MAX), LONGEST_PREFIX);
                self.bits(bits, u64::BITS);
            }
        }
    }
}

/// `bitRange`: whether a number with a sign fits, with one more above zero than below.
pub(in crate::chunk) fn fits(value: i64, n_bits: u32) -> bool {
    let most = 1_i64 << (n_bits - 1);
    (1 - most..=most).contains(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_fill_bytes_from_the_top() {
        let mut writer = BitWriter::behind(&[7]);
        writer.bit(true);
        writer.bits(0b0110, 4);
        writer.bits(0xabc, 12);
        assert_eq!(writer.len(), 4);
        assert_eq!(writer.into_bytes(), [7, 0b1011_0101, 0b0101_1110, 0b0000_0000]);
    }

    /// From `TestWriteVarbitInt` and `TestWriteVarbitUint`: the bits of the numbers on both sides of each bound.
    #[test]
    fn numbers_take_the_bits_that_they_need() {
        let n_bits = |write: &dyn Fn(&mut BitWriter)| {
            let mut writer = BitWriter::default();
            write(&mut writer);
            writer.len() as u32 * u8::BITS - writer.n_free
        };
        let int = |value: i64| n_bits(&|writer| writer.varbit_int(value));
        let uint = |value: u64| n_bits(&|writer| writer.varbit_uint(value));
        assert_eq!([0, -3, 4, -4, 5, -31, 32, 33].map(int), [1, 5, 5, 9, 9, 9, 9, 13]);
        assert_eq!([256, 257, 2048, 2049, 131_072, 131_073].map(int), [13, 17, 17, 24, 24, 32]);
        assert_eq!([1 << 24, (1 << 24) + 1, 1 << 55, (1 << 55) + 1].map(int), [32, 64, 64, 72]);
        assert_eq!([i64::MAX, i64::MIN].map(int), [72, 72]);
        assert_eq!([0, 1, 7, 8, 63, 64, 511, 512, 4095, 4096].map(uint), [1, 5, 5, 9, 9, 13, 13, 17, 17, 24]);
        assert_eq!([(1 << 18) - 1, 1 << 18, 1 << 25, (1 << 56) - 1, 1 << 56].map(uint), [24, 32, 64, 64, 72]);
    }
}
