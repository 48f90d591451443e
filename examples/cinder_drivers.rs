//! The locks of Cinder's drivers: each critical section raced without its lock, then with it.
//!
//! The drivers' table of locks is levels and templates of names here. The arrays are not there:
//! what stands in for them is a set of things and a list of what went wrong. Every race has two
//! callers. The first stops in the middle of its critical section until the second has either been
//! through the same section or been refused its lock. Run it with
//! `cargo run --example cinder_drivers`.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use lockmaster::interfaces::lock_spec::LockSpec;
use lockmaster::runtime::{GlobalLocks, LockDir, LockOptions, Locks};
use lockmaster::vocabulary::Scope;
use lockmaster::{Error, ErrorKind, Hierarchy};
use serde_json::{Map, Value, json};

/// The levels, in the order in which real stacks nest them. The reach of a level is no part of
/// the order: the lock of a process is taken before those of the arrays it then calls.
pub(crate) fn hierarchy() -> Result<Hierarchy, Error> {
    Hierarchy::builder()
        .scoped_level("volume", Scope::Global)
        .scoped_level("snapshot", Scope::Global)
        .scoped_level("image", Scope::Global)
        .scoped_level("driver-process", Scope::Process)
        .scoped_level("backend-map", Scope::Global)
        .reentrant()
        .scoped_level("backend-host", Scope::Global)
        .reentrant()
        .scoped_level("backend-api", Scope::Global)
        .reentrant()
        .scoped_level("node-tool", Scope::Node)
        .build()
}

/// The locks of a node. There is no daemon here, so what is global reaches as far as the
/// directory: as with Cinder's default, but said.
pub(crate) fn locks(directory: &Path) -> Result<Locks, Error> {
    let dir = LockDir::open(directory)?;
    Ok(Locks::builder(hierarchy()?).dir(dir).global(GlobalLocks::OnThisNode).open())
}

/// A critical section of a driver: a row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Section {
    pub(crate) driver: &'static str,
    pub(crate) method: &'static str,
    pub(crate) level: &'static str,
    pub(crate) template: &'static str,
    critical: fn(&Array, &Caller<'_>) -> Result<(), Error>,
}

/// The table: where the locks are, and what they are called.
pub(crate) const SECTIONS: [Section; 11] = [
    section("LIO", "_execute", "node-tool", "lioadm", run_the_tool),
    section("NVMET", "delete_nvmeof_target", "node-tool", "nvmetcli", last_namespace),
    section("HGST", "create_volume", "driver-process", "cinder-hgst-devices", free_device),
    section("SolidFire", "clone_image", "driver-process", "solidfire-{image_id}", template_volume),
    section(
        "Infinidat",
        "terminate_connection",
        "backend-map",
        "infinidat-{self.management_address}-lock",
        last_mapping,
    ),
    section("Kaminario FC", "initialize_connection", "backend-map", KAMINARIO, swapped_client),
    section("Kaminario iSCSI", "terminate_connection", "backend-map", KAMINARIO, swapped_client),
    section("Dell Unity", "create_host", "backend-host", "{self.host}-{name}", create_host),
    section(
        "Dell Unity",
        "_detach_and_delete_host",
        "backend-host",
        "{client.host}-{host_name}",
        last_lun,
    ),
    section("Dothill", "_get_session_key", "backend-api", DOTHILL, log_in),
    section("Dothill", "map_volume", "backend-map", "{driver_name}-{array_name}-map", next_lun),
];

const KAMINARIO: &str = "Kaminario-{san_ip}";
const DOTHILL: &str = "{driver_name}-{array_name}";

