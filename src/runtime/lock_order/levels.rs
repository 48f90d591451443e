//! The levels of a hierarchy as classes, for threads that block for the locks of a table.
//!
//! The table keeps each owner in order. What it cannot see is one thread with two owners, or with
//! a mutex: that thread waits in one place while it stands in the way in another.

use super::class::LockClass;
use super::held::Access;
use super::hook::{Held, level_class, take_set};
use crate::vocabulary::{Hierarchy, LevelId, LevelLocks, LockMode, LockRequest};

/// A class for each level.
#[derive(Debug)]
pub(in crate::runtime) struct LevelClasses {
    classes: Vec<&'static LockClass>,
}

impl LevelClasses {
    pub(in crate::runtime) fn new(hierarchy: &Hierarchy) -> Self {
        let among = hierarchy.to_string();
        let class = |level| level_class(hierarchy.name(level), &among);
        Self { classes: hierarchy.levels().map(class).collect() }
    }

    /// Takes note that this thread asks for those locks, and then holds them until what is
    /// returned for each level is dropped. `waits` says whether it may have to wait.
    ///
    /// # Panics
    ///
    /// As [`Tracked::attempt`](super::Tracked::attempt).
    #[track_caller]
    pub(in crate::runtime) fn take(
        &self,
        request: &LockRequest,
        waits: bool,
    ) -> Vec<(LevelId, Held)> {
        let mut taken = Vec::new();
        for (level, locks) in request.levels() {
            // A level of another hierarchy, which the table will refuse, has no class here.
            if let Some(class) = self.classes.get(level.rank()) {
                taken.push((level, take_set(class, span(locks), access(locks), waits)));
            }
        }
        taken
    }
}

/// The first and the last name of a set. All locks are before and after every name.
fn span(locks: &LevelLocks) -> (&str, &str) {
    const AFTER_ALL: &str = "\u{10FFFF}";
    if locks.all().is_some() {
        return ("", AFTER_ALL);
    }
    let mut names = locks.names().map(|(name, _)| name.as_str());
    let first = names.next().unwrap_or_default();
    (first, names.last().unwrap_or(first))
}

fn access(locks: &LevelLocks) -> Access {
    let modes = locks.names().map(|(_, mode)| mode).chain(locks.all());
    if modes.into_iter().any(|mode| mode == LockMode::Exclusive) {
        Access::Exclusive
    } else {
        Access::Shared
    }
}
