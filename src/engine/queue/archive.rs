//! Jobs that leave the queue: which may, and what is still known of them.
//!
//! Of an archived job the queue keeps nothing, unless a job that has not ended depends on it:
//! then it keeps how it ended. So what is kept follows the live queue, not history.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use super::{Queue, Refusal};
use crate::vocabulary::{Error, Job, JobId, JobRef, NewJob, Record, Status, Timestamp};

/// Which jobs to look for in [`Queue::old_jobs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// Only jobs with an id above this one.
    pub after: Option<JobId>,
    /// Only jobs that ended at least so long ago; zero means all that have ended.
    pub older_than: Duration,
    /// At most so many jobs are looked at.
    pub look_at: usize,
    /// At most about so many bytes of jobs are handed out, but at least one job.
    pub bytes: usize,
}

/// What [`Queue::old_jobs`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The jobs, by id.
    pub jobs: Vec<Job>,
    /// The last job looked at; none where there is none left to look at.
    pub last: Option<JobId>,
    /// How many jobs were looked at.
    pub looked: usize,
}

impl Queue {
    /// Ended jobs that are old enough, by id. Costs O(`look_at` + what is handed out).
    ///
    /// A job that has no end (an empty one) counts from when it was submitted.
    #[must_use]
    pub fn old_jobs(&self, search: &Search, now: Timestamp) -> Found {
        let (mut found, mut bytes) = (Found::default(), 0);
        for job in self.after(search.after).take(search.look_at) {
            if bytes > search.bytes {
                break;
            }
            found.last = Some(job.id);
            found.looked += 1;
            if job.status().is_final() && now.since(ended(&job)) >= search.older_than {
                bytes += job.bytes();
                found.jobs.push(job.into_owned());
            }
        }
        found
    }

    /// The jobs with an id above that one, by id; all where there is none.
    pub fn after(&self, after: Option<JobId>) -> impl Iterator<Item = Cow<'_, Job>> {
        self.jobs.starting_at(after.map_or(JobId::FIRST, |after| after.plus(1)))
    }

    /// A job that has ended, to be archived.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchJob`], [`Refusal::NotEnded`].
    pub fn ended_job(&self, id: JobId) -> Result<&Job, Refusal> {
        let job = self.jobs.get(&id).ok_or(Refusal::NoSuchJob { id })?;
        match job.status() {
            status if status.is_final() => Ok(job),
            status => Err(Refusal::NotEnded { id, status }),
        }
    }

    /// Lets jobs go that the archive has by now. Those that are gone, or have not ended, are
    /// passed over.
    pub fn archive(&mut self, ids: impl IntoIterator<Item = JobId>) -> Vec<Record> {
        let mut records = Vec::new();
        for id in ids {
            if let Ok(status) = self.ended_job(id).map(Job::status) {
                self.record(&mut records, Record::Archived { job: id, status });
            }
        }
        records
    }

    /// The id that the next job gets.
    #[must_use]
    pub const fn next_id(&self) -> JobId {
        self.next_id
    }

    /// Whether there was a job of that id that is archived by now.
    #[must_use]
    pub fn was_archived(&self, id: JobId) -> bool {
        id < self.next_id && !self.jobs.contains_key(&id)
    }

    /// The archived jobs that these depend on, as far as the queue does not know how they ended.
    #[must_use]
    pub fn unknown_ends(&self, jobs: &[NewJob]) -> Vec<JobId> {
        let named = jobs.iter().flat_map(|job| &job.ops).flat_map(|op| &op.depends);
        let ids = named.filter_map(|dependency| id_of(dependency.on));
        ids.filter(|id| self.was_archived(*id) && !self.ended.contains_key(id)).collect()
    }

    /// Where a job stands, also an archived one that others depend on.
    pub(super) fn known_status(&self, id: JobId) -> Option<Status> {
        self.jobs.get(&id).map(Job::status).or_else(|| self.ended.get(&id).copied())
    }

    /// What the queue has to keep of `recalled` for these jobs.
    pub(super) fn to_recall(
        &self,
        jobs: &[NewJob],
        recalled: &BTreeMap<JobId, Status>,
    ) -> Vec<(JobId, Status)> {
        let of = |id: JobId| Some((id, *recalled.get(&id)?));
        let ends: BTreeMap<JobId, Status> =
            self.unknown_ends(jobs).into_iter().filter_map(of).collect();
        ends.into_iter().collect()
    }

    pub(super) fn apply_archived(
        &mut self,
        id: JobId,
        status: Status,
        record: &Record,
    ) -> Result<(), Error> {
        if self.is_yet_to_be_copied(id) {
            return Ok(());
        }
        let found = self.known(id, record)?.status();
        if found != status || !status.is_final() {
            return Err(super::apply::misfit(record, "the job did not end so"));
        }
        self.jobs.remove(&id);
        self.keys.has_left(id);
        if self.dependents.contains_key(&id) {
            self.ended.insert(id, status);
        }
        Ok(())
    }

    /// Counts a job that came in, unless it has ended.
    pub(super) fn count_in(&mut self, id: JobId) {
        if self.jobs.plain_priority(id).is_some() {
            self.unfinished += 1;
            return;
        }
        let Some(job) = self.jobs.get(&id).filter(|job| !job.status().is_final()) else { return };
        self.unfinished += 1;
        for on in depends_on(job) {
            *self.dependents.entry(on).or_default() += 1;
        }
    }

    /// Takes a job out of the count that was in it.
    pub(super) fn count_out(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        self.unfinished -= 1;
        for on in depends_on(job) {
            let Some(count) = self.dependents.get_mut(&on) else { continue };
            *count -= 1;
            if *count == 0 {
                self.dependents.remove(&on);
                self.ended.remove(&on);
            }
        }
    }

    pub(super) fn check_dependents(&self) {
        let mut expected = BTreeMap::<JobId, u32>::new();
        for job in self.jobs().filter(|job| !job.status().is_final()) {
            depends_on(&job).for_each(|on| *expected.entry(on).or_default() += 1);
        }
        let counted: BTreeMap<_, _> = self.dependents.iter().map(|(on, n)| (*on, *n)).collect();
        assert_eq!(counted, expected, "dependencies are counted");
        for id in self.ended.keys() {
            assert!(self.was_archived(*id), "job {id} is not archived, but how it ended is kept");
            assert!(expected.contains_key(id), "nobody needs how job {id} ended");
        }
    }
}

fn ended(job: &Job) -> Timestamp {
    job.end_time().or(job.start_time()).unwrap_or(job.received)
}

fn depends_on(job: &Job) -> impl Iterator<Item = JobId> {
    let depends = job.ops.iter().flat_map(|op| &op.opcode.depends);
    depends.filter_map(|dependency| id_of(dependency.on))
}

fn id_of(on: JobRef) -> Option<JobId> {
    match on {
        JobRef::Id(id) => Some(id),
        JobRef::Batch(_) => None,
    }
}
