//! What those hold who run a command, told to it in a variable of the environment: a job of the
//! daemon, a call of `lockmaster lock`. Calls within the command then do not wait for them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::runtime::OwnerRecord;
use crate::vocabulary::{Hierarchy, LevelId, LevelLocks, LockMode, LockRequest, Timestamp};

/// The variable.
pub const VARIABLE: &str = "LOCKMASTER_HELD";

/// More locks are not told, so that the variable is not longer than the system lets it be. The
/// deepest come first: who asks for what is not told then asks out of order, and is refused.
const MOST: usize = 200;

/// One who holds locks while it runs a command.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Holder {
    /// The process that holds them. They are worth nothing when it has ended.
    pub who: OwnerRecord,
    /// The lock directory, as [`place_of`] says it: locks of another one are other locks.
    pub place: String,
    /// Whether all of them hold on this machine only.
    pub on_this_node: bool,
    /// What it holds, the deepest first.
    pub locks: Vec<HeldLock>,
}

/// A lock that is held.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct HeldLock {
    /// The name of its level.
    pub level: String,
    /// Its name; none for the whole level.
    pub name: Option<String>,
    /// How it is held.
    pub mode: LockMode,
}

impl Holder {
    /// This process, which holds those locks for `what`.
    #[must_use]
    pub fn this_process(
        what: &str,
        place: String,
        on_this_node: bool,
        hierarchy: &Hierarchy,
        locks: &LockRequest,
    ) -> Self {
        let mut all: Vec<HeldLock> = Vec::new();
        locks.levels().for_each(|(level, locks)| all.extend(of_level(hierarchy, level, locks)));
        let locks = all.into_iter().rev().take(MOST).collect();
        let who = OwnerRecord::of_this_process(what, Timestamp::default());
        Self { who, place, on_this_node, locks }
    }
}

fn of_level<'a>(
    hierarchy: &'a Hierarchy,
    level: LevelId,
    locks: &'a LevelLocks,
) -> impl Iterator<Item = HeldLock> {
    let all = locks.all().map(|mode| (None, mode));
    let names = locks.names().map(|(name, mode)| (Some(name.to_string()), mode));
    let level = hierarchy.name(level);
    let held = move |(name, mode)| HeldLock { level: level.to_owned(), name, mode };
    all.into_iter().chain(names).map(held)
}

/// How a lock directory is called here, whatever path leads to it; empty where there is none.
#[must_use]
pub fn place_of(directory: Option<&Path>) -> String {
    let Some(path) = directory else { return String::new() };
    path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// The value of the variable.
#[must_use]
pub fn to_text(holders: &[Holder]) -> String {
    // Texts and numbers become JSON without fail.
    serde_json::to_string(holders).unwrap_or_default()
}

/// Those of a value of the variable that still run; none of a value that is not ours.
#[must_use]
pub fn parse(text: &str) -> Vec<Holder> {
    let mut holders: Vec<Holder> = serde_json::from_str(text).unwrap_or_default();
    holders.retain(|holder| holder.who.is_alive());
    holders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_told_the_deepest_first_and_not_without_end() {
        let hierarchy = Hierarchy::default();
        let [instance, node] = ["instance", "node"].map(|name| hierarchy.level(name).unwrap());
        let mut locks = LockRequest::new();
        locks.add(instance, "web", LockMode::Shared).unwrap();
        locks.add_all(node, LockMode::Exclusive).unwrap();
        let holder = Holder::this_process("a test", place_of(None), false, &hierarchy, &locks);
        let told = parse(&to_text(&[holder]));
        assert_eq!((told[0].locks[0].level.as_str(), &told[0].locks[0].name), ("node", &None));
        assert_eq!(told[0].locks[1].name.as_deref(), Some("web"));
        for number in 0..10_000 {
            let name = format!("{number}{}", "x".repeat(200));
            locks.add(instance, &name, LockMode::Shared).unwrap();
        }
        let holder = Holder::this_process("a test", place_of(None), false, &hierarchy, &locks);
        assert!(to_text(&[holder]).len() < 100_000);
        assert!(parse("no JSON").is_empty());
    }

    #[test]
    fn who_has_ended_holds_nothing() {
        let (hierarchy, locks) = (Hierarchy::default(), LockRequest::new());
        let mut holder = Holder::this_process("a test", String::new(), false, &hierarchy, &locks);
        holder.who.start += 1;
        assert!(parse(&to_text(&[holder])).is_empty());
    }
}
