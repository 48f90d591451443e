//! Locks for threads that block, and payloads that come back as values.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the answer")]

#[path = "support/lock_set.rs"]
mod lock_set;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lockmaster::engine::locks::{LockError, OwnerId, RequestKind, RequestOptions, WaitPolicy};
use lockmaster::runtime::{Asked, Clock, LockManager, LockOptions, LockOwner, Locks};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Priority, Timestamp};

/// Locks of the usual levels; see [`lock_set::set`].
fn set(text: &str) -> LockRequest {
    lock_set::set(&Hierarchy::default(), text)
}

fn locks() -> Locks {
    Locks::new(Hierarchy::default())
}

fn is_free(locks: &Locks, what: &str) -> bool {
    locks.with(&set(what), LockOptions::asap(), |_| ()).is_ok()
}

/// Returns once that owner waits for a lock.
fn until_waiting(locks: &Locks, owner: OwnerId) {
    while locks.explain(owner).is_none_or(|report| report.waits.is_none()) {
        thread::yield_now();
    }
}

/// Starts a thread that takes a lock and says so; its owner.
fn waiter(
    locks: &Locks,
    what: &'static str,
    options: LockOptions,
    say: mpsc::Sender<Result<&'static str, LockError>>,
) -> OwnerId {
    let (owner, id) = mpsc::channel();
    let theirs = locks.clone();
    thread::spawn(move || {
        let me: LockOwner = theirs.owner();
        owner.send(me.id()).unwrap();
        let taken = me.lock(&set(what), options).map(|_guard| what);
        say.send(taken).unwrap();
    });
    let id = id.recv().unwrap();
    until_waiting(locks, id);
    id
}

#[test]
fn guards_release_in_any_order() {
    let locks = locks();
    let owner = locks.owner();
    let instance = owner.lock(&set("instance/a"), LockOptions::default()).unwrap();
    let node = owner.lock(&set("node/n"), LockOptions::default()).unwrap();
    drop(instance);
    assert!(is_free(&locks, "instance/a") && !is_free(&locks, "node/n"));
    drop(node);
    assert!(is_free(&locks, "node/n"));
    assert_eq!(locks.locks(), []);
}

#[test]
fn at_a_reentrant_level_guards_nest_and_release_in_any_order() {
    let levels = Hierarchy::builder().big_lock("cluster").level("instance").reentrant();
    let locks = Locks::new(levels.level("node").build().unwrap());
    let instance = locks.hierarchy().level("instance").unwrap();
    assert!(locks.hierarchy().get(instance).is_reentrant());
    let owner = locks.owner();
    let lock = |what| owner.lock(&set(what), LockOptions::default());
    let outer = lock("instance/a instance/b:s").unwrap();
    let inner = lock("instance/a:s").unwrap();
    assert!(matches!(lock("instance/b"), Err(LockError::WouldDeadlock { .. })));
    drop(outer);
    assert!(!is_free(&locks, "instance/a"));
    drop(inner);
    assert!(is_free(&locks, "instance/*"));
}

#[test]
fn a_thread_is_an_owner_of_its_own_in_each_of_several_tables() {
    let (one, two) = (locks(), locks());
    let theirs = two.owner();
    let held = theirs.lock(&set("node/n"), LockOptions::default()).unwrap();
    assert!(one.here().lock(&set("node/n"), LockOptions::asap()).is_ok());
    assert_ne!(two.here().id(), theirs.id());
    drop(held);
}

#[test]
fn a_panic_in_the_body_releases_the_locks() {
    let locks = locks();
    let body = || locks.with(&set("node/n"), LockOptions::default(), |_| panic!("on purpose"));
    let outcome: Result<Result<(), _>, _> = catch_unwind(AssertUnwindSafe(body));
    assert!(outcome.is_err());
    assert!(is_free(&locks, "node/*"));
}

#[test]
fn no_guard_no_body() {
    let locks = locks();
    let owner = locks.owner();
    let _guard = owner.lock(&set("node/n"), LockOptions::default()).unwrap();
    let refused = locks.with(&set("node/n"), LockOptions::asap(), |_| panic!("never runs"));
    let refused: Result<(), _> = refused;
    let owner = Some(owner.id());
    assert_eq!(refused.unwrap_err(), LockError::Busy { lock: "node/n".to_owned(), owner });
}

#[test]
fn a_thread_that_waits_goes_on_when_the_lock_is_released() {
    let locks = locks();
    let (say, said) = mpsc::channel();
    let owner = locks.owner();
    let guard = owner.lock(&set("instance/a node/n"), LockOptions::default()).unwrap();
    waiter(&locks, "node/n", LockOptions::default(), say);
    assert!(said.try_recv().is_err());
    drop(guard);
    assert_eq!(said.recv().unwrap(), Ok("node/n"));
}

