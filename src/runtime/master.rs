//! The master: the durable queue, the locks and the workers behind one handle.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::builder::MasterBuilder;
use super::config_writer::ConfigWriter;
use super::inner::Inner;
use super::lock_order::{LockClass, assert_no_locks_held};
use super::sync::Mutex;
use super::view::{Answer, CancelAnswer, JobView};
use crate::engine::queue::{Bounds, Cancelled, Refusal};
use crate::store::MAX_TRANSACTION_BYTES;
use crate::vocabulary::{
    Error, ErrorKind, FeedbackEntry, Hierarchy, Job, JobId, NewJob, OpErrorKind, Priority, Record,
    Status, SubmissionKey,
};

/// What the master allows at most.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Jobs that are not final.
    pub queued_jobs: usize,
    /// Jobs in one submission.
    pub batch_jobs: usize,
    /// Bytes of parameters, comments and reasons in one submission.
    pub batch_bytes: usize,
    /// Opcodes in one job.
    pub job_ops: usize,
    /// Bytes of parameters, comments and reasons in one job.
    pub job_bytes: usize,
    /// Bytes of feedback log kept per job; the oldest lines are dropped and counted.
    pub feedback_bytes: usize,
    /// Bytes of one line of feedback; the rest is cut off.
    pub line_bytes: usize,
    /// Bytes of an opcode's result; an opcode with a larger one fails. Of a longer error message
    /// the rest is cut off.
    pub result_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queued_jobs: 1_000_000,
            batch_jobs: 100_000,
            batch_bytes: 32 << 20,
            job_ops: 10_000,
            job_bytes: 1 << 20,
            feedback_bytes: 256 << 10,
            line_bytes: 8 << 10,
            result_bytes: 256 << 10,
        }
    }
}

impl Limits {
    /// What the log takes in one transaction is the limit of some limits.
    pub(super) fn check(&self) -> Result<(), Error> {
        // An opcode's end comes with its result and little else.
        let of_end = self.result_bytes.saturating_add(1 << 16);
        // A job is copied in pieces, of which one may have an opcode more than fits.
        let piece = [Record::PIECE_BYTES, self.feedback_bytes, self.job_bytes]
            .iter()
            .fold(of_end, |sum, bytes| sum.saturating_add(*bytes));
        // Jobs that follow an opcode come in one transaction with its end.
        let batch = self.batch_bytes.saturating_add(of_end);
        let largest = batch.max(self.line_bytes).max(piece);
        if largest <= MAX_TRANSACTION_BYTES {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the limits allow {largest} bytes in one transaction; the log takes at most \
             {MAX_TRANSACTION_BYTES}"
        ))
        .hint("lower batch_bytes, line_bytes, job_bytes, feedback_bytes or result_bytes"))
    }

    pub(super) const fn bounds(&self) -> Bounds {
        Bounds {
            queued_jobs: self.queued_jobs,
            batch_jobs: self.batch_jobs,
            batch_bytes: self.batch_bytes,
            job_ops: self.job_ops,
            job_bytes: self.job_bytes,
        }
    }
}

/// The durable queue, the locks and the workers.
///
/// Every method may be called from any thread, also from inside an executing opcode (but an
/// opcode that waits for another job while it holds locks that job needs waits for ever, and a
/// shutdown is refused there). Dropping it shuts down as [`Shutdown::Finish`] does.
///
/// [`Shutdown::Finish`]: super::Shutdown::Finish
pub struct Master {
    pub(super) inner: Arc<Inner>,
    pub(super) threads: Mutex<Option<Threads>>,
}

/// What goes with the jobs of a submission.
struct Terms<'a> {
    origin: Option<String>,
    key: Option<&'a SubmissionKey>,
    although_drained: bool,
}

pub(super) static THREADS: LockClass = LockClass::new("threads");

/// The threads to join at the end.
pub(super) struct Threads {
    pub(super) workers: Vec<JoinHandle<()>>,
    pub(super) log_writer: JoinHandle<()>,
    pub(super) alarm: JoinHandle<()>,
}

