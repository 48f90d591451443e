//! Which jobs may be taken up, in which order, and which wait for other jobs.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::Queue;
use super::filter::Order;
use super::paged::Paged;
use crate::vocabulary::{
    Dependency, Job, JobId, JobRef, OpError, Outcome, Priority, Record, Status, Timestamp,
};

/// What a call of [`Queue::take_next`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This job is taken up: its current opcode is to run, or its next undo.
    Take(JobId),
    /// The job cannot go on because of what became of another; it has ended, or its undos are
    /// due. The records are for the log.
    Ended(JobId, Vec<Record>),
}

/// What an unsatisfied dependency means for the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doom {
    /// The job it waits for was cancelled, so it is cancelled too.
    Canceled,
    /// The job it waits for ended otherwise than required.
    Failed(OpError),
}

/// The index behind [`Queue::take_next`]: no job is ever looked for by scanning.
#[derive(Clone, Debug, Default)]
pub(super) struct Ready {
    /// May be taken up, the most urgent and then oldest first.
    ///
    /// Also the first of each open line of jobs that a limit holds back (`filter/gate.rs`).
    pub(super) order: Order,
    /// The same by job, without those in lines.
    keys: Paged<Priority>,
    /// Waits for that job to end.
    pub(super) waits_on: HashMap<JobId, JobId>,
    /// The same the other way round.
    waited_for_by: HashMap<JobId, BTreeSet<JobId>>,
    /// Waits for that time, the earliest first.
    later: BTreeSet<(Timestamp, JobId)>,
    /// The same by job.
    until: HashMap<JobId, Timestamp>,
    /// In the processor's hands. Not stored: it dies with the process.
    pub(super) taken: HashSet<JobId>,
}

impl Ready {
    pub(super) fn is_taken(&self, id: JobId) -> bool {
        self.taken.contains(&id)
    }

    pub(super) fn places(&self, id: JobId) -> usize {
        usize::from(self.keys.contains_key(&id))
            + usize::from(self.waits_on.contains_key(&id))
            + usize::from(self.until.contains_key(&id))
            + usize::from(self.taken.contains(&id))
    }

    /// Everybody in this index.
    pub(super) fn all(&self) -> impl Iterator<Item = JobId> {
        let waiting = self.waits_on.keys().chain(self.until.keys());
        self.keys.ids().chain(waiting.chain(&self.taken).copied())
    }

    pub(super) fn check(&self, open_lines: usize) {
        assert_eq!(self.order.len(), self.keys.len() + open_lines, "each ready job has one key");
        assert_eq!(self.later.len(), self.until.len(), "each job for later has one time");
        let backwards: usize = self.waited_for_by.values().map(BTreeSet::len).sum();
        assert_eq!(self.waits_on.len(), backwards, "dependencies are indexed both ways");
    }

    pub(super) fn remove(&mut self, id: JobId) {
        if let Some(priority) = self.keys.remove(&id) {
            self.order.remove(&(priority, id));
        }
        if let Some(until) = self.until.remove(&id) {
            self.later.remove(&(until, id));
        }
        let Some(on) = self.waits_on.remove(&id) else { return };
        let Some(waiting) = self.waited_for_by.get_mut(&on) else { return };
        waiting.remove(&id);
        if waiting.is_empty() {
            self.waited_for_by.remove(&on);
        }
    }

    pub(super) fn insert(&mut self, id: JobId, priority: Priority) {
        self.order.insert((priority, id));
        self.keys.insert(id, priority);
    }

    fn postpone(&mut self, id: JobId, until: Timestamp) {
        self.later.insert((until, id));
        self.until.insert(id, until);
    }

    /// When the first of those comes that wait for a time.
    pub(super) fn next_later(&self) -> Option<Timestamp> {
        self.later.first().map(|(until, _)| *until)
    }

    /// A job whose time has come.
    pub(super) fn due_later(&self, now: Timestamp) -> Option<JobId> {
        self.later.first().filter(|(until, _)| *until <= now).map(|(_, id)| *id)
    }

