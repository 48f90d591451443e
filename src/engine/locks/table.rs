//! The table's state, and what its operations have in common.

use std::fmt;

use super::entry::{Entry, LockId};
use super::error::LockError;
use super::holders::Holders;
use super::holding::Grip;
use super::key::Key;
use super::mode::Mode;
use super::policy::{Reckoning, WaitPolicy};
use super::reserve::Reserver;
use super::slots::Slots;
use super::waiters::{Waiter, WaiterId, Waiters};
use super::watch::Watch;
use crate::vocabulary::{Hierarchy, LockMode, LockRequest, Timestamp};

/// Who holds or waits for locks: a job, a thread, whatever the embedder numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(pub u64);

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "owner {}", self.0)
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// The owner holds the locks.
    Granted,
    /// It will be granted by a [`pump`](LockTable::pump) later.
    Waiting,
}

/// Who holds which lock and who waits for which.
///
/// After an operation that takes something away (release, downgrade, narrow, withdrawal, expiry,
/// a change of priority) call [`pump`](Self::pump): it grants what became possible.
#[derive(Clone, Debug)]
pub struct LockTable {
    pub(super) hierarchy: Hierarchy,
    pub(super) policy: WaitPolicy,
    pub(super) reckoning: Reckoning,
    pub(super) slots: Slots,
    pub(super) holders: Holders,
    pub(super) waiters: Waiters,
    pub(super) watch: Watch,
    /// Those whose stage is not `Waiting`; at most `policy.window`.
    pub(super) reservers: Vec<Reserver>,
    /// How many requests had been granted when a reservation ended last.
    pub(super) rested: Option<u64>,
    /// How many requests were granted ever.
    pub(super) grants: u64,
    pub(super) next_seq: u64,
    /// How many prepared requests refer to locks.
    pub(super) prepared: usize,
    pub(super) scratch: Vec<Entry>,
}

impl LockTable {
    /// A table in which nobody holds anything.
    #[must_use]
    pub fn new(hierarchy: Hierarchy, policy: WaitPolicy) -> Self {
        Self {
            slots: Slots::new(&hierarchy),
            hierarchy,
            reckoning: Reckoning::new(&policy),
            policy,
            holders: Holders::default(),
            waiters: Waiters::new(),
            watch: Watch::default(),
            reservers: Vec::new(),
            rested: None,
            grants: 0,
            next_seq: 0,
            prepared: 0,
            scratch: Vec::new(),
        }
    }

    /// The levels.
    #[must_use]
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// How many requests wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Whose request has waited longest, and since when it waits.
    #[must_use]
    pub fn oldest_waiting(&self) -> Option<(OwnerId, Timestamp)> {
        self.waiters.by_age().next().map(|(_, oldest)| (oldest.owner, self.waiting_since(oldest)))
    }

    /// Whether an owner waits for a request.
    #[must_use]
    pub fn is_waiting(&self, owner: OwnerId) -> bool {
        self.waiters.of(owner).is_some()
    }

