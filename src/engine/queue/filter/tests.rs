//! What rules and limits make of the queue: case by case, and at random against the law.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::engine::queue::{Bounds, Next, Start};
use crate::vocabulary::{
    CrashPolicy, Dependency, JobRef, NewJob, OpCode, OpId, Outcome, Params, Predicates, Reason,
    Status,
};

const NOW: Timestamp = Timestamp::from_micros(1);

fn bounds() -> Bounds {
    let most = usize::MAX;
    let (batch_jobs, batch_bytes, job_ops, job_bytes) = (most, most, most, most);
    Bounds { queued_jobs: most, batch_jobs, batch_bytes, job_ops, job_bytes }
}

fn op(labels: &[&str]) -> OpCode {
    let reason = |label: &&str| Reason {
        source: "gnt:user".to_owned(),
        text: format!("rate-limit:{label}"),
        time_ns: 1,
    };
    let reason = labels.iter().map(reason).collect();
    OpCode { reason, ..OpCode::new(OpId::new("OP_X").unwrap(), Params::default()) }
}

fn job(labels: &[&str]) -> NewJob {
    NewJob::of([op(labels)])
}

fn id(number: u64) -> JobId {
    JobId::new(number).unwrap()
}

fn rule(number: u128) -> FilterId {
    FilterId::of_random(number)
}

fn limit(most: u32) -> FilterAction {
    FilterAction::RateLimit(NonZeroU32::new(most).unwrap())
}

/// A queue that keeps every record, to compare with one rebuilt from them.
struct Live {
    queue: Queue,
    records: Vec<Record>,
}

impl Live {
    fn new() -> Self {
        Self { queue: Queue::new(10_000), records: Vec::new() }
    }

    fn keep(&mut self, records: Vec<Record>) {
        self.records.extend(records);
        self.queue.check();
        let mut replayed = Queue::new(10_000);
        self.records.iter().for_each(|record| replayed.apply(record).unwrap());
        replayed.check();
        assert_eq!(replayed, self.queue, "live and replayed are the same");
    }

    fn submit(&mut self, jobs: Vec<NewJob>) {
        let (_, records) = self.queue.submit(jobs, None, &bounds(), NOW).unwrap();
        self.keep(records);
        let records = self.queue.end_rejected(usize::MAX, NOW);
        self.keep(records);
    }

    fn set(&mut self, number: u128, priority: u32, predicates: &Value, action: FilterAction) {
        let predicates = Predicates::from_json(predicates).unwrap();
        let new = NewFilter { priority, predicates, action, reason: Vec::new() };
        let records = self.queue.set_filter(rule(number), new, NOW).unwrap();
        self.keep(records);
        let records = self.queue.end_rejected(usize::MAX, NOW);
        self.keep(records);
    }

    fn delete(&mut self, number: u128) {
        let records = self.queue.delete_filter(rule(number), NOW).unwrap();
        self.keep(records);
    }

    /// Takes the next job up.
    fn take(&mut self) -> Option<u64> {
        let next = self.queue.take_next(NOW);
        self.queue.check();
        match next? {
            Next::Take(id) => Some(id.get()),
            Next::Ended(id, records) => {
                self.keep(records);
                panic!("job {id} has ended");
            }
        }
    }

    fn take_all(&mut self) -> Vec<u64> {
        std::iter::from_fn(|| self.take()).collect()
    }

    fn start(&mut self, number: u64) {
        let start = Start { taken: NOW, undo: false, on_crash: CrashPolicy::Fail };
        let (_, records) = self.queue.start(id(number), start, NOW).unwrap();
        self.keep(records);
    }

    /// Executes the current opcode of a job that is taken up.
    fn run(&mut self, number: u64) {
        self.start(number);
        let records = self.queue.finish(id(number), Outcome::Success("1".into()), true, NOW);
        self.keep(records);
        self.queue.put_back(id(number));
        self.queue.check();
    }

    fn status(&self, number: u64) -> Status {
        self.queue.status(self.queue.get(id(number)).unwrap())
    }

    fn held(&self, number: u64) -> Option<Held> {
        self.queue.held(id(number))
    }
}

fn above_watermark() -> Value {
    json!([["jobid", [">", "id", "watermark"]]])
}

