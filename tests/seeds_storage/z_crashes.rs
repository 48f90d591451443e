//! What processes leave that die with a pool, and who puts it right.

use std::path::Path;

use lockmaster::runtime::{LockDir, LockOptions, OwnerRecord};
use lockmaster::vocabulary::Timestamp;

use super::process::Process;
use super::z_races::place;
use super::zpool::{Agent, Intent, locks};

/// Leaves a record of an owner in the lock file of pA, as one that died.
fn leave_record(directory: &Path, record: &OwnerRecord) {
    let level = directory.join("locks/zpool");
    std::fs::create_dir_all(&level).unwrap();
    let line = serde_json::to_string(record).unwrap() + "\n";
    std::fs::write(level.join("pA.lock"), line).unwrap();
}

#[test]
fn z15_what_a_killed_scanner_imported_read_only_is_exported_by_who_comes_next() {
    let (directory, zpool) = place();
    let scanner = Process::before(directory.path(), "scan", "export");
    scanner.kill();
    assert_eq!(zpool.imported().unwrap().get("pA"), Some(&true));
    let agent = Agent::new(zpool.clone(), Some(locks(directory.path()).unwrap()));
    agent.mount("pA/ds", LockOptions::asap()).unwrap();
    assert_eq!(zpool.imported().unwrap().get("pA"), Some(&false));
    let log = zpool.log().unwrap();
    assert_eq!(log[2..], ["export", "list", "import", "mount"].map(|c| format!("test {c}")));
}

#[test]
fn z15_a_scanner_that_is_killed_before_it_imports_leaves_nothing_to_put_right() {
    let (directory, zpool) = place();
    Process::before(directory.path(), "scan", "import").kill();
    let agent = Agent::new(zpool.clone(), Some(locks(directory.path()).unwrap()));
    agent.mount("pA/ds", LockOptions::asap()).unwrap();
    assert_eq!(zpool.imported().unwrap().get("pA"), Some(&false));
}

#[test]
fn z16_what_a_killed_process_imported_to_stay_stays() {
    let (directory, zpool) = place();
    Process::before(directory.path(), "mount", "mount").kill();
    let agent = Agent::new(zpool.clone(), Some(locks(directory.path()).unwrap()));
    agent.scan(&["pA"], LockOptions::asap()).unwrap();
    assert_eq!(zpool.imported().unwrap().get("pA"), Some(&false));
}

/// One that had put right what another left, and was killed in its turn: that is not done twice.
#[test]
fn z16_what_was_put_right_once_is_not_put_right_again() {
    let (directory, zpool) = place();
    Process::before(directory.path(), "scan", "export").kill();
    Process::before(directory.path(), "mount", "mount").kill();
    let agent = Agent::new(zpool.clone(), Some(locks(directory.path()).unwrap()));
    agent.scan(&["pA"], LockOptions::asap()).unwrap();
    assert_eq!(zpool.imported().unwrap().get("pA"), Some(&false));
}

#[test]
fn z17_a_record_with_the_number_of_a_living_process_is_no_lock() {
    let (directory, zpool) = place();
    let mut record = OwnerRecord::of_this_process("long dead", Timestamp::default());
    // This process lives, and is not the one that wrote it.
    record.start += 1;
    leave_record(directory.path(), &record);
    let agent = Agent::new(zpool.clone(), Some(locks(directory.path()).unwrap()));
    agent.mount("pA/ds", LockOptions::asap()).unwrap();
    assert_eq!(zpool.imported().unwrap().get("pA"), Some(&false));
}

#[test]
fn z18_records_of_an_earlier_boot_are_told_of_and_not_obeyed() {
    let (directory, zpool) = place();
    let mut record = OwnerRecord::of_this_process("before", Timestamp::default());
    record.boot = "an earlier one".to_owned();
    record.note = "imports pA for a while".to_owned();
    leave_record(directory.path(), &record);
    // It was imported since, by somebody who wants to have it.
    zpool.import("pA", true).unwrap();
    let agent = Agent::new(zpool.clone(), Some(locks(directory.path()).unwrap()));
    agent.scan(&["pA"], LockOptions::asap()).unwrap();
    assert!(zpool.imported().unwrap().contains_key("pA"));
    leave_record(directory.path(), &record);
    let swept = LockDir::open(&directory.path().join("locks")).unwrap().sweep().unwrap();
    assert_eq!(swept.earlier.len(), 1);
}

/// A session within the one that put it right finds what that one has imported.
#[test]
fn z15_an_inner_session_does_not_put_right_what_the_outer_one_has() {
    let (directory, zpool) = place();
    Process::before(directory.path(), "scan", "export").kill();
    let agent = Agent::new(zpool.clone(), Some(locks(directory.path()).unwrap()));
    let scan = || agent.scan(&["pA"], LockOptions::asap());
    agent
        .session("pA", Intent::ScanReadOnly, LockOptions::asap(), |_| {
            scan()?;
            assert!(zpool.imported()?.contains_key("pA"));
            Ok(())
        })
        .unwrap();
    assert!(zpool.imported().unwrap().is_empty());
}
