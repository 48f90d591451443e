//! The races between list, import and export: there without the lock, gone with it.

use std::path::Path;
use std::thread;

use lockmaster::runtime::{LockOptions, Locks};

use super::process::{Process, rounds, wait_until};
use super::zpool::fake::Zpool;
use super::zpool::play::{self, Actor};
use super::zpool::{self, Agent, locks};

const EXISTS: &str = "failed: cannot import 'pA': a pool with that name already exists";
const GONE: &str = "failed: cannot create 'pA/ds': no such pool 'pA'";

/// A place with pool pA, imported nowhere.
pub(crate) fn place() -> (tempfile::TempDir, Zpool) {
    let directory = tempfile::tempdir().unwrap();
    let zpool = Zpool::new(directory.path(), "test");
    zpool.make("pA").unwrap();
    (directory, zpool)
}

fn thread(directory: &Path, who: &str, does: &str) -> Actor {
    Actor::thread(directory, who, does, None)
}

fn waits(locks: &Locks) -> bool {
    locks.locks().iter().any(|report| !report.waiters.is_empty())
}

/// B is between two commands when A comes; what A came to, and what was run.
fn in_threads(a_does: &str, b_stops_at: &str) -> (String, Vec<String>) {
    let (directory, zpool) = place();
    let locks = locks(directory.path()).unwrap();
    let mut b = Actor::thread(directory.path(), "tB", "scan", Some(locks.clone()));
    b.arrive();
    b.pass_until(b_stops_at);
    let mut a = Actor::thread(directory.path(), "tA", a_does, Some(locks.clone()));
    wait_until(|| waits(&locks));
    assert_eq!(b.finish(), "done");
    a.arrive();
    (a.finish(), zpool.log().unwrap())
}

/// The same with two processes.
fn in_processes(a_does: &str, b_stops_at: &str) -> (String, Vec<String>) {
    let (directory, zpool) = place();
    let mut b = Process::start(directory.path(), "tB", "scan", true);
    b.actor.go();
    b.actor.arrive();
    b.actor.pass_until(b_stops_at);
    let mut a = Process::start(directory.path(), "tA", a_does, true);
    a.actor.go();
    a.wait_until_it_waits();
    assert_eq!(b.actor.finish(), "done");
    a.actor.arrive();
    (a.actor.finish(), zpool.log().unwrap())
}

/// Runs a race between two processes that take no locks.
fn raced(race: fn(&mut Actor, &mut Actor) -> String, a_does: &str) -> String {
    let (directory, _) = place();
    let mut a = Process::start(directory.path(), "tA", a_does, false);
    let mut b = Process::start(directory.path(), "tB", "scan", false);
    // Each goes on from being ready where the race lets it arrive.
    a.actor.go();
    b.actor.go();
    race(&mut a.actor, &mut b.actor)
}

const FIRST: [&str; 6] = ["tB list", "tB import", "tB export", "tA list", "tA import", "tA mount"];
const SECOND: [&str; 7] =
    ["tB list", "tB import", "tB export", "tA list", "tA import", "tA create", "tA export"];

#[test]
fn z1_two_threads_that_both_miss_a_pool_do_not_both_import_it() {
    let (directory, _) = place();
    let (mut a, mut b) =
        (thread(directory.path(), "tA", "mount"), thread(directory.path(), "tB", "scan"));
    assert_eq!(play::first_race(&mut a, &mut b), EXISTS);
    b.finish();
    let (ending, log) = in_threads("mount", "import");
    assert_eq!((ending.as_str(), log), ("done", FIRST.map(str::to_owned).to_vec()));
}

#[test]
fn z2_a_thread_does_not_export_the_pool_that_another_one_found_imported() {
    let (directory, _) = place();
    let (mut a, mut b) =
        (thread(directory.path(), "tA", "create"), thread(directory.path(), "tB", "scan"));
    assert_eq!(play::second_race(&mut a, &mut b), GONE);
    b.finish();
    let (ending, log) = in_threads("create", "export");
    assert_eq!((ending.as_str(), log), ("done", SECOND.map(str::to_owned).to_vec()));
}

