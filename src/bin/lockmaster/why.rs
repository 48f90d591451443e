//! `lockmaster why`.

use std::process::ExitCode;

use clap::Args;
use lockmaster::vocabulary::Error;

use crate::daemon::Daemon;
use crate::which::{Which, resolve_one};
use crate::{output, wording};

/// Say why a job is not running: the lock, the job or the worker it waits for
#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// The job: its id, or a label that no other job has
    #[arg(value_name = "JOB")]
    job: Which,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the verb.
pub(crate) fn run(args: &WhyArgs) -> Result<ExitCode, Error> {
    let mut client = args.daemon.connect()?;
    let id = resolve_one(&mut client, &args.job)?;
    let why = client.why(id)?;
    match args.json {
        true => output::print_json(&why)?,
        false => output::print(wording::explained(&why))?,
    }
    Ok(ExitCode::SUCCESS)
}
