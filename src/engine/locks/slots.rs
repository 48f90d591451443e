//! The locks somebody holds or waits for: their names, numbers and mode counts.
//!
//! A lock exists as long as it is held or referred to, and for a little longer; every conceivable
//! name can be locked, and memory follows what is in use.

use std::collections::{HashMap, VecDeque};

use super::entry::{Entry, LockId};
use super::mode::Mode;
use super::number::ByName;
use crate::vocabulary::{Hierarchy, LevelId, LockName};

/// The state of one lock that every request touches; everything else is elsewhere, so that many
/// of them fit into a cache.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    /// How many owners hold it shared. Set locks are counted elsewhere.
    sharers: u32,
    /// How many waiting or prepared requests keep it in existence.
    pub(super) refs: u32,
    /// The modes in which it is held, and whether it is [full](Entry::FULL).
    held: u8,
    /// How many may share it; 0 where there is no limit.
    capacity: u8,
    /// Whether somebody waits on it or has it reserved.
    pub(super) watched: bool,
    /// Whether it is on the list of those that may be unused.
    idle: bool,
}

impl Slot {
    /// Whether those who hold it rule that mode out.
    #[inline]
    pub(super) const fn blocks(&self, wanted: Entry) -> bool {
        self.held & wanted.conflicts() != 0
    }

    #[inline]
    pub(super) const fn is_unused(&self) -> bool {
        self.held == 0 && self.refs == 0
    }
}

/// All locks in existence. The first numbers are the set locks of the levels and, after them,
/// the gates (see [`gate`](Self::gate)); these exist always.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// How many owners hold each set lock, by mode.
    sets: Vec<[u32; 5]>,
    names: Vec<Option<(LevelId, LockName)>>,
    numbers: Vec<HashMap<LockName, LockId, ByName>>,
    free: Vec<LockId>,
    /// Locks that were unused when they were put here: a few are kept in existence, since the
    /// same names tend to be asked for again.
    idle: VecDeque<LockId>,
    levels: Vec<LevelId>,
    /// How many may share one lock, by level; 0 where there is no limit.
    capacities: Vec<u8>,
}

impl Slots {
    /// So many names are kept in existence though nobody uses them, and memory for as many.
    const KEPT: usize = 1024;

    pub(super) fn new(hierarchy: &Hierarchy) -> Self {
        let levels: Vec<_> = hierarchy.levels().collect();
        let fixed = 2 * levels.len();
        Self {
            slots: vec![Slot::default(); fixed],
            sets: vec![[0; 5]; levels.len()],
            names: vec![None; fixed],
            numbers: levels.iter().map(|_| HashMap::default()).collect(),
            free: Vec::new(),
            idle: VecDeque::new(),
            capacities: levels
                .iter()
                .map(|level| hierarchy.get(*level).capacity().map_or(0, u8::from))
                .collect(),
            levels,
        }
    }

    /// The numbers that always stand for the same.
    fn fixed(&self) -> usize {
        2 * self.levels.len()
    }

    /// Gives memory back when none but the fixed locks exist.
    fn shrink(&mut self) {
        let fixed = self.fixed();
        self.slots.truncate(fixed);
        self.slots.shrink_to_fit();
        self.names.truncate(fixed);
        self.names.shrink_to_fit();
        self.numbers.iter_mut().for_each(HashMap::shrink_to_fit);
        self.free = Vec::new();
    }

    pub(super) fn levels(&self) -> usize {
        self.levels.len()
    }

    /// The lock that stands for a whole level.
    pub(super) const fn set(level: LevelId) -> LockId {
        level.rank() as LockId
    }

    /// What every request passes whose deepest level is that one: free of holders always, but
    /// reserved by requests that have waited too long and let nobody in who could go deeper.
    pub(super) fn gate(&self, rank: usize) -> LockId {
        (self.levels.len() + rank) as LockId
    }

    /// Whether the lock is a level's set lock.
    pub(super) fn is_set(&self, lock: LockId) -> bool {
        (lock as usize) < self.levels.len()
    }

    /// The rank of a lock's level.
    pub(super) fn rank(&self, lock: LockId) -> usize {
        match &self.names[lock as usize] {
            Some((level, _)) => level.rank(),
            None => lock as usize % self.levels.len(),
        }
    }

    /// The level of a lock.
    pub(super) fn level(&self, lock: LockId) -> LevelId {
        self.levels[self.rank(lock)]
    }

