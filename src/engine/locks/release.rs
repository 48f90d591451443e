//! Giving locks back: all, some, all but some, or the exclusive use of them.
//!
//! None of these can be refused to an owner that holds what it names and does not wait.

use super::entry::{Entry, LockId};
use super::error::LockError;
use super::mode::Mode;
use super::request::lock_title;
use super::slots::Slots;
use super::table::{LockTable, OwnerId};
use crate::vocabulary::{LevelId, LevelLocks, LockMode, LockName, LockRequest};

impl LockTable {
    /// Releases all that an owner holds and ends its waiting: what happens when it dies.
    /// Whether there was anything. O(k) for k locks.
    pub fn release_all(&mut self, owner: OwnerId) -> bool {
        let waited = self.withdraw(owner);
        let Some(place) = self.holders.find(owner) else { return waited };
        if self.slots.unhold_all(&self.holders.at(place).entries) {
            for i in 0..self.holders.at(place).entries.len() {
                self.care_for(self.holders.at(place).entries[i].lock());
            }
        }
        self.holders.remove(owner);
        self.check_small();
        true
    }

    /// Releases the locks named; the whole level where the request says all. Modes in the
    /// request do not matter. O(k) for k locks held at those levels.
    ///
    /// # Errors
    ///
    /// `NotHeld`, `LockedAgain`, `AlreadyWaiting`, `UnknownLevel`; nothing is released then.
    pub fn release(&mut self, owner: OwnerId, request: &LockRequest) -> Result<(), LockError> {
        self.change(owner, request, |held, locks, level| {
            held.refuse_locked_again(level)?;
            if locks.all().is_some() {
                return Ok(Vec::new());
            }
            let gone = held.numbers(level, locks)?;
            Ok(held.entries.iter().copied().filter(|e| !gone.contains(&e.lock())).collect())
        })
    }

    /// Takes back that an owner locked a level again. Whether it had.
    fn unlock_again(&mut self, owner: OwnerId, level: LevelId) -> bool {
        let grip = self.holders.get_mut(owner).and_then(|holding| holding.grip_mut(level));
        match grip {
            Some(grip) if grip.again > 0 => {
                grip.again -= 1;
                true
            }
            _ => false,
        }
    }

    /// Releases whatever an owner holds at those levels; at those that were locked again, it
    /// takes that back once instead. O(k) for k locks held there.
    ///
    /// # Errors
    ///
    /// `AlreadyWaiting`; nothing is released then.
    pub fn release_levels(&mut self, owner: OwnerId, levels: &[LevelId]) -> Result<(), LockError> {
        self.refuse_while_waiting(owner)?;
        for level in levels {
            if !self.unlock_again(owner, *level) {
                let held = self.held_at(owner, *level).to_vec();
                self.replace(owner, *level, &held, Vec::new());
            }
        }
        self.check_small();
        Ok(())
    }

    /// Makes the exclusive locks named shared; all held at the level where the request says all.
    /// Shared ones stay as they are. Modes in the request do not matter.
    ///
    /// # Errors
    ///
    /// `NotHeld`, `LockedAgain`, `AlreadyWaiting`, `UnknownLevel`; `SharedWhole` where the whole
    /// of a level with a capacity is held. Nothing is changed then.
    pub fn downgrade(&mut self, owner: OwnerId, request: &LockRequest) -> Result<(), LockError> {
        self.change(owner, request, |held, locks, level| {
            held.refuse_locked_again(level)?;
            let whole = locks.all().is_some();
            let named = if whole { Vec::new() } else { held.numbers(level, locks)? };
            let set = Slots::set(level);
            if whole && held.entries.contains(&Entry::new(set, Mode::Exclusive)) {
                held.table.refuse_sharing(level).map_or(Ok(()), Err)?;
            }
            let share = |entry: &Entry| match entry.lock() == set {
                true if whole && entry.mode() == Mode::Exclusive => Entry::new(set, Mode::Shared),
                false if whole || named.contains(&entry.lock()) => {
                    Entry::new(entry.lock(), Mode::Shared)
                }
                _ => *entry,
            };
            Ok(held.entries.iter().map(share).collect())
        })
    }

    /// Keeps, at the levels named, nothing but the locks named, in the modes named. What is held
    /// as part of the whole level can be kept by name. Levels not named stay as they are.
    /// O(k) for k locks held or kept.
    ///
    /// # Errors
    ///
    /// `NotHeld` where something to keep is not held, `WouldDeadlock` where it is held shared
    /// and to be kept exclusive; `LockedAgain`, `AlreadyWaiting`, `UnknownLevel`, `SharedWhole`.
    /// Nothing is changed then.
    pub fn narrow(&mut self, owner: OwnerId, keep: &LockRequest) -> Result<(), LockError> {
        self.refuse_narrowing(owner, keep)?;
        let mut kept = Vec::new();
        self.intern(keep, &mut kept)?;
        self.change(owner, keep, |held, _, level| {
            held.refuse_locked_again(level)?;
            let here = |entry: &Entry| held.table.slots.level(entry.lock()) == level;
            Ok(kept.iter().copied().filter(here).collect())
        })
        .inspect_err(|_| self.reclaim(&kept))
    }

