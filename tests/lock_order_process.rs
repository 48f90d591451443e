//! The process-wide checker behind the crate's own mutexes, jobs and foreign locks.
//!
//! Every test has classes of its own, since all share one graph.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(any(debug_assertions, feature = "lock-order"))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use lockmaster::allow_edge;
use lockmaster::runtime::lock_order::{
    self, Access, LockClass, Owner, Reaction, Tracked, assert_no_locks_held, level_class,
};
use lockmaster::runtime::sync::{Condvar, Mutex};
use lockmaster::runtime::{CancelToken, LockOptions, LockOwner, Locks};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest};

/// What the panic of `f` says.
fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    lock_order::set_reaction(Reaction::Panic);
    let panic = catch_unwind(AssertUnwindSafe(f)).err().expect("a finding");
    *panic.downcast::<String>().expect("a panic with a text")
}

#[test]
fn an_inversion_of_two_mutexes_panics_before_the_second_is_locked_and_leaves_both_usable() {
    static A: LockClass = LockClass::new("inversion a");
    static B: LockClass = LockClass::new("inversion b");
    let (a, b) = (Mutex::new(&A, 1), Mutex::new(&B, 2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let _a = a.lock();
            let _b = b.lock();
        });
    });
    let said = panic_of(|| {
        let _b = b.lock();
        *a.lock() = 10;
    });
    assert!(said.contains("inversion b -> inversion a -> inversion b"), "{said}");
    assert!(said.contains(file!()), "{said}");
    assert_eq!((*a.lock(), *b.lock()), (1, 2));
    assert_no_locks_held("after the panic");
}

#[test]
fn locking_a_mutex_twice_panics_instead_of_hanging() {
    static TWICE: LockClass = LockClass::new("twice");
    let mutex = Mutex::new(&TWICE, ());
    let said = panic_of(|| {
        let _first = mutex.lock();
        let _second = mutex.lock();
    });
    assert!(said.contains("by the one who holds it"), "{said}");
}

#[test]
fn two_mutexes_of_a_class_need_an_order_function() {
    static LEAF: LockClass = LockClass::new("leaf");
    static PAGE: LockClass = LockClass::new("page").ordered_by(str::cmp);
    let (first, second) = (Mutex::new(&LEAF, ()), Mutex::new(&LEAF, ()));
    let said = panic_of(|| (first.lock(), second.lock()).0);
    assert!(said.contains("order function"), "{said}");
    let pages = ["a", "b", "c"].map(|name| Mutex::named(&PAGE, name, ()));
    let hand_over_hand = (pages[0].lock(), pages[1].lock());
    drop(hand_over_hand.0);
    drop((pages[2].lock(), hand_over_hand.1));
}

#[test]
fn a_wait_releases_its_own_mutex_and_may_hold_no_other() {
    static STATE: LockClass = LockClass::new("wait state");
    static OTHER: LockClass = LockClass::new("wait other");
    let (state, changed) = (Mutex::new(&STATE, false), Condvar::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            *state.lock() = true;
            changed.notify_all();
        });
        let mut set = state.lock();
        while !*set {
            set = changed.wait(set);
        }
    });
    let other = Mutex::new(&OTHER, ());
    let said = panic_of(|| {
        let _other = other.lock();
        drop(changed.wait(state.lock()));
    });
    assert!(said.contains("while holding \"wait other\""), "{said}");
    assert!(*state.lock());
}

#[test]
fn a_lock_held_before_a_sync_is_found() {
    static LOG: LockClass = LockClass::new("log writer");
    let log = Mutex::new(&LOG, ());
    assert_no_locks_held("before fsync");
    let said = panic_of(|| {
        let _log = log.try_lock();
        assert_no_locks_held("before fsync");
    });
    assert!(said.starts_with("\"log writer\" is held before fsync"), "{said}");
}

#[test]
fn who_listens_to_a_cancel_token_is_not_called_under_a_lock() {
    static QUEUE: LockClass = LockClass::new("queue of the cancel test");
    let (queue, token) = (Mutex::new(&QUEUE, ()), CancelToken::new());
    let _listener = token.on_cancel(|| {});
    let said = panic_of(|| {
        let _queue = queue.lock();
        token.set(lockmaster::runtime::CancelCause::Requested);
    });
    assert!(said.contains("listen to a cancel token"), "{said}");
}

