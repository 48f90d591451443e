//! What somebody holds.

use std::panic::Location;
use std::sync::Arc;

use super::class::ClassId;

/// Whether a lock is taken together with others or alone.
///
/// The order of acquisition does not care: a reader waits behind a writer that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Together with others that take it shared.
    Shared,
    /// Alone.
    Exclusive,
}

/// One lock that somebody takes or holds.
#[derive(Clone, Debug)]
pub struct Acquisition {
    pub(super) class: ClassId,
    /// Tells locks of one class apart, together with the name.
    pub(super) lock: usize,
    pub(super) name: Option<Arc<str>>,
    pub(super) access: Access,
    pub(super) at: &'static Location<'static>,
    /// The [`Owner`](super::Owner) that holds it; 0 where a thread does, which may then not wait.
    pub(super) owner: u64,
}

impl Acquisition {
    /// Of the lock with that number within its class, by the caller, alone.
    #[track_caller]
    #[must_use]
    pub const fn new(class: ClassId, lock: usize) -> Self {
        let at = Location::caller();
        Self { class, lock, name: None, access: Access::Exclusive, at, owner: 0 }
    }

    /// The same, of the lock of that name.
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The same, with that access.
    #[must_use]
    pub const fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Locks of one class with names are told apart by these.
    pub(super) fn is_same_lock(&self, other: &Self) -> bool {
        let same = match (&self.name, &other.name) {
            (Some(name), Some(other)) => name == other,
            _ => self.lock == other.lock,
        };
        self.class == other.class && same
    }
}

/// The locks that one thread or one job holds, in the order they were taken.
#[derive(Clone, Debug, Default)]
pub struct HeldSet {
    /// Who it is, where not the thread.
    pub(super) holder: Option<Arc<str>>,
    pub(super) held: Vec<Acquisition>,
}

impl HeldSet {
    /// Nothing, held by the thread that looks.
    #[must_use]
    pub const fn new() -> Self {
        Self { holder: None, held: Vec::new() }
    }

    /// Nothing, held by somebody of that name.
    #[must_use]
    pub fn of(holder: impl Into<Arc<str>>) -> Self {
        Self { holder: Some(holder.into()), held: Vec::new() }
    }

    /// Adds a lock. Says nothing about order: see [`Checker::attempt`](super::Checker::attempt).
    #[inline]
    pub fn push(&mut self, acquisition: Acquisition) {
        self.held.push(acquisition);
    }

    /// Takes out the last acquisition of that lock, in whatever order.
    pub fn remove(&mut self, class: ClassId, lock: usize) -> Option<Acquisition> {
        self.take(|held| held.class == class && held.lock == lock)
    }

    /// Takes out the last acquisition that `matches`. Linear in what is held above it.
    pub(super) fn take(&mut self, matches: impl Fn(&Acquisition) -> bool) -> Option<Acquisition> {
        let place = self.held.iter().rposition(matches)?;
        Some(self.held.remove(place))
    }

    /// Gives the last acquisition of that lock another name.
    #[cfg(all(not(loom), any(debug_assertions, feature = "lock-order")))]
    pub(super) fn rename(&mut self, lock: usize, name: &str) {
        if let Some(one) = self.held.iter_mut().rfind(|one| one.lock == lock) {
            one.name = Some(name.into());
        }
    }

    /// Who holds these.
    pub(super) fn holder(&self) -> String {
        if let Some(holder) = &self.holder {
            return holder.to_string();
        }
        let thread = std::thread::current();
        thread.name().map_or_else(|| format!("{:?}", thread.id()), |name| format!("thread {name}"))
    }
}
