//! Real processes: started, cancelled, timed out, left over.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::Value;

use super::processes::Stat;
use super::run::{Caller, marks_of, run};
use super::{Invocation, Surroundings, end_leftovers};
use crate::interfaces::catalogue::Settings;
use crate::runtime::{CancelCause, CancelToken};
use crate::vocabulary::{FeedbackKind, JobId, OpError, OpErrorKind, OpId};

/// Far longer than anything here takes; a test that needs it has failed.
const LONG: Duration = Duration::from_secs(60);

/// A shell script to run, what it is run with, and what it said.
struct Script {
    invocation: Invocation,
    state: String,
    cancel: CancelToken,
    /// Set the token with that cause when a line `ready` comes.
    on_ready: Option<CancelCause>,
    is_undo: bool,
    said: Mutex<Vec<(FeedbackKind, String)>>,
}

impl Script {
    fn new(script: &str) -> Self {
        Self {
            invocation: Invocation {
                program: "/bin/sh".into(),
                name: "sh".into(),
                arguments: vec!["-c".into(), script.into()],
                environment: BTreeMap::new(),
                directory: None,
                timeout: None,
                grace: LONG,
                success_codes: vec![0],
                retry_codes: Vec::new(),
            },
            state: format!("test-{}-{:?}", std::process::id(), std::thread::current().id()),
            cancel: CancelToken::new(),
            on_ready: None,
            is_undo: false,
            said: Mutex::default(),
        }
    }

    fn when_ready(mut self, cause: CancelCause) -> Self {
        self.on_ready = Some(cause);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Invocation)) -> Self {
        change(&mut self.invocation);
        self
    }

    fn run(&self) -> Result<Value, OpError> {
        let surroundings = Surroundings::prepare(&Settings::default(), &self.state).unwrap();
        let started = Instant::now();
        let caller = Caller {
            held: String::new(),
            marks: marks_of(JobId::FIRST, &OpId::new("OP_SCRIPT").unwrap(), 7),
            input: None,
            cancel: &self.cancel,
            is_undo: self.is_undo,
            say: &|kind, line| {
                self.said.lock().unwrap().push((kind, line.to_owned()));
                if let Some(cause) = self.on_ready.filter(|_| line == "ready") {
                    self.cancel.set(cause);
                }
            },
        };
        let result = run(&self.invocation, &surroundings, &caller);
        assert!(started.elapsed() < LONG, "it waited for something it should not wait for");
        result
    }

    fn said(&self, kind: FeedbackKind) -> Vec<String> {
        let said = self.said.lock().unwrap();
        let of_kind = said.iter().filter(|(other, _)| *other == kind);
        of_kind.map(|(_, line)| line.clone()).collect()
    }

    /// The number a script wrote as its first line.
    fn pid(&self) -> Pid {
        let lines = self.said(FeedbackKind::Stdout);
        Pid::from_raw(lines[0].parse().unwrap()).unwrap()
    }
}

fn runs(pid: Pid) -> bool {
    Stat::of(pid).unwrap().is_some_and(|stat| !stat.has_ended)
}

#[test]
fn what_a_command_says_and_how_it_ends_is_passed_on() {
    let script = Script::new("echo one; echo two >&2; printf three; exit 3");
    let script = script.with(|invocation| invocation.success_codes = vec![0, 3]);
    let result = script.run().unwrap();
    assert_eq!(result["exit_code"], 3);
    assert!(result["seconds"].as_f64().unwrap() < 60.0);
    assert_eq!(script.said(FeedbackKind::Stdout), ["one", "three"]);
    assert_eq!(script.said(FeedbackKind::Stderr), ["two"]);
}

#[test]
fn a_failure_names_the_exit_code_or_the_signal_and_the_last_complaint() {
    let error = Script::new("echo a >&2; echo no such thing >&2; echo >&2; exit 2").run();
    let error = error.unwrap_err();
    assert_eq!(error.kind, OpErrorKind::Exec);
    assert_eq!(error.message, "sh failed, exit code 2: no such thing");
    let error = Script::new("kill -9 $$").run().unwrap_err();
    assert_eq!(error.message, "sh was ended by signal 9");
}

