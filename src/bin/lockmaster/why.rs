//! `lockmaster why`.

use std::process::ExitCode;

use clap::Args;
use lockmaster::interfaces::luxi::Client;
use lockmaster::vocabulary::{Error, ErrorKind, JobId};
use serde_json::{Value, json};

use crate::daemon::{Daemon, query};
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
    let why = why(&mut client, id)?;
    match args.json {
        true => output::print_json(&why)?,
        false => output::print(wording::explained(&why))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Why a job is not running; of one in the archive, that it has ended.
fn why(client: &mut Client, id: JobId) -> Result<Value, Error> {
    match client.why(id) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let job = query(client, &[id], &["label"])?.pop().unwrap_or_default();
            let (label, status) = (&job["label"], &job["status"]);
            Ok(
                json!({ "job": id, "label": label, "reason": "final", "status": status, "behind": [] }),
            )
        }
        answer => answer,
    }
}
