//! What the stories are told with: a table, a clock, and locks as words.

use std::time::Duration;

use lockmaster::engine::locks::{
    LockError, LockTable, Outcome, OwnerId, RequestKind, RequestOptions, WaitPolicy,
};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Priority, Timestamp};

use crate::lock_set;

/// A table, and a clock that only moves when told.
pub(crate) struct Stage {
    pub(crate) table: LockTable,
    pub(crate) now: Timestamp,
}

/// Locks of the levels of the model; see [`lock_set::set`].
pub(crate) fn set(text: &str) -> LockRequest {
    lock_set::set(&crate::model::hierarchy(), text)
}

impl Stage {
    pub(crate) fn new(policy: WaitPolicy) -> Self {
        Self { table: LockTable::new(Hierarchy::default(), policy), now: Timestamp::default() }
    }

    /// A table of the levels of the model, two of whose slots can be shared at once, on which a
    /// request reserves after that many grants to others.
    pub(crate) fn with_slots(max_bypass: u64) -> Self {
        let policy = WaitPolicy { max_bypass, rest: 0, ..WaitPolicy::default() };
        Self { table: LockTable::new(crate::model::hierarchy(), policy), ..Self::new(policy) }
    }

    /// A table on which a request reserves after that many grants to others.
    pub(crate) fn bypass(max_bypass: u64) -> Self {
        Self::new(WaitPolicy { max_bypass, rest: 0, ..WaitPolicy::default() })
    }

    pub(crate) fn ask_with(
        &mut self,
        owner: u64,
        what: &str,
        options: RequestOptions,
    ) -> Result<Outcome, LockError> {
        let outcome = self.table.request(OwnerId(owner), &set(what), options, self.now);
        self.table.check();
        outcome
    }

    pub(crate) fn ask(&mut self, owner: u64, what: &str) -> Outcome {
        self.ask_with(owner, what, RequestOptions::default()).unwrap()
    }

    pub(crate) fn refuse(&mut self, owner: u64, what: &str) -> String {
        self.ask_with(owner, what, RequestOptions::default()).unwrap_err().to_string()
    }

    pub(crate) fn pump(&mut self) -> Vec<u64> {
        let granted = self.table.pump(usize::MAX, self.now);
        self.table.check();
        granted.into_iter().map(|owner| owner.0).collect()
    }

    /// Releases everything and pumps.
    pub(crate) fn done(&mut self, owner: u64) -> Vec<u64> {
        assert!(self.table.release_all(OwnerId(owner)));
        self.table.check();
        self.pump()
    }

    pub(crate) fn later(&mut self, by: Duration) {
        self.now = self.now.plus(by);
    }

    pub(crate) fn held(&self, owner: u64) -> String {
        let held = self.table.held(OwnerId(owner));
        let hierarchy = crate::model::hierarchy();
        let mut words = Vec::new();
        for (level, locks) in held.levels() {
            let name = hierarchy.name(level);
            let mark = |mode| if mode == LockMode::Shared { ":s" } else { "" };
            words.extend(locks.all().map(|mode| format!("{name}/*{}", mark(mode))));
            words.extend(locks.names().map(|(lock, mode)| format!("{name}/{lock}{}", mark(mode))));
        }
        words.join(" ")
    }
}

pub(crate) const NOBODY: [u64; 0] = [];

pub(crate) const ASAP: RequestOptions = RequestOptions {
    priority: Priority::NORMAL,
    deadline: None,
    kind: RequestKind::Try,
    beneath: None,
};

pub(crate) fn opportunistic(min_count: usize) -> RequestOptions {
    RequestOptions { kind: RequestKind::Opportunistic { min_count }, ..RequestOptions::default() }
}

pub(crate) fn urgent(priority: Priority) -> RequestOptions {
    RequestOptions { priority, ..RequestOptions::default() }
}
