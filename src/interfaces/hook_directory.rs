//! Hooks that are programs in directories, in the manner of Ganeti and run-parts(8).
//!
//! Before `OP_INSTANCE_REBOOT` executes, what is in `global-pre.d` runs and then what is in
//! `instance-reboot-pre.d`; after its success, `instance-reboot-post.d` and then `global-post.d`.
//! Programs run one after the other in the order of their names. What is not executable, or has
//! other characters in its name than letters, digits, `_` and `-`, is passed over: so is what a
//! package manager or an editor leaves there.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::catalogue::Settings;
use super::command::{Invocation, Surroundings, call_hook};
use crate::runtime::{Context, Hook};
use crate::vocabulary::{Error, OpCode, OpError};

/// How long one program may run.
const TIMEOUT: Duration = Duration::from_secs(300);
/// How long after TERM there is KILL.
const GRACE: Duration = Duration::from_secs(5);
/// Parameters and results longer than this are not in the environment of a hook: the system has
/// a limit for one variable.
const VARIABLE_BYTES: usize = 64 << 10;

/// A directory with directories of programs that run before and after opcodes.
#[derive(Debug)]
pub struct HookDirectory {
    path: PathBuf,
    surroundings: Surroundings,
}

impl HookDirectory {
    /// The hooks in that directory. `state_id` is that of the master's state directory, see
    /// [`state_id`](super::command::state_id). Directories below it are looked at anew for every
    /// opcode, so programs may come and go.
    ///
    /// # Errors
    ///
    /// `Io` where there is no such directory.
    pub fn open(path: &Path, state_id: &str) -> Result<Self, Error> {
        let cannot =
            |error| Error::io(format!("cannot read the hooks in {}", path.display()), error);
        std::fs::read_dir(path).map_err(cannot)?;
        let path = std::path::absolute(path).map_err(cannot)?;
        let settings = Settings { directory: Some("/".into()), ..Settings::default() };
        Ok(Self { path, surroundings: Surroundings::prepare(&settings, state_id)? })
    }

    /// Says where the daemon listens, as [`with_socket`](super::catalogue::Catalogue::with_socket)
    /// does for commands.
    #[must_use]
    pub fn with_socket(mut self, socket: &Path) -> Self {
        self.surroundings = self.surroundings.with_socket(socket);
        self
    }

    /// Runs everything in one directory; the first that fails ends it.
    fn run(&self, directory: &str, phase: Phase<'_>, context: &Context) -> Result<(), OpError> {
        for name in programs(&self.path.join(directory))? {
            let invocation = self.invocation(directory, &name, phase, context.opcode());
            call_hook(&invocation, &self.surroundings, context, phase.result().is_some())?;
        }
        Ok(())
    }

    fn invocation(
        &self,
        directory: &str,
        name: &str,
        phase: Phase<'_>,
        opcode: &OpCode,
    ) -> Invocation {
        Invocation {
            program: self.path.join(directory).join(name),
            name: format!("{directory}/{name}"),
            arguments: Vec::new(),
            environment: environment(phase, opcode),
            directory: None,
            timeout: Some(TIMEOUT),
            grace: GRACE,
            success_codes: vec![0],
            retry_codes: Vec::new(),
        }
    }
}

/// When a hook runs.
#[derive(Clone, Copy)]
enum Phase<'a> {
    Before,
    /// After the opcode gave that result.
    After(&'a Value),
}

impl Phase<'_> {
    fn result(&self) -> Option<&Value> {
        match self {
            Self::Before => None,
            Self::After(result) => Some(result),
        }
    }

    fn word(self) -> &'static str {
        if self.result().is_none() { "pre" } else { "post" }
    }
}

impl Hook for HookDirectory {
    fn before(&self, context: &Context) -> Result<(), OpError> {
        let own = format!("{}-pre.d", name_of(context.opcode()));
        ["global-pre.d", &own].iter().try_for_each(|dir| self.run(dir, Phase::Before, context))
    }

    fn after(&self, context: &Context, result: &Value) -> Result<(), OpError> {
        let own = format!("{}-post.d", name_of(context.opcode()));
        let phase = Phase::After(result);
        [&*own, "global-post.d"].iter().try_for_each(|dir| self.run(dir, phase, context))
    }
}

/// `instance-reboot` of `OP_INSTANCE_REBOOT`.
fn name_of(opcode: &OpCode) -> String {
    opcode.id.as_str().trim_start_matches("OP_").to_lowercase().replace('_', "-")
}

fn environment(phase: Phase<'_>, opcode: &OpCode) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::from([
        ("LOCKMASTER_HOOK_PHASE".to_owned(), phase.word().to_owned()),
        ("LOCKMASTER_HOOK_PATH".to_owned(), name_of(opcode)),
        ("LOCKMASTER_PARAMETERS".to_owned(), opcode.params.as_json().to_owned()),
    ]);
    if let Some(result) = phase.result() {
        variables.insert("LOCKMASTER_RESULT".to_owned(), result.to_string());
    }
    variables.retain(|_, value| value.len() <= VARIABLE_BYTES);
    variables
}

/// The names of the programs in a directory, in order; none where it is not there.
fn programs(directory: &Path) -> Result<Vec<String>, OpError> {
    let cannot = |error| OpError::exec(format!("cannot read {}: {error}", directory.display()));
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(cannot)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(cannot)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if is_name(&name) && is_program(&entry.path()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn is_name(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn is_program(path: &Path) -> bool {
    let metadata = std::fs::metadata(path);
    metadata.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