#[test]
fn an_exception_silences_one_order() {
    static GATED: LockClass = LockClass::new("gated");
    static INNER: LockClass = LockClass::new("inner");
    allow_edge!(INNER, GATED, "only at start-up, before there are threads");
    let (gated, inner) = (Mutex::new(&GATED, ()), Mutex::new(&INNER, ()));
    drop((gated.lock(), inner.lock()));
    drop((inner.lock(), gated.lock()));
    assert!(lock_order::dot().contains("only at start-up"));
}

#[test]
fn a_job_that_asks_for_a_level_above_what_it_holds_is_found() {
    let instance = level_class("job-instance", "test");
    let node = level_class("job-node", "test");
    let first = Owner::new("job 1");
    first.attempt(instance, "web", Access::Exclusive);
    first.hold(instance, "web", Access::Exclusive);
    first.attempt(node, "n1", Access::Shared);
    first.hold(node, "n1", Access::Shared);
    first.release(instance, "web");
    let said = panic_of(|| first.attempt(instance, "db", Access::Exclusive));
    assert!(said.contains("\"job-instance\" (db) is asked for while holding \"job-node\" (n1)"));
    assert!(said.contains("1. job 1, holding job-node"), "{said}");
    first.release_all();
    first.attempt(instance, "db", Access::Exclusive);
}

#[test]
fn a_jobs_upgrade_is_found_and_another_jobs_shared_lock_is_not() {
    let level = level_class("upgraded", "test");
    let (first, second) = (Owner::new("job 1"), Owner::new("job 2"));
    for job in [&first, &second] {
        job.attempt(level, "web", Access::Shared);
        job.hold(level, "web", Access::Shared);
    }
    let said = panic_of(|| second.attempt(level, "web", Access::Exclusive));
    assert!(said.contains("held shared"), "{said}");
}

#[test]
fn waiting_for_a_jobs_lock_under_a_mutex_that_jobs_take_is_found() {
    static CATALOGUE: LockClass = LockClass::new("catalogue");
    let (catalogue, level) = (Mutex::new(&CATALOGUE, ()), level_class("entered", "test"));
    let job = Owner::new("job 1");
    job.hold(level, "web", Access::Exclusive);
    let working = job.enter();
    drop(catalogue.lock());
    assert_no_locks_held("while the job has locks of its own");
    drop(working);
    let said = panic_of(|| {
        let _catalogue = catalogue.lock();
        Owner::new("job 2").attempt(level, "db", Access::Exclusive);
    });
    assert!(said.contains("entered -> catalogue") || said.contains("catalogue -> entered"));
}

/// Both threads obey the table, whose owners know nothing of each other.
#[test]
fn a_thread_with_two_owners_that_take_levels_in_opposite_order_is_found() {
    let hierarchy = Hierarchy::builder().level("pool").level("disk").build().unwrap();
    let locks = Locks::new(hierarchy.clone());
    let set = |level: &str, name| {
        let mut request = LockRequest::new();
        request.add(hierarchy.level(level).unwrap(), name, LockMode::Shared).unwrap();
        request
    };
    let take = |level, name| {
        let (owner, name) = (locks.owner(), set(level, name));
        drop(owner.lock(&name, LockOptions::default()).unwrap());
    };
    locks.with(&set("pool", "tank"), LockOptions::default(), |_| take("disk", "sda")).unwrap();
    locks.with(&set("disk", "sda"), LockOptions::default(), |_| take("disk", "sdb")).unwrap();
    let nested = |outer, level, name| {
        panic_of(|| locks.with(&outer, LockOptions::default(), |_| take(level, name)))
    };
    assert!(nested(set("disk", "sda"), "pool", "tank").contains("disk -> pool -> disk"));
    assert!(nested(set("disk", "sdb"), "disk", "sda").contains("not in ascending order"));
    assert!(locks.locks().is_empty());
}

/// Locks of two levels, the second of which is reentrant, and how to ask for some by name.
fn two_levels(
    first: &str,
    second: &str,
) -> (Locks, impl Fn(&str, &[&str], LockMode) -> LockRequest) {
    let levels = Hierarchy::builder().level(first).level(second).reentrant();
    let hierarchy = levels.build().unwrap();
    let locks = Locks::new(hierarchy.clone());
    let set = move |level: &str, names: &[&str], mode| {
        let mut request = LockRequest::new();
        for name in names {
            request.add(hierarchy.level(level).unwrap(), name, mode).unwrap();
        }
        request
    };
    (locks, set)
}

