//! Carries out one opcode: arguments, names, locks level by level, prerequisites, execution,
//! undo. A job that waits for locks is a value in the lock manager, one that waits for the disk a
//! value with the log writer: no thread waits for either.
//!
//! What is to be done is cut into tasks at these places. Each function here that ends a task says
//! what the same worker goes on with, if anything.

use std::sync::Arc;

use serde_json::Value;

use super::cancel::{CancelCause, CancelToken};
use super::contained::Contained;
use super::context::Context;
use super::inner::{Inner, owner};
use super::lock_manager::Asked;
use super::lock_order::assert_no_locks_held;
use super::logical_unit::{DeclaredLocks, LogicalUnit};
use super::shell::{Shell, WhenDurable};
use super::sync::MutexGuard;
use super::worker_pool::Task;
use crate::engine::locks::{LockError, RequestOptions};
use crate::engine::queue::Start;
use crate::vocabulary::{
    BIG_LOCK, CrashPolicy, FeedbackEntry, FeedbackKind, Job, JobId, LevelId, LockRequest, OpCode,
    OpError, OpErrorKind, OpState, Outcome, Priority, Timestamp,
};

/// An opcode in the processor's hands. Moves from thread to thread; nobody else sees it.
pub(super) struct Active {
    job: JobId,
    op: usize,
    opcode: OpCode,
    priority: Priority,
    purpose: Purpose,
    /// The fencing token of its start; 0 before, and while names are expanded.
    token: u64,
    unit: Contained,
    cancel: CancelToken,
    taken: Timestamp,
    /// The levels still to be locked, the next one last.
    levels: Vec<LevelId>,
    /// What it holds once its pending request is granted.
    locks: LockRequest,
    /// When it asked last, and from which level on.
    asked: (Timestamp, usize),
}

impl Active {
    pub(super) fn job(&self) -> JobId {
        self.job
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Execute,
    /// Take back.
    Undo,
}

/// How carrying out an opcode came to its end.
struct Ended {
    outcome: Result<Value, OpError>,
    /// Whether the work had begun, so that an undo has something to take back.
    begun: bool,
}

impl Inner {
    /// Carries out one task, on a worker or in its place; gives what the worker goes on with.
    pub(super) fn carry(self: &Arc<Self>, task: Task) -> Option<Task> {
        match task {
            Task::TakeUp(id) => self.take_up(id),
            Task::GoOn(active) => {
                self.count_wait(&active, self.now());
                self.acquire(active)
            }
            Task::Execute(active) => self.execute(active),
            Task::Undo(active) => self.undo(active),
            Task::End => None,
        }
    }

    /// Takes a job up: its current opcode, or the next undo.
    fn take_up(self: &Arc<Self>, id: JobId) -> Option<Task> {
        let Some(found) = self.find_work(id) else { return self.let_go(id) };
        let (purpose, cancel) = (found.purpose, found.cancel.clone());
        match self.prepare(id, found) {
            Ok(active) => self.acquire(Box::new(active)),
            // Stopped by a shutdown: nothing has happened, it is taken up again at the next start.
            Err(_) if cancel.cause() == Some(CancelCause::Shutdown) => self.let_go(id),
            Err(error) => self.could_not_start(id, error, purpose),
        }
    }

    fn find_work(&self, id: JobId) -> Option<Found> {
        let mut shell = self.shell();
        let found = Found::of(shell.queue.get(id)?)?;
        shell.active.insert(id, found.cancel.clone());
        Some(found)
    }

    fn prepare(self: &Arc<Self>, id: JobId, found: Found) -> Result<Active, OpError> {
        let Found { op, opcode, priority, purpose, token, cancel } = found;
        let unit = self.registry.contained(&opcode)?;
        let levels = self.hierarchy.levels().rev().collect();
        let mut active = Active {
            job: id,
            op,
            opcode,
            priority,
            purpose,
            token: 0,
            unit,
            cancel,
            taken: self.now(),
            levels,
            locks: LockRequest::new(),
            asked: Default::default(),
        };
        let context = self.context(&active);
        active.token = token;
        active.unit.call(LogicalUnit::check_arguments)?;
        active.unit.call(|unit| unit.expand_names(&context))?;
        Ok(active)
    }

