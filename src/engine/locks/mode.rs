//! The five modes of multi-granularity locking and how they get along.
//!
//! After Gray, Lorie, Putzolu and Traiger, "Granularity of Locks and Degrees of Consistency in a
//! Shared Data Base" (1976).

use std::fmt;

use crate::vocabulary::LockMode;

/// How a lock is held or wanted. Locks of a level know only `Shared` and `Exclusive`; the
/// intentions exist on the level's set lock, `level/[lockset]`, and say what is held below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Some locks of the level are shared.
    IntentShared = 0,
    /// Some locks of the level are exclusive.
    IntentExclusive = 1,
    /// Together with others that share.
    Shared = 2,
    /// The whole level is shared, some locks of it exclusive.
    SharedIntentExclusive = 3,
    /// Alone.
    Exclusive = 4,
}

impl Mode {
    /// All modes, by number.
    pub(super) const ALL: [Self; 5] = [
        Self::IntentShared,
        Self::IntentExclusive,
        Self::Shared,
        Self::SharedIntentExclusive,
        Self::Exclusive,
    ];

    /// The mode's own bit in a mask of modes.
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The modes that cannot be held by others beside this one, as a mask.
    pub(super) const fn conflicts(self) -> u8 {
        match self {
            Self::IntentShared => 0b10000,
            Self::IntentExclusive => 0b11100,
            Self::Shared => 0b11010,
            Self::SharedIntentExclusive => 0b11110,
            Self::Exclusive => 0b11111,
        }
    }

    /// Whether two owners cannot hold one lock in these modes at the same time.
    #[must_use]
    pub const fn conflicts_with(self, other: Self) -> bool {
        self.conflicts() & other.bit() != 0
    }

    /// The mode of a level's set lock, given how the whole level and single locks are held.
    pub(super) const fn of_set(all: Option<LockMode>, some_exclusive: bool) -> Self {
        match (all, some_exclusive) {
            (Some(LockMode::Exclusive), _) => Self::Exclusive,
            (Some(LockMode::Shared), true) => Self::SharedIntentExclusive,
            (Some(LockMode::Shared), false) => Self::Shared,
            (None, true) => Self::IntentExclusive,
            (None, false) => Self::IntentShared,
        }
    }

    /// What holding a set lock in this mode says about the whole level.
    pub(super) const fn whole_level(self) -> Option<LockMode> {
        match self {
            Self::IntentShared | Self::IntentExclusive => None,
            Self::Shared | Self::SharedIntentExclusive => Some(LockMode::Shared),
            Self::Exclusive => Some(LockMode::Exclusive),
        }
    }

    /// The words an operator reads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IntentShared => "some shared",
            Self::IntentExclusive => "some exclusive",
            Self::Shared => "shared",
            Self::SharedIntentExclusive => "shared, some exclusive",
            Self::Exclusive => "exclusive",
        }
    }
}

impl From<LockMode> for Mode {
    fn from(mode: LockMode) -> Self {
        match mode {
            LockMode::Shared => Self::Shared,
            LockMode::Exclusive => Self::Exclusive,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_conflicts_is_grays() {
        // Rows and columns: IS, IX, S, SIX, X; `x` is a conflict.
        let expected = ["....x", "..xxx", ".x.xx", ".xxxx", "xxxxx"];
        for (held, row) in Mode::ALL.into_iter().zip(expected) {
            for (wanted, sign) in Mode::ALL.into_iter().zip(row.chars()) {
                assert_eq!(held.conflicts_with(wanted), sign == 'x', "{held} {wanted}");
                assert_eq!(wanted.conflicts_with(held), held.conflicts_with(wanted));
            }
        }
    }

    #[test]
    fn each_mode_has_its_own_words() {
        let words = Mode::ALL.map(|mode| mode.to_string()).join(", ");
        let expected = "some shared, some exclusive, shared, shared, some exclusive, exclusive";
        assert_eq!(words, expected);
        assert_eq!(format!("{:>8}", Mode::Shared), "  shared");
    }

    #[test]
    fn a_set_lock_says_of_its_level_what_it_was_made_from() {
        for all in [None, Some(LockMode::Shared), Some(LockMode::Exclusive)] {
            for some_exclusive in [false, true] {
                assert_eq!(Mode::of_set(all, some_exclusive).whole_level(), all);
            }
        }
    }
}
