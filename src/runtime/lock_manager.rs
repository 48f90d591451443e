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
use super::sync::raw::{AtomicBool, Ordering};
use crate::engine::locks::{
    LockError, LockReport, LockTable, Outcome, OwnerId, OwnerReport, RequestOptions, WaitPolicy,
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
    /// Whether a pump has something to try; written under the mutex.
    to_try: AtomicBool,
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
        let state = Mutex::new(&LOCK_TABLE, state);
        Self { state, to_try: AtomicBool::new(false), hierarchy, clock }
    }

    /// The levels.
    #[must_use]
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// Whether a [`pump`](Self::pump) would have something to try. Whoever makes that so while
    /// another thread asks has to pump, or have somebody pump, afterwards.
    #[must_use]
    pub fn has_to_try(&self) -> bool {
        self.to_try.load(Ordering::SeqCst)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State<W>) -> T) -> T {
        let mut state = self.state.lock();
        let changed = change(&mut state);
        self.to_try.store(state.table.has_to_try(), Ordering::SeqCst);
        changed
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
        let now = self.clock.now();
        self.change(|state| match state.table.request(owner, request, options, now) {
            Ok(Outcome::Granted) => Ok(Asked::Granted(waiter)),
            Ok(Outcome::Waiting) => {
                state.waiters.insert(owner, waiter);
                Ok(Asked::Waiting)
            }
            Err(error) => Err((error, waiter)),
        })
    }

    /// Releases all that an owner holds and ends its waiting; the payload, if it waited.
    pub fn release_all(&self, owner: OwnerId) -> Option<W> {
        self.change(|state| {
            state.table.release_all(owner);
            state.waiters.remove(&owner)
        })
    }

    /// Releases some locks; see [`LockTable::release`].
    ///
    /// # Errors
    ///
    /// What the table says.
    pub fn release(&self, owner: OwnerId, request: &LockRequest) -> Result<(), LockError> {
        self.change(|state| state.table.release(owner, request))
    }

    /// Releases whatever an owner holds at those levels.
    ///
    /// # Errors
    ///
    /// `AlreadyWaiting`.
    pub fn release_levels(&self, owner: OwnerId, levels: &[LevelId]) -> Result<(), LockError> {
        self.change(|state| state.table.release_levels(owner, levels))
    }

    /// Makes exclusive locks shared; see [`LockTable::downgrade`].
    ///
    /// # Errors
    ///
    /// What the table says.
    pub fn downgrade(&self, owner: OwnerId, request: &LockRequest) -> Result<(), LockError> {
        self.change(|state| state.table.downgrade(owner, request))
    }

    /// Keeps some locks of a level only; see [`LockTable::narrow`].
    ///
    /// # Errors
    ///
    /// What the table says.
    pub fn narrow(&self, owner: OwnerId, keep: &LockRequest) -> Result<(), LockError> {
        self.change(|state| state.table.narrow(owner, keep))
    }

    /// Ends the waiting of an owner, which keeps what it holds; the payload, if it waited. None
    /// means that it was granted before, or never waited.
    pub fn withdraw(&self, owner: OwnerId) -> Option<W> {
        self.change(|state| {
            state.table.withdraw(owner);
            state.waiters.remove(&owner)
        })
    }

    /// Ends the waiting of those whose deadline has passed, and hands their payloads back.
    #[must_use = "those who stopped waiting do not know it yet"]
    pub fn expire(&self) -> Vec<(OwnerId, W)> {
        self.expire_at(self.clock.now())
    }

    /// [`expire`](Self::expire), with the time passed in.
    #[must_use = "those who stopped waiting do not know it yet"]
    pub fn expire_at(&self, now: Timestamp) -> Vec<(OwnerId, W)> {
        self.change(|state| {
            let expired = state.table.expire(now);
            state.take(expired)
        })
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
        while self.has_to_try() {
            let (left, now) = (want - handed_out.len(), self.clock.now());
            let more = self.change(|state| {
                let (granted, more) = state.table.pump_within(left, before, TRIES, now);
                handed_out.extend(state.take(granted));
                more
            });
            if !more {
                break;
            }
        }
        handed_out
    }

    /// Changes how urgent a waiting request is; [`pump`](Self::pump) afterwards. Whether the
    /// owner waits.
    pub fn set_priority(&self, owner: OwnerId, priority: Priority) -> bool {
        self.change(|state| state.table.set_priority(owner, priority))
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
