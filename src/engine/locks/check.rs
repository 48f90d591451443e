//! The specification, as assertions about a state.

use std::collections::HashMap;

use super::entry::{Entry, LockId};
use super::holding::Holding;
use super::key::Key;
use super::mode::Mode;
use super::table::LockTable;
use super::waiters::{Stage, Waiter, WaiterId};
use crate::vocabulary::Timestamp;

/// How many owners and requests a table can have to be checked after every step.
const SMALL: usize = 24;

impl LockTable {
    /// Asserts what is true of every table at any time. O(everything, squared).
    ///
    /// # Panics
    ///
    /// Where the table is damaged, which is our bug.
    pub fn check(&self) {
        self.check_holders();
        for (id, waiter) in self.waiters.by_age() {
            self.check_waiter(id, waiter);
            self.check_order(waiter);
        }
        self.check_references();
        self.check_reservers();
    }

    /// [`check`](Self::check), in debug builds, while that is cheap.
    pub(super) fn check_small(&self) {
        if cfg!(debug_assertions) && self.holders.len() + self.waiting() <= SMALL {
            self.check();
        }
    }

    /// Nobody holds a lock in conflict with another, and the counts say who holds what.
    fn check_holders(&self) {
        let mut held = HashMap::<_, Vec<_>>::new();
        for (owner, holding) in self.holders.iter() {
            assert!(!holding.entries.is_empty(), "{owner} holds something or is not listed");
            let ranks = holding.entries.iter().map(|entry| self.slots.rank(entry.lock()));
            assert!(ranks.is_sorted(), "{owner} locked the levels in order");
            for entry in &holding.entries {
                held.entry(entry.lock()).or_default().push(entry.mode());
                let set = holding.mode(self.slots.rank(entry.lock()) as u32);
                let set = set.unwrap_or_else(|| panic!("{owner} holds an intention"));
                let covers = match entry.mode() {
                    _ if self.slots.is_set(entry.lock()) => true,
                    Mode::Shared => matches!(set, Mode::IntentShared | Mode::IntentExclusive),
                    _ => matches!(set, Mode::IntentExclusive | Mode::SharedIntentExclusive),
                };
                assert!(covers, "{owner} holds {entry:?} under {set}");
            }
        }
        for (lock, modes) in held {
            for (i, mode) in modes.iter().enumerate() {
                let others = modes.iter().enumerate().filter(|(j, _)| i != *j);
                let conflict = others.map(|(_, m)| m).find(|other| mode.conflicts_with(**other));
                assert_eq!(conflict, None, "{} is held in agreement", self.title(lock));
            }
            for mode in Mode::ALL {
                let count = modes.iter().filter(|other| **other == mode).count();
                assert_eq!(self.slots.count(Entry::new(lock, mode)) as usize, count);
            }
            self.check_places(lock, &modes);
        }
    }

    /// No more share a lock than may, and it says whether there is a place.
    fn check_places(&self, lock: LockId, modes: &[Mode]) {
        let capacity = self.capacity(lock).map_or(usize::MAX, |most| u8::from(most).into());
        let sharers = modes.iter().filter(|mode| **mode == Mode::Shared).count();
        assert!(sharers <= capacity, "{} is shared by {sharers}", self.title(lock));
        let one_more = self.slots.get(lock).blocks(Entry::new(lock, Mode::Shared));
        let conflict = modes.iter().any(|mode| mode.conflicts_with(Mode::Shared));
        assert_eq!(one_more, conflict || sharers == capacity, "{}", self.title(lock));
    }

    /// A request waits where something blocks it, or where it is about to be tried again.
    fn check_waiter(&self, id: WaiterId, waiter: &Waiter) {
        let (at, key) = (waiter.at, waiter.key);
        assert!(waiter.wanted.contains(&at) || at == self.gate_of(&waiter.wanted));
        assert_eq!(self.waiters.of(waiter.owner), Some(id), "{} waits once", waiter.owner);
        let depth = self.holders.get(waiter.owner).map_or(0, Holding::depth);
        // Deeper where it asks on behalf of another owner.
        assert!(key.depth() >= depth, "the key of {} says how deep it is", waiter.owner);
        let blocked = self.slots.get(at.lock()).blocks(at) || self.is_reserved(at, key);
        assert!(blocked || self.watch.is_open(at), "{} does not wait in vain", waiter.owner);
        let first = self.watch.first(at, &self.waiters).map(|first| self.waiters.get(first).key);
        assert!(first.is_some_and(|first| first <= key), "{} is on a list", waiter.owner);
        assert!(self.slots.get(at.lock()).is_watched(), "whom somebody waits on is marked");
    }

    /// Every edge of the wait-for graph leads to an owner that is deeper, or as deep and before
    /// in the order: there is no cycle.
    fn check_order(&self, waiter: &Waiter) {
        for entry in waiter.wanted.iter().chain([&self.gate_of(&waiter.wanted)]) {
            for blocker in self.blockers(*entry, waiter.key) {
                let Some(other) = self.waiters.of(blocker.owner) else { continue };
                let other = self.waiters.get(other);
                let onward = match blocker.since {
                    Some(_) => other.key.depth() > waiter.key.depth(),
                    None => other.key < waiter.key,
                };
                assert!(onward, "{} does not wait for {} in vain", waiter.owner, other.owner);
            }
        }
    }

    /// A lock is in existence as long as somebody holds or wants it.
    fn check_references(&self) {
        let mut wanted = HashMap::<_, u32>::new();
        for entry in self.waiters.by_age().flat_map(|(_, waiter)| waiter.wanted.iter()) {
            *wanted.entry(entry.lock()).or_default() += 1;
        }
        for lock in self.slots.iter() {
            let (slot, refs) = (self.slots.get(lock), self.slots.refs(lock));
            let wanted = wanted.get(&lock).copied().unwrap_or(0);
            let exact = self.prepared == 0;
            assert!(refs >= wanted && (!exact || refs == wanted), "{lock} is wanted");
            let fixed = self.slots.is_set(lock);
            assert!(
                fixed || !slot.is_unused() || self.slots.is_idle(lock),
                "{} is used",
                self.title(lock)
            );
            assert_eq!(slot.is_watched(), self.watch.is_watched(lock), "{}", self.title(lock));
        }
    }

    fn check_reservers(&self) {
        assert!(self.reservers.len() <= self.policy.window, "the window is kept");
        let staged = self.waiters.by_age().filter(|(_, w)| w.stage != Stage::Waiting).count();
        assert_eq!(staged, self.reservers.len(), "who reserves is listed");
        for id in self.reservers.iter().map(|reserver| reserver.id) {
            // A key that is behind all others sees every reservation.
            let behind = Key::new(0, Timestamp::from_micros(i64::MAX), u64::MAX);
            for what in self.reserved_by(id) {
                assert!(self.watch.reserved(what.lock(), behind).any(|(_, other)| other == id));
            }
        }
    }
}
