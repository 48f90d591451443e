//! Volumes that share a target: attaching and detaching raced without the guard, then with it.
//!
//! A host logs into a target once for all volumes of a backend, and out with the last. Whoever
//! finds no other device and then logs out takes along the device that came in between. What
//! stands in for a host is a directory: a session is a directory in it, a device a file in that.
//! Run it with `cargo run --example shared_targets`.

#[path = "shared_targets/host.rs"]
mod host;
#[path = "shared_targets/records.rs"]
mod records;

use std::error::Error as StdError;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;

use lockmaster::runtime::{GlobalLocks, LockDir, LockOptions, Locks};
use lockmaster::vocabulary::Scope;
use lockmaster::{Error, ErrorKind, Hierarchy};

pub(crate) use host::Host;
pub(crate) use records::{Arrays, Records, TargetSharing, Volume, backend_id};

/// The levels: a backend as it starts, volumes, and a backend's target on one node.
pub(crate) fn hierarchy() -> Result<Hierarchy, Error> {
    let builder = Hierarchy::builder().scoped_level("backend", Scope::Global);
    builder.scoped_level("volume", Scope::Global).scoped_level("backend-node", Scope::Node).build()
}

/// The locks of a node. There is no daemon here: what is global reaches as far as the directory.
pub(crate) fn locks(directory: &Path) -> Result<Locks, Error> {
    let dir = LockDir::open(directory)?;
    Ok(Locks::builder(hierarchy()?).dir(dir).global(GlobalLocks::OnThisNode).open())
}

/// Two at a time: the first stops in the middle until the second has either been through or been
/// refused its lock. Why the second had to wait, if it had to.
pub(crate) fn race(
    first: impl FnOnce(&dyn Fn(&str)) -> Result<(), Error>,
    second: impl Fn(LockOptions) -> Result<(), Error> + Send,
) -> Result<Option<String>, Error> {
    let ((begin, begun), (tell, told)) = (channel(), channel());
    let refused = Mutex::new(None);
    thread::scope(|scope| {
        let second =
            scope.spawn(move || match begun.recv().map(|()| second(LockOptions::asap())) {
                Ok(Err(error)) if error.kind() == ErrorKind::InUse => {
                    drop(tell.send(Some(error.to_string())));
                    second(LockOptions::default())
                }
                ended => {
                    drop(tell.send(None));
                    ended.unwrap_or(Ok(()))
                }
            });
        let ended = first(&|point| {
            if point != "looked" {
                return;
            }
            // A second that has failed says so itself.
            _ = begin.send(());
            let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
            *refused = told.recv().ok().flatten();
        });
        drop(begin);
        ended.and(second.join().unwrap_or_else(|_| Err(Error::invalid("the second panicked"))))
    })?;
    Ok(refused.into_inner().unwrap_or_default())
}

/// V-A is detached while V-B is attached. Why V-B had to wait, and whether it can be read.
pub(crate) fn detach_against_attach(
    one: &Host<'_>,
    other: &Host<'_>,
) -> Result<(Option<String>, bool), Error> {
    fs::create_dir_all(one.directory.join("a1")).map_err(|error| Error::io("begin", error))?;
    fs::write(one.device("a1", "V-A"), "").map_err(|error| Error::io("begin", error))?;
    let refused = race(
        |cut| one.detach("a1", "V-A", LockOptions::default(), cut),
        |options| other.attach("a1", "V-B", options, &|_| ()),
    )?;
    let reads = one.reads("a1", "V-B");
    fs::remove_dir_all(&one.directory).map_err(|error| Error::io("end", error))?;
    Ok((refused, reads))
}

fn show_race(
    out: &mut dyn Write,
    what: &str,
    backends: [&str; 2],
    locks: Option<&Locks>,
    directory: &Path,
) -> Result<(), Box<dyn StdError>> {
    let records = Records::default();
    for (id, backend) in ["V-A", "V-B"].into_iter().zip(backends) {
        if let Some(locks) = locks {
            records.start(locks, backend, None, 100, &mut || Ok(()))?;
        }
        records.put(Volume::new(id, backend, TargetSharing::default()))?;
    }
    let host =
        || Host { directory: directory.join("host"), manual_scan: false, locks, records: &records };
    let (refused, reads) = detach_against_attach(&host(), &host())?;
    let refused = refused.as_deref().and_then(|why| why.split(':').next());
    let reads = if reads { "V-B can be read" } else { "V-B is lost" };
    writeln!(out, "{what}: {}; {reads}", refused.unwrap_or("nobody waits"))?;
    Ok(())
}

