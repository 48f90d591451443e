//! Attaching volumes: as six calls between which the status is the lock, and as jobs.
//!
//! Shows two who look at the status and then write it, and both get the volume; the same with an
//! update that has a condition; a reservation that expires; who may take away what is used; and a
//! job that fails in its middle and is taken back. Run it with `cargo run --example attach_detach`.

#[path = "attach_detach/backend.rs"]
pub(crate) mod backend;
#[path = "attach_detach/calls.rs"]
pub(crate) mod calls;
#[path = "attach_detach/expiry.rs"]
pub(crate) mod expiry;
#[path = "attach_detach/guard.rs"]
pub(crate) mod guard;
#[path = "attach_detach/jobs.rs"]
pub(crate) mod jobs;

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use backend::Backend;
use calls::{Connector, Volume, new_volume};
use guard::Caller;
use jobs::Subject;
use lockmaster::runtime::{ConditionalUpdate, ConfigWriter};
use lockmaster::vocabulary::Outcome;
use lockmaster::{Hierarchy, Master, MasterBuilder};
use serde_json::json;

/// A master for volumes.
pub(crate) fn builder(state: &Path) -> Result<MasterBuilder, lockmaster::Error> {
    let hierarchy = Hierarchy::builder().level("volume").build()?;
    Ok(Master::builder(state)
        .hierarchy(hierarchy)
        .unit::<jobs::Reserve>()
        .unit::<jobs::Initialize>()
        .unit::<jobs::Attach>()
        .unit::<jobs::BeginDetaching>()
        .unit::<jobs::Terminate>()
        .unit::<jobs::Detach>()
        .unit::<jobs::Delete>()
        .unit::<jobs::Recover>()
        .unit::<expiry::Expire>())
}

/// Starts one.
pub(crate) fn start(state: &Path) -> Result<Master, lockmaster::Error> {
    builder(state)?.start()
}

/// Makes a volume that nobody uses.
pub(crate) fn make(config: &ConfigWriter, name: &str) -> Result<(), lockmaster::Error> {
    let mut make = ConditionalUpdate::new();
    if config.read().value["volumes"].is_null() {
        make = make.set("/volumes", json!({}));
    }
    config.update_where(make.set(&format!("/volumes/{name}"), new_volume()))?;
    Ok(())
}

/// Two that look, and then write: how many think that they have it.
fn unconditional(config: &ConfigWriter) -> usize {
    let both_have_looked = Barrier::new(2);
    let reserve = || {
        let free = config.read().value["volumes"]["v1"]["status"] == "available";
        both_have_looked.wait();
        let attaching = ConditionalUpdate::new().set("/volumes/v1/status", json!("attaching"));
        free && config.update_where(attaching).is_ok()
    };
    in_two_threads(reserve)
}

/// The same, with the condition that nothing has changed.
fn conditional(volume: &Volume<'_>) -> usize {
    let both_come = Barrier::new(2);
    in_two_threads(|| {
        both_come.wait();
        volume.reserve("somebody", 0).is_ok()
    })
}

fn in_two_threads(body: impl Fn() -> bool + Sync) -> usize {
    thread::scope(|scope| {
        let threads = [scope.spawn(&body), scope.spawn(&body)];
        threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|got| *got).count()
    })
}

/// The calls behind the first, as somebody makes them who is not the master.
fn six_calls(volume: &Volume<'_>, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let mut seen = vec![volume.status()];
    let web1 = Connector::new("web1", "host1");
    volume.initialize(&web1)?;
    volume.backend.connect(volume.name)?;
    volume.attach(&web1)?;
    seen.push(volume.status());
    volume.begin_detaching()?;
    seen.push(volume.status());
    volume.terminate()?;
    volume.detach(Some("web1"))?;
    seen.push(volume.status());
    writeln!(out, "six calls: {}", seen.join(", "))?;
    Ok(())
}

/// Somebody reserves a volume and is not heard of again; somebody else asks for what is used.
fn left_alone(
    master: &Master,
    volume: &Volume<'_>,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let expiry = expiry::reserve_for(master, volume, ("web9", 1), Duration::from_secs(1))?;
    let before = volume.status();
    master.wait(expiry)?;
    writeln!(out, "a reservation nobody uses: {before}, then {}", volume.status())?;
    volume.reserve("web1", 2)?;
    volume.initialize(&Connector::new("web1", "host1"))?;
    volume.attach(&Connector::new("web1", "host1"))?;
    volume.begin_detaching()?;
    let uses = |instance: &str| Some(instance.to_owned());
    for (who, caller) in [("a user", Caller::User(&uses)), ("the service", Caller::Service)] {
        let ended = volume.terminate_for(caller, None);
        let ended = ended.map_or_else(|failed| failed.to_string(), |()| "done".to_owned());
        writeln!(out, "{who} takes away what web1 uses: {ended}")?;
    }
    volume.detach(None)?;
    Ok(())
}

/// Prints what it shows, with that directory for its files.
pub(crate) fn show(directory: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(directory)?;
    let (master, backend) = (start(&directory.join("state"))?, Backend::new(directory));
    let config = master.config();
    let volume = Volume { config, backend: &backend, name: "v1" };
    make(config, "v1")?;
    writeln!(out, "looking, then writing: {} of 2 have it", unconditional(config))?;
    make(config, "v1")?;
    writeln!(out, "writing if it is as expected: {} of 2 have it", conditional(&volume))?;
    six_calls(&volume, out)?;
    left_alone(&master, &volume, out)?;
    backend.fail("connect", "v1")?;
    let subject = Subject::new("v1", "web1", &backend);
    for new in [jobs::attach(&subject)?, jobs::attach(&subject)?, jobs::detach(&subject)?] {
        let id = master.submit_one(new)?;
        let view = master.wait(id)?;
        writeln!(out, "job {id}: {}; the volume is {}", view.status, volume.status())?;
        for op in &view.job.ops {
            if let Some(Outcome::Error(error)) = op.outcome() {
                writeln!(out, "  {error}")?;
            }
        }
    }
    writeln!(out, "calls: {}", backend.log("v1")?.join(", "))?;
    writeln!(out, "exported, mapped, connected: {:?}", backend.of("v1")?)?;
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let place = std::env::temp_dir().join(format!("lockmaster-attach-{}", std::process::id()));
    show(&place, &mut std::io::stdout())?;
    Ok(std::fs::remove_dir_all(&place)?)
}
