//! A `zpool` that keeps what it knows in a file, and fails with ZFS's own messages.
//!
//! Each command is atomic, as it is in the kernel; what lies between two commands is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs4::FileExt;
use lockmaster::runtime::LockError;
use serde::{Deserialize, Serialize};

/// Why a command, or what was made of commands, failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed(pub(crate) String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl From<LockError> for Failed {
    fn from(error: LockError) -> Self {
        Self(error.to_string())
    }
}

impl From<lockmaster::Error> for Failed {
    fn from(error: lockmaster::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// What is known of the pools, on all hosts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pools: BTreeSet<String>,
    /// By host and pool: whether it is imported read-only.
    imported: BTreeMap<String, BTreeMap<String, bool>>,
    datasets: BTreeSet<String>,
    /// By host.
    mounted: BTreeSet<(String, String)>,
    /// Commands that are to fail, once for each entry, and what they say.
    faults: Vec<(String, String)>,
    /// Who ran which command, in order.
    pub(crate) log: Vec<String>,
}

/// Called before each command, with the command's name.
pub(crate) type Before = Arc<dyn Fn(&str) + Send + Sync>;

/// The command, as one program on one host runs it.
#[derive(Clone)]
pub(crate) struct Zpool {
    file: PathBuf,
    pub(crate) host: String,
    who: String,
    before: Before,
}

impl fmt::Debug for Zpool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zpool of {} on {}", self.who, self.host)
    }
}

impl Zpool {
    pub(crate) fn new(directory: &Path, who: &str) -> Self {
        let (file, before) = (directory.join("pools.json"), Arc::new(|_: &str| ()));
        Self { file, host: "hA".to_owned(), who: who.to_owned(), before }
    }

    pub(crate) fn on(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub(crate) fn before(mut self, before: Before) -> Self {
        self.before = before;
        self
    }

    /// Makes a pool that is imported nowhere.
    pub(crate) fn make(&self, pool: &str) -> Result<(), Failed> {
        self.change(|state| {
            state.pools.insert(pool.to_owned());
            Ok(())
        })
    }

    /// The next time that command runs, it fails so.
    pub(crate) fn fail(&self, command: &str, message: &str) -> Result<(), Failed> {
        self.change(|state| {
            state.faults.push((command.to_owned(), message.to_owned()));
            Ok(())
        })
    }

    /// What ran so far: `"tA list"`.
    pub(crate) fn log(&self) -> Result<Vec<String>, Failed> {
        self.change(|state| Ok(state.log.clone()))
    }

    /// The pools of this host, and whether each is imported read-only; not a command.
    pub(crate) fn imported(&self) -> Result<BTreeMap<String, bool>, Failed> {
        self.change(|state| Ok(state.imported.get(&self.host).cloned().unwrap_or_default()))
    }

    /// `zpool list`.
    pub(crate) fn list(&self) -> Result<BTreeMap<String, bool>, Failed> {
        self.command("list", |_| Ok(()))?;
        self.imported()
    }

    /// `zpool import [-o readonly=on] POOL`.
    pub(crate) fn import(&self, pool: &str, readonly: bool) -> Result<(), Failed> {
        self.command("import", |state| {
            let imported = state.imported.entry(self.host.clone()).or_default();
            if imported.contains_key(pool) {
                let problem = "a pool with that name already exists";
                return Err(Failed(format!("cannot import '{pool}': {problem}")));
            }
            if !state.pools.contains(pool) {
                return Err(Failed(format!("cannot import '{pool}': no such pool available")));
            }
            imported.insert(pool.to_owned(), readonly);
            Ok(())
        })
    }

    /// `zpool export POOL`.
    pub(crate) fn export(&self, pool: &str) -> Result<(), Failed> {
        self.command("export", |state| {
            let imported = state.imported.entry(self.host.clone()).or_default();
            if !imported.contains_key(pool) {
                return Err(Failed(format!("cannot open '{pool}': no such pool")));
            }
            if state.mounted.iter().any(|(host, set)| *host == self.host && is_in(set, pool)) {
                return Err(Failed(format!("cannot export '{pool}': pool is busy")));
            }
            imported.remove(pool);
            Ok(())
        })
    }

    /// `zfs create DATASET`.
    pub(crate) fn create(&self, dataset: &str) -> Result<(), Failed> {
        self.with_pool("create", dataset, |state| {
            state.datasets.insert(dataset.to_owned());
        })
    }

    /// `mount -t lustre DATASET`.
    pub(crate) fn mount(&self, dataset: &str) -> Result<(), Failed> {
        self.with_pool("mount", dataset, |state| {
            state.mounted.insert((self.host.clone(), dataset.to_owned()));
        })
    }

    /// `umount DATASET`.
    pub(crate) fn unmount(&self, dataset: &str) -> Result<(), Failed> {
        self.command("unmount", |state| {
            state.mounted.remove(&(self.host.clone(), dataset.to_owned()));
            Ok(())
        })
    }

    /// What writes to a pool.
    fn with_pool(
        &self,
        command: &str,
        dataset: &str,
        then: impl FnOnce(&mut State),
    ) -> Result<(), Failed> {
        self.command(command, |state| {
            let pool = dataset.split('/').next().unwrap_or(dataset);
            let problem = match state.imported.get(&self.host).and_then(|pools| pools.get(pool)) {
                None => format!("no such pool '{pool}'"),
                Some(true) => "pool is read-only".to_owned(),
                Some(false) => {
                    then(state);
                    return Ok(());
                }
            };
            Err(Failed(format!("cannot {command} '{dataset}': {problem}")))
        })
    }

    fn command<R>(
        &self,
        name: &str,
        body: impl FnOnce(&mut State) -> Result<R, Failed>,
    ) -> Result<R, Failed> {
        (self.before)(name);
        self.change(|state| {
            state.log.push(format!("{} {name}", self.who));
            match state.faults.iter().position(|(command, _)| command == name) {
                Some(fault) => Err(Failed(state.faults.remove(fault).1)),
                None => body(state),
            }
        })
    }

    /// Reads, changes and writes the file, alone.
    fn change<R>(&self, body: impl FnOnce(&mut State) -> Result<R, Failed>) -> Result<R, Failed> {
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&self.file)?;
        FileExt::lock(&file)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut state: State = serde_json::from_str(&text).unwrap_or_default();
        let result = body(&mut state);
        let text = serde_json::to_string(&state).map_err(|error| Failed(error.to_string()))?;
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        FileExt::unlock(&file)?;
        result
    }
}

fn is_in(dataset: &str, pool: &str) -> bool {
    dataset.strip_prefix(pool).is_some_and(|rest| rest.starts_with('/'))
}
