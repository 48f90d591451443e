//! Jobs that are submitted by a job, and wait for each other.
//!
//! Evacuating a node finds out which instances it has, and has each of them migrated by a job of
//! its own; a last job powers the node off when all of these have succeeded. The jobs come
//! together with the end of the opcode: a crash leaves all of them, or none. Run it with
//! `cargo run --example chained`.

use std::error::Error;
use std::io::Write;

use lockmaster::{
    Context, DeclaredLocks, Dependency, JobId, LogicalUnit, Master, NewJob, OpError, TypedOp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize, Deserialize)]
struct Evacuate {
    node: String,
}

impl TypedOp for Evacuate {
    const ID: &'static str = "OP_EVACUATE";
}

impl LogicalUnit for Evacuate {
    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        if level == "node" { locks.exclusive(&self.node) } else { Ok(()) }
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        let node = &self.node;
        let mut off = PowerOff { node: node.clone() }.opcode()?;
        for instance in ["web1", "db1"] {
            let migrate = Migrate { instance: instance.to_owned() }.opcode()?;
            let job = NewJob::of([migrate]).labelled(format!("migrate {instance}"));
            // A job has no number before this opcode has ended; others name it by its place.
            off = off.after(Dependency::success(context.submit_with_end(job)));
        }
        context.submit_with_end(NewJob::of([off]).labelled(format!("power {node} off")));
        Ok(json!({ "instances": 2 }))
    }
}

#[derive(Serialize, Deserialize)]
struct Migrate {
    instance: String,
}

impl TypedOp for Migrate {
    const ID: &'static str = "OP_MIGRATE";
}

impl LogicalUnit for Migrate {
    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        if level == "instance" { locks.exclusive(&self.instance) } else { Ok(()) }
    }

    fn execute(&mut self, _: &Context) -> Result<Value, OpError> {
        Ok(Value::Null)
    }
}

#[derive(Serialize, Deserialize)]
struct PowerOff {
    node: String,
}

impl TypedOp for PowerOff {
    const ID: &'static str = "OP_POWER_OFF";
}

impl LogicalUnit for PowerOff {
    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        if level == "node" { locks.exclusive(&self.node) } else { Ok(()) }
    }

    fn execute(&mut self, _: &Context) -> Result<Value, OpError> {
        Ok(Value::Null)
    }
}

/// Prints what it shows.
pub(crate) fn show(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let builder = Master::builder("unused").volatile();
    let master = builder.unit::<Evacuate>().unit::<Migrate>().unit::<PowerOff>().start()?;
    let evacuate = Evacuate { node: "node1".to_owned() }.opcode()?;
    let first = master.submit_one(NewJob::of([evacuate]).labelled("evacuate node1"))?;
    // Never wait inside the opcode: it holds locks that its jobs may need. Clients may.
    let view = master.wait(first)?;
    writeln!(out, "job 1 ({}): {}", view.job.name(), view.status)?;
    for id in [2, 3, 4].into_iter().filter_map(JobId::new) {
        let view = master.wait(id)?;
        let waited = view.job.ops[0].opcode.depends.len();
        writeln!(out, "job {id} ({}): {}, after {waited} jobs", view.job.name(), view.status)?;
    }
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    show(&mut std::io::stdout())
}
