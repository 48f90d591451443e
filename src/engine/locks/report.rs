//! Who holds what, who waits for what, and why: as values to print.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU8;
use std::time::Duration;

use super::entry::{Entry, LockId};
use super::key::Key;
use super::mode::Mode;
use super::table::{LockTable, OwnerId};
use super::waiters::{Stage, Waiter, WaiterId};
use crate::vocabulary::{Priority, Timestamp};

/// One who holds a lock, seen from the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who holds it.
    pub owner: OwnerId,
    /// How.
    pub mode: Mode,
    /// Since when.
    pub since: Timestamp,
}

/// One who waits for a lock, seen from the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanter {
    /// Who wants it.
    pub owner: OwnerId,
    /// How.
    pub mode: Mode,
    /// Since when.
    pub since: Timestamp,
    /// How urgently.
    pub priority: Priority,
}

/// One lock that somebody holds or waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockReport {
    /// `level/name`, or `level/[lockset]` for the whole level.
    pub lock: String,
    /// Who holds it, by owner. For a whole level also those who hold some locks of it.
    pub holders: Vec<Holder>,
    /// How many may share it at once, where there is a limit.
    pub capacity: Option<NonZeroU8>,
    /// Who waits for it, in the order in which they will be granted it.
    pub waiters: Vec<Wanter>,
}

/// One who is in the way of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Who is in the way.
    pub owner: OwnerId,
    /// In which mode it holds the lock, or has it reserved.
    pub mode: Mode,
    /// Since when it holds the lock; none if it does not hold it but has it reserved, having
    /// waited too long itself.
    pub since: Option<Timestamp>,
}

/// One step of a chain: who waits for which lock, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who waits.
    pub waiter: OwnerId,
    /// For which lock.
    pub lock: String,
    /// In which mode.
    pub mode: Mode,
    /// Who is in the way.
    pub blocker: OwnerId,
    /// In which mode the blocker holds the lock, or has it reserved.
    pub held: Mode,
    /// Since when it holds the lock; none where it does not hold it but has it reserved.
    pub since: Option<Timestamp>,
}

/// A request among those that have waited longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldWait {
    /// Whose it is.
    pub owner: OwnerId,
    /// Since when it waits.
    pub since: Timestamp,
    /// The place, among them, of the oldest that the same lock blocks: its own where that is it.
    pub first: usize,
}

/// When a waiting request will reserve its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserves {
    /// It has: nobody behind it in the order gets one of its locks.
    Already,
    /// As soon as one of those who reserve now has been granted its locks.
    WhenThereIsRoom,
    /// After that many further grants to others, or after that time.
    After {
        /// Grants to others.
        grants: u64,
        /// Time.
        time: Duration,
    },
    /// Never: the policy's window is 0.
    Never,
}

/// What an owner waits for, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitReport {
    /// Everything it asked for.
    pub wants: Vec<(String, Mode)>,
    /// The lock that blocks it, as far as the table has looked; `level/[gate]` where it is not
    /// let in because it could come back for a lock that is reserved.
    pub lock: String,
    /// The mode it wants that lock in.
    pub mode: Mode,
    /// How many may share that lock at once, where there is a limit.
    pub capacity: Option<NonZeroU8>,
    /// Since when it waits.
    pub since: Timestamp,
    /// How urgent it is.
    pub priority: Priority,
    /// When it stops waiting.
    pub deadline: Option<Timestamp>,
    /// Who is in the way at `lock`. Empty where nobody is any more: then it is granted, or waits
    /// for the next lock, as soon as somebody pumps.
    pub in_the_way: Vec<Blocker>,
    /// The chain to its end: the last blocker waits for nobody.
    pub chain: Vec<Link>,
    /// How many requests were granted to others meanwhile.
    pub passed: u64,
    /// When it will reserve its locks.
    pub reserves: Reserves,
}

/// What the table knows of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerReport {
    /// The owner.
    pub owner: OwnerId,
    /// What it holds, in the order of the levels: lock, mode, since when.
    pub holds: Vec<(String, Mode, Timestamp)>,
    /// What it waits for.
    pub waits: Option<WaitReport>,
}

