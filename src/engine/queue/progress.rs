//! How an opcode goes on: it starts, ends, is undone; and what follows for its job.

use std::collections::BTreeMap;

use super::{Bounds, Queue, Refusal};
use crate::vocabulary::{
    CloseCause, CrashPolicy, Deadline, Job, JobId, JobOp, NewJob, OpError, OpErrorKind, OpState,
    Outcome, Record, Retries, Status, Timestamp, UndoState,
};

/// What is known of an opcode when it begins to execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// When it was taken up, before it waited for locks.
    pub taken: Timestamp,
    /// Whether its unit declares an undo.
    pub undo: bool,
    /// What a crash means for it.
    pub on_crash: CrashPolicy,
}

/// Jobs that are to follow an opcode when it ends.
#[derive(Clone, Debug)]
pub struct Follow<'a> {
    /// The jobs. Relative dependencies are among them.
    pub jobs: Vec<NewJob>,
    /// How archived jobs ended that they depend on.
    pub recalled: &'a BTreeMap<JobId, Status>,
    /// How much they may be.
    pub bounds: &'a Bounds,
}

impl Queue {
    /// The current opcode of a job holds its locks and begins to execute. Gives its fencing
    /// token, or nothing where it must not start: the job was cancelled, or has ended, or its
    /// deadline has passed.
    pub fn start(&mut self, id: JobId, start: Start, now: Timestamp) -> Option<(u64, Vec<Record>)> {
        let job = self.jobs.get(&id).filter(|job| job.cancel_requested.is_none())?;
        let op = job.current().filter(|_| job.to_undo().is_none())?;
        if job.ops[op].state != OpState::Pending || self.is_late(id, now) {
            return None;
        }
        let (token, mut records) = (self.next_token(), Vec::new());
        self.record(
            &mut records,
            Record::Started {
                job: id,
                op: number(op),
                taken: start.taken,
                time: now,
                token,
                undo: start.undo,
                on_crash: start.on_crash,
            },
        );
        Some((token, records))
    }

    /// The undo that is due in a job holds its locks and begins. Gives its fencing token, or
    /// nothing where none is due.
    pub fn start_undo(&mut self, id: JobId, now: Timestamp) -> Option<(u64, Vec<Record>)> {
        let op = number(self.jobs.get(&id)?.to_undo()?);
        let (token, mut records) = (self.next_token(), Vec::new());
        self.record(&mut records, Record::UndoStarted { job: id, op, time: now, token });
        Some((token, records))
    }

    /// The token to be given next: greater than any that may be in somebody's hands.
    fn next_token(&mut self) -> u64 {
        let skipped = u64::from(std::mem::take(&mut self.skip_token));
        self.last_token + 1 + skipped
    }

    /// The current opcode of a job has ended, or could not start.
    ///
    /// On failure the job's undos become due, that of this opcode only where `undo_it` (nothing
    /// is to be taken back where its prerequisites did not hold).
    pub fn finish(
        &mut self,
        id: JobId,
        outcome: Outcome,
        undo_it: bool,
        now: Timestamp,
    ) -> Vec<Record> {
        let mut records = Vec::new();
        let Some((job, op)) = self.unfinished_op(id) else { return records };
        let failed = outcome.status() != Status::Success;
        // What a run before a crash has left is to be undone, although this one did nothing.
        let undo_it = undo_it || job.ops[op].tries.interrupted;
        self.record(&mut records, Record::Finished { job: id, op: number(op), time: now, outcome });
        let canceled = self.jobs.get(&id).is_some_and(|job| job.cancel_requested.is_some());
        if failed || canceled {
            let except = (failed && !undo_it).then_some(number(op));
            self.unwind(id, except, now, &mut records);
        }
        records
    }

    /// As [`finish`](Self::finish), and in the same transaction takes in the jobs that the opcode
    /// wants to follow. `outcome` is told their ids: none where the job goes no further because
    /// it is cancelled, and they are not taken in.
    ///
    /// # Errors
    ///
    /// As [`submit_recalling`](Self::submit_recalling); nothing is changed then.
    pub fn finish_with(
        &mut self,
        id: JobId,
        follow: Follow<'_>,
        outcome: impl FnOnce(&[JobId]) -> Outcome,
        now: Timestamp,
    ) -> Result<Vec<Record>, Refusal> {
        let Some((job, op)) = self.unfinished_op(id) else { return Ok(Vec::new()) };
        let goes_on = job.cancel_requested.is_none() || op + 1 == job.ops.len();
        let jobs = if goes_on { follow.jobs } else { Vec::new() };
        let origin = job.origin.clone();
        let (ids, mut records) =
            self.submit_recalling(jobs, follow.recalled, origin, follow.bounds, now)?;
        records.extend(self.finish(id, outcome(&ids), true, now));
        Ok(records)
    }