#[test]
fn a_request_that_runs_out_of_time_lets_those_behind_it_in() {
    let policy = WaitPolicy { max_bypass: 0, rest: 0, ..WaitPolicy::default() };
    let locks = Locks::with_policy(Hierarchy::default(), policy);
    let (say, said) = mpsc::channel();
    let owner = locks.owner();
    let _guard = owner.lock(&set("node/n:s"), LockOptions::default()).unwrap();
    let patience = LockOptions::within(Duration::from_secs(1));
    waiter(&locks, "node/n", patience, say.clone());
    waiter(&locks, "node/n:s", LockOptions::default(), say);
    let mut both = [said.recv().unwrap(), said.recv().unwrap()];
    both.sort_by_key(Result::is_err);
    let timed_out = LockError::TimedOut { lock: "node/n".to_owned() };
    assert_eq!(both, [Ok("node/n:s"), Err(timed_out)]);
}

/// Everything that somebody can ask for wrongly, and what is said to it.
#[test]
fn each_bad_input_has_an_error_with_its_own_text() {
    let levels = Hierarchy::builder().level("node").level("slot").capacity(2).build().unwrap();
    let level = |name| levels.level(name).unwrap();
    let (shared, exclusive) = (LockMode::Shared, LockMode::Exclusive);
    let locks = Locks::new(levels.clone());
    let [holder, other] = [(); 2].map(|()| locks.owner());
    let one = |level, name, mode| {
        let mut request = LockRequest::new();
        request.add(level, name, mode).map(|request| request.clone()).map_err(|e| e.to_string())
    };
    let whole = |level, mode| {
        let mut request = LockRequest::new();
        request.add_all(level, mode).unwrap();
        request
    };
    let mut held = {
        let mut both = one(level("node"), "n", shared).unwrap();
        both.merge(&one(level("slot"), "s", exclusive).unwrap());
        holder.lock(&both, LockOptions::default()).unwrap()
    };
    let ask = |owner: &LockOwner, request: &LockRequest, options| {
        owner.lock(request, options).unwrap_err().to_string()
    };
    let now = LockOptions::asap();
    let foreign = Hierarchy::builder().level("a").level("b").level("c").build().unwrap();
    let foreign = one(foreign.level("c").unwrap(), "x", shared).unwrap();
    let mut both_modes = one(level("node"), "n", shared).unwrap();
    let mut both_alls = whole(level("node"), shared);
    let free = one(level("node"), "m", exclusive).unwrap();
    let some =
        LockOptions { kind: RequestKind::Opportunistic { min_count: 1 }, ..LockOptions::default() };
    let texts = [
        one(level("node"), "", shared).unwrap_err(),
        one(level("node"), &"x".repeat(256), shared).unwrap_err(),
        one(level("node"), "a\u{7}", shared).unwrap_err(),
        one(level("node"), "{instance}", shared).unwrap_err(),
        both_modes.add(level("node"), "n", exclusive).unwrap_err().to_string(),
        both_alls.add_all(level("node"), exclusive).unwrap_err().to_string(),
        levels.level("rack").unwrap_err().to_string(),
        Priority::new(20).unwrap_err().to_string(),
        ask(&other, &foreign, now),
        ask(&other, &free, LockOptions::within(Duration::MAX)),
        ask(&other, &whole(level("slot"), shared), now),
        ask(&other, &whole(level("node"), exclusive), now),
        ask(&other, &one(level("slot"), "s", shared).unwrap(), some),
        ask(&holder, &free, now),
        ask(&holder, &one(level("node"), "n", shared).unwrap(), now),
        ask(&holder, &one(level("node"), "n", exclusive).unwrap(), now),
        held.release(&one(level("slot"), "t", shared).unwrap()).unwrap_err().to_string(),
    ];
    let distinct: BTreeSet<&String> = texts.iter().collect();
    assert_eq!(distinct.len(), texts.len(), "{texts:#?}");
    for (text, word) in texts.iter().zip([
        "empty",
        "256 bytes",
        "control character",
        "brace",
        "both shared and exclusive",
        "all locks of a level",
        "\"rack\"",
        "20",
        "rank 2",
        "absurd",
        "at most 2 may share",
        "node/[lockset] is busy",
        "too few",
        "slot/s is held",
        "node/n is held already",
        "cannot be made exclusive",
        "slot/t is not held",
    ]) {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn an_absurd_timeout_is_refused() {
    let locks = locks();
    let refused = locks.with(&set("node/n"), LockOptions::within(Duration::MAX), |_| ());
    assert!(refused.unwrap_err().to_string().contains("absurd"));
}

#[test]
fn a_downgraded_guard_lets_sharers_in_and_a_narrowed_one_lets_go_of_the_rest() {
    let locks = locks();
    let (say, said) = mpsc::channel();
    let owner = locks.owner();
    let mut guard = owner.lock(&set("node/*"), LockOptions::default()).unwrap();
    waiter(&locks, "node/a", LockOptions::default(), say.clone());
    guard.narrow(&set("node/b")).unwrap();
    assert_eq!(said.recv().unwrap(), Ok("node/a"));
    waiter(&locks, "node/b:s", LockOptions::default(), say);
    guard.downgrade(&set("node/b")).unwrap();
    assert_eq!(said.recv().unwrap(), Ok("node/b:s"));
    assert_eq!(guard.held(), set("node/b:s"));
    guard.release(&set("node/b")).unwrap();
    let again = owner.lock(&set("node/b"), LockOptions::default()).unwrap();
    drop(guard);
    assert!(!is_free(&locks, "node/b"), "the older guard has nothing left to release");
    drop(again);
    assert_eq!(locks.locks(), []);
}

#[test]
fn a_change_of_priority_counts_at_once() {
    let locks = locks();
    let (say, said) = mpsc::channel();
    let owner = locks.owner();
    let guard = owner.lock(&set("node/a"), LockOptions::default()).unwrap();
    waiter(&locks, "node/a node/b", LockOptions::default(), say.clone());
    let late = waiter(&locks, "node/a node/c", LockOptions::default(), say);
    assert!(locks.set_priority(late, Priority::MOST_URGENT));
    assert_eq!(locks.locks()[0].waiters[0].owner, late);
    drop(guard);
    let both = [said.recv().unwrap().unwrap(), said.recv().unwrap().unwrap()];
    assert!(both.contains(&"node/a node/b") && both.contains(&"node/a node/c"));
}

#[test]
fn many_threads_never_hold_in_conflict_and_all_are_served() {
    let policy = WaitPolicy { max_bypass: 3, window: 2, rest: 2, ..WaitPolicy::default() };
    let locks = Locks::with_policy(Hierarchy::default(), policy);
    // Per node: how many share it, or -1 if somebody has it alone.
    let nodes: [AtomicI64; 4] = Default::default();
    let enter = |node: &AtomicI64, shared: bool| match shared {
        true => assert!(node.fetch_add(1, Ordering::SeqCst) >= 0),
        false => assert_eq!(node.swap(-1, Ordering::SeqCst), 0),
    };
    let leave = |node: &AtomicI64, shared: bool| match shared {
        true => _ = node.fetch_sub(1, Ordering::SeqCst),
        false => node.store(0, Ordering::SeqCst),
    };
    thread::scope(|scope| {
        for thread in 0..8_usize {
            let (locks, nodes) = (&locks, &nodes);
            scope.spawn(move || {
                for round in 0..200 {
                    let (a, b) = ((thread + round) % 4, (thread * 3 + round) % 4);
                    let shared = (thread + round) % 3 == 0;
                    let mark = if shared { ":s" } else { "" };
                    let owner = locks.owner();
                    let staged = round % 2 == 0;
                    let instance = staged.then(|| {
                        let request = set(&format!("instance/i{}:s", thread % 2));
                        owner.lock(&request, LockOptions::default()).unwrap()
                    });
                    let request = set(&format!("node/{a}{mark} node/{b}{mark}"));
                    let guard = owner.lock(&request, LockOptions::default()).unwrap();
                    enter(&nodes[a], shared);
                    if a != b {
                        enter(&nodes[b], shared);
                        leave(&nodes[b], shared);
                    }
                    leave(&nodes[a], shared);
                    drop((instance, guard));
                }
            });
        }
    });
    assert_eq!(locks.locks(), []);
}

#[test]
fn payloads_come_back_as_values_when_granted_withdrawn_or_dead() {
    let manager = LockManager::new(Hierarchy::default(), WaitPolicy::default());
    let ask = |owner, what, payload| {
        manager.request(OwnerId(owner), &set(what), RequestOptions::default(), payload)
    };
    assert_eq!(ask(1, "node/n", "one"), Ok(Asked::Granted("one")));
    for (owner, payload) in [(2, "two"), (3, "three"), (4, "four")] {
        assert_eq!(ask(owner, "node/n", payload), Ok(Asked::Waiting));
    }
    assert_eq!(ask(2, "node/m", "two again").unwrap_err().1, "two again");
    assert_eq!(manager.withdraw(OwnerId(2)), Some("two"));
    assert_eq!(manager.withdraw(OwnerId(2)), None);
    assert_eq!(manager.release_all(OwnerId(3)), Some("three"));
    assert_eq!(manager.pump(9), []);
    assert!(!manager.has_to_try());
    assert_eq!(manager.release_all(OwnerId(1)), None);
    assert!(manager.has_to_try());
    assert_eq!(manager.pump(9), [(OwnerId(4), "four")]);
}

#[test]
fn a_release_that_concerns_very_many_is_worked_off_to_the_end_and_no_further() {
    let manager = LockManager::new(Hierarchy::default(), WaitPolicy::default());
    let ask = |owner, what| {
        manager.request(OwnerId(owner), &set(what), RequestOptions::default(), owner).unwrap()
    };
    // More than it tries before it lets others in once.
    for want in [1100, 1150] {
        assert_eq!(ask(0, "node/n"), Asked::Granted(0));
        for owner in 1..=1200 {
            assert_eq!(ask(owner, "node/n:s"), Asked::Waiting);
        }
        manager.release_all(OwnerId(0));
        assert_eq!(manager.pump(want).len(), want);
        assert_eq!(manager.waiting().0, 1200 - want);
        assert_eq!(manager.pump(usize::MAX).len(), 1200 - want);
        (1..=1200).for_each(|owner| _ = manager.release_all(OwnerId(owner)));
    }
}

#[test]
fn a_guard_that_released_a_level_keeps_the_other_until_it_is_dropped() {
    let locks = locks();
    let owner = locks.owner();
    let mut guard = owner.lock(&set("instance/i node/n"), LockOptions::default()).unwrap();
    guard.release(&set("node/n")).unwrap();
    assert!(is_free(&locks, "node/n") && !is_free(&locks, "instance/i"));
    drop(guard);
    assert!(is_free(&locks, "instance/i"));
}

#[test]
fn a_manager_goes_by_the_clock_it_was_given() {
    let time = std::sync::Arc::new(AtomicI64::new(5));
    let theirs = std::sync::Arc::clone(&time);
    let clock = Clock::of(move || Timestamp::from_micros(theirs.load(Ordering::SeqCst)));
    let manager = LockManager::with_clock(Hierarchy::default(), WaitPolicy::default(), clock);
    assert_eq!(manager.waiting(), (0, None));
    for (owner, deadline) in [(1, None), (2, Some(Timestamp::from_micros(9)))] {
        let options = RequestOptions { deadline, ..RequestOptions::default() };
        _ = manager.request(OwnerId(owner), &set("node/n"), options, owner).unwrap();
    }
    assert_eq!(manager.waiting(), (1, Some((OwnerId(2), Timestamp::from_micros(5)))));
    time.store(8, Ordering::SeqCst);
    assert_eq!(manager.expire(), []);
    time.store(9, Ordering::SeqCst);
    assert_eq!(manager.expire(), [(OwnerId(2), 2)]);
}

#[test]
fn time_can_be_told_instead_of_waited_for() {
    let locks = locks();
    assert_eq!(locks.hierarchy().levels().count(), Hierarchy::default().levels().count());
    let owner = locks.owner();
    let _held = owner.lock(&set("node/n"), LockOptions::default()).unwrap();
    let (say, said) = mpsc::channel();
    let hour = Duration::from_secs(3600);
    waiter(&locks, "node/n", LockOptions::within(hour), say);
    locks.expire_at(Timestamp::from_micros(i64::MAX));
    assert!(matches!(said.recv().unwrap(), Err(LockError::TimedOut { .. })));
}

#[test]
fn a_manager_says_who_waits_for_whom_and_until_when() {
    let manager = LockManager::new(Hierarchy::default(), WaitPolicy::default());
    let until = |seconds| Some(Timestamp::default().plus(Duration::from_secs(seconds)));
    let ask = |owner, deadline| {
        let options = RequestOptions { deadline, ..RequestOptions::default() };
        manager.request(OwnerId(owner), &set("node/n"), options, owner).unwrap()
    };
    assert_eq!((ask(1, None), manager.next_deadline()), (Asked::Granted(1), None));
    let far = until(100 * 366 * 24 * 3600);
    assert_eq!((ask(2, far), manager.next_deadline()), (Asked::Waiting, far));
    let graph = manager.wait_graph_dot();
    assert!(graph.contains("\"owner 2\" -> \"owner 1\" [label=\"node/n (exclusive)\""), "{graph}");
    let oldest: Vec<_> = manager.oldest_waits(9).iter().map(|wait| wait.owner).collect();
    assert_eq!(oldest, [OwnerId(2)]);
    assert_eq!(manager.expire(), [], "not for a hundred years");
    assert_eq!(manager.expire_at(far.unwrap()), [(OwnerId(2), 2)]);
}
