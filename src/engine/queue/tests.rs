//! What the queue makes of commands and records, case by case.

mod details;
mod scripts;
mod terms;

use super::*;
use crate::vocabulary::{
    CrashPolicy, Dependency, JobRef, NewJob, OpCode, OpError, OpId, Outcome, Params, Timestamp,
    UndoState,
};

const NOW: Timestamp = Timestamp::from_micros(1);

fn bounds() -> Bounds {
    Bounds { queued_jobs: 100, batch_jobs: 50, batch_bytes: 3700, job_ops: 10, job_bytes: 1000 }
}

fn op() -> OpCode {
    OpCode::new(OpId::new("OP_X").unwrap(), Params::default())
}

fn job(ops: usize) -> NewJob {
    NewJob::of((0..ops).map(|_| op()))
}

fn after(on: JobRef, statuses: &[Status]) -> NewJob {
    NewJob::of([op().after(Dependency { on, statuses: statuses.to_vec() })])
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

    fn submit(&mut self, jobs: Vec<NewJob>) -> Vec<JobId> {
        let (ids, records) = self.queue.submit(jobs, None, &bounds(), NOW).unwrap();
        self.keep(records);
        ids
    }

    fn take(&mut self) -> Option<Next> {
        let next = self.queue.take_next(NOW);
        if let Some(Next::Ended(_, records)) = &next {
            self.keep(records.clone());
        }
        self.keep(Vec::new());
        next
    }

    fn start(&mut self, id: JobId, undo: bool, on_crash: CrashPolicy) -> Option<u64> {
        let start = Start { taken: NOW, undo, on_crash };
        let (token, records) = self.queue.start(id, start, NOW)?;
        self.keep(records);
        Some(token)
    }

    fn finish(&mut self, id: JobId, outcome: Outcome) {
        let records = self.queue.finish(id, outcome, true, NOW);
        self.keep(records);
    }

    fn run(&mut self, id: JobId, outcome: Outcome) {
        assert_eq!(self.take(), Some(Next::Take(id)));
        self.start(id, false, CrashPolicy::Fail).unwrap();
        self.finish(id, outcome);
        self.queue.put_back(id);
    }

    fn keep(&mut self, records: Vec<Record>) {
        self.records.extend(records);
        self.queue.check();
        assert_eq!(self.replayed(), self.queue, "live and replayed are the same");
    }

    fn replayed(&self) -> Queue {
        let mut queue = Queue::new(10_000);
        self.records.iter().for_each(|record| queue.apply(record).unwrap());
        queue.check();
        queue
    }

    fn status(&self, id: JobId) -> Status {
        self.queue.status(self.queue.get(id).unwrap())
    }

    fn op_status(&self, id: JobId) -> Vec<Status> {
        let job = self.queue.get(id).unwrap();
        (0..job.ops.len()).map(|op| self.queue.op_status(job, op)).collect()
    }
}

fn success() -> Outcome {
    Outcome::Success("true".into())
}

fn failure() -> Outcome {
    Outcome::Error(OpError::exec("no luck"))
}

#[test]
fn a_job_of_two_opcodes_goes_through_the_usual_statuses() {
    let mut live = Live::new();
    let id = live.submit(vec![job(2)])[0];
    assert_eq!(live.status(id), Status::Queued);
    live.take();
    assert_eq!(live.status(id), Status::Waiting);
    live.start(id, false, CrashPolicy::Fail);
    assert_eq!((live.status(id), live.take()), (Status::Running, None));
    live.finish(id, success());
    live.queue.put_back(id);
    assert_eq!(live.status(id), Status::Queued);
    assert_eq!(live.op_status(id), [Status::Success, Status::Queued]);
    live.run(id, success());
    assert_eq!((live.status(id), live.take()), (Status::Success, None));
    assert_eq!(live.queue.unfinished(), 0);
}

#[test]
fn a_failed_opcode_ends_those_after_it_and_leaves_those_before_it() {
    let mut live = Live::new();
    let id = live.submit(vec![job(3)])[0];
    live.run(id, success());
    live.run(id, failure());
    assert_eq!(live.status(id), Status::Error);
    assert_eq!(live.op_status(id), [Status::Success, Status::Error, Status::Error]);
    let last = live.queue.get(id).unwrap().ops[2].outcome().cloned();
    assert_eq!(last, Some(Outcome::Error(OpError::exec("Preceding opcode failed"))));
}

