//! Jobs whose locks reach beyond this process: granted by the table, then taken as files, then
//! carried out.
//!
//! A job that waits for another process is a value with the fences. When it has its files, it goes
//! into a line of those that can go on and only need a worker.

use std::collections::VecDeque;
use std::sync::Arc;

use super::fences::{DeadOwner, Fenced, Fences, How};
use super::inner::{Inner, owner};
use super::lock_order::LockClass;
use super::processor::Active;
use super::sync::Mutex;
use super::view::Why;
use crate::engine::locks::{LockError, OwnerId, RequestKind};
use crate::vocabulary::{JobId, LevelId, LockRequest};

static GRANTED: LockClass = LockClass::new("jobs whose locks are granted");

/// The jobs' fences, and the jobs that have all they asked for and wait for a worker.
pub(super) struct FencedJobs {
    pub(super) fences: Arc<Fences<Box<Active>>>,
    granted: Mutex<VecDeque<Box<Active>>>,
}

/// What an opcode still has to do about the locks it was granted.
#[derive(Debug, Default)]
pub(super) struct Unfenced {
    /// Granted by the table, not yet taken as files.
    locks: Option<(LockRequest, RequestKind)>,
    /// Why they cannot be taken.
    refused: Option<LockError>,
}

impl Unfenced {
    /// Notes what is asked of the table, so that it is fenced when granted.
    pub(super) fn asked(&mut self, jobs: &FencedJobs, request: &LockRequest, kind: RequestKind) {
        self.locks = jobs.fences.reach.is_beyond().then(|| (request.clone(), kind));
    }
}

impl FencedJobs {
    pub(super) fn new(fences: Arc<Fences<Box<Active>>>) -> Self {
        Self { fences, granted: Mutex::new(&GRANTED, VecDeque::new()) }
    }

    /// Whether nothing deeper may be asked for together with locks of that level.
    pub(super) fn ends_a_request(&self, level: LevelId) -> bool {
        self.fences.reach.is_fenced(level)
    }

    fn reaches_beyond(&self, request: &LockRequest) -> bool {
        request.levels().any(|(level, _)| self.fences.reach.is_fenced(level))
    }

    /// Gives a job's files back; before its locks are, so that the next one finds them free.
    pub(super) fn release(&self, id: JobId) {
        if self.fences.reach.is_beyond() {
            self.fences.release_all(owner(id));
        }
    }

    /// Takes a job out of its wait for other processes, or for a worker afterwards. Whether it was
    /// in one.
    pub(super) fn withdraw(&self, id: JobId) -> bool {
        let waited = self.fences.withdraw(owner(id));
        let mut granted = self.granted.lock();
        let place = granted.iter().position(|active| active.job() == id);
        let taken = place.and_then(|place| granted.remove(place));
        drop(granted);
        waited.is_some() || taken.is_some()
    }

    /// Adds one that has its locks and needs a worker.
    pub(super) fn add_granted(&self, active: Box<Active>) {
        self.granted.lock().push_back(active);
    }

    /// Whether there are such.
    pub(super) fn has_granted(&self) -> bool {
        !self.granted.lock().is_empty()
    }

    /// Those that have their locks and need a worker, each taken out as it comes.
    pub(super) fn all_granted(&self) -> impl Iterator<Item = Box<Active>> {
        std::iter::from_fn(|| self.granted.lock().pop_front())
    }

    /// What a job waits for that another process has.
    pub(super) fn why(&self, id: JobId) -> Option<Why> {
        let (name, mode, since) = self.fences.waits_for(owner(id))?;
        let holder = self.fences.holder(&name);
        Some(Why::OtherProcess { lock: name.to_string(), mode, since, holder })
    }

    /// Those who died with what a job now holds.
    pub(super) fn died(&self, id: JobId) -> Vec<DeadOwner> {
        self.fences.died(owner(id))
    }
}

impl Inner {
    /// Takes what an opcode was granted as files, where it reaches beyond this process. None: it
    /// waits for another process.
    ///
    /// # Errors
    ///
    /// Why they cannot be taken.
    pub(super) fn fence(
        self: &Arc<Self>,
        mut active: Box<Active>,
    ) -> Result<Option<Box<Active>>, LockError> {
        if let Some(error) = active.asking.unfenced.refused.take() {
            return Err(error);
        }
        let fences = &self.fenced.fences;
        let Some((locks, kind)) = active.asking.unfenced.locks.take() else {
            return Ok(Some(active));
        };
        let _away = self.tasks.away();
        if let RequestKind::Opportunistic { min_count } = kind {
            return self.fence_what_is_free(active, &locks, min_count).map(Some);
        }
        let (id, inner) = (active.job(), Arc::downgrade(self));
        let what = active.title();
        let how = How { waits: true, deadline: None, what: Some(&what) };
        let deliver = move |active: Box<Active>, result: Result<(), LockError>| {
            if let Some(inner) = inner.upgrade() {
                inner.fenced(active, result);
            }
        };
        match fences.take(owner(id), &locks, how, active, Box::new(deliver)) {
            Ok(Fenced::Held(active)) => Ok(Some(active)),
            Ok(Fenced::Waiting) => Ok(None),
            Err((error, _)) => Err(error),
        }
    }

    /// Keeps of what was granted as far as it was free what no other process has.
    fn fence_what_is_free(
        &self,
        mut active: Box<Active>,
        request: &LockRequest,
        min_count: usize,
    ) -> Result<Box<Active>, LockError> {
        let me = owner(active.job());
        if !self.fenced.reaches_beyond(request) {
            return Ok(active);
        }
        let granted = self.locks.held(me).at_levels_of(request);
        let free = self.fenced.fences.take_free(me, &granted);
        let found = free.count();
        if found < min_count {
            return Err(LockError::TooFew { found, needed: min_count });
        }
        if free.is_empty() {
            let levels: Vec<LevelId> = granted.levels().map(|(level, _)| level).collect();
            self.locks.release_levels(me, &levels)?;
        } else {
            self.locks.narrow(me, &free)?;
        }
        active.asking.locks = self.locks.held(me);
        Ok(active)
    }

    /// A job that waited for other processes has its files, or cannot have them.
    fn fenced(self: &Arc<Self>, mut active: Box<Active>, result: Result<(), LockError>) {
        let id = active.job();
        active.asking.unfenced.refused = result.err();
        self.fenced.add_granted(active);
        if self.shell().stopping {
            self.stop_waiting(id);
        }
        self.schedule();
    }

    /// Releases all that a job has: the files first, so that the next one finds them free.
    pub(super) fn release_of_job(&self, id: JobId) {
        self.fenced.release(id);
        self.locks.release_all(owner(id));
    }

    /// Releases some locks of a job, in the table and as files.
    pub(super) fn release_some(&self, me: OwnerId, locks: &LockRequest) -> Result<(), LockError> {
        self.locks.release(me, locks)?;
        self.fenced.fences.release(me, locks);
        Ok(())
    }

    /// Keeps some locks of their levels only, in the table and as files.
    pub(super) fn narrow_to_some(&self, me: OwnerId, keep: &LockRequest) -> Result<(), LockError> {
        self.locks.narrow(me, keep)?;
        self.fenced.fences.narrow(me, keep)
    }

    /// Makes some locks of a job shared, in the table and as files.
    pub(super) fn downgrade_some(&self, me: OwnerId, locks: &LockRequest) -> Result<(), LockError> {
        self.locks.downgrade(me, locks)?;
        self.fenced.fences.downgrade(me, locks)
    }
}
