//! Threads that block for locks: every one goes on, whatever happens to those around it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockmaster::engine::locks::{LockError, WaitPolicy};
use lockmaster::runtime::{LockOptions, Locks};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Timestamp};

use crate::{model, thread};

const LATE: Timestamp = Timestamp::from_micros(i64::MAX);
const AN_HOUR: Duration = Duration::from_secs(3600);

/// `"instance/web node/n1:s"`: exclusive unless marked shared.
fn set(text: &str) -> LockRequest {
    let hierarchy = Hierarchy::default();
    let mut request = LockRequest::new();
    for word in text.split_whitespace() {
        let (lock, mode) = match word.strip_suffix(":s") {
            Some(lock) => (lock, LockMode::Shared),
            None => (word, LockMode::Exclusive),
        };
        let (level, name) = lock.split_once('/').unwrap();
        request.add(hierarchy.level(level).unwrap(), name, mode).unwrap();
    }
    request
}

fn locks() -> Locks {
    Locks::new(Hierarchy::default())
}

/// Locks among which the oldest request reserves at once.
fn strict() -> Locks {
    let policy = WaitPolicy { max_bypass: 0, ..WaitPolicy::default() };
    Locks::with_policy(Hierarchy::default(), policy)
}

/// A thread that takes a set and lets it go.
fn taker(locks: &Locks, text: &'static str) -> thread::JoinHandle<()> {
    let locks = locks.clone();
    thread::spawn(move || locks.with(&set(text), LockOptions::default(), |_| ()).unwrap())
}

fn join_all(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn one_at_a_time_is_in_the_body_and_both_get_there() {
    model("locks: two exclusive", || {
        let (locks, inside) = (locks(), Arc::new(AtomicUsize::new(0)));
        let body = |locks: &Locks, inside: &AtomicUsize| {
            let alone = locks.with(&set("node/n1"), LockOptions::default(), |_| {
                let before = inside.fetch_add(1, Ordering::SeqCst);
                thread::yield_now();
                inside.fetch_sub(1, Ordering::SeqCst);
                before == 0
            });
            assert!(alone.unwrap());
        };
        let other = {
            let (locks, inside) = (locks.clone(), Arc::clone(&inside));
            thread::spawn(move || body(&locks, &inside))
        };
        body(&locks, &inside);
        other.join().unwrap();
        assert!(locks.locks().is_empty());
    });
}

#[test]
fn a_thread_whose_time_is_over_returns_and_one_whose_lock_came_first_has_it() {
    model("locks: timeout against grant", || {
        let locks = locks();
        let holder = locks.owner();
        let guard = holder.lock(&set("node/n1"), LockOptions::default()).unwrap();
        let waiter = {
            let locks = locks.clone();
            thread::spawn(move || {
                let owner = locks.owner();
                let granted = owner.lock(&set("node/n1"), LockOptions::within(AN_HOUR));
                granted.map(|guard| assert!(!guard.held().is_empty()))
            })
        };
        let timer = {
            let locks = locks.clone();
            thread::spawn(move || locks.expire_at(LATE))
        };
        drop(guard);
        timer.join().unwrap();
        let outcome = waiter.join().unwrap();
        assert!(matches!(outcome, Ok(()) | Err(LockError::TimedOut { .. })), "{outcome:?}");
        assert!(locks.locks().is_empty());
    });
}

#[test]
fn three_sets_in_a_ring_all_come_to_their_turn() {
    model("locks: three sets in a ring", || {
        let locks = locks();
        let others = ["node/b node/c", "node/c node/a"].map(|text| taker(&locks, text));
        locks.with(&set("node/a node/b"), LockOptions::default(), |_| ()).unwrap();
        join_all(others);
        assert!(locks.locks().is_empty());
    });
}

/// One goes level by level, the other asks for both levels at once and reserves what it waits
/// for: the reservation must not stop the one whose release it waits for.
#[test]
fn a_reservation_does_not_deadlock_one_who_is_half_way() {
    model("locks: two stages against a reservation", || {
        let locks = strict();
        let owner = locks.owner();
        let instance = owner.lock(&set("instance/x"), LockOptions::default()).unwrap();
        let both = taker(&locks, "instance/x node/y");
        let node = owner.lock(&set("node/y"), LockOptions::default()).unwrap();
        drop((node, instance));
        both.join().unwrap();
        assert!(locks.locks().is_empty());
    });
}

#[test]
fn two_who_want_to_upgrade_are_both_told_at_once() {
    model("locks: two upgraders", || {
        let locks = locks();
        let upgrade = |locks: &Locks| {
            let owner = locks.owner();
            let _shared = owner.lock(&set("node/n1:s"), LockOptions::default()).unwrap();
            let refused = owner.lock(&set("node/n1"), LockOptions::default()).map(drop);
            assert!(matches!(refused, Err(LockError::WouldDeadlock { .. })), "{refused:?}");
        };
        let other = {
            let locks = locks.clone();
            thread::spawn(move || upgrade(&locks))
        };
        upgrade(&locks);
        other.join().unwrap();
        assert!(locks.locks().is_empty());
    });
}

#[test]
fn a_panic_in_the_body_lets_the_next_one_in() {
    model("locks: panic in a body", || {
        let locks = locks();
        let next = taker(&locks, "node/n1");
        // Without the panic hook, which would print.
        let body =
            || locks.with(&set("node/n1"), LockOptions::default(), |_| resume_unwind(Box::new(())));
        let outcome: Result<Result<(), LockError>, _> = catch_unwind(AssertUnwindSafe(body));
        assert!(outcome.is_err());
        next.join().unwrap();
        assert!(locks.locks().is_empty());
    });
}

#[test]
fn a_downgrade_lets_a_reader_in_while_the_lock_is_still_held() {
    model("locks: downgrade against a reader", || {
        let locks = strict();
        let owner = locks.owner();
        let mut guard = owner.lock(&set("node/n1"), LockOptions::default()).unwrap();
        let reader = taker(&locks, "node/n1:s");
        guard.downgrade(&set("node/n1:s")).unwrap();
        reader.join().unwrap();
        drop(guard);
        assert!(locks.locks().is_empty());
    });
}

#[test]
fn two_readers_and_a_writer_all_come_to_their_turn() {
    model("locks: two readers and a writer", || {
        let locks = strict();
        let readers = [(); 2].map(|()| taker(&locks, "node/n1:s"));
        locks.with(&set("node/n1"), LockOptions::default(), |_| ()).unwrap();
        join_all(readers);
        assert!(locks.locks().is_empty());
    });
}
