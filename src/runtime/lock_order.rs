//! Finds lock orders that can deadlock, before they do.
//!
//! Whoever takes a lock while holding another says that the first comes before the second. The
//! checker remembers who said what first, between *classes* of locks ("job queue", "lock table",
//! the level "instance"), and reports whoever contradicts: an order that closes a cycle can
//! deadlock, even if it did not this time. `design/lock-order.md` has the rules and the reasons.
//!
//! It watches every [`Mutex`](super::sync::Mutex) of this crate, locks held by jobs
//! ([`Owner`]), and any lock of yours that carries a [`Tracked`]:
//!
//! ```
//! use lockmaster::runtime::lock_order::{Access, Held, LockClass, Tracked};
//! use std::sync::{RwLock, RwLockReadGuard};
//!
//! struct Watched<T> {
//!     tracked: Tracked,
//!     lock: RwLock<T>,
//! }
//!
//! impl<T> Watched<T> {
//!     #[track_caller]
//!     fn read(&self) -> (RwLockReadGuard<'_, T>, Held) {
//!         let held = self.tracked.attempt(Access::Shared); // before it may block
//!         (self.lock.read().unwrap(), held)
//!     }
//! }
//!
//! static INVENTORY: LockClass = LockClass::new("inventory");
//! let inventory = Watched { tracked: Tracked::new(&INVENTORY), lock: RwLock::new(3) };
//! assert_eq!(*inventory.read().0, 3);
//! ```
//!
//! It is on in debug builds and with the feature `lock-order`; elsewhere, and under loom, every
//! type a lock carries is zero-sized and every call empty ([`ENABLED`]). The environment variable
//! `LOCKMASTER_LOCK_ORDER` (`panic`, `warn` or `off`) or [`set_reaction`] says what a finding
//! does: by default a panic in debug builds and a warning elsewhere.

mod book;
mod checker;
mod class;
mod export;
mod held;
mod levels;
mod matrix;
mod report;

#[cfg(all(not(loom), any(debug_assertions, feature = "lock-order")))]
mod active;
#[cfg(all(not(loom), any(debug_assertions, feature = "lock-order")))]
use active as hook;
#[cfg(not(all(not(loom), any(debug_assertions, feature = "lock-order"))))]
mod inactive;
#[cfg(not(all(not(loom), any(debug_assertions, feature = "lock-order"))))]
use inactive as hook;

pub use checker::{Checker, Reaction};
pub use class::{ClassId, LockClass};
pub use held::{Access, Acquisition, HeldSet};
pub use hook::{
    Entered, Held, Owner, Suspended, Tracked, allow, assert_no_locks_held, dot, json, level_class,
    reports, set_reaction,
};
pub(in crate::runtime) use levels::LevelClasses;
pub use report::{Order, Problem, Report};

/// Whether this build watches locks.
pub const ENABLED: bool = cfg!(all(not(loom), any(debug_assertions, feature = "lock-order")));

/// Says that taking the second class while holding the first is safe, and why.
///
/// ```
/// use lockmaster::runtime::lock_order::LockClass;
///
/// static INDEX: LockClass = LockClass::new("index");
/// static PAGE: LockClass = LockClass::new("page");
/// lockmaster::allow_edge!(PAGE, INDEX, "both are only ever taken under the tree's own lock");
/// ```
#[macro_export]
macro_rules! allow_edge {
    ($held:expr, $wanted:expr, $why:literal) => {
        $crate::runtime::lock_order::allow(&$held, &$wanted, $why)
    };
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;
    use crate::runtime::sync;

    #[test]
    fn a_lock_carries_nothing_in_a_build_that_does_not_watch() {
        assert_eq!(size_of::<(Tracked, Held, Owner)>() == 0, !ENABLED);
        let same_size = size_of::<sync::Mutex<u64>>() == size_of::<parking_lot::Mutex<u64>>();
        assert_eq!(same_size, !ENABLED);
    }
}
