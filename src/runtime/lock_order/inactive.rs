//! The same as in a build that watches, and nothing of it: no size, no work.

use std::marker::PhantomData;

use serde_json::Value;

use super::checker::Reaction;
use super::class::LockClass;
use super::held::Access;
use super::report::Report;

/// Where a class keeps its number in builds that watch.
pub(super) type Slot = PhantomData<()>;

pub(super) const fn slot() -> Slot {
    PhantomData
}

/// The class of all levels in this build.
#[must_use]
pub const fn level_class(_: &str, _: &str) -> &'static LockClass {
    static UNWATCHED: LockClass = LockClass::new("level");
    &UNWATCHED
}

pub(in crate::runtime) const fn take_set(
    _: &'static LockClass,
    _: (&str, &str),
    _: Access,
    _: bool,
) -> Held {
    Held { not_send: PhantomData }
}

/// Nothing is watched in this build.
pub const fn set_reaction(_: Reaction) {}

/// Nothing is found in this build.
#[must_use]
pub const fn reports() -> Vec<Report> {
    Vec::new()
}

/// No order is seen in this build: an empty graph.
#[must_use]
pub fn dot() -> String {
    "digraph {\n}\n".to_owned()
}

/// No order is seen in this build: `null`.
#[must_use]
pub const fn json() -> Value {
    Value::Null
}

/// Nothing has to be excepted in this build.
pub const fn allow(_: &'static LockClass, _: &'static LockClass, _: &'static str) {}

/// Nothing is asserted in this build.
pub const fn assert_no_locks_held(_: &'static str) {}

/// What a lock carries in builds that watch.
#[derive(Debug)]
pub struct Tracked;

impl Tracked {
    /// For a lock of that class.
    #[must_use]
    pub const fn new(_: &'static LockClass) -> Self {
        Self
    }

    /// For a lock of that class with that name.
    #[must_use]
    pub const fn named(_: &'static LockClass, _: &str) -> Self {
        Self
    }

    /// Nothing in this build.
    pub const fn attempt(&self, _: Access) -> Held {
        Held { not_send: PhantomData }
    }

    /// Nothing in this build.
    pub const fn hold(&self, _: Access) -> Held {
        Held { not_send: PhantomData }
    }
}

/// That a thread holds a lock, until dropped.
#[derive(Debug)]
#[must_use = "the lock counts as released when this is dropped"]
pub struct Held {
    not_send: PhantomData<*const ()>,
}

impl Held {
    /// Nothing in this build.
    pub const fn suspend(self) -> Suspended {
        Suspended { held: self }
    }
}

/// A lock that is released for as long as its thread waits.
#[derive(Debug)]
#[must_use = "the lock is held again once the wait is over"]
pub struct Suspended {
    held: Held,
}

impl Suspended {
    /// Nothing in this build.
    pub const fn resume(self) -> Held {
        self.held
    }
}

/// Somebody other than a thread who holds locks: a job.
#[derive(Debug)]
pub struct Owner;

impl Owner {
    /// One that holds nothing.
    #[must_use]
    pub const fn new(_: &str) -> Self {
        Self
    }

    /// Nothing in this build.
    pub const fn attempt(&self, _: &'static LockClass, _: &str, _: Access) {}

    /// Nothing in this build.
    pub const fn hold(&self, _: &'static LockClass, _: &str, _: Access) {}

    /// Nothing in this build.
    pub const fn release(&self, _: &'static LockClass, _: &str) {}

    /// Nothing in this build.
    pub const fn release_all(&self) {}

    /// Nothing in this build.
    pub const fn enter(&self) -> Entered {
        Entered { not_send: PhantomData }
    }
}

/// That a thread works for an [`Owner`], until dropped.
#[derive(Debug)]
#[must_use = "the thread works for nobody when this is dropped"]
pub struct Entered {
    not_send: PhantomData<*const ()>,
}
