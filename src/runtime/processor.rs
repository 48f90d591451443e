//! Carries out one opcode: arguments, names, locks level by level, prerequisites, execution,
//! undo. A job that waits for locks is a value in the lock manager, one that waits for the disk a
//! value with the log writer: no thread waits for either.
//!
//! What is to be done is cut into tasks at these places. Each function here that ends a task says
//! what the same worker goes on with, if anything. How locks are asked for is in `asking`, what a
//! unit is made to do with them in `course`, what becomes of the end in `ending`.

use std::sync::Arc;

use tracing::{Span, debug_span};

use super::asking::Asking;
use super::cancel::{CancelCause, CancelToken};
use super::contained::Contained;
use super::context::{Context, Subject};
use super::course::{Course, carry_out};
use super::inner::{Inner, owner};
use super::lock_order::assert_no_locks_held;
use super::logical_unit::LogicalUnit;
use super::shell::{Shell, WhenDurable};
use super::sync::MutexGuard;
use super::worker_pool::Task;
use super::workers::Workers;
use crate::engine::queue::Start;
use crate::vocabulary::{
    CrashPolicy, Job, JobId, OpCode, OpError, OpState, Priority, Retries, Timestamp, UndoState,
};

/// An opcode in the processor's hands. Moves from thread to thread; nobody else sees it.
pub(super) struct Active {
    pub(super) attempt: Attempt,
    pub(super) opcode: OpCode,
    pub(super) priority: Priority,
    /// The fencing token of its start, or of the start of its undo; 0 before.
    token: u64,
    pub(super) unit: Contained,
    taken: Timestamp,
    pub(super) asking: Asking,
}

impl Active {
    pub(super) fn job(&self) -> JobId {
        self.attempt.job
    }

    fn span(&self) -> Span {
        self.attempt.span(&self.opcode.id)
    }

    /// What it is, for who waits for it in another process.
    pub(super) fn title(&self) -> String {
        format!("job {}, {}", self.attempt.job, self.opcode.id)
    }
}

/// Which opcode is carried out, what for, and for the how manieth time.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) job: JobId,
    pub(super) op: usize,
    pub(super) purpose: Purpose,
    pub(super) cancel: CancelToken,
    /// How often it has declared its locks in vain, since it was taken up.
    pub(super) declared: u32,
    /// How often it is tried that lacks something for a while.
    pub(super) retries: Retries,
    /// How often it was tried so far.
    pub(super) tried: u32,
    /// The job keeps its locks from the first opcode to its end.
    pub(super) keeps_locks: bool,
}

/// Where a job stands after one of its opcodes has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finished {
    /// It has ended, and is in the processor's hands no more.
    Over,
    /// What that opcode did is to be taken back next.
    ToUndo(usize),
    /// It has more opcodes.
    GoesOn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Execute,
    /// Take back.
    Undo,
}

impl Inner {
    /// Carries out one task, on a worker or in its place; gives what the worker goes on with.
    pub(super) fn carry(self: &Arc<Self>, task: Task) -> Option<Task> {
        match task {
            Task::TakeUp(id, Some(found)) => self.take_up(id, *found),
            Task::TakeUp(id, None) => self.let_go(id),
            Task::GoOn(active) => active.span().in_scope(|| self.acquire(active)),
            Task::Execute(active) => active.span().in_scope(|| self.execute(active)),
            Task::Undo(active) => active.span().in_scope(|| self.undo(active)),
        }
    }

    /// Takes a job up again, after its locks were declared in vain so often.
    pub(super) fn take_up_again(self: &Arc<Self>, id: JobId, declared: u32) -> Option<Task> {
        let found = Found::in_queue(&mut self.shell(), id);
        let Some(mut found) = found else { return self.let_go(id) };
        found.attempt.declared = declared;
        self.take_up(id, *found)
    }

    /// Takes a job up: its current opcode, or the next undo.
    fn take_up(self: &Arc<Self>, id: JobId, mut found: Found) -> Option<Task> {
        let cancel = found.attempt.cancel.clone();
        let _span = found.attempt.span(&found.opcode.id).entered();
        match debug_span!("prepare").in_scope(|| self.prepare(&mut found)) {
            Ok(active) => self.acquire(Box::new(active)),
            // Stopped by a shutdown: nothing has happened, it is taken up again at the next start.
            Err(_) if cancel.cause() == Some(CancelCause::Shutdown) => self.let_go(id),
            Err(error) => self.could_not_start(&found.attempt, error),
        }
    }

    fn prepare(self: &Arc<Self>, found: &mut Found) -> Result<Active, OpError> {
        let _away = self.tasks.away();
        let Found { attempt, opcode, priority, others } = found;
        let mut unit = self.registry.contained(opcode)?;
        attempt.retries = unit.call(|unit| Ok(unit.retries()))?;
        self.expand(attempt, attempt.op, opcode, &mut unit)?;
        let kept = attempt.keeps_locks && !self.locks.held(owner(attempt.job)).is_empty();
        let mut asking = Asking::new(self.hierarchy.levels().rev().collect(), kept);
        for (op, opcode) in others.iter().filter(|_| !kept) {
            asking.others.push(self.expand_other(attempt, *op, opcode)?);
        }
        let (attempt, opcode) = (attempt.clone(), opcode.clone());
        let (priority, taken) = (*priority, self.now());
        Ok(Active { attempt, opcode, priority, token: 0, unit, taken, asking })
    }

