//! Sees to it, in debug builds, that no record makes a transition which is not in the table.

use super::Queue;
use crate::vocabulary::{JobId, Record, Status, Subject};

/// Of a job with more opcodes than this the opcodes are not looked at: it would take too long.
const OPCODES: usize = 64;

/// Where a job and its opcodes stood.
pub(super) struct Before {
    job: JobId,
    status: Status,
    ops: Vec<Status>,
}

impl Queue {
    /// Where the job that the record is about stands before it is applied.
    pub(super) fn before(&self, record: &Record) -> Option<Before> {
        if !cfg!(debug_assertions) {
            return None;
        }
        let job = self.jobs.get(&record.job()?)?;
        let ops = (0..job.ops.len().min(OPCODES)).map(|op| self.op_status(job, op)).collect();
        Some(Before { job: job.id, status: self.status(job), ops })
    }

    /// Asserts that all that has changed since may have.
    pub(super) fn assert_legal(&self, before: Option<Before>, record: &Record) {
        let Some(Before { job, status, ops }) = before else { return };
        let Some(job) = self.jobs.get(&job) else { return };
        let now = self.status(job);
        assert_legal(status, now, Subject::Job, record);
        for (op, status) in ops.into_iter().enumerate() {
            assert_legal(status, self.op_status(job, op), Subject::Opcode, record);
        }
    }
}

fn assert_legal(from: Status, to: Status, of: Subject, record: &Record) {
    let legal = from == to || from.may_become(to, of);
    assert!(legal, "{of:?}: {from} -> {to} is not in the table of transitions: {record:?}");
}
