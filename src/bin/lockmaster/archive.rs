//! `lockmaster archive`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use lockmaster::interfaces::luxi::Client;
use lockmaster::vocabulary::{Error, JobId};

use crate::daemon::{Daemon, query};
use crate::which::{Which, resolve};
use crate::{output, times};

/// How long one request archives.
const BUDGET: Duration = Duration::from_secs(60);

/// Move jobs that have ended out of the queue, into the archive
///
/// The queue gets smaller and faster to look at. Archived jobs can still be asked for: by their
/// ids, and with `lockmaster list --archived`.
#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = true)]
pub(crate) struct ArchiveArgs {
    /// The jobs: ids, ranges such as 7-12, or labels
    #[arg(value_name = "JOB", group = "what")]
    jobs: Vec<Which>,

    /// All jobs that ended at least so long ago, such as 30s, 12h or 7d
    #[arg(long, value_name = "DURATION", group = "what", conflicts_with = "jobs", value_parser = times::parse)]
    older_than: Option<Duration>,

    /// All jobs that have ended
    #[arg(long, group = "what", conflicts_with_all = ["jobs", "older_than"])]
    all: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the verb.
pub(crate) fn run(args: &ArchiveArgs) -> Result<ExitCode, Error> {
    let mut client = args.daemon.connect()?;
    if !args.jobs.is_empty() {
        let ids = resolve(&mut client, &args.jobs)?;
        return Ok(ExitCode::from(u8::from(!archive_all(&mut client, &ids)?)));
    }
    let count = archive_old(&mut client, args.older_than.unwrap_or_default())?;
    output::print(match count {
        1 => "archived 1 job".to_owned(),
        count => format!("archived {count} jobs"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Archives those jobs, which all have to exist, and prints what became of each. Whether all are
/// archived now.
fn archive_all(client: &mut Client, ids: &[JobId]) -> Result<bool, Error> {
    query(client, ids, &[])?;
    let mut all = true;
    for id in ids {
        let done = client.archive(*id)?;
        let job = query(client, &[*id], &["archived"])?.swap_remove(0);
        let archived = job["archived"] == true;
        output::print(match (done, archived, job["status"].as_str()) {
            (true, ..) => format!("{id}: archived"),
            (false, true, _) => format!("{id}: was archived before"),
            (false, false, status) => {
                format!("{id}: not archived: it is {}", status.unwrap_or_default())
            }
        })?;
        all &= archived;
    }
    Ok(all)
}

/// Archives until there is nothing left to look at.
fn archive_old(client: &mut Client, older_than: Duration) -> Result<u64, Error> {
    let mut count = 0;
    loop {
        let (archived, left) = client.auto_archive(older_than, BUDGET)?;
        count += archived;
        if left == 0 {
            return Ok(count);
        }
        output::progress(format!("archived {count} jobs, {left} left to look at"));
    }
}
