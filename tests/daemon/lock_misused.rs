//! `lockmaster lock` in calls within calls, under signals, in odd places, beside other programs.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::process::Signal;

use crate::lock::{Held, lock, run, wait_until};
use crate::process::{Daemon, Place};

/// The verb as a command of the verb.
fn within<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["--", env!("CARGO_BIN_EXE_lockmaster"), "lock"], args].concat()
}

fn nested<'a>(outer: &[&'a str], inner: &[&'a str]) -> Vec<&'a str> {
    [outer, &within(inner)].concat()
}

/// Nothing here waits for itself, with a daemon or without.
fn calls_within_calls(place: &Place) {
    let (code, out, err) = run(place, &nested(&["a", "b"], &["--shared", "a", "--", "echo", "in"]));
    assert_eq!((code, &*out), (0, "in\n"), "{err}");
    let innermost = within(&["b", "--", "sh", "-c", "exit 4"]);
    let (code, _, err) = run(place, &[&["a", "b"], &within(&["a"])[..], &innermost].concat());
    assert_eq!(code, 4, "{err}");
    let (code, out, err) = run(place, &nested(&["b"], &["a", "--", "echo", "in"]));
    assert_eq!((code, &*out), (125, ""));
    assert!(err.contains("lock/a cannot be requested while lock/b is held"), "{err}");
    assert!(err.contains("which runs this one, holds it: have that one name both"), "{err}");
    let (code, _, err) = run(place, &nested(&["--shared", "a"], &["a", "--", "true"]));
    assert!(code == 125 && err.contains("cannot be made exclusive"), "{code} {err}");
}

#[test]
fn calls_within_calls_have_what_the_outer_ones_hold_and_never_wait_for_them() {
    let place = Place::new();
    calls_within_calls(&place);
    let _daemon = place.start();
    calls_within_calls(&place);
}

#[test]
fn calls_within_calls_go_deeper_and_not_back() {
    let place = Place::new();
    let _daemon = place.start();
    let (code, out, err) = run(&place, &nested(&["-l", "node", "n1"], &["a", "--", "echo", "in"]));
    assert_eq!((code, &*out), (0, "in\n"), "{err}");
    let (code, _, err) = run(&place, &nested(&["a"], &["-l", "node", "n1", "--", "true"]));
    assert!(code == 125 && err.contains("node/n1 cannot be requested while lock/a"), "{err}");
}

/// A job waits for what the outer call has, and comes before the inner one by arrival.
#[test]
fn a_call_within_a_call_does_not_wait_behind_who_waits_for_the_outer_one() {
    let place = Place::new();
    let opcode = "[[opcode]]\nid = 'OP_BOTH'\nargv = ['true']\n\
        locks.instance = { exclusive = ['i1'] }\nlocks.node = { exclusive = ['n1'] }\n";
    std::fs::write(place.path("opcodes.toml"), opcode).unwrap();
    std::fs::write(place.path("config.toml"), "catalogue = ['opcodes.toml']\n").unwrap();
    let mut command = place.command();
    command.arg("--config").arg(place.path("config.toml"));
    let _daemon = Daemon::start(command);
    let inner = within(&["-l", "node", "n1", "--", "true"]).join(" ");
    let inner = inner.trim_start_matches("-- ");
    let script = format!("echo in $$; read line; {inner}; echo out");
    let mut held = Held::of(&place, &["-l", "instance", "i1", "--", "sh", "-c", &script]);
    held.wait_until_inside();
    let job = place.expect(0, &["submit", "OP_BOTH"]);
    wait_until("the job waits", || place.expect(0, &["why", job.trim()]).contains("instance/i1"));
    assert_eq!(held.end().0, 0);
    place.expect(0, &["wait", job.trim()]);
}

/// A command of a job asks for what its job holds, for more at a deeper level, and for less.
#[test]
fn a_command_of_a_job_has_what_its_job_holds_and_does_not_wait_for_it() {
    let place = Place::new();
    let socket = place.path("socket");
    let verb = format!("{} lock --socket {}", env!("CARGO_BIN_EXE_lockmaster"), socket.display());
    let script = format!(
        "{verb} -l node n1 -- echo have; {verb} a -- echo more; \
         {verb} -l instance i1 -- echo less; echo $?"
    );
    let opcode = format!(
        "[[opcode]]\nid = 'OP_NEST'\nargv = ['sh', '-c', '''{script}''']\n\
         locks.node = {{ exclusive = ['n1'] }}\n"
    );
    std::fs::write(place.path("opcodes.toml"), opcode).unwrap();
    std::fs::write(place.path("config.toml"), "catalogue = ['opcodes.toml']\n").unwrap();
    let mut command = place.command();
    command.arg("--config").arg(place.path("config.toml"));
    let _daemon = Daemon::start(command);
    let job = place.expect(0, &["submit", "OP_NEST"]);
    place.expect(0, &["wait", job.trim()]);
    let log = place.expect(0, &["info", job.trim()]);
    for said in ["have", "more", "125", "instance/i1 cannot be requested while node/n1 is held"] {
        assert!(log.contains(said), "{said}: {log}");
    }
}

#[test]
fn a_call_that_outlives_the_one_whose_lock_it_uses_says_so() {
    let place = Place::new();
    let inner = "echo > started; read line <&3; true";
    let script = format!(
        "exec 3<&0; mkfifo started; \
         {{ {} lock a -- sh -c '{inner}' 2> said; echo $? > code; mv code ended; }} & \
         exec 3<&-; read line < started",
        env!("CARGO_BIN_EXE_lockmaster")
    );
    let mut outer = lock(&place, &["a", "--", "sh", "-c", &script]);
    let mut outer = outer.current_dir(place.path(".")).stdin(Stdio::piped()).spawn().unwrap();
    let input = outer.stdin.take();
    assert_eq!(outer.wait().unwrap().code(), Some(0));
    drop(input);
    let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap_or_default();
    wait_until("the inner one ends", || place.path("ended").exists());
    assert_eq!(read("ended"), "123\n", "{}", read("said"));
    assert!(read("said").contains("held lock/a and has ended"), "{}", read("said"));
}

#[test]
fn an_interrupted_wait_ends_at_once_and_leaves_nothing() {
    let place = Place::new();
    let held = Held::inside(&place, &["a"]);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
        let mut waiter = Held::start(&place, &["a"]);
        let pid = waiter.child.id().to_string();
        wait_until("it waits", || files(&place).contains(&format!("waits, 1.  {pid}")));
        waiter.signal(signal);
        assert_eq!(waiter.child.wait().unwrap().signal(), Some(signal.as_raw()));
    }
    assert!(!files(&place).contains("waits"), "{}", files(&place));
    assert_eq!(held.end().0, 0);
    assert_eq!(run(&place, &["-t", "0", "a", "--", "true"]).0, 0);
}

