//! What an embedder says of its configuration: what is an object, what is right, where it goes.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::distribution::Distribution;
use super::distributor::{ConfigCopy, Distributor};
use super::file_format::{self, MAX_BYTES};
use super::nodes::Backoff;
use super::serials::{self, Tracked};
use super::{ConfigSnapshot, ConfigWriter};
use crate::store::DurableFile;
use crate::vocabulary::Error;

type Verify = Box<dyn Fn(&ConfigSnapshot, &Value) -> Result<(), Error> + Send + Sync>;
type NodesOf = Box<dyn Fn(&Value) -> BTreeSet<String> + Send + Sync>;

/// How many nodes get the configuration at the same time, where nobody says.
const UPLOADS: usize = 16;

/// What makes a version the next one.
#[derive(Default)]
pub(super) struct Rules {
    tracked: Vec<Tracked>,
    verify: Option<Verify>,
    nodes_of: Option<NodesOf>,
}

impl Rules {
    /// The version after `now`, verified.
    pub(super) fn next(&self, now: &ConfigSnapshot, value: Value) -> Result<ConfigSnapshot, Error> {
        let version = version_after(now.version)?;
        let serials = serials::next(&self.tracked, now, &value, version);
        self.verify(now, &value)?;
        Ok(ConfigSnapshot { version, value, serials })
    }

    /// What was found in the file. Objects without a serial get one.
    fn found(&self, found: ConfigSnapshot) -> Result<ConfigSnapshot, Error> {
        self.verify(&found, &found.value)?;
        let serials = serials::next(&self.tracked, &found, &found.value, found.version);
        Ok(ConfigSnapshot { serials, ..found })
    }

    fn verify(&self, now: &ConfigSnapshot, value: &Value) -> Result<(), Error> {
        self.verify.as_ref().map_or(Ok(()), |verify| verify(now, value))
    }

    pub(super) fn nodes(&self, value: &Value) -> BTreeSet<String> {
        self.nodes_of.as_ref().map(|nodes_of| nodes_of(value)).unwrap_or_default()
    }
}

fn version_after(version: u64) -> Result<u64, Error> {
    version.checked_add(1).ok_or_else(|| {
        Error::invalid(format!("version {version} of the configuration is the last there can be"))
    })
}

/// How a configuration is to be kept.
///
/// ```
/// use std::collections::BTreeSet;
/// use lockmaster::runtime::{ConfigOptions, SimulatedNodes};
/// use serde_json::json;
///
/// # fn main() -> Result<(), lockmaster::Error> {
/// let nodes = SimulatedNodes::new();
/// let config = ConfigOptions::new()
///     .objects_in("/nodes")
///     .verify(|_, next| match next["nodes"].is_object() {
///         true => Ok(()),
///         false => Err(lockmaster::Error::invalid("there have to be nodes")),
///     })
///     .distribute(nodes.clone(), |value| {
///         value["nodes"].as_object().into_iter().flat_map(|nodes| nodes.keys().cloned()).collect()
///     })
///     .in_memory()?;
/// config.update(None, |value| {
///     value["nodes"] = json!({"a": {}, "b": {}});
///     Ok(())
/// })?;
/// config.flush(None)?;
/// assert_eq!(nodes.version("b"), Some(1));
/// assert_eq!(config.read().serial("/nodes/a").unwrap().serial, 1);
/// # Ok(())
/// # }
/// ```
#[must_use = "options do nothing until a configuration is opened with them"]
pub struct ConfigOptions {
    rules: Rules,
    distributor: Option<Box<dyn Distributor>>,
    uploads: usize,
    backoff: Backoff,
}

impl Default for ConfigOptions {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            distributor: None,
            uploads: UPLOADS,
            backoff: Backoff::default(),
        }
    }
}

impl ConfigOptions {
    /// No objects, anything is right, no nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is at this place (a JSON pointer, such as `/cluster`) is an object with a serial.
    pub fn object(mut self, place: &str) -> Self {
        self.rules.tracked.push(Tracked::One(place.to_owned()));
        self
    }