    /// Whether nobody holds or waits for anything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.waiting() == 0
    }

    /// What an owner holds, as a request that would lead to it.
    #[must_use]
    pub fn held(&self, owner: OwnerId) -> LockRequest {
        let mut held = LockRequest::new();
        for entry in self.holders.get(owner).into_iter().flat_map(|holding| &holding.entries) {
            let level = self.slots.level(entry.lock());
            // Neither fails: the names were accepted before, and each lock is held in one mode.
            _ = match (self.slots.name(entry.lock()), entry.mode().whole_level()) {
                (None, Some(mode)) => held.add_all(level, mode).map(drop),
                (None, None) => Ok(()),
                (Some(name), mode) => {
                    let mode = mode.unwrap_or(LockMode::Shared);
                    held.add(level, name.as_str(), mode).map(drop)
                }
            };
        }
        held
    }

    /// How a lock is named in errors and reports.
    pub(super) fn title(&self, lock: LockId) -> String {
        let level = self.hierarchy.name(self.slots.level(lock));
        match self.slots.name(lock) {
            Some(name) => format!("{level}/{name}"),
            None if self.slots.is_set(lock) => format!("{level}/[lockset]"),
            None => format!("{level}/[gate]"),
        }
    }

    /// The first lock of a set that a request with that key cannot have now; the gate of its
    /// deepest level where that is closed to it. None if it can be granted.
    pub(super) fn first_block(&self, wanted: &[Entry], key: Key) -> Option<Entry> {
        let busy = |entry: &&Entry| self.slots.get(entry.lock()).blocks(**entry);
        if self.reservers.is_empty() {
            return wanted.iter().find(busy).copied();
        }
        let blocked = |entry: &&Entry| busy(entry) || self.is_reserved(**entry, key);
        let gate = || Some(self.gate_of(wanted)).filter(|gate| self.is_reserved(*gate, key));
        wanted.iter().find(blocked).copied().or_else(gate)
    }

    /// Whether a lock is reserved against a request with that key.
    pub(super) fn is_reserved(&self, what: Entry, key: Key) -> bool {
        !self.reservers.is_empty() && self.reserved_for(what, key).next().is_some()
    }

    /// For whom a lock is reserved against a request with that key: those before it who want it
    /// in conflict; where a limited number may share it, also those who want a place, if none is
    /// left beside theirs.
    pub(super) fn reserved_for(
        &self,
        what: Entry,
        key: Key,
    ) -> impl Iterator<Item = (Mode, WaiterId)> + '_ {
        let before = move || self.watch.reserved(what.lock(), key);
        let shared = |(mode, _): &(Mode, WaiterId)| *mode == Mode::Shared;
        let kept =
            self.slots.places(what).is_some_and(|p| before().filter(shared).count() >= p as usize);
        before().filter(move |one| one.0.conflicts_with(what.mode()) || kept && shared(one))
    }

    /// What a set of locks passes on the way in.
    pub(super) fn gate_of(&self, wanted: &[Entry]) -> Entry {
        let deepest = wanted.last().map_or(0, |entry| self.slots.rank(entry.lock()));
        Entry::new(self.slots.gate(deepest), Mode::Shared)
    }

    /// Lets an owner hold a set of locks.
    pub(super) fn hold(&mut self, owner: OwnerId, wanted: &[Entry], now: Timestamp) {
        let ranks = wanted.iter().fold(0, |ranks, entry| ranks | self.slots.hold(*entry));
        self.enter(owner, wanted, ranks, now);
    }

    /// Lets an owner hold a set of locks, or says what blocks it.
    pub(super) fn try_hold(
        &mut self,
        owner: OwnerId,
        wanted: &[Entry],
        key: Key,
        now: Timestamp,
    ) -> Result<(), Entry> {
        if !self.reservers.is_empty() {
            self.first_block(wanted, key).map_or(Ok(()), Err)?;
        }
        let ranks = self.slots.hold_all(wanted)?;
        self.enter(owner, wanted, ranks, now);
        Ok(())
    }

    /// Writes down who holds what; the levels are given by the bits of their ranks.
    #[inline]
    fn enter(&mut self, owner: OwnerId, wanted: &[Entry], mut ranks: u64, now: Timestamp) {
        let holding = self.holders.get_or_insert(owner);
        while ranks != 0 {
            let level = self.slots.level(ranks.trailing_zeros());
            holding.levels.push(Grip { level, since: now, again: 0 });
            ranks &= ranks - 1;
        }
        holding.entries.extend_from_slice(wanted);
        self.grants += 1;
    }

    /// Lets a new request wait.
    pub(super) fn park(&mut self, waiter: Waiter, deadline: Option<Timestamp>) {
        self.refer_to(&waiter.wanted);
        let at = waiter.at;
        let id = self.waiters.insert(waiter, deadline);
        self.watch_at(at, id);
    }

    /// Ends the waiting of a request, granted or not. Its locks are still referred to.
    pub(super) fn unpark(&mut self, id: WaiterId) -> Waiter {
        self.unreserve(id);
        self.unwatch(id);
        self.waiters.remove(id)
    }

    /// Keeps locks in existence though nobody holds them.
    pub(super) fn refer_to(&mut self, wanted: &[Entry]) {
        for entry in wanted {
            self.slots.refer_to(entry.lock());
        }
    }

    /// Drops the references a request had while it waited.
    pub(super) fn forget(&mut self, wanted: &[Entry]) {
        for entry in wanted {
            self.slots.forget(entry.lock());
        }
    }

    /// Lets a request wait on that lock.
    pub(super) fn watch_at(&mut self, at: Entry, id: WaiterId) {
        self.waiters.get_mut(id).at = at;
        self.watch.insert(at, id, &mut self.waiters);
        self.slots.set_watched(at.lock(), true);
    }

    /// Lets a request wait on no lock.
    pub(super) fn unwatch(&mut self, id: WaiterId) {
        let at = self.waiters.get(id).at;
        self.watch.remove(at, id, &mut self.waiters);
        self.slots.set_watched(at.lock(), self.watch.is_watched(at.lock()));
    }

    /// Has those tried who wait on a lock, as far as those who hold it allow.
    pub(super) fn open(&mut self, lock: LockId) {
        let slot = self.slots.get(lock);
        if slot.is_watched() {
            for at in Mode::ALL.map(|mode| Entry::new(lock, mode)) {
                if !slot.blocks(at) {
                    self.watch.open(at, &self.waiters);
                }
            }
        }
    }

    /// An owner that waits changes nothing meanwhile: its place in the order depends on what it
    /// holds.
    pub(super) fn refuse_while_waiting(&self, owner: OwnerId) -> Result<(), LockError> {
        match self.waiters.of(owner) {
            None => Ok(()),
            Some(id) => {
                let at = self.waiters.get(id).at.lock();
                Err(LockError::AlreadyWaiting { lock: self.title(at) })
            }
        }
    }
}
