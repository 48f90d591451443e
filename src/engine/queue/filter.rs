//! Which jobs may not start although they could: filter rules, and limits that jobs bring along.
//!
//! A rule decides about jobs that have not begun. What has begun (one of its opcodes has) goes
//! on, and is only counted. The rules are stored; where they put the jobs is an index, made
//! anew when the rules change.

mod gate;
mod rules;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

pub use gate::Bucket;
pub(super) use gate::Order;
use gate::{Gate, Turn};
use rules::Rules;
use standing::Standing;

use super::{Queue, Refusal};
use crate::vocabulary::{
    CloseCause, FeedbackEntry, FeedbackKind, FilterAction, FilterId, FilterRule, Job, JobId,
    NewFilter, NewJob, Priority, RateLimit, Record, Timestamp,
};

/// The rules, and the jobs they concern.
#[derive(Clone, Debug, Default)]
pub(super) struct Filters {
    rules: Rules,
    gate: Gate,
    /// Kept in the queue by that rule.
    paused: HashMap<JobId, FilterId>,
    /// To be cancelled by that rule.
    rejected: BTreeMap<JobId, FilterId>,
    /// What the rules say about jobs that are not final, as far as they were asked.
    standing: HashMap<JobId, Standing>,
}

/// What keeps a job that could start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// A rule with the action `PAUSE`.
    Paused(FilterId),
    /// A rule with the action `REJECT`; the job is about to be cancelled.
    Rejected(FilterId),
    /// A bucket that is full, or others come first.
    Limited {
        /// The bucket.
        bucket: Bucket,
        /// How many of its jobs run at once.
        most: usize,
        /// How many do now.
        running: usize,
        /// The oldest of them.
        inside: Vec<JobId>,
        /// How many jobs with the same buckets come before it.
        before: usize,
    },
}

/// A rule, and how many jobs it decides about at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterState {
    /// The rule.
    pub rule: FilterRule,
    /// Jobs that are not final and that no rule before it has decided about.
    pub jobs: usize,
    /// How many of these run, or wait for locks.
    pub running: usize,
}

impl Filters {
    /// What the rules and its reasons say about a job.
    fn standing(&mut self, job: &Job) -> Standing {
        if let Some(known) = self.standing.get(&job.id) {
            return known.clone();
        }
        let standing = Standing::of(job, &self.rules);
        if standing != Standing::default() || !self.rules.is_empty() {
            self.standing.insert(job.id, standing.clone());
        }
        standing
    }

    pub(super) fn has_no_rules(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn places(&self, id: JobId) -> usize {
        usize::from(self.paused.contains_key(&id))
            + usize::from(self.rejected.contains_key(&id))
            + usize::from(self.gate.is_waiting(id))
    }

    /// Takes a job out of wherever it is kept.
    pub(super) fn remove(&mut self, order: &mut Order, id: JobId) {
        self.paused.remove(&id);
        self.rejected.remove(&id);
        self.gate.leave(order, id);
    }

    /// Whether this job, the first of all that are ready, may be taken up.
    pub(super) fn may_go(&mut self, order: &mut Order, id: JobId) -> bool {
        self.gate.may_go(order, id)
    }

    /// Forgets where the jobs are, and which rules they were asked about.
    pub(super) fn forget_jobs(&mut self, order: &mut Order) {
        self.gate.clear(order);
        *self = Self { rules: std::mem::take(&mut self.rules), ..Self::default() };
    }

    fn all_held(&self) -> impl Iterator<Item = JobId> {
        let held = self.paused.keys().chain(self.rejected.keys());
        held.chain(self.gate.all_waiting()).copied()
    }

    /// A job that is to be ended because a rule rejects it.
    pub(super) fn first_rejected(&self) -> Option<JobId> {
        self.rejected.first_key_value().map(|(id, _)| *id)
    }

    /// How urgent a job is that stands in a line.
    pub(super) fn priority_in_line(&self, id: JobId) -> Option<Priority> {
        self.gate.priority(id)
    }

    /// Asserts what holds between any two calls; gives how many lines are open.
    pub(super) fn check(&self, order: &Order) -> usize {
        self.gate.check(order)
    }
}

/// How many jobs of a bucket run at once.
fn most(rules: &Rules, bucket: &Bucket) -> NonZeroU32 {
    match bucket {
        Bucket::Label(RateLimit { most, .. }) => *most,
        Bucket::Rule(id) => match rules.get(*id).map(|rule| rule.action) {
            Some(FilterAction::RateLimit(most)) => most,
            _ => NonZeroU32::MAX,
        },
    }
}

impl Queue {
    /// Whether a job that no other job blocks is kept from starting; then it is put where it is
    /// kept. Costs O(log jobs), and asking the rules where they were not asked about it yet.
    pub(super) fn keep_back(&mut self, id: JobId, priority: Priority) -> bool {
        let Some(job) = self.jobs.get(&id).filter(|job| !job.has_begun()) else { return false };
        let Standing { rule, buckets } = self.filters.standing(job);
        match (rule, buckets) {
            (Some((rule, FilterAction::Pause)), _) => {
                self.filters.paused.insert(id, rule);
            }
            (_, Some(buckets)) => {
                let Filters { gate, rules, .. } = &mut self.filters;
                let order = &mut self.ready.order;
                gate.join(order, id, priority, &buckets, &|bucket| most(rules, bucket));
            }
            _ => return false,
        }
        true
    }