#[test]
fn a_pause_keeps_what_has_not_begun_until_the_rule_goes() {
    let mut live = Live::new();
    let two = NewJob::of([op(&[]), op(&[])]);
    live.submit(vec![two, job(&[]), job(&[])]);
    assert_eq!(live.take(), Some(1));
    live.run(1);
    live.set(1, 0, &json!([]), FilterAction::Pause);
    assert_eq!(live.take_all(), [1], "what has begun goes on");
    live.run(1);
    assert_eq!((live.status(1), live.status(2)), (Status::Success, Status::Queued));
    assert_eq!(live.held(2), Some(Held::Paused(rule(1))));
    live.delete(1);
    assert_eq!((live.take_all(), live.held(2)), (vec![2, 3], None));
}

#[test]
fn a_pause_also_keeps_what_is_put_back_before_it_has_begun() {
    let mut live = Live::new();
    live.submit(vec![job(&[])]);
    assert_eq!(live.take(), Some(1));
    live.set(1, 0, &json!([]), FilterAction::Pause);
    assert_eq!(live.held(1), None, "it is in the processor's hands");
    live.queue.put_back(id(1));
    assert_eq!((live.take(), live.held(1)), (None, Some(Held::Paused(rule(1)))));
}

#[test]
fn a_rejection_cancels_at_once_and_says_by_which_rule() {
    let mut live = Live::new();
    live.submit(vec![job(&[]), job(&[])]);
    live.take();
    live.start(1);
    let predicates = Predicates::default();
    let remark = Reason { source: "me".into(), text: "no more".into(), time_ns: 1 };
    let action = FilterAction::Reject;
    let new = NewFilter { priority: 0, predicates, action, reason: vec![remark] };
    let records = live.queue.set_filter(rule(1), new, NOW).unwrap();
    live.keep(records);
    assert!(live.queue.has_rejected());
    assert_eq!(live.held(2), Some(Held::Rejected(rule(1))));
    let (next, records) = live.queue.end_next_rejected(NOW).unwrap();
    live.keep(records);
    assert_eq!((next, live.status(1), live.status(2)), (id(2), Status::Running, Status::Canceled));
    let said = live.queue.get(id(2)).unwrap().feedback.entries().next().unwrap().text.clone();
    assert_eq!(*said, *format!("rejected by filter rule {}: no more", rule(1)));
    // Also where it waits for another, and when it is submitted later.
    let mut after = job(&[]);
    after.ops[0] = op(&[]).after(Dependency::success(JobRef::Id(id(1))));
    live.submit(vec![after]);
    assert_eq!((live.status(3), live.queue.unfinished()), (Status::Canceled, 1));
}

#[test]
fn rejected_jobs_are_work_also_where_nobody_ended_them() {
    let mut live = Live::new();
    live.submit(vec![job(&[])]);
    let new = NewFilter { action: FilterAction::Reject, ..NewFilter::default() };
    let records = live.queue.set_filter(rule(1), new, NOW).unwrap();
    live.keep(records);
    assert!(live.queue.peek_next().is_some());
    let Some(Next::Ended(ended, records)) = live.queue.take_next(NOW) else { panic!() };
    live.keep(records);
    assert_eq!((ended, live.queue.peek_next()), (id(1), None));
}

#[test]
fn the_first_rule_that_is_meant_for_a_job_decides() {
    let cases = [
        (vec![(0, "ACCEPT"), (1, "PAUSE")], true),
        (vec![(1, "ACCEPT"), (0, "PAUSE")], false),
        (vec![(0, "CONTINUE"), (1, "PAUSE")], false),
        (vec![(0, "CONTINUE"), (1, "ACCEPT"), (2, "PAUSE")], true),
        (vec![(0, "ACCEPT"), (0, "PAUSE")], true),
        (vec![(0, "CONTINUE")], true),
    ];
    for (rules, starts) in cases {
        let mut live = Live::new();
        for (number, (priority, action)) in rules.iter().enumerate() {
            let action = FilterAction::from_json(&json!(action)).unwrap();
            live.set(number as u128, *priority, &json!([]), action);
        }
        live.submit(vec![job(&[])]);
        assert_eq!(live.take().is_some(), starts, "{rules:?}");
    }
}

#[test]
fn of_one_priority_the_rule_of_the_lower_watermark_comes_first() {
    let mut live = Live::new();
    live.set(9, 0, &json!([]), FilterAction::Accept);
    live.submit(vec![job(&[])]);
    live.set(1, 0, &json!([]), FilterAction::Pause);
    assert_eq!(live.take(), Some(1));
    let order: Vec<(FilterId, u64)> =
        live.queue.filters().iter().map(|state| (state.rule.id, state.rule.watermark)).collect();
    assert_eq!(order, [(rule(9), 0), (rule(1), 1)]);
    // Set anew, it has a new watermark, and is asked last.
    live.submit(vec![job(&[]), job(&[])]);
    live.set(9, 0, &json!([]), FilterAction::Accept);
    assert_eq!(live.take(), None);
}

