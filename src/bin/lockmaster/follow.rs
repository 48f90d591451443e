//! Following a job until it is final.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lockmaster::interfaces::luxi::{Change, Client};
use lockmaster::vocabulary::{Error, JobId, Status};
use serde_json::Value;

use crate::daemon::query;
use crate::output;

/// The exit code where time is up, as of timeout(1) and of `lockmaster lock`.
pub(crate) const NOT_IN_TIME: u8 = 124;

/// Calls `each` for every change of the job until it is final and all its feedback was told.
/// The final status.
pub(crate) fn follow(
    client: &mut Client,
    id: JobId,
    each: impl FnMut(&Change) -> Result<(), Error>,
) -> Result<Status, Error> {
    follow_until(client, id, Status::is_final, None, each)
}

/// Calls `each` for every change of the job until its status is one of those wanted, or time is
/// up. Its status then.
pub(crate) fn follow_until(
    client: &mut Client,
    id: JobId,
    wanted: impl Fn(Status) -> bool,
    deadline: Option<Instant>,
    mut each: impl FnMut(&Change) -> Result<(), Error>,
) -> Result<Status, Error> {
    let (mut known, mut serial) = (None, 0);
    loop {
        let left =
            deadline.map_or(Duration::MAX, |it| it.saturating_duration_since(Instant::now()));
        let change = client.wait_for_change_within(left, id, known, serial)?;
        each(&change)?;
        if wanted(change.status) || left.is_zero() {
            return Ok(change.status);
        }
        known = Some(change.status);
        serial = change.log.last().map_or(serial, |entry| entry.0);
    }
}

/// Waits until all the jobs have a status that is wanted (every final one is), or time is up. Prints
/// the id and the status of each, and says on stderr why one did not succeed; nothing where `quiet`.
/// The exit code: whether none failed, and whether all got so far in time.
pub(crate) fn all(
    client: &mut Client,
    ids: &[JobId],
    wanted: impl Fn(Status) -> bool,
    deadline: Option<Instant>,
    quiet: bool,
) -> Result<ExitCode, Error> {
    let (mut succeeded, mut in_time) = (true, true);
    for id in ids {
        let status = follow_until(client, *id, &wanted, deadline, |_| Ok(()))?;
        succeeded &= !status.is_final() || status == Status::Success;
        in_time &= wanted(status);
        tell(client, *id, status, quiet)?;
    }
    Ok(if in_time { ExitCode::from(u8::from(!succeeded)) } else { ExitCode::from(NOT_IN_TIME) })
}

/// Prints how a job ended, and says on stderr why it did not succeed; nothing where `quiet`.
pub(crate) fn tell(
    client: &mut Client,
    id: JobId,
    status: Status,
    quiet: bool,
) -> Result<(), Error> {
    if quiet {
        return Ok(());
    }
    output::print(format!("{id} {}", output::status(status.as_str())))?;
    explain(client, id, status)
}

/// Says why a job failed.
pub(crate) fn explain(client: &mut Client, id: JobId, status: Status) -> Result<(), Error> {
    if status != Status::Error {
        return Ok(());
    }
    let job = query(client, &[id], &["opstatus", "opresult", "summary"])?;
    let ops = job[0]["opstatus"].as_array().map_or(&[][..], Vec::as_slice);
    if let Some(failed) = ops.iter().position(|status| status == Status::Error.as_str()) {
        let (summary, result) = (&job[0]["summary"][failed], &job[0]["opresult"][failed]);
        output::progress(format!("job {id}, {}: {}", said(summary), result_text(result)));
    }
    Ok(())
}

/// The result of an opcode as text; an error, which is `[name, [message, ..]]`, as its message.
pub(crate) fn result_text(value: &Value) -> String {
    let name = value[0].as_str().filter(|name| name.starts_with("Op"));
    match (name, &value[1][0]) {
        (Some(_), Value::String(message)) => message.clone(),
        _ => said(value),
    }
}

/// Text for a terminal, everything else as JSON.
pub(crate) fn said(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), output::harmless)
}
