//! What happened since the master started, counted as it happens: for dashboards and for
//! `lockmaster stats`. Counting takes no lock.

mod histogram;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(super) use histogram::Counts;
pub use histogram::Histogram;

use super::inner::Inner;
use super::master::Master;
use crate::vocabulary::{Hierarchy, JobId, LevelId, Outcome, Status, Timestamp};

/// The counters of a master.
#[derive(Debug)]
pub(super) struct Metrics {
    since: Timestamp,
    levels: Vec<LevelMetrics>,
    pub(super) sync: Counts,
    pub(super) batch: Counts,
    submitted: AtomicU64,
    refused: AtomicU64,
    ended: [AtomicU64; 3],
}

#[derive(Debug, Default)]
struct LevelMetrics {
    wait: Counts,
    hold: Counts,
}

impl Metrics {
    pub(super) fn new(hierarchy: &Hierarchy, since: Timestamp) -> Self {
        Self {
            since,
            levels: hierarchy.levels().map(|_| LevelMetrics::default()).collect(),
            sync: Counts::default(),
            batch: Counts::default(),
            submitted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            ended: Default::default(),
        }
    }

    /// So many jobs were taken in.
    pub(super) fn submitted(&self, jobs: usize) {
        self.submitted.fetch_add(jobs as u64, Ordering::Relaxed);
    }

    /// A submission was refused.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A request for locks at those levels was granted.
    pub(super) fn waited(&self, levels: impl Iterator<Item = LevelId>, waited: Duration) {
        self.at(levels).for_each(|level| level.wait.add(micros(waited)));
    }

    /// Locks at those levels were given back.
    pub(super) fn held(&self, levels: impl Iterator<Item = LevelId>, held: Duration) {
        self.at(levels).for_each(|level| level.hold.add(micros(held)));
    }

    fn at(&self, levels: impl Iterator<Item = LevelId>) -> impl Iterator<Item = &LevelMetrics> {
        levels.filter_map(|level| self.levels.get(level.rank()))
    }

    /// An opcode has ended.
    pub(super) fn ended(&self, outcome: &Outcome) {
        let place = match outcome.status() {
            Status::Success => 0,
            Status::Error => 1,
            _ => 2,
        };
        self.ended[place].fetch_add(1, Ordering::Relaxed);
    }
}

/// In microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What a master has done since it started, and how it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// When it started.
    pub since: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// Jobs in the queue, those that have ended included.
    pub jobs: usize,
    /// Jobs that have not ended.
    pub unfinished: usize,
    /// Jobs in the processor's hands: waiting for locks or for the disk, or executing.
    pub active: usize,
    /// Jobs that wait for locks.
    pub waiting: usize,
    /// The job that has waited longest for the locks it waits for, and how long.
    pub longest_wait: Option<(JobId, Duration)>,
    /// Workers, and how many of them have nothing to do.
    pub workers: (usize, usize),
    /// Jobs submitted, and submissions refused.
    pub submitted: (u64, u64),
    /// Opcodes that ended with success, with an error, cancelled.
    pub ended: [u64; 3],
    /// For each level in order: its name, how long requests waited there, and how long opcodes
    /// held locks there from when they had all they asked for; in microseconds.
    pub levels: Vec<(String, Histogram, Histogram)>,
    /// How long the log took to be written and synced, in microseconds.
    pub syncs: Histogram,
    /// How many transactions were written at once.
    pub batches: Histogram,
}

impl Master {
    /// What this master has done since it started, and how it stands. Costs the same however
    /// many jobs there are.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }
}

impl Inner {
    fn stats(&self) -> Stats {
        let (metrics, now) = (&self.metrics, self.now());
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shell = self.shell();
        let (jobs, unfinished) = (shell.queue.len(), shell.queue.unfinished());
        let active = shell.active.len();
        drop(shell);
        let (waiting, oldest) = self.locks.waiting();
        let longest = oldest.and_then(|(owner, since)| Some((JobId::new(owner.0)?, since)));
        let names = self.hierarchy.levels().map(|level| self.hierarchy.name(level).to_owned());
        let levels = names.zip(&metrics.levels);
        Stats {
            since: metrics.since,
            now,
            jobs,
            unfinished,
            active,
            waiting,
            longest_wait: longest.map(|(job, since)| (job, now.since(since))),
            workers: (self.workers.all(), self.workers.all() - self.workers.busy()),
            submitted: (count(&metrics.submitted), count(&metrics.refused)),
            ended: [0, 1, 2].map(|place| count(&metrics.ended[place])),
            levels: levels
                .map(|(name, level)| (name, level.wait.snapshot(), level.hold.snapshot()))
                .collect(),
            syncs: metrics.sync.snapshot(),
            batches: metrics.batch.snapshot(),
        }
    }
}
