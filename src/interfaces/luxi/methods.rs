//! What each method does: reads its arguments, asks the service, words the answer.

use std::collections::HashSet;
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};

use super::cluster;
use super::explain::{explanation_to_json, locks_to_json};
use super::fields::Field;
use super::message::{Failure, Object, Request, success, success_of_rows};
use super::opcode::{Dialect, Terms, from_wire, number};
use super::query::{query, query_fields};
use super::service::Service;
use super::stats::stats_to_json;
use super::watch::Watch;
use crate::interfaces::metrics::prometheus;
use crate::runtime::{Answer, CancelAnswer, JobView};
use crate::vocabulary::{Error, ErrorKind, JobId, NewJob, Priority};

/// Ganeti's methods that are not here (yet): they are refused as such, the rest as unknown.
const UNSUPPORTED: [&str; 5] =
    ["ArchiveJob", "AutoArchiveJobs", "DeleteFilter", "ReplaceFilter", "MasterFailover"];

/// Those that list what there is none of here.
const EMPTY: [&str; 7] = [
    "QueryExports",
    "QueryFilters",
    "QueryGroups",
    "QueryInstances",
    "QueryNetworks",
    "QueryNodes",
    "QueryTags",
];

/// Who asks, for the log, as far as the kernel knows: it has no number for a process outside
/// of our namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Peer {
    /// The user id.
    pub(super) uid: Option<u32>,
    /// The process id.
    pub(super) pid: Option<i32>,
}

/// What is to happen after a request was read.
#[derive(Debug)]
pub(super) enum Reply {
    /// This answer goes out once the log is durable up to that place.
    Held { answer: Vec<u8>, position: u64 },
    /// The answer comes when the job changes, or when time is up.
    Watch(Watch),
}

impl Reply {
    /// The answer with that result.
    pub(super) fn of(result: &Value, position: u64) -> Self {
        Self::Held { answer: success(result), position }
    }
}

/// Carries a request out, as far as that is possible at once.
pub(super) fn carry_out(
    service: &dyn Service,
    peer: Peer,
    request: &Request,
    now: Instant,
) -> Result<Reply, Failure> {
    let named = |result: Result<Reply, Failure>| result.map_err(|why| why.within(&request.method));
    match request.method.as_str() {
        "SubmitJob" => named(submit_job(service, peer, request)),
        "SubmitJobToDrainedQueue" => named(submit_job(service, peer, request)),
        "SubmitManyJobs" => named(submit_many_jobs(service, peer, request)),
        "QueryJobs" => query_jobs(service, request),
        "Query" => query(service, request),
        "QueryFields" => query_fields(request),
        "QueryConfigValues" => cluster::config_values(service, request),
        "QueryClusterInfo" => Ok(cluster::info()),
        "SetDrainFlag" => cluster::set_drain_flag(service, peer, request),
        "SetWatcherPause" => cluster::set_watcher_pause(request),
        "WaitForJobChange" => Ok(Reply::Watch(Watch::parse(request, now)?)),
        "CancelJob" => cancel_job(service, peer, request),
        "ChangeJobPriority" => change_priority(service, peer, request),
        "LockmasterSubmit" => named(submit_our_jobs(service, peer, request)),
        "LockmasterWhy" => why_job(service, request),
        "LockmasterLocks" => all_locks(service, request),
        "LockmasterStats" => all_stats(service, request),
        "PickupJob" => Err(Failure::exception(
            "GenericError",
            "Luxi call 'PickupJob' is for internal use only",
        )),
        method if EMPTY.contains(&method) => Ok(Reply::of(&json!([]), 0)),
        method if UNSUPPORTED.contains(&method) => Err(Failure::exception(
            "GenericError",
            format!("Luxi call '{method}' is not supported by lockmasterd"),
        )),
        method => Err(Failure::parse(format!(
            "Unable to parse LUXI request method: \
             Invalid string value for type LuxiReq: {}",
            json!(method)
        ))),
    }
}

/// `LockmasterStats`: `[]`; the counters, and the same as Prometheus reads them.
fn all_stats(service: &dyn Service, request: &Request) -> Result<Reply, Failure> {
    let []: [Value; 0] = request.args()?;
    let stats = service.stats();
    let mut answer = stats_to_json(&stats);
    answer["prometheus"] = json!(prometheus(&stats));
    Ok(Reply::of(&answer, 0))
}

