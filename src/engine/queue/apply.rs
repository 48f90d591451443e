//! Taking one fact into the queue: the only way its jobs change, live and on recovery.

use std::sync::Arc;

use super::Queue;
use crate::vocabulary::{
    CloseCause, Error, ErrorKind, Job, JobId, JobOp, NewJob, OpError, OpState, Outcome, Record,
    Timestamp, Tries, UndoState,
};

impl Queue {
    /// Takes one fact into the queue.
    ///
    /// # Errors
    ///
    /// `Corrupt` where the fact does not fit what came before, which the log's checksums cannot
    /// see: it names a job that is not there, say. Nothing is changed then.
    pub fn apply(&mut self, record: &Record) -> Result<(), Error> {
        match record {
            Record::Submitted { time, first, jobs, origin } => {
                self.apply_submitted(*time, *first, jobs, origin.as_ref())
            }
            Record::DrainSet { drained, .. } => {
                self.drained = *drained;
                Ok(())
            }
            Record::Archived { job, status } => self.apply_archived(*job, *status, record),
            Record::Recalled { ended } => {
                self.ended.extend(ended.iter().copied());
                Ok(())
            }
            Record::FilterSet { .. } | Record::FilterDeleted { .. } => {
                self.apply_filter(record);
                Ok(())
            }
            Record::Keyed { key, first, jobs } => self.apply_keyed(key, *first, *jobs, record),
            _ => match record.job() {
                Some(id) if !is_of_copy(record) => self.apply_about(id, record),
                _ => self.apply_copy(record),
            },
        }
    }

    /// Takes in a fact about one job.
    fn apply_about(&mut self, id: JobId, record: &Record) -> Result<(), Error> {
        if !self.is_yet_to_be_copied(id) {
            let was_final = self.known(id, record)?.status().is_final();
            self.apply_to_job(id, record)?;
            if !was_final && self.jobs.get(&id).is_some_and(|job| job.status().is_final()) {
                self.count_out(id);
            }
            self.reindex(id);
        }
        self.last_token = self.last_token.max(record.token().unwrap_or_default());
        Ok(())
    }

    pub(super) fn known(&self, id: JobId, record: &Record) -> Result<&Job, Error> {
        self.jobs.get(&id).ok_or_else(|| misfit(record, "there is no such job"))
    }

    fn apply_submitted(
        &mut self,
        time: Timestamp,
        first: JobId,
        jobs: &[NewJob],
        origin: Option<&String>,
    ) -> Result<(), Error> {
        if first != self.next_id {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("jobs submitted from id {first}, but {} is next", self.next_id),
            ));
        }
        let shared = origin.map(|origin| Arc::from(origin.as_str()));
        let mut others = Vec::new();
        for job in jobs {
            let id = self.next_id;
            self.next_id = id.plus(1);
            if !self.jobs.insert_plain(id, job, time, shared.as_ref()) {
                self.jobs.insert(taken_in(id, job, time, origin));
            }
            self.count_in(id);
            others.extend((!self.place_plain(id)).then_some(id));
        }
        others.into_iter().for_each(|id| self.reindex(id));
        Ok(())
    }

    fn apply_to_job(&mut self, id: JobId, record: &Record) -> Result<(), Error> {
        let feedback_bytes = self.feedback_bytes;
        let Some(job) = self.jobs.get_mut(&id) else { return Ok(()) };
        match record {
            Record::Started { op, .. } => {
                start(op_of(job, *op, record)?, record)?;
            }
            Record::Feedback { entries, .. } => {
                entries.iter().for_each(|e| job.feedback.push(e.clone(), feedback_bytes));
            }
            Record::Finished { op, time, outcome, .. } => {
                finish(op_of(job, *op, record)?, *time, outcome.clone(), record)?;
            }
            Record::UndoWanted { except, .. } => want_undo(job, *except),
            Record::UndoStarted { op, token, .. } => {
                start_undo(op_of(job, *op, record)?, *token, record)?;
            }
            Record::Undone { op, error, .. } => {
                op_of(job, *op, record)?.undo =
                    error.clone().map_or(UndoState::Done, UndoState::Failed);
            }
            Record::Closed { time, cause, .. } => close(job, *time, *cause),
            Record::CancelRequested { time, .. } => job.cancel_requested = Some(*time),
            Record::Requeued { op, .. } => {
                let op = op_of(job, *op, record)?;
                op.state = OpState::Pending;
                op.tries.interrupted = true;
            }
            Record::Returned { op, .. } => return_op(op_of(job, *op, record)?),
            Record::Postponed { op, until, lacking, .. } => {
                postpone(op_of(job, *op, record)?, *until, lacking);
            }
            Record::Terms { terms, ops, .. } if !job.set_terms(terms, ops) => {
                return Err(misfit(record, "the job has no such opcode"));
            }
            Record::PriorityChanged { priority, .. } => {
                let pending = job.ops.iter_mut().filter(|op| op.state == OpState::Pending);
                pending.for_each(|op| op.priority = *priority);
            }
            _ => {}
        }
        Ok(())
    }
}

