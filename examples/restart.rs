//! A master that is stopped in the middle of a job, and the next one, which goes on with it.
//!
//! Opcodes that have ended are never run again. What becomes of the one that was executing is for
//! its unit to say: this one may be repeated, so it is. (A kill has the same effect as this
//! shutdown: try `kill -9` on a program of your own.) Run it with `cargo run --example restart`.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use lockmaster::{
    Context, CrashPolicy, DeclaredLocks, LogicalUnit, Master, NewJob, OpError, Shutdown, TypedOp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Copies something; the first time, the second part takes longer than its master lives.
#[derive(Serialize, Deserialize)]
struct Copy {
    part: u32,
    /// A file that is there once the second part has begun.
    begun: PathBuf,
}

impl TypedOp for Copy {
    const ID: &'static str = "OP_COPY";
}

impl LogicalUnit for Copy {
    fn declare_locks(&mut self, _: &str, _: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        Ok(())
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        context.feedback(&format!("part {}", self.part));
        if self.part == 2 && File::create_new(&self.begun).is_ok() {
            let why = context.cancel_token().wait();
            return Err(OpError::exec(format!("stopped: {why:?}")));
        }
        Ok(Value::Null)
    }

    fn on_crash(&self) -> CrashPolicy {
        CrashPolicy::Retry
    }
}

fn master(state: &Path) -> Result<Master, lockmaster::Error> {
    Master::builder(state).unit::<Copy>().start()
}

/// Prints what it shows; the jobs are kept in `state`.
pub(crate) fn show(state: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let first = master(state)?;
    let copy = |part| Copy { part, begun: state.join("begun") }.opcode();
    let id = first.submit_one(NewJob::of([copy(1)?, copy(2)?, copy(3)?]))?;
    // Until the second part has begun.
    loop {
        let (sender, changed) = mpsc::channel();
        first.on_change(id, move || _ = sender.send(()));
        let said = first.job(id).map_or(0, |job| job.value.job.feedback.entries().count());
        if said == 2 {
            break;
        }
        changed.recv()?;
    }
    first.shutdown(Shutdown::Now, None)?;
    writeln!(out, "the first master has stopped")?;

    let second = master(state)?;
    let view = second.wait(id)?;
    view.job.feedback.entries().try_for_each(|entry| writeln!(out, "{}", entry.text))?;
    writeln!(out, "job {id}: {}", view.status)?;
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let state = std::env::temp_dir().join(format!("lockmaster-restart-{}", std::process::id()));
    show(&state, &mut std::io::stdout())?;
    Ok(std::fs::remove_dir_all(state)?)
}
