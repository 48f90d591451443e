//! The requests that wait, by owner and by age.

use std::collections::{BTreeSet, HashMap};

use super::entry::Entry;
use super::key::Key;
use super::number::ByNumber;
use super::owners::Owners;
use super::table::OwnerId;
use crate::vocabulary::{Priority, Timestamp};

/// A waiting request's number, reused once it no longer waits.
pub(super) type WaiterId = u32;

/// No request has that number.
pub(super) const NOBODY: WaiterId = WaiterId::MAX;

/// Whether a request keeps others from its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Stage {
    /// It can be overtaken.
    Waiting,
    /// Nobody behind it gets one of its locks.
    Reserved,
    /// Nobody behind it is let in either who could ask for one of them later.
    Closing,
}

/// One request that waits: 80 bytes, since there may be a million of them.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) owner: OwnerId,
    pub(super) key: Key,
    /// How many grants there had been when it came.
    pub(super) grants: u64,
    /// All it wants, by level.
    pub(super) wanted: Box<[Entry]>,
    /// The lock that blocks it, in the mode it wants, or a gate.
    pub(super) at: Entry,
    older: WaiterId,
    /// Where the number is free: the next free one.
    newer: WaiterId,
    /// Its place in the heap of those who wait on the same lock in the same mode.
    pub(super) links: Links,
    pub(super) priority: Priority,
    pub(super) stage: Stage,
}

/// A place in a heap; see the module `heap`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) parent: WaiterId,
    pub(super) left: WaiterId,
    pub(super) right: WaiterId,
    pub(super) rank: u8,
}

impl Links {
    /// A heap of one.
    pub(super) const ALONE: Self = Self { parent: NOBODY, left: NOBODY, right: NOBODY, rank: 1 };
}

impl Waiter {
    pub(super) fn new(owner: OwnerId, key: Key, at: Entry, wanted: Box<[Entry]>) -> Self {
        let (priority, stage) = (Priority::NORMAL, Stage::Waiting);
        let (older, newer, links) = (NOBODY, NOBODY, Links::ALONE);
        Self { owner, key, grants: 0, wanted, at, older, newer, links, priority, stage }
    }
}

/// All requests that wait, linked from the oldest to the newest.
#[derive(Clone, Debug)]
pub(super) struct Waiters {
    slots: Vec<Waiter>,
    /// The first free number.
    free: WaiterId,
    by_owner: Owners,
    oldest: WaiterId,
    newest: WaiterId,
    deadlines: BTreeSet<(Timestamp, WaiterId)>,
    deadline_of: HashMap<WaiterId, Timestamp, ByNumber>,
}

impl Waiters {
    /// Memory for fewer is kept when nobody waits.
    const KEPT: usize = 1024;

    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NOBODY,
            by_owner: Owners::default(),
            oldest: NOBODY,
            newest: NOBODY,
            deadlines: BTreeSet::new(),
            deadline_of: HashMap::default(),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.by_owner.len()
    }

    /// The request an owner waits for.
    #[inline]
    pub(super) fn of(&self, owner: OwnerId) -> Option<WaiterId> {
        self.by_owner.find(owner, |id| self.get(id).owner)
    }

    #[inline]
    pub(super) fn get(&self, id: WaiterId) -> &Waiter {
        &self.slots[id as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: WaiterId) -> &mut Waiter {
        &mut self.slots[id as usize]
    }

    /// Adds the newest request.
    pub(super) fn insert(&mut self, mut waiter: Waiter, deadline: Option<Timestamp>) -> WaiterId {
        let id = if self.free == NOBODY { self.slots.len() as WaiterId } else { self.free };
        waiter.older = self.newest;
        match self.newest {
            NOBODY => self.oldest = id,
            newest => self.get_mut(newest).newer = id,
        }
        self.newest = id;
        let owner = waiter.owner;
        if self.free == NOBODY {
            self.slots.push(waiter);
        } else {
            self.free = self.get(id).newer;
            *self.get_mut(id) = waiter;
        }
        let slots = &self.slots;
        self.by_owner.insert(owner, id, |id| slots[id as usize].owner);
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
            self.deadline_of.insert(id, deadline);
        }
        id
    }

    /// Removes a request, which nobody may refer to any more.
    pub(super) fn remove(&mut self, id: WaiterId) -> Waiter {
        let slots = &self.slots;
        self.by_owner.remove(slots[id as usize].owner, |id| slots[id as usize].owner);
        let (older, newer) = (self.get(id).older, self.get(id).newer);
        match older {
            NOBODY => self.oldest = newer,
            older => self.get_mut(older).newer = newer,
        }
        match newer {
            NOBODY => self.newest = older,
            newer => self.get_mut(newer).older = older,
        }
        if let Some(deadline) = self.deadline_of.remove(&id) {
            self.deadlines.remove(&(deadline, id));
        }
        self.vacate(id)
    }

    fn vacate(&mut self, id: WaiterId) -> Waiter {
        let next = self.free;
        let slot = self.get_mut(id);
        let (owner, key, at) = (slot.owner, slot.key, slot.at);
        let vacant = Waiter { newer: next, ..Waiter::new(owner, key, at, Box::default()) };
        let waiter = std::mem::replace(slot, vacant);
        self.free = id;
        if self.len() == 0 && self.slots.len() > Self::KEPT {
            *self = Self::new();
        }
        waiter
    }

    /// When a request stops waiting.
    pub(super) fn deadline(&self, id: WaiterId) -> Option<Timestamp> {
        self.deadline_of.get(&id).copied()
    }

    /// The request that stops waiting first, and when.
    pub(super) fn first_deadline(&self) -> Option<(Timestamp, WaiterId)> {
        self.deadlines.first().copied()
    }

    /// All requests, oldest first.
    pub(super) fn by_age(&self) -> impl Iterator<Item = (WaiterId, &Waiter)> {
        let at = |id: WaiterId| (id != NOBODY).then(|| (id, self.get(id)));
        std::iter::successors(at(self.oldest), move |(_, waiter)| at(waiter.newer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_many_is_given_back_when_nobody_waits_and_that_of_few_is_kept() {
        for (many, kept) in [(Waiters::KEPT, true), (Waiters::KEPT + 1, false)] {
            let mut waiters = Waiters::new();
            let waiter = |number| {
                let key = Key::new(0, Timestamp::default(), number);
                let at = Entry::new(0, super::super::mode::Mode::Shared);
                Waiter::new(OwnerId(number), key, at, Box::default())
            };
            let ids: Vec<_> =
                (0..many as u64).map(|number| waiters.insert(waiter(number), None)).collect();
            for id in &ids[1..] {
                waiters.remove(*id);
            }
            assert_eq!((waiters.len(), waiters.slots.len()), (1, many));
            waiters.remove(ids[0]);
            assert_eq!(!waiters.slots.is_empty(), kept);
        }
    }

    #[test]
    fn a_waiting_request_takes_eighty_bytes() {
        assert_eq!(size_of::<Waiter>(), 80);
    }
}
