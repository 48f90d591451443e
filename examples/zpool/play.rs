//! Agents that stop before each command until they are told to go on.

use std::fmt;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lockmaster::runtime::{LockOptions, Locks};

use super::Agent;
use super::fake::{Failed, Zpool};

/// How long anything may take before the play is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an agent is to do with pool pA.
pub(crate) fn act(agent: &Agent, does: &str) -> Result<(), Failed> {
    match does {
        "scan" => agent.scan(&["pA"], LockOptions::default()),
        "mount" => agent.mount("pA/ds", LockOptions::default()),
        "unmount" => agent.unmount("pA/ds", LockOptions::default()),
        "create" => agent.create("pA/ds", LockOptions::default()),
        _ => Err(Failed(format!("nobody knows how to {does}"))),
    }
}

/// Somebody who runs commands, in this process or another: says which is next, and waits.
pub(crate) struct Actor {
    said: Receiver<String>,
    go: Box<dyn FnMut()>,
    at: String,
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an actor at {:?}", self.at)
    }
}

impl Actor {
    pub(crate) fn new(said: Receiver<String>, go: impl FnMut() + 'static) -> Self {
        Self { said, go: Box::new(go), at: String::new() }
    }

    /// A thread that does something, under those locks or none.
    pub(crate) fn thread(directory: &Path, who: &str, does: &str, locks: Option<Locks>) -> Self {
        let ((say, said), (go, gone)) = (channel(), channel());
        let (saying, gone) = (say.clone(), Mutex::new(gone));
        let before = move |command: &str| {
            // Nobody listens any more where the play is over.
            let _ = saying.send(command.to_owned());
            if let Ok(gone) = gone.lock() {
                let _ = gone.recv();
            }
        };
        let zpool = Zpool::new(directory, who).before(Arc::new(before));
        let (agent, does) = (Agent::new(zpool, locks), does.to_owned());
        thread::spawn(move || {
            let _ = say.send(ending(&act(&agent, &does)));
        });
        // It may have ended meanwhile.
        Self::new(said, move || _ = go.send(()))
    }

    /// Waits until it is before its next command, or at its end; says which.
    pub(crate) fn arrive(&mut self) -> &str {
        self.at = self.said.recv_timeout(PATIENCE).unwrap_or_else(|_| "silence".to_owned());
        &self.at
    }

    /// Lets it run the command it is before, and waits until it is before the next.
    ///
    /// # Panics
    ///
    /// Where it is before another one: the play is then another one, too.
    pub(crate) fn pass(&mut self, command: &str) {
        assert_eq!(self.at, command);
        self.go();
        self.arrive();
    }

    /// Lets it run whatever it is before, and waits until it is before the next command.
    ///
    /// # Panics
    ///
    /// Where it has ended: there is nothing to wait for then.
    pub(crate) fn pass_any(&mut self) {
        assert!(!self.has_ended(), "{}", self.at);
        (self.go)();
        self.arrive();
    }

    /// Lets it run whatever it is before until it is before that command.
    ///
    /// # Panics
    ///
    /// Where it ends before that.
    pub(crate) fn pass_until(&mut self, command: &str) {
        while self.at != command {
            self.pass_any();
        }
    }

    /// Lets it go on, and does not wait.
    pub(crate) fn go(&mut self) {
        (self.go)();
    }

    fn has_ended(&self) -> bool {
        self.at == "silence" || self.at.starts_with("done") || self.at.starts_with("failed")
    }

    /// Lets it go on to its end; says which end that was.
    pub(crate) fn finish(&mut self) -> String {
        while !self.has_ended() {
            self.pass_any();
        }
        self.at.clone()
    }
}

/// How an act ended, in words.
pub(crate) fn ending(result: &Result<(), Failed>) -> String {
    match result {
        Ok(()) => "done".to_owned(),
        Err(failed) => format!("failed: {failed}"),
    }
}

/// Scenario 1 without locks: both list, then B imports, then A.
pub(crate) fn first_race(a: &mut Actor, b: &mut Actor) -> String {
    a.arrive();
    a.pass("list");
    b.arrive();
    b.pass("list");
    b.pass("import");
    a.finish()
}

/// Scenario 2 without locks: B imports, A lists and finds it, B exports, A writes.
pub(crate) fn second_race(a: &mut Actor, b: &mut Actor) -> String {
    b.arrive();
    b.pass("list");
    b.pass("import");
    a.arrive();
    a.pass("list");
    b.pass("export");
    a.finish()
}
