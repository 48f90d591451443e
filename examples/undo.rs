//! A job that fails and is taken back, step by step, the last first.
//!
//! Which undos are to run, and which have, is durable: a master that is killed in the middle goes
//! on with the one that was due. So an undo has to cope with work half done, and with being run
//! twice. Run it with `cargo run --example undo`.

use std::error::Error;
use std::io::Write;

use lockmaster::vocabulary::{Outcome, UndoState};
use lockmaster::{Context, DeclaredLocks, LogicalUnit, Master, NewJob, OpError, TypedOp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One step of attaching a volume.
#[derive(Serialize, Deserialize)]
struct Step {
    volume: String,
    does: String,
    fails: bool,
}

impl TypedOp for Step {
    const ID: &'static str = "OP_STEP";
}

impl LogicalUnit for Step {
    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        if level == "instance" { locks.exclusive(&self.volume) } else { Ok(()) }
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        context.feedback(&self.does);
        if self.fails {
            Err(OpError::exec("the host does not see the device"))
        } else {
            Ok(Value::Null)
        }
    }

    fn can_undo(&self) -> bool {
        true
    }

    /// Runs under the same locks: still held by the opcode that failed, taken again for those
    /// before it.
    fn undo(&mut self, context: &Context) -> Result<(), OpError> {
        context.feedback(&format!("take back: {}", self.does));
        Ok(())
    }
}

/// Prints what it shows.
pub(crate) fn show(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let master = Master::builder("unused").volatile().unit::<Step>().start()?;
    let step =
        |does: &str, fails| Step { volume: "vol7".into(), does: does.into(), fails }.opcode();
    let id = master.submit_one(NewJob::of([
        step("reserve the volume", false)?,
        step("export it to the host", false)?,
        step("attach it", true)?,
        step("publish it", false)?,
    ]))?;
    let job = master.wait(id)?.job;
    job.feedback.entries().try_for_each(|entry| writeln!(out, "{}", entry.text))?;
    for op in &job.ops {
        let how = match op.outcome() {
            Some(Outcome::Error(error)) => format!("error: {error}"),
            Some(outcome) => outcome.status().to_string(),
            None => String::new(),
        };
        let undone = if op.undo == UndoState::Done { ", undone" } else { "" };
        writeln!(out, "opcode: {how}{undone}")?;
    }
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    show(&mut std::io::stdout())
}