#[test]
fn a_watermark_divides_the_jobs_before_a_rule_from_those_after_it() {
    let mut live = Live::new();
    live.submit(vec![job(&[]), job(&[])]);
    live.set(1, 0, &above_watermark(), FilterAction::Pause);
    live.submit(vec![job(&[])]);
    assert_eq!(live.take_all(), [1, 2]);
}

#[test]
fn a_limit_lets_so_many_run_and_the_next_when_one_has_ended() {
    let mut live = Live::new();
    live.set(1, 0, &json!([]), limit(2));
    live.submit(vec![job(&[]), job(&[]), job(&[]), job(&[])]);
    assert_eq!(live.take_all(), [1, 2]);
    let held = Held::Limited {
        bucket: Bucket::Rule(rule(1)),
        most: 2,
        running: 2,
        inside: vec![id(1), id(2)],
        before: 1,
    };
    assert_eq!(live.held(4), Some(held));
    live.run(2);
    assert_eq!(live.take_all(), [3]);
    let state = &live.queue.filters()[0];
    assert_eq!((state.jobs, state.running), (3, 2));
}

#[test]
fn a_new_limit_counts_what_runs_and_stops_none_of_it() {
    let mut live = Live::new();
    live.submit(vec![job(&[]), job(&[]), job(&[])]);
    assert_eq!((live.take(), live.take()), (Some(1), Some(2)));
    live.set(1, 0, &json!([]), limit(1));
    assert_eq!(live.take(), None);
    live.run(1);
    assert_eq!(live.take(), None, "one of two is still one");
    live.run(2);
    assert_eq!(live.take(), Some(3));
}

#[test]
fn labels_make_buckets_and_another_number_is_another_bucket() {
    let mut live = Live::new();
    let tape = |most: u32| vec![format!("{most}:tape")];
    let job = |labels: Vec<String>| job(&labels.iter().map(String::as_str).collect::<Vec<_>>());
    live.submit(vec![job(tape(1)), job(tape(1)), job(tape(2)), job(vec![]), job(tape(1))]);
    assert_eq!(live.take_all(), [1, 3, 4]);
    live.run(1);
    assert_eq!(live.take_all(), [2]);
}

#[test]
fn a_job_takes_a_place_in_each_bucket_it_names_and_blocks_none_it_cannot_use() {
    let mut live = Live::new();
    live.submit(vec![job(&["1:a", "1:a"]), job(&["1:a", "1:b"]), job(&["1:b"]), job(&["1:a"])]);
    assert_eq!(live.take_all(), [1, 3], "job 2 waits for a, and keeps b for nobody");
    live.run(3);
    assert_eq!(live.take(), None);
    live.run(1);
    assert_eq!(live.take_all(), [2]);
    live.run(2);
    assert_eq!(live.take_all(), [4]);
}

#[test]
fn a_place_is_kept_between_opcodes_and_given_up_while_waiting_for_another_job() {
    let mut live = Live::new();
    let mut two = NewJob::of([op(&["1:a"]), op(&[])]);
    two.ops[1].depends.push(Dependency::success(JobRef::Batch(1)));
    live.submit(vec![two, job(&["1:a"])]);
    assert_eq!(live.take_all(), [1]);
    live.run(1);
    // It waits for job 2 now, which needs the place.
    assert_eq!(live.take_all(), [2]);
    live.run(2);
    assert_eq!(live.take_all(), [1]);
    let two = NewJob::of([op(&["1:a"]), op(&[])]);
    live.run(1);
    live.submit(vec![two, job(&["1:a"])]);
    assert_eq!(live.take_all(), [3]);
    live.run(3);
    assert_eq!(live.take_all(), [3], "nobody slips in between two opcodes");
}

#[test]
fn the_more_urgent_comes_first_in_a_line_and_between_lines() {
    let mut live = Live::new();
    let urgent = |labels: &[&str]| NewJob::of([op(labels).with_priority(Priority::HIGH)]);
    live.set(1, 0, &json!([]), limit(1));
    live.submit(vec![job(&[]), job(&[]), job(&["1:x"]), urgent(&["1:y"])]);
    assert_eq!(live.take_all(), [4]);
    let records = live.queue.change_priority(id(3), Priority::HIGH).unwrap();
    live.keep(records);
    live.run(4);
    assert_eq!(live.take_all(), [3]);
    live.run(3);
    assert_eq!(live.take_all(), [1]);
}

