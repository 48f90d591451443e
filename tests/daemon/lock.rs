//! `lockmaster lock`: commands under locks, with and without the daemon.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Daemon, Place, text};
use crate::support::PATIENCE;

/// The verb, at that place.
pub(crate) fn lock(place: &Place, args: &[&str]) -> Command {
    let mut command = place.cli(&["lock"]);
    command.args(args).env("LOCKMASTER_LOCK_DIR", place.path("locks"));
    command
}

pub(crate) fn run(place: &Place, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = lock(place, args).output().unwrap();
    (status.code().unwrap(), text(&stdout), text(&stderr))
}

/// A command under locks that goes on until it is told.
pub(crate) struct Held {
    pub(crate) child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Held {
    /// Starts it; it need not have its locks yet.
    pub(crate) fn start(place: &Place, args: &[&str]) -> Self {
        let script = ["--", "sh", "-c", "echo in $$; read line; echo out"];
        Self::of(place, &[args, &script].concat())
    }

    /// Starts one with that command, which says when it is in.
    pub(crate) fn of(place: &Place, args: &[&str]) -> Self {
        let mut command = lock(place, args);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let input = child.stdin.take();
        Self { child, input, output }
    }

    /// Starts it and waits until it is under its locks.
    pub(crate) fn inside(place: &Place, args: &[&str]) -> Self {
        let mut held = Self::start(place, args);
        held.wait_until_inside();
        held
    }

    /// The number of the command's process.
    pub(crate) fn wait_until_inside(&mut self) -> i32 {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        match line.strip_prefix("in ") {
            Some(pid) => pid.trim().parse().unwrap(),
            None => panic!("{line:?}, {}", self.said()),
        }
    }

    /// The number of its own process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn said(&mut self) -> String {
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }

    /// Closes its input.
    pub(crate) fn let_go(&mut self) {
        drop(self.input.take());
    }

