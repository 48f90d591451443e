//! Volumes that share a target: attaching and detaching raced without the guard, then with it.
//!
//! A host logs into a target once for all volumes of a backend, and out with the last. Whoever
//! finds no other device and then logs out takes along the device that came in between. What
//! stands in for a host is a directory: a session is a directory in it, a device a file in that.
//! Run it with `cargo run --example shared_targets`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use lockmaster::interfaces::lock_spec::LockSpec;
use lockmaster::runtime::{GlobalLocks, LockDir, LockOptions, Locks};
use lockmaster::vocabulary::Scope;
use lockmaster::{Error, ErrorKind, Hierarchy, LockRequest};
use serde_json::{Value, json};

/// Whether volumes of a backend share their target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TargetSharing {
    /// They do: locked, unless the host scans for devices only when told to. What is not known is
    /// taken for this.
    #[default]
    Shared,
    /// Each has its own: never locked.
    NotShared,
    /// They do, and the host cannot help scanning: always locked.
    Always,
}

impl TargetSharing {
    /// What a backend reports, if it does, with the protocol it speaks.
    pub(crate) fn reported(shared: Option<bool>, protocol: &str) -> Self {
        match (protocol, shared) {
            (_, Some(false)) | ("nfs" | "ceph", _) => Self::NotShared,
            (nvme, _) if nvme.to_lowercase().starts_with("nvme") => Self::Always,
            _ => Self::default(),
        }
    }

    const fn needs_lock(self, manual_scan: bool) -> bool {
        matches!((self, manual_scan), (Self::Always, _) | (Self::Shared, false))
    }
}

/// What a backend is called in names of locks.
///
/// The number of its service, unless the configuration says otherwise: two services of one
/// backend have two numbers, and a service that is set up anew gets another.
pub(crate) fn backend_id(configured: Option<&str>, service: &str) -> String {
    configured.unwrap_or(service).to_owned()
}

/// Which array is known by which name.
#[derive(Default)]
pub(crate) struct Arrays(BTreeMap<String, String>);

impl Arrays {
    /// A backend starts and says which array it uses.
    pub(crate) fn start(&mut self, serial: &str, backend: &str) -> Result<(), Error> {
        let known = self.0.entry(serial.to_owned()).or_insert_with(|| backend.to_owned());
        if known == backend {
            return Ok(());
        }
        let message = format!("array {serial} is backend {known}, and cannot be {backend} as well");
        Err(Error::new(ErrorKind::Refused, message).hint("give both services one backend id"))
    }
}

/// The record of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) backend: String,
    pub(crate) sharing: TargetSharing,
}

impl Volume {
    pub(crate) fn new(id: &str, backend: &str, sharing: TargetSharing) -> Self {
        Self { id: id.to_owned(), backend: backend.to_owned(), sharing }
    }

    /// What an initiator is shown: enough to lock, and not where the service runs.
    pub(crate) fn view(&self) -> Value {
        let shared = match self.sharing {
            TargetSharing::Shared => json!(true),
            TargetSharing::NotShared => json!(false),
            TargetSharing::Always => Value::Null,
        };
        json!({"id": self.id, "shared_targets": shared, "backend_id": self.backend})
    }

    /// The guard as a template: a backend that is not just starting, the volume, and the target on
    /// this node where that is needed.
    fn lock(&self, hierarchy: &Hierarchy, manual_scan: bool) -> Result<LockRequest, Error> {
        let needs_guard = self.sharing.needs_lock(manual_scan);
        let spec = LockSpec::new()
            .shared("backend", "{backend}")?
            .exclusive("volume", "{id}")?
            .exclusive("backend-node", "{backend}")?
            .when("needs_guard");
        let fields = json!({"id": self.id, "backend": self.backend, "needs_guard": needs_guard});
        spec.render(hierarchy, &fields.as_object().cloned().unwrap_or_default())
    }
}

fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The records of all volumes.
#[derive(Default)]
pub(crate) struct Records {
    rows: Mutex<BTreeMap<String, Volume>>,
    ready: Mutex<BTreeSet<String>>,
}

impl Records {
    pub(crate) fn put(&self, volume: Volume) {
        open(&self.rows).insert(volume.id.clone(), volume);
    }

    pub(crate) fn get(&self, id: &str) -> Result<Volume, Error> {
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no volume {id}"));
        open(&self.rows).get(id).cloned().ok_or_else(missing)
    }

    /// Writes a record if it is still as it was read.
    fn compare_and_set(&self, was: &Volume, sharing: TargetSharing) -> bool {
        let mut rows = open(&self.rows);
        let row = rows.get_mut(&was.id).filter(|row| *row == was);
        row.map(|row| row.sharing = sharing).is_some()
    }

    fn differing(&self, backend: &str, sharing: TargetSharing, most: usize) -> Vec<Volume> {
        let differs = |row: &&Volume| row.backend == backend && row.sharing != sharing;
        open(&self.rows).values().filter(differs).take(most).cloned().collect()
    }

    /// A backend starts: what it can do becomes what its records say, in whichever direction, so
    /// many at a time. Nothing else is remembered, so a start that was cut short is made up for by
    /// the next. Nobody attaches meanwhile, nor after a start that did not end. How many changed.
    pub(crate) fn start(
        &self,
        locks: &Locks,
        backend: &str,
        sharing: Option<TargetSharing>,
        batch: usize,
        written: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let spec = LockSpec::new().exclusive("backend", "{backend}")?;
        let fields = json!({"backend": backend}).as_object().cloned().unwrap_or_default();
        spec.with(locks, &fields, LockOptions::default(), |_| {
            open(&self.ready).remove(backend);
            let changed = sharing.map_or(Ok(0), |to| self.migrate(backend, to, batch, written))?;
            open(&self.ready).insert(backend.to_owned());
            Ok(changed)
        })?
    }

    fn migrate(
        &self,
        backend: &str,
        to: TargetSharing,
        batch: usize,
        written: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let mut changed = 0;
        loop {
            let rows = self.differing(backend, to, batch);
            if rows.is_empty() {
                return Ok(changed);
            }
            changed += rows.iter().filter(|row| self.compare_and_set(row, to)).count();
            written()?;
        }
    }

    fn refuse_before_start(&self, backend: &str) -> Result<(), Error> {
        if open(&self.ready).contains(backend) {
            return Ok(());
        }
        let message = format!("backend {backend} has not started: its records are not all written");
        Err(Error::new(ErrorKind::Refused, message).hint("start the backend again"))
    }
}

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

/// A host that uses volumes, and whether it scans for devices only when told to.
pub(crate) struct Host<'a> {
    pub(crate) directory: PathBuf,
    pub(crate) manual_scan: bool,
    /// None: unguarded.
    pub(crate) locks: Option<&'a Locks>,
    pub(crate) records: &'a Records,
}

