//! Keeping the oldest from waiting for ever: reservations.

use super::entry::Entry;
use super::mode::Mode;
use super::table::LockTable;
use super::waiters::{Stage, Waiter, WaiterId};
use crate::vocabulary::Timestamp;

/// A request that keeps its locks free, and what there was when it began to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserver {
    pub(super) id: WaiterId,
    pub(super) grants: u64,
    since: Timestamp,
}

impl LockTable {
    /// Lets the oldest requests that were overtaken too often keep their locks free.
    #[inline]
    pub(super) fn let_the_oldest_reserve(&mut self, now: Timestamp) {
        if self.waiting() > 0 {
            self.let_some_reserve(now);
        }
    }

    fn let_some_reserve(&mut self, now: Timestamp) {
        while self.reservers.len() < self.policy.window && self.has_rested() {
            let oldest = self.waiters.by_age().find(|(_, waiter)| waiter.stage == Stage::Waiting);
            match oldest {
                Some((id, waiter)) if self.is_overdue(waiter, now) => self.reserve(id, now),
                _ => break,
            }
        }
        while let Some(id) = self.first_to_close(now) {
            self.lift(id);
            self.waiters.get_mut(id).stage = Stage::Closing;
            self.lay(id);
        }
    }

    /// Whether enough was granted since a reservation ended.
    fn has_rested(&self) -> bool {
        self.rested.is_none_or(|grants| self.grants - grants >= self.policy.rest)
    }

    /// Whether a request has waited longer than the policy allows.
    fn is_overdue(&self, waiter: &Waiter, now: Timestamp) -> bool {
        self.has_passed(waiter.grants, self.waiting_since(waiter), now)
    }

    fn has_passed(&self, grants: u64, since: Timestamp, now: Timestamp) -> bool {
        self.grants - grants >= self.policy.max_bypass
            || now.since(since) >= self.policy.max_bypass_age
    }

    /// A request that reserves and is overtaken all the same, by those who come back deeper.
    fn first_to_close(&self, now: Timestamp) -> Option<WaiterId> {
        let overdue = |reserver: &&Reserver| {
            self.waiters.get(reserver.id).stage == Stage::Reserved
                && self.has_passed(reserver.grants, reserver.since, now)
        };
        self.reservers.iter().find(overdue).map(|reserver| reserver.id)
    }

    /// Has a request keep its locks free from now on.
    fn reserve(&mut self, id: WaiterId, now: Timestamp) {
        self.waiters.get_mut(id).stage = Stage::Reserved;
        self.reservers.push(Reserver { id, grants: self.grants, since: now });
        self.lay(id);
    }

    /// Ends the reservation of a request; those it held up are tried again.
    pub(super) fn unreserve(&mut self, id: WaiterId) {
        if self.waiters.get(id).stage != Stage::Waiting {
            self.lift(id);
            self.waiters.get_mut(id).stage = Stage::Waiting;
            self.reservers.retain(|reserver| reserver.id != id);
            self.rested = Some(self.grants);
        }
    }

    /// Marks what a request keeps free.
    pub(super) fn lay(&mut self, id: WaiterId) {
        let key = self.waiters.get(id).key;
        for what in self.reserved_by(id) {
            self.watch.reserve(what, key, id);
            self.slots.set_watched(what.lock(), true);
        }
    }

    /// Removes the marks; those who waited because of them are tried again.
    pub(super) fn lift(&mut self, id: WaiterId) {
        for what in self.reserved_by(id) {
            self.watch.unreserve(what, id);
            self.slots.set_watched(what.lock(), self.watch.is_watched(what.lock()));
            self.open(what.lock());
        }
    }

    /// What a request keeps free: its locks and, closing, the gates of all levels above its
    /// deepest one: who holds nothing deeper could still ask for its locks later.
    pub(super) fn reserved_by(&self, id: WaiterId) -> Vec<Entry> {
        let waiter = self.waiters.get(id);
        if waiter.stage == Stage::Waiting {
            return Vec::new();
        }
        let mut reserved = waiter.wanted.to_vec();
        if waiter.stage == Stage::Closing {
            let deepest = reserved.last().map_or(0, |entry| self.slots.rank(entry.lock()));
            let gate = |rank| Entry::new(self.slots.gate(rank), Mode::Exclusive);
            reserved.extend((0..deepest).map(gate));
        }
        reserved
    }
}
