//! A distributor of the configuration that runs a command for each node, such as ssh.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

use super::run::{Caller, run};
use super::{Invocation, Surroundings, end_leftovers, state_id};
use crate::interfaces::catalogue::Settings;
use crate::interfaces::template::Template;
use crate::runtime::{CancelCause, CancelToken, ConfigCopy, Distributor};
use crate::vocabulary::{Error, FeedbackKind};

/// How long after TERM a command gets KILL.
const GRACE: Duration = Duration::from_secs(5);

/// Brings the configuration to nodes by a command.
///
/// The command is a program with arguments, in which `{node}`, `{version}` and `{file}` stand for
/// the node, the version and the path of a file with the content; it can also read the content
/// from its standard input. It has to replace the file there atomically: over ssh, write to a
/// name beside it, sync, and rename. No shell is involved here, but ssh gives its last arguments
/// to one over there.
///
/// ```no_run
/// use std::time::Duration;
/// use lockmaster::interfaces::command::CommandDistributor;
///
/// # fn main() -> Result<(), lockmaster::Error> {
/// let ssh = CommandDistributor::new(
///     ["ssh", "-oBatchMode=yes", "-oConnectTimeout=10", "root@{node}", "--",
///      "cd /etc/cluster && cat > config.new && sync config.new && mv config.new config"],
///     "/var/lib/cluster/spool",
///     Duration::from_secs(60),
/// )?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CommandDistributor {
    command: Vec<Template>,
    spool: PathBuf,
    surroundings: Surroundings,
    timeout: Duration,
    stop: CancelToken,
    /// Whether what an earlier process left running was ended. Uploads wait for who sees to that.
    is_alone: Mutex<bool>,
}

impl CommandDistributor {
    /// For that command, which is ended after `timeout` as a failure. `spool` is a directory of
    /// its own for the contents, made if need be. What uploads of an earlier process with this
    /// spool have left running is ended before the first upload, and not earlier: whoever makes
    /// this may yet find that another process has the configuration. A node has one upload at a
    /// time.
    ///
    /// # Errors
    ///
    /// `Invalid` where there is no command, or it has other fields; `Io` where the directory
    /// cannot be made.
    pub fn new<T: AsRef<str>>(
        command: impl IntoIterator<Item = T>,
        spool: impl Into<PathBuf>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let parsed = command.into_iter().map(|text| Template::parse(text.as_ref()));
        let command: Vec<Template> = parsed.collect::<Result<_, _>>().map_err(unfit)?;
        if command.is_empty() {
            return Err(Error::invalid("the command that uploads the configuration is empty"));
        }
        render(&command, &fields("node", 1, Path::new("file")))?;
        let spool = spool.into();
        let settings = Settings { directory: Some(spool.clone()), ..Settings::default() };
        let surroundings = Surroundings::prepare(&settings, "")?.of(&spool)?;
        let spool = surroundings.directory.clone();
        let (stop, is_alone) = (CancelToken::new(), Mutex::new(false));
        Ok(Self { command, spool, surroundings, timeout, stop, is_alone })
    }

    /// Ends what an earlier process left running, once. Where that fails, the next one tries.
    fn be_alone(&self) -> Result<(), Error> {
        let mut is_alone = self.is_alone.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_alone {
            end_leftovers(&self.surroundings.state_id, GRACE)?;
            *is_alone = true;
        }
        Ok(())
    }

    fn invocation(&self, node: &str, version: u64, file: &Path) -> Result<Invocation, Error> {
        let mut arguments = render(&self.command, &fields(node, version, file))?;
        let program = arguments.remove(0);
        Ok(Invocation {
            program: program.clone().into(),
            name: program,
            arguments,
            environment: BTreeMap::new(),
            directory: None,
            timeout: Some(self.timeout),
            grace: GRACE,
            success_codes: vec![0],
            retry_codes: Vec::new(),
        })
    }
}

impl Surroundings {
    /// The same, told from all others by its directory.
    fn of(mut self, spool: &Path) -> Result<Self, Error> {
        self.state_id = format!("config-{}", state_id(spool)?);
        self.environment.insert("LOCKMASTER_STATE".into(), self.state_id.clone().into());
        Ok(self)
    }
}

impl Distributor for CommandDistributor {
    fn upload(&self, node: &str, copy: &ConfigCopy) -> Result<(), Error> {
        check_node(node)?;
        self.be_alone()?;
        let file = self.spool.join(format!("{node}.json"));
        std::fs::write(&file, &copy.bytes)
            .map_err(|error| Error::io(format!("cannot write {}", file.display()), error))?;
        let version = copy.snapshot.version;
        let caller = Caller {
            held: String::new(),
            marks: vec![("LOCKMASTER_UPLOAD", format!("{version} {node}"))],
            input: Some(&file),
            cancel: &self.stop,
            is_undo: false,
            say: &|kind: FeedbackKind, text: &str| tracing::debug!(node, ?kind, text, "upload"),
        };
        let ran = run(&self.invocation(node, version, &file)?, &self.surroundings, &caller);
        // One that stays does no harm: the next upload writes it anew.
        let _ = std::fs::remove_file(&file);
        ran.map(|_| ())
            .map_err(|error| Error::io("the upload failed", std::io::Error::other(error)))
    }

    fn stop(&self) {
        self.stop.set(CancelCause::Shutdown);
    }
}

fn fields(node: &str, version: u64, file: &Path) -> Map<String, Value> {
    let file = file.display().to_string();
    let fields = [("node", node.into()), ("version", version.into()), ("file", file.into())];
    fields.map(|(name, value): (&str, Value)| (name.to_owned(), value)).into_iter().collect()
}

fn render(command: &[Template], fields: &Map<String, Value>) -> Result<Vec<String>, Error> {
    command.iter().map(|template| template.render(fields).map_err(unfit)).collect()
}

fn unfit(error: crate::interfaces::template::TemplateError) -> Error {
    Error::from(error).at("the command that uploads the configuration")
}

/// What cannot be mistaken for an option, a path, or anything that means something to a shell.
fn check_node(node: &str) -> Result<(), Error> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    let usable = node.starts_with(|c: char| c.is_ascii_alphanumeric() || c == ':');
    if usable && node.chars().all(fits) {
        return Ok(());
    }
    Err(Error::invalid(format!("{node:?} is not the name or address of a node"))
        .hint("letters, digits, dots, colons and hyphens; not a hyphen first"))
}
