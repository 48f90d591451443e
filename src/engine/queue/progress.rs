//! How an opcode goes on: it starts, ends, is undone; and what follows for its job.

use super::Queue;
use crate::vocabulary::{
    CloseCause, CrashPolicy, Job, JobId, OpError, OpState, Outcome, Record, Status, Timestamp,
    UndoState,
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

impl Queue {
    /// The current opcode of a job holds its locks and begins to execute. Gives its fencing
    /// token, or nothing where it must not start: the job was cancelled, or has ended.
    pub fn start(&mut self, id: JobId, start: Start, now: Timestamp) -> Option<(u64, Vec<Record>)> {
        let job = self.jobs.get(&id).filter(|job| job.cancel_requested.is_none())?;
        let op = job.current().filter(|_| job.to_undo().is_none())?;
        if job.ops[op].state != OpState::Pending {
            return None;
        }
        let token = self.last_token + 1;
        let mut records = Vec::new();
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
        let Some(op) = self.jobs.get(&id).and_then(Job::current) else { return records };
        let failed = outcome.status() != Status::Success;
        self.record(&mut records, Record::Finished { job: id, op: number(op), time: now, outcome });
        let canceled = self.jobs.get(&id).is_some_and(|job| job.cancel_requested.is_some());
        if failed || canceled {
            let except = (failed && !undo_it).then_some(number(op));
            self.unwind(id, except, now, &mut records);
        }
        records
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

pub(super) fn number(op: usize) -> u32 {
    // The number of opcodes of a job is bounded far below this.
    u32::try_from(op).unwrap_or(u32::MAX)
}
