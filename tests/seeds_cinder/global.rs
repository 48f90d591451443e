//! Locks that reach beyond a node: C-3. A node is a lock directory of its own here.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::helper::wait_until;

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