#[test]
fn an_empty_job_is_a_success_at_once() {
    let mut live = Live::new();
    let id = live.submit(vec![job(0)])[0];
    assert_eq!((live.status(id), live.queue.unfinished()), (Status::Success, 0));
}

#[test]
fn the_most_urgent_job_comes_first_then_the_oldest() {
    let mut live = Live::new();
    let urgent = NewJob::of([op().with_priority(Priority::HIGH)]);
    let ids = live.submit(vec![job(1), job(1), urgent]);
    let order: Vec<_> = std::iter::from_fn(|| live.take()).collect();
    assert_eq!(order, [Next::Take(ids[2]), Next::Take(ids[0]), Next::Take(ids[1])]);
}

#[test]
fn a_job_is_as_urgent_as_the_most_urgent_of_its_opcodes_that_have_not_ended() {
    let mut live = Live::new();
    let mixed = NewJob::of([op().with_priority(Priority::HIGH), op()]);
    let later = NewJob::of([op(), op().with_priority(Priority::HIGH)]);
    let ids = live.submit(vec![job(1), mixed, later]);
    live.run(ids[1], success());
    // What is left of it is like the others, which came before and after it.
    let order: Vec<_> = std::iter::from_fn(|| live.take()).collect();
    assert_eq!(order, [Next::Take(ids[2]), Next::Take(ids[0]), Next::Take(ids[1])]);
}

#[test]
fn a_new_priority_takes_effect_at_once() {
    let mut live = Live::new();
    let ids = live.submit(vec![job(1), job(1)]);
    let records = live.queue.change_priority(ids[1], Priority::HIGH).unwrap();
    live.keep(records);
    assert_eq!(live.take(), Some(Next::Take(ids[1])));
}

#[test]
fn a_job_waits_for_the_end_of_another_and_then_runs() {
    let mut live = Live::new();
    let ids = live.submit(vec![job(1), after(JobRef::Batch(0), &[Status::Success])]);
    assert_eq!(live.queue.waits_on(ids[1]), Some(ids[0]));
    live.run(ids[0], success());
    assert_eq!(live.queue.waits_on(ids[1]), None);
    live.run(ids[1], success());
}

#[test]
fn the_table_of_dependencies_holds() {
    let any = &[][..];
    let table = [
        (success(), any, None),
        (failure(), any, None),
        (success(), &[Status::Success][..], None),
        (success(), &[Status::Error], Some(Status::Error)),
        (failure(), &[Status::Success], Some(Status::Error)),
        (failure(), &[Status::Success, Status::Error], None),
        (Outcome::Canceled, any, Some(Status::Canceled)),
        (Outcome::Canceled, &[Status::Success], Some(Status::Canceled)),
        (Outcome::Canceled, &[Status::Canceled], None),
    ];
    for (outcome, statuses, expected) in table {
        let mut live = Live::new();
        let ids = live.submit(vec![job(1), after(JobRef::Batch(0), statuses)]);
        live.run(ids[0], outcome.clone());
        let next = live.take();
        let ended = expected.map(|_| live.status(ids[1]));
        let taken = next == Some(Next::Take(ids[1]));
        assert_eq!((ended, taken), (expected, expected.is_none()), "{outcome:?} {statuses:?}");
    }
}

#[test]
fn failure_runs_down_a_chain_of_dependent_jobs() {
    let mut live = Live::new();
    let chain = (0..20).map(|i| after(JobRef::Batch(i), &[Status::Success]));
    let ids = live.submit([job(1)].into_iter().chain(chain).collect());
    live.run(ids[0], failure());
    while live.take().is_some() {}
    assert!(ids.iter().all(|id| live.status(*id) == Status::Error));
    assert_eq!(live.queue.unfinished(), 0);
}

