//! Inputs for the fuzz targets without a fuzzer: seeds, changed a little; the same ones for the same seed.

/// Longer inputs find nothing that shorter ones do not.
const MAX_INPUT_BYTES: usize = 4096;

/// Bytes that mean something to most parsers.
const SPECIAL: &[u8] = b"\0\n\r\t \"#$%'()*+,-./:;=?[\\]^_{|}~\x7f\x80\xc3\xff09aAzZ";

/// Gives one input after the other.
#[derive(Debug)]
pub(crate) struct Mutator {
    seeds: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    state: u64,
}

impl Mutator {
    /// `words` are pieces of the input's language, `state` is where the random numbers begin.
    pub(crate) fn new(seeds: Vec<Vec<u8>>, words: &[&str], state: u64) -> Self {
        let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        Self { seeds, words, state }
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.state;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    /// Below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.random() % bound as u64) as usize
    }

    /// A piece of a seed, at most so long.
    fn piece(&mut self, max_bytes: usize) -> Vec<u8> {
        let idx = self.below(self.seeds.len());
        let n_seed_bytes = self.seeds[idx].len();
        let start = if n_seed_bytes > max_bytes { self.below(n_seed_bytes - max_bytes + 1) } else { 0 };
        self.seeds[idx][start..n_seed_bytes.min(start + max_bytes)].to_vec()
    }

    /// The next input.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let max_bytes = [64, 512, MAX_INPUT_BYTES][self.below(3)];
        let mut input = self.piece(max_bytes);
        for _ in 0..=self.below(6) {
            self.change(&mut input);
        }
        input.truncate(MAX_INPUT_BYTES);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let behind = at + self.below((input.len() - at).min(32) + 1);
        match self.below(9) {
            0 => {
                let bit = 1 << self.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= bit;
                }
            }
            1 => {
                let special = SPECIAL[self.below(SPECIAL.len())];
                if let Some(byte) = input.get_mut(at) {
                    *byte = special;
                }
            }
            2 => input.insert(at, SPECIAL[self.below(SPECIAL.len())]),
            3 => {
                input.drain(at..behind);
            }
            4 => {
                let repeated: Vec<u8> = input[at..behind].repeat(1 + self.below(8));
                input.splice(at..at, repeated);
            }
            5 => {
                let number = [0, 1, 9, u64::MAX, 1 << 53, 1 << 63, self.random()][self.below(7)];
                let number = number.to_string();
                input.splice(at..behind, number.bytes());
            }
            6 => {
                let piece = self.piece(64);
                input.splice(at..at, piece);
            }
            _ => {
                let idx = self.below(self.words.len());
                let word = self.words[idx].clone();
                input.splice(at..behind, word);
            }
        }
    }
}
