//! Where records are kept: one trait, and what implements it.
//!
//! Knows the vocabulary and files, nothing of what the records mean to the queue.

use crate::vocabulary::{Error, Record};

mod archive;
mod codec;
mod damage;
mod durable_file;
mod fence;
mod file;
mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod log;
mod memory;
mod queue_lock;
mod recovery;
mod segment;
mod state_dir;

#[cfg(test)]
mod archive_tests;
#[cfg(test)]
mod codec_tests;
#[cfg(test)]
mod design_tests;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
pub(crate) mod sim;

pub use archive::{Archive, ArchiveReport};
pub use damage::{Damage, DamagedLog};
pub(crate) use durable_file::{DurableFile, replace_file};
pub use fence::{Fence, FenceName, FenceReport, ForeignLocks, Line, LockDir, OwnerRecord, Swept};
pub use log::LogStore;
pub use memory::MemoryStore;
pub use queue_lock::QueueLock;
pub use recovery::{ReplayReport, TornTail};
#[cfg(test)]
pub(crate) use segment::Sizes;

/// The most bytes a transaction may take in a [`LogStore`], encoded.
pub const MAX_TRANSACTION_BYTES: usize = frame::MAX_BYTES - frame::HEADER_BYTES;

/// Keeps transactions of records in order, durably. A transaction is kept whole or not at all.
///
/// Kept narrow on purpose, so that a replicated log can stand behind it as well as a file:
/// opening replays, appending makes durable, and what is not needed any more may be forgotten.
pub trait Store: Send {
    /// Appends transactions in order; when it returns `Ok`, they are durable.
    ///
    /// # Errors
    ///
    /// `Invalid` where one transaction is too large ([`MAX_TRANSACTION_BYTES`]): nothing was
    /// kept, and the store goes on.
    /// `Io` where writing failed: any prefix of the transactions may have been kept, and the
    /// store refuses everything from then on, because a failed sync cannot be retried.
    fn append(&mut self, transactions: &[Vec<Record>]) -> Result<(), Error>;

    /// How many bytes it takes. A store that says 0 is never asked to forget.
    fn bytes(&self) -> u64 {
        0
    }

    /// Marks this place between two appends.
    ///
    /// # Errors
    ///
    /// `Io`; as where an append fails, the store refuses everything from then on.
    fn mark(&mut self) -> Result<Mark, Error> {
        Ok(Mark(0))
    }

    /// What was appended before that mark is not needed any more, if what was appended since is
    /// there. May be killed and repeated; until all of it is forgotten, opening replays either
    /// everything or what follows a mark.
    ///
    /// # Errors
    ///
    /// `Io`: something is left. That does no harm but for the room it takes, and the next call
    /// tries again.
    fn forget_before(&mut self, _: Mark) -> Result<(), Error> {
        Ok(())
    }
}

/// A place between two appends to a [`Store`]; what the number means is the store's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub u64);