#[test]
fn what_cannot_be_taken_in_is_refused_whole() {
    let on = |place| after(JobRef::Batch(place), &[]);
    let unknown = after(JobRef::Id(JobId::new(77).unwrap()), &[]);
    let big = NewJob::of([OpCode { comment: Some("x".repeat(1001)), ..op() }]);
    let medium = NewJob::of([OpCode { comment: Some("x".repeat(900)), ..op() }]);
    let cases = [
        (vec![job(1), on(5)], "depends on place 5 of it; there are 2 jobs"),
        (vec![job(1), on(1)], "circle: 1 -> 1"),
        (vec![on(1), on(2), on(0)], "circle: "),
        (vec![job(1), unknown], "job 77, which does not exist"),
        (vec![after(JobRef::Batch(1), &[Status::Running]), job(1)], "not final"),
        (vec![job(1); 51], "51 jobs; at most 50"),
        (vec![job(11)], "11 opcodes; at most 10"),
        (vec![big], "1071 bytes; at most 1000"),
        (vec![medium; 4], "3880 bytes; at most 3700"),
    ];
    for (jobs, expected) in cases {
        let mut queue = Queue::new(0);
        let refusal = queue.submit(jobs, None, &bounds(), NOW).unwrap_err();
        assert!(refusal.to_string().contains(expected), "{refusal}");
        assert_eq!(queue, Queue::new(0));
    }
}

#[test]
fn a_full_queue_refuses_and_says_how_full_it_is() {
    let mut live = Live::new();
    live.submit(vec![job(1); 50]);
    live.submit(vec![job(1); 50]);
    let refusal = live.queue.submit(vec![job(1)], None, &bounds(), NOW).unwrap_err();
    assert_eq!(refusal, Refusal::QueueFull { queued: 100, most: 100 });
}

#[test]
fn jobs_may_depend_on_later_ones_of_the_same_submission() {
    let mut live = Live::new();
    let ids = live.submit(vec![after(JobRef::Batch(1), &[]), job(1)]);
    live.run(ids[1], success());
    live.run(ids[0], success());
}

#[test]
fn undos_run_in_reverse_before_the_job_is_final() {
    let mut live = Live::new();
    let id = live.submit(vec![job(3)])[0];
    for _ in 0..2 {
        live.take();
        live.start(id, true, CrashPolicy::Fail);
        live.finish(id, success());
        live.queue.put_back(id);
    }
    live.run(id, failure());
    assert_eq!(live.status(id), Status::Running);
    for expected in [1, 0] {
        assert_eq!(live.queue.get(id).unwrap().to_undo(), Some(expected));
        assert_eq!(live.take(), Some(Next::Take(id)));
        let records = live.queue.undone(id, None, NOW);
        live.keep(records);
        live.queue.put_back(id);
    }
    assert_eq!(live.status(id), Status::Error);
    assert_eq!(live.op_status(id), [Status::Success, Status::Success, Status::Error]);
}

#[test]
fn an_opcode_whose_prerequisites_fail_is_not_undone() {
    let mut live = Live::new();
    let id = live.submit(vec![job(1)])[0];
    live.take();
    live.start(id, true, CrashPolicy::Fail);
    let records = live.queue.finish(id, failure(), false, NOW);
    live.keep(records);
    assert_eq!(live.status(id), Status::Error);
    assert_eq!(live.queue.get(id).unwrap().ops[0].undo, UndoState::None);
}

#[test]
fn a_failed_undo_is_kept_and_the_others_still_run() {
    let mut live = Live::new();
    let id = live.submit(vec![job(2)])[0];
    for outcome in [success(), failure()] {
        live.take();
        live.start(id, true, CrashPolicy::Fail);
        live.finish(id, outcome);
        live.queue.put_back(id);
    }
    for error in [Some(OpError::exec("stuck")), None] {
        let records = live.queue.undone(id, error, NOW);
        live.keep(records);
    }
    let undo: Vec<UndoState> =
        live.queue.get(id).unwrap().ops.iter().map(|op| op.undo.clone()).collect();
    assert_eq!(undo, [UndoState::Done, UndoState::Failed(OpError::exec("stuck"))]);
    assert_eq!(live.status(id), Status::Error);
}

