//! What becomes of an opcode that has been carried out, or could not be: its end and the jobs
//! that follow it, another declaration of its locks, another try later.

use std::sync::Arc;

use serde_json::{Value, json};

use super::cancel::CancelCause;
use super::course::Ended;
use super::inner::Inner;
use super::processor::{Attempt, Finished, Purpose};
use super::shell::Shell;
use super::worker_pool::Task;
use crate::engine::queue::Follow;
use crate::vocabulary::{
    Error, FeedbackEntry, FeedbackKind, Job, JobId, NewJob, OpCode, OpError, OpErrorKind, Outcome,
    Priority, Record, Status,
};

/// How often an opcode declares its locks before it fails because they never fit.
const DECLARATIONS: u32 = 5;
/// What the id of a job that follows takes in a result, at most.
const ID_BYTES: usize = 32;

impl Inner {
    /// An opcode, or an undo, that has not come to its locks.
    pub(super) fn could_not_start(
        self: &Arc<Self>,
        attempt: &Attempt,
        error: OpError,
    ) -> Option<Task> {
        match (attempt.purpose, error.kind) {
            (Purpose::Undo, _) => self.undone(attempt.job, Some(error)),
            (Purpose::Execute, OpErrorKind::Changed) => {
                return self.declare_again(attempt, true, error);
            }
            (Purpose::Execute, OpErrorKind::Temporary) => return self.postpone(attempt, error),
            (Purpose::Execute, _) => return self.fail(attempt, error),
        }
        self.let_go(attempt.job)
    }

    /// What was computed before the locks does not hold: releases them, where it took them itself,
    /// and begins anew, some times at most.
    pub(super) fn declare_again(
        self: &Arc<Self>,
        attempt: &Attempt,
        takes_locks: bool,
        error: OpError,
    ) -> Option<Task> {
        let (id, declared) = (attempt.job, attempt.declared + 1);
        if declared == DECLARATIONS {
            let error = error.and(format_args!("its locks were declared {declared} times"));
            return self.fail(attempt, error);
        }
        let mut shell = self.shell();
        match shell.queue.returned(id, &error) {
            Ok(records) => _ = self.append(&mut shell, records),
            Err(error) => {
                drop(shell);
                return self.fail(attempt, error);
            }
        }
        drop(shell);
        if takes_locks {
            self.release_of_job(id);
            self.schedule();
        }
        self.take_up_again(id, declared)
    }

    /// Something lacks for a while: the opcode is tried again later, or fails.
    pub(super) fn postpone(self: &Arc<Self>, attempt: &Attempt, lacking: OpError) -> Option<Task> {
        let (id, now) = (attempt.job, self.now());
        let mut shell = self.shell();
        match shell.queue.postpone(id, lacking, attempt.retries, now) {
            Ok(records) => _ = self.append_unattended(&mut shell, records),
            Err(error) => {
                drop(shell);
                return self.fail(attempt, error);
            }
        }
        drop(shell);
        self.let_go(id)
    }

    /// It has failed and has done nothing.
    fn fail(self: &Arc<Self>, attempt: &Attempt, error: OpError) -> Option<Task> {
        let finished = self.finish(attempt, Ended::failed(error, false));
        self.let_go_finished(attempt.job, finished)
    }

    /// Writes down how an opcode ended, and takes in the jobs that follow it.
    pub(super) fn finish(self: &Arc<Self>, attempt: &Attempt, ended: Ended) -> Finished {
        let Ended { outcome, begun, following } = ended;
        let outcome = match outcome {
            Ok(result) if !following.is_empty() => {
                match self.finish_with(attempt, &result, following) {
                    Ok(finished) => {
                        tracing::debug!(status = %Status::Success, "has ended");
                        return finished;
                    }
                    Err(error) => Err(error),
                }
            }
            outcome => outcome,
        };
        let outcome = self.outcome(outcome.map_err(|error| self.if_late(attempt, error)));
        let status = outcome.status();
        let mut shell = self.shell();
        let records = shell.queue.finish(attempt.job, outcome, begun, self.now());
        self.count_ends(&records);
        self.append_unattended(&mut shell, records);
        let finished = Finished::of(&mut shell, attempt.job);
        drop(shell);
        tracing::debug!(%status, "has ended");
        finished
    }

    /// The error, or the deadline that was missed where that was why it was told to stop.
    fn if_late(&self, attempt: &Attempt, error: OpError) -> OpError {
        if attempt.cancel.cause() != Some(CancelCause::Deadline)
            || error.kind == OpErrorKind::TimedOut
        {
            return error;
        }
        let deadline = self.shell().queue.get(attempt.job).and_then(Job::deadline);
        deadline.map_or(error.clone(), |(_, which)| which.missed().and(error))
    }

