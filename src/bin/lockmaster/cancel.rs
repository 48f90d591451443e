//! `lockmaster cancel`.

use std::process::ExitCode;

use clap::Args;
use lockmaster::interfaces::luxi::Client;
use lockmaster::vocabulary::Error;

use crate::daemon::{self, Daemon};
use crate::which::{Which, resolve};

/// Cancel jobs
///
/// A job that has not started or waits for locks is cancelled at once. One that executes is
/// told to stop and may finish instead; the exit code is then 1.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The jobs: ids, ranges such as 7-12, or labels
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<Which>,

    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the verb.
pub(crate) fn run(args: &CancelArgs) -> Result<ExitCode, Error> {
    let mut client = args.daemon.connect()?;
    let ids = resolve(&mut client, &args.jobs)?;
    let all = daemon::for_each(&mut client, &ids, Client::cancel)?;
    Ok(ExitCode::from(u8::from(!all)))
}