fn show_start(out: &mut dyn Write, locks: &Locks) -> Result<(), Box<dyn StdError>> {
    let records = Records::default();
    let volume = |number| Volume::new(&format!("v{number}"), "b1", TargetSharing::Shared);
    records.put_all(&(0..250).map(volume).collect::<Vec<Volume>>())?;
    let own = TargetSharing::reported(Some(false), "iSCSI");
    let mut batches = 0;
    let mut crash = || {
        batches += 1;
        if batches == 2 {
            Err(Error::new(ErrorKind::Stopped, "crashed after 200 records"))
        } else {
            Ok(())
        }
    };
    let crashed = records.start(locks, "b1", Some(own), 100, &mut crash);
    let crashed = crashed.map_or_else(|error| error.to_string(), |_| "done".to_owned());
    writeln!(out, "start, targets not shared: {crashed}")?;
    let again = records.start(locks, "b1", Some(own), 100, &mut || Ok(()))?;
    writeln!(out, "start again: {again} records were left to change")?;
    let shared = TargetSharing::reported(None, "iSCSI");
    let back = records.start(locks, "b1", Some(shared), 100, &mut || Ok(()))?;
    writeln!(out, "start, nothing reported: {back} records changed back")?;
    writeln!(out, "{}", records.get("v7")?.view())?;
    Ok(())
}

fn show_terminate(out: &mut dyn Write, directory: &Path) -> Result<(), Box<dyn StdError>> {
    let records = Records::default();
    records.put(Volume::new("V-A", "b1", TargetSharing::default()))?;
    let directory = directory.join("host");
    let host = Host { directory, manual_scan: false, locks: None, records: &records };
    fs::create_dir_all(&host.directory)?;
    host.attach("a1", "V-A", LockOptions::default(), &|_| ())?;
    for (who, is_service) in [("a user", false), ("the service", true)] {
        let ended = host.terminate("a1", "V-A", is_service);
        let ended = ended.map_or_else(|error| error.to_string(), |()| "done".to_owned());
        writeln!(out, "{who} takes V-A's mapping away: {ended}")?;
    }
    Ok(())
}

fn show_recovery(out: &mut dyn Write, directory: &Path) -> Result<(), Box<dyn StdError>> {
    let records = Records::default();
    let volume = Volume::new("V-A", "b1", TargetSharing::default());
    records.put(volume.clone())?;
    let directory = directory.join("killed");
    let host = Host { directory, manual_scan: false, locks: None, records: &records };
    fs::create_dir_all(&host.directory)?;
    host.attach("a1", "V-A", LockOptions::default(), &|_| ())?;
    // As a service leaves it that is killed before it has disconnected.
    records.put(Volume { status: "detaching".to_owned(), ..volume })?;
    host.recover("a1", "V-A")?;
    let (status, mapped) = (records.get("V-A")?.status, host.is_mapped("a1", "V-A"));
    writeln!(out, "killed while it detached V-A, then recovered: {status}, mapped: {mapped}")?;
    Ok(())
}

/// Prints what it shows.
pub(crate) fn show(out: &mut dyn Write) -> Result<(), Box<dyn StdError>> {
    let directory = std::env::temp_dir().join(format!("shared-targets-{}", std::process::id()));
    let locks = locks(&directory.join("locks"))?;
    show_race(out, "without the guard", ["b1", "b1"], None, &directory)?;
    let services = ["s1", "s2"].map(|service| backend_id(None, service));
    let two = [&*services[0], &*services[1]];
    show_race(out, "with it, by service", two, Some(&locks), &directory)?;
    let configured = ["s1", "s2"].map(|service| backend_id(Some("b1"), service));
    let one = [&*configured[0], &*configured[1]];
    show_race(out, "with it, by backend", one, Some(&locks), &directory)?;
    let mut arrays = Arrays::default();
    arrays.start("SN1", &services[0], false)?;
    if let Err(refused) = arrays.start("SN1", &services[1], false) {
        writeln!(out, "the second service starts: {refused}")?;
    }
    show_start(out, &locks)?;
    show_terminate(out, &directory)?;
    show_recovery(out, &directory)?;
    fs::remove_dir_all(directory)?;
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn StdError>> {
    show(&mut std::io::stdout())
}