    /// The end of an opcode and the jobs that follow it, in one transaction.
    fn finish_with(
        self: &Arc<Self>,
        attempt: &Attempt,
        result: &Value,
        following: Vec<NewJob>,
    ) -> Result<Finished, OpError> {
        let (id, count) = (attempt.job, following.len());
        let room = result.to_string().len() + count.saturating_mul(ID_BYTES);
        if let Outcome::Error(error) = self.bounded(room, String::new) {
            return Err(error);
        }
        let jobs = self.inherit(attempt, following)?;
        let (mut shell, recalled) = self.shell_with_ends(&jobs).map_err(|error| refused(&error))?;
        let bounds = self.limits.bounds();
        let follow = Follow { jobs, recalled: &recalled, bounds: &bounds };
        let with_ids = |ids: &[JobId]| Outcome::Success(with_jobs(result, ids, count).into());
        let records = shell.queue.finish_with(id, follow, with_ids, self.now());
        let records: Vec<Record> = records.map_err(|refusal| refused(&refusal.into()))?;
        self.count_ends(&records);
        self.append_unattended(&mut shell, records);
        let (finished, rejects) = (Finished::of(&mut shell, id), shell.queue.has_rejected());
        drop(shell);
        // What a rule rejects is not to wait until somebody looks for work.
        if rejects {
            self.end_rejected();
        }
        Ok(finished)
    }

    /// Counts what came with the end of an opcode.
    fn count_ends(&self, records: &[Record]) {
        for record in records {
            match record {
                Record::Finished { outcome, .. } => self.metrics.ended(outcome),
                Record::Submitted { jobs, .. } => self.metrics.submitted(jobs.len()),
                _ => {}
            }
        }
    }

    /// The jobs as they are taken in: checked as any, and with what they have from their parent.
    fn inherit(&self, attempt: &Attempt, mut jobs: Vec<NewJob>) -> Result<Vec<NewJob>, OpError> {
        let shell = self.shell();
        let parent = shell.queue.get(attempt.job).map(|job| &job.ops[attempt.op]);
        let parent = parent.map(|op| op.opcode.clone().with_priority(op.priority));
        drop(shell);
        for (job, place) in jobs.iter_mut().zip(0..) {
            for opcode in &mut job.ops {
                self.registry.contained(opcode).map_err(|error| {
                    let error = Error::invalid(error.to_string());
                    refused(&error.at(format!("job {place}, {}", opcode.id)))
                })?;
                parent.iter().for_each(|parent| inherit(opcode, parent));
            }
        }
        Ok(jobs)
    }

    fn outcome(&self, result: Result<Value, OpError>) -> Outcome {
        match result {
            Ok(value) => {
                let text = value.to_string();
                self.bounded(text.len(), || text)
            }
            Err(error) if error.kind == OpErrorKind::Canceled => Outcome::Canceled,
            Err(error) => Outcome::Error(error.at_most(self.limits.result_bytes)),
        }
    }

    /// The result, unless it has too many bytes.
    fn bounded(&self, bytes: usize, text: impl FnOnce() -> String) -> Outcome {
        let most = self.limits.result_bytes;
        if bytes <= most {
            return Outcome::Success(text().into());
        }
        Outcome::Error(OpError::exec(format!(
            "the work was done, but its result has {bytes} bytes; at most {most}"
        )))
    }

    /// Adds a line to a job's feedback log. Who says more than the disk takes in waits for it.
    pub(super) fn feedback(&self, id: JobId, op: u32, kind: FeedbackKind, text: &str) {
        let text = cut(text, self.limits.line_bytes).into();
        let entry = FeedbackEntry { serial: 0, time: self.now(), op, kind, text };
        let mut shell = self.shell();
        let records = shell.queue.feedback(id, vec![entry]);
        self.append(&mut shell, records);
        let needed = shell.must_be_durable_first();
        drop(shell);
        if let Some(position) = needed {
            // Where nothing more gets to disk, the master stops, and the line with it.
            _ = self.commits.wait_with_locks(position);
        }
    }
}

impl Finished {
    /// Where the job stands after one of its opcodes has ended.
    fn of(shell: &mut Shell, id: JobId) -> Self {
        let Some(job) = shell.queue.get(id) else { return Self::Over };
        match job.to_undo() {
            Some(op) => Self::ToUndo(op),
            None if job.status().is_final() => {
                shell.active.remove(&id);
                Self::Over
            }
            None => Self::GoesOn,
        }
    }
}

fn refused(error: &Error) -> OpError {
    OpError::exec(format!("the work was done, but the jobs to follow it were refused: {error}"))
}

/// What an opcode of a job that follows has from the opcode that submitted it, as in Ganeti.
fn inherit(opcode: &mut OpCode, parent: &OpCode) {
    opcode.reason.splice(0..0, parent.reason.iter().cloned());
    opcode.comment.get_or_insert_with(|| format!("Submitted by {}", parent.id));
    if opcode.priority == Priority::NORMAL {
        opcode.priority = parent.priority;
    }
}

/// The result with the jobs that follow, as Ganeti writes them.
fn with_jobs(result: &Value, ids: &[JobId], count: usize) -> String {
    let jobs: Vec<Value> = match ids.is_empty() {
        true => vec![json!([false, "the job was cancelled"]); count],
        false => ids.iter().map(|id| json!([true, id])).collect(),
    };
    let mut object = match result {
        Value::Object(object) => object.clone(),
        Value::Null => serde_json::Map::new(),
        other => [("result".to_owned(), other.clone())].into_iter().collect(),
    };
    object.insert("jobs".to_owned(), Value::Array(jobs));
    Value::Object(object).to_string()
}

/// The first bytes of a line, at most so many, whole characters.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}