    /// Checks the arguments of a unit and has it expand its names.
    fn expand(
        self: &Arc<Self>,
        attempt: &Attempt,
        op: usize,
        opcode: &OpCode,
        unit: &mut Contained,
    ) -> Result<(), OpError> {
        let Attempt { job, keeps_locks, tried, .. } = *attempt;
        let (opcode, cancel) = (opcode.clone(), attempt.cancel.clone());
        let of = Subject { job, op, opcode, token: 0, cancel, keeps_locks, tried };
        let context = Context::new(self, of);
        unit.call(LogicalUnit::check_arguments)?;
        unit.call(|unit| unit.expand_names(&context))
    }

    /// The unit of another opcode of a job that takes the locks of all at once.
    fn expand_other(
        self: &Arc<Self>,
        attempt: &Attempt,
        op: usize,
        opcode: &OpCode,
    ) -> Result<Contained, OpError> {
        let made = self.registry.contained(opcode).and_then(|mut unit| {
            self.expand(attempt, op, opcode, &mut unit)?;
            Ok(unit)
        });
        made.map_err(|error| error.and(format_args!("its opcode {op}, {}", opcode.id)))
    }

    /// All locks are held.
    pub(super) fn locked(self: &Arc<Self>, active: Box<Active>) -> Option<Task> {
        match active.attempt.purpose {
            Purpose::Execute => self.start(active),
            Purpose::Undo => self.start_undo(active),
        }
    }

    /// The last look before an opcode executes: it may have been cancelled.
    ///
    /// What may be repeated may be started before the log says that it was: after a crash it is
    /// taken up again. But never before what it builds on is on disk: the ends of those that ran
    /// before it, which a crash must not make run again after it. And not where it can be undone:
    /// were the job cancelled after the crash, nobody would know that there is something to undo.
    fn start(self: &Arc<Self>, mut active: Box<Active>) -> Option<Task> {
        let (id, taken) = (active.job(), active.taken);
        let away = self.tasks.away();
        let asked = active.unit.call(|unit| Ok((unit.can_undo(), unit.on_crash(), unit.grace())));
        drop(away);
        let (can_undo, on_crash, grace) = asked.unwrap_or_default();
        active.attempt.cancel.set_grace(grace);
        // What a dry run does needs no undo.
        let undo = can_undo && !active.opcode.dry_run;
        let mut shell = self.shell();
        let start = Start { taken, undo, on_crash };
        let startable = !shell.stopping && shell.queue.may_start(id, active.attempt.op);
        let started = startable.then(|| shell.queue.start(id, start, self.now()));
        let Some((token, records)) = started.flatten() else {
            drop(shell);
            return self.let_go(id);
        };
        active.token = token;
        let position = self.append_unattended(&mut shell, records);
        // What has an undo is not forgotten: it may be due although nothing is repeated. And the
        // first start is on disk before it executes, whatever it is: from then on a crash takes
        // back one fencing token at most, which the next life leaves out.
        let may_be_lost = on_crash == CrashPolicy::Retry && !undo && shell.has_started;
        shell.has_started = true;
        let needed = if may_be_lost { position - 1 } else { position };
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
        tracing::debug!(token = active.token, "starts");
        let context = self.context(&active);
        context.tell_of_the_dead();
        let since = self.now();
        let course = {
            let _held = self.levels.take(&active.asking.locks, false);
            let _away = self.tasks.away();
            carry_out(&mut active.unit, &context, &self.hooks)
        };
        let levels = active.asking.locks.levels().map(|(level, _)| level);
        self.metrics.held(levels, self.now().since(since));
        let loosened = context.is_loosened();
        drop(context);
        match course {
            Course::Again(error) => {
                self.declare_again(&active.attempt, active.asking.takes(), error)
            }
            Course::Later(error) => self.postpone(&active.attempt, error),
            Course::Ended(ended) => {
                let (id, begun) = (active.job(), ended.begun);
                if ended.is_interrupted(&active.attempt.cancel) {
                    return self.let_go(id);
                }
                let finished = self.finish(&active.attempt, ended);
                // Where it gave up locks before its end, its undo takes all of them again.
                if begun && !loosened && finished == Finished::ToUndo(active.attempt.op) {
                    return self.start_undo(active);
                }
                let away = self.tasks.away();
                drop(active);
                drop(away);
                self.let_go_finished(id, finished)
            }
        }
    }

    fn context(self: &Arc<Self>, active: &Active) -> Context {
        let Attempt { job, op, keeps_locks, tried, .. } = active.attempt;
        let (opcode, token) = (active.opcode.clone(), active.token);
        let cancel = active.attempt.cancel.clone();
        Context::new(self, Subject { job, op, opcode, token, cancel, keeps_locks, tried })
    }