    /// The time for which that job waits.
    pub(super) fn later_time(&self, id: JobId) -> Option<Timestamp> {
        self.until.get(&id).copied()
    }

    fn wait(&mut self, id: JobId, on: JobId) {
        self.waits_on.insert(id, on);
        self.waited_for_by.entry(on).or_default().insert(id);
    }
}

impl Queue {
    /// Takes up the job that should go on next, if there is one. O(log jobs).
    ///
    /// A job taken up is the caller's until [`put_back`](Self::put_back).
    pub fn take_next(&mut self, now: Timestamp) -> Option<Next> {
        if let Some((id, records)) = self.end_next_rejected(now) {
            return Some(Next::Ended(id, records));
        }
        let id = self.first_due()?;
        self.ready.remove(id);
        self.ready.taken.insert(id);
        self.count_running(id);
        let records = if self.is_late(id, now) {
            self.end_late(id, now)
        } else {
            let Some(doom) = self.jobs.get(&id).and_then(|job| self.doom(job)) else {
                return Some(Next::Take(id));
            };
            self.end_doomed(id, doom, now)
        };
        self.put_back(id);
        Some(Next::Ended(id, records))
    }

    /// The first ready job that no limit holds back. Each line of jobs passed over is parked: it
    /// is not passed over again before a place in its bucket has become free.
    fn first_due(&mut self) -> Option<JobId> {
        loop {
            let (_, id) = *self.ready.order.first()?;
            if self.filters.may_go(&mut self.ready.order, id) {
                return Some(id);
            }
        }
    }

    /// The job that [`take_next`](Self::take_next) would look at next: how urgent it is, and since
    /// when it is there.
    #[must_use]
    pub fn peek_next(&self) -> Option<(Priority, Timestamp)> {
        if let Some(job) = self.filters.first_rejected().and_then(|id| self.jobs.get(&id)) {
            return Some((job.priority(), job.received));
        }
        let (priority, id) = self.ready.order.first()?;
        Some((*priority, self.jobs.received(*id)?))
    }

    /// Gives a job back that was taken up: it may be taken up again, unless it has ended.
    pub fn put_back(&mut self, id: JobId) {
        self.ready.taken.remove(&id);
        self.reindex(id);
    }

    /// The job that this one waits for, if it waits for one.
    #[must_use]
    pub fn waits_on(&self, id: JobId) -> Option<JobId> {
        self.ready.waits_on.get(&id).copied()
    }

    /// Whether the job is taken up: in the processor's hands, waiting for locks or executing.
    #[must_use]
    pub fn is_taken(&self, id: JobId) -> bool {
        self.ready.is_taken(id)
    }

    /// How many jobs that are ready would be taken up before this one. O(that number).
    #[must_use]
    pub fn ready_before(&self, id: JobId) -> usize {
        let priority = self.ready.keys.get(&id).copied();
        let priority = priority.or_else(|| self.filters.priority_in_line(id));
        priority.map_or(0, |priority| self.ready.order.range(..(priority, id)).count())
    }

    /// Puts a job where it belongs now, and those that waited for its end.
    pub(super) fn reindex(&mut self, id: JobId) {
        self.place(id);
        if self.jobs.get(&id).is_some_and(|job| job.status().is_final()) {
            let waiting = self.ready.waited_for_by.get(&id).cloned().unwrap_or_default();
            waiting.into_iter().for_each(|dependent| self.place(dependent));
        }
    }

    /// Puts a job where it belongs of which nothing is known but how it was submitted, if there is
    /// no rule to be asked: it is ready. Whether that is so.
    pub(super) fn place_plain(&mut self, id: JobId) -> bool {
        let plain = self.jobs.plain_priority(id);
        match plain.filter(|_| self.filters.has_no_rules() && !self.is_taken(id)) {
            Some(priority) => self.ready.insert(id, priority),
            None => return false,
        }
        true
    }

