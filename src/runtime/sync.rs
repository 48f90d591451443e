//! The mutex and the condition variable everything in the runtime is built on.
//!
//! parking_lot's normally, loom's when built with `--cfg loom`, so that the very code that ships
//! is the code that loom explores; shuttle's with `--cfg loom --cfg shuttle`, for scenarios with
//! more threads than loom can go through. Every mutex names its [`LockClass`], through which the
//! [lock-order checker](super::lock_order) sees it. There is no timed wait among the facade's
//! promises: a deadline is an event that a timer delivers, since loom does not model time.
//!
//! Built with `--cfg spurious`, the first wait on each condition variable returns at once, as
//! any wait may. loom never does that by itself, and would pass an `if` where a `while` belongs.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use super::lock_order::{Access, Held, LockClass, Tracked};

#[cfg(not(loom))]
mod imp {
    use std::time::Instant;

    pub(in crate::runtime) use parking_lot::{Condvar, Mutex, MutexGuard};

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }

    pub(super) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        mutex.try_lock()
    }

    pub(super) fn wait<'a, T>(
        condvar: &Condvar,
        mut guard: MutexGuard<'a, T>,
    ) -> MutexGuard<'a, T> {
        condvar.wait(&mut guard);
        guard
    }

    pub(super) fn wait_until<'a, T>(
        condvar: &Condvar,
        mut guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> MutexGuard<'a, T> {
        let _ = condvar.wait_until(&mut guard, deadline);
        guard
    }
}

#[cfg(loom)]
mod imp {
    use std::sync::PoisonError;
    use std::time::Instant;

    #[cfg(not(shuttle))]
    pub(in crate::runtime) use loom::sync::{Condvar, Mutex, MutexGuard};
    #[cfg(shuttle)]
    pub(in crate::runtime) use shuttle::sync::{Condvar, Mutex, MutexGuard};

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        mutex.try_lock().ok()
    }

    pub(super) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait_until<'a, T>(
        condvar: &Condvar,
        guard: MutexGuard<'a, T>,
        _deadline: Instant,
    ) -> MutexGuard<'a, T> {
        wait(condvar, guard)
    }
}

// A model's threads are not the system's: what belongs to a thread has to know them.
#[cfg(all(loom, not(shuttle)))]
pub(in crate::runtime) use loom::thread_local;
#[cfg(shuttle)]
pub(in crate::runtime) use shuttle::thread_local;
#[cfg(not(loom))]
pub(in crate::runtime) use std::thread_local;

/// What the checker itself is built on: the same primitives, which nobody watches.
pub(super) mod raw {
    #[cfg(all(loom, not(shuttle)))]
    pub(in crate::runtime) use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering};
    #[cfg(shuttle)]
    pub(in crate::runtime) use shuttle::sync::atomic::{AtomicU8, AtomicU64, Ordering};
    #[cfg(not(loom))]
    pub(in crate::runtime) use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    pub(in crate::runtime) use super::imp::{Mutex, MutexGuard};

    pub(in crate::runtime) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        super::imp::lock(mutex)
    }
}

/// A value that one thread at a time may touch, of a [`LockClass`].
///
/// A panic while it is locked unlocks it and leaves the value as it is.
///
/// ```
/// use lockmaster::runtime::lock_order::LockClass;
/// use lockmaster::runtime::sync::Mutex;
///
/// static LEDGER: LockClass = LockClass::new("ledger");
/// let ledger = Mutex::new(&LEDGER, vec![1]);
/// ledger.lock().push(2);
/// assert_eq!(*ledger.lock(), [1, 2]);
/// ```
pub struct Mutex<T> {
    tracked: Tracked,
    inner: imp::Mutex<T>,
}

impl<T> Mutex<T> {
    /// An unlocked mutex of that class.
    pub fn new(class: &'static LockClass, value: T) -> Self {
        Self { tracked: Tracked::new(class), inner: imp::Mutex::new(value) }
    }

    /// An unlocked mutex of a class that allows several of its mutexes to be held at once, taken
    /// in the order of their names (see [`LockClass::ordered_by`]).
    pub fn named(class: &'static LockClass, name: &str, value: T) -> Self {
        Self { tracked: Tracked::named(class, name), inner: imp::Mutex::new(value) }
    }

    /// Waits until nobody else holds it.
    ///
    /// # Panics
    ///
    /// Where the lock-order checker is on, set to panic, and finds that this order of
    /// acquisition can deadlock.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let held = self.tracked.attempt(Access::Exclusive);
        MutexGuard { inner: imp::lock(&self.inner), held }
    }

    /// Locks it if nobody holds it. Says nothing about order, since it never waits.
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let inner = imp::try_lock(&self.inner)?;
        Some(MutexGuard { inner, held: self.tracked.hold(Access::Exclusive) })
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match imp::try_lock(&self.inner) {
            Some(value) => f.debug_tuple("Mutex").field(&*value).finish(),
            None => f.write_str("Mutex(<locked>)"),
        }
    }
}

/// The right to touch the value of a [`Mutex`], until dropped.
#[must_use = "the mutex is unlocked when this is dropped"]
pub struct MutexGuard<'a, T> {
    inner: imp::MutexGuard<'a, T>,
    held: Held,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Where threads wait until the value of a [`Mutex`] has changed.
///
/// A wait may return without a notification: call it in a `while` about the value.
pub struct Condvar {
    inner: imp::Condvar,
    /// Whether the first wait has been cut short.
    #[cfg(spurious)]
    woken: std::sync::atomic::AtomicBool,
}

impl Condvar {
    /// One that nobody waits on.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: imp::Condvar::new(),
            #[cfg(spurious)]
            woken: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Unlocks, waits for a notification, and locks again.
    ///
    /// # Panics
    ///
    /// Where the lock-order checker is on, set to panic, and this thread holds another lock:
    /// whoever has to notify may need it.
    #[track_caller]
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        if self.wakes_spuriously() {
            return guard;
        }
        let MutexGuard { inner, held } = guard;
        let waiting = held.suspend();
        let inner = imp::wait(&self.inner, inner);
        MutexGuard { inner, held: waiting.resume() }
    }

    /// As [`wait`](Self::wait), but returns at the latest at `deadline`.
    ///
    /// For waits whose whole meaning is time. Nothing that decides about locks or jobs may rest
    /// on it: under loom time stands still, and the deadline never comes.
    #[track_caller]
    pub(super) fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> MutexGuard<'a, T> {
        let MutexGuard { inner, held } = guard;
        let waiting = held.suspend();
        let inner = imp::wait_until(&self.inner, inner, deadline);
        MutexGuard { inner, held: waiting.resume() }
    }

    /// Wakes one of those who wait, if anybody does.
    pub fn notify_one(&self) {
        self.inner.notify_one();
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        self.inner.notify_all();
    }

    #[cfg(spurious)]
    fn wakes_spuriously(&self) -> bool {
        !self.woken.swap(true, std::sync::atomic::Ordering::Relaxed)
    }

    #[cfg(not(spurious))]
    const fn wakes_spuriously(&self) -> bool {
        false
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condvar")
    }
}
