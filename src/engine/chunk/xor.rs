//! Floats as differences of their bits to the float before (`tsdb/chunkenc/xor.go`).

use crate::chunk::bits::{BitWriter, fits};

/// Most leading zeros that can be written.
const MAX_LEADING: u32 = 31;

/// Lengths of a difference between two steps of time, with the ones before the zero in front of it.
const STEP_LENGTHS: [(u32, u32); 3] = [(14, 1), (17, 2), (20, 3)];

/// A float that changes from sample to sample.
#[derive(Clone, Copy, Debug)]
pub(in crate::chunk) struct XorFloat {
    value: f64,
    /// Zeros before and behind the bits written last; none before the first change.
    window: Option<(u32, u32)>,
}

impl XorFloat {
    /// The first value, which is written as it is.
    pub(in crate::chunk) fn first(bits: &mut BitWriter, value: f64) -> Self {
        bits.float(value);
        Self { value, window: None }
    }

    /// The next value (`xorWrite`).
    pub(in crate::chunk) fn next(&mut self, bits: &mut BitWriter, value: f64) {
        let delta = value.to_bits() ^ self.value.to_bits();
        self.value = value;
        bits.bit(delta != 0);
        if delta == 0 {
            return;
        }
        let (leading, trailing) = (delta.leading_zeros().min(MAX_LEADING), delta.trailing_zeros());
        match self.window {
            Some((known_leading, known_trailing))
                if leading >= known_leading && trailing >= known_trailing =>
            {
                bits.bit(false);
                bits.bits(delta >> known_trailing, u64::BITS - known_leading - known_trailing);
            }
            _ => {
                let n_bits = u64::BITS - leading - trailing;
                self.window = Some((leading, trailing));
                bits.bit(true);
                bits.bits(u64::from(leading), 5);
                // 64 has no room and stands as 0, which there is not.
                bits.bits(u64::from(n_bits % u64::BITS), 6);
                bits.bits(delta >> trailing, n_bits);
            }
        }
    }
}

/// A chunk of floats being written.
#[derive(Debug)]
pub(in crate::chunk) struct XorWriter {
    bits: BitWriter,
    ts_ms: i64,
    /// Since the sample before; none at the first one.
    step_ms: Option<i64>,
    value: XorFloat,
}

impl XorWriter {
    /// Begins with a sample.
    pub(in crate::chunk) fn new(header: &[u8], ts_ms: i64, value: f64) -> Self {
        let mut bits = BitWriter::behind(header);
        bits.varint(ts_ms);
        let value = XorFloat::first(&mut bits, value);
        Self { bits, ts_ms, step_ms: None, value }
    }

    /// The next sample.
    pub(in crate::chunk) fn push(&mut self, ts_ms: i64, value: f64) {
        let step_ms = ts_ms.wrapping_sub(self.ts_ms);
        match self.step_ms {
            None => self.bits.uvarint(step_ms as u64),
            Some(known) => self.step_change(step_ms.wrapping_sub(known)),
        }
        (self.ts_ms, self.step_ms) = (ts_ms, Some(step_ms));
        self.value.next(&mut self.bits, value);
    }

    fn step_change(&mut self, change: i64) {
        if change == 0 {
            return self.bits.bit(false);
        }
        match STEP_LENGTHS.iter().find(|(n_bits, _)| fits(change, *n_bits)) {
            Some(&(n_bits, n_ones)) => {
                self.bits.bits((1 << (n_ones + 1)) - 2, n_ones + 1);
                self.bits.bits(change as u64, n_bits);
            }
            None => {
                self.bits.bits(0b1111, 4);
                self.bits.bits(change as u64, u64::BITS);
            }
        }
    }

    /// The whole chunk.
    pub(in crate::chunk) fn into_bytes(self) -> Vec<u8> {
        self.bits.into_bytes()
    }
}
