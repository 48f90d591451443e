//! The job queue as a value: which jobs there are, how far they are, which may be taken up.
//!
//! Every change is a [`Record`]: the methods that decide apply records as they go and hand them
//! back for the log, and recovery applies the same records through [`Queue::apply`]. What is
//! not in records (who is taken up at the moment) is lost with the process, on purpose.

mod apply;
mod archive;
mod cancel;
mod copy;
mod filter;
mod jobs;
mod keys;
mod paged;
mod progress;
mod ready;
mod recover;
mod refusal;
mod submit;
mod times;
mod transitions;

#[cfg(test)]
mod archive_tests;
#[cfg(test)]
mod keys_tests;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

pub use archive::{Found, Search};
pub use cancel::Cancelled;
pub use copy::{CopyPlace, Piece};
pub use filter::{Bucket, FilterState, Held};
pub use progress::{Follow, Start};
pub use ready::Next;
pub use refusal::Refusal;
pub use submit::Bounds;
pub use times::Passed;

use crate::vocabulary::{Job, JobId, OpState, Priority, Record, Status, Timestamp};
use filter::Filters;
use jobs::Jobs;
use keys::Keys;
use ready::Ready;
use times::Times;

/// All jobs that are not archived, and an index of those that may be taken up.
///
/// Invariant, asserted by [`check`](Self::check): a job is in exactly one of six places: final,
/// taken up, waiting for another job, waiting for a time, held back by a filter or a limit, or
/// ready.
#[derive(Clone, Debug)]
pub struct Queue {
    jobs: Jobs,
    next_id: JobId,
    last_token: u64,
    /// The token after that may be in the hands of an opcode whose start did not get to disk
    /// before the last crash: nobody else is to have it.
    skip_token: bool,
    unfinished: usize,
    feedback_bytes: usize,
    drained: bool,
    ready: Ready,
    filters: Filters,
    times: Times,
    /// How many dependencies of unfinished jobs name a job.
    dependents: HashMap<JobId, u32>,
    /// How archived jobs ended that unfinished jobs depend on.
    ended: BTreeMap<JobId, Status>,
    /// Under which keys jobs were submitted.
    keys: Keys,
    /// While the queue is made from a copy.
    copying: Option<copy::Copying>,
}

impl Queue {
    /// An empty queue whose jobs keep at most that many bytes of feedback each.
    #[must_use]
    pub fn new(feedback_bytes: usize) -> Self {
        Self {
            jobs: Jobs::default(),
            next_id: JobId::FIRST,
            last_token: 0,
            skip_token: false,
            unfinished: 0,
            feedback_bytes,
            drained: false,
            ready: Ready::default(),
            filters: Filters::default(),
            times: Times::default(),
            dependents: HashMap::new(),
            ended: BTreeMap::new(),
            keys: Keys::remembering(Self::REMEMBERED_KEYS),
            copying: None,
        }
    }

    /// The job of that id.
    #[must_use]
    pub fn get(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id)
    }

    /// All jobs, by id. Those that were only submitted are made for the occasion.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = Cow<'_, Job>> {
        self.jobs.values()
    }

    /// How many jobs there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// How many jobs are not final.
    #[must_use]
    pub const fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Whether new jobs are to be refused. Not done here: some are let in all the same.
    #[must_use]
    pub const fn is_drained(&self) -> bool {
        self.drained
    }

    /// Says whether new jobs are to be refused.
    pub fn set_drained(&mut self, drained: bool, now: Timestamp) -> Vec<Record> {
        let mut records = Vec::new();
        if drained != self.drained {
            self.record(&mut records, Record::DrainSet { time: now, drained });
        }
        records
    }

    /// The status of a job, `waiting` included.
    #[must_use]
    pub fn status(&self, job: &Job) -> Status {
        match job.status() {
            Status::Queued if self.ready.is_taken(job.id) => Status::Waiting,
            status => status,
        }
    }

    /// The status of one of its opcodes, `waiting` included.
    #[must_use]
    pub fn op_status(&self, job: &Job, op: usize) -> Status {
        let canceling = job.cancel_requested.is_some();
        match &job.ops[op].state {
            OpState::Finished(outcome) => outcome.status(),
            OpState::Running if canceling => Status::Canceling,
            OpState::Running => Status::Running,
            OpState::Pending if self.is_waiting(job, op) => Status::Waiting,
            OpState::Pending => Status::Queued,
        }
    }

    fn is_waiting(&self, job: &Job, op: usize) -> bool {
        job.to_undo().is_none() && job.current() == Some(op) && self.ready.is_taken(job.id)
    }

    /// Adds lines to the feedback log of a job; the serials are given out here.
    pub fn feedback(
        &mut self,
        id: JobId,
        mut entries: Vec<crate::vocabulary::FeedbackEntry>,
    ) -> Vec<Record> {
        let Some(job) = self.jobs.get(&id) else { return Vec::new() };
        let first = job.feedback.last_serial() + 1;
        for (entry, serial) in entries.iter_mut().zip(first..) {
            entry.serial = serial;
        }
        let mut records = Vec::new();
        self.record(&mut records, Record::Feedback { job: id, entries });
        records
    }

    /// Gives the opcodes that have not started a new priority, with immediate effect.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchJob`], [`Refusal::AlreadyFinal`].
    pub fn change_priority(
        &mut self,
        id: JobId,
        priority: Priority,
    ) -> Result<Vec<Record>, Refusal> {
        self.unfinished_job(id)?;
        let mut records = Vec::new();
        self.record(&mut records, Record::PriorityChanged { job: id, priority });
        Ok(records)
    }

    fn unfinished_job(&self, id: JobId) -> Result<&Job, Refusal> {
        let job = self.jobs.get(&id).ok_or(Refusal::NoSuchJob { id })?;
        match job.status() {
            status if status.is_final() => Err(Refusal::AlreadyFinal { id, status }),
            _ => Ok(job),
        }
    }

    /// Applies a record that was just decided, and keeps it for the log.
    fn record(&mut self, records: &mut Vec<Record>, record: Record) {
        let before = self.before(&record);
        let applied = self.apply(&record);
        debug_assert!(applied.is_ok(), "a decided record applies: {applied:?}");
        self.assert_legal(before, &record);
        records.push(record);
    }

    /// Asserts what holds between any two calls.
    ///
    /// # Panics
    ///
    /// Where it does not: a bug of this module.
    pub fn check(&self) {
        let unfinished = self.jobs().filter(|job| !job.status().is_final()).count();
        assert_eq!(unfinished, self.unfinished, "unfinished jobs are counted");
        assert!(self.jobs.keys().all(|id| id < self.next_id), "ids are given out once");
        for job in self.jobs() {
            let places = self.ready.places(job.id) + self.filters.places(job.id);
            let expected = usize::from(!job.status().is_final());
            assert_eq!(places, expected, "job {} is in one place: {:?}", job.id, self.ready);
        }
        self.check_dependents();
        self.check_filters();
        self.check_keys();
        self.check_times();
        self.ready.check(self.filters.check(&self.ready.order));
    }
}

/// Compares what is stored; who is taken up at the moment does not count.
impl PartialEq for Queue {
    fn eq(&self, other: &Self) -> bool {
        let stored =
            |queue: &Self| (queue.next_id, queue.last_token, queue.unfinished, queue.drained);
        stored(self) == stored(other)
            && self.jobs == other.jobs
            && self.ended == other.ended
            && self.keys == other.keys
            && self.has_filters_of(other)
    }
}