type WireJob = Vec<Object<Value>>;

fn read_job(wire: &WireJob, dialect: Dialect, place: usize) -> Result<NewJob, Failure> {
    let ops = wire.iter().map(|op| from_wire(op, dialect, place));
    Ok(NewJob::of(ops.collect::<Result<Vec<_>, _>>()?))
}

fn submit_job(service: &dyn Service, peer: Peer, request: &Request) -> Result<Reply, Failure> {
    let (wire,): (WireJob,) = request.args()?;
    let job = read_job(&wire, Dialect::Ganeti, 0)?;
    let gate = if request.method == "SubmitJob" { Gate::Closes } else { Gate::StaysOpen };
    let (ids, position) = submit(service, peer, vec![job], gate)?;
    Ok(Reply::of(&json!(ids.first()), position))
}

fn submit_many_jobs(
    service: &dyn Service,
    peer: Peer,
    request: &Request,
) -> Result<Reply, Failure> {
    let (wire,): (Vec<WireJob>,) = request.args()?;
    let jobs = wire.iter().enumerate().map(|(place, job)| read_job(job, Dialect::Ganeti, place));
    let jobs = jobs.collect::<Result<_, _>>()?;
    let (ids, position) = submit(service, peer, jobs, Gate::Closes)?;
    Ok(Reply::of(&ids.iter().map(|id| json!([true, id])).collect(), position))
}

fn submit_our_jobs(service: &dyn Service, peer: Peer, request: &Request) -> Result<Reply, Failure> {
    #[derive(Deserialize)]
    struct OurJob {
        label: Option<String>,
        ops: WireJob,
        #[serde(default)]
        terms: Option<Terms>,
    }
    let (wire,): (Vec<OurJob>,) = request.args()?;
    let read = |(place, job): (usize, OurJob)| {
        let ops = read_job(&job.ops, Dialect::Own, place)?.ops;
        job.terms.unwrap_or_default().applied_to(NewJob { label: job.label, ..NewJob::of(ops) })
    };
    let jobs = wire.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
    let (ids, position) = submit(service, peer, jobs, Gate::Closes)?;
    Ok(Reply::of(&json!(ids), position))
}

/// What the drain flag does to a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Closes,
    StaysOpen,
}

fn submit(
    service: &dyn Service,
    peer: Peer,
    jobs: Vec<NewJob>,
    gate: Gate,
) -> Result<(Vec<JobId>, u64), Failure> {
    if jobs.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let answer = match gate {
        Gate::Closes => service.begin_submit(jobs)?,
        Gate::StaysOpen => service.begin_submit_although_drained(jobs)?,
    };
    let first = answer.value.first().map_or(0, |id| id.get());
    tracing::info!(uid = peer.uid, pid = peer.pid, first, jobs = answer.value.len(), "submitted");
    Ok((answer.value, answer.position))
}

/// The id of a job as clients send it: a number or a string of digits. None for 0 and below.
pub(super) fn job_id(value: &Value) -> Result<(i64, Option<JobId>), Failure> {
    let number = number(value).ok_or_else(|| match value.as_str() {
        Some(text) => Failure::parse(format!("parsing job id: cannot parse string '{text}'")),
        None => Failure::parse("parsing job id: Unable to read Integer"),
    })?;
    Ok((number, u64::try_from(number).ok().and_then(JobId::new)))
}

fn query_jobs(service: &dyn Service, request: &Request) -> Result<Reply, Failure> {
    let (ids, names): (Option<Vec<Value>>, Vec<String>) = request.args()?;
    let fields = Field::all_named(&names)?;
    let row = |view: &JobView| fields.iter().map(|field| field.of(view)).collect::<Value>();
    let asked = ids.unwrap_or_default().iter().map(job_id).collect::<Result<Vec<_>, _>>()?;
    if asked.is_empty() {
        let Answer { value, position } = service.jobs();
        let answer = success_of_rows(value.iter().map(row));
        return Ok(Reply::Held { answer, position });
    }
    let (mut position, mut seen) = (0, HashSet::new());
    let asked = asked.into_iter().filter(|(number, _)| seen.insert(*number));
    let answer = success_of_rows(asked.map(|(number, id)| {
        let Some(found) = id.and_then(|id| service.job(id)) else {
            return missing(number, &fields);
        };
        position = position.max(found.position);
        row(&found.value)
    }));
    Ok(Reply::Held { answer, position })
}