#[test]
fn what_cannot_be_started_is_an_error_that_names_it() {
    let gone = Script::new("").with(|invocation| invocation.program = "/no/such".into());
    assert!(gone.run().unwrap_err().message.starts_with("/no/such cannot be started: "));
    let nowhere = Script::new("").with(|invocation| invocation.directory = Some("/no/dir".into()));
    assert_eq!(nowhere.run().unwrap_err().message, "the directory /no/dir does not exist");
}

#[test]
fn a_command_finds_the_usual_few_variables_its_own_and_the_masters() {
    let mut script = Script::new("env").with(|invocation| {
        invocation.environment.insert("COLOUR".into(), "red".into());
    });
    script.state = "the-state".into();
    script.run().unwrap();
    let mut names: Vec<String> = Vec::new();
    for line in script.said(FeedbackKind::Stdout) {
        names.extend(line.split_once('=').map(|(name, _)| name.to_owned()));
    }
    let shell = ["PWD", "OLDPWD", "SHLVL", "_"];
    let allowed =
        |name: &String| super::INHERITED.contains(&name.as_str()) || shell.contains(&name.as_str());
    names.retain(|name| !allowed(name));
    names.sort();
    let masters =
        ["HELD", "JOB", "OPCODE", "STATE", "TOKEN"].map(|name| format!("LOCKMASTER_{name}"));
    assert_eq!(names, [&["COLOUR".to_owned()][..], &masters].concat());
    let said = script.said(FeedbackKind::Stdout);
    for line in ["LOCKMASTER_JOB=1", "LOCKMASTER_OPCODE=OP_SCRIPT", "LOCKMASTER_TOKEN=7"] {
        assert!(said.contains(&line.to_owned()), "{line}");
    }
}

#[test]
fn a_cancelled_command_ends_with_everything_it_started() {
    let script = Script::new("sleep 1000 & echo $!; echo ready; wait");
    let script = script.when_ready(CancelCause::Requested);
    assert_eq!(script.run().unwrap_err().kind, OpErrorKind::Canceled);
    assert!(!runs(script.pid()));
}

#[test]
fn a_command_that_does_not_listen_is_killed_after_the_grace_time() {
    let deaf = "trap '' TERM; (while :; do read x; done < /dev/zero) & echo $!; echo ready; wait";
    let script = Script::new(deaf).when_ready(CancelCause::Shutdown);
    let script = script.with(|invocation| invocation.grace = Duration::from_millis(30));
    assert_eq!(script.run().unwrap_err().kind, OpErrorKind::Canceled);
    assert!(!runs(script.pid()));
    assert!(script.said(FeedbackKind::Message).iter().any(|line| line.contains("killing")));
}

#[test]
fn a_command_out_of_time_is_ended() {
    let script = Script::new("sleep 1000");
    let script = script.with(|invocation| invocation.timeout = Some(Duration::from_millis(300)));
    let error = script.run().unwrap_err();
    assert_eq!(error.kind, OpErrorKind::TimedOut);
    assert!(error.message.starts_with("sh ran longer than 300ms and was ended"));
}

#[test]
fn a_command_that_never_stops_talking_is_cancelled_all_the_same() {
    let script = Script::new("echo ready; exec yes").when_ready(CancelCause::Requested);
    assert_eq!(script.run().unwrap_err().kind, OpErrorKind::Canceled);
}

