//! Waiting for other processes, and giving it up.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use lockmaster::engine::locks::{LockError, RequestKind};
use lockmaster::runtime::{LockOptions, Locks};

use super::helper::{Helper, PATIENCE, locks, set, wait_until};

fn lock_file_descriptors(directory: &std::path::Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap();
    let paths = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
    paths.filter(|path| path.starts_with(directory)).count()
}

#[test]
fn x6_a_hundred_requests_in_vain_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (locks, mut holder) = (locks(directory.path()), Helper::start(directory.path()));
    holder.lock("disk/b");
    for round in 0..100 {
        let timeout = Duration::from_micros(if round % 2 == 0 { 0 } else { 500 });
        // The first lock of the two is free: it must not be kept.
        let refused = locks.with(&set("disk/a disk/b"), LockOptions::within(timeout), |_| ());
        assert!(matches!(refused, Err(LockError::HeldElsewhere { .. })), "{refused:?}");
    }
    let mut other = Helper::start(directory.path());
    other.lock("disk/a");
    holder.unlock();
    other.unlock();
    other.lock("disk/b");
    other.unlock();
    wait_until("no lock file is open", || lock_file_descriptors(directory.path()) == 0);
}

#[test]
fn x6_who_gives_up_waiting_does_not_hold_up_those_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let (locks, mut reader) = (locks(directory.path()), Helper::start(directory.path()));
    reader.lock("disk/x:s");
    let waits = LockOptions::within(Duration::from_millis(20));
    locks.with(&set("disk/x"), waits, |_| ()).unwrap_err();
    // Nobody wants it alone any more, so another reader need not wait.
    let mut another = Helper::start(directory.path());
    another.lock("disk/x:s");
}

#[test]
fn a_wait_ends_in_time_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let (locks, mut holder) = (locks(directory.path()), Helper::start(directory.path()));
    holder.lock("disk/x");
    let (begin, timeout) = (Instant::now(), Duration::from_millis(100));
    let mut ran = false;
    let refused = locks.with(&set("disk/x"), LockOptions::within(timeout), |_| ran = true);
    assert!(refused.is_err() && !ran, "no lock, no body");
    assert!(begin.elapsed() >= timeout && begin.elapsed() < PATIENCE);
}

#[test]
fn threads_of_a_process_share_one_place_in_the_line() {
    let directory = tempfile::tempdir().unwrap();
    let (locks, mut holder) = (locks(directory.path()), Helper::start(directory.path()));
    holder.lock("disk/x");
    let waiter = |locks: Locks| {
        thread::spawn(move || locks.with(&set("disk/x:s"), LockOptions::default(), |_| ()))
    };
    let waiters: Vec<_> = (0..8).map(|_| waiter(locks.clone())).collect();
    wait_until("all are granted by the table", || {
        let report = locks.locks().into_iter().find(|report| report.lock == "disk/x");
        report.is_some_and(|report| report.holders.len() == 8)
    });
    let pid = std::process::id();
    wait_until("one waits in the kernel", || super::helper::waits_in_kernel(pid));
    holder.unlock();
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap().unwrap());
}

#[test]
fn an_opportunistic_request_takes_what_no_other_process_has() {
    let directory = tempfile::tempdir().unwrap();
    let (locks, mut holder) = (locks(directory.path()), Helper::start(directory.path()));
    holder.lock("disk/b");
    let kind = RequestKind::Opportunistic { min_count: 2 };
    let options = LockOptions { kind, ..LockOptions::default() };
    let owner = locks.owner();
    let guard = owner.lock(&set("disk/a disk/b disk/c"), options).unwrap();
    assert_eq!(guard.held(), set("disk/a disk/c"));
    drop(guard);
    drop(owner.lock(&set("disk/a disk/c"), options).unwrap());
    let refused = owner.lock(&set("disk/a disk/b"), options).unwrap_err();
    assert_eq!(refused, LockError::TooFew { found: 1, needed: 2 });
    assert!(locks.locks().is_empty());
    let mut other = Helper::start(directory.path());
    other.lock("disk/a");
}
