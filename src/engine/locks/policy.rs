//! How requests wait: the numbers of the policy, and what one request says of itself.

use std::time::Duration;

use crate::vocabulary::{LevelId, Priority, Timestamp};

/// How far a waiting request can be overtaken, and what a step of priority is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitPolicy {
    /// After that many grants to others the oldest waiting request reserves its locks: nobody
    /// behind it in the order gets one of them any more. After as many again, nobody behind it
    /// is let in either who could ask for one of them later.
    pub max_bypass: u64,
    /// It reserves after that time, too; and after as long again, nobody is let in.
    pub max_bypass_age: Duration,
    /// How many requests reserve at the same time. Each costs throughput; 0 never reserves and
    /// may starve large requests.
    pub window: usize,
    /// After a reservation ended, so many grants pass before the next begins. Each reservation
    /// leaves locks idle while those who hold the others finish; this bounds the share of time
    /// in which that happens.
    pub rest: u64,
    /// How much later a request may arrive and still come first if it is one step more urgent.
    /// More than a year counts as a year.
    pub quantum: Duration,
}

impl Default for WaitPolicy {
    /// 1000 grants or ten minutes, one reservation at a time and 250 grants in between, half a
    /// minute per step of priority.
    fn default() -> Self {
        Self {
            max_bypass: 1000,
            max_bypass_age: Duration::from_secs(600),
            window: 1,
            rest: 250,
            quantum: Duration::from_secs(30),
        }
    }
}

impl WaitPolicy {
    /// The virtual deadline of whoever has waited since then at that priority: whoever is due
    /// earlier comes first, among requests of equal depth.
    #[must_use]
    pub fn due(&self, since: Timestamp, priority: Priority) -> Timestamp {
        Reckoning::new(self).due(since, priority)
    }
}

/// The policy's times as the table reckons with them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reckoning {
    quantum: i64,
}

impl Reckoning {
    /// Twenty steps of a year fit into a key.
    const LONGEST: i64 = 366 * 24 * 3600 * 1_000_000;

    pub(super) fn new(policy: &WaitPolicy) -> Self {
        let quantum = i64::try_from(policy.quantum.as_micros()).unwrap_or(i64::MAX);
        Self { quantum: quantum.min(Self::LONGEST) }
    }

    /// When a request of that age and priority is due: the time component of the order.
    pub(super) fn due(self, since: Timestamp, priority: Priority) -> Timestamp {
        Timestamp::from_micros(since.as_micros().saturating_add(self.offset(priority)))
    }

    /// The inverse of [`due`](Self::due).
    pub(super) fn since(self, due: Timestamp, priority: Priority) -> Timestamp {
        Timestamp::from_micros(due.as_micros().saturating_sub(self.offset(priority)))
    }

    fn offset(self, priority: Priority) -> i64 {
        self.quantum.saturating_mul(priority.get().into())
    }
}

/// What happens if not all locks of a request are free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestKind {
    /// It waits for all of them.
    #[default]
    Exact,
    /// It is refused.
    Try,
    /// It gets those that are free, and is refused if they are fewer than `min_count`.
    /// All locks of a level together count as one.
    Opportunistic {
        /// How many locks it needs at least.
        min_count: usize,
    },
}

/// What one request says of itself. By default: normal priority, waits without end for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestOptions {
    /// How urgent it is.
    pub priority: Priority,
    /// When it stops waiting; one in the past makes it a [`RequestKind::Try`].
    pub deadline: Option<Timestamp>,
    /// What happens if not all locks are free.
    pub kind: RequestKind,
    /// Down to which level another owner holds locks and waits until this one is done. This one
    /// then counts as that deep: it asks for deeper locks only, and comes before who holds less.
    /// Without that, the two could wait for a third one that waits for them.
    pub beneath: Option<LevelId>,
}

impl RequestOptions {
    /// How deep who asks is, where `own` says so of what it holds itself.
    pub(super) fn depth(&self, own: usize) -> usize {
        self.beneath.map_or(own, |level| own.max(level.rank() + 1))
    }
}
