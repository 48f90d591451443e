//! What one owner holds.

use super::entry::{Entry, LockId};
use super::mode::Mode;
use crate::vocabulary::{LevelId, Timestamp};

/// What one owner holds, in the order it was locked: by level, the set lock first.
///
/// A level is granted in one request, so there is one time per level.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding {
    pub(super) entries: Vec<Entry>,
    pub(super) levels: Vec<Grip>,
}

/// What is common to all that an owner holds at one level.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grip {
    pub(super) level: LevelId,
    pub(super) since: Timestamp,
    /// How often it was locked again, at a reentrant level.
    pub(super) again: u32,
}

impl Holding {
    /// The mode in which it holds that lock.
    pub(super) fn mode(&self, lock: LockId) -> Option<Mode> {
        self.entries.iter().find(|entry| entry.lock() == lock).map(|entry| entry.mode())
    }

    /// One more than the rank of the deepest level held.
    pub(super) fn depth(&self) -> usize {
        self.levels.last().map_or(0, |grip| grip.level.rank() + 1)
    }

    /// What is common to all it holds at that level.
    pub(super) fn grip(&self, level: LevelId) -> Option<&Grip> {
        self.levels.iter().find(|grip| grip.level == level)
    }

    pub(super) fn grip_mut(&mut self, level: LevelId) -> Option<&mut Grip> {
        self.levels.iter_mut().find(|grip| grip.level == level)
    }
}