    /// Takes back what an opcode did, under its locks, once the log says that it has to be and
    /// under which fencing token. It has one of its own also where the locks are still those of
    /// the opcode: what that has sent elsewhere, and what comes late, is refused from now on.
    fn start_undo(self: &Arc<Self>, mut active: Box<Active>) -> Option<Task> {
        let (id, mut shell) = (active.job(), self.shell());
        let Some((token, records)) = shell.queue.start_undo(id, self.now()) else {
            drop(shell);
            return self.let_go(id);
        };
        active.token = token;
        let position = self.append_unattended(&mut shell, records);
        self.go_on_when_durable(shell, position, id, Task::Undo(active))
    }

    fn undo(self: &Arc<Self>, mut active: Box<Active>) -> Option<Task> {
        let id = active.job();
        active.attempt.cancel = CancelToken::new();
        let mut shell = self.shell();
        // Nobody would tell this one any more; it is due again at the next start.
        if shell.stopping && shell.interrupted {
            drop(shell);
            return self.let_go(id);
        }
        shell.active.insert(id, active.attempt.cancel.clone());
        drop(shell);
        let context = self.context(&active);
        assert_no_locks_held("while an opcode is undone");
        let held = self.levels.take(&active.asking.locks, false);
        let away = self.tasks.away();
        let result = active.unit.call(|unit| unit.undo(&context));
        drop((away, held));
        if result.is_err() && active.attempt.cancel.cause() == Some(CancelCause::Shutdown) {
            return self.let_go(id);
        }
        self.undone(id, result.err());
        self.let_go(id)
    }

    pub(super) fn undone(&self, id: JobId, error: Option<OpError>) {
        let error = error.map(|error| error.at_most(self.limits.result_bytes));
        let mut shell = self.shell();
        let records = shell.queue.undone(id, error, self.now());
        self.append_unattended(&mut shell, records);
    }

    /// The end of every way through the processor: the locks first (the end of the opcode is in
    /// the log's order by now), then the job may be taken up again, then the worker is free.
    pub(super) fn let_go(self: &Arc<Self>, id: JobId) -> Option<Task> {
        let shell = self.shell();
        let keeps = !shell.stopping && shell.queue.keeps_locks(id);
        drop(shell);
        if !keeps {
            self.release_of_job(id);
        }
        let mut shell = self.shell();
        shell.active.remove(&id);
        shell.queue.put_back(id);
        let rejects = shell.queue.has_rejected();
        drop(shell);
        if rejects {
            self.end_rejected();
        }
        self.free_worker()
    }

    /// As [`let_go`](Self::let_go); there is less to do where the job has ended.
    pub(super) fn let_go_finished(self: &Arc<Self>, id: JobId, finished: Finished) -> Option<Task> {
        if finished != Finished::Over {
            return self.let_go(id);
        }
        self.release_of_job(id);
        self.free_worker()
    }

    /// The worker is free for others. Gives what it goes on with itself, if anything.
    pub(super) fn free_worker(self: &Arc<Self>) -> Option<Task> {
        let tasks = self.hand_out(Workers::set_free_and_hand_out);
        self.tasks.add_and_take(tasks)
    }
}

/// What there is to do for a job that was taken up.
pub(super) struct Found {
    attempt: Attempt,
    opcode: OpCode,
    priority: Priority,
    /// The job's other opcodes that need locks, where it takes those of all at once.
    others: Vec<(usize, OpCode)>,
}

impl Found {
    /// The same of a job in the queue, which is in the processor's hands from now on.
    pub(super) fn in_queue(shell: &mut Shell, id: JobId) -> Option<Box<Self>> {
        let found = Self::of(shell.queue.get(id)?)?;
        shell.active.insert(id, found.attempt.cancel.clone());
        Some(Box::new(found))
    }

    fn of(job: &Job) -> Option<Self> {
        let (op, purpose) = match job.to_undo() {
            Some(op) => (op, Purpose::Undo),
            None => (job.current()?, Purpose::Execute),
        };
        let found = &job.ops[op];
        if purpose == Purpose::Execute && found.state != OpState::Pending {
            return None;
        }
        let attempt = Attempt {
            job: job.id,
            op,
            purpose,
            cancel: CancelToken::new(),
            declared: 0,
            retries: Retries::default(),
            tried: found.tries.count,
            keeps_locks: job.terms.keep_locks,
        };
        let others = if attempt.keeps_locks { others(job, op) } else { Vec::new() };
        let (opcode, priority) = (found.opcode.clone(), found.priority);
        Some(Self { attempt, opcode, priority, others })
    }
}

/// The opcodes beside this one that are yet to be carried out, or may have to be undone.
fn others(job: &Job, this: usize) -> Vec<(usize, OpCode)> {
    let undoing = job.to_undo().is_some();
    let ops = job.ops.iter().enumerate().filter(|(index, op)| {
        let to_come = op.state == OpState::Pending && !undoing;
        let to_undo = matches!(op.undo, UndoState::Possible | UndoState::Wanted);
        *index != this && (to_come || to_undo)
    });
    ops.map(|(index, op)| (index, op.opcode.clone())).collect()
}
