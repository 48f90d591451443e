//! Reservations that end by themselves, where whoever made them is not heard of again.
//!
//! The end is a job that waits for its time: it is on disk before the reservation is made, and
//! the master's alarm starts it, whichever master that is by then.

use std::time::Duration;

use lockmaster::vocabulary::{OpTerms, Retries};
use lockmaster::{
    Context, DeclaredLocks, Error, JobId, LogicalUnit, Master, NewJob, OpError, Status, TypedOp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::backend::{Backend, Failed};
use super::calls::Volume;

/// Takes a reservation back, unless it has become an attachment or somebody else's meanwhile.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Expire {
    pub(crate) volume: String,
    pub(crate) owner: String,
    pub(crate) since: i64,
    pub(crate) backend: Backend,
}

impl TypedOp for Expire {
    const ID: &'static str = "OP_VOLUME_EXPIRE";
}

impl LogicalUnit for Expire {
    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        if level == "volume" { locks.exclusive(&self.volume) } else { Ok(()) }
    }

    fn check_prereq(&mut self, context: &Context) -> Result<(), OpError> {
        match context.tried() {
            0 => Err(OpError::temporary("the reservation has time left")),
            _ => Ok(()),
        }
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        let (config, backend) = (context.config(), &self.backend);
        let volume = Volume { config, backend, name: &self.volume };
        let expires = volume.read()["reservation"] == self.reservation();
        if expires {
            volume.uninitialize()?;
            volume.unreserve()?;
        }
        Ok(json!({ "expired": expires }))
    }
}

impl Expire {
    fn reservation(&self) -> Value {
        json!({ "owner": self.owner, "since": self.since })
    }

    /// The job that does so after that time.
    pub(crate) fn after(&self, time: Duration) -> Result<NewJob, Error> {
        let retries = Retries { tries: 2, first: time, most: time };
        let terms = OpTerms { retries: Some(retries), ..OpTerms::default() };
        Ok(NewJob::of([self.opcode()?.on_terms(terms)]))
    }
}

/// Reserves a volume for that time at most. The job that ends it comes first: it finds nothing to
/// do where there is no reservation. Where its time came while the volume was being reserved, it
/// may have looked before: the reservation is taken back then, and refused.
pub(crate) fn reserve_for(
    master: &Master,
    volume: &Volume<'_>,
    (owner, since): (&str, i64),
    time: Duration,
) -> Result<JobId, Failed> {
    let [name, owner] = [volume.name, owner].map(str::to_owned);
    let expire = Expire { volume: name, owner, since, backend: volume.backend.clone() };
    let submitted = expire.after(time).and_then(|job| master.submit_one(job));
    let job = submitted.map_err(|error| Failed::new("InvalidVolume", error.to_string()))?;
    volume.reserve(&expire.owner, since)?;
    if has_time_left(master, job) {
        return Ok(job);
    }
    if volume.read()["reservation"] == expire.reservation() {
        volume.unreserve()?;
    }
    Err(Failed::new("InvalidVolume", "reserving took longer than the reservation was to last"))
}

/// Whether a job that ends a reservation is still to look at it.
fn has_time_left(master: &Master, job: JobId) -> bool {
    let Some(view) = master.job(job).map(|read| read.value) else { return false };
    view.status == Status::Queued || view.job.ops.iter().all(|op| op.tries.count == 0)
}
