//! `OP_TEST_JQUEUE`: an opcode that tells a client at each step where it is, and waits until the
//! client has looked. Ganeti's `gnt-debug test-jobqueue` is that client.
//!
//! It touches nothing: it is there to test the queue, and who talks to it.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::doorbell::{Doorbell, Rung};
use crate::runtime::{Context, DeclaredLocks, LogicalUnit, TypedOp};
use crate::vocabulary::{FeedbackKind, OpError, OpErrorKind};

/// The node that stands for the machine the daemon runs on, and the level of its lock.
const MASTER_NODE: (&str, &str) = ("node", "master");
/// How long a client may take to connect, and then to have looked, as in Ganeti.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);
const CONFIRM_PATIENCE: Duration = Duration::from_secs(60);

/// Says what it is told to say, with the lock of the master's node held, and tells a client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestJqueue {
    /// Tell before it waits for locks.
    pub notify_waitlock: bool,
    /// Tell when it executes.
    pub notify_exec: bool,
    /// What to say; each line is told of, whatever the other parameters are.
    pub log_messages: Vec<String>,
    /// Fail at the end.
    pub fail: bool,
}

impl TypedOp for TestJqueue {
    const ID: &'static str = "OP_TEST_JQUEUE";
}

impl LogicalUnit for TestJqueue {
    fn expand_names(&mut self, context: &Context) -> Result<(), OpError> {
        if self.notify_waitlock {
            notify(context, "expandnames", &Value::Null, OpErrorKind::Prereq)?;
        }
        inform(context, "Expanding names");
        Ok(())
    }

    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        let (node_level, master) = MASTER_NODE;
        if level == node_level { locks.exclusive(master) } else { Ok(()) }
    }

    fn locks_known_at_once(&self) -> bool {
        true
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        if self.notify_exec {
            notify(context, "exec", &Value::Null, OpErrorKind::Exec)?;
        }
        inform(context, "Executing");
        self.say_all(context)?;
        match self.fail {
            true => Err(OpError::exec("Opcode failure was requested")),
            false => Ok(Value::Bool(true)),
        }
    }
}

impl TestJqueue {
    fn say_all(&self, context: &Context) -> Result<(), OpError> {
        if self.log_messages.is_empty() {
            return Ok(());
        }
        notify(context, "startmsg", &json!(self.log_messages.len()), OpErrorKind::Exec)?;
        for (message, number) in self.log_messages.iter().zip(1..) {
            inform(context, &format!("Sending log message {number}"));
            context.feedback(&format!("TESTMSG={message}"));
            notify(context, "logmsg", &json!(number), OpErrorKind::Exec)?;
        }
        Ok(())
    }
}

/// Ganeti's form of a line that is only for information.
fn inform(context: &Context, text: &str) {
    context.feedback(&format!(" - INFO: {text}"));
}

/// Makes a socket, says where in the feedback log, and waits until the client that connects to
/// it has left again.
fn notify(
    context: &Context,
    test: &str,
    argument: &Value,
    kind: OpErrorKind,
) -> Result<(), OpError> {
    let failed =
        |error: io::Error| OpError::new(kind, format!("cannot notify the client: {error}"));
    let doorbell = Doorbell::hang(context.cancel_token()).map_err(failed)?;
    let said = json!([doorbell.path(), test, argument]).to_string();
    context.feedback_of(FeedbackKind::JqueueTest, &said);
    let came = doorbell.wait(CONNECT_PATIENCE).map_err(failed)?;
    in_time(came, "Client didn't connect in time", kind)?;
    let left = doorbell.wait_for_reply(CONFIRM_PATIENCE).map_err(failed)?;
    in_time(left, "Client failed to confirm notification", kind)
}

fn in_time(rung: Rung, otherwise: &str, kind: OpErrorKind) -> Result<(), OpError> {
    match rung {
        Rung::ByClient => Ok(()),
        Rung::Canceled => Err(OpError::new(OpErrorKind::Canceled, "the test was cancelled")),
        Rung::TimeIsUp => Err(OpError::new(kind, format!("{otherwise} (timed out)"))),
    }
}