    /// Whether a rule rejects a job that has not begun; then it is to be cancelled.
    pub(super) fn turn_away(&mut self, id: JobId) -> bool {
        let Some(job) = self.jobs.get(&id).filter(|job| !job.has_begun()) else { return false };
        let Some((rule, FilterAction::Reject)) = self.filters.standing(job).rule else {
            return false;
        };
        self.filters.rejected.insert(id, rule);
        true
    }

    /// Counts a job in its buckets, or takes it out: it is in them while it is taken up, and
    /// while it has begun, unless it waits for another job, which may need the place itself.
    pub(super) fn count_running(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (is_final, order) = (job.status().is_final(), &mut self.ready.order);
        let taken = self.ready.taken.contains(&id);
        let begun = job.has_begun() && !self.ready.waits_on.contains_key(&id);
        if is_final || !(taken || begun) {
            self.filters.gate.exit(order, id);
        } else if let Some(buckets) = self.filters.standing(job).buckets {
            let Filters { gate, rules, .. } = &mut self.filters;
            gate.enter(order, id, &buckets, &|bucket| most(rules, bucket));
        }
        if is_final {
            self.filters.standing.remove(&id);
        }
    }

    /// Sets a rule, a new one or in place of the one of that id, and looks at all jobs that are
    /// not final once. Its watermark is the highest job id given out so far.
    ///
    /// Jobs that are rejected by it are still to be ended: [`end_rejected`](Self::end_rejected).
    ///
    /// # Errors
    ///
    /// [`Refusal::TooManyFilters`].
    pub fn set_filter(
        &mut self,
        id: FilterId,
        new: NewFilter,
        now: Timestamp,
    ) -> Result<Vec<Record>, Refusal> {
        if self.filters.rules.get(id).is_none() && self.filters.rules.len() >= FilterRule::MOST {
            return Err(Refusal::TooManyFilters { most: FilterRule::MOST });
        }
        let NewFilter { priority, predicates, action, reason } = new;
        let watermark = self.next_id.get() - 1;
        let rule = FilterRule { id, watermark, priority, predicates, action, reason, time: now };
        let mut records = Vec::new();
        self.record(&mut records, Record::FilterSet { rule: Box::new(rule) });
        Ok(records)
    }

    /// Deletes a rule, and looks at all jobs that are not final once.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchFilter`].
    pub fn delete_filter(&mut self, id: FilterId, now: Timestamp) -> Result<Vec<Record>, Refusal> {
        if self.filters.rules.get(id).is_none() {
            return Err(Refusal::NoSuchFilter { id });
        }
        let mut records = Vec::new();
        self.record(&mut records, Record::FilterDeleted { id, time: now });
        Ok(records)
    }

    /// Cancels jobs that a rule rejects, at most so many, each with a line in its feedback log
    /// that says which rule. Nothing where there are none.
    pub fn end_rejected(&mut self, most: usize, now: Timestamp) -> Vec<Record> {
        let mut records = Vec::new();
        for _ in 0..most {
            let Some((id, rule)) = self.filters.rejected.first_key_value() else { break };
            self.end_one_rejected(*id, *rule, now, &mut records);
        }
        records
    }

    /// As [`end_rejected`](Self::end_rejected), of one job.
    pub(super) fn end_next_rejected(&mut self, now: Timestamp) -> Option<(JobId, Vec<Record>)> {
        let id = self.filters.first_rejected()?;
        Some((id, self.end_rejected(1, now)))
    }

    fn end_one_rejected(
        &mut self,
        id: JobId,
        rule: FilterId,
        now: Timestamp,
        records: &mut Vec<Record>,
    ) {
        let remark = self.filters.rules.get(rule).and_then(FilterRule::remark);
        let remark = remark.map(|text| format!(": {text}")).unwrap_or_default();
        let text = format!("rejected by filter rule {rule}{remark}").into();
        let kind = FeedbackKind::Message;
        let entry = FeedbackEntry { serial: 0, time: now, op: 0, kind, text };
        records.extend(self.feedback(id, vec![entry]));
        self.record(records, Record::Closed { job: id, time: now, cause: CloseCause::Canceled });
    }

    /// The rules in order, and what they have to do. O(jobs not final).
    #[must_use]
    pub fn filters(&self) -> Vec<FilterState> {
        let state = |rule: &FilterRule| {
            let is_of = |(_, standing): &(&JobId, &Standing)| {
                standing.rule.is_some_and(|(id, _)| id == rule.id)
            };
            let of_rule = self.filters.standing.iter().filter(is_of);
            let ids: Vec<JobId> = of_rule.map(|(id, _)| *id).collect();
            let runs = |id: &&JobId| self.ready.is_taken(**id) || self.has_begun(**id);
            let running = ids.iter().filter(runs).count();
            FilterState { rule: rule.clone(), jobs: ids.len(), running }
        };
        self.filters.rules.iter().map(state).collect()
    }

