//! Submissions: reads jobs, and hands them to the queue.

use serde::Deserialize;
use serde_json::{Value, json};

use super::errand::{Held, Lane};
use super::message::{Failure, Object, Request, success};
use super::methods::Reply;
use super::opcode::{Dialect, Terms, from_wire};
use super::peer::Peer;
use super::select::is_archived;
use super::service::Service;
use crate::vocabulary::{JobId, JobRef, NewJob, SubmissionKey};

type WireJob = Vec<Object<Value>>;

fn read_job(wire: &WireJob, dialect: Dialect, place: usize) -> Result<NewJob, Failure> {
    let ops = wire.iter().map(|op| from_wire(op, dialect, place));
    Ok(NewJob::of(ops.collect::<Result<Vec<_>, _>>()?))
}

/// `SubmitJob` and `SubmitJobToDrainedQueue`: `[ops]`.
pub(super) fn job(service: &dyn Service, peer: Peer, request: &Request) -> Result<Reply, Failure> {
    let (wire,): (WireJob,) = request.args()?;
    let jobs = vec![read_job(&wire, Dialect::Ganeti, 0)?];
    let gate = if request.method == "SubmitJob" { Gate::Closes } else { Gate::StaysOpen };
    let submission = Submission { method: request.method.clone(), peer, jobs, gate };
    submission.reply(service, |ids| json!(ids.first()))
}

/// `SubmitManyJobs`: `[[ops, ..]]`; one bad job refuses them all.
pub(super) fn many_jobs(
    service: &dyn Service,
    peer: Peer,
    request: &Request,
) -> Result<Reply, Failure> {
    let (wire,): (Vec<WireJob>,) = request.args()?;
    let jobs = wire.iter().enumerate().map(|(place, job)| read_job(job, Dialect::Ganeti, place));
    let jobs = jobs.collect::<Result<_, _>>()?;
    let submission = Submission { method: request.method.clone(), peer, jobs, gate: Gate::Closes };
    submission.reply(service, |ids| ids.iter().map(|id| json!([true, id])).collect())
}

/// `LockmasterSubmit`: `[[{"label", "ops", "terms"}, ..]]`, in our own dialect, and a key of it.
pub(super) fn our_jobs(
    service: &dyn Service,
    peer: Peer,
    request: &Request,
) -> Result<Reply, Failure> {
    #[derive(Deserialize)]
    struct OurJob {
        label: Option<String>,
        ops: WireJob,
        #[serde(default)]
        terms: Option<Terms>,
    }
    #[derive(Deserialize)]
    struct Arguments(Vec<OurJob>, #[serde(default)] Option<SubmissionKey>);
    let Arguments(wire, key) = request.args()?;
    let read = |(place, job): (usize, OurJob)| {
        let ops = read_job(&job.ops, Dialect::Own, place)?.ops;
        job.terms.unwrap_or_default().applied_to(NewJob { label: job.label, ..NewJob::of(ops) })
    };
    let jobs = wire.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
    let gate = key.map_or(Gate::Closes, Gate::Once);
    let submission = Submission { method: request.method.clone(), peer, jobs, gate };
    submission.reply(service, |ids| json!(ids))
}

/// What lets a submission in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Gate {
    /// Not where the queue is drained.
    Closes,
    StaysOpen,
    /// Not where the queue is drained; and under one key only once.
    Once(SubmissionKey),
}

/// Jobs that somebody submits.
struct Submission {
    method: String,
    peer: Peer,
    jobs: Vec<NewJob>,
    gate: Gate,
}

impl Submission {
    /// Submits them, and words the answer. At once, unless one depends on an archived job: then
    /// the archive has to be asked how that one ended.
    fn reply(
        self,
        service: &dyn Service,
        word: impl FnOnce(&[JobId]) -> Value + Send + 'static,
    ) -> Result<Reply, Failure> {
        if self.jobs.is_empty() {
            return Ok(Reply::of(&word(&[]), 0));
        }
        if self.depends_on_archived(service) {
            return Ok(Reply::in_lane(Some(Lane::Archive), move |desk| {
                let (ids, position) = self.submit(desk.service)?;
                Ok(Held { answer: success(&word(&ids)), position })
            }));
        }
        let (ids, position) = self.submit(service)?;
        Ok(Reply::of(&word(&ids), position))
    }

    fn depends_on_archived(&self, service: &dyn Service) -> bool {
        let depends = self.jobs.iter().flat_map(|job| &job.ops).flat_map(|op| &op.depends);
        let mut ids = depends.filter_map(|dependency| match dependency.on {
            JobRef::Id(id) => Some(id),
            JobRef::Batch(_) => None,
        });
        ids.any(|id| is_archived(service, id))
    }

    fn submit(self, service: &dyn Service) -> Result<(Vec<JobId>, u64), Failure> {
        let answer = match self.gate {
            Gate::Closes => service.begin_submit(self.jobs)?,
            Gate::StaysOpen => service.begin_submit_although_drained(self.jobs)?,
            Gate::Once(key) => service.begin_submit_once(&key, self.jobs)?,
        };
        let (first, count) = (answer.value.first(), answer.value.len());
        self.peer.did(&self.method, &json!({ "job": first, "jobs": count }));
        Ok((answer.value, answer.position))
    }
}