    pub(super) fn place(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let is_final = job.status().is_final();
        let (blocker, priority) = (self.blocker(job), job.priority());
        let is_doomed = blocker.is_none() && self.doom(job).is_some();
        let later = job.not_before().filter(|until| *until > self.times.passed);
        self.ready.remove(id);
        self.filters.remove(&mut self.ready.order, id);
        self.place_deadline(id);
        if is_final {
            self.ready.taken.remove(&id);
        }
        match blocker {
            _ if is_final || self.ready.is_taken(id) => {}
            _ if self.turn_away(id) => {}
            Some(on) => self.ready.wait(id, on),
            None => match later {
                Some(until) => self.ready.postpone(id, until),
                None if !is_doomed && self.keep_back(id, priority) => {}
                None => self.ready.insert(id, priority),
            },
        }
        self.count_running(id);
    }

    /// The job whose end decides whether the current opcode may start: the first of its
    /// dependencies, in order, that is not decided yet.
    fn blocker(&self, job: &Job) -> Option<JobId> {
        let (on, _) = self.undecided(job).find(|(_, on)| !self.is_satisfied(on))?;
        self.jobs.get(&on).filter(|on| !on.status().is_final()).map(|on| on.id)
    }

    pub(super) fn doom(&self, job: &Job) -> Option<Doom> {
        let (on, dependency) = self.undecided(job).find(|(_, on)| !self.is_satisfied(on))?;
        match self.known_status(on) {
            None => {
                Some(Doom::Failed(OpError::exec(format!("Dependency error: Job {on} not found"))))
            }
            Some(Status::Canceled) => Some(Doom::Canceled),
            Some(status) if status.is_final() => Some(Doom::Failed(unmet(on, status, dependency))),
            Some(_) => None,
        }
    }

    /// The dependencies of the opcode to run next, of all opcodes where the job keeps its locks:
    /// it would wait for others with the locks they may need. None where undos are due.
    fn undecided<'q>(
        &'q self,
        job: &'q Job,
    ) -> impl Iterator<Item = (JobId, &'q Dependency)> + use<'q> {
        let current = if job.to_undo().is_some() || job.cancel_requested.is_some() {
            None
        } else {
            job.current()
        };
        let ops = current.map_or(&[][..], |op| match job.terms.keep_locks {
            true => &job.ops[op..],
            false => &job.ops[op..=op],
        });
        let depends = ops.iter().flat_map(|op| &op.opcode.depends);
        depends.filter_map(|dependency| match dependency.on {
            JobRef::Id(on) => Some((on, dependency)),
            JobRef::Batch(_) => None,
        })
    }

    /// Satisfied: ended as listed, or, where nothing is listed, in any way but cancelled.
    fn is_satisfied(&self, dependency: &Dependency) -> bool {
        let JobRef::Id(on) = dependency.on else { return false };
        let Some(status) = self.known_status(on) else { return false };
        let listed = dependency.statuses.contains(&status);
        let any = dependency.statuses.is_empty() && status != Status::Canceled;
        status.is_final() && (listed || any)
    }

    fn end_doomed(&mut self, id: JobId, doom: Doom, now: Timestamp) -> Vec<Record> {
        let mut records = Vec::new();
        let Some(op) = self.jobs.get(&id).and_then(Job::current) else { return records };
        match doom {
            Doom::Canceled => {
                self.record(&mut records, Record::CancelRequested { job: id, time: now });
            }
            Doom::Failed(error) => self.record(
                &mut records,
                Record::Finished {
                    job: id,
                    op: u32::try_from(op).unwrap_or(u32::MAX),
                    time: now,
                    outcome: Outcome::Error(error),
                },
            ),
        }
        self.unwind(id, None, now, &mut records);
        records
    }
}

fn unmet(on: JobId, status: Status, dependency: &Dependency) -> OpError {
    let wanted: Vec<&str> = dependency.statuses.iter().map(|status| status.as_str()).collect();
    OpError::exec(format!(
        "Dependency job {on} finished with status '{status}', not one of '{}' as required",
        wanted.join(", ")
    ))
}
