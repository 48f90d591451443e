//! Under which keys jobs were submitted, so that a repeated submission submits nothing.
//!
//! A key is known as long as one of its jobs is in the queue; of those that have no job there,
//! the newest are. So what is kept is bounded by the live queue and a number. Which these are
//! follows from what has happened alone, in whatever pieces a copy tells it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::apply::misfit;
use super::{Queue, Refusal};
use crate::vocabulary::{Error, Job, JobId, NewJob, Record, SubmissionKey};

/// One submission that has a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Submission {
    key: SubmissionKey,
    jobs: u32,
    /// How many of the jobs are in the queue.
    here: u32,
}

/// The keys that are known.
///
/// Invariant: `gone` has the submissions without a job in the queue, at most `most` of them.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// By their first jobs.
    submissions: BTreeMap<JobId, Submission>,
    /// The first job of each.
    firsts: HashMap<SubmissionKey, JobId>,
    gone: BTreeSet<JobId>,
    most: usize,
}

impl Keys {
    /// None yet, which remember so many submissions that have left the queue.
    pub(super) fn remembering(most: usize) -> Self {
        let (submissions, firsts) = (BTreeMap::new(), HashMap::new());
        Self { submissions, firsts, gone: BTreeSet::new(), most }
    }

    /// None, with the same bound.
    pub(super) fn emptied(&self) -> Self {
        Self::remembering(self.most)
    }

    fn find(&self, key: &SubmissionKey) -> Option<(JobId, &Submission)> {
        let first = *self.firsts.get(key)?;
        Some((first, self.submissions.get(&first)?))
    }

    /// Those after that submission and below that id: first job, key, number of jobs.
    pub(super) fn after(
        &self,
        after: Option<JobId>,
        below: JobId,
    ) -> impl Iterator<Item = (JobId, &SubmissionKey, u32)> {
        let from = after.map_or(JobId::FIRST, |after| after.plus(1));
        let due = self.submissions.range(from..).take_while(move |(first, _)| **first < below);
        due.map(|(first, it)| (*first, &it.key, it.jobs))
    }

    /// Takes a key in. Where a copy is replayed, an older submission may still be known under it
    /// that the live queue had forgotten: it goes.
    fn insert(&mut self, first: JobId, submission: Submission) {
        match self.firsts.get(&submission.key) {
            Some(known) if *known >= first => return,
            Some(older) => self.forget(*older),
            None => {}
        }
        let gone = submission.here == 0;
        self.firsts.insert(submission.key.clone(), first);
        self.submissions.insert(first, submission);
        if gone {
            self.is_gone(first);
        }
    }

    /// A job has left the queue.
    pub(super) fn has_left(&mut self, id: JobId) {
        let Some((first, submission)) = self.submissions.range_mut(..=id).next_back() else {
            return;
        };
        if id.get() - first.get() < submission.jobs.into() {
            submission.here = submission.here.saturating_sub(1);
            if submission.here == 0 {
                let first = *first;
                self.is_gone(first);
            }
        }
    }

    fn is_gone(&mut self, first: JobId) {
        self.gone.insert(first);
        if self.gone.len() > self.most {
            let oldest = self.gone.first().copied();
            oldest.into_iter().for_each(|oldest| self.forget(oldest));
        }
    }

    fn forget(&mut self, first: JobId) {
        self.gone.remove(&first);
        if let Some(submission) = self.submissions.remove(&first) {
            self.firsts.remove(&submission.key);
        }
    }
}

/// What else is held follows from the submissions.
impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.submissions == other.submissions
    }
}

/// Whether a job has the kinds of opcodes and parameters of a new one.
fn same_opcodes(new: &NewJob, job: &Job) -> bool {
    let new = new.ops.iter().map(|op| (&op.id, &op.params));
    new.eq(job.ops.iter().map(|op| (&op.opcode.id, &op.opcode.params)))
}

impl Queue {
    /// How many keys are remembered of submissions that have no job in the queue any more.
    pub const REMEMBERED_KEYS: usize = 10_000;

    /// The jobs that were submitted under that key, where it is known. They may be archived.
    ///
    /// # Errors
    ///
    /// [`Refusal::OtherSubmission`] where these are others: of another number, or of those still in
    /// the queue one has another label, other opcodes or other parameters.
    pub fn submitted_under(
        &self,
        key: &SubmissionKey,
        jobs: &[NewJob],
    ) -> Result<Option<Vec<JobId>>, Refusal> {
        let Some((first, submission)) = self.keys.find(key) else { return Ok(None) };
        if jobs.len() != submission.jobs as usize || self.differs(first, jobs) {
            let (key, jobs) = (key.clone(), submission.jobs);
            return Err(Refusal::OtherSubmission { key, first, jobs });
        }
        Ok(Some((0..submission.jobs.into()).map(|place| first.plus(place)).collect()))
    }

    /// Whether some job that is still here was not submitted as one of these. O(of them).
    fn differs(&self, first: JobId, jobs: &[NewJob]) -> bool {
        let ids = (first.get()..).zip(jobs);
        let new: BTreeMap<u64, &NewJob> = ids.collect();
        let here = self.jobs.starting_at(first);
        let mut here = here.map_while(|job| Some((*new.get(&job.id.get())?, job)));
        here.any(|(new, job)| new.label != job.label || !same_opcodes(new, &job))
    }

    pub(super) fn apply_keyed(
        &mut self,
        key: &SubmissionKey,
        first: JobId,
        jobs: u32,
        record: &Record,
    ) -> Result<(), Error> {
        let next = first.plus(jobs.into());
        if jobs == 0 || next > self.next_id {
            return Err(misfit(record, "there are no such jobs"));
        }
        let here = self.here(first, jobs);
        self.keys.insert(first, Submission { key: key.clone(), jobs, here });
        Ok(())
    }

    /// How many of the jobs of a submission are in the queue. O(of them).
    fn here(&self, first: JobId, jobs: u32) -> u32 {
        let end = first.plus(jobs.into());
        let here = self.jobs.keys_from(first).take_while(|id| *id < end).count();
        u32::try_from(here).unwrap_or(u32::MAX)
    }

    pub(super) fn check_keys(&self) {
        let keys = &self.keys;
        assert_eq!(keys.firsts.len(), keys.submissions.len(), "a key has one submission");
        assert!(keys.gone.len() <= keys.most, "what is remembered is bounded");
        for (first, submission) in &keys.submissions {
            let here = self.here(*first, submission.jobs);
            assert_eq!(keys.firsts.get(&submission.key), Some(first), "found by its key");
            assert_eq!(submission.here, here, "the jobs of {submission:?} are counted");
            assert_eq!(keys.gone.contains(first), here == 0, "{submission:?} is here or gone");
        }
    }

    /// Remembers fewer keys than it usually does.
    #[cfg(test)]
    pub(super) fn remember_keys(&mut self, most: usize) {
        self.keys = Keys::remembering(most);
    }
}
