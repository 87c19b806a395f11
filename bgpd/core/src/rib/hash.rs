//! A fast keyed hash for tables whose keys neighbours choose.
//!
//! SipHash costs more than the rest of interning an attribute set. This one folds a 64x64 bit product per word, starting
//! from a seed that a neighbour does not know: good enough against guessed collisions, not a cryptographic promise. The
//! seed is a value (the core has no randomness), so a recording replays with the same tables.

use std::hash::{BuildHasher, Hasher};

/// Odd constants with balanced bits (digits of pi and e).
const FOLD: u64 = 0x243f_6a88_85a3_08d3;
const FINISH: u64 = 0xb7e1_5162_8aed_2a6b;

/// Makes hashers that all start from one seed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FoldState {
    seed: u64,
}

impl FoldState {
    pub(crate) fn new(seed: u64) -> FoldState {
        FoldState { seed: fold(seed ^ FINISH, FOLD) }
    }
}

impl BuildHasher for FoldState {
    type Hasher = FoldHasher;
    fn build_hasher(&self) -> FoldHasher {
        FoldHasher { state: self.seed }
    }
}

/// The hasher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoldHasher {
    state: u64,
}

impl FoldHasher {
    fn word(&mut self, w: u64) {
        self.state = fold(self.state ^ w, FOLD).rotate_left(23);
    }
}

impl Hasher for FoldHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|w| self.word(u64::from_le_bytes(*w)));
        if !rest.is_empty() {
            self.word(rest.iter().rev().fold(0, |word, octet| word << 8 | u64::from(*octet)));
        }
        // The length keeps a short tail and the same octets with zeros behind them apart.
        self.word(bytes.len() as u64);
    }
    fn write_u8(&mut self, v: u8) {
        self.word(u64::from(v));
    }
    fn write_u16(&mut self, v: u16) {
        self.word(u64::from(v));
    }
    fn write_u32(&mut self, v: u32) {
        self.word(u64::from(v));
    }
    fn write_u64(&mut self, v: u64) {
        self.word(v);
    }
    fn write_u128(&mut self, v: u128) {
        self.word(v as u64);
        self.word((v >> 64) as u64);
    }
    fn write_usize(&mut self, v: usize) {
        self.word(v as u64);
    }
    fn finish(&self) -> u64 {
        fold(self.state, FINISH)
    }
}

impl FoldState {
    /// The hash of one number: what [`FoldHasher`] does in three steps, in one, with both factors unknown to who chooses the
    /// number.
    pub(crate) fn number(self, n: u64) -> u64 {
        fold(n ^ self.seed, self.seed.rotate_left(32) | 1)
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_and_high_bits_spread_over_consecutive_keys() {
        // A hash table uses the low bits for the bucket and the high seven for the tag.
        let build = FoldState::new(7);
        let hashes: [&dyn Fn(u32) -> u64; 2] =
            [&|i| build.hash_one((i << 8, 24u8)), &|i| build.number(u64::from(i) << 16 | 24)];
        for hash in hashes {
            let mut low = [0u32; 64];
            let mut high = [0u32; 64];
            for i in 0..6400u32 {
                let h = hash(i);
                low[(h & 63) as usize] += 1;
                high[(h >> 58) as usize] += 1;
            }
            for n in low.iter().chain(&high) {
                assert!((50..=160).contains(n), "{low:?} {high:?}");
            }
        }
    }

    #[test]
    fn seed_and_length_matter() {
        assert_ne!(FoldState::new(1).hash_one("a"), FoldState::new(2).hash_one("a"));
        assert_ne!(FoldState::new(1).hash_one([1u8, 0].as_slice()), FoldState::new(1).hash_one([1u8].as_slice()));
    }
}