    /// Asks for the locks not asked for yet; goes on when all are held.
    fn acquire(self: &Arc<Self>, mut active: Box<Active>) -> Option<Task> {
        let (id, purpose) = (active.job, active.purpose);
        loop {
            let request = match self.next_request(&mut active) {
                Ok(Some(request)) => request,
                Ok(None) => return self.locked(active),
                Err(error) => return self.could_not_start(id, error, purpose),
            };
            let options = RequestOptions { priority: active.priority, ..Default::default() };
            let first = request.levels().next().map_or(0, |(level, _)| level.rank());
            active.asked = (self.now(), first);
            match self.locks.request(owner(id), &request, options, active) {
                Ok(Asked::Granted(granted)) => {
                    self.count_wait(&granted, granted.asked.0);
                    active = granted;
                }
                Ok(Asked::Waiting) => return self.parked(id, purpose),
                Err((error, _)) => return self.could_not_start(id, refused(&error), purpose),
            }
        }
    }

    /// Counts how long it waited for what it was granted now.
    fn count_wait(&self, active: &Active, now: Timestamp) {
        let (since, first) = active.asked;
        let levels = active.locks.levels().map(|(level, _)| level);
        self.metrics.waited(levels.filter(|level| level.rank() >= first), now.since(since));
    }

    /// What to ask for next: one level, or all levels where the unit knows them at once.
    fn next_request(&self, active: &mut Active) -> Result<Option<LockRequest>, OpError> {
        let at_once = active.unit.call(|unit| Ok(unit.locks_known_at_once()))?;
        let mut request = LockRequest::new();
        while let Some(level) = active.levels.pop() {
            self.declare(active, level, &mut request)?;
            if !at_once && !request.is_empty() {
                break;
            }
        }
        active.locks.merge(&request);
        Ok((!request.is_empty()).then_some(request))
    }

    fn declare(
        &self,
        active: &mut Active,
        level: LevelId,
        request: &mut LockRequest,
    ) -> Result<(), OpError> {
        let mut declared = DeclaredLocks::new(level, request);
        if self.hierarchy.big_lock_level() == Some(level) {
            let mode = active.unit.call(|unit| Ok(unit.big_lock()))?;
            return declared.add(BIG_LOCK, mode);
        }
        active.unit.call(|unit| unit.declare_locks(self.hierarchy.name(level), &mut declared))
    }

    /// The job waits for locks: this worker is free for others.
    fn parked(self: &Arc<Self>, id: JobId, purpose: Purpose) -> Option<Task> {
        let shell = self.shell();
        let canceled = shell.queue.get(id).is_some_and(|job| job.cancel_requested.is_some());
        let unwanted = (canceled && purpose == Purpose::Execute) || shell.stopping;
        drop(shell);
        if unwanted {
            self.stop_waiting(id);
        }
        self.watch.notify(&[id]);
        self.free_worker()
    }

    /// Takes a job out of its wait for locks, if it is in one.
    pub(super) fn stop_waiting(&self, id: JobId) {
        if self.locks.withdraw(owner(id)).is_some() {
            self.locks.release_all(owner(id));
            let mut shell = self.shell();
            shell.active.remove(&id);
            shell.queue.put_back(id);
            drop(shell);
            self.watch.notify(&[id]);
        }
    }

    /// All locks are held.
    fn locked(self: &Arc<Self>, active: Box<Active>) -> Option<Task> {
        match active.purpose {
            Purpose::Execute => self.start(active),
            Purpose::Undo => self.undo_when_known(active),
        }
    }