fn files(place: &Place) -> String {
    let locks = place.path("locks");
    place.expect(0, &["locks", "--files", "--lock-dir", locks.to_str().unwrap()])
}

#[test]
fn an_interrupted_command_ends_its_lock_with_its_own_code() {
    let place = Place::new();
    // Not from a terminal: it is passed on.
    let script = "trap 'kill $!; exit 7' INT; sleep 60 & echo in $$; wait $!";
    let mut held = Held::of(&place, &["a", "--", "sh", "-c", script]);
    held.wait_until_inside();
    held.signal(Signal::INT);
    assert_eq!(held.child.wait().unwrap().code(), Some(7));
    assert_eq!(run(&place, &["-t", "0", "a", "--", "true"]).0, 0);
}

#[test]
fn a_stopped_call_keeps_its_lock_and_who_waits_is_told_whose_it_is() {
    let place = Place::new();
    let held = Held::inside(&place, &["a"]);
    held.signal(Signal::STOP);
    let (code, _, err) = run(&place, &["-v", "-t", "0.05", "a", "--", "true"]);
    assert_eq!(code, 124, "{err}");
    let who = format!("lock/a is held by process {}", held.child.id());
    assert!(err.starts_with(&format!("waiting: {who}")), "{err}");
    assert!(files(&place).contains("holds"), "{}", files(&place));
    held.signal(Signal::CONT);
    assert_eq!(held.end().0, 0);
}

