//! `LockmasterChanges`: a client follows all jobs.
//!
//! The daemon keeps nothing for such a client but that it waits: what it has not heard of yet is
//! in the list of the last changes that all share.

use std::time::{Duration, Instant};

use serde_json::json;

use super::message::{Failure, Request, success};
use super::methods::Reply;
use super::service::Service;
use crate::runtime::Changes;

/// How long changes may be gathered.
const LONGEST_GATHERING: Duration = Duration::from_secs(60);

/// A client that waits for anything to change.
#[derive(Debug)]
pub(super) struct Follow {
    /// Up to where it knows what has changed; none where it wants to know where it stands.
    pub(super) mark: Option<u64>,
    /// When it wants an answer in any case.
    pub(super) until: Option<Instant>,
    /// How long it waits for more after the first change.
    pub(super) gather: Duration,
}

/// Reads `[mark or null, timeout or null, gather]`.
pub(super) fn follow(request: &Request, now: Instant) -> Result<Reply, Failure> {
    let (mark, timeout, gather): (Option<u64>, Option<f64>, f64) = request.args()?;
    let until = timeout.map(seconds).transpose()?.and_then(|timeout| now.checked_add(timeout));
    let gather = seconds(gather)?.min(LONGEST_GATHERING);
    Ok(Reply::Follow(Follow { mark, until, gather }))
}

/// A time beyond all measure is as good as none.
fn seconds(number: f64) -> Result<Duration, Failure> {
    match number.is_sign_negative() || number.is_nan() {
        true => Err(Failure::exception("GenericError", format!("{number} seconds are no time"))),
        false => Ok(Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX)),
    }
}

/// The answer.
pub(super) fn told(service: &dyn Service, changes: &Changes) -> Vec<u8> {
    let Changes { mark, jobs } = changes;
    success(&json!({ "mark": mark, "last": service.last_id(), "jobs": jobs }))
}