#[test]
fn cancelling_works_in_every_state() {
    for steps in 0..4 {
        let mut live = Live::new();
        let id = live.submit(vec![job(2)])[0];
        if steps > 0 {
            live.take();
        }
        if steps > 1 {
            live.start(id, false, CrashPolicy::Fail);
        }
        if steps > 2 {
            live.finish(id, success());
            live.queue.put_back(id);
        }
        let (how, records) = live.queue.cancel(id, NOW).unwrap();
        live.keep(records);
        let expected =
            [Cancelled::Queued, Cancelled::Waiting, Cancelled::Running, Cancelled::Queued];
        assert_eq!(how, expected[steps]);
        if how == Cancelled::Running {
            assert_eq!(live.status(id), Status::Canceling);
            live.finish(id, success());
        }
        assert_eq!(live.status(id), Status::Canceled, "{steps}");
        assert_eq!(live.start(id, false, CrashPolicy::Fail), None);
        let again = live.queue.cancel(id, NOW).unwrap_err();
        assert_eq!(again, Refusal::AlreadyFinal { id, status: Status::Canceled });
    }
}

#[test]
fn a_last_opcode_that_succeeds_despite_a_cancel_makes_the_job_a_success() {
    let mut live = Live::new();
    let id = live.submit(vec![job(1)])[0];
    live.take();
    live.start(id, true, CrashPolicy::Fail);
    let (_, records) = live.queue.cancel(id, NOW).unwrap();
    live.keep(records);
    live.finish(id, success());
    assert_eq!(live.status(id), Status::Success);
}

#[test]
fn what_may_run_again_is_cancelled_after_a_crash_where_that_was_asked_for() {
    for (undo, expected) in [(false, Status::Canceled), (true, Status::Canceling)] {
        let mut live = Live::new();
        let id = live.submit(vec![job(2)])[0];
        live.take();
        live.start(id, undo, CrashPolicy::Retry);
        let (_, records) = live.queue.cancel(id, NOW).unwrap();
        live.keep(records);
        let mut crashed = Live { queue: live.replayed(), records: live.records };
        let records = crashed.queue.recover(NOW);
        crashed.keep(records);
        assert_eq!(crashed.status(id), expected, "{undo}");
        assert_eq!(crashed.queue.recover(NOW), [], "recovering twice changes nothing");
    }
}

#[test]
fn after_a_crash_each_policy_has_its_effect_and_waiting_jobs_are_queued_again() {
    let table = [
        (CrashPolicy::Fail, false, Status::Error),
        (CrashPolicy::Fail, true, Status::Error),
        (CrashPolicy::Retry, false, Status::Queued),
        (CrashPolicy::Undo, true, Status::Running),
        (CrashPolicy::Undo, false, Status::Error),
    ];
    for (policy, undo, expected) in table {
        let mut live = Live::new();
        let ids = live.submit(vec![job(2), job(1)]);
        live.take();
        live.start(ids[0], undo, policy);
        live.take();
        let mut crashed = Live { queue: live.replayed(), records: live.records };
        assert_eq!(crashed.status(ids[1]), Status::Queued);
        let records = crashed.queue.recover(NOW);
        crashed.keep(records);
        assert_eq!(crashed.status(ids[0]), expected, "{policy:?} {undo}");
        assert_eq!(crashed.queue.recover(NOW), [], "recovering twice changes nothing");
    }
}

#[test]
fn fencing_tokens_grow_also_over_a_restart() {
    let mut live = Live::new();
    let id = live.submit(vec![job(1)])[0];
    live.take();
    let first = live.start(id, false, CrashPolicy::Retry).unwrap();
    let mut crashed = Live { queue: live.replayed(), records: live.records };
    let records = crashed.queue.recover(NOW);
    crashed.keep(records);
    crashed.take();
    let second = crashed.start(id, false, CrashPolicy::Retry).unwrap();
    assert!(second > first);
}

#[test]
fn a_record_that_does_not_fit_is_refused_and_changes_nothing() {
    let mut live = Live::new();
    let id = live.submit(vec![job(1)])[0];
    live.run(id, success());
    let before = live.queue.clone();
    let first = JobId::new(9).unwrap();
    let misfits = [
        Record::CancelRequested { job: first, time: NOW },
        Record::Finished { job: id, op: 0, time: NOW, outcome: failure() },
        Record::Finished { job: id, op: 7, time: NOW, outcome: failure() },
        Record::Submitted { time: NOW, first, jobs: vec![], origin: None },
        Record::UndoStarted { job: id, op: 0, time: NOW, token: 9 },
        Record::UndoStarted { job: id, op: 7, time: NOW, token: 9 },
    ];
    for record in misfits {
        assert!(live.queue.apply(&record).is_err(), "{record:?}");
        assert_eq!(live.queue, before);
    }
}
