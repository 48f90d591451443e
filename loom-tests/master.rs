//! The whole master but for its threads: this thread makes the steps that workers and the log
//! writer make, another is a client who comes in between.

use std::sync::Arc;

use lockmaster::runtime::{Clock, Context, Core, LogicalUnit, Registry, TypedOp};
use lockmaster::{DeclaredLocks, JobId, Master, NewJob, OpError, Status};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{bounded, model, thread};

/// Takes one lock.
#[derive(Serialize, Deserialize)]
struct Step {}

impl TypedOp for Step {
    const ID: &'static str = "OP_STEP";
}

impl LogicalUnit for Step {
    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        if level == "node" { locks.exclusive("n1") } else { Ok(()) }
    }

    fn execute(&mut self, _: &Context) -> Result<Value, OpError> {
        Ok(Value::Null)
    }
}

fn step() -> NewJob {
    NewJob::of([Step {}.opcode().unwrap()])
}

/// A master whose first job holds the lock that the second waits for. The first executes as
/// soon as its start is on disk.
fn one_behind_another() -> (Core, [JobId; 2]) {
    let builder = Master::builder("unused").volatile().units(Registry::add_typed::<Step>);
    let clock = Clock::of(Default::default);
    let mut core = builder.workers(2).clock(clock).without_threads().unwrap();
    let ids = core.master().begin_submit(vec![step(), step()], None).unwrap().value;
    while core.work(0) {}
    (core, [ids[0], ids[1]])
}

/// Another thread that does this once, at any moment.
fn client<T: Send + 'static>(
    core: &Core,
    act: impl FnOnce(&Master) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let master = Arc::new(core.client());
    thread::spawn(move || act(&master))
}

/// Makes steps until there are none left to make.
fn run(core: &mut Core) {
    while core.work(0) || core.write_log() {}
}

fn status(core: &Core, id: JobId) -> Status {
    core.master().job(id).unwrap().value.status
}

/// Nobody executes, holds a lock or waits for one.
fn assert_at_rest(core: &Core) {
    assert_eq!(core.master().busy_workers(), 0);
    assert!(core.master().locks(false).value.locks.is_empty());
}

#[test]
fn a_job_cancelled_while_it_is_granted_its_lock_ends_once_and_holds_nothing() {
    bounded("master: cancel against grant", 3, || {
        let (mut core, [first, second]) = one_behind_another();
        let client = client(&core, move |master| master.cancel(second).is_ok());
        run(&mut core);
        assert!(client.join().unwrap());
        run(&mut core);
        assert_eq!(status(&core, first), Status::Success);
        assert!([Status::Success, Status::Canceled].contains(&status(&core, second)));
        assert_at_rest(&core);
    });
}

#[test]
fn whoever_waits_for_a_lock_when_the_queue_stops_executes_or_is_put_back() {
    model("master: shutdown against grant", || {
        let (mut core, [first, second]) = one_behind_another();
        let client = client(&core, Master::stop_starting);
        run(&mut core);
        client.join().unwrap();
        run(&mut core);
        assert_eq!(status(&core, first), Status::Success);
        assert!([Status::Success, Status::Queued].contains(&status(&core, second)));
        assert_at_rest(&core);
    });
}

#[test]
fn a_job_that_comes_while_the_last_one_ends_is_carried_out() {
    bounded("master: submission against the end of a job", 3, || {
        let (mut core, [_, second]) = one_behind_another();
        core.master().cancel(second).unwrap();
        let client = client(&core, |master| master.begin_submit(vec![step()], None).unwrap().value);
        run(&mut core);
        let third = client.join().unwrap()[0];
        run(&mut core);
        assert_eq!(status(&core, third), Status::Success);
        assert_at_rest(&core);
    });
}
