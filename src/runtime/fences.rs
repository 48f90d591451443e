//! Locks that reach beyond this process: what the lock table has granted is then taken among the
//! processes of the machine, as files.
//!
//! First the table, then the files: the threads and jobs of one process stand in its own, fair
//! line, and only one of them at a time, or sharers together, meet other processes. What waits for
//! a file is a value here, as what waits in the table is one there. One thread for each lock that
//! another process keeps from us blocks in the kernel; nobody polls. `design/fences.md` says why
//! that is free of deadlock, and what it costs.

mod errors;
mod held;
mod line;
mod plan;
mod waits;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::clock;
use super::lock_order::LockClass;
use super::sync::Mutex;
use crate::engine::locks::{LockError, OldWait, OwnerId};
use crate::store::{Fence, FenceName, LockDir, OwnerRecord};
use crate::vocabulary::{Error, Hierarchy, LevelId, LockMode, LockRequest, Timestamp};

pub use held::DeadOwner;
use held::HeldFences;
use line::Lines;
pub use plan::GlobalLocks;
use plan::{Plan, Reach};
use waits::{Pushed, Ticket, Wait, Waits};

static FENCES: LockClass = LockClass::new("fences");

/// What is told to who waited: the fences are held, or why not.
type Deliver<W> = Box<dyn FnOnce(W, Result<(), LockError>) + Send>;

/// What became of a request for fences.
#[derive(Debug)]
#[must_use]
pub(super) enum Fenced<W> {
    /// They are held; here is the payload.
    Held(W),
    /// It waits, and the payload with it.
    Waiting,
}

/// The locks of one hierarchy among the processes of the machine.
///
/// `W` is whatever waits: a thread's channel, a job.
pub(super) struct Fences<W> {
    pub(super) reach: Reach,
    dir: Option<LockDir>,
    /// What this process says of itself in lock files.
    program: String,
    state: Mutex<State<W>>,
}

struct State<W> {
    held: HashMap<OwnerId, HeldFences>,
    waits: Waits<W>,
    lines: Lines,
}

impl<W> State<W> {
    /// Adds a file to what a wait has got; with the last one, its owner holds them all.
    fn push(&mut self, ticket: Ticket, fence: Fence) -> Pushed<W> {
        let mut pushed = self.waits.push(ticket, fence);
        if let Pushed::Done(owner, wait) = &mut pushed {
            let got = std::mem::take(&mut wait.got);
            self.held.entry(*owner).or_default().add(&wait.plan, got);
        }
        pushed
    }
}

