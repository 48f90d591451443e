//! Who waits on which lock, which locks are reserved, and where something may have become
//! possible.

use std::collections::{BTreeSet, HashMap};

use super::entry::{Entry, LockId};
use super::key::Key;
use super::line::Line;
use super::mode::Mode;
use super::number::ByNumber;
use super::waiters::{WaiterId, Waiters};

/// Those who wait on one lock, by the mode they want it in, and for whom it is reserved.
#[derive(Clone, Debug)]
struct Watched {
    /// Those who wait, by mode.
    lines: [Line; 5],
    /// The modes in which somebody waits and has to be tried.
    open: u8,
    reserved: Vec<(Key, Mode, WaiterId)>,
}

impl Default for Watched {
    fn default() -> Self {
        Self { lines: [Line::EMPTY; 5], open: 0, reserved: Vec::new() }
    }
}

impl Watched {
    fn is_unused(&self) -> bool {
        self.reserved.is_empty() && self.lines.iter().all(|line| line.is_empty())
    }

    fn is_open(&self, at: Entry) -> bool {
        self.open & at.bit() != 0
    }
}

/// All watched locks.
///
/// `open` holds, for each lock and mode that has to be tried, the key of the first who waits
/// there: exactly the bits of `Watched::open`.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    locks: HashMap<LockId, Watched, ByNumber>,
    open: BTreeSet<(Key, Entry)>,
}

impl Watch {
    /// Lets a request wait on a lock.
    pub(super) fn insert(&mut self, at: Entry, id: WaiterId, waiters: &mut Waiters) {
        self.change(at, waiters, |waiters, line| waiters.join(line, id));
    }

    /// Takes a request away from the lock it waits on.
    pub(super) fn remove(&mut self, at: Entry, id: WaiterId, waiters: &mut Waiters) {
        self.change(at, waiters, |waiters, line| waiters.leave(line, id));
    }

    fn change(
        &mut self,
        at: Entry,
        waiters: &mut Waiters,
        change: impl FnOnce(&mut Waiters, &mut Line),
    ) {
        let watched = self.locks.entry(at.lock()).or_default();
        let line = &mut watched.lines[at.index()];
        let before = waiters.first_in(*line);
        change(waiters, line);
        let after = waiters.first_in(*line);
        if watched.is_open(at) && before != after {
            before.map(|id| self.open.remove(&(waiters.get(id).key, at)));
            match after {
                None => watched.open &= !at.bit(),
                Some(id) => _ = self.open.insert((waiters.get(id).key, at)),
            }
        }
        if watched.is_unused() {
            self.locks.remove(&at.lock());
        }
    }

    /// Has those who wait on that lock in that mode tried.
    pub(super) fn open(&mut self, at: Entry, waiters: &Waiters) {
        let Some(watched) = self.locks.get_mut(&at.lock()) else { return };
        let Some(first) = waiters.first_in(watched.lines[at.index()]) else { return };
        if !watched.is_open(at) {
            watched.open |= at.bit();
            self.open.insert((waiters.get(first).key, at));
        }
    }

    /// Nobody who waits on that lock in that mode can have it for now.
    pub(super) fn close(&mut self, at: Entry, waiters: &Waiters) {
        let Some(watched) = self.locks.get_mut(&at.lock()) else { return };
        if watched.is_open(at) {
            watched.open &= !at.bit();
            let first = waiters.first_in(watched.lines[at.index()]);
            first.map(|id| self.open.remove(&(waiters.get(id).key, at)));
        }
    }

    /// The request to try next, and where it waits.
    pub(super) fn first_open(&self, waiters: &Waiters) -> Option<(Entry, WaiterId)> {
        let (_, at) = *self.open.first()?;
        Some((at, self.first(at, waiters)?))
    }

    pub(super) fn is_open(&self, at: Entry) -> bool {
        self.locks.get(&at.lock()).is_some_and(|watched| watched.is_open(at))
    }

    /// Keeps a lock free for a request: those behind it do not get it in a conflicting mode.
    pub(super) fn reserve(&mut self, what: Entry, key: Key, waiter: WaiterId) {
        let watched = self.locks.entry(what.lock()).or_default();
        watched.reserved.push((key, what.mode(), waiter));
    }

    /// Takes a reservation back.
    pub(super) fn unreserve(&mut self, what: Entry, waiter: WaiterId) {
        let Some(watched) = self.locks.get_mut(&what.lock()) else { return };
        watched.reserved.retain(|(_, _, other)| *other != waiter);
        if watched.is_unused() {
            self.locks.remove(&what.lock());
        }
    }

    /// For whom a lock is reserved before a request with that key, and how they want it.
    pub(super) fn reserved(
        &self,
        lock: LockId,
        key: Key,
    ) -> impl Iterator<Item = (Mode, WaiterId)> + '_ {
        let all = self.locks.get(&lock).into_iter().flat_map(|watched| &watched.reserved);
        all.filter(move |(other, ..)| *other < key).map(|(_, mode, waiter)| (*mode, *waiter))
    }

    /// The first who waits on that lock in that mode.
    pub(super) fn first(&self, at: Entry, waiters: &Waiters) -> Option<WaiterId> {
        waiters.first_in(self.locks.get(&at.lock())?.lines[at.index()])
    }

    /// Whether somebody waits on a lock or has it reserved.
    pub(super) fn is_watched(&self, lock: LockId) -> bool {
        self.locks.contains_key(&lock)
    }
}