/// The row of a job that is not there: its id, and null for the rest.
fn missing(id: i64, fields: &[Field]) -> Value {
    fields.iter().map(|field| if *field == Field::Id { json!(id) } else { Value::Null }).collect()
}

fn cancel_job(service: &dyn Service, peer: Peer, request: &Request) -> Result<Reply, Failure> {
    let args: Vec<Value> = request.args()?;
    let ([id] | [id, Value::Bool(_)]) = args.as_slice() else {
        return Err(Failure::parse("Cannot convert arguments, error: Unable to read Pair"));
    };
    let (number, id) = job_id(id)?;
    let answer = id.map_or_else(|| Err(not_found()), |id| service.cancel(id));
    let (what, position) = match answer {
        Ok(answer) => (answer.value, answer.position),
        Err(error) if error.kind() == ErrorKind::NotFound => (CancelAnswer::AlreadyFinal, 0),
        Err(error) => return Err(error.into()),
    };
    tracing::info!(uid = peer.uid, pid = peer.pid, job = number, answer = ?what, "cancel");
    let (done, message) = cancel_message(what, number);
    Ok(Reply::of(&json!([done, message]), position))
}

fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such job")
}

fn cancel_message(what: CancelAnswer, job: i64) -> (bool, String) {
    match what {
        CancelAnswer::Dequeued => (true, format!("Dequeued job {job}")),
        CancelAnswer::StoppedWaiting => (true, "Job successfully cancelled".to_owned()),
        CancelAnswer::Informed => {
            (false, "Job no longer waiting, can't cancel (informed it anyway)".to_owned())
        }
        CancelAnswer::AlreadyFinal => (false, format!("Job {job} not found in queue")),
    }
}

fn change_priority(service: &dyn Service, peer: Peer, request: &Request) -> Result<Reply, Failure> {
    let (id, priority): (Value, i64) = request.args()?;
    let (number, id) = job_id(&id)?;
    let gone = || json!([false, format!("Job {number} not found in queue")]);
    let Some(id) = id.filter(|id| service.progress(*id, u64::MAX).is_some()) else {
        return Ok(Reply::of(&gone(), 0));
    };
    let answer = match service.change_priority(id, Priority::new(priority)?) {
        Ok(answer) => answer,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Refused) => {
            return Ok(Reply::of(&gone(), 0));
        }
        Err(error) => return Err(error.into()),
    };
    tracing::info!(uid = peer.uid, pid = peer.pid, job = number, priority, "changed priority");
    let said =
        format!("Priorities of pending opcodes for job {number} have been changed to {priority}");
    Ok(Reply::of(&json!([true, said]), answer.position))
}

fn why_job(service: &dyn Service, request: &Request) -> Result<Reply, Failure> {
    let (id,): (Value,) = request.args()?;
    let (number, id) = job_id(&id)?;
    let Answer { value, position } = id
        .and_then(|id| service.explain(id))
        .ok_or_else(|| Failure::exception("JobLost", format!("Job {number} not found in queue")))?;
    Ok(Reply::of(&explanation_to_json(&value), position))
}

fn all_locks(service: &dyn Service, request: &Request) -> Result<Reply, Failure> {
    let (graph,): (bool,) = request.args()?;
    let Answer { value, position } = service.locks(graph);
    Ok(Reply::of(&locks_to_json(&value), position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelling_is_answered_with_the_recorded_sentences() {
        let said: Vec<(bool, String)> = [
            CancelAnswer::Dequeued,
            CancelAnswer::StoppedWaiting,
            CancelAnswer::Informed,
            CancelAnswer::AlreadyFinal,
        ]
        .map(|what| cancel_message(what, 48))
        .into();
        let expected = [
            (true, "Dequeued job 48"),
            (true, "Job successfully cancelled"),
            (false, "Job no longer waiting, can't cancel (informed it anyway)"),
            (false, "Job 48 not found in queue"),
        ];
        assert_eq!(said, expected.map(|(done, text)| (done, text.to_owned())));
    }
}
