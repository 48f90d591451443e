//! How far locks reach: C-1 to C-4, and what a crash leaves (C-20, C-21).

use std::fs;
use std::path::Path;
use std::thread;

use lockmaster::LockName;
use lockmaster::runtime::{FenceName, LockDir, LockOptions, Locks};

use crate::another::Another;
use crate::cinder_drivers::{hierarchy, locks};
use crate::helper::{helper, say, set, stop_here};

fn refused(locks: &Locks, lock: &str) -> bool {
    let request = set(locks.hierarchy(), lock);
    locks.with(&request, LockOptions::asap(), |_| ()).is_err()
}

#[test]
fn c1_locks_of_a_process_keep_its_threads_apart_and_not_other_processes() {
    let directory = tempfile::tempdir().unwrap();
    let locks = locks(directory.path()).unwrap();
    let mut other = helper(directory.path());
    let devices = "driver-process/cinder-hgst-devices";
    locks
        .with(&set(locks.hierarchy(), devices), LockOptions::default(), |_| {
            thread::scope(|scope| {
                assert!(scope.spawn(|| refused(&locks, devices)).join().unwrap());
            });
            assert_eq!(other.ask(&format!("try {devices}")), "held");
        })
        .unwrap();
}

#[test]
fn c2_locks_of_a_node_keep_its_processes_apart_and_not_those_of_another_node() {
    let (node, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut one = helper(node.path());
    let mut two = helper(node.path());
    let mut three = helper(elsewhere.path());
    assert_eq!(one.ask("lock node-tool/lioadm"), "held");
    assert_eq!(three.ask("try node-tool/lioadm"), "held");
    two.tell("lock node-tool/lioadm");
    two.wait_until_it_waits();
    assert_eq!(one.ask("unlock"), "free");
    assert_eq!(two.hear(), "held");
}

/// What stands in for `cinder-rtstool`: it finds a mark that another one left, or leaves its own.
pub(crate) fn run_the_tool(locks: &Locks, order: &str) {
    let (how, mark) = order.split_once(' ').unwrap();
    let tool = || match fs::create_dir(mark) {
        Err(error) => format!("it runs already: {error}"),
        Ok(()) => {
            if how == "stop" {
                stop_here();
            }
            thread::yield_now();
            fs::remove_dir(mark).unwrap();
            "done".to_owned()
        }
    };
    let request = set(locks.hierarchy(), "node-tool/lioadm");
    let ended = match how {
        "bare" => tool(),
        _ => locks.with(&request, LockOptions::default(), |_| tool()).unwrap(),
    };
    say(&ended);
}

/// Without the lock, a tool that starts while another runs fails.
#[test]
fn c4_twenty_processes_run_a_tool_that_cannot_run_twice() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("running");
    let mut helpers: Vec<Another> = (0..20).map(|_| helper(directory.path())).collect();
    assert_eq!(helpers[0].ask(&format!("tool stop {}", mark.display())), "cut");
    let bare = helpers[1].ask(&format!("tool bare {}", mark.display()));
    assert!(bare.starts_with("it runs already"), "{bare}");
    assert_eq!(helpers[0].ask("go on"), "done");
    for helper in &mut helpers {
        for _ in 0..5 {
            helper.tell(&format!("tool locked {}", mark.display()));
        }
    }
    for helper in &helpers {
        for _ in 0..5 {
            assert_eq!(helper.hear(), "done");
        }
    }
}

/// The volume's state is a file; what was left half done is put right under the lock.
#[test]
fn c20_what_a_process_that_died_in_its_section_left_is_put_right_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let locks = locks(directory.path()).unwrap();
    for (left, expected) in [("creating", Some("error")), ("deleting", None)] {
        let state = directory.path().join("state");
        let mut dying = helper(directory.path());
        assert_eq!(dying.ask("lock volume/v1 backend-host/U1-h1"), "held");
        fs::write(&state, left).unwrap();
        assert!(refused(&locks, "volume/v1"));
        thread::scope(|scope| {
            let next = scope.spawn(|| recover(&locks, &state));
            dying.kill();
            assert!(next.join().unwrap(), "it is told whom it comes after");
        });
        assert_eq!(fs::read_to_string(&state).ok().as_deref(), expected);
    }
}

/// Whether the one before it died.
fn recover(locks: &Locks, state: &Path) -> bool {
    let request = set(locks.hierarchy(), "volume/v1");
    let body = |held: &lockmaster::runtime::LockGuard<'_>| {
        match fs::read_to_string(state).unwrap().as_str() {
            "creating" => fs::write(state, "error").unwrap(),
            "deleting" => fs::remove_file(state).unwrap(),
            other => panic!("{other}"),
        }
        !held.died().is_empty()
    };
    locks.with(&request, LockOptions::default(), body).unwrap()
}

#[test]
fn c21_removing_lock_files_leaves_those_that_are_held_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let locks = locks(directory.path()).unwrap();
    let take = |lock: &str| locks.with(&set(locks.hierarchy(), lock), LockOptions::asap(), |_| ());
    take("volume/v1").unwrap();
    take("volume/attachment_update-v1-h1").unwrap();
    let mut holder = helper(directory.path());
    assert_eq!(holder.ask("lock volume/attachment_update-v1-h2"), "held");
    take("volume/v2").unwrap();
    let of_v1 = |lock: &FenceName| {
        let name = lock.name().map(LockName::as_str).unwrap_or_default();
        name == "v1" || name.starts_with("attachment_update-v1-")
    };
    let swept = LockDir::open(directory.path()).unwrap().sweep_those(&of_v1).unwrap();
    let held: Vec<String> = swept.held.iter().map(ToString::to_string).collect();
    assert_eq!((swept.removed, &*held), (2, &["volume/attachment_update-v1-h2".to_owned()][..]));
    let file = |name: &str| directory.path().join(format!("volume/{name}.lock"));
    assert!(!file("v1").exists() && !file("attachment_update-v1-h1").exists());
    assert!(file("attachment_update-v1-h2").exists() && file("v2").exists());
    assert!(refused(&locks, "volume/attachment_update-v1-h2"));
}

/// One of the files of a set of locks is gone by the time it is released.
#[test]
fn c22_a_lock_that_cannot_be_released_well_leaves_no_other_held() {
    let directory = tempfile::tempdir().unwrap();
    let locks = locks(directory.path()).unwrap();
    let all = set(&hierarchy().unwrap(), "volume/a volume/b node-tool/lioadm");
    locks
        .with(&all, LockOptions::default(), |_| {
            fs::remove_file(directory.path().join("volume/b.lock")).unwrap();
        })
        .unwrap();
    let mut other = helper(directory.path());
    assert_eq!(other.ask("try volume/a volume/b node-tool/lioadm"), "held");
}