#[test]
fn a_cancelled_job_leaves_its_line_and_whoever_is_behind_it_goes() {
    let mut live = Live::new();
    live.submit(vec![job(&["1:a"]), job(&["1:a"]), job(&["1:a"])]);
    assert_eq!(live.take_all(), [1]);
    let (_, records) = live.queue.cancel(id(2), NOW).unwrap();
    live.keep(records);
    let (_, records) = live.queue.cancel(id(1), NOW).unwrap();
    live.keep(records);
    live.queue.put_back(id(1));
    assert_eq!(live.take_all(), [3]);
}

#[test]
fn a_job_that_can_only_be_ended_is_not_paused() {
    let mut live = Live::new();
    let mut after = job(&["1:a"]);
    after.ops[0].depends.push(Dependency::success(JobRef::Batch(0)));
    live.submit(vec![job(&[]), after]);
    live.take();
    live.set(1, 0, &json!([]), FilterAction::Pause);
    let (_, records) = live.queue.cancel(id(1), NOW).unwrap();
    live.keep(records);
    live.queue.put_back(id(1));
    let Some(Next::Ended(ended, records)) = live.queue.take_next(NOW) else { panic!() };
    live.keep(records);
    assert_eq!((ended, live.status(2)), (id(2), Status::Canceled));
}

#[test]
fn what_is_no_rate_limit_is_refused_whole() {
    let mut queue = Queue::new(10);
    let jobs = vec![job(&[]), job(&["0:x"])];
    let refusal = queue.submit(jobs, None, &bounds(), NOW).unwrap_err();
    let text = "rate-limit:0:x".to_owned();
    assert_eq!(refusal, Refusal::NoRateLimit { index: 1, text });
    assert_eq!(queue.len(), 0);
}

#[test]
fn rules_are_bounded_and_known_ones_can_be_set_again() {
    let mut queue = Queue::new(10);
    for number in 0..FilterRule::MOST {
        queue.set_filter(rule(number as u128), NewFilter::default(), NOW).unwrap();
    }
    let full = Refusal::TooManyFilters { most: FilterRule::MOST };
    assert_eq!(queue.set_filter(rule(1 << 100), NewFilter::default(), NOW), Err(full));
    assert!(queue.set_filter(rule(3), NewFilter::default(), NOW).is_ok());
    let missing = Refusal::NoSuchFilter { id: rule(1 << 100) };
    assert_eq!(queue.delete_filter(rule(1 << 100), NOW), Err(missing));
}

#[derive(Clone, Debug)]
enum Step {
    Submit { labels: Vec<usize>, urgent: bool, ops: usize, after: Option<u64> },
    Take,
    Run(usize),
    PutBack(usize),
    Cancel(u64),
    Hurry(u64, i64),
    Set { which: u128, priority: u32, predicate: usize, action: usize },
    Delete(u128),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let labels = prop::collection::vec(0..4_usize, 0..3);
    let submit = (labels, any::<bool>(), 1..3_usize, prop::option::weighted(0.2, 1..5_u64));
    let set = (0..3_u128, 0..3_u32, 0..3_usize, 0..6_usize);
    prop_oneof![
        8 => submit.prop_map(|(labels, urgent, ops, after)| {
            Step::Submit { labels, urgent, ops, after }
        }),
        8 => Just(Step::Take),
        6 => (0..9_usize).prop_map(Step::Run),
        1 => (0..9_usize).prop_map(Step::PutBack),
        2 => (0..30_u64).prop_map(Step::Cancel),
        1 => (0..30_u64, -5..5_i64).prop_map(|(id, priority)| Step::Hurry(id, priority)),
        1 => set.prop_map(|(which, priority, predicate, action)| {
            Step::Set { which, priority, predicate, action }
        }),
        1 => (0..3_u128).prop_map(Step::Delete),
        1 => Just(Step::Restart),
    ]
}

const LABELS: [&str; 4] = ["1:a", "2:a", "1:b", "2:c"];

