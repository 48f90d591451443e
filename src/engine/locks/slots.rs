//! The locks somebody holds or waits for: their names, numbers and mode counts.
//!
//! A lock exists as long as it is held or referred to, and for a little longer; every conceivable
//! name can be locked, and memory follows what is in use.

use std::collections::{HashMap, VecDeque};

use super::entry::{Entry, LockId};
use super::mode::Mode;
use super::number::ByName;
use super::slot::Slot;
use crate::vocabulary::{Hierarchy, LevelId, LockName};

/// All locks in existence. The first numbers are the set locks of the levels and, after them,
/// the gates (see [`gate`](Self::gate)); these exist always.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// How many waiting or prepared requests keep each lock in existence.
    refs: Vec<u32>,
    /// How many owners hold each set lock as an intention, by mode.
    intentions: Vec<[u32; 2]>,
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
        let mut always = Slot::default();
        always.set_kept(true);
        Self {
            slots: vec![always; fixed],
            refs: vec![0; fixed],
            intentions: vec![[0; 2]; levels.len()],
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
        self.refs.truncate(fixed);
        self.refs.shrink_to_fit();
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
        self.slots[lock as usize] = Slot::with_capacity(self.capacities[level.rank()]);
        self.numbers[level.rank()].insert(name.clone(), lock);
        Some(lock)
    }

    fn vacant(&mut self) -> Option<LockId> {
        if let Some(lock) = self.free.pop() {
            return Some(lock);
        }
        let lock = LockId::try_from(self.slots.len()).ok().filter(|l| *l <= Entry::MAX_LOCK)?;
        self.slots.push(Slot::default());
        self.refs.push(0);
        self.names.push(None);
        Some(lock)
    }

    /// A lock may have become unused. Ends the existence of those that are so for long.
    pub(super) fn reclaim(&mut self, lock: LockId) {
        let slot = &mut self.slots[lock as usize];
        if slot.is_idle() || !slot.is_unused() || self.names[lock as usize].is_none() {
            return;
        }
        slot.set_idle(true);
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
        slot.set_idle(false);
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
        self.slots[lock as usize].is_idle()
    }

    /// Lets an owner hold all of these locks, or none of them: what blocks the first that it
    /// cannot have. Of those that are set locks, the ranks, as bits.
    #[inline]
    pub(super) fn hold_all(&mut self, wanted: &[Entry]) -> Result<u64, Entry> {
        let mut ranks = 0;
        for (place, entry) in wanted.iter().enumerate() {
            if self.slots[entry.lock() as usize].blocks(*entry) {
                self.unhold_all(&wanted[..place]);
                return Err(*entry);
            }
            ranks |= self.hold(*entry);
        }
        Ok(ranks)
    }

    /// One owner more holds a lock. Its rank, as a bit, if it is a set lock.
    #[inline]
    pub(super) fn hold(&mut self, entry: Entry) -> u64 {
        let lock = entry.lock() as usize;
        self.slots[lock].hold(entry);
        let Some(intentions) = self.intentions.get_mut(lock) else { return 0 };
        if let Some(count) = intentions.get_mut(entry.index()) {
            *count += 1;
        }
        1 << lock
    }

    /// An owner holds these locks no more. Whether one of them needs care now.
    #[inline]
    pub(super) fn unhold_all(&mut self, entries: &[Entry]) -> bool {
        let mut care = false;
        for entry in entries {
            care |= self.unhold(*entry).needs_care();
        }
        care
    }

    /// One owner less holds a lock. What is left of it.
    #[inline]
    pub(super) fn unhold(&mut self, entry: Entry) -> Slot {
        let lock = entry.lock() as usize;
        let intentions = self.intentions.get_mut(lock);
        let count = intentions.and_then(|by_mode| by_mode.get_mut(entry.index()));
        let others = count.is_some_and(|count| {
            *count -= 1;
            *count > 0
        });
        let slot = &mut self.slots[lock];
        slot.unhold(entry, others);
        *slot
    }

    /// Whether there is a level of which only so many may share a lock.
    #[inline]
    pub(super) fn has_limits(&self) -> bool {
        self.capacities.iter().any(|capacity| *capacity > 0)
    }

    /// How many more may share a lock, where it is wanted shared and that has a limit.
    pub(super) fn places(&self, wanted: Entry) -> Option<u32> {
        let slot = self.get(wanted.lock());
        let limited = slot.capacity() > 0 && wanted.mode() == Mode::Shared;
        limited.then(|| slot.capacity() - slot.sharers())
    }

    /// How many owners hold a lock in that mode.
    pub(super) fn count(&self, entry: Entry) -> u32 {
        let slot = self.get(entry.lock());
        let intentions = self.intentions.get(entry.lock() as usize);
        match intentions.and_then(|by_mode| by_mode.get(entry.index())) {
            Some(count) => *count,
            None if entry.mode() == Mode::Shared => slot.sharers(),
            None => slot.is_held(entry).into(),
        }
    }

    /// The state of a lock.
    #[inline]
    pub(super) fn get(&self, lock: LockId) -> Slot {
        self.slots[lock as usize]
    }

    /// Whether somebody waits on a lock or has it reserved, from now on.
    pub(super) fn set_watched(&mut self, lock: LockId, watched: bool) {
        self.slots[lock as usize].set_watched(watched);
    }

    /// How many waiting or prepared requests keep a lock in existence.
    pub(super) fn refs(&self, lock: LockId) -> u32 {
        self.refs[lock as usize]
    }

    /// Keeps a lock in existence though nobody holds it.
    pub(super) fn refer_to(&mut self, lock: LockId) {
        self.refs[lock as usize] += 1;
        self.slots[lock as usize].set_kept(true);
    }

    /// Drops such a reference.
    pub(super) fn forget(&mut self, lock: LockId) {
        self.refs[lock as usize] -= 1;
        let kept = self.refs[lock as usize] > 0 || (lock as usize) < self.fixed();
        self.slots[lock as usize].set_kept(kept);
        self.reclaim(lock);
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
            assert_eq!(self.slots.hold(entry), 0);
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
    fn a_name_that_was_waited_for_ends_like_others_and_a_level_does_not() {
        let mut locks = Locks::new();
        let (other, entry) = (locks.hold(8), locks.hold(9));
        locks.slots.refer_to(entry.lock());
        assert!(!locks.slots.unhold(entry).is_unused(), "somebody waits for it");
        assert!(!locks.slots.is_idle(entry.lock()));
        locks.slots.forget(entry.lock());
        assert!(locks.slots.is_idle(entry.lock()));
        locks.touch(10..10 + Slots::KEPT);
        assert_eq!([8, 9].map(|name| locks.find(name)), [Some(other.lock()), None]);
        let level = Slots::set(locks.level);
        locks.slots.refer_to(level);
        locks.slots.forget(level);
        assert!(!locks.slots.get(level).is_unused());
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
