//! A lock and a mode in four bytes.

use super::mode::Mode;

/// A lock's number within its table, reused once nobody refers to the lock.
pub(super) type LockId = u32;

/// One lock in one mode: what sets of locks are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Entry(u32);

impl Entry {
    /// The highest number of a lock; three bits are the mode's.
    pub(super) const MAX_LOCK: LockId = (1 << 29) - 1;

    /// That lock in that mode.
    pub(super) const fn new(lock: LockId, mode: Mode) -> Self {
        Self(lock << 3 | mode as u32)
    }

    /// The lock.
    #[inline]
    pub(super) const fn lock(self) -> LockId {
        self.0 >> 3
    }

    /// The mode.
    #[inline]
    pub(super) const fn mode(self) -> Mode {
        Mode::ALL[(self.0 & 7) as usize]
    }

    /// The mode's bit in a mask of modes.
    #[inline]
    pub(super) const fn bit(self) -> u8 {
        1 << (self.0 & 7)
    }

    /// The mode's place in a table by mode.
    #[inline]
    pub(super) const fn index(self) -> usize {
        (self.0 & 7) as usize
    }
}
