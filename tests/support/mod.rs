//! Logical units that tests steer from outside.
#![allow(dead_code)] // Every test binary uses its own part of this.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use lockmaster::vocabulary::OpErrorKind;
use lockmaster::{Context, CrashPolicy, DeclaredLocks, LockMode, LogicalUnit, OpError, TypedOp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How long a test waits for what has to happen before it gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A unit that says when it begins and goes on when told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Step {
    pub(crate) gate: String,
    pub(crate) cluster: bool,
    pub(crate) instance: Vec<String>,
    pub(crate) shared_node: Vec<String>,
    pub(crate) node: Vec<String>,
    pub(crate) at_once: bool,
    pub(crate) fail: bool,
    pub(crate) fail_prereq: bool,
    pub(crate) panic: bool,
    pub(crate) undo: bool,
    pub(crate) on_crash: Option<CrashPolicy>,
    pub(crate) say: Vec<String>,
}

impl TypedOp for Step {
    const ID: &'static str = "OP_STEP";
}

impl LogicalUnit for Step {
    fn big_lock(&self) -> LockMode {
        if self.cluster { LockMode::Exclusive } else { LockMode::Shared }
    }

    fn locks_known_at_once(&self) -> bool {
        self.at_once
    }

    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        match level {
            "instance" => self.instance.iter().try_for_each(|name| locks.exclusive(name)),
            "node" => {
                self.shared_node.iter().try_for_each(|name| locks.shared(name))?;
                self.node.iter().try_for_each(|name| locks.exclusive(name))
            }
            _ => Ok(()),
        }
    }

    fn check_prereq(&mut self, _: &Context) -> Result<(), OpError> {
        if self.fail_prereq { Err(OpError::prereq("not ready")) } else { Ok(()) }
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        self.say.iter().for_each(|line| context.feedback(line));
        note(&self.gate, "begin");
        if !self.gate.is_empty() {
            self.wait(context)?;
        }
        note(&self.gate, "end");
        assert!(!self.panic, "as asked");
        if self.fail { Err(OpError::exec("as asked")) } else { Ok(Value::Bool(true)) }
    }

    fn can_undo(&self) -> bool {
        self.undo
    }

    fn undo(&mut self, _: &Context) -> Result<(), OpError> {
        note(&self.gate, "undo");
        Ok(())
    }

    fn on_crash(&self) -> CrashPolicy {
        self.on_crash.unwrap_or_default()
    }
}

impl Step {
    fn wait(&self, context: &Context) -> Result<(), OpError> {
        let gate = gate(&self.gate);
        let opener = gate.opener.clone();
        let _listening = context.cancel_token().on_cancel(move || _ = opener.send(()));
        let opened = gate.opened.lock().unwrap().recv_timeout(PATIENCE);
        if context.cancel_token().is_set() {
            return Err(OpError::new(OpErrorKind::Canceled, "stopped"));
        }
        opened.map_err(|_| OpError::exec("nobody opened the gate"))
    }
}

struct Gate {
    opener: Sender<()>,
    opened: Mutex<Receiver<()>>,
    notes: Sender<&'static str>,
    noted: Mutex<Receiver<&'static str>>,
}

fn gate(name: &str) -> Arc<Gate> {
    static GATES: OnceLock<Mutex<HashMap<String, Arc<Gate>>>> = OnceLock::new();
    let mut gates = GATES.get_or_init(Mutex::default).lock().unwrap();
    let new = || {
        let (opener, opened) = channel();
        let (notes, noted) = channel();
        Arc::new(Gate { opener, opened: Mutex::new(opened), notes, noted: Mutex::new(noted) })
    };
    Arc::clone(gates.entry(name.to_owned()).or_insert_with(new))
}

fn note(name: &str, what: &'static str) {
    gate(name).notes.send(what).unwrap();
}

/// Waits for the next thing the units behind that gate do: `begin`, `end` or `undo`.
pub(crate) fn next_note(name: &str) -> &'static str {
    let gate = gate(name);
    let noted = gate.noted.lock().unwrap();
    noted.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nothing happens at gate {name}"))
}

/// Whether nothing more was done behind that gate so far.
pub(crate) fn is_quiet(name: &str) -> bool {
    gate(name).noted.lock().unwrap().try_recv().is_err()
}

/// Lets one unit behind that gate go on.
pub(crate) fn open(name: &str) {
    gate(name).opener.send(()).unwrap();
}
