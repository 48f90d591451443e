//! What may happen to the files under a lock.

use std::fs;
use std::path::Path;

use lockmaster::runtime::LockOptions;
use lockmaster::vocabulary::{LockMode, LockName, LockRequest};

use super::helper::{Helper, hierarchy, locks, set, wait_until, waits_in_kernel};

fn lock_file(directory: &Path, lock: &str) -> std::path::PathBuf {
    directory.join(format!("{lock}.lock"))
}

#[test]
fn x1_eight_processes_that_remove_the_file_they_hold_lose_no_count() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("counter"), "0").unwrap();
    let mut helpers: Vec<Helper> = (0..8).map(|_| Helper::start(directory.path())).collect();
    helpers.iter_mut().for_each(|helper| helper.tell("hammer 400"));
    helpers.iter().for_each(Helper::hear_of_the_end);
    let count = fs::read_to_string(directory.path().join("counter")).unwrap();
    assert_eq!(count, "3200");
    helpers.into_iter().for_each(Helper::end);
}

#[test]
fn x2_who_waited_on_a_removed_file_goes_behind_who_locked_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let start = || Helper::start(directory.path());
    let (mut a, mut b, mut c) = (start(), start(), start());
    a.lock("disk/x");
    b.wait_for("disk/x");
    fs::remove_file(lock_file(directory.path(), "disk/x")).unwrap();
    fs::remove_file(directory.path().join("disk/x.line")).unwrap();
    c.lock("disk/x");
    a.unlock();
    wait_until("b waits again", || waits_in_kernel(b.pid()));
    assert!(b.is_silent(), "c is inside");
    c.unlock();
    assert_eq!(b.hear(), "held");
    b.unlock();
}

#[test]
fn x9_reading_a_lock_file_does_not_disturb_the_lock() {
    let directory = tempfile::tempdir().unwrap();
    let (locks, mut other) = (locks(directory.path()), Helper::start(directory.path()));
    let owner = locks.owner();
    let guard = owner.lock(&set("disk/x"), LockOptions::default()).unwrap();
    let text = fs::read_to_string(lock_file(directory.path(), "disk/x")).unwrap();
    assert!(text.contains("a test"), "{text}");
    drop(fs::OpenOptions::new().read(true).write(true).open(lock_file(directory.path(), "disk/x")));
    other.tell("try disk/x");
    assert!(other.hear().starts_with("refused: disk/x is held by process"));
    drop(guard);
    other.lock("disk/x");
}

/// The newcomer gets in, because to it the directory is a new one; the holder is told at its next
/// look. Two successes without a word are what must not be.
#[test]
fn x10_a_holder_whose_directory_was_replaced_is_told_so() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("locks");
    let locks = locks(&directory);
    let owner = locks.owner();
    let guard = owner.lock(&set("disk/x"), LockOptions::default()).unwrap();
    guard.verify().unwrap();
    fs::remove_dir_all(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    let mut newcomer = Helper::start(&directory);
    newcomer.lock("disk/x");
    let told = guard.verify().unwrap_err().to_string();
    assert!(told.contains("was removed while its lock was held"), "{told}");
    drop(guard);
    // What the old holder gave back was not the newcomer's.
    let refused = owner.lock(&set("disk/x"), LockOptions::asap()).unwrap_err();
    assert!(refused.to_string().contains("held by process"), "{refused}");
}

#[test]
fn x11_distinct_names_are_distinct_locks_and_stay_in_the_directory() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("locks");
    let (locks, disk) = (locks(&directory), hierarchy().level("disk").unwrap());
    let (long, longer) = ("x".repeat(254), "x".repeat(255));
    let names = ["a/b", "a_b", "a%2Fb", "..", ".", "../../up", "ünï", "%", "+", &long, &longer];
    let owners: Vec<_> = names.iter().map(|_| locks.owner()).collect();
    let lock = |(name, owner): (&&str, _)| {
        let mut request = LockRequest::new();
        request.add(disk, name, LockMode::Exclusive).unwrap();
        lockmaster::runtime::LockOwner::lock(owner, &request, LockOptions::asap()).unwrap()
    };
    let guards: Vec<_> = names.iter().zip(&owners).map(lock).collect();
    guards.iter().for_each(|guard| guard.verify().unwrap());
    let beside: Vec<_> = fs::read_dir(parent.path()).unwrap().collect();
    assert_eq!(beside.len(), 1, "only the lock directory");
    assert!(LockName::new("").is_err());
    assert!(LockName::new(&"x".repeat(300)).is_err(), "names have at most 255 bytes");
}
