//! `lockmaster cancel`.

use std::process::ExitCode;

use clap::Args;
use lockmaster::interfaces::luxi::Client;
use lockmaster::vocabulary::{Error, JobId, Status};

use crate::daemon::{self, Daemon};
use crate::which::{Which, resolve};
use crate::{follow, output};

/// Cancel jobs
///
/// A job that has not started or waits for locks is cancelled at once. One that executes is
/// told to stop and may finish instead; the exit code is then 1.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The jobs: ids, ranges such as 7-12, or labels
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<Which>,

    /// Wait until they have ended, and print how; exit with 1 where one was not cancelled
    #[arg(short, long)]
    wait: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the verb.
pub(crate) fn run(args: &CancelArgs) -> Result<ExitCode, Error> {
    let mut client = args.daemon.connect()?;
    let ids = resolve(&mut client, &args.jobs)?;
    let all = match args.wait {
        true => cancel_and_wait(&mut client, &ids)?,
        false => daemon::for_each(&mut client, &ids, Client::cancel)?,
    };
    Ok(ExitCode::from(u8::from(!all)))
}

/// Whether all were cancelled.
fn cancel_and_wait(client: &mut Client, ids: &[JobId]) -> Result<bool, Error> {
    daemon::query(client, ids, &[])?;
    ids.iter().try_for_each(|id| client.cancel(*id).map(|_| ()))?;
    let mut all = true;
    for id in ids {
        let status = follow::follow(client, *id, |_| Ok(()))?;
        output::print(format!("{id} {}", output::status(status.as_str())))?;
        all &= status == Status::Canceled;
    }
    Ok(all)
}