    /// Lets it go on to its end.
    pub(crate) fn end(mut self) -> (i32, String) {
        self.let_go();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "out\n");
        let status = self.child.wait().unwrap();
        (status.code().unwrap(), self.said())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn without_a_daemon_commands_keep_each_other_out_and_the_exit_code_says_why() {
    let place = Place::new();
    let held = Held::inside(&place, &["a", "b"]);
    let (code, out, err) = run(&place, &["-t", "0", "b", "--", "echo", "no"]);
    assert_eq!((code, &*out), (124, ""), "{err}");
    let pid = held.child.id();
    assert!(err.contains(&format!("lock/b is held by process {pid} (sh -c echo in")), "{err}");
    assert_eq!(run(&place, &["-t", "0", "-E", "7", "a", "--", "true"]).0, 7);
    assert_eq!(run(&place, &["c", "--", "sh", "-c", "exit 3"]).0, 3);
    assert_eq!(run(&place, &["c", "--", "sh", "-c", "kill -KILL $$"]).0, 128 + 9);
    assert_eq!(run(&place, &["c", "--", "no such program"]).0, 127);
    assert_eq!(run(&place, &["c", "--", "/"]).0, 126);
    assert_eq!(run(&place, &["{c}", "--", "true"]).0, 125);
    assert_eq!(run(&place, &["--level", "disk", "c", "--", "true"]).0, 125);
    assert_eq!(run(&place, &["c"]).0, 2);
    assert_eq!(held.end(), (0, String::new()));
    assert_eq!(run(&place, &["-t", "0", "a", "b", "--", "echo", "yes"]).1, "yes\n");
}

#[test]
fn sharers_meet_and_a_timeout_is_kept() {
    let place = Place::new();
    let one = Held::inside(&place, &["--shared", "a"]);
    let two = Held::inside(&place, &["--shared", "a"]);
    let begin = Instant::now();
    assert_eq!(run(&place, &["--timeout", "100ms", "a", "--", "true"]).0, 124);
    assert!(begin.elapsed() >= Duration::from_millis(100));
    assert_eq!((one.end().0, two.end().0), (0, 0));
}

#[test]
fn signals_are_passed_on_to_the_command() {
    let place = Place::new();
    let mut held = Held::start(&place, &["a"]);
    held.wait_until_inside();
    held.signal(Signal::TERM);
    assert_eq!(held.child.wait().unwrap().code(), Some(128 + 15));
    assert_eq!(run(&place, &["-t", "0", "a", "--", "true"]).0, 0);
}

/// Killed outright, it can pass nothing on: the lock lasts as long as the command.
#[test]
fn a_command_whose_lock_was_killed_keeps_the_lock_until_it_ends() {
    let place = Place::new();
    let mut held = Held::start(&place, &["a"]);
    let pid = held.wait_until_inside();
    let wrapper = held.child.id();
    held.signal(Signal::KILL);
    held.child.wait().unwrap();
    let (code, _, err) = run(&place, &["-t", "0", "a", "--", "true"]);
    assert_eq!(code, 124);
    assert!(err.contains(&format!("what process {wrapper} (")), "{err}");
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let (code, _, err) = run(&place, &["a", "--", "true"]);
    assert_eq!(code, 0);
    assert!(err.contains("died while it held lock/a"), "{err}");
}

#[test]
fn a_lock_that_was_lost_is_said_with_an_exit_code_of_its_own() {
    let place = Place::new();
    let held = Held::inside(&place, &["a"]);
    std::fs::remove_dir_all(place.path("locks")).unwrap();
    let (code, said) = held.end();
    assert_eq!(code, 123, "{said}");
    assert!(said.contains("was removed while its lock was held"), "{said}");
}

#[test]
fn with_a_daemon_locks_are_shown_and_are_in_the_way_of_jobs() {
    let place = Place::new();
    let _daemon = place.start();
    let held = Held::inside(&place, &["--level", "node", "n1"]);
    let mut waiter = Held::start(&place, &["--level", "node", "n1"]);
    let who = format!("process {} (sh -c echo in", held.child.id());
    wait_until("the second waits in line", || {
        let table = place.expect(0, &["locks"]);
        assert!(table.contains(&who), "{table}");
        table.contains("waits, 1.")
    });
    let (code, _, err) = run(&place, &["--level", "node", "-t", "0", "n1", "--", "true"]);
    assert_eq!(code, 124, "{err}");
    let (code, _, err) = run(&place, &["--level", "node", "-t", "0.05", "n1", "--", "true"]);
    assert!(code == 124 && err.contains("node/n1 is held by process"), "{code} {err}");
    let graph = place.expect(0, &["locks", "--graph"]);
    assert!(graph.contains("(sh -c echo in"), "{graph}");
    assert_eq!(held.end().0, 0);
    waiter.wait_until_inside();
    assert_eq!(waiter.end().0, 0);
    assert!(!place.expect(0, &["locks"]).contains("node/n1"));
}

#[test]
fn why_names_the_command_that_is_in_the_way_of_a_job() {
    let place = Place::new();
    let opcode =
        "[[opcode]]\nid = 'OP_TOUCH'\nargv = ['true']\nlocks.node = { exclusive = ['n1'] }\n";
    std::fs::write(place.path("opcodes.toml"), opcode).unwrap();
    std::fs::write(place.path("config.toml"), "catalogue = ['opcodes.toml']\n").unwrap();
    let mut command = place.command();
    command.arg("--config").arg(place.path("config.toml"));
    let _daemon = Daemon::start(command);
    let held = Held::inside(&place, &["--level", "node", "n1"]);
    let job = place.expect(0, &["submit", "OP_TOUCH"]);
    let who = format!("process {} (sh -c echo in", held.child.id());
    wait_until("the job waits for the command", || {
        let why = place.expect(0, &["why", job.trim()]);
        why.contains("for the lock node/n1") && why.contains(&who)
    });
    assert_eq!(held.end().0, 0);
    place.expect(0, &["wait", job.trim()]);
}

#[test]
fn a_connection_that_dies_frees_its_locks() {
    let place = Place::new();
    let _daemon = place.start();
    let mut held = Held::inside(&place, &["--level", "node", "--close", "n1"]);
    let mut waiter = Held::start(&place, &["--level", "node", "n1"]);
    held.signal(Signal::KILL);
    held.child.wait().unwrap();
    waiter.wait_until_inside();
    assert_eq!(waiter.end().0, 0);
}

#[test]
fn locks_of_the_machine_outlast_the_daemon_and_others_are_said_to_be_lost() {
    let place = Place::new();
    let daemon = place.start();
    let (plain, node) = (Held::inside(&place, &["a"]), Held::inside(&place, &["-l", "node", "n1"]));
    daemon.kill();
    let (code, _, err) = run(&place, &["-t", "0", "a", "--", "true"]);
    assert_eq!(code, 124, "{err}");
    let (code, _, err) = run(&place, &["--level", "node", "n1", "--", "true"]);
    assert!(code == 125 && err.contains("are the daemon's, and none answers"), "{code} {err}");
    assert_eq!(run(&place, &["--level", "node", "--on-this-node", "n1", "--", "true"]).0, 0);
    let (code, said) = node.end();
    assert!(code == 123 && said.contains("were lost while the command ran"), "{code} {said}");
    // The next daemon finds the lock held, and leaves it.
    let daemon = place.start();
    assert_eq!(run(&place, &["-t", "0", "a", "--", "true"]).0, 124);
    drop(daemon);
    assert_eq!(plain.end().0, 0);
}

#[test]
fn sets_asked_for_in_any_order_come_through_and_levels_are_taken_in_theirs() {
    let place = Place::new();
    let _daemon = place.start();
    let commands: Vec<Child> = (0..16)
        .map(|number| {
            let (one, other) = if number % 2 == 0 { ("a", "b") } else { ("b", "a") };
            let args = [one, other, "--also", "instance:web", "--also-shared", "node:n1"];
            lock(&place, &[&args[..], &["--", "true"]].concat()).spawn().unwrap()
        })
        .collect();
    for mut command in commands {
        assert_eq!(command.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_sweep_says_what_it_leaves() {
    let place = Place::new();
    let held = Held::inside(&place, &["a"]);
    assert_eq!(run(&place, &["b", "--", "true"]).0, 0);
    let directory = place.path("locks");
    let directory = directory.to_str().unwrap();
    let said = place.expect(0, &["locks", "--sweep", "--lock-dir", directory]);
    assert_eq!(said, "lock/a is held\nremoved the files of 1 lock\n");
    assert_eq!(held.end().0, 0);
    let said = place.expect(0, &["locks", "--sweep", "--lock-dir", directory]);
    assert_eq!(said, "removed the files of 1 lock\n");
}
