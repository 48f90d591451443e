//! One call of a program from start to end, with everything it started.
//!
//! The thread sleeps in `poll` on the pipes, on a pidfd of the command and on an eventfd that
//! a cancellation writes to, with the next deadline as timeout. It returns only when no process
//! of the command's group is left: then, and not before, its locks may go to others.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, test_kill_process_group,
};
use serde_json::{Value, json};

use super::environment::carrying;
use super::output::{Say, Streams};
use super::{Invocation, Surroundings, processes};
use crate::interfaces::held;
use crate::runtime::{CancelCause, CancelToken};
use crate::vocabulary::{Error, FeedbackKind, JobId, OpError, OpErrorKind, OpId};

/// On whose behalf a program is called.
pub(super) struct Caller<'a> {
    /// Variables that tell its processes from all others, found in their environment.
    pub(super) marks: Vec<(&'static str, String)>,
    /// What is held for it: see [`held`].
    pub(super) held: String,
    /// What the program reads; nothing where not said.
    pub(super) input: Option<&'a Path>,
    pub(super) cancel: &'a CancelToken,
    /// A cancelled job is undone, so a request does not stop an undo, nor a hook that runs after
    /// the work is done; a shutdown does.
    pub(super) is_undo: bool,
    pub(super) say: Say<'a>,
}

/// How processes of an opcode are told from others.
pub(super) fn marks_of(job: JobId, opcode: &OpId, token: u64) -> Vec<(&'static str, String)> {
    vec![
        ("LOCKMASTER_JOB", job.to_string()),
        ("LOCKMASTER_OPCODE", opcode.to_string()),
        ("LOCKMASTER_TOKEN", token.to_string()),
    ]
}

/// Calls the program and waits until it and its whole process group have ended.
///
/// # Errors
///
/// `Exec` where it cannot be started or fails, `TimedOut`, `Canceled`.
pub(super) fn run(
    invocation: &Invocation,
    surroundings: &Surroundings,
    caller: &Caller<'_>,
) -> Result<Value, OpError> {
    let name = &invocation.name;
    let failed = |error: io::Error| OpError::exec(format!("{name} cannot be run: {error}"));
    let bell = Bell::for_caller(caller).map_err(failed)?;
    if bell.stops(caller) {
        return Err(OpError::new(OpErrorKind::Canceled, "cancelled before the command started"));
    }
    let started = Instant::now();
    let mut child = spawn(invocation, surroundings, caller)?;
    let pipes = [
        (child.stdout.take().map(OwnedFd::from), FeedbackKind::Stdout),
        (child.stderr.take().map(OwnedFd::from), FeedbackKind::Stderr),
    ];
    let mut leader = Leader::new(child).map_err(failed)?;
    let pipes = pipes.into_iter().filter_map(|(pipe, kind)| Some((pipe?, kind)));
    let mut streams = Streams::new(pipes, caller.say).map_err(failed)?;

    let mut watch = Watch { invocation, phase: Phase::Running(watch_until(invocation, started)) };
    watch.until_leader_ends(&leader, &bell, caller, &mut streams).map_err(failed)?;
    let status = leader.end_group(watch.kill_at(), &mut streams).map_err(failed)?;
    if streams.drain() || watch.was_told() {
        end_escaped(surroundings, caller, watch.kill_at(), &mut streams).map_err(failed)?;
    }
    streams.finish();
    let seconds = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    watch.judge(status, seconds, streams.last_stderr())
}

fn watch_until(invocation: &Invocation, started: Instant) -> Option<Instant> {
    invocation.timeout.and_then(|timeout| started.checked_add(timeout))
}

/// Ends what left the process group: `timeout` and `setsid` do so. It is looked for only where
/// a pipe is still held or the command was told to end, as reading all of `/proc` takes time.
fn end_escaped(
    surroundings: &Surroundings,
    caller: &Caller<'_>,
    kill_at: Instant,
    streams: &mut Streams<'_>,
) -> io::Result<()> {
    let mut marks = vec![format!("LOCKMASTER_STATE={}", surroundings.state_id)];
    marks.extend(caller.marks.iter().map(|(name, value)| format!("{name}={value}")));
    let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
    processes::end_all(|| carrying(&marks), kill_at, None, streams)
}

