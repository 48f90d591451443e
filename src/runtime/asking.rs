//! Asking for locks: level by level as the units declare them, all levels at once where they are
//! known, those of all opcodes of a job that keeps its locks.

use std::sync::Arc;

use super::contained::Contained;
use super::fenced_jobs::Unfenced;
use super::inner::{Inner, owner};
use super::lock_manager::Asked;
use super::logical_unit::DeclaredLocks;
use super::metrics::micros;
use super::processor::{Active, Attempt, Purpose};
use super::spans::Named;
use super::worker_pool::Task;
use crate::engine::locks::{LockError, RequestKind, RequestOptions};
use crate::vocabulary::{BIG_LOCK, JobId, LevelId, LockRequest, OpError, Timestamp};

/// How far an opcode has come with asking for its locks.
pub(super) struct Asking {
    /// The levels still to be locked, the next one last.
    levels: Vec<LevelId>,
    /// What it declared, and holds once its pending request is granted.
    pub(super) locks: LockRequest,
    /// The units of the other opcodes of a job that takes all its locks at its start.
    pub(super) others: Vec<Contained>,
    /// The job has kept its locks from an earlier opcode: nothing is to be asked for.
    kept: bool,
    /// When it asked last, and from which level on, until it has what it asked for.
    asked: Option<(Timestamp, usize)>,
    /// A request for what is free at one level, which is to be made on its own.
    alone: Option<Request>,
    /// What it was granted by the table and has not taken as files.
    pub(super) unfenced: Unfenced,
}

type Request = (LockRequest, RequestKind);

/// What one unit declares at one level.
type Declared = (LockRequest, Option<usize>);

impl Asking {
    /// At the beginning. `levels` has the first level last.
    pub(super) fn new(levels: Vec<LevelId>, kept: bool) -> Self {
        Self {
            levels,
            locks: LockRequest::new(),
            others: Vec::new(),
            kept,
            asked: None,
            alone: None,
            unfenced: Unfenced::default(),
        }
    }

    /// Whether it has taken the locks itself that it holds.
    pub(super) fn takes(&self) -> bool {
        !self.kept
    }

    fn units<'a>(
        &'a mut self,
        first: &'a mut Contained,
    ) -> impl Iterator<Item = &'a mut Contained> {
        [first].into_iter().chain(&mut self.others)
    }
}

impl Inner {
    /// Asks for the locks not asked for yet; goes on when all are held.
    pub(super) fn acquire(self: &Arc<Self>, mut active: Box<Active>) -> Option<Task> {
        loop {
            let attempt = active.attempt.clone();
            active = match self.fence(active) {
                Ok(Some(active)) => active,
                Ok(None) => return self.parked(&attempt),
                Err(error) => return self.could_not_start(&attempt, refused(&error)),
            };
            self.count_wait(&mut active);
            let (request, kind) = match self.next_request(&mut active) {
                Ok(Some(next)) => next,
                Ok(None) => return self.locked(active),
                Err(error) => return self.could_not_start(&active.attempt, error),
            };
            let id = active.job();
            tracing::debug!(locks = %self.named(&request, 0), "asks for locks");
            active.asking.unfenced.asked(&self.fenced, &request, kind);
            let options = RequestOptions { priority: active.priority, kind, ..Default::default() };
            let first = request.levels().next().map_or(0, |(level, _)| level.rank());
            active.asking.asked = Some((self.now(), first));
            match self.request_for_job(owner(id), &request, options, active) {
                Ok(Asked::Granted(granted)) => active = granted,
                Ok(Asked::Waiting) => return self.parked(&attempt),
                Err(error) => return self.could_not_start(&attempt, refused(&error)),
            }
            if matches!(kind, RequestKind::Opportunistic { .. }) {
                active.asking.locks = self.locks.held(owner(id));
            }
        }
    }

    /// Counts how long it waited for what it has now, once: granted, and taken as files.
    fn count_wait(&self, active: &mut Active) {
        let Some((since, first)) = active.asking.asked.take() else { return };
        let waited = self.now().since(since);
        let waited_us = micros(waited);
        tracing::debug!(locks = %self.named(&active.asking.locks, first), waited_us, "has its locks");
        let levels = active.asking.locks.levels().map(|(level, _)| level);
        self.metrics.waited(levels.filter(|level| level.rank() >= first), waited);
    }

    fn named<'a>(&'a self, locks: &'a LockRequest, from_rank: usize) -> Named<'a> {
        Named { hierarchy: &self.hierarchy, locks, from_rank }
    }

