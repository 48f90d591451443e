//! Asking for locks.

use super::entry::Entry;
use super::error::LockError;
use super::holding::Holding;
use super::key::Key;
use super::mode::Mode;
use super::policy::{RequestKind, RequestOptions};
use super::slots::Slots;
use super::table::{LockTable, Outcome, OwnerId};
use super::waiters::Waiter;
use crate::vocabulary::{LevelId, LevelLocks, LockMode, LockName, LockRequest, Timestamp};

impl LockTable {
    /// Room for longer requests is given back after each.
    const SCRATCH: usize = 1024;
    /// Among so many locks held it is looked who is in the way of a request that does not wait.
    const LOOKED_AT: usize = 256;

    /// Asks for a set of locks, all deeper than what the owner holds. O(k) for k locks, and
    /// O(log w) more if it has to wait behind w others.
    ///
    /// A request for nothing is granted and leaves no trace. At reentrant levels a request for
    /// what is held already, in that mode or a stronger one, is granted and counted.
    ///
    /// # Errors
    ///
    /// [`LockError`]: a level of another hierarchy, out of order, held already, waiting already;
    /// `Busy` or `TooFew` where it should not wait. Nothing is changed then.
    pub fn request(
        &mut self,
        owner: OwnerId,
        request: &LockRequest,
        options: RequestOptions,
        now: Timestamp,
    ) -> Result<Outcome, LockError> {
        self.refuse_while_waiting(owner)?;
        let depth = options.depth(self.depth(owner));
        if let Err(refused) = self.refuse_disorder(owner, depth, request) {
            return self.lock_again(owner, request).ok_or(refused);
        }
        self.let_the_oldest_reserve(now);
        let key = self.next_key(depth, options, now);
        if let RequestKind::Opportunistic { min_count } = options.kind {
            return self.take_what_is_free(owner, request, min_count, key, now);
        }
        if request.is_empty() {
            return Ok(Outcome::Granted);
        }
        let mut wanted = std::mem::take(&mut self.scratch);
        let outcome = self
            .intern(request, &mut wanted)
            .and_then(|()| self.request_numbers(owner, &wanted, options, key, now));
        wanted.clear();
        wanted.shrink_to(Self::SCRATCH);
        self.scratch = wanted;
        outcome
    }

    /// Asks for a set of locks that have numbers.
    pub(super) fn request_numbers(
        &mut self,
        owner: OwnerId,
        wanted: &[Entry],
        options: RequestOptions,
        key: Key,
        now: Timestamp,
    ) -> Result<Outcome, LockError> {
        let Err(blocked) = self.try_hold(owner, wanted, key, now) else {
            self.let_the_oldest_reserve(now);
            self.check_small();
            return Ok(Outcome::Granted);
        };
        if options.kind == RequestKind::Try || options.deadline.is_some_and(|end| end <= now) {
            let busy = self.busy(blocked, key);
            self.reclaim(wanted);
            return Err(busy);
        }
        let mut waiter = Waiter::new(owner, key, blocked, wanted.into());
        (waiter.grants, waiter.priority) = (self.grants, options.priority);
        self.park(waiter, options.deadline);
        self.let_the_oldest_reserve(now);
        self.check_small();
        Ok(Outcome::Waiting)
    }

    /// One more than the rank of the deepest level an owner holds.
    pub(super) fn depth(&self, owner: OwnerId) -> usize {
        self.holders.get(owner).map_or(0, Holding::depth)
    }

    pub(super) fn next_key(
        &mut self,
        depth: usize,
        options: RequestOptions,
        now: Timestamp,
    ) -> Key {
        self.next_seq += 1;
        Key::new(depth, self.reckoning.due(now, options.priority), self.next_seq)
    }

    /// Levels are locked in order and each at once: everything asked for lies deeper than
    /// everything held.
    fn refuse_disorder(
        &self,
        owner: OwnerId,
        depth: usize,
        request: &LockRequest,
    ) -> Result<(), LockError> {
        self.refuse_impossible(request)?;
        match request.levels().next() {
            Some((level, locks)) if level.rank() < depth => Err(self.disorder(owner, level, locks)),
            _ => Ok(()),
        }
    }

