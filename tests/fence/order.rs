//! Order, and what is refused for it.

use std::thread;

use lockmaster::engine::locks::LockError;
use lockmaster::runtime::{GlobalLocks, LockDir, LockOptions, Locks};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Scope};

use super::helper::{Helper, locks, set};

#[test]
fn x13_asking_against_the_order_is_refused_at_once_with_both_locks_and_nothing_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let locks = locks(directory.path());
    let owner = locks.owner();
    let guard = owner.lock(&set("disk/m"), LockOptions::default()).unwrap();
    for (asked, name) in [("pool/a", "pool/a"), ("disk/a", "disk/a"), ("memory/a", "memory/a")] {
        let refused = owner.lock(&set(asked), LockOptions::default()).unwrap_err();
        let expected = LockError::OutOfOrder { requested: name.into(), held: "disk/m".into() };
        assert_eq!(refused, expected);
    }
    assert_eq!(guard.held(), set("disk/m"));
    let mut other = Helper::start(directory.path());
    other.lock("pool/a disk/a");
}

#[test]
fn x13_the_order_holds_from_one_call_of_a_thread_to_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let locks = locks(directory.path());
    let nested = locks.with(&set("disk/m"), LockOptions::default(), |_| {
        locks.with(&set("pool/a"), LockOptions::default(), |_| ())
    });
    assert!(matches!(nested.unwrap(), Err(LockError::OutOfOrder { .. })));
}

#[test]
fn x14_what_is_shared_is_not_made_exclusive_and_stays_shared() {
    let directory = tempfile::tempdir().unwrap();
    let locks = locks(directory.path());
    let owner = locks.owner();
    let guard = owner.lock(&set("disk/x:s"), LockOptions::default()).unwrap();
    let refused = owner.lock(&set("disk/x"), LockOptions::default()).unwrap_err();
    assert_eq!(refused, LockError::WouldDeadlock { lock: "disk/x".into() });
    assert_eq!(guard.held(), set("disk/x:s"));
    let mut other = Helper::start(directory.path());
    other.tell("try disk/x");
    assert!(other.hear().starts_with("refused"), "it is still shared");
    other.lock("disk/x:s");
}

/// R8: the way back takes the locks again that the way there holds.
#[test]
fn an_owner_takes_its_own_locks_again_and_they_last_until_the_last_release() {
    let directory = tempfile::tempdir().unwrap();
    let (locks, mut other) = (locks(directory.path()), Helper::start(directory.path()));
    let again = || locks.with(&set("pool/tank"), LockOptions::default(), |_| "undone");
    locks
        .with(&set("pool/tank"), LockOptions::default(), |_| {
            assert_eq!(again().unwrap(), "undone");
            other.tell("try pool/tank");
            assert!(other.hear().starts_with("refused"), "the first one still holds it");
            let elsewhere = thread::scope(|scope| {
                let asap = || locks.with(&set("pool/tank"), LockOptions::asap(), |_| ());
                scope.spawn(asap).join().unwrap()
            });
            assert!(matches!(elsewhere, Err(LockError::Busy { .. })), "another thread is another");
        })
        .unwrap();
    other.lock("pool/tank");
}

#[test]
fn nothing_is_taken_for_less_than_it_was_declared_as() {
    let hierarchy = || {
        let builder = Hierarchy::builder().scoped_level("volume", Scope::Global);
        builder.scoped_level("pool", Scope::Node).build().unwrap()
    };
    let one = |level: &str| {
        let mut request = LockRequest::new();
        let level = hierarchy().level(level).unwrap();
        request.add(level, "x", LockMode::Exclusive).unwrap();
        request
    };
    let lock = |locks: &Locks, level| locks.with(&one(level), LockOptions::default(), |_| ());
    let in_memory = Locks::new(hierarchy());
    assert_eq!(lock(&in_memory, "pool"), Err(LockError::NoLockDirectory { level: "pool".into() }));
    let directory = tempfile::tempdir().unwrap();
    let open = || Locks::builder(hierarchy()).dir(LockDir::open(directory.path()).unwrap());
    let on_node = open().open();
    assert_eq!(lock(&on_node, "pool"), Ok(()));
    assert_eq!(lock(&on_node, "volume"), Err(LockError::NotGlobal { level: "volume".into() }));
    let chosen = open().global(GlobalLocks::OnThisNode).open();
    assert_eq!(lock(&chosen, "volume"), Ok(()));
    assert!(directory.path().join("volume/x.lock").exists(), "as files of this machine");
    assert_eq!(lock(&open().global(GlobalLocks::InThisProcess).open(), "volume"), Ok(()));
}

