//! Opening the locks of a hierarchy: how far they reach, and how waiting for them is kept fair.

use super::blocking::Locks;
use crate::engine::locks::WaitPolicy;
use crate::runtime::fences::{Fences, GlobalLocks};
use crate::store::LockDir;
use crate::vocabulary::Hierarchy;

/// Says how far [`Locks`] reach.
#[derive(Debug)]
#[must_use = "a builder does nothing until the locks are opened"]
pub struct LocksBuilder {
    hierarchy: Hierarchy,
    policy: WaitPolicy,
    dir: Option<LockDir>,
    global: GlobalLocks,
    program: String,
}

impl LocksBuilder {
    pub(super) fn new(hierarchy: Hierarchy) -> Self {
        let (policy, global) = (WaitPolicy::default(), GlobalLocks::default());
        Self { hierarchy, policy, dir: None, global, program: command_line() }
    }

    /// Where locks of scope `node` are files. Without it they are refused.
    pub fn dir(mut self, dir: LockDir) -> Self {
        self.dir = Some(dir);
        self
    }

    /// What becomes of locks of scope `global`. Refused where not said.
    pub fn global(mut self, global: GlobalLocks) -> Self {
        self.global = global;
        self
    }

    /// How waiting in this process is kept fair.
    pub fn wait_policy(mut self, policy: WaitPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// What this process says of itself to who waits for it; its command line where not said.
    pub fn program(mut self, program: impl Into<String>) -> Self {
        self.program = program.into();
        self
    }

    /// The locks, of which nobody in this process holds any.
    #[must_use]
    pub fn open(self) -> Locks {
        let fences = Fences::new(&self.hierarchy, self.dir, self.global, &self.program);
        Locks::with_fences(self.hierarchy, self.policy, fences)
    }
}

/// How this process was started, as far as it fits.
fn command_line() -> String {
    const LONGEST: usize = 200;
    let words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_how_it_was_started_on_one_line_of_bounded_length() {
        let program: String = std::env::args().next().unwrap().chars().take(100).collect();
        let said = command_line();
        assert!(said.starts_with(&program), "{said}");
        assert!(said.chars().count() <= 200 && !said.contains(char::is_control));
    }
}
