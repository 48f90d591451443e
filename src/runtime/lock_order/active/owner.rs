//! Jobs, whose locks belong to no thread.

use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::checker::Reaction;
use super::super::class::LockClass;
use super::super::held::{Access, Acquisition, HeldSet};
use crate::runtime::sync::raw;

use super::{CHECKER, THREAD, react, with_held};

/// Somebody other than a thread who holds locks: a job. Its locks belong to it wherever it runs.
#[derive(Debug)]
pub struct Owner {
    id: u64,
    held: raw::Mutex<HeldSet>,
}

impl Owner {
    /// One that holds nothing. The name is for reports.
    #[must_use]
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { id, held: raw::Mutex::new(HeldSet::of(name)) }
    }

    /// Takes note that it asks for that lock and may have to wait. What the calling thread holds
    /// counts as held too.
    ///
    /// # Panics
    ///
    /// Where this order of acquisition can deadlock and the reaction is to panic.
    #[track_caller]
    pub fn attempt(&self, class: &'static LockClass, name: &str, access: Access) {
        let Some(wanted) = self.acquisition(class, name, access, Location::caller()) else {
            return;
        };
        let mut all = raw::lock(&self.held).clone();
        with_held(|held| all.held.extend(held.held.iter().filter(|one| one.owner == 0).cloned()));
        react(CHECKER.attempt(&all, &wanted));
    }

    /// Takes note that it got that lock.
    #[track_caller]
    pub fn hold(&self, class: &'static LockClass, name: &str, access: Access) {
        let Some(taken) = self.acquisition(class, name, access, Location::caller()) else {
            return;
        };
        if self.runs_here() {
            with_held(|held| held.push(taken.clone()));
        }
        raw::lock(&self.held).push(taken);
    }

    /// Takes note that it released that lock once.
    pub fn release(&self, class: &'static LockClass, name: &str) {
        let Some(class) = class.id() else { return };
        let is_it = |one: &Acquisition| {
            one.owner == self.id && one.class == class && one.name.as_deref() == Some(name)
        };
        raw::lock(&self.held).take(is_it);
        if self.runs_here() {
            with_held(|held| held.take(is_it));
        }
    }

    /// Takes note that it released everything.
    pub fn release_all(&self) {
        raw::lock(&self.held).held.clear();
        if self.runs_here() {
            with_held(|held| held.held.retain(|one| one.owner != self.id));
        }
    }

    /// Makes what it holds count as held by this thread too, until the returned value is dropped:
    /// mutexes are then seen to be taken under the job's locks.
    pub fn enter(&self) -> Entered {
        let before = THREAD.try_with(|thread| thread.owner.replace(self.id)).unwrap_or_default();
        let own = raw::lock(&self.held).held.clone();
        with_held(|held| held.held.extend(own));
        Entered { id: self.id, before, not_send: PhantomData }
    }

    fn runs_here(&self) -> bool {
        THREAD.try_with(|thread| thread.owner.get() == self.id).unwrap_or_default()
    }

    fn acquisition(
        &self,
        class: &'static LockClass,
        name: &str,
        access: Access,
        at: &'static Location<'static>,
    ) -> Option<Acquisition> {
        if CHECKER.reaction() == Reaction::Off {
            return None;
        }
        let class = class.id()?;
        Some(Acquisition { class, lock: 0, name: Some(name.into()), access, at, owner: self.id })
    }
}

/// That a thread works for an [`Owner`], until dropped.
#[derive(Debug)]
#[must_use = "the thread works for nobody when this is dropped"]
pub struct Entered {
    id: u64,
    before: u64,
    not_send: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        with_held(|held| held.held.retain(|one| one.owner != self.id));
        let _ = THREAD.try_with(|thread| thread.owner.set(self.before));
    }
}
