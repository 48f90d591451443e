//! Two logical units that share locks, embedded in a program of their own.
//!
//! Backups share a node, so they run side by side; maintenance takes the node alone, so it waits
//! for them, and its failure is taken back. Run it with `cargo run --example embed`.

use std::time::Duration;

use lockmaster::{Context, DeclaredLocks, Error, LogicalUnit, Master, NewJob, OpError, TypedOp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Copies an instance away from its node.
#[derive(Serialize, Deserialize)]
struct Backup {
    instance: String,
    node: String,
}

impl TypedOp for Backup {
    const ID: &'static str = "OP_BACKUP";
}

impl LogicalUnit for Backup {
    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        match level {
            "instance" => locks.exclusive(&self.instance),
            "node" => locks.shared(&self.node),
            _ => Ok(()),
        }
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        context.feedback(&format!("copying {} off {}", self.instance, self.node));
        // Real work would look at the token now and then; so does this sleep.
        if context.cancel_token().wait_timeout(Duration::from_millis(200)) {
            return Err(OpError::exec("interrupted"));
        }
        Ok(json!({ "bytes": 4096 }))
    }
}

/// Moves a node to a new kernel, and back where that fails.
#[derive(Serialize, Deserialize)]
struct Upgrade {
    node: String,
}

impl TypedOp for Upgrade {
    const ID: &'static str = "OP_UPGRADE";
}

impl LogicalUnit for Upgrade {
    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        if level == "node" { locks.exclusive(&self.node) } else { Ok(()) }
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        context.feedback(&format!("{} is empty; upgrading", self.node));
        Err(OpError::exec("the new kernel does not boot"))
    }

    fn can_undo(&self) -> bool {
        true
    }

    fn undo(&mut self, context: &Context) -> Result<(), OpError> {
        context.feedback(&format!("{} is back on the old kernel", self.node));
        Ok(())
    }
}

fn main() -> Result<(), Error> {
    let state_dir = std::env::temp_dir().join(format!("lockmaster-embed-{}", std::process::id()));
    let master = Master::builder(&state_dir).unit::<Backup>().unit::<Upgrade>().start()?;
    let backup = |instance: &str| Backup { instance: instance.into(), node: "node1".into() };
    let upgrade = Upgrade { node: "node1".into() };
    let ids = master.submit(vec![
        NewJob::of([backup("web1").opcode()?]).labelled("backup of web1"),
        NewJob::of([backup("web2").opcode()?]).labelled("backup of web2"),
        NewJob::of([upgrade.opcode()?]).labelled("upgrade of node1"),
    ])?;
    for id in ids {
        let view = master.wait(id)?;
        println!("{}: {}", view.job.name(), view.status);
        view.job.feedback.entries().for_each(|entry| println!("  {}", entry.text));
    }
    drop(master);
    std::fs::remove_dir_all(&state_dir)
        .map_err(|error| Error::io(format!("cannot remove {}", state_dir.display()), error))
}