const fn section(
    driver: &'static str,
    method: &'static str,
    level: &'static str,
    template: &'static str,
    critical: fn(&Array, &Caller<'_>) -> Result<(), Error>,
) -> Section {
    Section { driver, method, level, template, critical }
}

impl Section {
    /// The lock of the section, as a template.
    pub(crate) fn spec(&self) -> Result<LockSpec, Error> {
        LockSpec::new().exclusive(self.level, self.template)
    }

    fn enter(&self, array: &Array, caller: &Caller<'_>, options: LockOptions) -> Result<(), Error> {
        caller.under(&self.spec()?, options, || (self.critical)(array, caller))
    }
}

/// What the calls are made with: the fields of the templates.
pub(crate) fn fields() -> Map<String, Value> {
    let fields = json!({
        "self": {"management_address": "10.0.0.9", "host": "U1"}, "client": {"host": "U1"},
        "name": "h1", "host_name": "h1", "driver_name": "lenovo", "array_name": "a1",
        "san_ip": "10.0.0.7", "image_id": "i1",
    });
    fields.as_object().cloned().unwrap_or_default()
}

/// What stands in for an array, or for the tools of a node.
#[derive(Debug, Default)]
pub(crate) struct Array {
    things: Mutex<BTreeSet<String>>,
    faults: Mutex<Vec<String>>,
}

fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Array {
    /// Whether it was not there before.
    fn add(&self, thing: &str) -> bool {
        open(&self.things).insert(thing.to_owned())
    }

    fn remove(&self, thing: &str) {
        open(&self.things).remove(thing);
    }

    fn has(&self, thing: &str) -> bool {
        open(&self.things).contains(thing)
    }

    fn all(&self, prefix: &str) -> Vec<String> {
        let things = open(&self.things);
        things.iter().filter(|thing| thing.starts_with(prefix)).cloned().collect()
    }

    fn fault(&self, what: impl Into<String>) {
        open(&self.faults).push(what.into());
    }
}

/// One of two who call at the same time.
pub(crate) struct Caller<'a> {
    first: bool,
    locks: Option<&'a Locks>,
    /// Where the first stops in its critical section.
    cut: &'a dyn Fn(),
}

impl Caller<'_> {
    /// Under a lock of its own, inside the one of the section; or not, if there are none.
    fn under(
        &self,
        spec: &LockSpec,
        options: LockOptions,
        body: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self.locks {
            Some(locks) => spec.with(locks, &fields(), options, |_| body())?,
            None => body(),
        }
    }
}

fn run_the_tool(array: &Array, caller: &Caller<'_>) -> Result<(), Error> {
    if !array.add("cinder-rtstool") {
        array.fault("cinder-rtstool runs twice at a time");
    }
    (caller.cut)();
    array.remove("cinder-rtstool");
    Ok(())
}

/// The first takes its namespace away, and the subsystem if that was the last; the second adds one.
fn last_namespace(array: &Array, caller: &Caller<'_>) -> Result<(), Error> {
    last_out(array, caller, ["subsystem s1", "namespace"]);
    Ok(())
}

fn last_mapping(array: &Array, caller: &Caller<'_>) -> Result<(), Error> {
    last_out(array, caller, ["host h1", "mapping"]);
    Ok(())
}

/// Attaching creates the host, which takes the same lock again: one function, with no twin that
/// does not lock.
fn last_lun(array: &Array, caller: &Caller<'_>) -> Result<(), Error> {
    if caller.first {
        last_out(array, caller, ["host h1", "LUN"]);
        return Ok(());
    }
    let host = LockSpec::new().exclusive("backend-host", "{self.host}-{name}")?;
    caller.under(&host, LockOptions::default(), || create_host(array, caller))?;
    array.add("LUN 2");
    Ok(())
}

/// Whoever removes the last of a container removes the container, and all that is in it.
fn last_out(array: &Array, caller: &Caller<'_>, [container, part]: [&str; 2]) {
    if !caller.first {
        array.add(container);
        array.add(&format!("{part} 2"));
        return;
    }
    if array.all(part).is_empty() {
        (caller.cut)();
        for lost in array.all(part) {
            array.fault(format!("{lost} went with {container}"));
        }
        array.remove(container);
    }
}

/// The first free device is looked for, then taken.
fn free_device(array: &Array, caller: &Caller<'_>) -> Result<(), Error> {
    let device = (0..).map(|number| format!("device {number}")).find(|name| !array.has(name));
    (caller.cut)();
    take(array, &device.unwrap_or_default());
    Ok(())
}

fn take(array: &Array, thing: &str) {
    if !array.add(thing) {
        array.fault(format!("{thing} was given away twice"));
    }
}

fn template_volume(array: &Array, caller: &Caller<'_>) -> Result<(), Error> {
    create_once(array, caller, "template volume of i1");
    Ok(())
}

fn create_host(array: &Array, caller: &Caller<'_>) -> Result<(), Error> {
    create_once(array, caller, "host h1");
    Ok(())
}

