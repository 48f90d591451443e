//! Filter rules and rate limits: which there are, and, reckoned without the queue, whether the
//! jobs that begin are those that may.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use super::deed::End;
use super::laws::Deeds;
use super::random::Random;
use crate::engine::queue::{Held, Queue};
use crate::vocabulary::{
    FilterAction, FilterId, FilterRule, Job, JobId, JobRef, NewFilter, Outcome, Reason, Status,
};

/// For which jobs a rule is meant: its name, the predicates, and the same in our own words, told
/// the watermark.
type Kind = (&'static str, &'static str, fn(&Job, &Deeds, u64) -> bool);

const KINDS: [Kind; 6] = [
    ("all", "[]", |_, _, _| true),
    ("old", r#"[["jobid", ["<=", "id", "watermark"]]]"#, |job, _, mark| job.id.get() <= mark),
    ("new", r#"[["jobid", [">", "id", "watermark"]]]"#, |job, _, mark| job.id.get() > mark),
    ("undo", r#"[["opcode", ["?", "undo"]]]"#, |job, deeds, _| {
        deeds[&job.id].iter().any(|deed| deed.undo)
    }),
    ("fails", r#"[["opcode", ["=", "end", "Error"]]]"#, |job, deeds, _| {
        deeds[&job.id].iter().any(|deed| deed.end == End::Error)
    }),
    ("limited", r#"[["reason", ["=~", "reason", "^rate-limit:1:"]]]"#, |job, _, _| {
        limits(job).iter().any(|(_, most)| *most == 1)
    }),
];

/// One of the ids that rules have here.
pub(super) fn any_id(random: &mut Random) -> FilterId {
    FilterId::of_random(random.below(3) as u128)
}

/// A random rule. Its reason says of which kind it is.
pub(super) fn any_rule(random: &mut Random) -> NewFilter {
    let (kind, predicates, _) = KINDS[random.below(KINDS.len())];
    let most = NonZeroU32::new(random.below(2) as u32 + 1).unwrap();
    let actions = [
        FilterAction::Accept,
        FilterAction::Continue,
        FilterAction::Pause,
        FilterAction::Reject,
        FilterAction::RateLimit(most),
    ];
    let reason = Reason { source: "kind".into(), text: kind.into(), time_ns: 0 };
    NewFilter {
        priority: random.below(3) as u32,
        predicates: predicates.parse().unwrap(),
        action: random.one_of(&actions),
        reason: vec![reason],
    }
}

fn is_meant(rule: &FilterRule, job: &Job, deeds: &Deeds) -> bool {
    let kind = KINDS.iter().find(|(name, ..)| rule.remark() == Some(name)).unwrap();
    kind.2(job, deeds, rule.watermark)
}

/// What the rules say about a job, and which one decides.
pub(super) fn decision(
    queue: &Queue,
    job: &Job,
    deeds: &Deeds,
) -> Option<(FilterId, FilterAction)> {
    let rules = queue.filters().into_iter().map(|state| state.rule);
    let meant =
        rules.filter(|rule| rule.action != FilterAction::Continue && is_meant(rule, job, deeds));
    let first = meant.min_by_key(|rule| (rule.priority, rule.watermark, rule.id));
    first.map(|rule| (rule.id, rule.action))
}

/// The limits that a job brings along: what they are called, and how many may run.
fn limits(job: &Job) -> BTreeSet<(String, usize)> {
    let texts = job.ops.iter().flat_map(|op| &op.opcode.reason).map(|reason| &reason.text);
    let named = texts.filter(|text| text.starts_with("rate-limit:"));
    named.map(|text| (text.clone(), text.split(':').nth(1).unwrap().parse().unwrap())).collect()
}

/// Whether the job never waits for another one once it has begun: it keeps its place to its end.
fn is_steady(job: &Job) -> bool {
    job.ops[1..].iter().all(|op| op.opcode.depends.is_empty())
}

/// What was seen of jobs in this life, and of the rules about them.
#[derive(Default)]
pub(super) struct Gate {
    /// No rule kept them, at some moment.
    free: BTreeSet<JobId>,
    begun: BTreeSet<JobId>,
    /// They were taken up, or had begun, when the rules changed: a limit may be exceeded by them.
    exempt: BTreeSet<JobId>,
    ended: BTreeSet<JobId>,
    /// Whether a job was seen that was paused, and one that had to wait for a place.
    pub(super) paused: bool,
    pub(super) limited: bool,
    pub(super) rejected: bool,
}

