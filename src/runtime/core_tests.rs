//! One thread makes every step of a master, and time stands where the test puts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Clock, Context, Core, DeclaredLocks, LogicalUnit, Master, Registry, TypedOp};
use crate::store::Store;
use crate::vocabulary::{
    CrashPolicy, Error, ErrorKind, JobId, NewJob, OpError, Record, Status, Timestamp,
};

/// Takes one lock; fails, and can be undone, where asked to.
#[derive(Serialize, Deserialize)]
struct Step {
    lock: String,
    repeatable: bool,
    fails: bool,
}

impl TypedOp for Step {
    const ID: &'static str = "OP_STEP";
}

impl LogicalUnit for Step {
    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        if level == "instance" { locks.exclusive(&self.lock) } else { Ok(()) }
    }

    fn execute(&mut self, _: &Context) -> Result<Value, OpError> {
        if self.fails { Err(OpError::exec("as asked")) } else { Ok(Value::Null) }
    }

    fn can_undo(&self) -> bool {
        self.fails
    }

    fn on_crash(&self) -> CrashPolicy {
        if self.repeatable { CrashPolicy::Retry } else { CrashPolicy::Fail }
    }
}

fn job(lock: &str, repeatable: bool, fails: bool) -> NewJob {
    NewJob::of([Step { lock: lock.to_owned(), repeatable, fails }.opcode().unwrap()])
}

fn core(workers: usize, clock: Clock) -> Core {
    let builder = Master::builder("unused").volatile().units(Registry::add_typed::<Step>);
    builder.workers(workers).clock(clock).without_threads().unwrap()
}

fn submit(core: &Core, jobs: Vec<NewJob>) -> Vec<JobId> {
    core.master().begin_submit(jobs, None).unwrap().value
}

fn status(core: &Core, id: JobId) -> Status {
    core.master().job(id).unwrap().value.status
}

/// Carries out all tasks there are now, and those that follow from them without the disk.
fn work(core: &mut Core) {
    while core.work(0) {}
}

#[test]
fn an_opcode_executes_when_its_start_is_on_disk_and_no_thread_waits_for_that() {
    let time = Arc::new(AtomicI64::new(5));
    let shown = Arc::clone(&time);
    let clock = Clock::of(move || Timestamp::from_micros(shown.load(Ordering::Relaxed)));
    let mut core = core(1, clock);
    let ids = submit(&core, vec![job("a", false, false)]);
    work(&mut core);
    assert_eq!(status(&core, ids[0]), Status::Running, "its start is decided");
    assert_eq!((core.tasks(), core.master().busy_workers()), (0, 1));
    time.store(9, Ordering::Relaxed);
    assert!(core.write_log());
    assert_eq!(core.tasks(), 1, "submission and start have shared a sync");
    work(&mut core);
    let view = core.master().job(ids[0]).unwrap().value;
    let op = &view.job.ops[0];
    assert_eq!(view.status, Status::Success);
    let times = [view.job.received, op.exec_time.unwrap(), op.end_time.unwrap()];
    assert_eq!(times.map(Timestamp::as_micros), [5, 5, 9]);
    assert!(core.write_log() && !core.write_log(), "two syncs for one job");
}

#[test]
fn what_may_be_repeated_waits_for_what_it_builds_on_only() {
    let mut core = core(2, Clock::default());
    let first = submit(&core, vec![job("b", true, false)])[0];
    work(&mut core);
    assert_eq!(status(&core, first), Status::Running, "its submission is not on disk");
    core.write_log();
    work(&mut core);
    assert_eq!(status(&core, first), Status::Success);
    core.write_log();
    let second = submit(&core, vec![job("b", true, false)])[0];
    core.write_log();
    work(&mut core);
    assert_eq!(status(&core, second), Status::Success, "no sync between start and end");
}

#[test]
fn an_undo_waits_until_the_failure_is_on_disk() {
    let mut core = core(1, Clock::default());
    let id = submit(&core, vec![job("c", false, true)])[0];
    work(&mut core);
    core.write_log();
    work(&mut core);
    assert_eq!(status(&core, id), Status::Running, "to be undone");
    core.write_log();
    work(&mut core);
    assert_eq!((status(&core, id), core.master().busy_workers()), (Status::Error, 0));
}

/// A store whose disk is full.
struct Full;

impl Store for Full {
    fn append(&mut self, _: &[Vec<Record>]) -> Result<(), Error> {
        Err(Error::new(ErrorKind::Io, "the disk is full"))
    }
}

#[test]
fn what_waits_for_a_disk_that_fails_is_put_back_and_never_executes() {
    let builder = Master::builder("unused").store(Box::new(Full), Vec::new());
    let builder = builder.units(Registry::add_typed::<Step>).workers(2);
    let mut core = builder.without_threads().unwrap();
    submit(&core, vec![job("d", false, false), job("e", false, false)]);
    work(&mut core);
    assert!(!core.write_log(), "the disk is full");
    assert_eq!((core.tasks(), core.master().busy_workers()), (0, 0));
    assert!(core.master().locks(false).value.locks.is_empty(), "nobody holds a lock");
    assert!(core.master().has_failed());
}
