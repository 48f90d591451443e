//! What a thread does so that its locks hold among processes, too.

use crossbeam_channel::{Sender, bounded};

use super::LockManager;
use super::blocking::{LockGuard, LockOwner};
use crate::engine::locks::{LockError, RequestKind, RequestOptions};
use crate::runtime::clock;
use crate::runtime::fences::{DeadOwner, Fenced, How};
use crate::vocabulary::{LevelId, LockRequest};

/// Where a thread that waits for files is told.
pub(super) type Told = Sender<Result<(), LockError>>;

impl LockOwner {
    /// Takes the files of what the table has just granted; waits for other processes if the
    /// request waits.
    pub(super) fn fence(
        &self,
        request: &LockRequest,
        options: RequestOptions,
    ) -> Result<(), LockError> {
        let fences = &self.shared.fences;
        if !fences.reach.is_beyond() {
            return Ok(());
        }
        let late = options.deadline.is_some_and(|deadline| deadline <= clock::now());
        let waits = options.kind == RequestKind::Exact && !late;
        if waits && options.deadline.is_none() {
            return fences.take_blocking(self.id, request);
        }
        let how = How { waits, deadline: options.deadline, what: None };
        let (sender, told) = bounded(1);
        // Nobody listens any more only where the thread that waits is gone.
        let deliver = |sender: Told, result| drop(sender.send(result));
        match fences.take(self.id, request, how, sender, Box::new(deliver)) {
            Ok(Fenced::Held(_)) => return Ok(()),
            Ok(Fenced::Waiting) => {}
            Err((error, _)) => return Err(error),
        }
        if options.deadline.is_some() {
            self.shared.timer.look_again(&self.shared);
        }
        told.recv().unwrap_or_else(|_| {
            let problem = "the thread that waits for it has ended".to_owned();
            Err(LockError::FenceFailed { lock: self.name(request), problem })
        })
    }

    /// Keeps of what an opportunistic request was granted what no other process has; says how many
    /// locks that is.
    pub(super) fn fence_what_is_free(&self, request: &LockRequest) -> Result<usize, LockError> {
        let (shared, mut kept) = (&self.shared, 0);
        let how = RequestOptions { kind: RequestKind::Try, ..RequestOptions::default() };
        for (level, locks) in request.levels() {
            let mut part = LockRequest::new();
            part.add_level(level, locks.clone());
            let part = shared.manager.held(self.id).at_levels_of(&part);
            let found = part.count();
            if self.fence(&part, how).is_ok() {
                kept += found;
            } else {
                kept += self.fence_each(level, &part)?;
            }
        }
        Ok(kept)
    }

    /// Takes the files of single locks, and gives back those that another process has.
    fn fence_each(&self, level: LevelId, part: &LockRequest) -> Result<usize, LockError> {
        let manager = &self.shared.manager;
        let free = self.shared.fences.take_free(self.id, part);
        if free.count() == 0 {
            manager.release_levels(self.id, &[level])?;
        } else {
            manager.narrow(self.id, &free)?;
        }
        self.shared.wake();
        Ok(free.count())
    }
}

impl LockGuard<'_> {
    /// Those who held locks of this owner exclusively in other processes, or earlier in this one,
    /// and died with them: what they were about to do may be half done. They are forgotten when
    /// the locks are released.
    #[must_use]
    pub fn died(&self) -> Vec<DeadOwner> {
        self.owner.shared.fences.died(self.owner.id)
    }

    /// Writes into the files of the owner's exclusive locks what it is about to do, for whoever
    /// comes if it dies. Nothing is written for locks that are not files.
    ///
    /// # Errors
    ///
    /// `FenceFailed`.
    pub fn note(&self, note: &str) -> Result<(), LockError> {
        self.owner.shared.fences.note(self.owner.id, note)
    }

    /// Has programs that this process starts from now on keep the owner's locks that are files:
    /// should this process be killed, they last as long as those programs do. Releasing the locks
    /// releases them for all. For a process that is there to start one program.
    ///
    /// # Errors
    ///
    /// `FenceFailed`.
    pub fn keep_in_children(&self) -> Result<(), LockError> {
        self.owner.shared.fences.keep_in_children(self.owner.id)
    }

    /// Looks whether the files of the owner's locks are still what another process would find:
    /// they are not where somebody has removed them, and then the locks may be held twice.
    ///
    /// # Errors
    ///
    /// `FenceFailed`.
    pub fn verify(&self) -> Result<(), LockError> {
        self.owner.shared.fences.verify(self.owner.id)
    }
}

/// One of the operations on what an owner holds, in the table and among processes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Downgrade,
    Narrow,
    Release,
}

impl Change {
    /// Changes the table, which may refuse, and then the files.
    pub(super) fn make(self, owner: &LockOwner, locks: &LockRequest) -> Result<(), LockError> {
        let (manager, fences) = (&owner.shared.manager, &owner.shared.fences);
        match self {
            Self::Downgrade => {
                LockManager::downgrade(manager, owner.id, locks)?;
                fences.downgrade(owner.id, locks)
            }
            Self::Narrow => {
                LockManager::narrow(manager, owner.id, locks)?;
                fences.narrow(owner.id, locks)
            }
            Self::Release => {
                LockManager::release(manager, owner.id, locks)?;
                fences.release(owner.id, locks);
                Ok(())
            }
        }
    }
}
