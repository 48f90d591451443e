//! Deadlines and retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockmaster::runtime::{CancelCause, Why};
use lockmaster::vocabulary::{JobTerms, OpErrorKind, OpTerms, Outcome, Retries};
use lockmaster::{Context, DeclaredLocks, LogicalUnit, Master, NewJob, OpError, Status, TypedOp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::stage::{Script, Stage};

const SECOND: Duration = Duration::from_secs(1);

fn within(job: NewJob, seconds: u64) -> NewJob {
    let within = Some(Duration::from_secs(seconds));
    job.on_terms(JobTerms { within, keep_locks: false })
}

/// Lacks something the first `times` times.
fn lacking(times: usize) -> Script {
    let tried = Arc::new(AtomicUsize::new(0));
    Script::default().locking(&["a"]).checks(move |_| {
        match tried.fetch_add(1, Ordering::Relaxed) < times {
            true => Err(OpError::temporary("no room on n1")),
            false => Ok(()),
        }
    })
}

#[test]
fn an_opcode_that_lacks_something_is_tried_again_and_waits_without_locks_or_worker() {
    let mut stage = Stage::new();
    let op = stage.op("x", lacking(2));
    let id = stage.submit(NewJob::of([op]));
    stage.run();
    assert_eq!((stage.status(id), stage.core.master().busy_workers()), (Status::Queued, 0));
    assert!(stage.held().is_empty());
    let Some(Why::Later { until, tried, lacking }) = stage.core.master().why(id) else { panic!() };
    assert_eq!((until.as_micros(), tried, &*lacking), (1_000_000, 1, "no room on n1"));
    stage.pass(SECOND);
    stage.run();
    assert_eq!(stage.core.pass_time().unwrap().as_micros(), 3_000_000, "then twice as long");
    stage.pass(2 * SECOND);
    stage.run();
    assert_eq!(stage.status(id), Status::Success);
}

#[test]
fn the_waits_and_the_number_of_tries_survive_a_restart() {
    let mut stage = Stage::new();
    let op = stage.op("x", lacking(100));
    let retries = Some(Retries { tries: 3, first: SECOND, most: SECOND });
    let id = stage.submit(NewJob::of([op.on_terms(OpTerms { within: None, retries })]));
    for _ in 0..2 {
        stage.run();
        assert_eq!(stage.status(id), Status::Queued);
        stage = stage.killed();
        stage.run();
        assert_eq!(stage.status(id), Status::Queued, "its time has not come yet");
        stage.pass(SECOND);
    }
    stage.run();
    let error = stage.error(id, 0);
    assert_eq!(error.message, "no room on n1 (tried 3 times)");
    assert_eq!(error.code.as_deref(), Some("temp_insufficient_resources"));
}

#[test]
fn an_execution_that_says_so_before_it_changed_anything_is_tried_again_too() {
    let mut stage = Stage::new();
    let tried = AtomicUsize::new(0);
    let op = stage.op(
        "x",
        Script::default().undoes(|_| Ok(())).does(move |_| {
            match tried.fetch_add(1, Ordering::Relaxed) {
                0 => Err(OpError::temporary("busy")),
                _ => Ok(Value::Null),
            }
        }),
    );
    let id = stage.submit(NewJob::of([op]));
    stage.run();
    stage.pass(SECOND);
    stage.run();
    assert_eq!(stage.status(id), Status::Success);
}

#[test]
fn a_deadline_takes_a_job_out_of_its_wait_for_a_lock() {
    let mut stage = Stage::new();
    let holder = stage.op("holder", Script::default().locking(&["a"]));
    let waiter = stage.op("waiter", Script::default().locking(&["a"]));
    stage.submit(NewJob::of([holder]));
    stage.work();
    let id = stage.submit(within(NewJob::of([waiter]), 5));
    stage.work();
    assert_eq!(stage.status(id), Status::Waiting);
    stage.pass(5 * SECOND);
    stage.core.pass_time();
    assert_eq!(stage.status(id), Status::Error);
    assert_eq!(stage.error(id, 0).kind, OpErrorKind::TimedOut);
    stage.run();
    assert!(stage.held().is_empty());
}

#[test]
fn an_opcode_out_of_time_is_told_and_what_it_says_then_is_that_it_was_too_late() {
    let mut stage = Stage::new();
    let op = stage.op(
        "x",
        Script::default().does(|context| {
            assert_eq!(context.cancel_token().cause(), Some(CancelCause::Deadline));
            Err(OpError::new(OpErrorKind::Canceled, "stopped halfway"))
        }),
    );
    let id = stage.submit(within(NewJob::of([op]), 5));
    stage.work();
    assert_eq!(stage.status(id), Status::Running);
    stage.pass(5 * SECOND);
    stage.core.pass_time();
    stage.run();
    let error = stage.error(id, 0);
    assert_eq!(error.kind, OpErrorKind::TimedOut);
    let expected = "the job has not ended within 5s of its submission (stopped halfway)";
    assert_eq!(error.message, expected);
}

#[test]
fn an_opcode_that_succeeds_too_late_has_succeeded_and_the_next_has_failed() {
    let mut stage = Stage::new();
    let op = stage.op("x", Script::default());
    let id = stage.submit(within(NewJob::of([op, stage.again("x")]), 5));
    stage.work();
    stage.pass(5 * SECOND);
    stage.core.pass_time();
    stage.run();
    assert_eq!(stage.view(id).op_status, [Status::Success, Status::Error]);
}

#[test]
fn a_deadline_that_passed_while_no_master_ran_counts_when_one_does() {
    let stage = Stage::new();
    let op = stage.op("x", Script::default());
    let id = stage.submit(within(NewJob::of([op]), 5));
    let mut stage = stage;
    stage.core.write_log();
    stage.pass(9 * SECOND);
    let mut stage = stage.killed();
    stage.run();
    assert_eq!(stage.error(id, 0).kind, OpErrorKind::TimedOut);
}

#[test]
fn the_alarm_of_a_running_master_needs_nobody_to_look_at_the_clock() {
    let master = Master::builder("unused").volatile().unit::<Hasty>().start().unwrap();
    let hasty = |tries| NewJob::of([Hasty { tries }.opcode().unwrap()]);
    let within = Some(Duration::from_millis(30));
    let late = hasty(u32::MAX).on_terms(JobTerms { within, keep_locks: false });
    let ids = master.submit(vec![hasty(3), late]).unwrap();
    let done = master.wait(ids[0]).unwrap();
    assert_eq!((done.status, done.job.ops[0].tries.count), (Status::Success, 2));
    let late = master.wait(ids[1]).unwrap().job;
    let Some(Outcome::Error(error)) = late.ops[0].outcome() else { panic!("{late:?}") };
    assert_eq!(error.kind, OpErrorKind::TimedOut);
}

/// Lacks something until it is tried for that time.
#[derive(Serialize, Deserialize)]
struct Hasty {
    tries: u32,
}

impl TypedOp for Hasty {
    const ID: &'static str = "OP_HASTY";
}

impl LogicalUnit for Hasty {
    fn declare_locks(&mut self, _: &str, _: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        Ok(())
    }

    fn retries(&self) -> Retries {
        let wait = Duration::from_millis(1);
        Retries { tries: 10_000, first: wait, most: wait }
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        match context.tried() + 1 < self.tries {
            true => Err(OpError::temporary("not yet")),
            false => Ok(Value::Null),
        }
    }
}