impl LockTable {
    /// What an owner holds and waits for, and why; none if it does neither. O(all holders).
    #[must_use]
    pub fn explain(&self, owner: OwnerId, now: Timestamp) -> Option<OwnerReport> {
        let waits = self.waiters.of(owner).map(|id| self.wait_report(id, now));
        if waits.is_none() && self.holders.get(owner).is_none() {
            return None;
        }
        let entries = self.holders.get(owner).into_iter().flat_map(|holding| &holding.entries);
        let hold = |e: &Entry| (self.title(e.lock()), e.mode(), self.held_since(owner, e.lock()));
        let shown = |e: &&Entry| !self.slots.is_set(e.lock()) || e.mode().whole_level().is_some();
        Some(OwnerReport { owner, holds: entries.filter(shown).map(hold).collect(), waits })
    }

    /// The requests that have waited longest, oldest first, `most` of them at most. O(`most`).
    #[must_use]
    pub fn oldest_waits(&self, most: usize) -> Vec<OldWait> {
        let mut first_at = BTreeMap::new();
        let oldest = self.waiters.by_age().take(most).enumerate();
        let wait = |(place, (_, waiter)): (usize, (WaiterId, &Waiter))| {
            let first = *first_at.entry(waiter.at.lock()).or_insert(place);
            OldWait { owner: waiter.owner, since: self.waiting_since(waiter), first }
        };
        oldest.map(wait).collect()
    }

    fn wait_report(&self, id: WaiterId, now: Timestamp) -> WaitReport {
        let waiter = self.waiters.get(id);
        let since = self.waiting_since(waiter);
        let shown = |e: &&Entry| !self.slots.is_set(e.lock()) || e.mode().whole_level().is_some();
        let want = |entry: &Entry| (self.title(entry.lock()), entry.mode());
        WaitReport {
            wants: waiter.wanted.iter().filter(shown).map(want).collect(),
            lock: self.title(waiter.at.lock()),
            mode: waiter.at.mode(),
            capacity: self.capacity(waiter.at.lock()),
            since,
            priority: waiter.priority,
            deadline: self.waiters.deadline(id),
            in_the_way: self.blockers(waiter.at, waiter.key).collect(),
            chain: self.chain(waiter),
            passed: self.grants - waiter.grants,
            reserves: self.reserves(waiter, since, now),
        }
    }

    fn reserves(&self, waiter: &Waiter, since: Timestamp, now: Timestamp) -> Reserves {
        let grants = self.policy.max_bypass.saturating_sub(self.grants - waiter.grants);
        let time = self.policy.max_bypass_age.saturating_sub(now.since(since));
        match waiter.stage {
            Stage::Reserved | Stage::Closing => Reserves::Already,
            Stage::Waiting if self.policy.window == 0 => Reserves::Never,
            Stage::Waiting if grants == 0 || time.is_zero() => Reserves::WhenThereIsRoom,
            Stage::Waiting => Reserves::After { grants, time },
        }
    }

    /// From a waiting request to one who waits for nobody, one blocker at each step.
    fn chain(&self, waiter: &Waiter) -> Vec<Link> {
        let mut chain = Vec::new();
        let mut next = Some(waiter);
        // No request blocks itself through others, so this ends; the limit is for a damaged table.
        while let Some(waiter) = next.filter(|_| chain.len() <= self.waiting()) {
            let Some(blocker) = self.blockers(waiter.at, waiter.key).next() else { break };
            chain.push(Link {
                waiter: waiter.owner,
                lock: self.title(waiter.at.lock()),
                mode: waiter.at.mode(),
                blocker: blocker.owner,
                held: blocker.mode,
                since: blocker.since,
            });
            next = self.waiters.of(blocker.owner).map(|id| self.waiters.get(id));
        }
        chain
    }

    /// All locks somebody holds or waits for, by level and name. O(everything).
    #[must_use]
    pub fn locks(&self) -> Vec<LockReport> {
        let mut reports = BTreeMap::new();
        for lock in self.slots.iter() {
            let place = (self.slots.rank(lock), self.slots.name(lock).cloned());
            reports.insert(lock, (place, Vec::new(), Vec::new()));
        }
        for (owner, holding) in self.holders.iter() {
            for entry in &holding.entries {
                let since = self.held_since(owner, entry.lock());
                let holder = Holder { owner, mode: entry.mode(), since };
                reports.entry(entry.lock()).and_modify(|(_, holders, _)| holders.push(holder));
            }
        }
        for (_, waiter) in self.waiters.by_age() {
            for entry in &waiter.wanted {
                let wanter = (waiter.key, self.wanter(waiter, *entry));
                reports.entry(entry.lock()).and_modify(|(_, _, waiters)| waiters.push(wanter));
            }
        }
        let mut reports: Vec<_> = reports.into_iter().collect();
        reports.sort_by(|(_, (a, ..)), (_, (b, ..))| a.cmp(b));
        reports.into_iter().filter_map(|(lock, (_, h, w))| self.lock_report(lock, h, w)).collect()
    }