/// Who has a submission written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attends {
    /// The client, which waits for it.
    Client,
    /// The worker that is given a job of it, if one is.
    Worker,
}

impl Master {
    /// Starts building a master on that state directory, which is created if need be.
    pub fn builder(state_dir: impl AsRef<std::path::Path>) -> MasterBuilder {
        MasterBuilder::new(state_dir.as_ref())
    }

    /// The levels of locks.
    #[must_use]
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.inner.hierarchy
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ConfigWriter {
        &self.inner.config
    }

    /// How many opcodes can execute at once.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.inner.workers.all()
    }

    /// Submits jobs, all or none; returns when they are on disk. The ids are contiguous.
    ///
    /// # Errors
    ///
    /// As [`begin_submit`](Self::begin_submit); `Stopped` also where the disk fails meanwhile.
    pub fn submit(&self, jobs: Vec<NewJob>) -> Result<Vec<JobId>, Error> {
        let terms = Terms { origin: None, key: None, although_drained: false };
        let (answer, handed_out) = self.take_in(jobs, terms, Attends::Client)?;
        if handed_out {
            self.inner.give_way();
        }
        self.wait_durable(answer.position)?;
        Ok(answer.value)
    }

    /// Submits one job; returns when it is on disk.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn submit_one(&self, job: NewJob) -> Result<JobId, Error> {
        let ids = self.submit(vec![job])?;
        ids.first().copied().ok_or_else(|| Error::invalid("the submission was empty"))
    }

    /// Submits without waiting for the disk: the answer must not be told to anybody before
    /// [`wait_durable`](Self::wait_durable). `origin` says where the jobs come from.
    ///
    /// # Errors
    ///
    /// `Invalid` where an opcode is unknown or its parameters are wrong, a dependency cannot be,
    /// or a limit is exceeded; `Refused` where the queue is full or drained; `Stopped` where the
    /// master is stopping. Nothing was submitted then.
    pub fn begin_submit(
        &self,
        jobs: Vec<NewJob>,
        origin: Option<String>,
    ) -> Result<Answer<Vec<JobId>>, Error> {
        self.begin(jobs, Terms { origin, key: None, although_drained: false })
    }

    /// As [`begin_submit`](Self::begin_submit), also where the queue is drained.
    ///
    /// # Errors
    ///
    /// As [`begin_submit`](Self::begin_submit).
    pub fn begin_submit_although_drained(
        &self,
        jobs: Vec<NewJob>,
        origin: Option<String>,
    ) -> Result<Answer<Vec<JobId>>, Error> {
        self.begin(jobs, Terms { origin, key: None, although_drained: true })
    }

    /// As [`submit`](Self::submit), once: where jobs were submitted under that key before, also
    /// before a restart, this gives their ids and submits nothing. So whoever does not know
    /// whether a submission got through repeats it.
    ///
    /// A key is known as long as one of its jobs is in the queue; beside those, the newest 10,000
    /// are.
    ///
    /// # Errors
    ///
    /// As [`begin_submit_once`](Self::begin_submit_once); `Stopped` also where the disk fails.
    pub fn submit_once(&self, key: &SubmissionKey, jobs: Vec<NewJob>) -> Result<Vec<JobId>, Error> {
        let answer = self.begin_submit_once(key, jobs, None)?;
        self.wait_durable(answer.position)?;
        Ok(answer.value)
    }

    /// As [`submit_once`](Self::submit_once), without waiting for the disk: the answer must not be
    /// told to anybody before [`wait_durable`](Self::wait_durable), also where it repeats another.
    ///
    /// # Errors
    ///
    /// As [`begin_submit`](Self::begin_submit); `Refused` also where the key belongs to a
    /// submission of other jobs. Whether it was submitted before is looked at first: a
    /// queue that is full or drained since then refuses no repetition.
    pub fn begin_submit_once(
        &self,
        key: &SubmissionKey,
        jobs: Vec<NewJob>,
        origin: Option<String>,
    ) -> Result<Answer<Vec<JobId>>, Error> {
        let shell = self.inner.shell();
        let known = shell.queue.submitted_under(key, &jobs)?;
        let position = shell.position;
        drop(shell);
        match known {
            Some(value) => Ok(Answer { value, position }),
            None => self.begin(jobs, Terms { origin, key: Some(key), although_drained: false }),
        }
    }

    fn begin(&self, jobs: Vec<NewJob>, terms: Terms<'_>) -> Result<Answer<Vec<JobId>>, Error> {
        let (answer, handed_out) = self.take_in(jobs, terms, Attends::Worker)?;
        if !handed_out {
            self.inner.see_to_the_log();
        }
        Ok(answer)
    }

    /// Takes jobs in; says whether a worker was given something to do. Unless the client has the
    /// submission written, that worker sees to the log before it does anything that may take long.
    fn take_in(
        &self,
        jobs: Vec<NewJob>,
        terms: Terms<'_>,
        attends: Attends,
    ) -> Result<(Answer<Vec<JobId>>, bool), Error> {
        let taken_in = self.take_in_checked(jobs, terms, attends);
        if taken_in.is_err() {
            self.inner.metrics.refused();
        }
        taken_in
    }

    fn take_in_checked(
        &self,
        jobs: Vec<NewJob>,
        terms: Terms<'_>,
        attends: Attends,
    ) -> Result<(Answer<Vec<JobId>>, bool), Error> {
        let Terms { origin, key, although_drained } = terms;
        self.check_opcodes(&jobs)?;
        let (mut shell, recalled) = self.shell_with_ends(&jobs)?;
        if shell.stopping {
            drop(shell);
            return Err(self.stopped());
        }
        if shell.queue.is_drained() && !although_drained {
            return Err(Refusal::Drained.into());
        }
        let (bounds, now) = (self.inner.limits.bounds(), self.inner.now());
        let queue = &mut shell.queue;
        let submitted = match key {
            Some(key) => queue.submit_once(key, jobs, &recalled, origin, &bounds, now),
            None => queue.submit_recalling(jobs, &recalled, origin, &bounds, now),
        };
        let (value, records) = submitted?;
        let mut position = self.inner.append_unattended(&mut shell, records);
        if attends == Attends::Client {
            self.inner.unattended.store(false, Ordering::Relaxed);
        }
        let rejects = shell.queue.has_rejected();
        drop(shell);
        if rejects {
            position = self.inner.end_rejected();
        }
        self.inner.metrics.submitted(value.len());
        // A worker that has nothing else to do writes the log when it has started the job: a job
        // that can start at once has its start in the same sync as its submission.
        let handed_out = self.inner.schedule();
        Ok((Answer { value, position }, handed_out))
    }

    /// Refuses new jobs from now on, also after a restart, or takes them again. Jobs that are
    /// there go on.
    ///
    /// # Errors
    ///
    /// `Stopped`.
    pub fn set_drained(&self, drained: bool) -> Result<Answer<()>, Error> {
        let mut shell = self.inner.shell();
        if shell.closed {
            drop(shell);
            return Err(self.stopped());
        }
        let records = shell.queue.set_drained(drained, self.inner.now());
        let position = self.inner.append(&mut shell, records);
        Ok(Answer { value: (), position })
    }

    /// Whether new jobs are refused.
    #[must_use]
    pub fn is_drained(&self) -> Answer<bool> {
        let shell = self.inner.shell();
        Answer { value: shell.queue.is_drained(), position: shell.position }
    }

    fn check_opcodes(&self, jobs: &[NewJob]) -> Result<(), Error> {
        for (job, place) in jobs.iter().zip(0..) {
            for (opcode, index) in job.ops.iter().zip(0..) {
                self.inner.registry.contained(opcode).map_err(|error| {
                    let name = job.label.clone().unwrap_or_else(|| format!("{place}"));
                    let refused =
                        Error::invalid(error.to_string()).at(format!("job {name}, opcode {index}"));
                    match error.kind {
                        OpErrorKind::Unknown => refused.hint(self.inner.registry.known()),
                        _ => refused,
                    }
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn stopped(&self) -> Error {
        self.inner.commits.failure().unwrap_or_else(|| {
            Error::new(ErrorKind::Stopped, "the master is stopping; it takes no more jobs")
        })
    }

    /// Returns when everything up to that place of the log is on disk.
    ///
    /// # Errors
    ///
    /// `Stopped` where it never will be.
    pub fn wait_durable(&self, position: u64) -> Result<(), Error> {
        self.inner.write_for_client(position);
        self.inner.commits.wait(position)
    }

    /// How many times the log was written and synced since the master started.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.inner.commits.syncs()
    }

    /// Calls `then` once when everything up to that place is on disk (at once, on this thread,
    /// if it is), or with the error why it never will be. It must not block.
    pub fn on_durable(&self, position: u64, then: impl FnOnce(Result<(), Error>) + Send + 'static) {
        self.inner.commits.then(position, Box::new(then));
    }

    /// Takes jobs up again, where the master was started paused.
    pub fn resume(&self) {
        self.inner.shell().paused = false;
        self.inner.schedule();
    }

    /// A job as it is now; nothing where there is none, or it is [`archived`](Self::archived).
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<Answer<JobView>> {
        let shell = self.inner.shell();
        let value = JobView::of(&shell.queue, shell.queue.get(id)?, &self.inner.registry);
        Some(Answer { value, position: shell.position })
    }

    /// All jobs as they are now, by id. Copies them all: for lists, not for hot paths.
    #[must_use]
    pub fn jobs(&self) -> Answer<Vec<JobView>> {
        let shell = self.inner.shell();
        let registry = &self.inner.registry;
        let view = |job: Cow<'_, Job>| JobView::of(&shell.queue, &job, registry);
        let value = shell.queue.jobs().map(view).collect();
        Answer { value, position: shell.position }
    }

    /// The jobs for which `choose` says so, as they are now, by id. It is called with the queue
    /// lock held: it must be quick and must not call the master.
    pub fn jobs_where(&self, choose: impl Fn(&Job) -> bool) -> Answer<Vec<JobView>> {
        let shell = self.inner.shell();
        let chosen = shell.queue.jobs().filter(|job| choose(job));
        let registry = &self.inner.registry;
        let view = |job: Cow<'_, Job>| JobView::of(&shell.queue, &job, registry);
        let value = chosen.map(view).collect();
        Answer { value, position: shell.position }
    }

    /// The status of a job and the lines of its feedback log with a serial above `after`:
    /// what a client that follows a job asks for, without copying the job.
    #[must_use]
    pub fn progress(&self, id: JobId, after: u64) -> Option<Answer<(Status, Vec<FeedbackEntry>)>> {
        let shell = self.inner.shell();
        let job = shell.queue.get(id)?;
        let value = (shell.queue.status(job), job.feedback.after(after).cloned().collect());
        Some(Answer { value, position: shell.position })
    }

    /// Calls `notify` once, at the next change of that job (also a new feedback line, also when
    /// the master stops). Register first, then look at the job: no change is missed. It is
    /// called on another thread, with no lock held, and must not block. The number identifies
    /// the registration for [`forget`](Self::forget).
    pub fn on_change(&self, id: JobId, notify: impl FnOnce() + Send + 'static) -> u64 {
        self.inner.watch.on_change(id, Box::new(notify))
    }

    /// Takes a registration of [`on_change`](Self::on_change) back.
    pub fn forget(&self, id: JobId, registration: u64) {
        self.inner.watch.forget(id, registration);
    }

    /// Waits until the job is final, and that is on disk; at once where it is archived.
    ///
    /// # Errors
    ///
    /// `NotFound` where there is no such job, `Stopped` where the master stops before.
    pub fn wait(&self, id: JobId) -> Result<JobView, Error> {
        if let Some(end) = self.end_of(id) {
            return self.last_word(id, end);
        }
        loop {
            let (sender, changed) = mpsc::channel();
            let registration = self.on_change(id, move || _ = sender.send(()));
            if let Some(end) = self.end_of(id) {
                self.forget(id, registration);
                return self.last_word(id, end);
            }
            assert_no_locks_held("while a client waits for a job");
            // An error means that the registration was dropped: look again all the same.
            _ = changed.recv();
        }
    }

    /// A job for which there is nothing more to wait, because it or the master has ended; nothing
    /// of it where it is not in the queue.
    fn end_of(&self, id: JobId) -> Option<Option<Answer<JobView>>> {
        let shell = self.inner.shell();
        let Some(job) = shell.queue.get(id) else { return Some(None) };
        let registry = &self.inner.registry;
        let over = job.status().is_final() || shell.closed;
        let answer =
            || Answer { value: JobView::of(&shell.queue, job, registry), position: shell.position };
        over.then(|| Some(answer()))
    }

    fn last_word(&self, id: JobId, end: Option<Answer<JobView>>) -> Result<JobView, Error> {
        let Some(answer) = end else { return self.last_word_from_archive(id) };
        if !answer.value.status.is_final() {
            return Err(self.stopped());
        }
        self.wait_durable(answer.position)?;
        Ok(answer.value)
    }

    /// Cancels a job: at once where it is queued or waits for locks, else as soon as the opcode
    /// that executes heeds its [`CancelToken`](super::CancelToken) or ends.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Stopped`.
    pub fn cancel(&self, id: JobId) -> Result<Answer<CancelAnswer>, Error> {
        let mut shell = self.inner.shell();
        if shell.closed {
            drop(shell);
            return Err(self.stopped());
        }
        let (how, records) = match shell.queue.cancel(id, self.inner.now()) {
            Ok(canceled) => canceled,
            Err(Refusal::AlreadyFinal { .. }) => {
                return Ok(Answer { value: CancelAnswer::AlreadyFinal, position: shell.position });
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let position = self.inner.append(&mut shell, records);
        let executing = shell.active.get(&id).cloned();
        drop(shell);
        let value = self.inner.carry_cancel_out(id, how, executing);
        Ok(Answer { value, position })
    }

    /// Gives the opcodes of a job that have not started a new priority, with immediate effect,
    /// also on its wait for locks.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Refused` where the job has ended, `Stopped`.
    pub fn change_priority(&self, id: JobId, priority: Priority) -> Result<Answer<()>, Error> {
        let mut shell = self.inner.shell();
        if shell.closed {
            drop(shell);
            return Err(self.stopped());
        }
        let records = shell.queue.change_priority(id, priority)?;
        let position = self.inner.append(&mut shell, records);
        drop(shell);
        self.inner.hurry(id, priority);
        self.inner.schedule();
        Ok(Answer { value: (), position })
    }
}

impl Inner {
    fn carry_cancel_out(
        self: &Arc<Self>,
        id: JobId,
        how: Cancelled,
        executing: Option<super::CancelToken>,
    ) -> CancelAnswer {
        match how {
            Cancelled::Queued => {
                self.release_if_ended(id);
                self.schedule();
                CancelAnswer::Dequeued
            }
            Cancelled::Waiting => {
                self.stop_waiting(id);
                // It may be expanding names instead, and wait for something there.
                if let Some(token) = executing {
                    token.set(super::CancelCause::Requested);
                }
                self.schedule();
                CancelAnswer::StoppedWaiting
            }
            Cancelled::Running => {
                if let Some(token) = executing {
                    token.set(super::CancelCause::Requested);
                }
                CancelAnswer::Informed
            }
        }
    }
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Master").field("hierarchy", self.hierarchy()).finish_non_exhaustive()
    }
}