    fn refuse_narrowing(&self, owner: OwnerId, keep: &LockRequest) -> Result<(), LockError> {
        self.refuse_while_waiting(owner)?;
        self.refuse_impossible(keep)?;
        for (level, locks) in keep.levels() {
            let all = locks.all().map(|mode| (None, mode));
            for (name, mode) in all.into_iter().chain(locks.names().map(|(n, m)| (Some(n), m))) {
                let lock = || lock_title(self.hierarchy.name(level), name);
                match self.held_mode(owner, level, name) {
                    None => return Err(LockError::NotHeld { lock: lock() }),
                    Some(held) if held < mode => {
                        return Err(LockError::WouldDeadlock { lock: lock() });
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Replaces what an owner holds at each level of a request by what `after` makes of it.
    fn change(
        &mut self,
        owner: OwnerId,
        request: &LockRequest,
        mut after: impl FnMut(&LevelHeld<'_>, &LevelLocks, LevelId) -> Result<Vec<Entry>, LockError>,
    ) -> Result<(), LockError> {
        self.refuse_while_waiting(owner)?;
        self.refuse_unknown_levels(request)?;
        let mut changes = Vec::new();
        for (level, locks) in request.levels() {
            let grip = self.holders.get(owner).and_then(|holding| holding.grip(level));
            let again = grip.map_or(0, |grip| grip.again);
            let held = LevelHeld { table: self, entries: self.held_at(owner, level), again };
            if held.entries.is_empty() {
                let first = locks.names().next().map(|(name, _)| name);
                let first = first.filter(|_| locks.all().is_none());
                return Err(held.missing(level, first));
            }
            let new = with_set_mode(after(&held, locks, level)?);
            changes.push((level, held.entries.to_vec(), new));
        }
        for (level, old, new) in changes {
            self.replace(owner, level, &old, new);
        }
        self.check_small();
        Ok(())
    }

    fn held_at(&self, owner: OwnerId, level: LevelId) -> &[Entry] {
        let entries = self.holders.get(owner).map_or(&[][..], |holding| &holding.entries);
        let rank = |entry: &Entry| self.slots.rank(entry.lock());
        let from = entries.partition_point(|entry| rank(entry) < level.rank());
        let to = entries.partition_point(|entry| rank(entry) <= level.rank());
        &entries[from..to]
    }

    /// Replaces what an owner holds at a level; locks in both lists are not touched.
    fn replace(&mut self, owner: OwnerId, level: LevelId, old: &[Entry], new: Vec<Entry>) {
        let Some(holding) = self.holders.get_mut(owner) else { return };
        let (gone, come) = (without(old, &new), without(&new, old));
        let from = holding.entries.iter().position(|entry| Some(entry) == old.first());
        let from = from.unwrap_or(holding.entries.len());
        if new.is_empty() {
            holding.levels.retain(|grip| grip.level != level);
        }
        holding.entries.splice(from..from + old.len(), new);
        if holding.entries.is_empty() {
            self.holders.remove(owner);
        }
        for entry in come {
            self.slots.hold(entry);
        }
        for entry in gone {
            self.give_back(entry);
        }
    }

    /// One owner less holds that lock in that mode.
    #[inline]
    fn give_back(&mut self, entry: Entry) {
        if self.slots.unhold(entry).needs_care() {
            self.care_for(entry.lock());
        }
    }

    /// A lock was given back: those who wait on it are tried, or it may be unused.
    fn care_for(&mut self, lock: LockId) {
        if self.slots.get(lock).is_watched() {
            self.open(lock);
        } else {
            self.slots.reclaim(lock);
        }
    }
}

/// What an owner holds at one level.
struct LevelHeld<'a> {
    table: &'a LockTable,
    entries: &'a [Entry],
    /// How often it was locked again.
    again: u32,
}

impl LevelHeld<'_> {
    /// The numbers of the locks named, each of which it has to hold by itself.
    fn numbers(&self, level: LevelId, locks: &LevelLocks) -> Result<Vec<LockId>, LockError> {
        let number = |name| {
            let lock = self.table.slots.find(level, name);
            let held = lock.filter(|lock| self.entries.iter().any(|e| e.lock() == *lock));
            held.ok_or_else(|| self.missing(level, Some(name)))
        };
        locks.names().map(|(name, _)| number(name)).collect()
    }

    fn refuse_locked_again(&self, level: LevelId) -> Result<(), LockError> {
        let lock = || lock_title(self.table.hierarchy.name(level), None);
        if self.again > 0 { Err(LockError::LockedAgain { lock: lock() }) } else { Ok(()) }
    }

    fn missing(&self, level: LevelId, name: Option<&LockName>) -> LockError {
        LockError::NotHeld { lock: lock_title(self.table.hierarchy.name(level), name) }
    }
}

/// The same locks, the set lock at their head in the mode that goes with the others; nothing
/// where only an intention without object is left.
fn with_set_mode(mut entries: Vec<Entry>) -> Vec<Entry> {
    let Some((set, names)) = entries.split_first_mut() else { return entries };
    let all = set.mode().whole_level();
    let exclusive = names.iter().any(|entry| entry.mode() == Mode::Exclusive);
    *set = Entry::new(set.lock(), Mode::of_set(all, exclusive));
    let set = set.lock();
    if all.is_none() && names.is_empty() {
        entries.clear();
    } else if all == Some(LockMode::Shared) {
        entries.retain(|entry| entry.lock() == set || entry.mode() == Mode::Exclusive);
    }
    entries
}

/// The entries of one list that are not in the other.
fn without(entries: &[Entry], others: &[Entry]) -> Vec<Entry> {
    let mut others = others.to_vec();
    others.sort_unstable();
    entries.iter().copied().filter(|entry| others.binary_search(entry).is_err()).collect()
}
