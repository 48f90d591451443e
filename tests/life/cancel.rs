//! Cancelling a job in every state it can be in: what is answered, what becomes of it, and that
//! nobody keeps a lock.

use std::time::Duration;

use lockmaster::runtime::{CancelAnswer, CancelCause, Why};
use lockmaster::vocabulary::{JobTerms, OpErrorKind, Reason, Timestamp, UndoState};
use lockmaster::{Dependency, ErrorKind, JobId, JobRef, MasterBuilder, NewJob, OpError, Status};
use serde_json::Value;

use super::stage::{Script, Stage};

fn cancel(stage: &Stage, id: JobId) -> CancelAnswer {
    stage.core.master().cancel(id).unwrap().value
}

/// The job is cancelled, everything goes on to its end, and nobody holds anything.
fn check(stage: &mut Stage, id: JobId, answer: CancelAnswer, end: Status) {
    assert_eq!(cancel(stage, id), answer);
    stage.run();
    assert_eq!(stage.status(id), end);
    assert!(stage.held().is_empty());
    assert_eq!(stage.core.master().busy_workers(), 0);
    assert_eq!(cancel(stage, id), CancelAnswer::AlreadyFinal);
}

fn cancelled() -> OpError {
    OpError::new(OpErrorKind::Canceled, "stopped")
}

/// Stops where it is told to.
fn obedient() -> Script {
    Script::default().locking(&["a"]).does(|context| match context.cancel_token().cause() {
        Some(CancelCause::Requested) => Err(cancelled()),
        _ => Ok(Value::Null),
    })
}

#[test]
fn a_queued_job_is_cancelled_at_once() {
    let mut stage = Stage::with(MasterBuilder::paused);
    let op = stage.op("x", obedient());
    let id = stage.submit(NewJob::of([op]));
    check(&mut stage, id, CancelAnswer::Dequeued, Status::Canceled);
}

#[test]
fn a_job_that_waits_for_another_is_cancelled_at_once() {
    let mut stage = Stage::new();
    let later = Script::default().checks(|_| Err(OpError::temporary("full")));
    let first = stage.op("first", later);
    let first = stage.submit(NewJob::of([first]));
    let second = stage.op("x", obedient()).after(Dependency::success(JobRef::Id(first)));
    let id = stage.submit(NewJob::of([second]));
    stage.run();
    check(&mut stage, id, CancelAnswer::Dequeued, Status::Canceled);
}

#[test]
fn a_job_that_waits_for_its_next_try_is_cancelled_at_once() {
    let mut stage = Stage::new();
    let op = stage.op("x", Script::default().checks(|_| Err(OpError::temporary("full"))));
    let id = stage.submit(NewJob::of([op]));
    stage.run();
    check(&mut stage, id, CancelAnswer::Dequeued, Status::Canceled);
    stage.pass(Duration::from_secs(3600));
    stage.run();
}

#[test]
fn a_job_that_waits_for_a_lock_is_cancelled_before_any_lock_is_granted_to_it() {
    let mut stage = Stage::new();
    let holder = stage.op("holder", Script::default().locking(&["a"]));
    stage.submit(NewJob::of([holder]));
    stage.work();
    let op = stage.op("x", obedient());
    let id = stage.submit(NewJob::of([op]));
    stage.work();
    assert_eq!(cancel(&stage, id), CancelAnswer::StoppedWaiting);
    assert_eq!(stage.status(id), Status::Canceled);
    stage.run();
    assert_eq!(stage.view(id).job.ops[0].exec_time, None);
    assert!(stage.held().is_empty());
}

#[test]
fn an_opcode_whose_start_is_on_its_way_to_the_disk_is_told() {
    let mut stage = Stage::new();
    let op = stage.op("x", obedient());
    let id = stage.submit(NewJob::of([op]));
    stage.work();
    assert_eq!(stage.status(id), Status::Running);
    check(&mut stage, id, CancelAnswer::Informed, Status::Canceled);
}

#[test]
fn why_says_since_when_an_opcode_is_told_to_stop_and_when_its_grace_ends() {
    let told = |stage: &Stage, id| match stage.core.master().why(id) {
        Some(Why::Executing { told, killed, .. }) => (told, killed),
        other => panic!("{other:?}"),
    };
    let at = |seconds| Some(Timestamp::from_micros(seconds * 1_000_000));
    for (late, grace) in [(false, None), (true, None), (false, Some(5)), (true, Some(5))] {
        let mut stage = Stage::new();
        let grace_time = grace.map(|grace: i64| Duration::from_secs(grace.unsigned_abs()));
        let op = stage.op("x", Script { grace: grace_time, ..obedient() });
        let within = Some(Duration::from_secs(60));
        let terms = JobTerms { within, ..JobTerms::default() };
        let id = stage.submit(NewJob::of([op]).on_terms(terms));
        stage.work();
        stage.pass(Duration::from_secs(59));
        assert_eq!(told(&stage, id), (None, None));
        stage.pass(Duration::from_secs(4));
        let expected: i64 = if late { 60 } else { 63 };
        if late {
            stage.core.pass_time();
        } else {
            stage.core.master().cancel(id).unwrap();
        }
        stage.pass(Duration::from_secs(9));
        let killed = grace.and_then(|grace| at(expected + grace));
        assert_eq!(told(&stage, id), (at(expected), killed), "late: {late}");
    }
}

#[test]
fn an_opcode_that_does_not_listen_and_is_the_last_makes_the_job_a_success() {
    let mut stage = Stage::new();
    let op = stage.op("x", Script::default().locking(&["a"]));
    let id = stage.submit(NewJob::of([op]));
    stage.work();
    check(&mut stage, id, CancelAnswer::Informed, Status::Success);
}

#[test]
fn after_an_opcode_that_does_not_listen_the_rest_is_cancelled_and_what_was_done_taken_back() {
    let mut stage = Stage::new();
    let op = stage.op("x", Script::default().locking(&["a"]).undoes(|_| Ok(())));
    let id = stage.submit(NewJob::of([op, stage.again("x")]));
    stage.work();
    check(&mut stage, id, CancelAnswer::Informed, Status::Canceled);
    assert_eq!(stage.view(id).op_status, [Status::Success, Status::Canceled]);
    assert_eq!(stage.view(id).job.ops[0].undo, UndoState::Done);
}

#[test]
fn a_job_that_is_being_undone_goes_on_being_undone() {
    let mut stage = Stage::new();
    let op = stage.op("x", Script::default().locking(&["a"]).undoes(|_| Ok(())));
    let failing = stage.op("fails", Script::default().fails());
    let id = stage.submit(NewJob::of([op, failing]));
    while stage.view(id).job.to_undo().is_none() {
        assert!(stage.core.work(0) || stage.core.write_log());
    }
    check(&mut stage, id, CancelAnswer::Informed, Status::Error);
    assert_eq!(stage.view(id).job.ops[0].undo, UndoState::Done);
}

#[test]
fn a_job_that_is_not_there_is_an_error() {
    let stage = Stage::new();
    let error = stage.core.master().cancel(JobId::new(7).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_cancelled_job_still_says_why_it_existed() {
    let mut stage = Stage::new();
    let mut op = stage.op("x", obedient());
    op.reason.push(Reason { source: "gnt:user".into(), text: "maintenance".into(), time_ns: 1 });
    let id = stage.submit(NewJob::of([op]));
    cancel(&stage, id);
    stage.run();
    assert_eq!(stage.view(id).job.ops[0].opcode.reason[0].text, "maintenance");
}