impl Host<'_> {
    fn device(&self, array: &str, volume: &str) -> PathBuf {
        self.directory.join(array).join(volume)
    }

    /// Whether a program could read the volume.
    pub(crate) fn reads(&self, array: &str, volume: &str) -> bool {
        self.device(array, volume).exists()
    }

    /// Whether it is logged into the target of that array.
    pub(crate) fn is_logged_in(&self, array: &str) -> bool {
        self.directory.join(array).exists()
    }

    /// Runs `body` under the guard of a volume. The record is read again under it: where it says
    /// by now that another lock is needed, that one is taken instead.
    fn guarded(
        &self,
        volume: &str,
        options: LockOptions,
        body: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(locks) = self.locks else { return body() };
        let owner = locks.here();
        let mut request = self.records.get(volume)?.lock(locks.hierarchy(), self.manual_scan)?;
        loop {
            let guard = owner.lock(&request, options)?;
            let now = self.records.get(volume)?;
            let needed = now.lock(locks.hierarchy(), self.manual_scan)?;
            if needed == request {
                self.records.refuse_before_start(&now.backend)?;
                return body();
            }
            drop(guard);
            request = needed;
        }
    }

    /// Logs in where there is no session, and scans. `cut` comes between looking and doing.
    pub(crate) fn attach(
        &self,
        array: &str,
        volume: &str,
        options: LockOptions,
        cut: &dyn Fn(),
    ) -> Result<(), Error> {
        self.guarded(volume, options, || {
            let is_logged_in = self.is_logged_in(array);
            cut();
            if !is_logged_in {
                let session = fs::create_dir(self.directory.join(array));
                session.map_err(|error| Error::io("log in", error))?;
            }
            let device = fs::write(self.device(array, volume), "");
            device.map_err(|error| Error::io("scan", error))
        })
    }

    /// Removes the device, and logs out if there is no other. `cut` comes between looking and
    /// doing.
    pub(crate) fn detach(
        &self,
        array: &str,
        volume: &str,
        options: LockOptions,
        cut: &dyn Fn(),
    ) -> Result<(), Error> {
        self.guarded(volume, options, || {
            let removed = fs::remove_file(self.device(array, volume));
            removed.map_err(|error| Error::io("remove the device", error))?;
            let session = self.directory.join(array);
            let others = fs::read_dir(&session).map_err(|error| Error::io("look", error))?;
            if others.count() == 0 {
                cut();
                fs::remove_dir_all(session).map_err(|error| Error::io("log out", error))?;
            }
            Ok(())
        })
    }

    /// Takes a volume's mapping away on the array. Where targets are shared and the host still has
    /// the device, that would put the next volume mapped there behind it: only the service
    /// that detaches may ask for that.
    pub(crate) fn terminate(
        &self,
        array: &str,
        volume: &str,
        is_service: bool,
    ) -> Result<(), Error> {
        let record = self.records.get(volume)?;
        let shares = record.sharing != TargetSharing::NotShared;
        if shares && !is_service && self.reads(array, volume) {
            let message = format!("a host still uses volume {volume}");
            return Err(Error::new(ErrorKind::Refused, message).hint("detach it"));
        }
        Ok(())
    }
}

/// Two at a time: the first stops in the middle until the second has either been through or been
/// refused its lock. Why the second had to wait, if it had to.
pub(crate) fn race(
    first: impl FnOnce(&dyn Fn()) -> Result<(), Error>,
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
        let ended = first(&|| {
            // A second that has failed says so itself.
            _ = begin.send(());
            *open(&refused) = told.recv().ok().flatten();
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
        |options| other.attach("a1", "V-B", options, &|| ()),
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
        records.put(Volume::new(id, backend, TargetSharing::default()));
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
    for number in 0..250 {
        records.put(Volume::new(&format!("v{number}"), "b1", TargetSharing::Shared));
    }
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
    records.put(Volume::new("V-A", "b1", TargetSharing::default()));
    let directory = directory.join("host");
    let host = Host { directory, manual_scan: false, locks: None, records: &records };
    fs::create_dir_all(&host.directory)?;
    host.attach("a1", "V-A", LockOptions::default(), &|| ())?;
    for (who, is_service) in [("a user", false), ("the service", true)] {
        let ended = host.terminate("a1", "V-A", is_service);
        let ended = ended.map_or_else(|error| error.to_string(), |()| "done".to_owned());
        writeln!(out, "{who} takes V-A's mapping away: {ended}")?;
    }
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
    arrays.start("SN1", &services[0])?;
    if let Err(refused) = arrays.start("SN1", &services[1]) {
        writeln!(out, "the second service starts: {refused}")?;
    }
    show_start(out, &locks)?;
    show_terminate(out, &directory)?;
    fs::remove_dir_all(directory)?;
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn StdError>> {
    show(&mut std::io::stdout())
}
