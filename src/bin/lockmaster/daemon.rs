//! How the verbs reach the daemon.

use std::path::PathBuf;

use clap::Args;
use lockmaster::interfaces::luxi::Client;
use lockmaster::interfaces::places::default_socket;
use lockmaster::vocabulary::{Error, ErrorKind, JobId, Status};
use serde_json::Value;

use crate::output;

/// Which daemon is meant.
#[derive(Clone, Debug, Args)]
pub(crate) struct Daemon {
    /// The socket of the daemon
    #[arg(long, value_name = "PATH", env = "LOCKMASTER_SOCKET", hide_env_values = true, default_value_os_t = default_socket())]
    socket: PathBuf,
}

impl Daemon {
    /// Connects to it.
    pub(crate) fn connect(&self) -> Result<Client, Error> {
        Client::connect(&self.socket)
    }
}

/// Jobs as objects with those fields, `id` and `status`; all jobs where `ids` is empty.
pub(crate) fn query(
    client: &mut Client,
    ids: &[JobId],
    fields: &[&str],
) -> Result<Vec<Value>, Error> {
    let rows = client.query(ids, &[&["id", "status"], fields].concat())?;
    let jobs: Vec<Value> = rows.into_iter().map(|row| named(row, fields)).collect();
    match jobs.iter().find(|job| job["status"].is_null()) {
        Some(job) => {
            let missing = format!("there is no job {}", job["id"]);
            Err(Error::new(ErrorKind::NotFound, missing)
                .hint("lockmaster list shows those there are"))
        }
        None => Ok(jobs),
    }
}

/// Jobs that a filter admits, as objects with those fields, `id` and `status`.
pub(crate) fn query_where(
    client: &mut Client,
    filter: &Value,
    fields: &[&str],
) -> Result<Vec<Value>, Error> {
    let rows = client.query_where(filter, &[&["id", "status"], fields].concat())?;
    Ok(rows.into_iter().map(|row| named(row, fields)).collect())
}

/// Does something with each of those jobs, which all have to exist, and prints what became of
/// it. Whether it worked for all; jobs that have ended are left alone and said to have ended.
pub(crate) fn for_each(
    client: &mut Client,
    ids: &[JobId],
    mut act: impl FnMut(&mut Client, JobId) -> Result<(bool, String), Error>,
) -> Result<bool, Error> {
    let mut all = true;
    query(client, ids, &[])?;
    for id in ids {
        let (done, message) = act(client, *id)?;
        let ended = if done { None } else { ended(client, *id)? };
        output::print(format!("{id}: {}", ended.unwrap_or(message)))?;
        all &= done;
    }
    Ok(all)
}

/// That a job has ended, and how, if it has.
fn ended(client: &mut Client, id: JobId) -> Result<Option<String>, Error> {
    let jobs = query(client, &[id], &[])?;
    let status = jobs.first().and_then(|job| job["status"].as_str()).unwrap_or_default();
    let is_final = status.parse::<Status>().is_ok_and(Status::is_final);
    Ok(is_final.then(|| format!("the job has ended ({status})")))
}

fn named(row: Vec<Value>, fields: &[&str]) -> Value {
    let names = ["id", "status"].iter().chain(fields).map(|name| (*name).to_owned());
    names.zip(row).collect()
}