impl<W: Send + 'static> Fences<W> {
    /// The fences of that hierarchy in that directory; none where it has no level that needs one.
    pub(super) fn new(
        hierarchy: &Hierarchy,
        dir: Option<LockDir>,
        global: GlobalLocks,
        program: &str,
    ) -> Arc<Self> {
        for warning in dir.iter().flat_map(LockDir::warnings) {
            tracing::warn!("{warning}");
        }
        let reach = Reach::new(hierarchy, dir.is_some(), global);
        let state =
            State { held: HashMap::new(), waits: Waits::default(), lines: Lines::default() };
        let program = program.to_owned();
        Arc::new(Self { reach, dir, program, state: Mutex::new(&FENCES, state) })
    }

    /// Takes the fences of what the table has granted: in order, each unless the owner has it.
    /// Where another process is in the way, `deliver` is called once, on another thread, when
    /// all are held or cannot be.
    ///
    /// # Errors
    ///
    /// What the system refuses, and the payload; none is held then that was not held before.
    pub(super) fn take(
        self: &Arc<Self>,
        owner: OwnerId,
        request: &LockRequest,
        how: How,
        payload: W,
        deliver: Deliver<W>,
    ) -> Result<Fenced<W>, (LockError, W)> {
        let plan = self.plan(owner, request);
        if plan.is_empty() {
            return Ok(Fenced::Held(payload));
        }
        let record = OwnerRecord::of_this_process(&how.who(&self.program), clock::now());
        let (got, result) = self.try_all(&plan, &record);
        match result {
            Err(error) => Err((error, payload)),
            Ok(None) => {
                self.keep(owner, &plan, got);
                Ok(Fenced::Held(payload))
            }
            Ok(Some(busy)) if !how.waits => Err((self.busy(&plan.name(busy)), payload)),
            Ok(Some(_)) => {
                let wait = Wait { plan, got, record, payload, deliver, deadline: how.deadline };
                self.wait(owner, wait)
            }
        }
    }

    /// Takes the fences of what the table has granted, and blocks this thread where another process
    /// is in the way: the short way for a thread that waits without end.
    ///
    /// # Errors
    ///
    /// What the system refuses; none is held then that was not held before.
    pub(super) fn take_blocking(
        &self,
        owner: OwnerId,
        request: &LockRequest,
    ) -> Result<(), LockError> {
        let plan = self.plan(owner, request);
        let Some(dir) = self.dir.as_ref().filter(|_| !plan.is_empty()) else { return Ok(()) };
        let record = OwnerRecord::of_this_process(&self.program, clock::now());
        let take = |name: &FenceName, mode| match dir.try_lock(name, mode, &record)? {
            Some(fence) => Ok(fence),
            None => {
                let _line = dir.join_line(name)?;
                dir.lock(name, mode, &record)
            }
        };
        let got = plan.fences().map(|(name, mode)| {
            take(name, mode).map_err(|error: Error| errors::failed(name, &error))
        });
        let got = got.collect::<Result<Vec<Fence>, LockError>>()?;
        self.keep(owner, &plan, got);
        Ok(())
    }

    /// Takes those of single fences that no other process has; which locks that is.
    pub(super) fn take_free(&self, owner: OwnerId, request: &LockRequest) -> LockRequest {
        let record = OwnerRecord::of_this_process(&self.program, clock::now());
        let plan = Plan::of(&self.reach, request);
        let (mut taken, mut got) = (Plan::default(), Vec::new());
        for (level, files) in &plan.levels {
            let free = self.free_of(files, &record);
            let files = free.iter().map(|fence| (fence.name().clone(), fence.mode())).collect();
            taken.levels.push((*level, files));
            got.extend(free);
        }
        let locks = taken.to_request();
        if !locks.is_empty() {
            self.keep(owner, &taken, got);
        }
        locks
    }

    /// Those files of a level that are free; none where its whole is not.
    fn free_of(&self, files: &[(FenceName, LockMode)], record: &OwnerRecord) -> Vec<Fence> {
        let Some(dir) = &self.dir else { return Vec::new() };
        let mut free = Vec::new();
        for (name, mode) in files {
            // What cannot be looked at is not free.
            match dir.try_lock(name, *mode, record).ok().flatten() {
                Some(fence) => free.push(fence),
                None if name.name().is_none() => break,
                None => {}
            }
        }
        if free.len() == 1 && files.len() > 1 { Vec::new() } else { free }
    }

    /// What of a request the owner has not fenced yet; counts what it has.
    fn plan(&self, owner: OwnerId, request: &LockRequest) -> Plan {
        let mut plan = Plan::of(&self.reach, request);
        let mut state = self.state.lock();
        if let Some(held) = state.held.get_mut(&owner) {
            held.count_again(&mut plan);
        }
        plan
    }

    /// Takes fences until one is busy; gives those it got, and which one that was.
    fn try_all(
        &self,
        plan: &Plan,
        record: &OwnerRecord,
    ) -> (Vec<Fence>, Result<Option<usize>, LockError>) {
        let mut got = Vec::new();
        let Some(dir) = &self.dir else { return (got, Ok(None)) };
        for (at, (name, mode)) in plan.fences().enumerate() {
            match dir.try_lock(name, mode, record) {
                Ok(Some(fence)) => got.push(fence),
                Ok(None) => return (got, Ok(Some(at))),
                Err(error) => return (Vec::new(), Err(errors::failed(name, &error))),
            }
        }
        (got, Ok(None))
    }

    fn keep(&self, owner: OwnerId, plan: &Plan, got: Vec<Fence>) {
        self.state.lock().held.entry(owner).or_default().add(plan, got);
    }

    fn wait(self: &Arc<Self>, owner: OwnerId, wait: Wait<W>) -> Result<Fenced<W>, (LockError, W)> {
        let (name, mode) = wait.next();
        let mut state = self.state.lock();
        let ticket = state.waits.insert(owner, wait);
        let queued = state.lines.join(&name, mode, ticket);
        drop(state);
        match queued.and_then(|start| self.start_line(&name, start)) {
            Ok(()) => Ok(Fenced::Waiting),
            Err(error) => match self.state.lock().waits.remove(ticket) {
                Some(wait) => Err((error, wait.payload)),
                // Somebody else ended the wait meanwhile, and has told.
                None => Ok(Fenced::Waiting),
            },
        }
    }

    /// Ends the wait of an owner; the payload, if it waited. The fences that it waited for and had
    /// already got are given back.
    pub(super) fn withdraw(&self, owner: OwnerId) -> Option<W> {
        let wait = self.state.lock().waits.remove_of(owner)?;
        // The files are unlocked here, without the mutex.
        drop(wait.got);
        Some(wait.payload)
    }

    /// Ends the waits whose deadline has passed, each with an error that names who is in the way.
    pub(super) fn expire_at(&self, now: Timestamp) {
        let expired = self.state.lock().waits.take_expired(now);
        for wait in expired {
            let error = self.busy(&wait.next().0);
            wait.end(Err(error));
        }
    }

    /// When [`expire_at`](Self::expire_at) has something to do next.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.state.lock().waits.next_deadline()
    }

    /// Gives back what an owner has at those levels, if it does not have it several times.
    pub(super) fn release_levels(&self, owner: OwnerId, levels: &[LevelId]) {
        self.give_back(owner, |held| held.release_levels(levels));
    }

    /// Gives back some locks of an owner.
    pub(super) fn release(&self, owner: OwnerId, locks: &LockRequest) {
        let plan = Plan::of(&self.reach, locks);
        self.give_back(owner, |held| held.release(&plan));
    }

    /// Shares locks of an owner from now on.
    ///
    /// # Errors
    ///
    /// What the system refuses; one that is named may be lost then.
    pub(super) fn downgrade(&self, owner: OwnerId, locks: &LockRequest) -> Result<(), LockError> {
        let plan = Plan::of(&self.reach, locks);
        let mut state = self.state.lock();
        state.held.get_mut(&owner).map_or(Ok(()), |held| held.downgrade(&plan))
    }

    /// Gives back what an owner has at the levels of `keep` beyond that. Where it has the whole of
    /// a level, other processes get the rest of it, unless somebody is at one of the files kept
    /// (a sweep, say): nothing waits here, so it keeps the whole then.
    ///
    /// # Errors
    ///
    /// What the system refuses; the whole of a level may be lost then.
    pub(super) fn narrow(&self, owner: OwnerId, keep: &LockRequest) -> Result<(), LockError> {
        let plan = Plan::of(&self.reach, keep);
        let wholes = self.state.lock().held.get(&owner).map_or(vec![], |held| held.wholes(&plan));
        for (level, record) in wholes {
            let singles = plan.at(level).filter(|(name, _)| name.name().is_some());
            let Some(got) = self.try_each(singles, &record)? else { continue };
            let mut state = self.state.lock();
            state.held.get_mut(&owner).map_or(Ok(()), |held| held.split(level, got))?;
        }
        self.give_back(owner, |held| held.narrow(&plan));
        Ok(())
    }

    /// Takes all of these, or none where one is busy.
    fn try_each<'a>(
        &self,
        files: impl Iterator<Item = (&'a FenceName, LockMode)>,
        record: &OwnerRecord,
    ) -> Result<Option<Vec<Fence>>, LockError> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let tried = files.map(|(name, mode)| {
            dir.try_lock(name, mode, record).map_err(|error| errors::failed(name, &error))
        });
        tried.collect()
    }

    /// Gives back all that an owner has.
    pub(super) fn release_all(&self, owner: OwnerId) {
        let held = self.state.lock().held.remove(&owner);
        drop(held);
    }

    /// The files are unlocked without the mutex.
    fn give_back(&self, owner: OwnerId, take: impl FnOnce(&mut HeldFences) -> Vec<Fence>) {
        if !self.reach.is_beyond() {
            return;
        }
        let mut state = self.state.lock();
        let Some(held) = state.held.get_mut(&owner) else { return };
        let gone = take(held);
        if held.is_empty() {
            state.held.remove(&owner);
        }
        drop(state);
        drop(gone);
    }

    /// Those who died with what an owner now has.
    pub(super) fn died(&self, owner: OwnerId) -> Vec<DeadOwner> {
        self.state.lock().held.get(&owner).map_or_else(Vec::new, HeldFences::died)
    }

    /// Looks whether all that an owner has is still what others would find.
    pub(super) fn verify(&self, owner: OwnerId) -> Result<(), LockError> {
        self.state.lock().held.get(&owner).map_or(Ok(()), HeldFences::verify)
    }

    /// Has programs that are started from now on keep what an owner has.
    pub(super) fn keep_in_children(&self, owner: OwnerId) -> Result<(), LockError> {
        self.state.lock().held.get(&owner).map_or(Ok(()), HeldFences::keep_in_children)
    }

    /// Writes what an owner is about to do into the files of what it has exclusively.
    pub(super) fn note(&self, owner: OwnerId, note: &str) -> Result<(), LockError> {
        self.state.lock().held.get_mut(&owner).map_or(Ok(()), |held| held.note(note))
    }

    /// What an owner waits for, and who has it, as far as that is known.
    pub(super) fn waits_for(&self, owner: OwnerId) -> Option<(FenceName, LockMode, Timestamp)> {
        self.state.lock().waits.of(owner)
    }

    /// Those who have waited longest for other processes, oldest first, `most` of them at most.
    pub(super) fn oldest_waits(&self, most: usize) -> Vec<OldWait> {
        let (mut first_at, state) = (BTreeMap::new(), self.state.lock());
        let oldest = state.waits.oldest(most).enumerate();
        let wait = |(place, (owner, name, since)): (usize, (OwnerId, FenceName, Timestamp))| {
            let first = *first_at.entry(name).or_insert(place);
            OldWait { owner, since, first }
        };
        oldest.map(wait).collect()
    }

    /// Where the files are.
    pub(super) fn dir_path(&self) -> Option<&Path> {
        self.dir.as_ref().map(LockDir::path)
    }

    /// Who keeps a lock from us, for people.
    pub(super) fn holder(&self, name: &FenceName) -> String {
        self.dir.as_ref().map_or_else(String::new, |dir| errors::holder(dir, name))
    }

    fn busy(&self, name: &FenceName) -> LockError {
        LockError::HeldElsewhere { lock: name.to_string(), holder: self.holder(name) }
    }
}

/// How fences are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct How<'a> {
    /// Whether to wait for other processes.
    pub(super) waits: bool,
    /// Until when.
    pub(super) deadline: Option<Timestamp>,
    /// What the owner does, for the record in the file.
    pub(super) what: Option<&'a str>,
}

impl How<'_> {
    fn who(&self, program: &str) -> String {
        self.what.map_or_else(|| program.to_owned(), |what| format!("{program}: {what}"))
    }
}

impl<W> fmt::Debug for Fences<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fences").field("dir", &self.dir).finish_non_exhaustive()
    }
}