    /// What to ask for next: one level, or all levels where the units know them at once.
    fn next_request(&self, active: &mut Active) -> Result<Option<Request>, OpError> {
        if let Some(alone) = active.asking.alone.take() {
            return Ok(Some(alone));
        }
        if active.asking.kept {
            return self.check_kept(active).map(|()| None);
        }
        let _away = self.tasks.away();
        let at_once = all_known_at_once(active)?;
        let mut request = LockRequest::new();
        while let Some(level) = active.asking.levels.pop() {
            let (locks, at_least) = self.declare_all(active, level)?;
            active.asking.locks.merge(&locks);
            if let Some(min_count) = at_least {
                active.asking.alone = Some((locks, RequestKind::Opportunistic { min_count }));
                break;
            }
            request.merge(&locks);
            let together = at_once && !self.fenced.ends_a_request(level);
            if !together && !request.is_empty() {
                break;
            }
        }
        match request.is_empty() {
            true => Ok(active.asking.alone.take()),
            false => Ok(Some((request, RequestKind::Exact))),
        }
    }

    /// What all units declare at a level; of one lock the stronger mode.
    fn declare_all(&self, active: &mut Active, level: LevelId) -> Result<Declared, OpError> {
        let Active { unit, asking, attempt, .. } = active;
        let (mut all, mut at_least) = (LockRequest::new(), None);
        for unit in asking.units(unit) {
            let (locks, few) = self.declare(unit, level)?;
            all.merge(&locks);
            at_least = at_least.or(few);
        }
        match at_least {
            Some(_) if attempt.keeps_locks => Err(OpError::prereq(
                "a job that keeps its locks cannot take those only that are free",
            )),
            at_least => Ok((all, at_least)),
        }
    }

    fn declare(&self, unit: &mut Contained, level: LevelId) -> Result<Declared, OpError> {
        let mut request = LockRequest::new();
        let mut declared = DeclaredLocks::new(level, &mut request);
        if self.hierarchy.big_lock_level() == Some(level) {
            let mode = unit.call(|unit| Ok(unit.big_lock()))?;
            declared.add(BIG_LOCK, mode)?;
        } else {
            unit.call(|unit| unit.declare_locks(self.hierarchy.name(level), &mut declared))?;
        }
        let at_least = declared.at_least();
        Ok((request, at_least))
    }

    /// An opcode of a job that has kept its locks can have those and no others: asking for more
    /// now would be asking out of order.
    fn check_kept(&self, active: &mut Active) -> Result<(), OpError> {
        while let Some(level) = active.asking.levels.pop() {
            let (locks, _) = self.declare_all(active, level)?;
            active.asking.locks.merge(&locks);
        }
        let held = self.locks.held(owner(active.job()));
        let Some((level, name)) = held.lacks(&active.asking.locks) else { return Ok(()) };
        let name = name.as_ref().map_or("[lockset]", |name| name.as_str());
        Err(OpError::prereq(format!(
            "needs {}/{name}, which the job did not take at its start: a job that keeps its locks \
             takes those of all its opcodes before the first",
            self.hierarchy.name(level)
        )))
    }

    /// The job waits for locks: this worker is free for others.
    fn parked(self: &Arc<Self>, attempt: &Attempt) -> Option<Task> {
        let id = attempt.job;
        tracing::debug!("waits for locks");
        self.watch_waits();
        let shell = self.shell();
        let may_start = || shell.queue.may_start(id, attempt.op);
        let wanted = !shell.stopping && (attempt.purpose == Purpose::Undo || may_start());
        drop(shell);
        if !wanted {
            self.stop_waiting(id);
        }
        self.watch.notify(&[id]);
        self.free_worker()
    }

    /// Takes a job out of its wait for locks, if it is in one.
    pub(super) fn stop_waiting(&self, id: JobId) {
        if self.locks.withdraw(owner(id)).is_some() || self.fenced.withdraw(id) {
            self.release_of_job(id);
            let mut shell = self.shell();
            shell.active.remove(&id);
            shell.queue.put_back(id);
            drop(shell);
            self.watch.notify(&[id]);
        }
    }
}

fn all_known_at_once(active: &mut Active) -> Result<bool, OpError> {
    let mut units = active.asking.units(&mut active.unit);
    units.try_fold(true, |all, unit| unit.call(|unit| Ok(all && unit.locks_known_at_once())))
}

fn refused(error: &LockError) -> OpError {
    match error {
        LockError::TooFew { .. } => OpError::temporary(error.to_string()),
        _ => OpError::prereq(format!("cannot ask for its locks: {error}")),
    }
}
