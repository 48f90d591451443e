//! The lock table behind one mutex, and what waits for it as values.
//!
//! Nothing blocks here: a request that has to wait leaves its *payload* (a job, the address of a
//! thread) with the manager, and gets it back as a value once it is granted, withdrawn or
//! expired. No foreign code runs while the mutex is held; not even a payload is dropped.

mod blocking;
mod builder;
mod fenced;
mod here;
mod signal;
mod timer;

use std::collections::HashMap;

use super::clock::Clock;
use super::lock_order::LockClass;
use super::sync::Mutex;
use crate::engine::locks::{
    LockError, LockReport, LockTable, OldWait, Outcome, OwnerId, OwnerReport, RequestOptions,
    WaitPolicy,
};
use crate::vocabulary::{Hierarchy, LevelId, LockRequest, Priority, Timestamp};

pub use blocking::{LockGuard, LockOptions, LockOwner, Locks, ThisThread};
pub use builder::LocksBuilder;

static LOCK_TABLE: LockClass = LockClass::new("lock table");

/// How many requests are tried before the mutex is let go of once, so that a pump with very much
/// to try does not keep everybody else waiting.
const TRIES: usize = 1024;

/// What became of a request, and of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Asked<W> {
    /// The owner holds the locks; here is the payload.
    Granted(W),
    /// It waits, and the payload with it.
    Waiting,
}

#[derive(Debug)]
struct State<W> {
    table: LockTable,
    /// The payloads of exactly those who wait in the table.
    waiters: HashMap<OwnerId, W>,
}

/// Who holds and who waits, for several threads.
///
/// Whatever takes something away only marks what became possible. [`pump`](Self::pump) grants
/// it: call it after each release, with the number of those you can start.
#[derive(Debug)]
pub struct LockManager<W> {
    state: Mutex<State<W>>,
    hierarchy: Hierarchy,
    clock: Clock,
}

impl<W> LockManager<W> {
    /// A manager under which nobody holds anything.
    #[must_use]
    pub fn new(hierarchy: Hierarchy, policy: WaitPolicy) -> Self {
        Self::with_clock(hierarchy, policy, Clock::default())
    }

    /// The same, with the time from that clock.
    #[must_use]
    pub fn with_clock(hierarchy: Hierarchy, policy: WaitPolicy, clock: Clock) -> Self {
        let table = LockTable::new(hierarchy.clone(), policy);
        let state = State { table, waiters: HashMap::new() };
        Self { state: Mutex::new(&LOCK_TABLE, state), hierarchy, clock }
    }

    /// The levels.
    #[must_use]
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// Whether a [`pump`](Self::pump) would have something to try. Whoever makes that so after
    /// another thread has asked has to pump, or have somebody pump.
    #[must_use]
    pub fn has_to_try(&self) -> bool {
        self.state.lock().table.has_to_try()
    }

    /// Asks for a set of locks; see [`LockTable::request`].
    ///
    /// # Errors
    ///
    /// What the table says, and the payload.
    pub fn request(
        &self,
        owner: OwnerId,
        request: &LockRequest,
        options: RequestOptions,
        waiter: W,
    ) -> Result<Asked<W>, (LockError, W)> {
        let mut state = self.state.lock();
        match state.table.request(owner, request, options, self.clock.now()) {
            Ok(Outcome::Granted) => Ok(Asked::Granted(waiter)),
            Ok(Outcome::Waiting) => {
                state.waiters.insert(owner, waiter);
                Ok(Asked::Waiting)
            }
            Err(error) => Err((error, waiter)),
        }
    }

    /// Releases all that an owner holds and ends its waiting; the payload, if it waited.
    pub fn release_all(&self, owner: OwnerId) -> Option<W> {
        let mut state = self.state.lock();
        state.table.release_all(owner);
        state.waiters.remove(&owner)
    }

    /// Releases some locks; see [`LockTable::release`].
    ///
    /// # Errors
    ///
    /// What the table says.
    pub fn release(&self, owner: OwnerId, request: &LockRequest) -> Result<(), LockError> {
        self.state.lock().table.release(owner, request)
    }

    /// Releases whatever an owner holds at those levels.
    ///
    /// # Errors
    ///
    /// `AlreadyWaiting`.
    pub fn release_levels(&self, owner: OwnerId, levels: &[LevelId]) -> Result<(), LockError> {
        self.state.lock().table.release_levels(owner, levels)
    }

