//! Those who wait for files that other processes hold: as values.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Deliver;
use super::plan::Plan;
use crate::engine::locks::{LockError, OwnerId};
use crate::store::{Fence, FenceName, Line, OwnerRecord};
use crate::vocabulary::{LockMode, Timestamp};

/// Which wait: an owner may wait again, and what came of an earlier wait is not for this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket(u64);

/// One who waits for the first file of its plan that it has not got.
pub(super) struct Wait<W> {
    pub(super) plan: Plan,
    pub(super) got: Vec<Fence>,
    pub(super) record: OwnerRecord,
    pub(super) payload: W,
    pub(super) deliver: Deliver<W>,
    pub(super) deadline: Option<Timestamp>,
}

impl<W> Wait<W> {
    /// The file it waits for, and how it wants it.
    pub(super) fn next(&self) -> (FenceName, LockMode) {
        let at = self.got.len();
        let mode = self.plan.fences().nth(at).map_or(LockMode::Exclusive, |(_, mode)| mode);
        (self.plan.name(at), mode)
    }

    /// Tells what became of it; gives back what it has got where it was in vain.
    pub(super) fn end(self, result: Result<(), LockError>) {
        drop(self.got);
        (self.deliver)(self.payload, result);
    }
}

/// What becomes of a wait that has got one more file.
pub(super) enum Pushed<W> {
    /// Nobody waits any more: the file goes back.
    Unwanted(Fence),
    /// It has all; it does not wait any more.
    Done(OwnerId, Wait<W>),
    /// It needs this one next.
    More(FenceName, LockMode, OwnerRecord),
}

/// All who wait.
pub(super) struct Waits<W> {
    /// In the order in which they came.
    waits: BTreeMap<Ticket, (OwnerId, Wait<W>)>,
    /// An owner waits for one request at a time.
    tickets: HashMap<OwnerId, Ticket>,
    /// The place at the head of a line that a wait has, if it has come so far.
    heads: HashMap<Ticket, Arc<Line>>,
    next: u64,
}

impl<W> Default for Waits<W> {
    fn default() -> Self {
        let (waits, tickets, heads) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        Self { waits, tickets, heads, next: 0 }
    }
}

impl<W> Waits<W> {
    pub(super) fn insert(&mut self, owner: OwnerId, wait: Wait<W>) -> Ticket {
        self.next += 1;
        let ticket = Ticket(self.next);
        self.tickets.insert(owner, ticket);
        self.waits.insert(ticket, (owner, wait));
        ticket
    }

    /// Ends a wait. The place in the line is given up at once, also where a thread still waits for
    /// the lock on its behalf.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Wait<W>> {
        let (owner, wait) = self.waits.remove(&ticket)?;
        self.tickets.remove(&owner);
        if let Some(line) = self.heads.remove(&ticket) {
            line.leave();
        }
        Some(wait)
    }

    pub(super) fn remove_of(&mut self, owner: OwnerId) -> Option<Wait<W>> {
        self.remove(*self.tickets.get(&owner)?)
    }

    /// Notes that a wait has come to the head of its line. Whether it still waits.
    pub(super) fn at_head(&mut self, ticket: Ticket, line: &Arc<Line>) -> bool {
        let waits = self.waits.contains_key(&ticket);
        if waits {
            self.heads.insert(ticket, Arc::clone(line));
        }
        waits
    }

    pub(super) fn record(&self, ticket: Ticket) -> Option<OwnerRecord> {
        self.waits.get(&ticket).map(|(_, wait)| wait.record.clone())
    }

    /// Adds a file to what a wait has got.
    pub(super) fn push(&mut self, ticket: Ticket, fence: Fence) -> Pushed<W> {
        self.heads.remove(&ticket);
        let Some((owner, mut wait)) = self.waits.remove(&ticket) else {
            return Pushed::Unwanted(fence);
        };
        wait.got.push(fence);
        if wait.got.len() < wait.plan.fences().count() {
            let (name, mode) = wait.next();
            let record = wait.record.clone();
            self.waits.insert(ticket, (owner, wait));
            return Pushed::More(name, mode, record);
        }
        self.tickets.remove(&owner);
        Pushed::Done(owner, wait)
    }

    pub(super) fn take_expired(&mut self, now: Timestamp) -> Vec<Wait<W>> {
        let over = |wait: &Wait<W>| wait.deadline.is_some_and(|deadline| deadline <= now);
        let expired = self.waits.iter().filter(|(_, (_, wait))| over(wait));
        let tickets: Vec<Ticket> = expired.map(|(ticket, _)| *ticket).collect();
        tickets.into_iter().filter_map(|ticket| self.remove(ticket)).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.waits.values().filter_map(|(_, wait)| wait.deadline).min()
    }

    /// Those who have waited longest, oldest first: what for, and since when.
    pub(super) fn oldest(
        &self,
        most: usize,
    ) -> impl Iterator<Item = (OwnerId, FenceName, Timestamp)> {
        let wait = |(owner, wait): &(OwnerId, Wait<W>)| {
            (*owner, wait.next().0, Timestamp::from_micros(wait.record.since))
        };
        self.waits.values().take(most).map(wait)
    }

    pub(super) fn of(&self, owner: OwnerId) -> Option<(FenceName, LockMode, Timestamp)> {
        let (_, wait) = self.waits.get(self.tickets.get(&owner)?)?;
        let (name, mode) = wait.next();
        Some((name, mode, Timestamp::from_micros(wait.record.since)))
    }
}
