//! The configuration: a JSON value that many read and one at a time writes.
//!
//! Readers get the newest value that is on disk and never wait for a disk or a network
//! themselves. What the value means is not known here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::cancel::CancelToken;
use super::lock_order::LockClass;
use super::sync::Mutex;
use crate::store::DurableFile;
use crate::vocabulary::{Error, ErrorKind};

mod conditional;
mod directories;
mod distribution;
mod distributor;
mod file_format;
mod nodes;
mod options;
mod pointer;
mod reservations;
mod retry;
mod serials;
mod simulated_nodes;
#[cfg(test)]
mod tests;

pub use conditional::{ConditionalUpdate, Expected, Mismatch, Unmet, UpdateError};
pub use directories::Directories;
pub use distribution::Distribution;
pub use distributor::{ConfigCopy, Distributor};
pub use nodes::NodeState;
pub use options::ConfigOptions;
pub use reservations::Reservation;
pub use serials::ObjectSerial;
pub use simulated_nodes::SimulatedNodes;

use options::Rules;
use reservations::Reservations;

static WRITER: LockClass = LockClass::new("config writer");
static CURRENT: LockClass = LockClass::new("config");
static RESERVATIONS: LockClass = LockClass::new("config reservations");

/// The configuration at one moment. Never changes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConfigSnapshot {
    /// 0 for one that was never written, then one more with each write.
    pub version: u64,
    /// The value; an empty object where it was never written.
    pub value: Value,
    /// By place, of what [`ConfigOptions`] says are objects.
    serials: BTreeMap<String, ObjectSerial>,
}

/// The configuration behind a shared lock, the file it is kept in, and the nodes it goes to.
///
/// Dropping it begins no further upload, and waits for those underway.
///
/// Invariant: what `current` holds is on disk, where there is a file. Only who holds `writer`
/// changes it, so its version grows by exactly one with each write. The lock order is `writer`,
/// then any of the others; these are held for no longer than it takes to change a few pointers.
pub struct ConfigWriter {
    writer: Mutex<Option<DurableFile>>,
    current: Mutex<Arc<ConfigSnapshot>>,
    reservations: Mutex<Reservations>,
    distribution: Option<Arc<Distribution>>,
    rules: Rules,
}

