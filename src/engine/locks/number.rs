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