    /// The last look before an opcode executes: it may have been cancelled.
    ///
    /// What may be repeated may be started before the log says that it was: after a crash it is
    /// taken up again. But never before what it builds on is on disk: the ends of those that ran
    /// before it, which a crash must not make run again after it.
    fn start(self: &Arc<Self>, mut active: Box<Active>) -> Option<Task> {
        let (id, taken) = (active.job, active.taken);
        let asked = active.unit.call(|unit| Ok((unit.can_undo(), unit.on_crash())));
        let (undo, on_crash) = asked.unwrap_or_default();
        let mut shell = self.shell();
        let start = Start { taken, undo, on_crash };
        let started = (!shell.stopping).then(|| shell.queue.start(id, start, self.now()));
        let Some((token, records)) = started.flatten() else {
            drop(shell);
            return self.let_go(id);
        };
        active.token = token;
        let position = self.append(&mut shell, records);
        let needed = if on_crash == CrashPolicy::Retry { position - 1 } else { position };
        self.go_on_when_durable(shell, needed, id, Task::Execute(active))
    }

    /// Goes on with a task of this job when everything up to `position` is on disk. The worker
    /// stays the job's meanwhile, but no thread waits.
    fn go_on_when_durable(
        self: &Arc<Self>,
        mut shell: MutexGuard<'_, Shell>,
        position: u64,
        id: JobId,
        task: Task,
    ) -> Option<Task> {
        let when = shell.when_durable(position, task);
        drop(shell);
        match when {
            WhenDurable::Now(task) => Some(task),
            WhenDurable::Later => None,
            WhenDurable::Never => self.let_go(id),
        }
    }

    fn execute(self: &Arc<Self>, mut active: Box<Active>) -> Option<Task> {
        let id = active.job;
        let context = self.context(&active);
        let since = self.now();
        let ended = {
            let _held = self.levels.take(&active.locks, false);
            run(&mut active.unit, &context)
        };
        let levels = active.locks.levels().map(|(level, _)| level);
        self.metrics.held(levels, self.now().since(since));
        if self.interrupted(&active, &ended) {
            return self.let_go(id);
        }
        let began = ended.begun;
        self.finish(id, ended);
        if began && self.is_undo_due(id, active.op) {
            return self.undo_when_known(active);
        }
        self.let_go(id)
    }

    fn context(self: &Arc<Self>, active: &Active) -> Context {
        let (inner, id, op) = (Arc::clone(self), active.job, active.op);
        Context {
            job: id,
            op: u32::try_from(op).unwrap_or(u32::MAX),
            opcode: active.opcode.clone(),
            token: active.token,
            cancel: active.cancel.clone(),
            held: active.locks.clone(),
            config: Arc::clone(&self.config),
            sink: Box::new(move |kind, text| inner.feedback(id, op, kind, text)),
        }
    }

    fn feedback(&self, id: JobId, op: usize, kind: FeedbackKind, text: &str) {
        let entry = FeedbackEntry {
            serial: 0,
            time: self.now(),
            op: u32::try_from(op).unwrap_or(u32::MAX),
            kind,
            text: cut(text, self.limits.line_bytes).into(),
        };
        let mut shell = self.shell();
        let records = shell.queue.feedback(id, vec![entry]);
        self.append(&mut shell, records);
    }

    /// Stopped by a shutdown that would not wait: what it did is as unknown as after a crash,
    /// so nothing is written and the next start decides by its crash policy.
    fn interrupted(&self, active: &Active, ended: &Ended) -> bool {
        ended.outcome.is_err() && active.cancel.cause() == Some(CancelCause::Shutdown)
    }

    fn finish(&self, id: JobId, ended: Ended) {
        let outcome = self.outcome(ended.outcome);
        self.metrics.ended(&outcome);
        let mut shell = self.shell();
        let records = shell.queue.finish(id, outcome, ended.begun, self.now());
        self.append(&mut shell, records);
    }

    fn outcome(&self, result: Result<Value, OpError>) -> Outcome {
        let text = match result {
            Ok(value) => value.to_string(),
            Err(error) if error.kind == OpErrorKind::Canceled => return Outcome::Canceled,
            Err(error) => return Outcome::Error(error),
        };
        let most = self.limits.result_bytes;
        match text.len() {
            bytes if bytes > most => Outcome::Error(OpError::exec(format!(
                "the work was done, but its result has {bytes} bytes; at most {most}"
            ))),
            _ => Outcome::Success(text.into()),
        }
    }

