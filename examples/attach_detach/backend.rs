//! A storage backend, and the host that uses it, which keep what they know in a file.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use fs4::FileExt;
use lockmaster::OpError;
use serde::{Deserialize, Serialize};

/// Called at each point where a process may die or be held up, with the point and the volume.
pub(crate) static AT: OnceLock<fn(&str, &str)> = OnceLock::new();

/// A point where a process may die.
pub(crate) fn at(point: &str, volume: &str) {
    if let Some(hook) = AT.get() {
        hook(point, volume);
    }
}

/// Why a call was refused or failed: the kind has the name that Cinder gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) kind: String,
    pub(crate) message: String,
}

impl Failed {
    pub(crate) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), message: message.into() }
    }

    /// The same error, and what went wrong while it was dealt with.
    pub(crate) fn and(mut self, second: &Self) -> Self {
        self.message = format!("{}; then: {second}", self.message);
        self
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Failed {}

impl From<Failed> for OpError {
    fn from(failed: Failed) -> Self {
        Self::exec(failed.to_string()).with_code(failed.kind)
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::new("VolumeBackendAPIException", error.to_string())
    }
}

/// What there is: volumes that are exported, mapped to the host, and seen by it as devices.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    exports: BTreeSet<String>,
    maps: BTreeSet<String>,
    devices: BTreeSet<String>,
    /// Calls that are to fail, once for each entry: `create_export v1`.
    faults: Vec<String>,
    log: Vec<String>,
}

/// The backend; every call may be repeated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Backend {
    file: PathBuf,
}

impl Backend {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { file: directory.join("backend.json") }
    }

    pub(crate) fn create_export(&self, volume: &str) -> Result<(), Failed> {
        self.call("create_export", volume, |state| state.exports.insert(volume.to_owned()))
    }

    pub(crate) fn remove_export(&self, volume: &str) -> Result<(), Failed> {
        self.call("remove_export", volume, |state| state.exports.remove(volume))
    }

    pub(crate) fn initialize_connection(&self, volume: &str) -> Result<(), Failed> {
        self.call("initialize_connection", volume, |state| state.maps.insert(volume.to_owned()))
    }

    pub(crate) fn terminate_connection(&self, volume: &str) -> Result<(), Failed> {
        self.call("terminate_connection", volume, |state| state.maps.remove(volume))
    }

    /// On the host: the device appears.
    pub(crate) fn connect(&self, volume: &str) -> Result<(), Failed> {
        self.call("connect", volume, |state| state.devices.insert(volume.to_owned()))
    }

    /// On the host: the device is gone.
    pub(crate) fn disconnect(&self, volume: &str) -> Result<(), Failed> {
        self.call("disconnect", volume, |state| state.devices.remove(volume))
    }

    pub(crate) fn delete(&self, volume: &str) -> Result<(), Failed> {
        self.call("delete", volume, |_| true)
    }

    pub(crate) fn is_connected(&self, volume: &str) -> Result<bool, Failed> {
        self.change(|state| Ok(state.devices.contains(volume)))
    }

    /// Whether it is exported, mapped, and a device of the host.
    pub(crate) fn of(&self, volume: &str) -> Result<(bool, bool, bool), Failed> {
        self.change(|state| {
            let is_in = |set: &BTreeSet<String>| set.contains(volume);
            Ok((is_in(&state.exports), is_in(&state.maps), is_in(&state.devices)))
        })
    }

    /// The next such call for that volume fails.
    pub(crate) fn fail(&self, call: &str, volume: &str) -> Result<(), Failed> {
        self.change(|state| {
            state.faults.push(format!("{call} {volume}"));
            Ok(())
        })
    }

    /// What was called for that volume, in order.
    pub(crate) fn log(&self, volume: &str) -> Result<Vec<String>, Failed> {
        self.change(|state| {
            let calls = state.log.iter().filter_map(|line| line.split_once(' '));
            Ok(calls.filter(|(_, of)| *of == volume).map(|(call, _)| call.to_owned()).collect())
        })
    }

    fn call(
        &self,
        name: &str,
        volume: &str,
        body: impl FnOnce(&mut State) -> bool,
    ) -> Result<(), Failed> {
        at(name, volume);
        self.change(|state| {
            let call = format!("{name} {volume}");
            state.log.push(call.clone());
            if let Some(fault) = state.faults.iter().position(|fault| *fault == call) {
                state.faults.remove(fault);
                return Err(Failed::new("VolumeBackendAPIException", format!("{name} failed")));
            }
            // Whether there was something to do: a call may come twice.
            let _ = body(state);
            Ok(())
        })
    }

    fn change<R>(&self, body: impl FnOnce(&mut State) -> Result<R, Failed>) -> Result<R, Failed> {
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&self.file)?;
        FileExt::lock(&file)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut state: State = serde_json::from_str(&text).unwrap_or_default();
        let result = body(&mut state);
        let text = serde_json::to_string(&state).map_err(std::io::Error::from)?;
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        FileExt::unlock(&file)?;
        result
    }
}
