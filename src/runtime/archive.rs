//! Moving ended jobs out of the queue into the archive, and looking at them there.
//!
//! First a job's end is durable in the log, then the job in the archive, then it leaves the
//! queue: killed in between, it is in both, and may be archived again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::inner::Inner;
use super::master::Master;
use super::shell::Shell;
use super::sync::MutexGuard;
use super::view::{Answer, JobView};
use crate::engine::queue::{Found, Refusal, Search};
use crate::vocabulary::{Error, Job, JobId, NewJob, Status};

/// How many jobs are looked at while the queue lock is held once.
const LOOK_AT: usize = 1024;
/// About how many bytes of jobs are copied while the queue lock is held once.
const BATCH_BYTES: usize = 64 << 10;

/// What [`Master::auto_archive`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AutoArchived {
    /// How many jobs were archived.
    pub archived: usize,
    /// How many jobs were not looked at for lack of time.
    pub left: usize,
}

impl Master {
    /// Moves an ended job into the archive. It is durable there when this returns; that it has
    /// left the queue is when its place in the log is. `false` where it was archived before.
    ///
    /// # Errors
    ///
    /// `NotFound` where there never was such a job, `Refused` where it has not ended, `Io` and
    /// `Corrupt` where the archive cannot be written (the job stays), `Stopped`.
    pub fn archive(&self, id: JobId) -> Result<Answer<bool>, Error> {
        let shell = self.inner.shell();
        let position = shell.position;
        let found = shell.queue.ended_job(id).cloned();
        let was_archived = shell.queue.was_archived(id);
        drop(shell);
        match found {
            Ok(job) => {
                let (count, position) = self.move_out(&[job], position)?;
                Ok(Answer { value: count > 0, position })
            }
            Err(_) if was_archived => Ok(Answer { value: false, position }),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Moves all jobs into the archive that ended at least so long ago: all that have ended
    /// where `older_than` is zero. Stops after `budget`, but not before some were looked at.
    ///
    /// Works in batches: the queue lock is held for one batch's look and for letting it go, not
    /// while anything is written. Takes time in proportion to the live queue.
    ///
    /// # Errors
    ///
    /// As [`archive`](Self::archive); what was archived by then stays so.
    pub fn auto_archive(
        &self,
        older_than: Duration,
        budget: Duration,
    ) -> Result<Answer<AutoArchived>, Error> {
        let began = Instant::now();
        let now = self.inner.now();
        let (mut archived, mut looked_at) = (0, 0);
        let mut search = Search { after: None, older_than, look_at: LOOK_AT, bytes: BATCH_BYTES };
        loop {
            let shell = self.inner.shell();
            let (live, mut position) = (shell.queue.len(), shell.position);
            let Found { jobs, last, looked } = shell.queue.old_jobs(&search, now);
            drop(shell);
            looked_at += looked - jobs.len();
            if !jobs.is_empty() {
                let count;
                (count, position) = self.move_out(&jobs, position)?;
                archived += count;
            }
            let done = last.is_none();
            if done || began.elapsed() >= budget {
                let rest = live.saturating_sub(jobs.len()).saturating_sub(looked_at);
                let left = if done { 0 } else { rest };
                return Ok(Answer { value: AutoArchived { archived, left }, position });
            }
            search.after = last;
        }
    }

    /// An archived job; nothing where it is not archived. Reads it from the archive.
    ///
    /// # Errors
    ///
    /// `Io`, `Corrupt` where the archive cannot be read, or not where the job should be.
    pub fn archived(&self, id: JobId) -> Result<Option<JobView>, Error> {
        if !self.inner.shell().queue.was_archived(id) {
            return Ok(None);
        }
        let job = self.inner.archive.get(id)?;
        Ok(job.map(|job| JobView::of_archived(job, &self.inner.registry)))
    }

    /// An archived job that somebody waits for.
    pub(super) fn last_word_from_archive(&self, id: JobId) -> Result<JobView, Error> {
        self.archived(id)?.ok_or_else(|| Refusal::NoSuchJob { id }.into())
    }

    /// Puts jobs into the archive that were found ended at that place of the log, then lets
    /// them go from the queue. How many were let go, and the place in the log.
    fn move_out(&self, jobs: &[Job], position: u64) -> Result<(usize, u64), Error> {
        self.wait_durable(position)?;
        self.inner.archive.put(&self.inner.registry.secrets().all_redacted(jobs))?;
        let mut shell = self.inner.shell();
        if shell.closed {
            drop(shell);
            return Err(self.stopped());
        }
        let records = shell.queue.archive(jobs.iter().map(|job| job.id));
        let count = records.len();
        Ok((count, self.inner.append(&mut shell, records)))
    }

    /// As [`Inner::shell_with_ends`].
    pub(super) fn shell_with_ends(
        &self,
        jobs: &[NewJob],
    ) -> Result<(MutexGuard<'_, Shell>, BTreeMap<JobId, Status>), Error> {
        self.inner.shell_with_ends(jobs)
    }
}

impl Inner {
    /// Takes the queue lock, and gives how archived jobs ended that these depend on, as far as
    /// the queue does not know. Files are read without the lock; what is archived stays so.
    pub(super) fn shell_with_ends(
        &self,
        jobs: &[NewJob],
    ) -> Result<(MutexGuard<'_, Shell>, BTreeMap<JobId, Status>), Error> {
        let mut ends = BTreeMap::new();
        loop {
            let shell = self.shell();
            let mut unknown = shell.queue.unknown_ends(jobs);
            unknown.retain(|id| !ends.contains_key(id));
            if unknown.is_empty() {
                return Ok((shell, ends));
            }
            drop(shell);
            for id in unknown {
                ends.insert(id, self.end_of(id)?);
            }
        }
    }

    fn end_of(&self, id: JobId) -> Result<Status, Error> {
        let job = self.archive.get(id)?.ok_or_else(|| {
            Error::invalid(format!("a job depends on job {id}, which the archive does not have"))
                .hint("was the archive in the state directory changed by hand?")
        })?;
        Ok(job.status())
    }
}
