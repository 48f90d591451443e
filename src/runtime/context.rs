//! What a logical unit sees of the world while it checks prerequisites, executes or undoes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cancel::CancelToken;
use super::config_writer::ConfigWriter;
use super::fences::DeadOwner;
use super::inner::{Inner, owner};
use super::lock_order::LockClass;
use super::sync::Mutex;
use crate::engine::locks::{LockError, OwnerId};
use crate::vocabulary::{
    FeedbackKind, Hierarchy, JobId, JobRef, LockRequest, NewJob, OpCode, OpError,
};

static FOLLOWING: LockClass = LockClass::new("jobs that follow an opcode");

/// Handed to a logical unit: without any locks for expanding names, else with its locks held.
pub struct Context {
    job: JobId,
    op: u32,
    opcode: OpCode,
    token: u64,
    cancel: CancelToken,
    keeps_locks: bool,
    tried: u32,
    /// Whether locks were released or weakened before the end.
    loosened: AtomicBool,
    following: Mutex<Vec<NewJob>>,
    inner: Arc<Inner>,
}

/// One of the operations on what a job holds.
type Change = fn(&Inner, OwnerId, &LockRequest) -> Result<(), LockError>;

/// What a context is made of.
pub(super) struct Subject {
    pub(super) job: JobId,
    pub(super) op: usize,
    pub(super) opcode: OpCode,
    pub(super) token: u64,
    pub(super) cancel: CancelToken,
    pub(super) keeps_locks: bool,
    pub(super) tried: u32,
}

impl Context {
    pub(super) fn new(inner: &Arc<Inner>, of: Subject) -> Self {
        Self {
            job: of.job,
            op: u32::try_from(of.op).unwrap_or(u32::MAX),
            opcode: of.opcode,
            token: of.token,
            cancel: of.cancel,
            keeps_locks: of.keeps_locks,
            tried: of.tried,
            loosened: AtomicBool::new(false),
            following: Mutex::new(&FOLLOWING, Vec::new()),
            inner: Arc::clone(inner),
        }
    }

