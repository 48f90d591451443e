//! `lockmaster watch`.

mod interrupt;

use std::process::ExitCode;

use clap::Args;
use lockmaster::vocabulary::{Error, Status};

use crate::daemon::Daemon;
use crate::which::{Which, resolve_one};
use crate::{follow, output};

/// Show what a job says while it runs, until it ends
///
/// What it says goes to stdout, how it fares to stderr. Ctrl-C at a terminal asks whether
/// to leave the job alone or to cancel it; it does not touch the job by itself.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The job: its id, or a label that no other job has
    #[arg(value_name = "JOB")]
    job: Which,

    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the verb.
pub(crate) fn run(args: &WatchArgs) -> Result<ExitCode, Error> {
    let mut client = args.daemon.connect()?;
    let id = resolve_one(&mut client, &args.job)?;
    interrupt::ask(&args.daemon, id)?;
    let mut last = None;
    let status = follow::follow(&mut client, id, |change| {
        change.log.iter().try_for_each(|entry| output::print(follow::said(&entry.3)))?;
        if last.replace(change.status) != Some(change.status) {
            output::progress(format!("job {id} {}", output::status(change.status.as_str())));
        }
        Ok(())
    })?;
    follow::explain(&mut client, id, status)?;
    Ok(ExitCode::from(u8::from(status != Status::Success)))
}
