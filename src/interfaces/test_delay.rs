//! `OP_TEST_DELAY`: an opcode that holds node locks and sleeps, with Ganeti's parameters.
//!
//! It touches nothing: it is there to try the queue out, and to test it.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::doorbell::{Doorbell, Rung};
use crate::runtime::{Context, DeclaredLocks, LogicalUnit, TypedOp};
use crate::vocabulary::{CrashPolicy, FeedbackKind, OpError, OpErrorKind};

/// The level that the nodes' locks live at.
const NODE_LEVEL: &str = "node";
/// The node that stands for the machine the daemon runs on.
const MASTER_NODE: &str = "master";

/// Sleeps, with the locks of some nodes held exclusively.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestDelay {
    /// How long to sleep, in seconds; above zero.
    pub duration: f64,
    /// Sleep on the master: takes the lock of the node `master`, unless `no_locks`.
    #[serde(default = "yes")]
    pub on_master: bool,
    /// The nodes whose locks to hold.
    #[serde(default)]
    pub on_nodes: Vec<String>,
    /// Ganeti's ids of those nodes; taken and not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_node_uuids: Option<Vec<String>>,
    /// Sleep that often; 0 is once, without counting aloud.
    #[serde(default)]
    pub repeat: u32,
    /// Make a socket and say where in the feedback log; who connects to it ends the delay.
    #[serde(default)]
    pub interruptible: bool,
    /// Do without the lock of the master. As in Ganeti, nodes that are named are locked.
    #[serde(default = "yes")]
    pub no_locks: bool,
    /// Whether a node lock was declared: the hierarchy may have no such level.
    #[serde(skip)]
    locked: bool,
}

const fn yes() -> bool {
    true
}

impl TestDelay {
    /// A delay of that many seconds that holds the locks of those nodes.
    #[must_use]
    pub fn new(duration: f64, on_nodes: &[&str]) -> Self {
        Self {
            duration,
            on_master: false,
            on_nodes: on_nodes.iter().map(|node| (*node).to_owned()).collect(),
            on_node_uuids: None,
            repeat: 0,
            interruptible: false,
            no_locks: true,
            locked: false,
        }
    }

    fn sleep(&self, context: &Context) -> Result<(), OpError> {
        let duration = Duration::try_from_secs_f64(self.duration).unwrap_or(Duration::MAX);
        let canceled = match self.interruptible {
            true => interruptible(context, duration).map_err(|error| socket_failed(&error))?,
            false => context.cancel_token().wait_timeout(duration),
        };
        match canceled {
            true => Err(OpError::new(OpErrorKind::Canceled, "the delay was cancelled")),
            false => Ok(()),
        }
    }
}

fn socket_failed(error: &io::Error) -> OpError {
    OpError::exec(format!("cannot make the socket that interrupts the delay: {error}"))
}

impl TypedOp for TestDelay {
    const ID: &'static str = "OP_TEST_DELAY";
}

impl LogicalUnit for TestDelay {
    fn check_arguments(&mut self) -> Result<(), OpError> {
        if self.duration > 0.0 {
            return Ok(());
        }
        Err(OpError::prereq("Duration must be greater than zero"))
    }

    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        if level != NODE_LEVEL {
            return Ok(());
        }
        self.locked = true;
        let master = (self.on_master && !self.no_locks).then_some(MASTER_NODE);
        let mut nodes = self.on_nodes.iter().map(String::as_str).chain(master);
        nodes.try_for_each(|node| locks.exclusive(node))
    }

    fn locks_known_at_once(&self) -> bool {
        true
    }

    fn check_prereq(&mut self, _context: &Context) -> Result<(), OpError> {
        match self.locked || self.on_nodes.is_empty() {
            true => Ok(()),
            false => Err(OpError::prereq(format!("there is no lock level {NODE_LEVEL:?}"))),
        }
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        if self.repeat == 0 {
            self.sleep(context)?;
        }
        for round in 0..self.repeat {
            let last = self.repeat - 1;
            context.feedback(&format!(" - INFO: Test delay iteration {round}/{last}"));
            self.sleep(context)?;
        }
        Ok(Value::Null)
    }

    fn on_crash(&self) -> CrashPolicy {
        CrashPolicy::Retry
    }
}

/// Sleeps until time is up, somebody connects, or the job is cancelled. Whether the latter.
fn interruptible(context: &Context, duration: Duration) -> io::Result<bool> {
    let doorbell = Doorbell::hang(context.cancel_token())?;
    context.feedback_of(FeedbackKind::DelayTest, &json!([doorbell.path()]).to_string());
    doorbell.wait(duration).map(|rung| rung == Rung::Canceled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TestDelay, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn parameters_have_ganetis_defaults_and_unknown_ones_are_refused() {
        let delay = read(r#"{"duration": 1}"#).unwrap();
        assert!(delay.on_master && delay.no_locks && !delay.interruptible && delay.repeat == 0);
        assert!(read("{}").is_err());
        assert!(read(r#"{"duration": 1, "nosuch": 2}"#).is_err());
        assert!(read(r#"{"duration": 1, "on_node_uuids": null}"#).is_ok());
    }

    #[test]
    fn a_duration_has_to_be_above_zero() {
        let refused = TestDelay::new(0.0, &[]).check_arguments().unwrap_err();
        assert_eq!(refused, OpError::prereq("Duration must be greater than zero"));
        assert!(TestDelay::new(1e-6, &[]).check_arguments().is_ok());
    }
}
