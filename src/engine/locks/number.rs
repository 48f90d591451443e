//! Hashing by multiplication: of numbers that we or the embedder hand out, and of names, which
//! strangers may choose, with a seed they do not know.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

/// Builds the hasher for maps keyed by owners or locks.
pub(super) type ByNumber = BuildHasherDefault<NumberHasher>;

/// Builds the hasher for maps keyed by names; each map has an own seed.
#[derive(Clone, Debug)]
pub(super) struct ByName {
    seed: u64,
}

impl Default for ByName {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(0) }
    }
}

impl BuildHasher for ByName {
    type Hasher = NumberHasher;

    #[inline]
    fn build_hasher(&self) -> NumberHasher {
        NumberHasher(self.seed)
    }
}

/// Folds a 128-bit product, so that high and low bits of the number reach all bits of the hash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        let product = u128::from(number ^ self.0) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.write_u64(chunk.iter().rfold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
        let rest = chunks.remainder().iter().rfold(1, |word, byte| word << 8 | u64::from(*byte));
        self.write_u64(rest);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::Hash;

    use super::*;

    /// Asserts that different things have hashes that differ, both in the low bits (the place in a
    /// table) and in the high ones (its tags).
    fn assert_spread<T: Hash>(hasher: &impl BuildHasher, things: impl Iterator<Item = T>) {
        let hashes: Vec<u64> = things.map(|thing| hasher.hash_one(thing)).collect();
        assert_eq!(hashes.len(), 1 << 12);
        for shift in [0, 64 - 12] {
            let places: BTreeSet<u64> = hashes.iter().map(|hash| hash >> shift & 0xfff).collect();
            // By chance it would be 4096 (1 - 1/e) = 2589; numbers in steps do a little worse.
            assert!(places.len() > 1500, "{} places, from bit {shift}", places.len());
        }
    }

    #[test]
    fn numbers_and_names_that_are_alike_have_hashes_that_are_not() {
        let numbers = ByNumber::default();
        for step in [1, 64, 1 << 20, 1 << 40] {
            assert_spread(&numbers, (0..1 << 12).map(|number: u64| number * step));
        }
        assert_spread(&numbers, 0..1_u32 << 12);
        assert_ne!(numbers.hash_one(5_u8), numbers.hash_one(6_u8));
        let names = ByName::default();
        assert_spread(&names, (0..1 << 12).map(|number| format!("n{number}")));
        assert_spread(&names, (0..1 << 12).map(|number| format!("{number:05}.example.org")));
        assert_spread(&names, (0..1 << 12).map(|number| "x".repeat(number)));
    }

    #[test]
    fn nobody_can_tell_beforehand_which_names_collide() {
        let hash = |names: ByName| names.hash_one("n1");
        assert_ne!(hash(ByName::default()), hash(ByName::default()));
    }
}
