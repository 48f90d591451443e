//! Which orders are known to be fine: one bit for each pair of classes.

use crate::runtime::sync::raw::{AtomicU64, Ordering};

use super::class::ClassId;

/// A square of bits that only ever turn on. A stale 0 costs the slow path, which decides under a
/// mutex; a 1 is always true.
pub(super) struct BitMatrix {
    words: Box<[AtomicU64]>,
    words_per_row: usize,
}

impl BitMatrix {
    /// All 0, for that many classes. 8 KiB for 256.
    pub(super) fn new(classes: usize) -> Self {
        let words_per_row = classes.div_ceil(64);
        let words = (0..classes * words_per_row).map(|_| AtomicU64::new(0)).collect();
        Self { words, words_per_row }
    }

    /// Whether taking `wanted` while holding `held` is known to be fine.
    #[inline]
    pub(super) fn contains(&self, held: ClassId, wanted: ClassId) -> bool {
        let (word, bit) = self.place(held, wanted);
        // Relaxed: the bit publishes nothing but itself.
        self.words[word].load(Ordering::Relaxed) & bit != 0
    }

    pub(super) fn insert(&self, held: ClassId, wanted: ClassId) {
        let (word, bit) = self.place(held, wanted);
        self.words[word].fetch_or(bit, Ordering::Relaxed);
    }

    /// Rows are by the lock wanted, so that testing it against everything held reads one row.
    #[inline]
    fn place(&self, held: ClassId, wanted: ClassId) -> (usize, u64) {
        let column = held.index();
        (wanted.index() * self.words_per_row + column / 64, 1 << (column % 64))
    }
}
