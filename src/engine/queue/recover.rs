//! What becomes, after a crash, of opcodes that were executing.

use super::Queue;
use super::progress::number;
use crate::vocabulary::{
    CrashPolicy, Job, JobId, OpError, OpErrorKind, OpState, Outcome, Record, Timestamp,
};

impl Queue {
    /// The opcodes that are executing as far as the log knows: job and place in the job.
    pub fn executing(&self) -> impl Iterator<Item = (JobId, usize)> {
        self.jobs.touched().filter_map(|job| Some((job.id, running_op(job)?)))
    }

    /// Decides what becomes of opcodes that were executing when the last master died, each by
    /// its policy. Queued and waiting jobs go on as they are. To be called once, after replay.
    pub fn recover(&mut self, now: Timestamp) -> Vec<Record> {
        self.skip_token = true;
        let interrupted: Vec<(JobId, usize)> = self.executing().collect();
        let mut records = Vec::new();
        for (id, op) in interrupted {
            self.recover_op(id, op, now, &mut records);
        }
        self.close_cancelled(now, &mut records);
        records
    }

    fn recover_op(&mut self, id: JobId, op: usize, now: Timestamp, records: &mut Vec<Record>) {
        let Some(job) = self.jobs.get(&id) else { return };
        let policy = job.ops[op].on_crash;
        // Also where the job was cancelled: what may run again need not have failed, and the job
        // is closed as cancelled below.
        if policy == CrashPolicy::Retry {
            return self.record(records, Record::Requeued { job: id, op: number(op) });
        }
        let outcome = Outcome::Error(OpError::new(
            OpErrorKind::Interrupted,
            "unclean shutdown: the master died while this opcode was executing",
        ));
        let undo_it = policy == CrashPolicy::Undo;
        records.extend(self.finish(id, outcome, undo_it, now));
    }

    /// A job can have been cancelled between two opcodes of which neither is running now.
    fn close_cancelled(&mut self, now: Timestamp, records: &mut Vec<Record>) {
        let cut_short = |job: &&Job| {
            job.cancel_requested.is_some() && !job.status().is_final() && job.to_undo().is_none()
        };
        let jobs: Vec<JobId> = self.jobs.touched().filter(cut_short).map(|job| job.id).collect();
        jobs.into_iter().for_each(|id| self.unwind(id, None, now, records));
    }
}

fn running_op(job: &Job) -> Option<usize> {
    job.ops.iter().position(|op| op.state == OpState::Running)
}
