//! Why a lock operation was refused.

use std::num::NonZeroU8;

use thiserror::Error;

use super::table::OwnerId;
use crate::vocabulary;

/// Why a lock operation was refused; nothing was changed. Locks are named `level/name`, the
/// whole of a level `level/[lockset]`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LockError {
    /// The request came from another hierarchy.
    #[error("there is no lock level of rank {rank}; this hierarchy has {levels}")]
    UnknownLevel {
        /// The rank asked for.
        rank: usize,
        /// How many levels there are.
        levels: usize,
    },
    /// Levels are taken in order, each in one request.
    #[error("{requested} cannot be requested while {held} is held: levels are locked in order")]
    OutOfOrder {
        /// The first lock requested out of order.
        requested: String,
        /// The deepest lock held.
        held: String,
    },
    /// The owner holds the lock, by itself or as part of its level.
    #[error("{lock} is held already")]
    AlreadyHeld {
        /// The lock.
        lock: String,
    },
    /// Where a limited number may share one lock, nobody shares the whole level.
    #[error(
        "{lock} cannot be shared: at most {capacity} may share each lock of that level; \
         request it exclusive, or name the locks"
    )]
    SharedWhole {
        /// The lock.
        lock: String,
        /// How many may share one.
        capacity: NonZeroU8,
    },
    /// An owner waits for one request at a time, and changes nothing meanwhile.
    #[error("the owner still waits for {lock}; withdraw that request first")]
    AlreadyWaiting {
        /// The lock it waits for.
        lock: String,
    },
    /// From shared to exclusive: two owners that did this would wait for each other for ever.
    #[error("{lock} is held shared and cannot be made exclusive; release it and request it anew")]
    WouldDeadlock {
        /// The lock.
        lock: String,
    },
    /// At a reentrant level, what was locked twice cannot be given up in part.
    #[error("{lock} was locked again; release that first")]
    LockedAgain {
        /// The lock.
        lock: String,
    },
    /// The owner does not hold the lock, or not in that mode.
    #[error("{lock} is not held")]
    NotHeld {
        /// The lock.
        lock: String,
    },
    /// The request does not wait, and somebody is in the way.
    #[error("{lock} is busy{}", owner.map_or_else(String::new, |o| format!(": {o} is in the way")))]
    Busy {
        /// The first lock that is not free.
        lock: String,
        /// One of those who hold it, or the one for whom it is reserved. None where that would
        /// take a long look.
        owner: Option<OwnerId>,
    },
    /// The request waited as long as it was to wait.
    #[error("{lock} did not become free in time")]
    TimedOut {
        /// The lock that blocked it at the end.
        lock: String,
    },
    /// A timeout of more than ten years is a mistake; no timeout at all waits without end.
    #[error("a timeout of {seconds} seconds is absurd; at most ten years")]
    AbsurdTimeout {
        /// The timeout.
        seconds: u64,
    },
    /// An opportunistic request found less than it needs.
    #[error("too few locks are free: {found}; at least {needed} are needed")]
    TooFew {
        /// How many were free.
        found: usize,
        /// How many it needs.
        needed: usize,
    },
    /// Another process of this machine holds the lock, or waits for it before.
    #[error("{lock} is held by {holder}")]
    HeldElsewhere {
        /// The lock.
        lock: String,
        /// Who has it, as far as it said.
        holder: String,
    },
    /// The file that stands for the lock among processes cannot be locked, or is lost.
    #[error("{lock} cannot be locked: {problem}")]
    FenceFailed {
        /// The lock.
        lock: String,
        /// What the system says.
        problem: String,
    },
    /// Locks of a level that reaches beyond the process, without a directory for their files.
    #[error("locks of the level {level} reach beyond this process and need a lock directory")]
    NoLockDirectory {
        /// The level.
        level: String,
    },
    /// Locks of a level that reaches beyond the machine, without a daemon to ask.
    #[error("locks of the level {level} reach beyond this machine and need a daemon")]
    NotGlobal {
        /// The level.
        level: String,
    },
    /// More locks at once than can be numbered.
    #[error("more than {limit} locks are held or waited for")]
    TooManyLocks {
        /// The limit.
        limit: u32,
    },
}

impl LockError {
    /// Whether somebody else has the locks, or had them for too long: asked for later, they may be
    /// free.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::TimedOut { .. }
                | Self::TooFew { .. }
                | Self::HeldElsewhere { .. }
        )
    }
}

impl From<LockError> for vocabulary::Error {
    fn from(error: LockError) -> Self {
        let kind = match error.is_busy() {
            true => vocabulary::ErrorKind::InUse,
            false => vocabulary::ErrorKind::Refused,
        };
        let hint = match &error {
            LockError::OutOfOrder { .. } => "ask for both at once, or for the deeper one later",
            LockError::NoLockDirectory { .. } => "name the lock directory of this machine",
            LockError::NotGlobal { .. } => {
                "ask a daemon, or choose in so many words that this machine is enough"
            }
            LockError::FenceFailed { .. } => {
                "the lock directory has to be on a local file system with room, and all who use it \
                 have to be able to write there; lockmaster locks --sweep clears it"
            }
            _ => return Self::new(kind, error.to_string()).caused_by(error),
        };
        Self::new(kind, error.to_string()).hint(hint).caused_by(error)
    }
}
