//! `lockmaster lock`: a command under locks, in the manner of flock(1).

mod asked;
mod asking;
mod child;
mod direct;
mod outer;

use std::ffi::OsString;
use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use lockmaster::interfaces::places::default_lock_dir;
use lockmaster::vocabulary::{Error, ErrorKind};

use crate::daemon::Daemon;
use crate::{output, times};

const AFTER_HELP: &str = "\
Several names are locked together or not at all; nobody deadlocks over them, whatever order they
are named in. Where a daemon runs, it decides, and `lockmaster locks` and `lockmaster why` show
who waits for whom; the locks end with this command. Without one, locks of levels of scope node
hold among the processes of this machine, also against the daemon's jobs when it is back.

Calls may run calls: what an outer one holds, an inner one has; more than that it may ask for
at deeper levels only, and is refused otherwise, since it could wait for itself.

Exit codes:
  the command's own; 128 and the number of the signal that ended it
  123  the command succeeded, but a lock was lost while it ran
  124  the locks were not to be had in time (see -E); the command did not run
  125  the locks could not be asked for; the command did not run
  126  the command cannot be executed
  127  the command was not found
  2    the command line is not valid";

/// The exit codes that are not the command's.
mod code {
    pub(super) const LOST: u8 = 123;
    pub(super) const BUSY: u8 = 124;
    pub(super) const FAILED: u8 = 125;
    pub(super) const NOT_EXECUTABLE: u8 = 126;
    pub(super) const NOT_FOUND: u8 = 127;
}

/// Run a command under locks
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct LockArgs {
    /// The locks
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,

    /// The level they belong to
    #[arg(long, short, default_value = "lock")]
    level: String,

    /// Share them with others who share them
    #[arg(long, short)]
    shared: bool,

    /// Another lock, of another level; may be given several times
    #[arg(long, value_name = "LEVEL:NAME")]
    also: Vec<String>,

    /// Another lock, of another level, to be shared
    #[arg(long, value_name = "LEVEL:NAME")]
    also_shared: Vec<String>,

    /// Wait at most so long, such as 500ms, 30s or 5m; 0 does not wait
    #[arg(long, short, value_name = "DURATION", value_parser = times::parse)]
    timeout: Option<Duration>,

    /// The exit code where the locks were not to be had in time
    #[arg(long, short = 'E', value_name = "CODE", default_value_t = code::BUSY)]
    conflict_exit_code: u8,

    /// The command does not keep the locks should this process be killed
    #[arg(long, short = 'o')]
    close: bool,

    /// Say who is in the way while it waits; it does so by itself on a terminal
    #[arg(long, short)]
    verbose: bool,

    /// Take locks of any scope on this machine only, without a daemon
    #[arg(long)]
    on_this_node: bool,

    /// Do not ask a daemon
    #[arg(long)]
    without_daemon: bool,

    /// Also keep out programs that lock the file PATHNAME with fcntl, as oslo.concurrency does
    #[arg(long, value_name = "PATH")]
    fcntl: Option<PathBuf>,

    /// The lock directory of this machine, where no daemon says which
    #[arg(long, value_name = "DIR", env = "LOCKMASTER_LOCK_DIR", default_value_os_t = default_lock_dir())]
    lock_dir: PathBuf,

    #[command(flatten)]
    daemon: Daemon,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl LockArgs {
    /// Whether to ask first, without waiting, and to say who is in the way.
    fn says_why_it_waits(&self) -> bool {
        self.timeout != Some(Duration::ZERO) && (self.verbose || stderr().is_terminal())
    }
}

/// Why the command did not run.
#[derive(Debug)]
enum Refused {
    /// The locks were not to be had in time.
    Busy(Error),
    /// They could not be asked for.
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::InUse => Self::Busy(error),
            _ => Self::Failed(error),
        }
    }
}

/// Runs the verb.
pub(crate) fn run(args: &LockArgs) -> ExitCode {
    match lock_and_run(args) {
        Ok(code) => ExitCode::from(code),
        Err(Refused::Busy(error)) => {
            output::explain(&error);
            ExitCode::from(args.conflict_exit_code)
        }
        Err(Refused::Failed(error)) => {
            output::explain(&error);
            ExitCode::from(code::FAILED)
        }
    }
}

fn lock_and_run(args: &LockArgs) -> Result<u8, Refused> {
    if !args.without_daemon && !args.on_this_node {
        if let Some(client) = asking::connect(args)? {
            return asking::run(args, client);
        }
    }
    direct::run(args)
}