    /// Makes exclusive locks shared; see [`LockTable::downgrade`].
    ///
    /// # Errors
    ///
    /// What the table says.
    pub fn downgrade(&self, owner: OwnerId, request: &LockRequest) -> Result<(), LockError> {
        self.state.lock().table.downgrade(owner, request)
    }

    /// Keeps some locks of a level only; see [`LockTable::narrow`].
    ///
    /// # Errors
    ///
    /// What the table says.
    pub fn narrow(&self, owner: OwnerId, keep: &LockRequest) -> Result<(), LockError> {
        self.state.lock().table.narrow(owner, keep)
    }

    /// Ends the waiting of an owner, which keeps what it holds; the payload, if it waited. None
    /// means that it was granted before, or never waited.
    pub fn withdraw(&self, owner: OwnerId) -> Option<W> {
        let mut state = self.state.lock();
        state.table.withdraw(owner);
        state.waiters.remove(&owner)
    }

    /// Ends the waiting of those whose deadline has passed, and hands their payloads back.
    #[must_use = "those who stopped waiting do not know it yet"]
    pub fn expire(&self) -> Vec<(OwnerId, W)> {
        self.expire_at(self.clock.now())
    }

    /// [`expire`](Self::expire), with the time passed in.
    #[must_use = "those who stopped waiting do not know it yet"]
    pub fn expire_at(&self, now: Timestamp) -> Vec<(OwnerId, W)> {
        let mut state = self.state.lock();
        let expired = state.table.expire(now);
        state.take(expired)
    }

    /// When [`expire`](Self::expire) has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.state.lock().table.next_deadline()
    }

    /// Grants waiting requests in their order, at most `want`, and hands their payloads back.
    #[must_use = "those who were granted their locks do not know it yet"]
    pub fn pump(&self, want: usize) -> Vec<(OwnerId, W)> {
        self.pump_before(want, None)
    }

    /// [`pump`](Self::pump), but leaves those whose virtual deadline lies after `before`: somebody
    /// else's turn comes first.
    #[must_use = "those who were granted their locks do not know it yet"]
    pub fn pump_before(&self, want: usize, before: Option<Timestamp>) -> Vec<(OwnerId, W)> {
        let mut handed_out = Vec::new();
        loop {
            let mut state = self.state.lock();
            if !state.table.has_to_try() {
                return handed_out;
            }
            let left = want - handed_out.len();
            let (granted, more) = state.table.pump_within(left, before, TRIES, self.clock.now());
            handed_out.extend(state.take(granted));
            if !more {
                return handed_out;
            }
        }
    }

    /// Changes how urgent a waiting request is; [`pump`](Self::pump) afterwards. Whether the
    /// owner waits.
    pub fn set_priority(&self, owner: OwnerId, priority: Priority) -> bool {
        self.state.lock().table.set_priority(owner, priority)
    }

    /// What an owner holds, as a request that would lead to it.
    #[must_use]
    pub fn held(&self, owner: OwnerId) -> LockRequest {
        self.state.lock().table.held(owner)
    }

    /// How many requests wait, and of the oldest of them whose it is and since when.
    #[must_use]
    pub fn waiting(&self) -> (usize, Option<(OwnerId, Timestamp)>) {
        let state = self.state.lock();
        (state.table.waiting(), state.table.oldest_waiting())
    }

    /// The requests that have waited longest, oldest first; see [`LockTable::oldest_waits`].
    #[must_use]
    pub fn oldest_waits(&self, most: usize) -> Vec<OldWait> {
        self.state.lock().table.oldest_waits(most)
    }

    /// What an owner holds and waits for, and why.
    #[must_use]
    pub fn explain(&self, owner: OwnerId) -> Option<OwnerReport> {
        self.state.lock().table.explain(owner, self.clock.now())
    }

    /// All locks somebody holds or waits for.
    #[must_use]
    pub fn locks(&self) -> Vec<LockReport> {
        self.state.lock().table.locks()
    }

    /// The graph of who waits for whom, in the language of Graphviz.
    #[must_use]
    pub fn wait_graph_dot(&self) -> String {
        self.state.lock().table.wait_graph_dot()
    }
}

impl<W> State<W> {
    fn take(&mut self, owners: Vec<OwnerId>) -> Vec<(OwnerId, W)> {
        let take = |owner| self.waiters.remove(&owner).map(|waiter| (owner, waiter));
        owners.into_iter().filter_map(take).collect()
    }
}