impl ConfigWriter {
    /// The configuration in the file at that path; version 0 where there is no such file. It is
    /// made with the first write. [`ConfigOptions::open`] does the same with more to say.
    ///
    /// # Errors
    ///
    /// `Corrupt` where the file is no configuration or one of a newer version, with line and
    /// column; `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        ConfigOptions::new().open(path)
    }

    /// A configuration that is kept in memory only.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::holding(None, ConfigSnapshot::unwritten(), Rules::default(), None)
    }

    fn holding(
        file: Option<DurableFile>,
        snapshot: ConfigSnapshot,
        rules: Rules,
        distribution: Option<Arc<Distribution>>,
    ) -> Self {
        Self {
            writer: Mutex::new(&WRITER, file),
            current: Mutex::new(&CURRENT, Arc::new(snapshot)),
            reservations: Mutex::new(&RESERVATIONS, Reservations::default()),
            distribution,
            rules,
        }
    }

    /// The newest configuration that is on disk. Waits for nobody's disk.
    #[must_use]
    pub fn read(&self) -> Arc<ConfigSnapshot> {
        self.current.lock().clone()
    }

    /// Changes the configuration: hands a copy to `change`, makes what that leaves durable as
    /// the next version, and publishes it. Where `change` fails, nothing changes.
    ///
    /// With `expected`, only if that is the version still. Writers wait for one another, also
    /// while `change` runs; it may [`read`](Self::read), but not write. Takes time in proportion
    /// to the size of the configuration. Nodes get it later, and are not waited for: see
    /// [`first_round`](Self::first_round) and [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// `Refused` where the version is another one, or somebody else wrote the file; `Invalid`
    /// where it would become too large; `Io`; what `change` or the verification says. The
    /// configuration is then what it was.
    pub fn update(
        &self,
        expected: Option<u64>,
        change: impl FnOnce(&mut Value) -> Result<(), Error>,
    ) -> Result<Arc<ConfigSnapshot>, Error> {
        self.write(|now, value| {
            refuse_other_version(expected, now.version)?;
            change(value)
        })
    }

    /// Changes values if others are as expected, in one step.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Mismatch`] where a condition is not met, with the values there are; else
    /// as [`update`](Self::update). The configuration is then what it was.
    pub fn update_where(
        &self,
        update: ConditionalUpdate,
    ) -> Result<Arc<ConfigSnapshot>, UpdateError> {
        self.write(|now, value| update.apply(now, value))
    }

    fn write<E: From<Error>>(
        &self,
        change: impl FnOnce(&ConfigSnapshot, &mut Value) -> Result<(), E>,
    ) -> Result<Arc<ConfigSnapshot>, E> {
        let mut file = self.writer.lock();
        let now = self.read();
        let mut value = now.value.clone();
        change(&now, &mut value)?;
        let next = self.rules.next(&now, value)?;
        let bytes = self.encode(file.is_some(), &next)?;
        // Asked before anything is written: where it panics, nothing has happened.
        let nodes = self.rules.nodes(&next.value);
        if let Some(file) = &mut *file {
            file.replace(&bytes)?;
        }
        let next = Arc::new(next);
        // Before anybody can read this version, and wait for the nodes to have it.
        let threads = self.distribution.as_ref().map_or(0, |distribution| {
            let copy = ConfigCopy::new(next.clone(), bytes);
            distribution.publish(copy, &nodes)
        });
        *self.current.lock() = next.clone();
        drop(file);
        self.distribution.iter().for_each(|distribution| distribution.start(threads));
        Ok(next)
    }

    /// The content of the file; nothing where nobody gets it.
    fn encode(&self, has_file: bool, next: &ConfigSnapshot) -> Result<Vec<u8>, Error> {
        match has_file || self.distribution.is_some() {
            true => file_format::encode(next),
            false => Ok(Vec::new()),
        }
    }

    /// What is known of the nodes that get the configuration, by name.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeState> {
        self.distribution.as_ref().map(|distribution| distribution.nodes()).unwrap_or_default()
    }

    /// Waits until every node was tried with that version or a later one; it has to be one that
    /// was written. Those that did not get it, with the reason: they are tried again.
    ///
    /// # Errors
    ///
    /// `Stopped` where the configuration is no longer distributed.
    pub fn first_round(&self, version: u64) -> Result<Vec<NodeState>, Error> {
        self.distribution.as_ref().map_or(Ok(Vec::new()), |all| all.first_round(version))
    }

    /// Waits until every node has the version that is the newest now, or a later one. Not for
    /// longer than `patience`; for ever where nothing is said.
    ///
    /// # Errors
    ///
    /// `Refused` where nodes do not have it after `patience`, naming them; `Stopped` where the
    /// configuration is no longer distributed.
    pub fn flush(&self, patience: Option<Duration>) -> Result<(), Error> {
        let (version, deadline) = (self.read().version, distribution::deadline(patience));
        self.distribution.as_ref().map_or(Ok(()), |all| all.flush(version, deadline))
    }

    /// As [`flush`](Self::flush), but until the token is set: for opcodes.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    pub fn flush_unless(&self, cancel: &CancelToken) -> Result<(), Error> {
        let version = self.read().version;
        self.distribution.as_ref().map_or(Ok(()), |all| all.flush_unless(version, cancel))
    }
}

impl Drop for ConfigWriter {
    fn drop(&mut self) {
        self.distribution.iter().for_each(|distribution| distribution.stop());
    }
}

impl fmt::Debug for ConfigWriter {
    /// The version only: a configuration may be large, and hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigWriter").field("version", &self.read().version).finish()
    }
}

impl ConfigSnapshot {
    fn unwritten() -> Self {
        Self { version: 0, value: Value::Object(Map::new()), serials: BTreeMap::new() }
    }

    /// The serial of the object at that place (a JSON pointer), where [`ConfigOptions`] says
    /// that there are objects.
    #[must_use]
    pub fn serial(&self, place: &str) -> Option<ObjectSerial> {
        self.serials.get(place).copied()
    }
}

fn refuse_other_version(expected: Option<u64>, current: u64) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != current => Err(Error::new(
            ErrorKind::Refused,
            format!("the configuration is at version {current}, not {expected}"),
        )
        .hint("read it again, and decide anew")),
        _ => Ok(()),
    }
}