    fn is_undo_due(&self, id: JobId, op: usize) -> bool {
        self.shell().queue.get(id).and_then(Job::to_undo) == Some(op)
    }

    /// Takes back what an opcode did, under its locks, once the log says that it has to be.
    fn undo_when_known(self: &Arc<Self>, active: Box<Active>) -> Option<Task> {
        let (id, shell) = (active.job, self.shell());
        let position = shell.position;
        self.go_on_when_durable(shell, position, id, Task::Undo(active))
    }

    fn undo(self: &Arc<Self>, mut active: Box<Active>) -> Option<Task> {
        let id = active.job;
        active.cancel = CancelToken::new();
        let mut shell = self.shell();
        // Nobody would tell this one any more; it is due again at the next start.
        if shell.stopping && shell.interrupted {
            drop(shell);
            return self.let_go(id);
        }
        shell.active.insert(id, active.cancel.clone());
        drop(shell);
        let context = self.context(&active);
        assert_no_locks_held("while an opcode is undone");
        let held = self.levels.take(&active.locks, false);
        let result = active.unit.call(|unit| unit.undo(&context));
        drop(held);
        if result.is_err() && active.cancel.cause() == Some(CancelCause::Shutdown) {
            return self.let_go(id);
        }
        self.undone(id, result.err());
        self.let_go(id)
    }

    fn undone(&self, id: JobId, error: Option<OpError>) {
        let mut shell = self.shell();
        let records = shell.queue.undone(id, error, self.now());
        self.append(&mut shell, records);
    }

    fn could_not_start(
        self: &Arc<Self>,
        id: JobId,
        error: OpError,
        purpose: Purpose,
    ) -> Option<Task> {
        match purpose {
            Purpose::Execute => self.finish(id, Ended { outcome: Err(error), begun: false }),
            Purpose::Undo => self.undone(id, Some(error)),
        }
        self.let_go(id)
    }

    /// The end of every way through the processor: the locks first (the end of the opcode is in
    /// the log's order by now), then the job may be taken up again, then the worker is free.
    pub(super) fn let_go(self: &Arc<Self>, id: JobId) -> Option<Task> {
        self.locks.release_all(owner(id));
        let mut shell = self.shell();
        shell.active.remove(&id);
        shell.queue.put_back(id);
        drop(shell);
        self.free_worker()
    }

    /// The worker is free for others. Gives what it goes on with itself, if anything.
    fn free_worker(self: &Arc<Self>) -> Option<Task> {
        self.workers.set_free();
        self.schedule();
        None
    }
}

/// What there is to do for a job that was taken up.
struct Found {
    op: usize,
    opcode: OpCode,
    priority: Priority,
    purpose: Purpose,
    /// The fencing token of the start that is to be undone, else 0.
    token: u64,
    cancel: CancelToken,
}

impl Found {
    fn of(job: &Job) -> Option<Self> {
        let (op, purpose) = match job.to_undo() {
            Some(op) => (op, Purpose::Undo),
            None => (job.current()?, Purpose::Execute),
        };
        let token = job.ops[op].fencing_token.filter(|_| purpose == Purpose::Undo);
        let found = &job.ops[op];
        let cancel = CancelToken::new();
        let due = purpose != Purpose::Execute || found.state == OpState::Pending;
        due.then(|| Self {
            op,
            opcode: found.opcode.clone(),
            priority: found.priority,
            purpose,
            token: token.unwrap_or_default(),
            cancel,
        })
    }
}

fn run(unit: &mut Contained, context: &Context) -> Ended {
    assert_no_locks_held("while an opcode executes");
    if let Err(error) = unit.call(|unit| unit.check_prereq(context)) {
        return Ended { outcome: Err(error), begun: false };
    }
    if context.opcode.dry_run {
        context.feedback("dry-run mode requested, not actually executing the operation");
        return Ended { outcome: Ok(Value::Null), begun: false };
    }
    Ended { outcome: unit.call(|unit| unit.execute(context)), begun: true }
}

/// The first bytes of a line, at most so many, whole characters.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

fn refused(error: &LockError) -> OpError {
    OpError::prereq(format!("cannot ask for its locks: {error}"))
}
