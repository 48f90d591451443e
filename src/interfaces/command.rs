//! Running commands as opcodes: a process group of its own, watched by one thread that sleeps.
//!
//! What a command is comes from a [`Catalogue`](super::catalogue::Catalogue). Nothing here reads
//! files that describe work, and nothing here decides when something runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use self::run::{Caller, marks_of, run};
use super::catalogue::{CommandOp, DeclaredNames, Settings};
use super::held::{self, Holder, place_of};
use crate::runtime::{Context, DeclaredLocks, LogicalUnit};
use crate::vocabulary::{CrashPolicy, Error, LockMode, OpError, Retries};

mod environment;
mod leftovers;
mod output;
mod processes;
mod run;
#[cfg(test)]
mod tests;
mod upload;

pub use leftovers::{Leftover, end_leftovers};
pub use upload::CommandDistributor;

/// Everything about one opcode, rendered: what it locks and what it runs.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) big_lock: LockMode,
    pub(crate) locks: BTreeMap<String, DeclaredNames>,
    pub(crate) run: Invocation,
    pub(crate) undo: Option<Invocation>,
    pub(crate) on_crash: CrashPolicy,
    pub(crate) retries: Retries,
}

/// One call of a program.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) program: PathBuf,
    /// What the program sees as its own name.
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    /// Relative to the directory of the settings.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) timeout: Option<Duration>,
    /// How long after TERM there is KILL.
    pub(crate) grace: Duration,
    pub(crate) success_codes: Vec<i32>,
    /// Something lacks for a while, and nothing was changed.
    pub(crate) retry_codes: Vec<i32>,
}

/// Variables that commands inherit; all others they get only where a file says so.
///
/// A command does the same whether the master was started from a terminal or at boot.
const INHERITED: [&str; 9] =
    ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"];

/// Where commands run and what they find in their environment.
#[derive(Debug)]
pub(crate) struct Surroundings {
    directory: PathBuf,
    environment: BTreeMap<OsString, OsString>,
    state_id: String,
}

impl Surroundings {
    /// Creates the directory of the settings.
    pub(crate) fn prepare(settings: &Settings, state_id: &str) -> Result<Self, Error> {
        let written = settings.directory.as_deref().unwrap_or(Path::new("."));
        let cannot = |error| Error::io(format!("{} cannot be created", written.display()), error);
        std::fs::create_dir_all(written).map_err(cannot)?;
        let directory = std::path::absolute(written).map_err(cannot)?;
        let passed = settings.pass_environment.iter().map(String::as_str);
        let mut environment: BTreeMap<OsString, OsString> = INHERITED
            .into_iter()
            .chain(passed)
            .filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
            .collect();
        let said = settings.environment.iter();
        environment.extend(said.map(|(name, value)| (name.into(), value.into())));
        environment.insert("LOCKMASTER_STATE".into(), state_id.into());
        let surroundings = Self { directory, environment, state_id: state_id.to_owned() };
        Ok(match &settings.socket {
            Some(socket) => surroundings.with_socket(socket),
            None => surroundings,
        })
    }

    /// Tells programs where the daemon listens whose they are, so that they find it, too.
    pub(crate) fn with_socket(mut self, socket: &Path) -> Self {
        self.environment.insert("LOCKMASTER_SOCKET".into(), socket.into());
        self
    }
}

/// The id of a state directory that its commands carry as `LOCKMASTER_STATE`: the same however
/// its path is written, and after it was moved.
///
/// # Errors
///
/// `Io` where the directory cannot be looked at.
pub fn state_id(directory: &Path) -> Result<String, Error> {
    let shown = directory.display();
    let metadata = std::fs::metadata(directory)
        .map_err(|error| Error::io(format!("{shown} cannot be looked at"), error))?;
    Ok(format!("{:x}-{:x}", metadata.dev(), metadata.ino()))
}

/// The logical unit of an opcode that runs a command.
#[derive(Debug)]
pub struct CommandUnit {
    work: Work,
    surroundings: Arc<Surroundings>,
}

impl CommandUnit {
    pub(crate) fn new(
        opcode: &CommandOp,
        parameters: &Map<String, Value>,
        surroundings: &Arc<Surroundings>,
    ) -> Result<Self, Error> {
        Ok(Self { work: opcode.work(parameters)?, surroundings: Arc::clone(surroundings) })
    }

    fn call(
        &self,
        invocation: &Invocation,
        context: &Context,
        is_undo: bool,
    ) -> Result<Value, OpError> {
        call(invocation, &self.surroundings, context, is_undo)
    }
}

/// What a program is told of the locks of its job.
fn held_for(context: &Context) -> String {
    let what = format!("job {}, {}", context.job(), context.opcode().id);
    let (place, hierarchy) = (place_of(context.lock_dir()), context.hierarchy());
    held::to_text(&[Holder::this_process(&what, place, false, hierarchy, &context.held())])
}

/// Calls a program for an opcode. `finishes` says that a request to stop comes too late for it.
fn call(
    invocation: &Invocation,
    surroundings: &Surroundings,
    context: &Context,
    finishes: bool,
) -> Result<Value, OpError> {
    let caller = Caller {
        marks: marks_of(context.job(), &context.opcode().id, context.fencing_token()),
        held: held_for(context),
        input: None,
        cancel: context.cancel_token(),
        is_undo: finishes,
        say: &|kind, text| context.feedback_of(kind, text),
    };
    run(invocation, surroundings, &caller)
}

/// Calls a program that is a hook; its output goes to the feedback log of the job.
///
/// # Errors
///
/// As those of a command.
pub(crate) fn call_hook(
    invocation: &Invocation,
    surroundings: &Surroundings,
    context: &Context,
    is_over: bool,
) -> Result<(), OpError> {
    call(invocation, surroundings, context, is_over).map(|_| ())
}

impl LogicalUnit for CommandUnit {
    fn big_lock(&self) -> LockMode {
        self.work.big_lock
    }

    /// Names come from the parameters alone, so nothing has to be looked at first.
    fn locks_known_at_once(&self) -> bool {
        true
    }

    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        let Some(declared) = self.work.locks.get(level) else { return Ok(()) };
        if let Some(mode) = declared.all {
            locks.all(mode)?;
        }
        declared.names.iter().try_for_each(|(name, mode)| locks.add(name, *mode))
    }

    fn retries(&self) -> Retries {
        self.work.retries
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        self.call(&self.work.run, context, false)
    }

    fn can_undo(&self) -> bool {
        self.work.undo.is_some()
    }

    fn undo(&mut self, context: &Context) -> Result<(), OpError> {
        let Some(undo) = &self.work.undo else { return Ok(()) };
        self.call(undo, context, true).map(|_| ())
    }

    fn grace(&self) -> Option<Duration> {
        Some(self.work.run.grace)
    }

    fn on_crash(&self) -> CrashPolicy {
        self.work.on_crash
    }
}
