//! `lockmaster wait`.

use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use lockmaster::interfaces::luxi::Client;
use lockmaster::vocabulary::{Error, JobId, Status};

use crate::daemon::Daemon;
use crate::follow::{self, NOT_IN_TIME, follow_until};
use crate::times;
use crate::which::{Which, resolve};

/// How many jobs `--any` waits for at most: each has a connection of its own.
const MOST: usize = 500;

/// Wait until jobs have ended, or have begun
///
/// Prints the id and the status of each, in the order asked for.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The jobs: ids, ranges such as 7-12, or labels
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<Which>,

    /// Wait for the first of them that ends, and print that one only
    #[arg(long)]
    any: bool,

    /// Wait only until they have come so far
    #[arg(long, value_enum, value_name = "STAGE", default_value_t, conflicts_with = "any")]
    until: Stage,

    /// Wait at most so long, such as 500ms, 30s or 5m; the exit code is 124 when time is up
    #[arg(short, long, value_name = "DURATION", value_parser = times::parse)]
    timeout: Option<Duration>,

    /// Print nothing; the exit code tells
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// In line for its locks, or further
    Waiting,
    /// Executing, or ended
    Running,
    /// Ended
    #[default]
    End,
}

impl Stage {
    fn is_reached(self, status: Status) -> bool {
        match status {
            Status::Queued => false,
            Status::Waiting => self == Self::Waiting,
            Status::Running | Status::Canceling => self != Self::End,
            Status::Success | Status::Error | Status::Canceled => true,
        }
    }
}

/// Runs the verb.
pub(crate) fn run(args: &WaitArgs) -> Result<ExitCode, Error> {
    let mut client = args.daemon.connect()?;
    let ids = resolve(&mut client, &args.jobs)?;
    let deadline = args.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    if !args.any {
        let reached = |status| args.until.is_reached(status);
        return follow::all(&mut client, &ids, reached, deadline, args.quiet);
    }
    let (id, status) = first(&args.daemon, &ids, deadline)?;
    if !status.is_final() {
        return Ok(ExitCode::from(NOT_IN_TIME));
    }
    follow::tell(&mut client, id, status, args.quiet)?;
    Ok(ExitCode::from(u8::from(status != Status::Success)))
}

/// The first of the jobs that ends, and how; when time is up, one that has not. The threads that
/// wait for the others end with the process.
fn first(
    daemon: &Daemon,
    ids: &[JobId],
    deadline: Option<Instant>,
) -> Result<(JobId, Status), Error> {
    if ids.len() > MOST {
        return Err(Error::invalid(format!("--any waits for {MOST} jobs at most")));
    }
    let (sender, ended) = channel();
    for id in ids.iter().copied() {
        let (client, sender) = (daemon.connect()?, sender.clone());
        // Whoever comes second finds nobody listening.
        let wait = move || drop(sender.send(until_final(client, id, deadline)));
        let failed = |error| Error::io("cannot start a thread", error);
        thread::Builder::new().spawn(wait).map_err(failed)?;
    }
    drop(sender);
    ended.recv().unwrap_or_else(|_| Err(Error::invalid("no job was named")))
}

fn until_final(
    mut client: Client,
    id: JobId,
    deadline: Option<Instant>,
) -> Result<(JobId, Status), Error> {
    let status = follow_until(&mut client, id, Status::is_final, deadline, |_| Ok(()))?;
    Ok((id, status))
}