    /// The job this belongs to.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.job
    }

    /// Which opcode of the job this is, from 0.
    #[must_use]
    pub fn op_index(&self) -> u32 {
        self.op
    }

    /// The opcode as it was submitted.
    #[must_use]
    pub fn opcode(&self) -> &OpCode {
        &self.opcode
    }

    /// A number that grows with every start of any opcode, and of any undo: whatever is written
    /// elsewhere can carry it, and the receiver can refuse anything older. 0 while names are
    /// expanded: nothing has started then.
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.token
    }

    /// How many times this opcode was tried before, and something lacked for a while.
    #[must_use]
    pub fn tried(&self) -> u32 {
        self.tried
    }

    /// Tells when to stop.
    #[must_use]
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// The locks held now, those that the job keeps from earlier opcodes included. Of locks that
    /// were declared opportunistically, those that were free.
    #[must_use]
    pub fn held(&self) -> LockRequest {
        self.inner.locks.held(owner(self.job))
    }

    /// The levels of locks.
    #[must_use]
    pub fn hierarchy(&self) -> &Hierarchy {
        self.inner.locks.hierarchy()
    }

    /// The lock directory of the machine, where the master has one.
    #[must_use]
    pub fn lock_dir(&self) -> Option<&Path> {
        self.inner.fenced.fences.dir_path()
    }

    /// Releases some of the locks before the end, for others to go on.
    ///
    /// # Errors
    ///
    /// `Exec` where they are not held, or the job keeps its locks.
    pub fn release(&self, locks: &LockRequest) -> Result<(), OpError> {
        self.loosen(locks, Inner::release_some)
    }

    /// Makes exclusive locks shared, for others to share them.
    ///
    /// # Errors
    ///
    /// `Exec` where they are not held, or the job keeps its locks.
    pub fn downgrade(&self, locks: &LockRequest) -> Result<(), OpError> {
        self.loosen(locks, Inner::downgrade_some)
    }

    /// Keeps only these locks of the levels they are at; see
    /// [`LockGuard::narrow`](super::LockGuard::narrow).
    ///
    /// # Errors
    ///
    /// `Exec` where they are not held, or the job keeps its locks.
    pub fn narrow(&self, keep: &LockRequest) -> Result<(), OpError> {
        self.loosen(keep, Inner::narrow_to_some)
    }

    fn loosen(&self, locks: &LockRequest, change: Change) -> Result<(), OpError> {
        if self.keeps_locks {
            return Err(OpError::exec("the job keeps its locks until it has ended"));
        }
        change(&self.inner, owner(self.job), locks)
            .map_err(|error| OpError::exec(error.to_string()))?;
        self.loosened.store(true, Ordering::Relaxed);
        self.inner.schedule();
        Ok(())
    }

    /// Those who held locks of this job exclusively in other processes and died with them: what
    /// they were about to do may be half done. They are forgotten when the locks are released.
    #[must_use]
    pub fn died(&self) -> Vec<DeadOwner> {
        self.inner.fenced.died(self.job)
    }

    /// Writes into the files of the job's exclusive locks what it is about to do, for whoever comes
    /// if it dies. Nothing is written for locks that are not files.
    ///
    /// # Errors
    ///
    /// `Exec` where it cannot be written.
    pub fn note(&self, note: &str) -> Result<(), OpError> {
        let noted = self.inner.fenced.fences.note(owner(self.job), note);
        noted.map_err(|error| OpError::exec(error.to_string()))
    }

    /// Looks whether the files of the job's locks are still what another process would find.
    ///
    /// # Errors
    ///
    /// `Exec` where somebody has removed one: the lock may be held twice.
    pub fn verify_locks(&self) -> Result<(), OpError> {
        let verified = self.inner.fenced.fences.verify(owner(self.job));
        verified.map_err(|error| OpError::exec(error.to_string()))
    }

    /// Says in the feedback log who died with a lock of this job.
    pub(super) fn tell_of_the_dead(&self) {
        for dead in self.died() {
            self.feedback(&format!("{} died while it held {}", dead.record, dead.lock));
        }
    }

    /// Submits a job together with the end of this opcode: when its success is on disk, so is the
    /// job, and where it fails, there is no job. Gives the place of the job among those that
    /// follow this opcode, for dependencies of others of them on it.
    ///
    /// The result of the opcode gets the field `jobs`, `[[true, id], ...]` as in Ganeti. The job
    /// inherits the reason trail, the priority where it has the normal one, and says by which
    /// opcode it was submitted where it has no comment. It goes in although the queue is drained,
    /// and may depend on the job that submits it; the opcode must not wait for it.
    pub fn submit_with_end(&self, job: NewJob) -> JobRef {
        let mut following = self.following.lock();
        following.push(job);
        JobRef::Batch(u32::try_from(following.len() - 1).unwrap_or(u32::MAX))
    }

    /// The jobs that follow.
    pub(super) fn take_following(&self) -> Vec<NewJob> {
        std::mem::take(&mut *self.following.lock())
    }

    /// Whether some locks were released or weakened before the end.
    pub(super) fn is_loosened(&self) -> bool {
        self.loosened.load(Ordering::Relaxed)
    }

    /// The configuration: read by many, changed atomically. Which locks protect which part of
    /// it is for the embedder to say.
    #[must_use]
    pub fn config(&self) -> &ConfigWriter {
        &self.inner.config
    }

    /// Adds a line to the job's feedback log. Where the disk is thousands of lines behind, it waits
    /// for the disk first: hold no lock then that somebody wants whom the master calls back.
    pub fn feedback(&self, text: &str) {
        self.feedback_of(FeedbackKind::Message, text);
    }

    /// Adds a line of that kind to the job's feedback log.
    pub fn feedback_of(&self, kind: FeedbackKind, text: &str) {
        self.inner.feedback(self.job, self.op, kind, text);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("job", &self.job)
            .field("op", &self.op)
            .field("opcode", &self.opcode.id)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}
