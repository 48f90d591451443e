//! Processes that end, stop or start others while they hold locks.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lockmaster::runtime::{LockGuard, LockOptions};
use rustix::process::Signal;

use super::helper::{Helper, PATIENCE, locks, set};

#[test]
fn x4_who_waits_gets_what_a_killed_process_held_and_hears_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut dying = Helper::start(directory.path());
    dying.lock("disk/x");
    dying.tell("note imported tank read-only");
    assert_eq!(dying.hear(), "done");
    let mut waiter = Helper::start(directory.path());
    waiter.wait_for("disk/x");
    let pid = dying.kill();
    assert_eq!(waiter.hear(), "held");
    waiter.tell("died");
    let died = waiter.hear();
    assert!(died.contains(&format!("pid: {pid}")), "{died}");
    assert!(died.contains("imported tank read-only"), "{died}");
    waiter.unlock();
    // Whoever released it in peace has put it right.
    waiter.lock("disk/x");
    waiter.tell("died");
    assert_eq!(waiter.hear(), "[]");
}

#[test]
fn x4_two_that_died_one_after_the_other_are_both_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let pids: Vec<u32> = (0..2)
        .map(|_| {
            let mut dying = Helper::start(directory.path());
            dying.lock("disk/x");
            dying.kill()
        })
        .collect();
    let (locks, exclusive) = (locks(directory.path()), set("disk/x"));
    let pids_of = |held: &LockGuard<'_>| -> Vec<u32> {
        held.died().iter().map(|dead| dead.record.pid).collect()
    };
    let died = locks.with(&exclusive, LockOptions::asap(), pids_of).unwrap();
    assert_eq!(died, [pids[1], pids[0]], "the last one first");
}

#[test]
fn x5_a_stopped_holder_is_not_broken_and_the_waiter_is_told_who_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut stopped = Helper::start(directory.path());
    stopped.lock("disk/x");
    stopped.signal(Signal::STOP);
    let (locks, owner) = (locks(directory.path()), set("disk/x"));
    let waits = LockOptions::within(Duration::from_millis(50));
    let refused = locks.with(&owner, waits, |_| ()).unwrap_err().to_string();
    assert!(refused.contains(&format!("held by process {}", stopped.pid())), "{refused}");
    stopped.signal(Signal::CONT);
    stopped.unlock();
    locks.with(&owner, LockOptions::within(PATIENCE), |_| ()).unwrap();
}

/// A child that is between fork and exec has all our files open. Released locks are free at once
/// all the same, because they are unlocked and not only closed.
#[test]
fn x7_while_processes_are_started_no_lock_is_busy_that_was_released() {
    let directory = tempfile::tempdir().unwrap();
    let (locks, over) = (locks(directory.path()), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                Command::new("true").status().unwrap();
            }
        });
        let refused = (0..20_000)
            .filter(|_| locks.with(&set("disk/x"), LockOptions::asap(), |_| ()).is_err())
            .count();
        over.store(true, Ordering::Relaxed);
        assert_eq!(refused, 0);
    });
}

#[test]
fn x8_a_program_that_is_started_under_a_lock_does_not_keep_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut holder = Helper::start(directory.path());
    holder.lock("disk/x");
    holder.tell("child");
    assert_eq!(holder.hear(), "child started");
    let mut waiter = Helper::start(directory.path());
    waiter.wait_for("disk/x");
    // The child lives on; the lock does not.
    holder.kill();
    assert_eq!(waiter.hear(), "held");
}

#[test]
fn x8_a_program_keeps_a_lock_where_it_is_told_to_and_until_it_is_released() {
    let directory = tempfile::tempdir().unwrap();
    let (locks, mut other) = (locks(directory.path()), Helper::start(directory.path()));
    let owner = locks.owner();
    let guard = owner.lock(&set("disk/x"), LockOptions::default()).unwrap();
    guard.keep_in_children().unwrap();
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    drop(guard);
    other.lock("disk/x");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn x15_a_signal_does_not_end_a_wait() {
    let directory = tempfile::tempdir().unwrap();
    let (mut holder, mut waiter) =
        (Helper::start(directory.path()), Helper::start(directory.path()));
    holder.lock("disk/x");
    waiter.wait_for("disk/x");
    // Stopped and continued, a blocking call is interrupted in the kernel.
    for _ in 0..100 {
        waiter.signal(Signal::STOP);
        waiter.signal(Signal::CONT);
    }
    assert!(waiter.is_silent());
    holder.unlock();
    assert_eq!(waiter.hear(), "held");
}
