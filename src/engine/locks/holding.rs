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

/// Lists of owners that hold nothing any more, for the next ones: a few allocations less for
/// each grant.
#[derive(Clone, Debug, Default)]
#[expect(clippy::vec_box, reason = "in the map of owners they are boxed, to be moved cheaply")]
pub(super) struct Spare(Vec<Box<Holding>>);

impl Spare {
    /// Beyond that they are given back, as are long ones.
    const MOST: usize = 64;
    const LONGEST: usize = 256;

    pub(super) fn take(&mut self) -> Box<Holding> {
        self.0.pop().unwrap_or_default()
    }

    pub(super) fn put(&mut self, mut holding: Box<Holding>) {
        if self.0.len() < Self::MOST && holding.entries.capacity() <= Self::LONGEST {
            holding.entries.clear();
            holding.levels.clear();
            self.0.push(holding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_room(entries: usize) -> Box<Holding> {
        let mut holding = Box::<Holding>::default();
        holding.entries.reserve_exact(entries);
        holding.entries.push(Entry::new(0, Mode::Shared));
        holding
    }

    #[test]
    fn lists_are_used_again_but_for_long_ones_and_only_so_many() {
        let mut spare = Spare::default();
        spare.put(with_room(Spare::LONGEST));
        let taken = spare.take();
        assert!(taken.entries.is_empty());
        assert_eq!(taken.entries.capacity(), Spare::LONGEST);
        spare.put(with_room(Spare::LONGEST + 1));
        assert_eq!(spare.take().entries.capacity(), 0);
        (0..=Spare::MOST).for_each(|_| spare.put(with_room(3)));
        let kept = (0..=Spare::MOST).filter(|_| spare.take().entries.capacity() > 0).count();
        assert_eq!(kept, Spare::MOST);
    }
}
