//! Following a job until it is final.

use lockmaster::interfaces::luxi::{Change, Client};
use lockmaster::vocabulary::{Error, JobId, Status};
use serde_json::Value;

use crate::daemon::query;
use crate::output;

/// Calls `each` for every change of the job until it is final and all its feedback was told.
/// The final status.
pub(crate) fn follow(
    client: &mut Client,
    id: JobId,
    mut each: impl FnMut(&Change) -> Result<(), Error>,
) -> Result<Status, Error> {
    let (mut known, mut serial) = (None, 0);
    loop {
        let change = client.wait_for_change(id, known, serial)?;
        each(&change)?;
        if change.status.is_final() {
            return Ok(change.status);
        }
        known = Some(change.status);
        serial = change.log.last().map_or(serial, |entry| entry.0);
    }
}

/// Waits until all the jobs are final. Prints the id and the status of each, and says on stderr
/// why one did not succeed; nothing where `quiet`. Whether all succeeded.
pub(crate) fn all(client: &mut Client, ids: &[JobId], quiet: bool) -> Result<bool, Error> {
    let mut succeeded = true;
    for id in ids {
        let status = follow(client, *id, |_| Ok(()))?;
        succeeded &= status == Status::Success;
        if !quiet {
            output::print(format!("{id} {}", output::status(status.as_str())))?;
            explain(client, *id, status)?;
        }
    }
    Ok(succeeded)
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