const ROUNDS: u64 = 150;

/// Whoever asks for sets of random locks, one level after the other or several at once, comes
/// through, in whatever process it is. Replayed with the seed that is printed.
#[test]
fn x16_random_sets_in_four_processes_and_four_threads_always_come_through() {
    let seed = std::env::var("FENCE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("FENCE_SEED={seed} replays this");
    let directory = tempfile::tempdir().unwrap();
    let mut helpers: Vec<Helper> = (0..4).map(|_| Helper::start(directory.path())).collect();
    for (helper, number) in helpers.iter_mut().zip(1..) {
        helper.tell(&format!("random {}", seed.wrapping_mul(31).wrapping_add(number)));
    }
    let locks = locks(directory.path());
    thread::scope(|scope| {
        for number in 5..9 {
            let locks = locks.clone();
            scope.spawn(move || random_locks(&locks, seed.wrapping_mul(31).wrapping_add(number)));
        }
    });
    helpers.iter().for_each(Helper::hear_of_the_end);
    assert!(locks.locks().is_empty(), "nobody holds or waits for anything");
}

/// Takes and gives back random sets of locks.
pub(crate) fn random_locks(locks: &Locks, seed: u64) {
    let mut random = seed | 1;
    let mut next = move |below: u64| {
        // Marsaglia's xorshift64.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for _ in 0..ROUNDS {
        let mut words = Vec::new();
        for level in ["pool", "memory", "disk"] {
            for _ in 0..next(3) {
                words.push((level, next(3), next(3) == 0));
            }
        }
        words.sort();
        words.dedup_by_key(|(level, name, _)| (*level, *name));
        let of = |levels: &[&str]| {
            let words = words.iter().filter(|(level, ..)| levels.contains(level));
            let word = |(level, name, shared): &(&str, u64, bool)| {
                format!("{level}/{name}{}", if *shared { ":s" } else { "" })
            };
            set(&words.map(word).collect::<Vec<_>>().join(" "))
        };
        let owner = locks.owner();
        if next(2) == 0 {
            let all = of(&["pool", "memory", "disk"]);
            drop(owner.lock(&all, LockOptions::default()).unwrap());
        } else {
            let first = owner.lock(&of(&["pool"]), LockOptions::default()).unwrap();
            let deeper = owner.lock(&of(&["memory", "disk"]), LockOptions::default()).unwrap();
            drop((first, deeper));
        }
    }
}

/// What is made less in the table is made less among processes, at once.
#[test]
fn what_is_downgraded_or_narrowed_is_free_for_other_processes() {
    let directory = tempfile::tempdir().unwrap();
    let (locks, mut other) = (locks(directory.path()), Helper::start(directory.path()));
    let owner = locks.owner();
    let mut guard = owner.lock(&set("disk/x"), LockOptions::default()).unwrap();
    other.wait_for("disk/x:s");
    guard.downgrade(&set("disk/x:s")).unwrap();
    assert_eq!(other.hear(), "held");
    other.tell("died");
    assert_eq!(other.hear(), "[]", "who shares it still has not died with it");
    other.unlock();
    other.tell("try disk/x");
    assert!(other.hear().starts_with("refused"), "it is still shared");
    drop(guard);
    let mut whole = owner.lock(&set("disk/*"), LockOptions::default()).unwrap();
    other.wait_for("disk/a");
    whole.narrow(&set("disk/b")).unwrap();
    assert_eq!(other.hear(), "held");
    let mut third = Helper::start(directory.path());
    third.tell("try disk/b");
    assert!(third.hear().contains(&format!("held by process {}", std::process::id())));
    drop(whole);
    third.lock("disk/b");
}