    /// The current opcode of a job did nothing: what was computed before its locks does not hold.
    /// If it had started, it is pending again.
    ///
    /// # Errors
    ///
    /// The error with which it is to be finished, where it will not start again.
    pub fn returned(&mut self, id: JobId, changed: &OpError) -> Result<Vec<Record>, OpError> {
        let mut records = Vec::new();
        let Some((job, op)) = self.unfinished_op(id) else { return Ok(records) };
        self.refuse_another_start(job, changed)?;
        if job.ops[op].state == OpState::Running {
            self.record(&mut records, Record::Returned { job: id, op: number(op) });
        }
        Ok(records)
    }

    /// An opcode that executes and was told to stop does not go back to be started again.
    fn refuse_another_start(&self, job: &Job, error: &OpError) -> Result<(), OpError> {
        if job.cancel_requested.is_some() {
            return Err(OpError::new(OpErrorKind::Canceled, error.message.clone()));
        }
        let missed = |(_, which): (_, Deadline)| Err(which.missed().and(error));
        job.deadline().filter(|_| self.is_overdue(job.id)).map_or(Ok(()), missed)
    }

    /// Whether that opcode is the one of its job to start next, and nothing speaks against it.
    #[must_use]
    pub fn may_start(&self, id: JobId, op: usize) -> bool {
        let current = self.unfinished_op(id).filter(|(job, _)| job.cancel_requested.is_none());
        current.is_some_and(|(job, next)| next == op && job.ops[op].state == OpState::Pending)
    }

    /// Whether a job that is put back is to keep its locks: where it is to keep them until its
    /// end, something of it was done, and it has not ended.
    #[must_use]
    pub fn keeps_locks(&self, id: JobId) -> bool {
        let job = self.jobs.get(&id).filter(|job| job.terms.keep_locks);
        job.is_some_and(|job| {
            !job.status().is_final() && job.ops.iter().any(|op| op.outcome().is_some())
        })
    }

    /// The current opcode of a job lacks something for a while, and did nothing: it is pending
    /// again, and is not taken up before its next try is due. `retries` says how often, unless
    /// the terms of the opcode do.
    ///
    /// # Errors
    ///
    /// The error with which it is to be finished, where there is no further try.
    pub fn postpone(
        &mut self,
        id: JobId,
        lacking: OpError,
        retries: Retries,
        now: Timestamp,
    ) -> Result<Vec<Record>, OpError> {
        let Some((job, op)) = self.unfinished_op(id) else { return Ok(Vec::new()) };
        self.refuse_another_start(job, &lacking)?;
        let JobOp { opcode, tries, .. } = &job.ops[op];
        let tried = tries.count.saturating_add(1);
        let Some(wait) = opcode.terms.retries.unwrap_or(retries).wait_after(tried) else {
            return Err(given_up(lacking, tried));
        };
        let mut records = Vec::new();
        let (op, until) = (number(op), now.plus(wait));
        self.record(&mut records, Record::Postponed { job: id, op, time: now, until, lacking });
        Ok(records)
    }

    /// The opcode to be carried out next; none where the job has ended, or is being undone.
    pub(super) fn unfinished_op(&self, id: JobId) -> Option<(&Job, usize)> {
        let job = self.jobs.get(&id).filter(|job| job.to_undo().is_none())?;
        Some((job, job.current()?))
    }

    /// The undo that was due has been carried out, or tried in vain.
    pub fn undone(&mut self, id: JobId, error: Option<OpError>, now: Timestamp) -> Vec<Record> {
        let mut records = Vec::new();
        let Some(op) = self.jobs.get(&id).and_then(Job::to_undo) else { return records };
        self.record(&mut records, Record::Undone { job: id, op: number(op), time: now, error });
        self.close_if_undone(id, now, &mut records);
        records
    }

    /// The job goes no further: its undos become due; without any it is closed.
    pub(super) fn unwind(
        &mut self,
        id: JobId,
        except: Option<u32>,
        now: Timestamp,
        records: &mut Vec<Record>,
    ) {
        let Some(job) = self.jobs.get(&id) else { return };
        // A job all of whose opcodes have succeeded has nothing to take back, even where a
        // request to cancel it came in meanwhile.
        if job.status() == Status::Success {
            return;
        }
        if job.ops.iter().any(|op| op.undo == UndoState::Possible) {
            self.record(records, Record::UndoWanted { job: id, except });
        }
        self.close_if_undone(id, now, records);
    }

    fn close_if_undone(&mut self, id: JobId, now: Timestamp, records: &mut Vec<Record>) {
        let Some(job) = self.jobs.get(&id) else { return };
        if job.to_undo().is_some() || job.current().is_none() {
            return;
        }
        let failed = |outcome: &Outcome| outcome.status() == Status::Error;
        let cause = match job.ops.iter().filter_map(|op| op.outcome()).any(failed) {
            true => CloseCause::Failed,
            false => CloseCause::Canceled,
        };
        self.record(records, Record::Closed { job: id, time: now, cause });
    }
}

fn given_up(lacking: OpError, tried: u32) -> OpError {
    if tried > 1 { lacking.and(format_args!("tried {tried} times")) } else { lacking }
}

pub(super) fn number(op: usize) -> u32 {
    // The number of opcodes of a job is bounded far below this.
    u32::try_from(op).unwrap_or(u32::MAX)
}
