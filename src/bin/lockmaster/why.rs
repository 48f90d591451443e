//! `lockmaster why`.

use std::process::ExitCode;

use clap::Args;
use lockmaster::vocabulary::{Error, JobId};

use crate::daemon::Daemon;
use crate::{output, wording};

/// Say why a job is not running: the lock, the job or the worker it waits for
#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// The job
    #[arg(value_name = "JOB")]
    id: JobId,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the verb.
pub(crate) fn run(args: &WhyArgs) -> Result<ExitCode, Error> {
    let why = args.daemon.connect()?.why(args.id)?;
    match args.json {
        true => output::print_json(&why)?,
        false => output::print(wording::explained(&why))?,
    }
    Ok(ExitCode::SUCCESS)
}