#[test]
fn a_reentrant_level_counts_like_any_other_for_who_holds_nothing_there() {
    let (locks, set) = two_levels("once-pool", "again-disk");
    let pool = set("once-pool", &["tank"], LockMode::Exclusive);
    let disk = set("again-disk", &["sda"], LockMode::Exclusive);
    let (one, two) = (locks.owner(), locks.owner());
    let lock = |owner: &LockOwner, what| drop(owner.lock(what, LockOptions::default()).unwrap());
    let outer = one.lock(&pool, LockOptions::default()).unwrap();
    lock(&one, &disk);
    drop(outer);
    let outer = one.lock(&disk, LockOptions::default()).unwrap();
    lock(&one, &disk);
    let said = panic_of(|| lock(&two, &pool));
    assert!(said.contains("again-disk -> once-pool -> again-disk"), "{said}");
    drop(outer);
}

#[test]
fn of_a_set_the_last_name_counts_for_what_is_taken_after_it() {
    let (locks, set) = two_levels("spanned-pool", "spanned-disk");
    let (one, two) = (locks.owner(), locks.owner());
    let lock = |names: &[&str]| {
        let wanted = set("spanned-pool", names, LockMode::Exclusive);
        drop(two.lock(&wanted, LockOptions::default()).unwrap());
    };
    let ends = set("spanned-pool", &["a", "m"], LockMode::Exclusive);
    let held = one.lock(&ends, LockOptions::default()).unwrap();
    let said = panic_of(|| lock(&["b", "z"]));
    assert!(said.contains("not in ascending order"), "{said}");
    lock(&["n", "z"]);
    drop(held);
}

#[test]
fn a_threads_upgrade_through_two_owners_is_found() {
    let (locks, set) = two_levels("shared-pool", "shared-disk");
    let (one, two) = (locks.owner(), locks.owner());
    let tank = |mode| set("shared-pool", &["tank"], mode);
    let held = one.lock(&tank(LockMode::Shared), LockOptions::default()).unwrap();
    let alone = tank(LockMode::Exclusive);
    let said = panic_of(|| drop(two.lock(&alone, LockOptions::default())));
    assert!(said.contains("held shared"), "{said}");
    drop(held);
}

#[test]
fn a_level_released_before_its_guard_no_longer_counts() {
    let hierarchy = Hierarchy::builder().level("early-pool").level("early-disk").build().unwrap();
    let locks = Locks::new(hierarchy.clone());
    let disk = hierarchy.level("early-disk").unwrap();
    let mut request = LockRequest::new();
    request.add(disk, "sdb", LockMode::Exclusive).unwrap();
    let owner = locks.owner();
    let mut guard = owner.lock(&request, LockOptions::default()).unwrap();
    guard.release(&request).unwrap();
    let again = owner.lock(&request, LockOptions::default()).unwrap();
    drop((guard, again));
}

#[test]
fn of_locks_released_in_any_order_those_count_that_are_still_held() {
    static FIRST: LockClass = LockClass::new("any order first");
    static SECOND: LockClass = LockClass::new("any order second");
    static THIRD: LockClass = LockClass::new("any order third");
    let (first, second) = (Mutex::new(&FIRST, ()), Mutex::new(&SECOND, ()));
    let third = Mutex::new(&THIRD, ());
    let (early, late) = (first.lock(), second.lock());
    drop(early);
    drop(third.lock());
    drop(late);
    let held = third.lock();
    let said = panic_of(|| drop(second.lock()));
    assert!(said.contains("any order third -> any order second -> any order third"), "{said}");
    drop(held);
}

#[test]
fn a_foreign_lock_is_watched_through_what_it_carries() {
    static OURS: LockClass = LockClass::new("ours");
    static THEIRS: LockClass = LockClass::new("theirs");
    let (ours, theirs) = (Mutex::new(&OURS, ()), Tracked::new(&THEIRS));
    drop((ours.lock(), theirs.attempt(Access::Shared)));
    let said = panic_of(|| {
        let _theirs = theirs.attempt(Access::Shared);
        drop(ours.lock());
    });
    assert!(said.contains("theirs -> ours -> theirs"), "{said}");
}

#[test]
fn a_released_job_lock_no_longer_counts_for_the_thread_that_works_for_the_job() {
    static PLAN: LockClass = LockClass::new("plan");
    let (plan, level) = (Mutex::new(&PLAN, ()), level_class("released", "test"));
    let job = Owner::new("job 1");
    let _working = job.enter();
    job.hold(level, "web", Access::Exclusive);
    job.release(level, "web");
    drop(plan.lock());
    let _plan = plan.lock();
    job.attempt(level, "web", Access::Exclusive);
}

