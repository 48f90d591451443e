//! `lockmaster drain`.

use std::process::ExitCode;

use clap::Args;
use lockmaster::vocabulary::Error;

use crate::daemon::Daemon;
use crate::output;

/// Accept no more jobs, or accept them again
///
/// What is in the queue is carried out all the same. Survives a restart of the daemon.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Accept jobs again
    #[arg(long)]
    off: bool,

    /// Change nothing, only say how it stands
    #[arg(long, conflicts_with = "off")]
    status: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the verb.
pub(crate) fn run(args: &DrainArgs) -> Result<ExitCode, Error> {
    let mut client = args.daemon.connect()?;
    let drained = match args.status {
        true => client.is_drained()?,
        false => client.set_drained(!args.off).map(|()| !args.off)?,
    };
    output::print(match drained {
        true => "drained: no more jobs are accepted",
        false => "open: jobs are accepted",
    })?;
    Ok(ExitCode::SUCCESS)
}