fn spawn(
    invocation: &Invocation,
    surroundings: &Surroundings,
    caller: &Caller<'_>,
) -> Result<Child, OpError> {
    let below = invocation.directory.as_deref();
    let directory =
        below.map_or_else(|| surroundings.directory.clone(), |d| surroundings.directory.join(d));
    if !directory.is_dir() {
        let shown = directory.display();
        return Err(OpError::exec(format!("the directory {shown} does not exist")));
    }
    Command::new(&invocation.program)
        .arg0(&invocation.name)
        .args(&invocation.arguments)
        .env_clear()
        .envs(&surroundings.environment)
        .envs(&invocation.environment)
        .envs(caller.marks.iter().map(|(name, value)| (name, value)))
        .env(held::VARIABLE, &caller.held)
        .current_dir(directory)
        .process_group(0)
        .stdin(input(caller)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            let program = invocation.program.display();
            OpError::exec(format!("{program} cannot be started: {error}"))
        })
}

fn input(caller: &Caller<'_>) -> Result<Stdio, OpError> {
    let Some(path) = caller.input else { return Ok(Stdio::null()) };
    let opened = File::open(path);
    let file =
        opened.map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    Ok(file.into())
}

/// Rings when the opcode is cancelled: an eventfd, so that `poll` hears it.
struct Bell {
    rope: Arc<OwnedFd>,
    _listening: crate::runtime::OnCancel,
}

impl Bell {
    fn for_caller(caller: &Caller<'_>) -> io::Result<Self> {
        let rope = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let other_end = Arc::clone(&rope);
        let listening = caller.cancel.on_cancel(move || {
            // A full counter has rung already.
            let _ = rustix::io::write(&*other_end, &1u64.to_ne_bytes());
        });
        Ok(Self { rope, _listening: listening })
    }

    fn stops(&self, caller: &Caller<'_>) -> bool {
        match caller.cancel.cause() {
            None => false,
            Some(CancelCause::Shutdown) => true,
            Some(CancelCause::Requested | CancelCause::Deadline) => !caller.is_undo,
        }
    }
}

/// The process that was started, which leads its group. Killed with the group where it is
/// dropped before it was waited for: an error on our side must not leave it running.
struct Leader {
    child: Child,
    group: Pid,
    handle: Option<OwnedFd>,
    reaped: bool,
}

impl Leader {
    fn new(child: Child) -> io::Result<Self> {
        let group = Pid::from_child(&child);
        let mut leader = Self { child, group, handle: None, reaped: false };
        leader.handle = Some(pidfd_open(group, PidfdFlags::empty())?);
        Ok(leader)
    }

    /// Signals the whole group. Until the leader was waited for, its number cannot become
    /// another group's.
    fn signal(&self, signal: Signal) {
        if !self.reaped {
            // Only fails where nobody is left.
            let _ = kill_process_group(self.group, signal);
        }
    }

    /// Ends what is left of the group once the leader has ended.
    fn end_group(&mut self, kill_at: Instant, streams: &mut Streams<'_>) -> io::Result<ExitStatus> {
        let late = Instant::now() >= kill_at;
        self.signal(if late { Signal::KILL } else { Signal::TERM });
        let status = self.child.wait()?;
        self.reaped = true;
        // Signal 0 tells whether the group has members; only then it is worth reading /proc.
        if test_kill_process_group(self.group).is_ok() {
            let group = self.group;
            streams.remark("the command left processes running: ending them");
            processes::end_all(|| processes::members(group), kill_at, None, streams)
                .inspect_err(|_| _ = kill_process_group(group, Signal::KILL))?;
        }
        Ok(status)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if !self.reaped {
            let _ = self.child.wait();
        }
    }
}

/// How far the end of a command has come.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// It runs, at most until then.
    Running(Option<Instant>),
    /// It was told to end, and is killed at that time.
    Told(Cause, Instant),
    /// It was killed.
    Killed(Cause),
}

