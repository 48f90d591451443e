//! Granting what became possible, and giving up waiting.

use super::entry::Entry;
use super::table::{LockTable, OwnerId};
use super::waiters::WaiterId;
use crate::vocabulary::{Priority, Timestamp};

impl LockTable {
    /// Grants waiting requests in their order, at most `want`, and says to whom.
    ///
    /// Only requests are tried that wait on a lock that something was taken away from since;
    /// with `want` at its largest, none is left that could be granted.
    #[must_use = "those who were granted their locks do not know it yet"]
    pub fn pump(&mut self, want: usize, now: Timestamp) -> Vec<OwnerId> {
        self.pump_within(want, None, usize::MAX, now).0
    }

    /// [`pump`](Self::pump), but passes nobody on whose virtual deadline lies after `before`
    /// (those who hold something deeper than the first level are granted in any case), and stops
    /// after that many tries; whether it has to go on later. So that a mutex around the table is
    /// never held for long.
    #[must_use = "those who were granted their locks do not know it yet"]
    pub fn pump_within(
        &mut self,
        want: usize,
        before: Option<Timestamp>,
        mut tries: usize,
        now: Timestamp,
    ) -> (Vec<OwnerId>, bool) {
        let mut granted = Vec::new();
        self.let_the_oldest_reserve(now);
        while granted.len() < want {
            let Some((at, id)) = self.watch.first_open(&self.waiters) else { break };
            if before.is_some_and(|before| self.is_due_after(id, before)) {
                break;
            }
            if tries == 0 {
                return (granted, true);
            }
            tries -= 1;
            granted.extend(self.try_again(at, id, now));
        }
        self.check_small();
        (granted, false)
    }

    /// Whether a [`pump`](Self::pump) has something to try.
    #[must_use]
    pub fn has_to_try(&self) -> bool {
        self.watch.first_open(&self.waiters).is_some()
    }

    /// Ends the waiting of those whose deadline has passed, and says whose.
    #[must_use = "those who stopped waiting do not know it yet"]
    pub fn expire(&mut self, now: Timestamp) -> Vec<OwnerId> {
        let mut expired = Vec::new();
        while let Some((_, id)) = self.waiters.first_deadline().filter(|(end, _)| *end <= now) {
            expired.push(self.abandon(id));
        }
        self.check_small();
        expired
    }

    /// When [`expire`](Self::expire) has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.waiters.first_deadline().map(|(deadline, _)| deadline)
    }

    /// Ends the waiting of an owner, which keeps what it holds. Whether it waited.
    pub fn withdraw(&mut self, owner: OwnerId) -> bool {
        let Some(id) = self.waiters.of(owner) else { return false };
        self.abandon(id);
        self.check_small();
        true
    }

    /// Changes how urgent a waiting request is, as if it had been so from the beginning.
    /// Whether the owner waits.
    pub fn set_priority(&mut self, owner: OwnerId, priority: Priority) -> bool {
        let Some(id) = self.waiters.of(owner) else { return false };
        self.lift(id);
        self.unwatch(id);
        let waiter = self.waiters.get_mut(id);
        let since = self.reckoning.since(waiter.key.due(), waiter.priority);
        waiter.key = waiter.key.with_due(self.reckoning.due(since, priority));
        waiter.priority = priority;
        let at = waiter.at;
        self.watch_at(at, id);
        self.open(at.lock());
        self.lay(id);
        self.check_small();
        true
    }

    /// Whether a request can wait for somebody else's turn: it is due later, and its owner
    /// keeps nobody out of anything but the first level.
    fn is_due_after(&self, id: WaiterId, time: Timestamp) -> bool {
        let key = self.waiters.get(id).key;
        key.depth() <= 1 && key.due() > time
    }

    /// Tries the first who waits on a lock in a mode that was opened.
    fn try_again(&mut self, at: Entry, id: WaiterId, now: Timestamp) -> Option<OwnerId> {
        if self.slots.get(at.lock()).blocks(at) {
            self.watch.close(at, &self.waiters);
            return None;
        }
        let waiter = self.waiters.get(id);
        match self.first_block(&waiter.wanted, waiter.key) {
            None => return Some(self.grant_waiting(id, now)),
            // Reserved for somebody before it, hence before all who wait here in that mode.
            Some(blocked) if blocked == at => self.watch.close(at, &self.waiters),
            Some(blocked) => {
                self.unwatch(id);
                self.watch_at(blocked, id);
            }
        }
        None
    }

    fn grant_waiting(&mut self, id: WaiterId, now: Timestamp) -> OwnerId {
        let waiter = self.unpark(id);
        self.hold(waiter.owner, &waiter.wanted, now);
        self.forget(&waiter.wanted);
        self.let_the_oldest_reserve(now);
        waiter.owner
    }

    fn abandon(&mut self, id: WaiterId) -> OwnerId {
        let waiter = self.unpark(id);
        self.forget(&waiter.wanted);
        waiter.owner
    }
}