#[test]
fn what_a_command_leaves_running_in_its_group_ends_before_its_locks_are_free() {
    let script = Script::new("sleep 1000 & echo $!");
    assert_eq!(script.run().unwrap()["exit_code"], 0);
    assert!(!runs(script.pid()));

    let deaf = Script::new(
        "(trap '' TERM; echo up; while :; do read x; done < /dev/zero) & echo $!; read x < /dev/null; exit 4",
    );
    let deaf = deaf.with(|invocation| invocation.grace = Duration::from_millis(30));
    assert_eq!(deaf.run().unwrap_err().message, "sh failed, exit code 4");
    let lines = deaf.said(FeedbackKind::Stdout);
    let number = lines.iter().find_map(|line| line.parse().ok()).unwrap();
    assert!(!runs(Pid::from_raw(number).unwrap()));
}

/// Says its number, in a session of its own, and then stays.
const ESCAPE: &str = "setsid sh -c 'echo $$; exec sleep 1000 >&3 2>&3' &";

#[test]
fn a_process_that_left_the_group_and_holds_a_pipe_ends_with_the_command() {
    let script = Script::new(&format!("exec 3>&1; pid=$({ESCAPE}); echo $pid; echo done"));
    script.run().unwrap();
    assert_eq!(script.said(FeedbackKind::Stdout)[1], "done");
    assert!(!runs(script.pid()));
}

#[test]
fn a_process_that_left_the_group_ends_when_the_command_is_cancelled() {
    let script = format!("exec 3>/dev/null; pid=$({ESCAPE}); echo $pid; echo ready; sleep 1000");
    let script = Script::new(&script).when_ready(CancelCause::Requested);
    assert_eq!(script.run().unwrap_err().kind, OpErrorKind::Canceled);
    assert!(!runs(script.pid()));
}

#[test]
fn a_process_that_is_meant_to_stay_is_neither_ended_nor_waited_for() {
    let stays = format!("exec 3>&1; pid=$(env -u LOCKMASTER_STATE {ESCAPE}); echo $pid");
    let script = Script::new(&stays);
    script.run().unwrap();
    assert_eq!(end_leftovers(&script.state, LONG).unwrap(), []);
    assert!(runs(script.pid()));
    rustix::process::kill_process(script.pid(), rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_request_to_cancel_stops_no_undo_but_a_shutdown_does() {
    let mut undo = Script::new("echo ready; exit 0").when_ready(CancelCause::Requested);
    undo.is_undo = true;
    assert!(undo.run().is_ok());
    assert!(undo.run().is_ok(), "the token is set from the start now");
    let mut undo = Script::new("echo ready; sleep 1000").when_ready(CancelCause::Shutdown);
    undo.is_undo = true;
    assert_eq!(undo.run().unwrap_err().kind, OpErrorKind::Canceled);
}

#[test]
fn a_command_cancelled_before_it_starts_is_not_started() {
    let script = Script::new("echo started");
    script.cancel.set(CancelCause::Requested);
    assert_eq!(script.run().unwrap_err().kind, OpErrorKind::Canceled);
    assert!(script.said(FeedbackKind::Stdout).is_empty());
}

#[test]
fn leftovers_of_a_killed_master_are_found_by_its_state_and_ended_deaf_ones_too() {
    let state = format!("killed-{}", std::process::id());
    let deaf = "trap '' TERM; setsid sleep 1000 & echo $!; while :; do read x; done < /dev/zero";
    let mut master = Command::new("sh")
        .args(["-c", deaf])
        .env("LOCKMASTER_STATE", &state)
        .env("LOCKMASTER_JOB", "12")
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(master.stdout.take().unwrap()).read_line(&mut line).unwrap();

    assert_eq!(end_leftovers("another state", LONG).unwrap(), []);
    let found = end_leftovers(&state, Duration::from_millis(30)).unwrap();
    assert!(found.iter().any(|leftover| leftover.pid == master.id()));
    assert!(found.iter().all(|leftover| leftover.job == JobId::new(12)));
    assert!(!runs(Pid::from_raw(line.trim().parse().unwrap()).unwrap()));
    assert!(!master.wait().unwrap().success());
    assert_eq!(end_leftovers(&state, LONG).unwrap(), []);
}
