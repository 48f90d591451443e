//! Who holds which lock, who waits for which, and who is granted next.
//!
//! [`LockTable`] is a value: it starts no thread, reads no clock and calls nobody. A request is
//! a set of locks, granted all together or not at all. One that cannot be granted waits on a
//! single lock that blocks it; [`pump`](LockTable::pump) grants what became possible, in one
//! order, and only as many as somebody wants.
//!
//! `design/locking.md` says why nothing here deadlocks or starves.

mod check;
mod entry;
mod error;
#[cfg(test)]
mod explore;
mod heap;
mod holders;
mod holding;
mod key;
mod line;
mod mode;
mod number;
mod owners;
mod policy;
mod prepared;
mod pump;
mod release;
mod report;
mod request;
mod reserve;
mod slot;
mod slots;
mod table;
mod waiters;
mod watch;

pub use error::LockError;
pub use mode::Mode;
pub use policy::{RequestKind, RequestOptions, WaitPolicy};
pub use prepared::Prepared;
pub use report::{
    Blocker, Holder, Link, LockReport, OldWait, OwnerReport, Reserves, WaitReport, Wanter,
};
pub use table::{LockTable, Outcome, OwnerId};
