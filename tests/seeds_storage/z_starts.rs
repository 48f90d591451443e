//! What an agent clears when it starts.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Barrier;
use std::thread;

use lockmaster::runtime::{LockDir, LockOptions};

use super::process::Process;
use super::z_races::place;
use super::zpool::{Agent, locks};

#[test]
fn z12_an_agent_makes_its_directory_and_removes_what_is_stale() {
    let (directory, zpool) = place();
    let path = directory.path().join("locks");
    let dir = LockDir::open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let agent = Agent::new(zpool, Some(locks(directory.path()).unwrap()));
    agent.scan(&["pA"], LockOptions::default()).unwrap();
    // What cannot be opened is told of, and does not keep the agent from starting.
    symlink("/nowhere", path.join("zpool/bad.lock")).unwrap();
    let swept = dir.sweep().unwrap();
    assert_eq!((swept.removed, swept.failed.len(), swept.held.len()), (1, 1, 0));
    assert!(!path.join("zpool/pA.lock").exists());
}

#[test]
fn z13_an_agent_that_starts_leaves_a_pool_alone_that_a_command_holds() {
    let (directory, zpool) = place();
    zpool.make("pB").unwrap();
    let holder = Process::before(directory.path(), "scan", "export");
    let agent = Agent::new(zpool, Some(locks(directory.path()).unwrap()));
    agent.scan(&["pB"], LockOptions::default()).unwrap();
    let swept = LockDir::open(&directory.path().join("locks")).unwrap().sweep().unwrap();
    assert_eq!((swept.removed, swept.held.len()), (1, 1));
    let level = directory.path().join("locks/zpool");
    assert!(level.join("pA.lock").exists() && !level.join("pB.lock").exists());
    let refused = agent.scan(&["pA"], LockOptions::asap()).unwrap_err().to_string();
    assert!(refused.contains(&format!("held by process {}", holder.pid())), "{refused}");
}

#[test]
fn z14_two_agents_that_start_at_once_lose_no_lock() {
    let (directory, zpool) = place();
    let mut holder = Process::before(directory.path(), "scan", "export");
    let start = Barrier::new(2);
    let starts = || {
        let dir = LockDir::open(&directory.path().join("locks")).unwrap();
        start.wait();
        dir.sweep().unwrap()
    };
    let swept = thread::scope(|scope| {
        [scope.spawn(starts), scope.spawn(starts)].map(|agent| agent.join().unwrap())
    });
    assert!(swept.iter().all(|swept| swept.failed.is_empty() && swept.removed == 0));
    let agent = Agent::new(zpool, Some(locks(directory.path()).unwrap()));
    assert!(agent.scan(&["pA"], LockOptions::asap()).is_err());
    assert_eq!(holder.actor.finish(), "done");
    agent.scan(&["pA"], LockOptions::asap()).unwrap();
}
