//! What must not happen under the queue lock, or any other of ours: in debug builds each of these
//! notices, and says which lock is held. That of logical units is in `runtime/contained.rs`.

#![cfg(all(not(loom), debug_assertions))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use lockmaster::runtime::lock_order::LockClass;
use lockmaster::runtime::sync::Mutex;
use lockmaster::{Master, NewJob, Shutdown, Status, TypedOp};
use support::{PATIENCE, Step, open};

/// What `act` says when it panics, done with a lock held.
fn under_a_lock(act: impl FnOnce(), what: &str) -> String {
    // What was found once of a class of locks is not reported again: so each has its own.
    let class = Box::leak(Box::new(LockClass::new("a lock of the test")));
    let mutex = Mutex::new(class, ());
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _held = mutex.lock();
        act();
    }));
    let Err(panic) = panic else { panic!("nobody notices what happens {what}") };
    panic.downcast_ref::<String>().expect("the report is a text").clone()
}

fn job(gate: &str) -> NewJob {
    NewJob::of([Step { gate: gate.to_owned(), ..Step::default() }.opcode().unwrap()])
}

#[test]
fn neither_the_disk_nor_a_job_is_waited_for_nor_anybody_called_under_a_lock() {
    let master = Master::builder("unused").unit::<Step>().volatile().workers(2).start().unwrap();
    let ended = master.submit_one(NewJob::default()).unwrap();
    let runs = master.submit_one(job("held")).unwrap();
    let position = master.wait(ended).map(|_| master.job(ended).unwrap().position).unwrap();
    let cases: [(&dyn Fn(), &str); 8] = [
        (&|| drop(master.submit(vec![NewJob::default()])), "while a place of the log is waited"),
        (&|| drop(master.wait_durable(position)), "while a place of the log is waited for"),
        (&|| drop(master.wait(ended)), "while a place of the log is waited for"),
        (&|| drop(master.wait(runs)), "while a client waits for a job"),
        (&|| drop(master.archive(ended)), "while a place of the log is waited for"),
        (
            &|| drop(master.auto_archive(Duration::ZERO, PATIENCE)),
            "while a place of the log is waited for",
        ),
        (&|| master.on_durable(position, |_| ()), "while somebody is called back"),
        (&|| drop(master.shutdown(Shutdown::Finish, None)), "while the master shuts down"),
    ];
    for (act, words) in cases {
        let said = under_a_lock(act, words);
        assert!(said.starts_with("\"a lock of the test\" is held "), "{said}");
        assert!(said.contains(words), "{said}");
    }
    open("held");
    assert_eq!(master.wait(runs).unwrap().status, Status::Success, "the master goes on");
}
