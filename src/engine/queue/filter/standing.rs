//! What the rules, and the limits it brings along, say about a job.

use super::gate::{Bucket, Buckets};
use super::rules::Rules;
use crate::vocabulary::{Candidate, FilterAction, FilterId, Job, RateLimit};

/// What holds of a job as long as the rules do not change: all it depends on was submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The rule that decides about it.
    pub(super) rule: Option<(FilterId, FilterAction)>,
    /// The buckets it takes a place in while it runs.
    pub(super) buckets: Option<Buckets>,
}

impl Standing {
    pub(super) fn of(job: &Job, rules: &Rules) -> Self {
        let deciding = if rules.is_empty() { None } else { rules.deciding(&Candidate::new(job)) };
        let rule = deciding.map(|rule| (rule.id, rule.action));
        let mut buckets: Vec<Bucket> = labels(job).map(Bucket::Label).collect();
        if let Some((id, FilterAction::RateLimit(_))) = rule {
            buckets.push(Bucket::Rule(id));
        }
        buckets.sort_unstable();
        buckets.dedup();
        Self { rule, buckets: (!buckets.is_empty()).then(|| buckets.into()) }
    }
}

/// The buckets that the reasons of a job name. Those of an old log that are malformed are none.
fn labels(job: &Job) -> impl Iterator<Item = RateLimit> {
    let reasons = job.ops.iter().flat_map(|op| &op.opcode.reason);
    reasons.filter_map(|reason| RateLimit::in_reason(&reason.text).ok().flatten())
}
