//! Levels of locks of one's own: pools before volumes.
//!
//! Locks are taken level by level, so what a lower level protects can be looked at before the next
//! is asked for: here, which volumes a pool has. Run it with `cargo run --example levels`.

use std::error::Error;
use std::io::Write;

use lockmaster::{
    Context, DeclaredLocks, Hierarchy, LockMode, LogicalUnit, Master, NewJob, OpError, TypedOp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What stands in for the storage: which volumes a pool has. Its pool's lock protects the list.
fn volumes_of(pool: &str) -> Vec<String> {
    ["web", "db"].iter().map(|volume| format!("{pool}/{volume}")).collect()
}

/// Takes a snapshot of every volume of a pool.
#[derive(Serialize, Deserialize)]
struct SnapshotPool {
    pool: String,
}

impl TypedOp for SnapshotPool {
    const ID: &'static str = "OP_SNAPSHOT_POOL";
}

impl LogicalUnit for SnapshotPool {
    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        match level {
            // Shared: others may use the pool, but nobody may add volumes or remove them.
            "pool" => locks.shared(&self.pool),
            // The pool is held by now, so this list stays as it is.
            "volume" => {
                volumes_of(&self.pool).iter().try_for_each(|volume| locks.exclusive(volume))
            }
            _ => Ok(()),
        }
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        let held = context.held();
        let names = held.levels().flat_map(|(_, locks)| locks.names());
        let held: Vec<String> = names
            .map(|(name, mode)| match mode {
                LockMode::Shared => format!("{name} (shared)"),
                LockMode::Exclusive => name.to_string(),
            })
            .collect();
        context.feedback(&format!("holding {}", held.join(", ")));
        Ok(json!(volumes_of(&self.pool).len()))
    }
}

/// Prints what it shows.
pub(crate) fn show(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    // There is no big lock here: nothing is common to all of these opcodes.
    let hierarchy = Hierarchy::builder().level("pool").level("volume").build()?;
    writeln!(out, "levels: {hierarchy}")?;
    let master =
        Master::builder("unused").volatile().hierarchy(hierarchy).unit::<SnapshotPool>().start()?;
    let snapshot = SnapshotPool { pool: "tank".to_owned() };
    let id = master.submit_one(NewJob::of([snapshot.opcode()?]))?;
    let view = master.wait(id)?;
    view.job.feedback.entries().try_for_each(|entry| writeln!(out, "{}", entry.text))?;
    writeln!(out, "job {id}: {}", view.status)?;
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    show(&mut std::io::stdout())
}