const fn is_of_copy(record: &Record) -> bool {
    matches!(record, Record::Copied { .. } | Record::CopiedOps { .. })
}

pub(super) fn misfit(record: &Record, why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a record does not fit the queue: {why}: {record:?}"))
}

fn op_of<'j>(job: &'j mut Job, op: u32, record: &Record) -> Result<&'j mut JobOp, Error> {
    job.ops.get_mut(op as usize).ok_or_else(|| misfit(record, "the job has no such opcode"))
}

fn taken_in(id: JobId, job: &NewJob, received: Timestamp, origin: Option<&String>) -> Job {
    let ops = job.ops.iter().cloned().map(JobOp::new).collect();
    let (label, origin) = (job.label.clone(), origin.cloned());
    Job { label, origin, ..Job::submitted(id, received, ops) }
}

fn start(op: &mut JobOp, record: &Record) -> Result<(), Error> {
    let Record::Started { taken, time, token, undo, on_crash, .. } = record else { return Ok(()) };
    if op.state != OpState::Pending {
        return Err(misfit(record, "the opcode has started before"));
    }
    op.state = OpState::Running;
    op.undo = if *undo { UndoState::Possible } else { UndoState::None };
    op.on_crash = *on_crash;
    op.start_time = op.start_time.or(Some(*taken));
    op.exec_time = Some(*time);
    op.fencing_token = Some(*token);
    Ok(())
}

fn start_undo(op: &mut JobOp, token: u64, record: &Record) -> Result<(), Error> {
    if op.undo != UndoState::Wanted {
        return Err(misfit(record, "nobody wants that undo"));
    }
    op.fencing_token = Some(token);
    Ok(())
}

fn finish(op: &mut JobOp, time: Timestamp, how: Outcome, record: &Record) -> Result<(), Error> {
    if op.outcome().is_some() {
        return Err(misfit(record, "the opcode has ended before"));
    }
    op.state = OpState::Finished(how);
    op.end_time = Some(time);
    forget_waiting(op);
    Ok(())
}

/// It had started and did nothing: what there is to undo is what was there before.
fn return_op(op: &mut JobOp) {
    op.state = OpState::Pending;
    if !op.tries.interrupted {
        op.undo = UndoState::None;
    }
}

fn postpone(op: &mut JobOp, until: Timestamp, lacking: &OpError) {
    return_op(op);
    op.tries.count = op.tries.count.saturating_add(1);
    op.tries.not_before = Some(until);
    op.tries.lacking = Some(lacking.clone());
}

/// Of an opcode that has ended, how often it was tried is kept, but not what it waited for.
fn forget_waiting(op: &mut JobOp) {
    op.tries = Tries { count: op.tries.count, ..Tries::default() };
}

fn want_undo(job: &mut Job, except: Option<u32>) {
    for (op, index) in job.ops.iter_mut().zip(0u32..) {
        if op.undo == UndoState::Possible {
            op.undo = if except == Some(index) { UndoState::None } else { UndoState::Wanted };
        }
    }
}

fn close(job: &mut Job, time: Timestamp, cause: CloseCause) {
    let outcome = match cause {
        CloseCause::Failed => Outcome::Error(OpError::exec("Preceding opcode failed")),
        CloseCause::Canceled => Outcome::Canceled,
    };
    for op in job.ops.iter_mut().filter(|op| op.outcome().is_none()) {
        op.state = OpState::Finished(outcome.clone());
        op.end_time = (cause == CloseCause::Canceled).then_some(time);
        forget_waiting(op);
    }
}