    /// Each member of what is at this place (such as `/nodes`) is an object with a serial.
    pub fn objects_in(mut self, place: &str) -> Self {
        self.rules.tracked.push(Tracked::Members(place.to_owned()));
        self
    }

    /// Asks this before a write is accepted: it gets the configuration as it is and the value
    /// that is to follow. Also when the file is opened, with what is in it as both. Its refusal
    /// leaves everything as it was. Writers wait for it; it may read, but not write.
    pub fn verify(
        mut self,
        verify: impl Fn(&ConfigSnapshot, &Value) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        self.rules.verify = Some(Box::new(verify));
        self
    }

    /// Brings every version, or a later one, to the nodes that `nodes_of` finds in it; what is in
    /// the file to begin with too. Writers wait for `nodes_of`.
    pub fn distribute(
        mut self,
        distributor: impl Distributor,
        nodes_of: impl Fn(&Value) -> BTreeSet<String> + Send + Sync + 'static,
    ) -> Self {
        self.distributor = Some(Box::new(distributor));
        self.rules.nodes_of = Some(Box::new(nodes_of));
        self
    }

    /// How many nodes get it at the same time, each on a thread of its own; 16 where not said.
    /// Nodes whose upload hangs count, so the distributor should give up in time.
    pub fn uploads_at_once(mut self, uploads: usize) -> Self {
        self.uploads = uploads;
        self
    }

    /// When a node that failed is tried again: at first after `first` (1 s where not said), then
    /// twice as long each time, at most `longest` (5 min). A newer version is tried at once.
    pub fn retry_after(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = Backoff { first, longest };
        self
    }

    /// Opens the configuration in the file at that path, as [`ConfigWriter::open`] does.
    ///
    /// # Errors
    ///
    /// `Invalid` where an option is wrong; `Corrupt` where the file is no configuration or one of
    /// a newer version, with line and column; `Io`; what the verification says.
    pub fn open(self, path: impl AsRef<Path>) -> Result<ConfigWriter, Error> {
        let (file, content) = DurableFile::open(path.as_ref(), MAX_BYTES)?;
        let found = match content {
            Some(content) => {
                let parsed = file_format::parse(&content).and_then(|found| self.rules.found(found));
                parsed.map_err(|error| error.at(file.path().display()))?
            }
            None => ConfigSnapshot::unwritten(),
        };
        self.start(Some(file), found)
    }

    /// A configuration that is kept in memory only.
    ///
    /// # Errors
    ///
    /// `Invalid` where an option is wrong.
    pub fn in_memory(self) -> Result<ConfigWriter, Error> {
        self.start(None, ConfigSnapshot::unwritten())
    }

    fn start(
        self,
        file: Option<DurableFile>,
        snapshot: ConfigSnapshot,
    ) -> Result<ConfigWriter, Error> {
        self.rules.tracked.iter().try_for_each(Tracked::check)?;
        if self.uploads == 0 {
            return Err(Error::invalid("at least one node has to get the configuration at once"));
        }
        let (uploads, backoff) = (self.uploads, self.backoff);
        let distribution = self
            .distributor
            .map(|distributor| Arc::new(Distribution::with_backoff(distributor, uploads, backoff)));
        distribution.as_ref().map_or(Ok(()), |all| begin(all, &self.rules, &snapshot))?;
        Ok(ConfigWriter::holding(file, snapshot, self.rules, distribution))
    }
}

/// Nobody knows what the nodes have: they all get what was found.
fn begin(all: &Arc<Distribution>, rules: &Rules, found: &ConfigSnapshot) -> Result<(), Error> {
    let copy = ConfigCopy::new(Arc::new(found.clone()), file_format::encode(found)?);
    let threads = all.publish(copy, &rules.nodes(&found.value));
    all.start(threads);
    Ok(())
}

impl fmt::Debug for ConfigOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigOptions")
            .field("tracked", &self.rules.tracked)
            .field("uploads", &self.uploads)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}
