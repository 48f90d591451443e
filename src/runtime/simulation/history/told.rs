//! What happened in how many histories, so that a run can say that it was worth its time.

use std::iter::Sum;
use std::ops::AddAssign;

use crate::vocabulary::{Job, JobOp, OpErrorKind, Outcome, UndoState};

/// What has happened, so that a run can say that it was worth its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Told {
    pub(in super::super) histories: u64,
    pub(super) steps: u64,
    pub(super) jobs: u64,
    pub(super) crashes: u64,
    pub(super) torn_writes: u64,
    pub(super) restarts: u64,
    pub(super) cancelled: u64,
    pub(super) undone: u64,
    pub(super) interrupted: u64,
    pub(super) late: u64,
    pub(super) postponed: u64,
    pub(super) children: u64,
    pub(super) copies: u64,
    pub(super) paused: u64,
    pub(super) rejected: u64,
    pub(super) limited: u64,
    pub(super) hooked: u64,
    pub(super) repeated: u64,
    pub(super) archived: u64,
    pub(super) torn_archives: u64,
}

impl AddAssign for Told {
    fn add_assign(&mut self, other: Self) {
        self.histories += other.histories;
        self.steps += other.steps;
        self.jobs += other.jobs;
        self.crashes += other.crashes;
        self.torn_writes += other.torn_writes;
        self.restarts += other.restarts;
        self.cancelled += other.cancelled;
        self.undone += other.undone;
        self.interrupted += other.interrupted;
        self.late += other.late;
        self.postponed += other.postponed;
        self.children += other.children;
        self.copies += other.copies;
        self.paused += other.paused;
        self.rejected += other.rejected;
        self.limited += other.limited;
        self.hooked += other.hooked;
        self.repeated += other.repeated;
        self.archived += other.archived;
        self.torn_archives += other.torn_archives;
    }
}

impl Told {
    /// What a job that has ended went through.
    pub(super) fn count(&mut self, job: &Job) {
        let failed = |kind| {
            let kinds = job.ops.iter().filter_map(|op| match op.outcome() {
                Some(Outcome::Error(error)) => Some(error.kind),
                _ => None,
            });
            u64::from(kinds.into_iter().any(|found| found == kind))
        };
        self.undone += u64::from(job.ops.iter().any(|op| op.undo == UndoState::Done));
        self.interrupted += failed(OpErrorKind::Interrupted);
        self.late += failed(OpErrorKind::TimedOut);
        self.hooked += failed(OpErrorKind::Hook);
        self.postponed += u64::from(job.ops.iter().any(|op| op.tries.count > 0));
        let is_child = |op: &JobOp| op.opcode.comment.is_some();
        self.children += u64::from(job.ops.iter().any(is_child));
    }
}

impl Sum for Told {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum += part;
            sum
        })
    }
}

impl Told {
    /// A simulation in which something never happens checks nothing of it.
    pub(in super::super) fn assert_that_everything_happened(&self) {
        let Self { crashes, torn_writes, restarts, cancelled, undone, .. } = *self;
        let Self { interrupted, late, postponed, children, copies, .. } = *self;
        let Self { paused, rejected, limited, hooked, repeated, archived, .. } = *self;
        let all = [crashes, torn_writes, restarts, cancelled, undone, interrupted, late];
        let others = [postponed, children, copies, paused, rejected, limited, hooked, repeated];
        for often in all.into_iter().chain(others).chain([archived, self.torn_archives]) {
            assert!(often > self.histories / 100, "{self:?}");
        }
    }
}
