//! A configuration that jobs change and nodes get: writes, a conflict, a node that fails.
//!
//! The nodes are directories here; `CommandDistributor` reaches them by ssh. Run it with
//! `cargo run --example config`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lockmaster::runtime::{ConditionalUpdate, ConfigOptions, Directories};
use lockmaster::vocabulary::Outcome;
use lockmaster::{
    Context, DeclaredLocks, Error, LogicalUnit, Master, NewJob, OpError, Status, TypedOp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Gives a volume to an instance, with an address of its own.
#[derive(Serialize, Deserialize)]
struct Attach {
    volume: String,
    instance: String,
}

impl TypedOp for Attach {
    const ID: &'static str = "OP_ATTACH";
}

impl LogicalUnit for Attach {
    /// None: between the calls of a workflow nobody holds a lock, so the status is what counts.
    fn declare_locks(&mut self, _: &str, _: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        Ok(())
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        let config = context.config();
        // Chosen here, written below; free again should the job fail in between.
        let addresses = (2..255).map(|number| format!("192.0.2.{number}"));
        let in_use = |now: &lockmaster::runtime::ConfigSnapshot, address: &str| {
            let volumes = now.value["volumes"].as_object().into_iter().flatten();
            volumes.into_iter().any(|(_, volume)| volume["address"] == address)
        };
        let address = config.reserve_first(context.job(), "address", addresses, in_use)?;
        let place = format!("/volumes/{}", self.volume);
        let attach = ConditionalUpdate::new()
            .expect(&format!("{place}/status"), json!("available"))
            .set(&format!("{place}/status"), json!("in-use"))
            .set(&format!("{place}/instance"), json!(self.instance))
            .set(&format!("{place}/address"), json!(address));
        Ok(json!({ "version": config.update_where(attach)?.version, "address": address }))
    }
}

/// The nodes that the configuration goes to are in the configuration.
fn nodes(value: &Value) -> BTreeSet<String> {
    value["nodes"].as_object().into_iter().flat_map(|nodes| nodes.keys().cloned()).collect()
}

/// What is never to be written.
fn verify(next: &Value) -> Result<(), Error> {
    match nodes(next).len() {
        0 => Err(Error::invalid("a configuration without nodes is a mistake")),
        _ => Ok(()),
    }
}

fn start(state: &Path, mounted: &Path) -> Result<Master, Error> {
    let options = ConfigOptions::new()
        .objects_in("/nodes")
        .objects_in("/volumes")
        .verify(|_, next| verify(next))
        .distribute(Directories::below(mounted, "config.json"), nodes)
        .retry_after(Duration::from_millis(10), Duration::from_secs(1));
    Master::builder(state).unit::<Attach>().config_options(options).start()
}

fn run(state: &Path, mounted: &Path) -> Result<(), Error> {
    let master = start(state, mounted)?;
    let config = master.config();

    let first = json!({
        "nodes": { "node1": {}, "node2": {} },
        "volumes": { "v1": { "status": "available" } },
    });
    let version = config.update_where(ConditionalUpdate::new().set("", first))?.version;
    for state in config.first_round(version)? {
        println!("version {version} did not reach {}: {}", state.node, shown(state.error.as_ref()));
    }

    // Two who want one volume: one gets it, the other learns what is there instead.
    let attach = |instance: &str| Attach { volume: "v1".into(), instance: instance.into() };
    let jobs = [attach("web1").opcode()?, attach("web2").opcode()?];
    let ids = master.submit(jobs.map(|opcode| NewJob::of([opcode])).into())?;
    let mut ended = Vec::new();
    for id in ids {
        let view = master.wait(id)?;
        match view.job.ops[0].outcome() {
            Some(Outcome::Error(error)) => println!("job {id} failed: {error}"),
            other => println!("job {id}: {other:?}"),
        }
        ended.push(view.status);
    }
    ended.sort_by_key(|status| *status == Status::Error);
    assert_eq!(ended, [Status::Success, Status::Error]);
    assert_eq!(config.reservations(), [], "what a job reserved ends with it");

    // Somebody read version 1, and writes what follows from that: too late.
    let Err(late) = config.update(Some(version), |_| Ok(())) else {
        return Err(Error::invalid("nobody's update may be lost"));
    };
    println!("a late writer: {late}");
    let Err(mistake) = config.update_where(ConditionalUpdate::new().set("/nodes", json!({})))
    else {
        return Err(Error::invalid("the verification was not asked"));
    };
    println!("a mistaken writer: {mistake}");

    // The second node comes back, and is found by the next attempt.
    std::fs::create_dir(mounted.join("node2"))
        .map_err(|error| Error::io("cannot make the directory of node2", error))?;
    config.flush(None)?;
    for state in config.nodes() {
        println!("{} has version {}", state.node, state.has.unwrap_or_default());
    }
    Ok(())
}

fn shown(error: Option<&String>) -> &str {
    error.map_or("nobody knows why", String::as_str)
}

pub(crate) fn main() -> Result<(), Error> {
    let place = std::env::temp_dir().join(format!("lockmaster-config-{}", std::process::id()));
    let mounted = place.join("nodes");
    let io = |error| Error::io(format!("{}", place.display()), error);
    std::fs::create_dir_all(mounted.join("node1")).map_err(io)?;
    run(&place.join("state"), &mounted)?;
    std::fs::remove_dir_all(&place).map_err(io)
}
