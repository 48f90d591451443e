//! Many at once: sweeps, and sharers beside one who wants a lock alone.

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use lockmaster::runtime::{LockDir, LockOptions};

use super::helper::{Helper, locks, set};

fn lock_files(directory: &Path) -> usize {
    let levels = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    levels.filter(|path| path.is_dir()).map(|level| fs::read_dir(level).unwrap().count()).sum()
}

/// Who holds a lock counts itself in and out: two at once would be seen.
#[test]
fn x3_sweeping_all_the_while_never_lets_two_in_and_leaves_nothing_behind() {
    const NAMES: u32 = 50;
    let directory = tempfile::tempdir().unwrap();
    let inside: Vec<AtomicU32> = (0..NAMES).map(|_| AtomicU32::new(0)).collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let dir = LockDir::open(directory.path()).unwrap();
            while !over.load(Ordering::Relaxed) {
                assert!(dir.sweep().unwrap().failed.is_empty());
            }
        });
        // Each has a table of its own, as processes have: only the files keep them apart.
        let workers: Vec<_> = (0..4_u32)
            .map(|worker| {
                let (inside, locks) = (&inside, locks(directory.path()));
                scope.spawn(move || {
                    for round in 0..1000_u32 {
                        let name = (round * (worker + 3) + worker) % NAMES;
                        let lock = set(&format!("disk/n{name}"));
                        locks
                            .with(&lock, LockOptions::default(), |held| {
                                let inside = &inside[name as usize];
                                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                                held.verify().unwrap();
                                assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                            })
                            .unwrap();
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        over.store(true, Ordering::Relaxed);
    });
    LockDir::open(directory.path()).unwrap().sweep().unwrap();
    assert_eq!(lock_files(directory.path()), 0);
}

#[test]
fn x3_a_sweep_leaves_what_is_held_what_is_waited_for_and_what_a_dead_owner_left() {
    let directory = tempfile::tempdir().unwrap();
    let start = || Helper::start(directory.path());
    let (mut holder, mut waiter, mut dying) = (start(), start(), start());
    holder.lock("disk/held");
    waiter.wait_for("disk/held");
    dying.lock("disk/left");
    let pid = dying.kill();
    fs::write(directory.path().join("disk/free.lock"), "").unwrap();
    let earlier = r#"{"pid":1,"start":2,"boot":"earlier","who":"somebody","since":3}"#;
    fs::write(directory.path().join("disk/earlier.lock"), earlier).unwrap();
    fs::write(directory.path().join("disk/not ours"), "").unwrap();
    let swept = LockDir::open(directory.path()).unwrap().sweep().unwrap();
    let names: Vec<String> = swept.held.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["disk/held"], "and not the level, which its holder shares");
    assert_eq!(swept.died.len(), 1, "{swept:?}");
    assert_eq!((swept.died[0].0.to_string(), swept.died[0].1.pid), ("disk/left".to_owned(), pid));
    assert_eq!(swept.earlier[0].1.who, "somebody");
    assert_eq!(swept.removed, 2);
    assert!(directory.path().join("disk/not ours").exists());
    holder.unlock();
    assert_eq!(waiter.hear(), "held");
}

/// Three readers come again and again; the writer is in when each of them has been in at most
/// once more.
#[test]
fn x12_sharers_meet_and_wait_behind_who_wants_it_alone() {
    let directory = tempfile::tempdir().unwrap();
    let start = || Helper::start(directory.path());
    let (mut one, mut two, mut writer, mut late) = (start(), start(), start(), start());
    one.lock("disk/x:s");
    two.lock("disk/x:s");
    writer.wait_for("disk/x");
    late.wait_for("disk/x:s");
    late_try_is_refused(directory.path());
    one.unlock();
    assert!(writer.is_silent() && late.is_silent());
    two.unlock();
    assert_eq!(writer.hear(), "held");
    assert!(late.is_silent());
    writer.unlock();
    assert_eq!(late.hear(), "held");
}

fn late_try_is_refused(directory: &Path) {
    let refused = locks(directory).with(&set("disk/x:s"), LockOptions::asap(), |_| ());
    assert!(refused.is_err(), "somebody waits for it alone");
}

#[test]
fn x12_a_writer_is_not_starved_by_readers_that_come_again_and_again() {
    let directory = tempfile::tempdir().unwrap();
    let (over, all_read) = (AtomicBool::new(false), Barrier::new(4));
    thread::scope(|scope| {
        for _ in 0..3 {
            let (locks, over, all_read) = (locks(directory.path()), &over, &all_read);
            scope.spawn(move || {
                let shared = set("disk/x:s");
                let read = || locks.with(&shared, LockOptions::default(), |_| ()).unwrap();
                read();
                all_read.wait();
                while !over.load(Ordering::Relaxed) {
                    read();
                }
            });
        }
        all_read.wait();
        let writer = locks(directory.path());
        for _ in 0..20 {
            writer.with(&set("disk/x"), LockOptions::default(), |_| ()).unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn the_whole_of_a_level_keeps_single_locks_of_other_processes_out() {
    let directory = tempfile::tempdir().unwrap();
    let (mut all, mut one) = (Helper::start(directory.path()), Helper::start(directory.path()));
    all.lock("disk/*:s");
    one.wait_for("disk/a:s");
    all.unlock();
    assert_eq!(one.hear(), "held");
    all.tell("try disk/*");
    assert!(all.hear().starts_with("refused: disk/[lockset] is held by process"));
}