#[test]
fn names_of_odd_shapes_are_locks_or_refused() {
    let place = Place::new();
    for name in ["a b", "a/b", "../a", "*", "\u{fc}", "a:b", "[lockset]", "%", &"x".repeat(255)] {
        assert_eq!(run(&place, &[name, "--", "true"]).0, 0, "{name}");
    }
    for name in ["", "a\nb", &"x".repeat(256)] {
        assert_eq!(run(&place, &[name, "--", "true"]).0, 125, "{name:?}");
    }
    assert!(!place.path("a.lock").exists(), "nothing leaves the directory");
}

#[test]
fn where_there_can_be_no_lock_file_the_command_does_not_run_and_it_is_said_why() {
    let place = Place::new();
    std::fs::write(place.path("file"), "").unwrap();
    for directory in ["file", "file/locks"] {
        let mut command = lock(&place, &["a", "--", "echo", "no"]);
        let output = command.env("LOCKMASTER_LOCK_DIR", place.path(directory)).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("cannot make the lock directory") && said.contains("hint:"),
            "{said}"
        );
    }
}

/// A file stands where a directory would have to be made; root may write anywhere.
#[test]
fn a_lock_file_that_cannot_be_made_is_named_with_what_to_do() {
    let place = Place::new();
    std::fs::create_dir(place.path("locks")).unwrap();
    std::fs::write(place.path("locks/lock"), "").unwrap();
    let (code, out, err) = run(&place, &["a", "--", "echo", "no"]);
    assert_eq!((code, &*out), (125, ""), "{err}");
    assert!(err.contains("locks/lock/%") && err.contains("hint: the lock directory"), "{err}");
}

/// What others that lock with `fcntl` find: whether the file is free for them.
fn is_free_for_others(path: &std::path::Path) -> bool {
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).open(path).unwrap();
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // Given up with the file.
    fcntl(&file, FcntlArg::F_SETLK(&whole)).is_ok()
}

#[test]
fn programs_that_lock_with_fcntl_are_kept_out_where_that_is_said() {
    let place = Place::new();
    let theirs = place.path("theirs");
    let path = theirs.join("cinder-");
    let held = Held::inside(&place, &["--fcntl", path.to_str().unwrap(), "a"]);
    assert!(!is_free_for_others(&theirs.join("cinder-a")));
    assert_eq!(held.end().0, 0);
    assert!(is_free_for_others(&theirs.join("cinder-a")));
    // Said once for all, in the daemon's configuration.
    let config =
        "scopes = { node = 'node' }\nfcntl = { node = 'theirs/node-', lock = 'theirs/' }\n";
    std::fs::write(place.path("config.toml"), config).unwrap();
    let mut command = place.command();
    command.arg("--config").arg(place.path("config.toml"));
    let daemon = Daemon::start(command);
    let (one, other) = (Held::inside(&place, &["-l", "node", "n1"]), Held::inside(&place, &["b"]));
    assert!(!is_free_for_others(&theirs.join("node-n1")));
    assert!(!is_free_for_others(&theirs.join("b")));
    assert_eq!((one.end().0, other.end().0), (0, 0));
    let (code, _, err) = run(&place, &["-l", "instance", "--fcntl", "x", "i1", "--", "true"]);
    assert!(code == 125 && err.contains("no files of this machine"), "{code} {err}");
    daemon.kill();
    let held = Held::inside(&place, &["-l", "node", "n1"]);
    assert!(!is_free_for_others(&theirs.join("node-n1")), "also while the daemon is away");
    assert_eq!(held.end().0, 0);
}