    /// The name of a lock, unless it is one of the fixed ones.
    pub(super) fn name(&self, lock: LockId) -> Option<&LockName> {
        self.names[lock as usize].as_ref().map(|(_, name)| name)
    }

    /// The number of a lock, if it is in existence.
    pub(super) fn find(&self, level: LevelId, name: &LockName) -> Option<LockId> {
        self.numbers[level.rank()].get(name).copied()
    }

    /// The number of a lock, which comes into existence if need be; none where there are too
    /// many. It has to be held, referred to or [reclaimed](Self::reclaim) next.
    pub(super) fn intern(&mut self, level: LevelId, name: &LockName) -> Option<LockId> {
        if let Some(lock) = self.find(level, name) {
            return Some(lock);
        }
        let lock = self.vacant()?;
        self.names[lock as usize] = Some((level, name.clone()));
        self.slots[lock as usize].capacity = self.capacities[level.rank()];
        self.numbers[level.rank()].insert(name.clone(), lock);
        Some(lock)
    }

    fn vacant(&mut self) -> Option<LockId> {
        if let Some(lock) = self.free.pop() {
            return Some(lock);
        }
        let lock = LockId::try_from(self.slots.len()).ok().filter(|l| *l <= Entry::MAX_LOCK)?;
        self.slots.push(Slot::default());
        self.names.push(None);
        Some(lock)
    }

    /// A lock may have become unused. Ends the existence of those that are so for long.
    pub(super) fn reclaim(&mut self, lock: LockId) {
        let slot = &mut self.slots[lock as usize];
        if slot.idle || !slot.is_unused() || self.names[lock as usize].is_none() {
            return;
        }
        slot.idle = true;
        self.idle.push_back(lock);
        let crowded = self.free.len() > Self::KEPT;
        let most = if crowded { 0 } else { Self::KEPT };
        while self.idle.len() > most {
            self.end_first_idle();
        }
        if crowded && self.free.len() + self.fixed() == self.slots.len() {
            self.shrink();
        }
    }

    fn end_first_idle(&mut self) {
        let Some(lock) = self.idle.pop_front() else { return };
        let slot = &mut self.slots[lock as usize];
        slot.idle = false;
        if !slot.is_unused() {
            return;
        }
        if let Some((level, name)) = self.names[lock as usize].take() {
            self.numbers[level.rank()].remove(&name);
            self.free.push(lock);
        }
    }

    /// Whether a lock is used by nobody and about to end.
    pub(super) fn is_idle(&self, lock: LockId) -> bool {
        self.slots[lock as usize].idle
    }

    /// One owner more holds a lock. The level, where the lock stands for one.
    #[inline]
    pub(super) fn hold(&mut self, entry: Entry) -> Option<LevelId> {
        let lock = entry.lock() as usize;
        let slot = &mut self.slots[lock];
        slot.held |= entry.bit();
        if let Some(set) = self.sets.get_mut(lock) {
            set[entry.index()] += 1;
            return Some(self.levels[lock]);
        }
        if entry.bit() == Mode::Shared.bit() {
            slot.sharers += 1;
            if slot.sharers == u32::from(slot.capacity) {
                slot.held |= Entry::FULL;
            }
        }
        None
    }

    /// One owner less holds a lock. What is left of it.
    #[inline]
    pub(super) fn unhold(&mut self, entry: Entry) -> Slot {
        let lock = entry.lock() as usize;
        let slot = &mut self.slots[lock];
        let left = if let Some(set) = self.sets.get_mut(lock) {
            set[entry.index()] -= 1;
            set[entry.index()]
        } else if entry.bit() == Mode::Shared.bit() {
            slot.sharers -= 1;
            slot.held &= !Entry::FULL;
            slot.sharers
        } else {
            0
        };
        if left == 0 {
            slot.held &= !entry.bit();
        }
        *slot
    }

    /// How many more may share a lock, where it is wanted shared and that has a limit.
    pub(super) fn places(&self, wanted: Entry) -> Option<u32> {
        let slot = self.get(wanted.lock());
        let limited = slot.capacity > 0 && wanted.mode() == Mode::Shared;
        limited.then(|| u32::from(slot.capacity) - slot.sharers)
    }

