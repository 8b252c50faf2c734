//! Numbers drawn from a seed, for disks of tests: the same seed gives the same disk.

/// A sequence of numbers that look random (`splitmix64`).
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    /// The next number below `n`; 0 if that is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The upper half of the product: no part of the range is favoured by more than n in 2^64.
        ((u128::from(mixed) * u128::from(n)) >> 64) as u64
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
