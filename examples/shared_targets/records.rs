//! What is known of volumes and their backends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lockmaster::interfaces::lock_spec::LockSpec;
use lockmaster::runtime::{ConditionalUpdate, ConfigWriter, LockOptions, Locks};
use lockmaster::{Error, ErrorKind, Hierarchy, LockRequest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Whether volumes of a backend share their target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A backend starts and says which array it uses. Two names for one array are refused, unless
    /// the array is said to be split among backends that share no target.
    pub(crate) fn start(
        &mut self,
        serial: &str,
        backend: &str,
        is_split: bool,
    ) -> Result<(), Error> {
        let known = self.0.entry(serial.to_owned()).or_insert_with(|| backend.to_owned());
        if known == backend || is_split {
            return Ok(());
        }
        let message = format!("array {serial} is backend {known}, and cannot be {backend} as well");
        Err(Error::new(ErrorKind::Refused, message).hint("give both services one backend id"))
    }
}

/// The record of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) backend: String,
    pub(crate) sharing: TargetSharing,
    /// `available`, `attaching`, `in-use` or `detaching`.
    pub(crate) status: String,
}

impl Volume {
    pub(crate) fn new(id: &str, backend: &str, sharing: TargetSharing) -> Self {
        let [id, backend, status] = [id, backend, "available"].map(str::to_owned);
        Self { id, backend, sharing, status }
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
    pub(super) fn lock(
        &self,
        hierarchy: &Hierarchy,
        manual_scan: bool,
    ) -> Result<LockRequest, Error> {
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

/// The records of all volumes, and which backends have started.
pub(crate) struct Records {
    config: ConfigWriter,
    ready: Mutex<BTreeSet<String>>,
}

impl Default for Records {
    fn default() -> Self {
        Self::new(ConfigWriter::in_memory())
    }
}

impl Records {
    /// Those of that configuration.
    pub(crate) fn new(config: ConfigWriter) -> Self {
        Self { config, ready: Mutex::default() }
    }

    pub(crate) fn put(&self, volume: Volume) -> Result<(), Error> {
        self.put_all(&[volume])
    }

    pub(crate) fn put_all(&self, volumes: &[Volume]) -> Result<(), Error> {
        let put = |value: &mut Value| {
            for volume in volumes {
                value["volumes"][&volume.id] = json!(volume);
            }
            Ok(())
        };
        self.config.update(None, put).map(drop)
    }

    pub(crate) fn get(&self, id: &str) -> Result<Volume, Error> {
        let snapshot = self.config.read();
        let volume = Volume::deserialize(&snapshot.value["volumes"][id]);
        let missing = |_| Error::new(ErrorKind::NotFound, format!("there is no volume {id}"));
        volume.map_err(missing)
    }

    pub(super) fn set_status(&self, id: &str, status: &str) -> Result<(), Error> {
        let place = format!("/volumes/{id}/status");
        let update = ConditionalUpdate::new().set(&place, json!(status));
        self.config.update_where(update)?;
        Ok(())
    }

    /// Writes records that are still as they were read, all in one step; none where one is not.
    fn compare_and_set(&self, was: &[Volume], sharing: TargetSharing) -> Result<usize, Error> {
        let update = was.iter().fold(ConditionalUpdate::new(), |update, volume| {
            let place = format!("/volumes/{}", volume.id);
            let now = Volume { sharing, ..volume.clone() };
            update.expect(&place, json!(volume)).set(&place, json!(now))
        });
        match self.config.update_where(update) {
            Ok(_) => Ok(was.len()),
            Err(error) if error.mismatch().is_some() => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn differing(&self, backend: &str, sharing: TargetSharing, most: usize) -> Vec<Volume> {
        let snapshot = self.config.read();
        let rows = snapshot.value["volumes"].as_object().into_iter().flat_map(|all| all.values());
        let rows = rows.filter_map(|row| Volume::deserialize(row).ok());
        rows.filter(|row| row.backend == backend && row.sharing != sharing).take(most).collect()
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
            self.ready().remove(backend);
            let changed = sharing.map_or(Ok(0), |to| self.migrate(backend, to, batch, written))?;
            self.ready().insert(backend.to_owned());
            Ok(changed)
        })?
    }

    fn ready(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
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
            changed += self.compare_and_set(&rows, to)?;
            written()?;
        }
    }

    pub(super) fn refuse_before_start(&self, backend: &str) -> Result<(), Error> {
        if self.ready().contains(backend) {
            return Ok(());
        }
        let message = format!("backend {backend} has not started: its records are not all written");
        Err(Error::new(ErrorKind::Refused, message).hint("start the backend again"))
    }
}
