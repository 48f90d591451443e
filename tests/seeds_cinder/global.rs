//! Locks that reach beyond a node: C-3. A node is a lock directory of its own here.

use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use lockmaster::interfaces::luxi::{Client, DaemonLockOptions, DaemonLocks};
use lockmaster::runtime::LockDir;
use lockmaster::{Error, ErrorKind};

use crate::helper::{set, wait_until};

/// Killed when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(place: &Path) -> Daemon {
    let config = place.join("config.toml");
    std::fs::write(&config, "[scopes]\ninstance = \"global\"\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockmasterd"));
    command.arg("--config").arg(config).arg("--state-dir").arg(place.join("state"));
    command.arg("--socket").arg(place.join("socket")).arg("--lock-dir").arg(place.join("locks"));
    let daemon = Daemon(command.stderr(Stdio::null()).spawn().unwrap());
    wait_until("the daemon listens", || UnixStream::connect(place.join("socket")).is_ok());
    daemon
}

/// `lockmaster lock` on a node.
fn lock(place: &Path, node: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockmaster"));
    command.env("LOCKMASTER_SOCKET", place.join("socket"));
    command.env("LOCKMASTER_LOCK_DIR", place.join(node)).args(["lock", "--level", "instance"]);
    command
}

/// The code with which a try on a node ends, while another node is inside.
fn try_while_held(place: &Path, [name, other]: [&str; 2]) -> Option<i32> {
    let mut one = lock(place, "node1");
    let script = "echo in > \"$0\"; read line";
    one.args([name, "--", "sh", "-c", script]).arg(place.join("inside")).stdin(Stdio::piped());
    let mut one = one.spawn().unwrap();
    wait_until("the first is inside", || place.join("inside").exists());
    let two = lock(place, "node2").args(["-t", "0", other, "--", "true"]).output().unwrap();
    drop(one.stdin.take());
    one.wait().unwrap();
    std::fs::remove_file(place.join("inside")).unwrap();
    two.status.code()
}

#[test]
fn c3_what_is_global_keeps_two_nodes_apart_through_the_daemon() {
    let place = tempfile::tempdir().unwrap();
    let _daemon = start(place.path());
    assert_eq!(try_while_held(place.path(), ["Kaminario-a1", "Kaminario-a1"]), Some(124));
    assert_eq!(try_while_held(place.path(), ["Kaminario-a1", "Kaminario-a2"]), Some(0));
    for node in ["locks", "node1", "node2"] {
        assert!(!place.path().join(node).join("instance").exists(), "no file keeps them apart");
    }
}

/// A driver in a process of its own, on whatever machine, through a connection of its own.
fn driver(place: &Path, title: &str) -> DaemonLocks {
    DaemonLocks::of(Client::connect(&place.join("socket")).unwrap(), title).unwrap()
}

#[test]
fn c3_drivers_take_what_is_global_from_the_daemon_and_run_nothing_without_it() {
    let place = tempfile::tempdir().unwrap();
    let _daemon = start(place.path());
    let (mut one, mut other) = (driver(place.path(), "one"), driver(place.path(), "other"));
    let request = set(one.hierarchy(), "instance/Kaminario-a1 lock/lioadm");
    let asap = DaemonLockOptions { timeout: Some(Duration::ZERO), ..Default::default() };
    let dir = || Some(LockDir::open(&place.path().join("locks")).unwrap());
    let held = one.with(&request, DaemonLockOptions::default(), dir(), |guards| {
        let refused = other.with(&request, asap, dir(), |_| panic!("no lock, no body"));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InUse);
        guards.len()
    });
    let held = held.unwrap();
    assert!(held.value == 1 && held.lost.is_none(), "{held:?}");
    // Nor without a directory for what is a file.
    let refused = other.with(&request, asap, None, |_| ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused, "{refused}");
    // What was had of it was given back, as it is by a panic.
    let panics = || one.with(&request, asap, dir(), |_| panic!("the body panics"));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    other.with(&request, asap, dir(), |_| ()).unwrap();
}

#[test]
fn c3_a_driver_is_told_who_is_in_the_way_and_that_its_daemon_went() {
    let place = tempfile::tempdir().unwrap();
    let daemon = start(place.path());
    let (mut one, mut other) = (driver(place.path(), "one"), driver(place.path(), "other"));
    let request = set(one.hierarchy(), "instance/Kaminario-a1");
    let ((tell, told), wanted) = (channel(), request.clone());
    let waiter = thread::spawn(move || {
        // Not before the first has it.
        told.recv().unwrap();
        let (say, said) = channel();
        let waits = move |busy: &Error| say.send(busy.to_string()).unwrap();
        let options = DaemonLockOptions { waits: Some(&waits), ..Default::default() };
        let had = other.with(&wanted, options, None, |_| said.recv().unwrap());
        had.map(|held| held.value)
    });
    let held = one.with(&request, DaemonLockOptions::default(), None, |_| {
        tell.send(()).unwrap();
        wait_until("the other one waits", || {
            let locks = Client::connect(&place.path().join("socket")).unwrap().locks(false);
            locks.unwrap().to_string().contains("(other)")
        });
    });
    assert!(held.unwrap().lost.is_none());
    let why = waiter.join().unwrap().unwrap();
    assert!(why.contains("instance/Kaminario-a1 is") && why.contains("(one)"), "{why}");
    let held = one.with(&request, DaemonLockOptions::default(), None, |_| drop(daemon)).unwrap();
    assert!(held.lost.is_some(), "nobody may trust what was done");
}
