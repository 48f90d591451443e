//! `lockmaster wait`.

use std::process::ExitCode;

use clap::Args;
use lockmaster::vocabulary::{Error, JobId};

use crate::daemon::Daemon;
use crate::follow;

/// Wait until jobs have ended
///
/// Prints the id and the final status of each, in the order asked for.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The jobs
    #[arg(required = true, value_name = "JOB")]
    ids: Vec<JobId>,

    /// Print nothing; the exit code tells
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the verb.
pub(crate) fn run(args: &WaitArgs) -> Result<ExitCode, Error> {
    let mut client = args.daemon.connect()?;
    let succeeded = follow::all(&mut client, &args.ids, args.quiet)?;
    Ok(ExitCode::from(u8::from(!succeeded)))
}
