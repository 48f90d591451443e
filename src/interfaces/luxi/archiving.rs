//! `ArchiveJob` and `AutoArchiveJobs`: what has ended leaves the queue.

use std::time::Duration;

use serde_json::{Value, json};

use super::errand::{Desk, Errand, Held, Lane};
use super::message::{Failure, Request, success};
use super::methods::{Reply, job_id};
use super::peer::Peer;
use crate::runtime::{Answer, AutoArchived};
use crate::vocabulary::ErrorKind;

/// The longest that jobs are archived in one request, as in luxid.
const LONGEST: Duration = Duration::from_secs(89);

/// `ArchiveJob`: `[id]`. Whether it was archived; not where it has not ended, was archived
/// before or never was.
pub(super) fn archive_job(peer: Peer, request: &Request) -> Result<Reply, Failure> {
    let (id,): (Value,) = request.args()?;
    let (number, id) = job_id(&id)?;
    Ok(Reply::Errand(Errand::new(Lane::Writing, move |desk| {
        let Answer { value: done, position } = match id.map(|id| desk.service.archive(id)) {
            None => Answer { value: false, position: 0 },
            Some(Ok(answer)) => answer,
            Some(Err(error)) if is_no_wonder(error.kind()) => Answer { value: false, position: 0 },
            Some(Err(error)) => return Err(error.into()),
        };
        peer.did("ArchiveJob", &json!({ "job": number, "done": done }));
        Ok(Held { answer: success(&done), position })
    })))
}

const fn is_no_wonder(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::Refused)
}

/// `AutoArchiveJobs`: `[age in seconds, timeout in seconds]`. Archives all that ended at least so
/// long ago; all that have ended where the age is negative, which is how `gnt-job autoarchive
/// all` asks. How many were archived, and how many not looked at.
pub(super) fn auto_archive(peer: Peer, request: &Request) -> Result<Reply, Failure> {
    let (age, timeout): (i64, i64) = request.args()?;
    let age = Duration::from_secs(u64::try_from(age).unwrap_or(0));
    let budget = Duration::from_secs(u64::try_from(timeout).unwrap_or(0)).min(LONGEST);
    let work = move |desk: &Desk<'_>| {
        let Answer { value, position } = desk.service.auto_archive(age, budget)?;
        let AutoArchived { archived, left } = value;
        let seconds = age.as_secs();
        peer.did("AutoArchiveJobs", &json!({ "age": seconds, "archived": archived, "left": left }));
        Ok(Held { answer: success(&(archived, left)), position })
    };
    Ok(Reply::Errand(Errand::new(Lane::Writing, work)))
}