impl Gate {
    /// The rules have changed, or may have: what is on its way is not called back.
    pub(super) fn rules_changed(&mut self, queue: &Queue) {
        let on_its_way = |job: &Job| job.has_begun() || queue.status(job) == Status::Waiting;
        let jobs = queue.jobs().filter(|job| on_its_way(job));
        self.exempt.extend(jobs.map(|job| job.id));
    }

    /// Asserts what has to be true of a job one of whose deeds begins.
    pub(super) fn assert_may_begin(&self, id: JobId) {
        let let_go = self.free.contains(&id) || self.begun.contains(&id);
        assert!(let_go, "job {id} begins, and was never let go by the rules");
    }

    /// Looks at all jobs after a step. While a master stops nobody is taken up, nor rejected.
    pub(super) fn look(&mut self, queue: &Queue, deeds: &Deeds, stopping: bool) {
        let mut inside: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for job in queue.jobs() {
            if job.status().is_final() {
                self.see_its_end(queue, &job, deeds);
                continue;
            }
            let decided = decision(queue, &job, deeds);
            let action = decided.map(|(_, action)| action);
            if job.has_begun() {
                self.begun.insert(job.id);
                self.count(&job, decided, &mut inside);
                continue;
            }
            match action {
                Some(FilterAction::Pause) => self.paused = true,
                Some(FilterAction::Reject) => {
                    let taken = queue.status(&job) == Status::Waiting;
                    assert!(taken || stopping, "a rule rejects {job:#?}");
                }
                _ => _ = self.free.insert(job.id),
            }
            let held = queue.held(job.id);
            self.limited |= matches!(held, Some(Held::Limited { .. }));
        }
        for (limit, (running, most)) in inside {
            assert!(running <= most, "{running} jobs run of {limit}");
        }
    }

    /// Counts a job that runs in each limit it is under, with how many may.
    fn count(
        &self,
        job: &Job,
        decided: Option<(FilterId, FilterAction)>,
        inside: &mut BTreeMap<String, (usize, usize)>,
    ) {
        if !is_steady(job) {
            return;
        }
        let of_rule = match decided {
            Some((id, FilterAction::RateLimit(most))) if !self.exempt.contains(&job.id) => {
                Some((id.to_string(), most.get() as usize))
            }
            _ => None,
        };
        for (name, most) in limits(job).into_iter().chain(of_rule) {
            let (running, limit) = inside.entry(name).or_default();
            (*running, *limit) = (*running + 1, most);
        }
    }

    /// A job that says that a rule has rejected it was, and had not begun.
    fn see_its_end(&mut self, queue: &Queue, job: &Job, deeds: &Deeds) {
        if !self.ended.insert(job.id) || !is_rejected(job) {
            return;
        }
        self.rejected = true;
        let action = decision(queue, job, deeds).map(|(_, action)| action);
        assert_eq!(action, Some(FilterAction::Reject), "{job:#?}");
        assert!(!self.begun.contains(&job.id), "it had begun: {job:#?}");
        let canceled = job.ops.iter().all(|op| op.outcome() == Some(&Outcome::Canceled));
        assert!(canceled, "{job:#?}");
    }

    /// What was read back may be older than what was seen.
    pub(super) fn begin_again(queue: &Queue, deeds: &Deeds) -> Self {
        let mut gate = Self::default();
        let ended = queue.jobs().filter(|job| job.status().is_final()).map(|job| job.id);
        gate.ended.extend(ended);
        gate.rules_changed(queue);
        gate.look(queue, deeds, false);
        gate
    }

    /// Where nothing goes on: every job that has not ended is paused, or waits for one that is.
    pub(super) fn assert_explained(queue: &Queue, deeds: &Deeds) {
        let unended = |id| queue.get(id).is_some_and(|job| !job.status().is_final());
        for job in queue.jobs().filter(|job| !job.status().is_final()) {
            let action = decision(queue, &job, deeds).map(|(_, action)| action);
            let paused = !job.has_begun() && action == Some(FilterAction::Pause);
            // What keeps its locks waits at its start for all that its opcodes depend on.
            let due = &job.ops[job.current().unwrap()..];
            let due = if job.terms.keep_locks { due } else { &due[..1] };
            let waits = due.iter().flat_map(|op| &op.opcode.depends).any(|on| match on.on {
                JobRef::Id(id) => unended(id),
                JobRef::Batch(_) => false,
            });
            assert!(paused || waits, "nothing goes on, and nothing keeps {job:#?}");
        }
    }
}

/// Whether the job was cancelled by a rule.
pub(super) fn is_rejected(job: &Job) -> bool {
    job.feedback.entries().any(|entry| entry.text.starts_with("rejected by filter rule"))
}
