//! A place with a state directory, where one daemon after the other lives.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use lockmaster::interfaces::luxi::Client;
use rustix::process::{Pid, Signal, kill_process};

use crate::ledger;

/// How long anything may take before the test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Default)]
struct State {
    /// The daemon that answers, and what it logs.
    daemon: Option<(Child, Receiver<String>)>,
    /// How many daemons have been ready so far.
    generation: u64,
    /// How many submissions were acknowledged.
    acknowledged: usize,
    /// Whether the clients are to come to their end.
    stopping: bool,
}

/// The place, shared by all threads of the test.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    state: Mutex<State>,
    changed: Condvar,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Self { directory, state: Mutex::default(), changed: Condvar::new() };
        std::fs::write(place.path("opcodes.toml"), ledger::opcodes(&place.path("ledger"))).unwrap();
        std::fs::write(place.path("config.toml"), "catalogue = ['opcodes.toml']\n").unwrap();
        std::fs::write(place.path("ledger"), "").unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn spawn(&self) -> (Child, Receiver<String>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockmasterd"));
        command.arg("--state-dir").arg(self.path("state"));
        command.arg("--socket").arg(self.path("socket"));
        command.arg("--config").arg(self.path("config.toml"));
        command.env_remove("LOCKMASTER_LOG").stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let read = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        std::thread::spawn(move || read.for_each(|line| drop(sender.send(line))));
        (child, lines)
    }

    /// Starts a daemon and waits until it answers.
    pub(crate) fn start(&self) {
        let (child, lines) = self.spawn();
        let mut seen = Vec::new();
        while let Ok(line) = lines.recv_timeout(PATIENCE) {
            let ready = line.contains("ready");
            seen.push(line);
            if ready {
                return self.is_ready(child, lines);
            }
        }
        panic!("the daemon does not start:\n{}", seen.join("\n"));
    }

    fn is_ready(&self, child: Child, lines: Receiver<String>) {
        let mut state = self.state.lock().unwrap();
        state.daemon = Some((child, lines));
        state.generation += 1;
        self.changed.notify_all();
    }

    /// Starts a daemon, and kills it when that time is over or it is ready.
    pub(crate) fn kill_while_starting(&self, after: Duration) {
        let (mut child, lines) = self.spawn();
        match lines.recv_timeout(after) {
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("the daemon ended without a word"),
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Kills the daemon as nothing else would.
    pub(crate) fn kill(&self) {
        let daemon = self.state.lock().unwrap().daemon.take();
        let (mut child, _) = daemon.unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Tells the daemon to stop, which it has to do well.
    pub(crate) fn end_in_good_order(&self) {
        let (mut child, lines) = self.state.lock().unwrap().daemon.take().unwrap();
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        while lines.recv_timeout(PATIENCE).is_ok() {}
        assert!(child.wait().unwrap().success());
    }

    fn wait_while(&self, unmet: impl Fn(&State) -> bool, what: &str) -> MutexGuard<'_, State> {
        let state = self.state.lock().unwrap();
        let wait = self.changed.wait_timeout_while(state, PATIENCE, |state| unmet(state));
        let (state, timeout) = wait.unwrap();
        assert!(!timeout.timed_out(), "{what} for {PATIENCE:?}");
        state
    }

    /// A connection to a daemon younger than `generation`, and which that is.
    pub(crate) fn connect(&self, mut generation: u64) -> (Client, u64) {
        loop {
            let state = self.wait_while(|state| state.generation <= generation, "no daemon");
            generation = state.generation;
            drop(state);
            // It may be dead by now.
            if let Ok(client) = Client::connect(&self.path("socket")) {
                return (client, generation);
            }
        }
    }

    /// A client has got the ids of a submission.
    pub(crate) fn acknowledged(&self) {
        self.state.lock().unwrap().acknowledged += 1;
        self.changed.notify_all();
    }

    /// Waits until so many more submissions are acknowledged.
    pub(crate) fn wait_for_acknowledged(&self, more: usize) {
        let due = self.state.lock().unwrap().acknowledged + more;
        drop(self.wait_while(|state| state.acknowledged < due, "no submission acknowledged"));
    }

    /// Clients are to end when what they are doing is done.
    pub(crate) fn stop_clients(&self) {
        self.state.lock().unwrap().stopping = true;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.state.lock().unwrap().stopping
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A test that has failed leaves it running.
        if let Some((mut child, _)) = self.state.get_mut().ok().and_then(|it| it.daemon.take()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
