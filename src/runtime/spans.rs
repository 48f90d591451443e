//! The spans of what workers do for opcodes: whatever is logged meanwhile stands in them.
//!
//! A span lasts as long as a thread works for an opcode. One that waits for locks or for the disk
//! is in none, so that it costs a subscriber nothing; after the wait the next span has the same
//! ids. `design/observability.md` lists them.

use std::fmt;

use tracing::{Span, info_span};

use super::processor::{Attempt, Purpose};
use crate::vocabulary::{Hierarchy, LevelLocks, LockRequest, OpId};

/// How many locks a line names.
const NAMED: usize = 16;

impl Attempt {
    /// The span in which a worker acts for it.
    pub(super) fn span(&self, id: &OpId) -> Span {
        let Self { job, op, tried, .. } = self;
        let (job, attempt) = (job.get(), tried.saturating_add(1));
        match self.purpose {
            Purpose::Execute => info_span!("opcode", job, op, %id, attempt),
            Purpose::Undo => info_span!("undo", job, op, %id, attempt),
        }
    }
}

/// The locks of a request, from the level of a rank on: for one line.
pub(super) struct Named<'a> {
    pub(super) hierarchy: &'a Hierarchy,
    pub(super) locks: &'a LockRequest,
    pub(super) from_rank: usize,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = self.locks.levels().filter(|(level, _)| level.rank() >= self.from_rank);
        let locks = |(level, locks): (_, &LevelLocks)| {
            let level = self.hierarchy.name(level);
            let all = locks.all().map(|mode| format!("{level}/[lockset] {mode}"));
            let names = locks.names().map(move |(name, mode)| format!("{level}/{name} {mode}"));
            all.into_iter().chain(names.collect::<Vec<_>>())
        };
        for (place, lock) in levels.flat_map(locks).enumerate() {
            match place {
                0 => f.write_str(&lock)?,
                1..NAMED => write!(f, ", {lock}")?,
                _ => return f.write_str(", ..."),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::LockMode;

    fn named(locks: &LockRequest, from_rank: usize) -> String {
        Named { hierarchy: &Hierarchy::default(), locks, from_rank }.to_string()
    }

    #[test]
    fn a_line_names_the_locks_of_a_request_but_not_thousands() {
        let hierarchy = Hierarchy::default();
        let [instance, node] = ["instance", "node"].map(|level| hierarchy.level(level).unwrap());
        let mut locks = LockRequest::new();
        assert_eq!(named(&locks, 0), "");
        locks.add(instance, "web", LockMode::Exclusive).unwrap();
        locks.add_all(node, LockMode::Shared).unwrap();
        assert_eq!(named(&locks, 0), "instance/web exclusive, node/[lockset] shared");
        assert_eq!(named(&locks, node.rank()), "node/[lockset] shared");
        (0..99).for_each(|n| _ = locks.add(instance, &n.to_string(), LockMode::Shared).unwrap());
        let line = named(&locks, 0);
        assert_eq!((line.matches(", ").count(), line.ends_with(", ...")), (NAMED, true), "{line}");
    }
}