    fn has_begun(&self, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(Job::has_begun)
    }

    /// The rule of that id.
    #[must_use]
    pub fn filter(&self, id: FilterId) -> Option<&FilterRule> {
        self.filters.rules.get(id)
    }

    /// Whether jobs are to be ended because a rule rejects them.
    #[must_use]
    pub fn has_rejected(&self) -> bool {
        !self.filters.rejected.is_empty()
    }

    /// What keeps a job that could start, if something does. O(jobs before it in its line).
    #[must_use]
    pub fn held(&self, id: JobId) -> Option<Held> {
        let filters = &self.filters;
        let paused = || filters.paused.get(&id).copied().map(Held::Paused);
        let rejected = || filters.rejected.get(&id).copied().map(Held::Rejected);
        let limited = || {
            let turn = filters.gate.turn(id);
            turn.map(|Turn { bucket, most, inside, running, before }| Held::Limited {
                bucket,
                most,
                running,
                inside,
                before,
            })
        };
        rejected().or_else(paused).or_else(limited)
    }

    pub(super) fn apply_filter(&mut self, record: &Record) {
        let rules = &mut self.filters.rules;
        match record {
            Record::FilterSet { rule } if rules.get(rule.id) == Some(rule) => return,
            Record::FilterSet { rule } => rules.set(FilterRule::clone(rule)),
            // Who is made from a copy may not have heard of it.
            Record::FilterDeleted { id, .. } => _ = rules.delete(*id),
            _ => {}
        }
        if self.copying.is_none() {
            self.filter_anew();
        }
    }

    /// The rules have changed: every job that is not final is asked about anew, and put where it
    /// belongs now if the answer is another one.
    fn filter_anew(&mut self) {
        let mut ids: Vec<JobId> = self.ready.all().chain(self.filters.all_held()).collect();
        ids.sort_unstable();
        ids.retain(|id| self.has_another_standing(*id));
        // First all leave, so that no bucket is kept whose size has changed.
        for id in &ids {
            self.ready.remove(*id);
            self.filters.remove(&mut self.ready.order, *id);
            self.filters.gate.exit(&mut self.ready.order, *id);
        }
        ids.into_iter().for_each(|id| self.place(id));
        self.jobs.forget_looks();
    }

    fn has_another_standing(&mut self, id: JobId) -> bool {
        let Some(job) = self.jobs.get(&id) else { return false };
        let before = self.filters.standing.remove(&id);
        let before = before.unwrap_or_else(|| Standing::of(job, &Rules::default()));
        self.filters.standing(job) != before
    }

    /// What a copy says about the rules.
    pub(super) fn copies_of_filters(&self) -> impl Iterator<Item = Record> {
        let copy = |rule: &FilterRule| Record::FilterSet { rule: Box::new(rule.clone()) };
        self.filters.rules.iter().map(copy)
    }

    /// Whether two queues have the same rules.
    pub(super) fn has_filters_of(&self, other: &Self) -> bool {
        self.filters.rules == other.filters.rules
    }

    /// Asserts that every job is where the rules want it.
    pub(super) fn check_filters(&self) {
        for job in self.jobs().filter(|job| !job.status().is_final()) {
            let Standing { rule, buckets } = Standing::of(&job, &self.filters.rules);
            let action = rule.map(|(_, action)| action);
            let (begun, taken) = (job.has_begun(), self.ready.is_taken(job.id));
            let waits = self.ready.waits_on.contains_key(&job.id);
            let later = self.waits_until(job.id).is_some();
            let rejected = action == Some(FilterAction::Reject) && !begun && !taken;
            assert_eq!(self.filters.rejected.contains_key(&job.id), rejected, "{job:?}");
            let free = !(begun || taken || waits || later || rejected) && self.doom(&job).is_none();
            let paused = free && action == Some(FilterAction::Pause);
            assert_eq!(self.filters.paused.contains_key(&job.id), paused, "{job:?}");
            let lined = free && !paused && buckets.is_some();
            assert_eq!(self.filters.gate.is_waiting(job.id), lined, "{job:?}");
            let inside = buckets.is_some() && (taken || begun && !waits);
            assert_eq!(self.filters.gate.is_inside(job.id), inside, "{job:?}");
        }
    }
}

/// Reasons that begin like a rate limit have to be one.
pub(super) fn check_rate_limits(jobs: &[NewJob]) -> Result<(), Refusal> {
    for (index, job) in jobs.iter().enumerate() {
        let reasons = job.ops.iter().flat_map(|op| &op.reason);
        let wrong =
            reasons.map(|reason| &reason.text).find(|text| RateLimit::in_reason(text).is_err());
        if let Some(text) = wrong {
            return Err(Refusal::NoRateLimit { index, text: text.clone() });
        }
    }
    Ok(())
}