/// A second login ends the session of the first.
fn log_in(array: &Array, caller: &Caller<'_>) -> Result<(), Error> {
    create_once(array, caller, "session");
    Ok(())
}

fn create_once(array: &Array, caller: &Caller<'_>, thing: &str) {
    if array.has(thing) {
        return;
    }
    (caller.cut)();
    if !array.add(thing) {
        array.fault(format!("{thing} was created twice"));
    }
}

/// The first turns the driver's client to the replica for a while; the second just uses it.
fn swapped_client(array: &Array, caller: &Caller<'_>) -> Result<(), Error> {
    if caller.first {
        array.add("client of the replica");
        (caller.cut)();
        array.remove("client of the replica");
    } else if array.has("client of the replica") {
        array.fault("what was for the array went to its replica");
    }
    Ok(())
}

/// Three requests, each of which takes the lock of the session, under the lock of the mapping.
fn next_lun(array: &Array, caller: &Caller<'_>) -> Result<(), Error> {
    let request = LockSpec::new().exclusive("backend-api", DOTHILL)?;
    let mut used = Vec::new();
    caller.under(&request, LockOptions::default(), || {
        used = array.all("LUN");
        Ok(())
    })?;
    let lun = format!("LUN {}", used.len() + 1);
    (caller.cut)();
    caller.under(&request, LockOptions::default(), || {
        take(array, &lun);
        Ok(())
    })?;
    caller.under(&request, LockOptions::default(), || {
        array.add("mapped");
        Ok(())
    })
}

/// How a race went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What went wrong on the array.
    pub(crate) faults: Vec<String>,
    /// Why the second had to wait, if it had to.
    pub(crate) refused: Option<String>,
}

/// Two callers in one section, with those locks or without any.
pub(crate) fn race(section: &Section, locks: Option<&Locks>) -> Result<Outcome, Error> {
    let array = &Array::default();
    let ((begin, begun), (tell, told)) = (channel(), channel());
    let refused = Mutex::new(None);
    thread::scope(|scope| {
        let second = scope.spawn(move || second(section, array, locks, &begun, &tell));
        let cut = || {
            // A second caller that has failed says so itself.
            _ = begin.send(());
            *open(&refused) = told.recv().ok().flatten();
        };
        let caller = Caller { first: true, locks, cut: &cut };
        let first = section.enter(array, &caller, LockOptions::default());
        drop(begin);
        first.and(second.join().unwrap_or_else(|_| Err(Error::invalid("the second panicked"))))
    })?;
    let faults = open(&array.faults).clone();
    Ok(Outcome { faults, refused: refused.into_inner().unwrap_or_default() })
}

/// Tries, tells the first how that went, and then waits for its turn.
fn second(
    section: &Section,
    array: &Array,
    locks: Option<&Locks>,
    begun: &Receiver<()>,
    tell: &Sender<Option<String>>,
) -> Result<(), Error> {
    if begun.recv().is_err() {
        return Ok(());
    }
    let caller = Caller { first: false, locks, cut: &|| () };
    match section.enter(array, &caller, LockOptions::asap()) {
        Err(error) if error.kind() == ErrorKind::InUse => {
            drop(tell.send(Some(error.to_string())));
            section.enter(array, &caller, LockOptions::default())
        }
        ended => {
            drop(tell.send(None));
            ended
        }
    }
}

/// Prints what it shows.
pub(crate) fn show(out: &mut dyn Write) -> Result<(), Box<dyn StdError>> {
    let directory = std::env::temp_dir().join(format!("cinder-drivers-{}", std::process::id()));
    let locks = locks(&directory)?;
    for section in &SECTIONS {
        let Section { driver, method, level, template, .. } = section;
        writeln!(out, "{driver} {method}: {level}/{template}")?;
        let without = race(section, None)?;
        writeln!(out, "  without: {}", without.faults.join(", "))?;
        let with = race(section, Some(&locks))?;
        let well = if with.faults.is_empty() { "nothing went wrong" } else { "it went wrong" };
        let refused = with.refused.as_deref().unwrap_or("nobody had to wait");
        // Who is in the way is a number that differs from run to run.
        writeln!(out, "  with:    {}; {well}", refused.split(':').next().unwrap_or_default())?;
    }
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn StdError>> {
    show(&mut std::io::stdout())
}