    /// How many owners hold a lock in that mode.
    pub(super) fn count(&self, entry: Entry) -> u32 {
        let lock = entry.lock() as usize;
        match (self.sets.get(lock), entry.mode()) {
            (Some(set), _) => set[entry.index()],
            (None, Mode::Shared) => self.slots[lock].sharers,
            (None, _) => u32::from(self.slots[lock].held & entry.bit() != 0),
        }
    }

    #[inline]
    pub(super) fn get(&self, lock: LockId) -> &Slot {
        &self.slots[lock as usize]
    }

    pub(super) fn get_mut(&mut self, lock: LockId) -> &mut Slot {
        &mut self.slots[lock as usize]
    }

    /// All locks in existence, set locks first, without the gates.
    pub(super) fn iter(&self) -> impl Iterator<Item = LockId> {
        let named = self.names.iter().map(Option::is_some);
        let sets = self.levels.len();
        (0..).zip(named).filter(move |(l, named)| *named || *l < sets as LockId).map(|(l, _)| l)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Locks {
        slots: Slots,
        level: LevelId,
    }

    impl Locks {
        fn new() -> Self {
            let hierarchy = Hierarchy::default();
            Self { slots: Slots::new(&hierarchy), level: hierarchy.level("node").unwrap() }
        }

        fn find(&self, name: usize) -> Option<LockId> {
            self.slots.find(self.level, &LockName::new(&name.to_string()).unwrap())
        }

        fn hold(&mut self, name: usize) -> Entry {
            let name = LockName::new(&name.to_string()).unwrap();
            let entry = Entry::new(self.slots.intern(self.level, &name).unwrap(), Mode::Exclusive);
            assert_eq!(self.slots.hold(entry), None);
            entry
        }

        fn let_go(&mut self, entry: Entry) {
            assert!(self.slots.unhold(entry).is_unused());
            self.slots.reclaim(entry.lock());
        }

        fn touch(&mut self, names: std::ops::Range<usize>) {
            for name in names {
                let entry = self.hold(name);
                self.let_go(entry);
            }
        }
    }

    #[test]
    fn the_last_names_used_are_kept_and_no_more() {
        let mut locks = Locks::new();
        locks.touch(0..Slots::KEPT + 3);
        assert_eq!([2, 3].map(|name| locks.find(name).is_some()), [false, true]);
        assert_eq!(locks.slots.iter().count(), 3 + Slots::KEPT);
        let in_existence = locks.slots.slots.len();
        locks.touch(0..2 * Slots::KEPT);
        assert!(locks.slots.slots.len() <= in_existence + 1, "numbers are used again");
    }

    #[test]
    fn a_name_that_is_used_again_is_kept_as_long_as_it_is_used() {
        let mut locks = Locks::new();
        locks.touch(0..1);
        let entry = locks.hold(0);
        locks.touch(1..3 * Slots::KEPT);
        assert_eq!(locks.find(0), Some(entry.lock()));
        locks.let_go(entry);
        assert!(locks.slots.is_idle(entry.lock()));
        locks.touch(1..3 * Slots::KEPT);
        assert_eq!(locks.find(0), None);
    }

    #[test]
    fn memory_is_given_back_when_nothing_is_held_any_more() {
        let mut locks = Locks::new();
        let held: Vec<Entry> = (0..5000).map(|name| locks.hold(name)).collect();
        let fixed = locks.slots.fixed();
        assert_eq!((fixed, locks.slots.slots.len()), (6, 5006));
        let (last, others) = held.split_last().unwrap();
        others.iter().for_each(|entry| locks.let_go(*entry));
        assert_eq!(locks.find(4999), Some(last.lock()), "it is held");
        locks.let_go(*last);
        assert_eq!((locks.slots.slots.len(), locks.slots.names.len()), (fixed, fixed));
        assert_eq!((locks.slots.free.len(), locks.slots.idle.len()), (0, 0));
        assert!(locks.slots.slots.capacity() < 100);
        assert_eq!(locks.slots.iter().count(), 3, "the set locks stay");
    }

    #[test]
    fn the_first_numbers_are_the_levels_and_their_gates() {
        let locks = Locks::new();
        let gates = [0, 1, 2].map(|rank| locks.slots.gate(rank));
        assert_eq!(gates, [3, 4, 5]);
        assert_eq!([0, 2, 3, 5].map(|lock| locks.slots.is_set(lock)), [true, true, false, false]);
        assert_eq!([0, 2, 3, 5].map(|lock| locks.slots.rank(lock)), [0, 2, 0, 2]);
    }
}
