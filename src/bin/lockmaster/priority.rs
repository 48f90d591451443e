//! `lockmaster priority`.

use std::process::ExitCode;

use clap::Args;
use lockmaster::interfaces::luxi::Client;
use lockmaster::vocabulary::{Error, Priority};

use crate::daemon::{self, Daemon};
use crate::which::{Which, resolve};

/// Change how urgent jobs are
///
/// Applies to the opcodes that have not started, also while they wait for locks.
#[derive(Debug, Args)]
pub(crate) struct PriorityArgs {
    /// -20 is the most urgent, 0 the normal, 19 the least urgent
    #[arg(allow_negative_numbers = true, value_parser = parse)]
    priority: Priority,

    /// The jobs: ids, ranges such as 7-12, or labels
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<Which>,

    #[command(flatten)]
    daemon: Daemon,
}

/// Reads a priority.
pub(crate) fn parse(text: &str) -> Result<Priority, String> {
    let value = text.parse().map_err(|_| "expected a number from -20 to 19".to_owned())?;
    Priority::new(value).map_err(|error| error.to_string())
}

/// Runs the verb.
pub(crate) fn run(args: &PriorityArgs) -> Result<ExitCode, Error> {
    let mut client = args.daemon.connect()?;
    let change = |client: &mut Client, id| client.change_priority(id, args.priority);
    let ids = resolve(&mut client, &args.jobs)?;
    let all = daemon::for_each(&mut client, &ids, change)?;
    Ok(ExitCode::from(u8::from(!all)))
}
