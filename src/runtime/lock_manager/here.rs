//! Threads as owners of locks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::locks::OwnerId;
use crate::runtime::sync::thread_local;

thread_local! {
    /// Under which number this thread owns locks of which `Locks`. It ends with the thread: no
    /// later thread takes over what this one held.
    static OWNERS: RefCell<HashMap<u64, OwnerId>> = RefCell::default();
}

/// A number that no other `Locks` of this process have.
pub(super) fn new_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// This thread as an owner of the locks with that number.
pub(super) fn owner_of(locks: u64, new: impl FnOnce() -> OwnerId) -> OwnerId {
    OWNERS.with(|owners| *owners.borrow_mut().entry(locks).or_insert_with(new))
}
