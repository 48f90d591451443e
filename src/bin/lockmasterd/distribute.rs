//! The table `distribute` of the configuration file: which nodes get the configuration that the
//! daemon keeps, and how.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockmaster::interfaces::catalogue::durations;
use lockmaster::interfaces::command::CommandDistributor;
use lockmaster::runtime::{ConfigOptions, Directories};
use lockmaster::vocabulary::Error;
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

/// What the file on a node is called where nobody says.
const FILE: &str = "config.json";
/// How long an upload by a command may take where nobody says.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The table as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// The nodes by name.
    #[serde(default)]
    nodes: Vec<Node>,
    /// Where in the configuration more of them are: the members of an object, or a list of names.
    nodes_in: Option<Pointer>,
    /// Each node has a directory of its name below this one, relative to the file.
    directories: Option<PathBuf>,
    /// What the configuration is called in there.
    file: Option<Node>,
    /// A program with arguments for each node; `{node}`, `{version}` and `{file}` in them.
    command: Option<Spanned<Vec<String>>>,
    /// How long it may take.
    timeout: Option<Length>,
    /// How many nodes get it at the same time.
    at_once: Option<std::num::NonZeroUsize>,
    /// When a node that failed is tried again: first after so long, at last so often.
    retry_first: Option<Length>,
    retry_longest: Option<Length>,
}

/// A name that is one part of a path.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Node(String);

impl TryFrom<String> for Node {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match Path::new(&name).file_name().is_some_and(|last| last == name.as_str()) {
            true => Ok(Self(name)),
            false => Err(format!("{name:?} cannot be the name of a node or a file")),
        }
    }
}

/// A place in the configuration.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Pointer(String);

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.starts_with('/') {
            true => Ok(Self(text)),
            false => Err(format!("{text:?} is no place in the configuration, such as \"/nodes\"")),
        }
    }
}

/// A length of time, longer than nothing.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Length(Duration);

impl TryFrom<String> for Length {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let length = durations::parse(&text).filter(|length| !length.is_zero());
        length.map(Self).ok_or_else(|| {
            format!("{text:?} is not a duration: a number and one of ms, s, m, h, d")
        })
    }
}

/// Which nodes get the configuration, and how.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Table")]
pub(crate) struct Distribute {
    nodes: BTreeSet<String>,
    nodes_in: Option<String>,
    by: By,
    at_once: Option<usize>,
    retry_first: Duration,
    retry_longest: Duration,
}

#[derive(Debug)]
enum By {
    Directories {
        below: PathBuf,
        file: String,
    },
    Command {
        words: Vec<String>,
        timeout: Duration,
        /// Where it stands in the file, in bytes.
        offset: usize,
    },
}

impl TryFrom<Table> for Distribute {
    type Error = &'static str;

    fn try_from(table: Table) -> Result<Self, &'static str> {
        let Table { directories, file, command, timeout, .. } = table;
        let by = match (directories, command) {
            (Some(_), Some(_)) => return Err("either directories or a command, not both"),
            (None, None) => return Err("this needs directories = \"...\" or command = [...]"),
            (Some(_), None) if timeout.is_some() => return Err("a timeout is for a command"),
            (None, Some(_)) if file.is_some() => return Err("a file name is for directories"),
            (Some(below), None) => {
                By::Directories { below, file: file.map_or_else(|| FILE.to_owned(), |it| it.0) }
            }
            (None, Some(words)) => By::Command {
                offset: words.span().start,
                words: words.into_inner(),
                timeout: timeout.map_or(TIMEOUT, |it| it.0),
            },
        };
        if table.nodes.is_empty() && table.nodes_in.is_none() {
            return Err("this needs nodes = [...] or nodes_in = \"/...\"");
        }
        Ok(Self {
            nodes: table.nodes.into_iter().map(|node| node.0).collect(),
            nodes_in: table.nodes_in.map(|pointer| pointer.0),
            by,
            at_once: table.at_once.map(std::num::NonZeroUsize::get),
            retry_first: table.retry_first.map_or(Duration::from_secs(1), |it| it.0),
            retry_longest: table.retry_longest.map_or(Duration::from_secs(300), |it| it.0),
        })
    }
}

impl Distribute {
    /// What the configuration is to be opened with. `beside` is the directory of the file,
    /// `place` says where in it a byte stands, `spool` is a directory of the daemon's own.
    pub(crate) fn options(
        &self,
        beside: &Path,
        place: impl Fn(usize) -> String,
        spool: &Path,
    ) -> Result<ConfigOptions, Error> {
        let mut options = ConfigOptions::new().retry_after(self.retry_first, self.retry_longest);
        if let Some(uploads) = self.at_once {
            options = options.uploads_at_once(uploads);
        }
        let (nodes, pointer) = (self.nodes.clone(), self.nodes_in.clone());
        let nodes_of = move |value: &Value| {
            let found = pointer.as_deref().and_then(|pointer| value.pointer(pointer));
            nodes.iter().cloned().chain(found.into_iter().flat_map(names)).collect()
        };
        Ok(match &self.by {
            By::Directories { below, file } => {
                options.distribute(Directories::below(beside.join(below), file), nodes_of)
            }
            By::Command { words, timeout, offset } => {
                let command = CommandDistributor::new(words, spool, *timeout);
                let command = command.map_err(|error| error.at(place(*offset)))?;
                options.distribute(command, nodes_of)
            }
        })
    }
}

/// The names of nodes in an object or a list.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Object(object) => object.keys().cloned().collect(),
        Value::Array(list) => {
            list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}