    /// Counts a request for what is held already, where all its levels are reentrant.
    fn lock_again(&mut self, owner: OwnerId, request: &LockRequest) -> Option<Outcome> {
        for (level, locks) in request.levels() {
            let all = locks.all().map(|mode| (None, mode));
            let names = locks.names().map(|(name, mode)| (Some(name), mode));
            let held = |(name, mode)| self.held_mode(owner, level, name) >= Some(mode);
            let reentrant = self.hierarchy.at(level.rank())?;
            if !self.hierarchy.get(reentrant).is_reentrant()
                || !all.into_iter().chain(names).all(held)
            {
                return None;
            }
        }
        let holding = self.holders.get_mut(owner)?;
        for (level, _) in request.levels() {
            holding.grip_mut(level)?.again += 1;
        }
        Some(Outcome::Granted)
    }

    /// What nobody can hold.
    pub(super) fn refuse_impossible(&self, request: &LockRequest) -> Result<(), LockError> {
        self.refuse_unknown_levels(request)?;
        if !self.slots.has_limits() {
            return Ok(());
        }
        let shared = |(_, locks): &(_, &LevelLocks)| locks.all() == Some(LockMode::Shared);
        match request.levels().filter(shared).find_map(|(level, _)| self.refuse_sharing(level)) {
            Some(refused) => Err(refused),
            None => Ok(()),
        }
    }

    /// Why a level cannot be shared as a whole, if it cannot.
    pub(super) fn refuse_sharing(&self, level: LevelId) -> Option<LockError> {
        let level = self.hierarchy.get(level);
        let lock = || lock_title(level.name(), None);
        level.capacity().map(|capacity| LockError::SharedWhole { lock: lock(), capacity })
    }

    pub(super) fn refuse_unknown_levels(&self, request: &LockRequest) -> Result<(), LockError> {
        let levels = self.slots.levels();
        match request.levels().next_back() {
            Some((level, _)) if level.rank() >= levels => {
                Err(LockError::UnknownLevel { rank: level.rank(), levels })
            }
            _ => Ok(()),
        }
    }

    /// What is wrong with asking for locks of a level that is not deeper than what is held.
    fn disorder(&self, owner: OwnerId, level: LevelId, locks: &LevelLocks) -> LockError {
        let level_name = self.hierarchy.name(level);
        let wanted = || locks.names().map(|(name, mode)| (Some(name), mode));
        let all = locks.all().map(|mode| (None, mode));
        for (name, mode) in all.into_iter().chain(wanted()) {
            if let Some(held) = self.held_mode(owner, level, name) {
                let lock = lock_title(level_name, name);
                return match (held, mode) {
                    (LockMode::Shared, LockMode::Exclusive) => LockError::WouldDeadlock { lock },
                    _ => LockError::AlreadyHeld { lock },
                };
            }
        }
        let first = all.into_iter().chain(wanted()).next().and_then(|(name, _)| name);
        let deepest = self.holders.get(owner).and_then(|holding| holding.entries.last());
        LockError::OutOfOrder {
            requested: lock_title(level_name, first),
            held: deepest.map_or_else(
                || "a deeper lock by whom it is asked for".to_owned(),
                |entry| self.title(entry.lock()),
            ),
        }
    }

    /// How an owner holds a lock, by itself or as part of its level; `None` is the whole level.
    pub(super) fn held_mode(
        &self,
        owner: OwnerId,
        level: LevelId,
        name: Option<&LockName>,
    ) -> Option<LockMode> {
        let holding = self.holders.get(owner)?;
        let whole = holding.mode(Slots::set(level)).and_then(Mode::whole_level);
        let own = name
            .and_then(|name| self.slots.find(level, name))
            .and_then(|lock| holding.mode(lock))
            .and_then(Mode::whole_level);
        whole.max(own)
    }

    /// Adds the numbers of the locks of a request, each level's set lock before its locks.
    pub(super) fn intern(
        &mut self,
        request: &LockRequest,
        wanted: &mut Vec<Entry>,
    ) -> Result<(), LockError> {
        for (level, locks) in request.levels() {
            wanted.push(Entry::new(Slots::set(level), set_mode(locks)));
            for (name, mode) in locks.names().filter(|(_, mode)| !is_implied(locks, *mode)) {
                let Some(lock) = self.slots.intern(level, name) else {
                    self.reclaim(wanted);
                    return Err(LockError::TooManyLocks { limit: Entry::MAX_LOCK });
                };
                wanted.push(Entry::new(lock, mode.into()));
            }
        }
        Ok(())
    }

    pub(super) fn reclaim(&mut self, wanted: &[Entry]) {
        for entry in wanted {
            self.slots.reclaim(entry.lock());
        }
    }

