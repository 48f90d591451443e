//! Which jobs have changed since a moment, for those who follow all of them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::master::Master;
use super::watch::Watch;
use crate::vocabulary::JobId;

/// How many changes are remembered. Who is further behind looks at all jobs again.
const REMEMBERED: usize = 4096;

/// What has changed since a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Where this ends: the mark to go on from.
    pub mark: u64,
    /// Those jobs, each once, by id; of jobs that were submitted together, the first. None where
    /// it is not known any more which: any may have changed.
    pub jobs: Option<Vec<JobId>>,
}

impl Changes {
    /// Whether nothing has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.as_ref().is_some_and(Vec::is_empty)
    }
}

/// Follows all jobs of a master: says which have changed, as far as that is on disk.
///
/// However far behind it is, it takes no more memory: all followers share one bounded list of
/// the last changes. When it is dropped, what it registered is forgotten.
#[must_use = "when it is dropped it follows no more"]
pub struct Follower {
    watch: Arc<Watch>,
    registration: u64,
}

impl Follower {
    pub(super) fn new(watch: Arc<Watch>) -> Self {
        let registration = watch.follow();
        Self { watch, registration }
    }

    /// What has changed since a mark. Without one, the mark of now: whoever looks at the jobs
    /// afterwards and asks for what has changed since it misses nothing. Costs O(what has changed).
    #[must_use]
    pub fn since(&self, mark: Option<u64>) -> Changes {
        self.watch.since(mark)
    }

    /// Calls `notify` once, at the next change after that mark (also when the master stops); at
    /// once, on this thread, where there was one. It must not block. What was registered before
    /// and was not called yet is forgotten.
    pub fn on_change_since(&self, mark: u64, notify: impl FnOnce() + Send + 'static) {
        self.watch.on_change_since(self.registration, mark, Box::new(notify));
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("registration", &self.registration).finish_non_exhaustive()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.watch.unfollow(self.registration);
    }
}

impl Master {
    /// Follows all jobs, in the manner of [`on_change`](Self::on_change).
    pub fn follow(&self) -> Follower {
        Follower::new(Arc::clone(&self.inner.watch))
    }
}

/// The last changes, numbered one after the other.
///
/// Invariant: `recent` has the changes with the numbers before `next`, and not more than
/// [`REMEMBERED`]. Nothing is noted while nobody follows.
#[derive(Debug)]
pub(super) struct Journal {
    next: u64,
    recent: VecDeque<JobId>,
}

impl Journal {
    /// Begins with that number, above all that a master before it has given out.
    pub(super) const fn from(next: u64) -> Self {
        Self { next, recent: VecDeque::new() }
    }

    pub(super) fn add(&mut self, changed: &[JobId]) {
        self.next += changed.len() as u64;
        self.recent.extend(changed.iter().rev().take(REMEMBERED).rev());
        let surplus = self.recent.len().saturating_sub(REMEMBERED);
        self.recent.drain(..surplus);
    }

    /// Nobody follows any more. What changes from now on is not noted, so no mark of now will do.
    pub(super) fn forget(&mut self) {
        self.next += 1;
        self.recent = VecDeque::new();
    }

    pub(super) const fn mark(&self) -> u64 {
        self.next
    }

    pub(super) fn since(&self, mark: u64) -> Changes {
        let missed = self.next.checked_sub(mark).and_then(|missed| usize::try_from(missed).ok());
        let known = missed.and_then(|missed| self.recent.len().checked_sub(missed));
        let jobs = known.map(|known| {
            let jobs: BTreeSet<JobId> = self.recent.range(known..).copied().collect();
            jobs.into_iter().collect()
        });
        Changes { mark: self.next, jobs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u64]) -> Vec<JobId> {
        numbers.iter().filter_map(|number| JobId::new(*number)).collect()
    }

    #[test]
    fn what_has_changed_is_told_once_and_by_id() {
        let mut journal = Journal::from(100);
        let begin = journal.mark();
        assert!(journal.since(begin).is_empty());
        journal.add(&ids(&[3, 1, 3]));
        let changes = journal.since(begin);
        assert_eq!(changes.jobs, Some(ids(&[1, 3])));
        journal.add(&ids(&[2]));
        assert_eq!(journal.since(changes.mark).jobs, Some(ids(&[2])));
        assert_eq!(journal.since(begin).jobs, Some(ids(&[1, 2, 3])));
    }

    #[test]
    fn who_is_too_far_behind_or_has_a_mark_from_elsewhere_is_told_that_anything_may_have_changed() {
        let mut journal = Journal::from(100);
        let all: Vec<JobId> = (1..=REMEMBERED as u64).filter_map(JobId::new).collect();
        journal.add(&all);
        assert_eq!(journal.since(100).jobs.map(|jobs| jobs.len()), Some(REMEMBERED));
        journal.add(&ids(&[7]));
        assert_eq!(journal.since(100).jobs, None);
        assert_eq!(journal.since(journal.mark() + 1).jobs, None, "a mark that is yet to come");
        let last = journal.mark();
        journal.forget();
        assert_eq!(journal.since(last).jobs, None, "changes may have passed unnoticed");
        journal.add(&[all.as_slice(), &all].concat());
        assert_eq!(journal.recent.len(), REMEMBERED);
    }
}