#[test]
fn z3_two_processes_that_both_miss_a_pool_do_not_both_import_it() {
    assert_eq!(raced(play::first_race, "mount"), EXISTS);
    let (ending, log) = in_processes("mount", "import");
    assert_eq!((ending.as_str(), log), ("done", FIRST.map(str::to_owned).to_vec()));
}

#[test]
fn z4_a_process_does_not_export_the_pool_that_another_one_found_imported() {
    assert_eq!(raced(play::second_race, "create"), GONE);
    let (ending, log) = in_processes("create", "export");
    assert_eq!((ending.as_str(), log), ("done", SECOND.map(str::to_owned).to_vec()));
}

/// Z-5 and Z-6: two hundred rounds, half of them in each.
#[test]
fn z5_z6_a_thread_of_the_agent_and_a_command_never_fail_because_of_each_other() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let (directory, zpool) = place();
    let mut command = Process::start(directory.path(), "RA", &format!("random:{seed}"), true);
    command.actor.go();
    let agent = Agent::new(zpool, Some(locks(directory.path()).unwrap()));
    let agents = thread::spawn(move || rounds(&agent, seed + 1));
    assert_eq!(command.actor.arrive(), "done");
    agents.join().unwrap().unwrap();
}

/// A scan of twenty pools holds one of them at a time.
#[test]
fn z20_a_mount_does_not_wait_for_a_scan_of_other_pools() {
    let (directory, zpool) = place();
    let pools: Vec<String> = (1..=20).map(|number| format!("p{number:02}")).collect();
    pools.iter().for_each(|pool| zpool.make(pool).unwrap());
    let locks = locks(directory.path()).unwrap();
    let (at, arrived) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let (at, gone) = (std::sync::Mutex::new(at), std::sync::Mutex::new(gone));
    let before = move |command: &str| {
        if command == "export" {
            at.lock().unwrap().send(()).unwrap();
            // Once the mount is over nobody holds the scan up any more.
            let _ = gone.lock().unwrap().recv();
        }
    };
    let scanner =
        Agent::new(zpool.clone().before(std::sync::Arc::new(before)), Some(locks.clone()));
    let scan = thread::spawn(move || {
        let pools: Vec<&str> = pools.iter().map(String::as_str).collect();
        scanner.scan(&pools, LockOptions::default())
    });
    arrived.recv().unwrap();
    Agent::new(zpool.clone(), Some(locks)).mount("p20/ds", LockOptions::asap()).unwrap();
    drop(go);
    scan.join().unwrap().unwrap();
    assert_eq!(zpool.imported().unwrap().keys().collect::<Vec<_>>(), ["p20"]);
}

#[test]
fn the_example_shows_both_races_and_that_they_are_gone() {
    zpool::main().unwrap();
    let (directory, mut out) = (tempfile::tempdir().unwrap(), Vec::new());
    zpool::show(directory.path(), &mut out).unwrap();
    let expected = "\
scenario 1, without the lock: tA list, tB list, tB import, tA import, tB export
  tA, to mount: failed: cannot import 'pA': a pool with that name already exists
scenario 1, with the lock: tB list, tB import, tB export, tA list, tA import, tA mount
  tA, to mount: done; at once: zpool/pA is busy: owner 1 is in the way
scenario 2, without the lock: tB list, tB import, tA list, tB export, tA create
  tA, to create: failed: cannot create 'pA/ds': no such pool 'pA'
scenario 2, with the lock: tB list, tB import, tB export, tA list, tA import, tA create, tA export
  tA, to create: done; at once: zpool/pA is busy: owner 1 is in the way
hA, to mount: done
hB, to mount: failed: pA is written to by \"hA\"
hB, to scan, busy at first: done
hB, to mount when hA is fenced: done
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