    /// Why a request that does not wait is refused. Looks for somebody to name, but not among
    /// more than a few of all that is held.
    fn busy(&self, blocked: Entry, key: Key) -> LockError {
        let owner = self.a_holder(blocked).or_else(|| {
            let (_, id) = self.reserved_for(blocked, key).next()?;
            Some(self.waiters.get(id).owner)
        });
        LockError::Busy { lock: self.title(blocked.lock()), owner }
    }

    /// One who holds a lock in conflict, if one is found at once.
    fn a_holder(&self, blocked: Entry) -> Option<OwnerId> {
        let held =
            self.holders.iter().flat_map(|(owner, h)| h.entries.iter().map(move |e| (owner, *e)));
        let mut some = held.take(Self::LOOKED_AT);
        let excludes = |e: Entry| e.lock() == blocked.lock() && self.excludes(e.mode(), blocked);
        some.find(|(_, entry)| excludes(*entry)).map(|(owner, _)| owner)
    }

    /// Grants those locks of a request that are free, if they are enough.
    fn take_what_is_free(
        &mut self,
        owner: OwnerId,
        request: &LockRequest,
        min_count: usize,
        key: Key,
        now: Timestamp,
    ) -> Result<Outcome, LockError> {
        let mut free = Vec::new();
        let found = self.free_part(request, key, &mut free);
        let mut found = found.inspect_err(|_| self.reclaim(&free))?;
        if self.is_reserved(self.gate_of(&free), key) {
            self.reclaim(&free);
            (free, found) = (Vec::new(), 0);
        }
        if found < min_count {
            self.reclaim(&free);
            return Err(LockError::TooFew { found, needed: min_count });
        }
        if !free.is_empty() {
            self.hold(owner, &free, now);
            self.let_the_oldest_reserve(now);
            self.check_small();
        }
        Ok(Outcome::Granted)
    }

    /// Adds the part of a request that is free; how many locks that is.
    fn free_part(
        &mut self,
        request: &LockRequest,
        key: Key,
        free: &mut Vec<Entry>,
    ) -> Result<usize, LockError> {
        let mut found = 0;
        for (level, locks) in request.levels() {
            let before = free.len();
            let set = Slots::set(level);
            let all = locks.all().filter(|mode| self.is_free(Entry::new(set, (*mode).into()), key));
            let mut some_exclusive = false;
            free.push(Entry::new(set, Mode::of_set(all, false)));
            for (name, mode) in locks.names().filter(|(_, mode)| all.is_none_or(|a| a < *mode)) {
                let Some(entry) = self.free_name(level, name, mode, all, key)? else { continue };
                some_exclusive |= mode == LockMode::Exclusive;
                free.push(entry);
            }
            free[before] = Entry::new(set, Mode::of_set(all, some_exclusive));
            let taken = free.len() - before - 1 + usize::from(all.is_some());
            if taken == 0 {
                free.truncate(before);
            }
            found += taken;
        }
        Ok(found)
    }

    /// The entry of a single lock, if it and its set lock are free.
    fn free_name(
        &mut self,
        level: LevelId,
        name: &LockName,
        mode: LockMode,
        all: Option<LockMode>,
        key: Key,
    ) -> Result<Option<Entry>, LockError> {
        let set = Entry::new(Slots::set(level), Mode::of_set(all, mode == LockMode::Exclusive));
        if !self.is_free(set, key) {
            return Ok(None);
        }
        let lock = self.slots.intern(level, name);
        let lock = lock.ok_or(LockError::TooManyLocks { limit: Entry::MAX_LOCK })?;
        let entry = Entry::new(lock, mode.into());
        let free = self.is_free(entry, key);
        self.slots.reclaim(if free { Slots::set(level) } else { lock });
        Ok(free.then_some(entry))
    }

    fn is_free(&self, what: Entry, key: Key) -> bool {
        !self.slots.get(what.lock()).blocks(what) && !self.is_reserved(what, key)
    }
}

/// The mode of a level's set lock that goes with what is asked for at that level.
pub(super) fn set_mode(locks: &LevelLocks) -> Mode {
    Mode::of_set(locks.all(), locks.names().any(|(_, mode)| mode == LockMode::Exclusive))
}

/// Whether holding the whole level as asked for includes a lock of it in that mode.
fn is_implied(locks: &LevelLocks, mode: LockMode) -> bool {
    locks.all().is_some_and(|all| all >= mode)
}

/// How a lock is named that need not be in existence.
pub(super) fn lock_title(level: &str, name: Option<&LockName>) -> String {
    match name {
        Some(name) => format!("{level}/{name}"),
        None => format!("{level}/[lockset]"),
    }
}