#[derive(Clone, Copy, Debug)]
enum Cause {
    Canceled,
    TimedOut,
}

struct Watch<'i> {
    invocation: &'i Invocation,
    phase: Phase,
}

impl Watch<'_> {
    fn until_leader_ends(
        &mut self,
        leader: &Leader,
        bell: &Bell,
        caller: &Caller<'_>,
        streams: &mut Streams<'_>,
    ) -> io::Result<()> {
        let Some(handle) = &leader.handle else { return Ok(()) };
        let mut listening = true;
        loop {
            let both = [handle.as_fd(), bell.rope.as_fd()];
            let others = if listening { &both[..] } else { &both[..1] };
            let ready = streams.wait(others, self.deadline())?;
            if ready[0] {
                return Ok(());
            }
            if ready.get(1) == Some(&true) {
                // It rings once, and then for good.
                listening = false;
                if bell.stops(caller) {
                    self.tell(Cause::Canceled, leader, streams);
                }
            }
            if self.deadline().is_some_and(|deadline| Instant::now() >= deadline) {
                self.deadline_came(leader, streams);
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running(until) => until,
            Phase::Told(_, kill_at) => Some(kill_at),
            Phase::Killed(_) => None,
        }
    }

    fn deadline_came(&mut self, leader: &Leader, streams: &Streams<'_>) {
        match self.phase {
            Phase::Running(_) => self.tell(Cause::TimedOut, leader, streams),
            Phase::Told(cause, _) => {
                streams.remark("the command does not end: killing it");
                leader.signal(Signal::KILL);
                self.phase = Phase::Killed(cause);
            }
            Phase::Killed(_) => {}
        }
    }

    fn tell(&mut self, cause: Cause, leader: &Leader, streams: &Streams<'_>) {
        if !matches!(self.phase, Phase::Running(_)) {
            return;
        }
        streams.remark(match cause {
            Cause::Canceled => "cancelled: telling the command to end",
            Cause::TimedOut => "out of time: telling the command to end",
        });
        leader.signal(Signal::TERM);
        self.phase = Phase::Told(cause, self.after_grace());
    }

    fn after_grace(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.invocation.grace).unwrap_or(now)
    }

    fn was_told(&self) -> bool {
        !matches!(self.phase, Phase::Running(_))
    }

    /// When what is left of the group is killed.
    fn kill_at(&self) -> Instant {
        match self.phase {
            Phase::Running(_) => self.after_grace(),
            Phase::Told(_, kill_at) => kill_at,
            Phase::Killed(_) => Instant::now(),
        }
    }

    /// What the end means for the opcode.
    fn judge(&self, status: ExitStatus, seconds: f64, last: &str) -> Result<Value, OpError> {
        let (name, timeout) = (&self.invocation.name, self.invocation.timeout);
        let said = if last.is_empty() { String::new() } else { format!(": {last}") };
        match (self.phase, status.code()) {
            (Phase::Told(Cause::Canceled, _) | Phase::Killed(Cause::Canceled), _) => {
                let message = format!("{name} was cancelled after {seconds} s");
                Err(OpError::new(OpErrorKind::Canceled, message))
            }
            (Phase::Told(Cause::TimedOut, _) | Phase::Killed(Cause::TimedOut), _) => {
                let limit = timeout.unwrap_or(Duration::ZERO);
                let message = format!("{name} ran longer than {limit:?} and was ended{said}");
                Err(OpError::new(OpErrorKind::TimedOut, message))
            }
            (_, Some(code)) if self.invocation.success_codes.contains(&code) => {
                Ok(json!({ "exit_code": code, "seconds": seconds }))
            }
            (_, Some(code)) if self.invocation.retry_codes.contains(&code) => {
                Err(OpError::temporary(format!("{name}: exit code {code}{said}")))
            }
            (_, Some(code)) => Err(OpError::exec(format!("{name} failed, exit code {code}{said}"))),
            (_, None) => {
                let signal = status.signal().unwrap_or_default();
                Err(OpError::exec(format!("{name} was ended by signal {signal}{said}")))
            }
        }
    }
}