#[test]
fn what_a_job_gets_counts_for_the_thread_that_works_for_it_until_that_is_released() {
    static PLAN: LockClass = LockClass::new("worked plan");
    let plan = Mutex::new(&PLAN, ());
    let (first, second) = (level_class("worked-1", "test"), level_class("worked-2", "test"));
    let job = Owner::new("job 1");
    let working = job.enter();
    job.hold(first, "web", Access::Exclusive);
    job.hold(second, "web", Access::Exclusive);
    job.release(first, "web");
    drop(plan.lock());
    drop(working);
    let _plan = plan.lock();
    Owner::new("job 2").attempt(first, "web", Access::Exclusive);
    let said = panic_of(|| Owner::new("job 3").attempt(second, "web", Access::Exclusive));
    assert!(said.contains("worked plan -> worked-2 -> worked plan"), "{said}");
}

/// Takes a mutex and asks under it for what the job held: silent unless that was seen the other
/// way round.
fn take_under(class: &'static LockClass, level: &'static LockClass) {
    let plan = Mutex::new(class, ());
    drop(plan.lock());
    let _plan = plan.lock();
    Owner::new("another job").attempt(level, "web", Access::Exclusive);
}

#[test]
fn a_jobs_locks_do_not_count_for_a_thread_that_works_for_nobody_or_after_it_released_all() {
    static IDLE: LockClass = LockClass::new("idle plan");
    static AFTER: LockClass = LockClass::new("plan after");
    static DONE: LockClass = LockClass::new("plan when done");
    let (job, level) = (Owner::new("job 1"), level_class("elsewhere", "test"));
    lock_order::set_reaction(Reaction::Panic);
    job.hold(level, "web", Access::Exclusive);
    take_under(&IDLE, level);
    let working = job.enter();
    drop(working);
    take_under(&AFTER, level);
    let _working = job.enter();
    job.release_all();
    take_under(&DONE, level);
}

#[test]
fn a_finding_in_a_thread_that_panics_already_does_not_abort() {
    static A: LockClass = LockClass::new("unwinding a");
    static B: LockClass = LockClass::new("unwinding b");
    struct LocksOnDrop<'a>(&'a Mutex<()>, &'a Mutex<()>, mpsc::Sender<()>);
    impl Drop for LocksOnDrop<'_> {
        fn drop(&mut self) {
            drop((self.0.lock(), self.1.lock()));
            self.2.send(()).unwrap();
        }
    }
    let (a, b) = (Mutex::new(&A, ()), Mutex::new(&B, ()));
    drop((a.lock(), b.lock()));
    let (sender, done) = mpsc::channel();
    let said = panic_of(|| {
        let _inverted = LocksOnDrop(&b, &a, sender);
        panic!("{}", "the first panic");
    });
    assert_eq!(said, "the first panic");
    assert!(done.recv().is_ok());
    let found = |report: &lock_order::Report| report.cycle().first() == Some(&"unwinding b");
    assert!(lock_order::reports().iter().any(found));
}

/// Runs itself in a process of its own for each setting, where it inverts two mutexes.
#[test]
fn the_environment_says_what_a_finding_does() {
    static A: LockClass = LockClass::new("environment a");
    static B: LockClass = LockClass::new("environment b");
    const SETTING: &str = "LOCKMASTER_LOCK_ORDER";
    if std::env::var_os("LOCKMASTER_TEST_INVERTS").is_some() {
        let (a, b) = (Mutex::new(&A, ()), Mutex::new(&B, ()));
        drop((a.lock(), b.lock()));
        drop((b.lock(), a.lock()));
        println!("{} findings", lock_order::reports().len());
        println!("{} exported", lock_order::json()["reports"].as_array().map_or(0, Vec::len));
        static C: LockClass = LockClass::new("environment c");
        let c = Mutex::new(&C, ());
        lock_order::set_reaction(Reaction::Off);
        drop((a.lock(), c.lock()));
        drop((c.lock(), a.lock()));
        println!("{} later", lock_order::reports().len());
        return;
    }
    let output_with = |setting: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_environment_says_what_a_finding_does", "--nocapture"])
            .env("LOCKMASTER_TEST_INVERTS", "1")
            .env(SETTING, setting)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let (ok, text) = output_with("panic");
    assert!(!ok && text.contains("environment b -> environment a -> environment b"), "{text}");
    let (ok, text) = output_with("warn");
    assert!(ok && text.contains("1 findings"), "{text}");
    assert!(text.contains("1 exported") && text.contains("1 later"), "{text}");
    let (ok, text) = output_with("off");
    assert!(ok && text.contains("0 findings"), "{text}");
    let (_, text) = output_with("loud");
    assert!(text.contains("none of panic, warn and off"), "{text}");
}
