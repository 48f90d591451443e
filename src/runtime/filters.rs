//! Filter rules: setting and deleting them, and carrying out what they reject.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::clock;
use super::inner::Inner;
use super::master::Master;
use super::shell::Shell;
use super::view::{Answer, Why};
use crate::engine::queue::{FilterState, Held, Queue, Refusal};
use crate::vocabulary::{Error, FilterAction, FilterId, JobId, NewFilter, Record, Timestamp};

/// How many jobs are cancelled under one hold of the queue lock.
const PIECE: usize = 1000;

impl Master {
    /// Adds a rule about which jobs may start. It is in force when this returns, and durable with
    /// the answer.
    ///
    /// Looks at every job that is not final once, under the queue lock.
    ///
    /// # Errors
    ///
    /// `Invalid` where its reason is too long, `Refused` where there are too many rules,
    /// `Stopped`.
    pub fn add_filter(&self, filter: NewFilter) -> Result<Answer<FilterId>, Error> {
        self.replace_filter(random_id(), filter)
    }

    /// Puts a rule in place of the one of that id, or adds it under that id. Its watermark is
    /// that of a new rule. As [`add_filter`](Self::add_filter).
    ///
    /// # Errors
    ///
    /// As [`add_filter`](Self::add_filter).
    pub fn replace_filter(
        &self,
        id: FilterId,
        filter: NewFilter,
    ) -> Result<Answer<FilterId>, Error> {
        filter.check()?;
        let position = self.change_rules(|queue, now| queue.set_filter(id, filter, now))?;
        Ok(Answer { value: id, position })
    }

    /// Deletes a rule: what it held back may start. As [`add_filter`](Self::add_filter).
    ///
    /// # Errors
    ///
    /// `NotFound` where there is no such rule, `Stopped`.
    pub fn delete_filter(&self, id: FilterId) -> Result<Answer<()>, Error> {
        let position = self.change_rules(|queue, now| queue.delete_filter(id, now))?;
        Ok(Answer { value: (), position })
    }

    fn change_rules(
        &self,
        change: impl FnOnce(&mut Queue, Timestamp) -> Result<Vec<Record>, Refusal>,
    ) -> Result<u64, Error> {
        let mut shell = self.inner.shell();
        if shell.closed {
            drop(shell);
            return Err(self.stopped());
        }
        let records = change(&mut shell.queue, self.inner.now())?;
        self.inner.append(&mut shell, records);
        drop(shell);
        let position = self.inner.end_rejected();
        self.inner.schedule();
        Ok(position)
    }

    /// All rules in the order in which they are asked, and how many jobs each decides about.
    /// O(rules · jobs that are not final), under the queue lock.
    #[must_use]
    pub fn filters(&self) -> Answer<Vec<FilterState>> {
        let shell = self.inner.shell();
        Answer { value: shell.queue.filters(), position: shell.position }
    }
}

impl Inner {
    /// Cancels the jobs that a rule rejects, piece by piece. Gives the place in the log.
    pub(super) fn end_rejected(self: &Arc<Self>) -> u64 {
        loop {
            let mut shell = self.shell();
            if shell.closed || !shell.queue.has_rejected() {
                return shell.position;
            }
            let records = shell.queue.end_rejected(PIECE, self.now());
            self.append(&mut shell, records);
        }
    }
}

/// The rule or the limit that keeps a job from starting, if one does.
pub(super) fn held_back(shell: &Shell, id: JobId) -> Option<Why> {
    let by_rule = |rule: FilterId, action: FilterAction| {
        let found = shell.queue.filter(rule);
        let remark = found.and_then(|rule| rule.remark().map(str::to_owned));
        Why::Filter { rule, action, remark }
    };
    Some(match shell.queue.held(id)? {
        Held::Paused(rule) => by_rule(rule, FilterAction::Pause),
        Held::Rejected(rule) => by_rule(rule, FilterAction::Reject),
        Held::Limited { bucket, most, running, inside, before } => {
            Why::RateLimit { bucket, most, running, inside, before }
        }
    })
}

/// An id that nobody else has. The random numbers are those that keep hash tables from being
/// attacked: a hash under secret keys that are new each time.
fn random_id() -> FilterId {
    let half = || u128::from(RandomState::new().hash_one(clock::now().as_micros()));
    FilterId::of_random(half() << 64 | half())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rules_get_the_same_id() {
        let ids: std::collections::BTreeSet<FilterId> = (0..1000).map(|_| random_id()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