impl Live {
    fn play(&mut self, step: &Step) {
        match step {
            Step::Submit { labels, urgent, ops, after } => {
                let labels: Vec<&str> = labels.iter().map(|label| LABELS[*label]).collect();
                let priority = if *urgent { Priority::HIGH } else { Priority::NORMAL };
                let mut job = NewJob::of((0..*ops).map(|_| op(&labels).with_priority(priority)));
                let last = self.queue.len() as u64;
                if let Some(on) = after.and_then(|back| JobId::new(last.checked_sub(back)?)) {
                    let on = Dependency { on: JobRef::Id(on), statuses: Vec::new() };
                    job.ops[ops - 1].depends.push(on);
                }
                self.submit(vec![job]);
            }
            Step::Take => _ = self.take_by_the_law(),
            Step::Run(which) => {
                if let Some(number) = self.taken(*which) {
                    self.run(number);
                }
            }
            Step::PutBack(which) => {
                if let Some(number) = self.taken(*which) {
                    self.queue.put_back(id(number));
                }
            }
            Step::Cancel(number) => self.cancel(*number),
            Step::Hurry(number, priority) => {
                let Some(id) = JobId::new(*number) else { return };
                let changed = self.queue.change_priority(id, Priority::new(*priority).unwrap());
                self.keep(changed.unwrap_or_default());
            }
            Step::Set { which, priority, predicate, action } => {
                let predicates =
                    [json!([]), above_watermark(), json!([["opcode", ["=", "priority", -10]]])];
                let actions = [
                    FilterAction::Accept,
                    FilterAction::Continue,
                    FilterAction::Pause,
                    FilterAction::Reject,
                    limit(1),
                    limit(2),
                ];
                self.set(*which, *priority, &predicates[*predicate], actions[*action]);
            }
            Step::Delete(which) => {
                let deleted = self.queue.delete_filter(rule(*which), NOW).unwrap_or_default();
                self.keep(deleted);
            }
            Step::Restart => {
                let mut queue = Queue::new(10_000);
                self.records.iter().for_each(|record| queue.apply(record).unwrap());
                self.queue = queue;
                let records = self.queue.recover(NOW);
                self.keep(records);
            }
        }
        self.queue.check();
    }

    fn taken(&self, which: usize) -> Option<u64> {
        let mut taken: Vec<JobId> = self.queue.ready.taken.iter().copied().collect();
        taken.sort();
        (!taken.is_empty()).then(|| taken[which % taken.len()].get())
    }

    fn cancel(&mut self, number: u64) {
        let Some(id) = JobId::new(number) else { return };
        let taken = self.queue.is_taken(id);
        let Ok((_, records)) = self.queue.cancel(id, NOW) else { return };
        self.keep(records);
        if taken {
            self.queue.put_back(id);
        }
    }

    /// Takes the next job up, which has to be the one that a look at all jobs finds.
    fn take_by_the_law(&mut self) -> Option<JobId> {
        let expected = self.expected();
        let next = self.queue.take_next(NOW);
        let found = match next {
            Some(Next::Take(id)) => Some(id),
            Some(Next::Ended(id, records)) => {
                self.keep(records);
                return Some(id);
            }
            None => None,
        };
        assert_eq!(found, expected, "the most urgent and then oldest job that may go");
        found
    }

    /// The law, the slow way.
    fn expected(&self) -> Option<JobId> {
        let rules = &self.queue.filters.rules;
        let open = self.queue.jobs().filter(|job| !job.status().is_final());
        let open: Vec<Job> = open.map(Cow::into_owned).collect();
        let open = || open.iter();
        let runs = |job: &&Job| {
            let waits = self.queue.waits_on(job.id).is_some();
            self.queue.is_taken(job.id) || job.has_begun() && !waits
        };
        let mut inside = BTreeMap::<Bucket, BTreeSet<JobId>>::new();
        for job in open().filter(runs) {
            for bucket in Standing::of(job, rules).buckets.iter().flat_map(|all| all.iter()) {
                inside.entry(bucket.clone()).or_default().insert(job.id);
            }
        }
        let is_free = |bucket: &Bucket| {
            let there = inside.get(bucket).map_or(0, BTreeSet::len);
            there < most(rules, bucket).get() as usize
        };
        let may_go = |job: &&Job| {
            if self.queue.is_taken(job.id) || self.queue.waits_on(job.id).is_some() {
                return false;
            }
            let Standing { rule, buckets } = Standing::of(job, rules);
            let paused = rule.is_some_and(|(_, action)| action == FilterAction::Pause);
            let free = buckets.is_none_or(|all| all.iter().all(is_free));
            job.has_begun() || self.queue.doom(job).is_some() || (!paused && free)
        };
        open().filter(may_go).map(|job| (job.priority(), job.id)).min().map(|(_, id)| id)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn the_next_job_is_the_one_that_a_look_at_all_jobs_finds(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut live = Live::new();
        steps.iter().for_each(|step| live.play(step));
        // And every job comes to its end when the rules are gone.
        (0..3).for_each(|which| live.play(&Step::Delete(which)));
        while live.queue.unfinished() > 0 {
            let progress = live.take_by_the_law().is_some() | live.taken(0).is_some();
            prop_assert!(progress, "somebody can always go on: {:?}", live.queue.filters.gate);
            live.play(&Step::Run(0));
        }
    }
}
