//! What becomes due with time: deadlines that pass, and opcodes that are to be tried again.
//!
//! Nothing is looked for by scanning: both are ordered by time. Whoever has a clock asks for
//! [`Queue::next_time`], waits until then, and calls [`Queue::pass_time`].

use std::collections::{BTreeSet, HashMap};

use super::Queue;
use super::progress::number;
use crate::vocabulary::{Deadline, Job, JobId, OpState, Outcome, Record, Timestamp};

/// Deadlines by time. None of this is stored: it follows from the jobs.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    order: BTreeSet<(Timestamp, JobId)>,
    keys: HashMap<JobId, Timestamp>,
    /// Opcodes that execute and were told that their time is over: told once.
    told: HashMap<JobId, usize>,
    /// How far time has come, as far as anybody said.
    pub(super) passed: Timestamp,
}

impl Times {
    fn remove(&mut self, id: JobId) {
        if let Some(when) = self.keys.remove(&id) {
            self.order.remove(&(when, id));
        }
    }

    fn set(&mut self, id: JobId, when: Timestamp) {
        if self.keys.get(&id) != Some(&when) {
            self.remove(id);
            self.keys.insert(id, when);
            self.order.insert((when, id));
        }
    }

    fn first(&self) -> Option<(Timestamp, JobId)> {
        self.order.first().copied()
    }
}

/// What came with the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// For the log.
    pub records: Vec<Record>,
    /// Jobs that are taken up and whose time is over: what waits is to be taken out of its wait,
    /// what executes is to be told to stop.
    pub over: Vec<JobId>,
    /// Whether there is more to do at this very time: call again.
    pub more: bool,
}

impl Queue {
    /// When [`pass_time`](Self::pass_time) has something to do next.
    #[must_use]
    pub fn next_time(&self) -> Option<Timestamp> {
        let deadline = self.times.first().map(|(when, _)| when);
        deadline.into_iter().chain(self.ready.next_later()).min()
    }

    /// Does what is due at `now`, for `most` jobs at most: jobs that waited for this time may be
    /// taken up again, and those whose deadline has passed go no further. O(log jobs) each.
    pub fn pass_time(&mut self, now: Timestamp, most: usize) -> Passed {
        self.times.passed = self.times.passed.max(now);
        let mut passed = Passed::default();
        for _ in 0..most {
            if let Some(id) = self.ready.due_later(now) {
                self.place(id);
                continue;
            }
            match self.times.first().filter(|(when, _)| *when <= now) {
                Some((_, id)) => self.miss_deadline(id, now, &mut passed),
                None => return passed,
            }
        }
        passed.more = self.next_time().is_some_and(|next| next <= now);
        passed
    }

    /// Whether that job executes an opcode whose time is over.
    #[must_use]
    pub fn is_overdue(&self, id: JobId) -> bool {
        self.times.told.contains_key(&id)
    }

    /// When its opcode is tried again, where the job waits for that only.
    #[must_use]
    pub fn waits_until(&self, id: JobId) -> Option<Timestamp> {
        self.ready.later_time(id)
    }

    /// The deadline of that job has passed.
    fn miss_deadline(&mut self, id: JobId, now: Timestamp, passed: &mut Passed) {
        self.times.remove(id);
        let Some((job, op)) = self.jobs.get(&id).and_then(|job| Some((job, job.current()?))) else {
            return;
        };
        if self.is_taken(id) {
            passed.over.push(id);
        }
        if job.ops[op].state == OpState::Running {
            self.times.told.insert(id, op);
            return;
        }
        passed.records.extend(self.end_late(id, now));
    }

    /// Whether the deadline of a job has passed that does not execute.
    pub(super) fn is_late(&self, id: JobId, now: Timestamp) -> bool {
        self.times.keys.get(&id).is_some_and(|deadline| *deadline <= now)
    }

    /// Ends a job whose deadline has passed, and that does not execute.
    pub(super) fn end_late(&mut self, id: JobId, now: Timestamp) -> Vec<Record> {
        let mut records = Vec::new();
        let Some((job, op)) = self.unfinished_op(id) else { return records };
        let Some((_, which)) = job.deadline() else { return records };
        let outcome = Outcome::Error(missed(job, op, which));
        let finished = Record::Finished { job: id, op: number(op), time: now, outcome };
        self.record(&mut records, finished);
        self.unwind(id, None, now, &mut records);
        records
    }

    /// Puts the deadline of a job where it belongs now.
    pub(super) fn place_deadline(&mut self, id: JobId) {
        let job = self.jobs.get(&id);
        let executing =
            job.and_then(|job| job.current().filter(|op| job.ops[*op].state == OpState::Running));
        if self.times.told.get(&id).is_some_and(|told| Some(*told) != executing) {
            self.times.told.remove(&id);
        }
        let deadline = job.and_then(Job::deadline).filter(|_| !self.times.told.contains_key(&id));
        match deadline {
            Some((when, _)) => self.times.set(id, when),
            None => self.times.remove(id),
        }
    }

    pub(super) fn check_times(&self) {
        assert_eq!(self.times.order.len(), self.times.keys.len(), "each deadline has one key");
        for (id, when) in &self.times.keys {
            let deadline = self.jobs.get(id).and_then(Job::deadline);
            assert_eq!(deadline.map(|(when, _)| when), Some(*when), "job {id} has that deadline");
        }
        for job in self.jobs().filter(|job| job.deadline().is_some()) {
            let known = self.times.keys.contains_key(&job.id) || self.is_overdue(job.id);
            assert!(known, "the deadline of job {} is known", job.id);
        }
    }
}

fn missed(job: &Job, op: usize, which: Deadline) -> crate::vocabulary::OpError {
    let error = which.missed();
    match &job.ops[op].tries.lacking {
        Some(lacking) => error.and(lacking),
        None => error,
    }
}