    fn wanter(&self, waiter: &Waiter, entry: Entry) -> Wanter {
        Wanter {
            owner: waiter.owner,
            mode: entry.mode(),
            since: self.waiting_since(waiter),
            priority: waiter.priority,
        }
    }

    /// Nothing for a set lock of which nobody has or wants more than an intention.
    fn lock_report(
        &self,
        lock: LockId,
        mut holders: Vec<Holder>,
        mut waiters: Vec<(Key, Wanter)>,
    ) -> Option<LockReport> {
        let mut modes = holders.iter().map(|h| h.mode).chain(waiters.iter().map(|(_, w)| w.mode));
        if !modes.any(|mode| mode.whole_level().is_some()) {
            return None;
        }
        holders.sort_by_key(|holder| holder.owner);
        waiters.sort_by_key(|(key, _)| *key);
        let waiters = waiters.into_iter().map(|(_, wanter)| wanter).collect();
        Some(LockReport { lock: self.title(lock), holders, capacity: self.capacity(lock), waiters })
    }

    /// The graph of who waits for whom, in the language of Graphviz. O(waiters x holders).
    #[must_use]
    pub fn wait_graph_dot(&self) -> String {
        let mut dot = String::from("digraph waits {\n");
        for (_, waiter) in self.waiters.by_age() {
            for blocker in self.blockers(waiter.at, waiter.key) {
                let style = if blocker.since.is_some() { "solid" } else { "dashed" };
                let label = format!("{} ({})", self.title(waiter.at.lock()), waiter.at.mode());
                let label = label.replace('\\', "\\\\").replace('"', "\\\"");
                let (from, to) = (waiter.owner, blocker.owner);
                // Writing to a string does not fail.
                _ = writeln!(dot, "  \"{from}\" -> \"{to}\" [label=\"{label}\", style={style}];");
            }
        }
        dot.push_str("}\n");
        dot
    }

    /// Who is in the way of a request with that key at one of its locks: those who hold it, by
    /// owner, then those for whom it is reserved.
    pub(super) fn blockers(&self, at: Entry, key: Key) -> impl Iterator<Item = Blocker> + '_ {
        let mut holders: Vec<_> = self
            .holders
            .iter()
            .filter_map(move |(owner, holding)| Some((owner, holding.mode(at.lock())?)))
            .filter(move |(_, mode)| self.excludes(*mode, at))
            .collect();
        holders.sort_unstable();
        let holder = move |(owner, mode)| {
            let since = Some(self.held_since(owner, at.lock()));
            Blocker { owner, mode, since }
        };
        let reserver = |(mode, id)| {
            let owner = self.waiters.get(id).owner;
            Blocker { owner, mode, since: None }
        };
        holders.into_iter().map(holder).chain(self.reserved_for(at, key).map(reserver))
    }

    /// How many may share a lock at once, where there is a limit.
    pub(super) fn capacity(&self, lock: LockId) -> Option<NonZeroU8> {
        self.slots.name(lock)?;
        self.hierarchy.get(self.slots.level(lock)).capacity()
    }

    /// Whether somebody who holds a lock in that mode keeps others from having it as wanted, by
    /// itself or together with all who share it.
    pub(super) fn excludes(&self, held: Mode, wanted: Entry) -> bool {
        let full = held == Mode::Shared && self.slots.places(wanted) == Some(0);
        full || held.conflicts_with(wanted.mode())
    }

    fn held_since(&self, owner: OwnerId, lock: LockId) -> Timestamp {
        let holding = self.holders.get(owner);
        let grip = holding.and_then(|holding| holding.grip(self.slots.level(lock)));
        grip.map_or_else(Timestamp::default, |grip| grip.since)
    }

    pub(super) fn waiting_since(&self, waiter: &Waiter) -> Timestamp {
        self.reckoning.since(waiter.key.due(), waiter.priority)
    }
}
