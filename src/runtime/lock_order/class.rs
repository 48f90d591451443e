//! Kinds of locks: the nodes of the graph.

use std::cmp::Ordering;
use std::fmt;

use super::held::{Access, Acquisition};
use super::hook::{Slot, slot};
use super::report::Problem;

/// A class as one [`Checker`](super::Checker) knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(u8);

impl ClassId {
    /// The id with that number, where there can be one.
    pub(super) fn from_index(index: usize) -> Option<Self> {
        u8::try_from(index).ok().map(Self)
    }

    /// Its number, from 0 in the order of registration.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A kind of lock: all locks that protect the same sort of thing, and so have one place in the
/// order of acquisition. Declared as a `static`; two declarations are two classes.
pub struct LockClass {
    pub(super) name: &'static str,
    pub(super) nesting: Nesting,
    /// What the process-wide checker calls it; `None` where that has no room for it.
    pub(super) id: Slot,
}

impl LockClass {
    /// A class of which nobody holds two locks at once.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, nesting: Nesting::NEVER, id: slot() }
    }

    /// A class of which several locks may be held, taken so that names ascend by `compare`.
    ///
    /// Use `str::cmp` for plain names.
    #[must_use]
    pub const fn ordered_by(mut self, compare: fn(&str, &str) -> Ordering) -> Self {
        self.nesting.compare = Some(compare);
        self
    }

    /// A class whose locks their holder may take again, as long as not more strongly.
    #[must_use]
    pub const fn reentrant(mut self) -> Self {
        self.nesting.reentrant = true;
        self
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Debug for LockClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockClass").field(&self.name).finish()
    }
}

/// What holding two locks of one class takes.
#[derive(Clone, Copy)]
pub(super) struct Nesting {
    compare: Option<fn(&str, &str) -> Ordering>,
    reentrant: bool,
}

impl Nesting {
    const NEVER: Self = Self { compare: None, reentrant: false };

    /// What is wrong with taking `wanted` while holding `held`, both of this class.
    pub(super) fn problem(self, held: &Acquisition, wanted: &Acquisition) -> Option<Problem> {
        if held.is_same_lock(wanted) {
            return self.problem_with_same(held.access, wanted.access);
        }
        let in_order = match (self.compare, &held.name, &wanted.name) {
            (Some(compare), Some(held), Some(wanted)) => compare(held, wanted) == Ordering::Less,
            _ => false,
        };
        (!in_order).then_some(Problem::SameClass)
    }

    fn problem_with_same(self, held: Access, wanted: Access) -> Option<Problem> {
        match (held, wanted) {
            (Access::Shared, Access::Exclusive) => Some(Problem::Upgrade),
            _ => (!self.reentrant).then_some(Problem::SameLock),
        }
    }
}
