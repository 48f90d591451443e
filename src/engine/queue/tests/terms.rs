//! Deadlines, retries, locks that are kept, jobs that follow: as the queue decides them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::vocabulary::{JobTerms, OpErrorKind, OpTerms, Retries};

const SECOND: Duration = Duration::from_secs(1);
const RETRIES: Retries = Retries { tries: 3, first: SECOND, most: Duration::from_secs(60) };

/// So many seconds after the beginning.
fn at(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn within(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

/// A job that has to end so many seconds after its submission.
fn hurried(ops: usize, seconds: u64) -> NewJob {
    job(ops).on_terms(JobTerms { within: within(seconds), keep_locks: false })
}

fn op_within(seconds: u64) -> OpCode {
    op().on_terms(OpTerms { within: within(seconds), retries: None })
}

impl Live {
    fn pass(&mut self, now: Timestamp) -> Vec<JobId> {
        let passed = self.queue.pass_time(now, 100);
        assert!(!passed.more);
        self.keep(passed.records);
        passed.over
    }

    fn postpone(&mut self, id: JobId, now: Timestamp) -> Result<(), OpError> {
        let lacking = OpError::temporary("no room");
        let records = self.queue.postpone(id, lacking, RETRIES, now)?;
        self.keep(records);
        self.queue.put_back(id);
        Ok(())
    }

    fn error(&self, id: JobId, op: usize) -> OpError {
        match self.queue.get(id).unwrap().ops[op].outcome() {
            Some(Outcome::Error(error)) => error.clone(),
            other => panic!("no error but {other:?}"),
        }
    }

    fn cancel(&mut self, id: JobId) -> Cancelled {
        let (how, records) = self.queue.cancel(id, NOW).unwrap();
        self.keep(records);
        how
    }
}

#[test]
fn a_queued_job_whose_deadline_passes_has_failed() {
    let mut live = Live::new();
    let ids = live.submit(vec![hurried(2, 10), hurried(1, 20), job(1)]);
    assert_eq!(live.queue.next_time(), Some(at(10)));
    assert_eq!(live.pass(at(9)), []);
    assert_eq!(live.status(ids[0]), Status::Queued);
    assert_eq!(live.pass(at(10)), []);
    assert_eq!(live.op_status(ids[0]), [Status::Error, Status::Error]);
    let error = live.error(ids[0], 0);
    assert_eq!(error.kind, OpErrorKind::TimedOut);
    assert_eq!(error.message, "the job has not ended within 10s of its submission");
    assert_eq!(live.queue.next_time(), Some(at(20)));
    assert_eq!(live.take(), Some(Next::Take(ids[1])));
}

#[test]
fn a_job_that_waits_for_another_misses_its_deadline_too() {
    let mut live = Live::new();
    let mut waits = after(JobRef::Batch(0), &[]);
    waits.terms.within = within(5);
    let ids = live.submit(vec![job(1), waits]);
    live.pass(at(5));
    assert_eq!(live.status(ids[1]), Status::Error);
    assert_eq!(live.status(ids[0]), Status::Queued);
}

#[test]
fn a_job_taken_up_that_misses_its_deadline_is_named_once() {
    let mut live = Live::new();
    let id = live.submit(vec![hurried(1, 5)])[0];
    live.take();
    assert_eq!(live.pass(at(5)), [id]);
    assert_eq!(live.status(id), Status::Error);
    assert_eq!(live.start(id, false, CrashPolicy::Fail), None, "it will not start");
    assert_eq!(live.pass(at(6)), []);
}

#[test]
fn an_opcode_that_executes_beyond_its_deadline_is_told_once_and_decides_itself() {
    let mut live = Live::new();
    let id = live.submit(vec![hurried(2, 5)])[0];
    live.take();
    live.start(id, false, CrashPolicy::Fail).unwrap();
    assert_eq!(live.pass(at(5)), [id]);
    assert_eq!((live.status(id), live.queue.is_overdue(id)), (Status::Running, true));
    assert_eq!((live.pass(at(6)), live.queue.next_time()), (vec![], None));
    live.finish(id, success());
    live.queue.put_back(id);
    assert_eq!(live.pass(at(7)), []);
    assert_eq!(live.op_status(id), [Status::Success, Status::Error], "the rest is too late");
}

#[test]
fn the_deadline_of_an_opcode_counts_from_its_turn() {
    let mut live = Live::new();
    let id = live.submit(vec![NewJob::of([op_within(10), op_within(10)])])[0];
    live.take();
    live.start(id, false, CrashPolicy::Fail).unwrap();
    let records = live.queue.finish(id, success(), true, at(9));
    live.keep(records);
    live.queue.put_back(id);
    assert_eq!(live.queue.next_time(), Some(at(19)));
    live.pass(at(19));
    assert_eq!(live.error(id, 1).message, "the opcode has not ended within 10s of its turn");
}

#[test]
fn what_was_done_is_taken_back_when_a_deadline_passes_and_without_haste() {
    let mut live = Live::new();
    let id = live.submit(vec![hurried(2, 5)])[0];
    live.take();
    live.start(id, true, CrashPolicy::Fail).unwrap();
    live.finish(id, success());
    live.queue.put_back(id);
    live.pass(at(5));
    assert_eq!((live.status(id), live.queue.next_time()), (Status::Running, None));
    assert_eq!(live.queue.get(id).unwrap().to_undo(), Some(0));
    assert_eq!(live.take(), Some(Next::Take(id)));
    let records = live.queue.undone(id, None, at(50));
    live.keep(records);
    assert_eq!(live.status(id), Status::Error);
}

#[test]
fn an_opcode_that_lacks_something_is_taken_up_again_when_its_time_has_come() {
    let mut live = Live::new();
    let ids = live.submit(vec![job(1), job(1)]);
    live.take();
    live.start(ids[0], true, CrashPolicy::Fail).unwrap();
    live.postpone(ids[0], at(0)).unwrap();
    assert_eq!(
        (live.status(ids[0]), live.queue.waits_until(ids[0])),
        (Status::Queued, Some(at(1)))
    );
    assert_eq!(live.take(), Some(Next::Take(ids[1])), "others go on");
    assert_eq!(live.take(), None);
    live.pass(at(1));
    assert_eq!(live.take(), Some(Next::Take(ids[0])));
    live.start(ids[0], true, CrashPolicy::Fail).unwrap();
    live.postpone(ids[0], at(1)).unwrap();
    assert_eq!(live.queue.next_time(), Some(at(3)), "the second wait is twice as long");
    assert_eq!(live.replayed().next_time(), Some(at(3)), "and it survives a restart");
    live.pass(at(3));
    live.take();
    live.start(ids[0], true, CrashPolicy::Fail).unwrap();
    let error = live.postpone(ids[0], at(3)).unwrap_err();
    assert_eq!(error.message, "no room (tried 3 times)");
}

#[test]
fn the_terms_of_an_opcode_stand_above_what_its_unit_says() {
    let mut live = Live::new();
    let stubborn = OpTerms { within: None, retries: Some(Retries::NONE) };
    let id = live.submit(vec![NewJob::of([op().on_terms(stubborn)])])[0];
    live.take();
    live.start(id, true, CrashPolicy::Fail).unwrap();
    assert_eq!(live.postpone(id, at(0)).unwrap_err().message, "no room");
}

#[test]
fn a_job_that_waits_for_its_next_try_can_be_cancelled_and_has_nothing_to_undo() {
    let mut live = Live::new();
    let id = live.submit(vec![job(1)])[0];
    live.take();
    live.start(id, true, CrashPolicy::Fail).unwrap();
    live.postpone(id, at(0)).unwrap();
    assert_eq!(live.cancel(id), Cancelled::Queued);
    assert_eq!((live.status(id), live.queue.next_time()), (Status::Canceled, None));
}

#[test]
fn a_missed_deadline_tells_what_was_lacking() {
    let mut live = Live::new();
    let id = live.submit(vec![hurried(1, 1)])[0];
    live.take();
    live.start(id, true, CrashPolicy::Fail).unwrap();
    live.postpone(id, at(0)).unwrap();
    live.pass(at(1));
    live.pass(at(1));
    let message = live.error(id, 0).message;
    assert_eq!(message, "the job has not ended within 1s of its submission (no room)");
}

#[test]
fn what_a_run_before_a_crash_has_left_is_undone_although_the_next_run_did_nothing() {
    for ending in ["declared again", "failed", "postponed"] {
        let mut live = Live::new();
        let id = live.submit(vec![job(1)])[0];
        live.take();
        live.start(id, true, CrashPolicy::Retry).unwrap();
        live.queue = live.replayed();
        let records = live.queue.recover(NOW);
        live.keep(records);
        live.take();
        live.start(id, true, CrashPolicy::Retry).unwrap();
        match ending {
            "failed" => {
                let records = live.queue.finish(id, failure(), false, NOW);
                live.keep(records);
            }
            "postponed" => {
                live.postpone(id, NOW).unwrap();
                live.cancel(id);
            }
            _ => {
                let records = live.queue.returned(id, &OpError::changed("moved")).unwrap();
                live.keep(records);
                live.cancel(id);
            }
        }
        assert_eq!(live.queue.get(id).unwrap().to_undo(), Some(0), "{ending}");
    }
}

#[test]
fn an_opcode_whose_locks_are_declared_again_waits_again() {
    let mut live = Live::new();
    let id = live.submit(vec![job(1)])[0];
    live.take();
    live.start(id, true, CrashPolicy::Fail).unwrap();
    let records = live.queue.returned(id, &OpError::changed("moved")).unwrap();
    live.keep(records);
    assert_eq!(live.status(id), Status::Waiting);
    assert_eq!(live.queue.get(id).unwrap().ops[0].undo, UndoState::None);
    assert!(live.start(id, true, CrashPolicy::Fail).is_some(), "it starts again");
}

#[test]
fn a_job_that_keeps_its_locks_waits_for_the_dependencies_of_all_its_opcodes() {
    let mut live = Live::new();
    let second = op().after(Dependency::success(JobRef::Batch(0)));
    let keeps = NewJob::of([op(), second]).on_terms(JobTerms { within: None, keep_locks: true });
    let ids = live.submit(vec![job(1), keeps]);
    assert_eq!(live.queue.waits_on(ids[1]), Some(ids[0]));
    live.run(ids[0], failure());
    assert!(matches!(live.take(), Some(Next::Ended(id, _)) if id == ids[1]));
    assert_eq!(live.op_status(ids[1]), [Status::Error, Status::Error]);
}

fn follow(jobs: Vec<NewJob>) -> (BTreeMap<JobId, Status>, Bounds, Vec<NewJob>) {
    (BTreeMap::new(), bounds(), jobs)
}

fn finish_with(live: &mut Live, id: JobId, jobs: Vec<NewJob>) -> Result<usize, Refusal> {
    let (recalled, bounds, jobs) = follow(jobs);
    let follow = Follow { jobs, recalled: &recalled, bounds: &bounds };
    let ids = |ids: &[JobId]| Outcome::Success(format!("{ids:?}").into());
    let records = live.queue.finish_with(id, follow, ids, NOW)?;
    let count = records.len();
    live.keep(records);
    Ok(count)
}

#[test]
fn jobs_that_follow_an_opcode_come_with_its_end_in_one_transaction() {
    let mut live = Live::new();
    let parent = live.submit(vec![job(1)])[0];
    live.take();
    live.start(parent, false, CrashPolicy::Fail).unwrap();
    let jobs = vec![after(JobRef::Id(parent), &[]), after(JobRef::Batch(0), &[])];
    assert_eq!(finish_with(&mut live, parent, jobs), Ok(2), "taken in, and the end");
    assert_eq!(live.status(parent), Status::Success);
    let children = [parent.plus(1), parent.plus(2)];
    let result = Outcome::Success(format!("{children:?}").into());
    assert_eq!(live.queue.get(parent).unwrap().ops[0].outcome(), Some(&result));
    live.queue.put_back(parent);
    live.run(children[0], success());
    live.run(children[1], success());
}

#[test]
fn a_refused_job_leaves_the_opcode_as_it_was() {
    let mut live = Live::new();
    let parent = live.submit(vec![job(1)])[0];
    live.take();
    live.start(parent, false, CrashPolicy::Fail).unwrap();
    let unknown = after(JobRef::Batch(9), &[]);
    assert!(finish_with(&mut live, parent, vec![job(1), unknown]).is_err());
    assert_eq!((live.status(parent), live.queue.len()), (Status::Running, 1));
}

#[test]
fn nothing_follows_an_opcode_whose_job_goes_no_further() {
    let mut live = Live::new();
    let parent = live.submit(vec![job(2)])[0];
    live.take();
    live.start(parent, false, CrashPolicy::Fail).unwrap();
    live.cancel(parent);
    finish_with(&mut live, parent, vec![job(1)]).unwrap();
    assert_eq!((live.status(parent), live.queue.len()), (Status::Canceled, 1));
}

#[test]
fn terms_are_in_a_copy_of_the_queue() {
    let mut live = Live::new();
    let keeps = hurried(2, 100).on_terms(JobTerms { within: within(100), keep_locks: true });
    let id = live.submit(vec![keeps, NewJob::of([op_within(7)])])[0];
    live.take();
    live.start(id, false, CrashPolicy::Fail).unwrap();
    live.postpone(id, at(0)).unwrap();
    let (begun, below) = live.queue.begin_copy();
    let piece = live.queue.copy_some(CopyPlace::START, below, 100, 100_000);
    let copied = piece.transactions.into_iter().flatten();
    let records = [begun].into_iter().chain(copied).chain(live.queue.end_copy());
    let mut copy = Queue::new(10_000);
    records.clone().for_each(|record| copy.apply(&record).unwrap());
    copy.check();
    assert_eq!(copy, live.queue);
    assert_eq!(copy.next_time(), live.queue.next_time());
    records.for_each(|record| live.queue.apply(&record).unwrap());
    assert_eq!(copy, live.queue, "for who knows all, a copy says nothing new");
}
