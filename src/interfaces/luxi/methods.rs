//! What each method does: reads its arguments, asks the service, words the answer.

use std::time::Instant;

use serde_json::{Value, json};

use super::archiving;
use super::changes::{self, Follow};
use super::cluster;
use super::errand::{Desk, Errand, Held, Lane};
use super::explain::{explanation_to_json, locks_to_json};
use super::fields::Field;
use super::filters;
use super::lock_methods::{self, LockWish};
use super::message::{Failure, Request, success};
use super::opcode::number;
use super::peer::{Peer, Rights};
use super::query::{query, query_fields};
use super::rows::{Rows, row};
use super::select::{self, Found, Selection, Span, Where};
use super::service::Service;
use super::stats::stats_to_json;
use super::submit;
use super::watch::Watch;
use crate::interfaces::metrics::prometheus;
use crate::runtime::{Answer, CancelAnswer};
use crate::vocabulary::{Error, ErrorKind, JobId, Priority, Status};

/// What who may only ask can do about it.
const ASK_FOR_RIGHTS: &str = "the daemon's configuration says who may, in its table access";

/// Ganeti's methods that are not here (yet): they are refused as such, the rest as unknown.
const UNSUPPORTED: [&str; 1] = ["MasterFailover"];

/// Those that list what there is none of here.
const EMPTY: [&str; 6] =
    ["QueryExports", "QueryGroups", "QueryInstances", "QueryNetworks", "QueryNodes", "QueryTags"];

/// Those that change nothing: clients that may only query may call these and no others.
const QUERIES: [&str; 13] = [
    "LockmasterChanges",
    "LockmasterFilters",
    "LockmasterLevels",
    "LockmasterLocks",
    "LockmasterStats",
    "LockmasterWhy",
    "Query",
    "QueryClusterInfo",
    "QueryConfigValues",
    "QueryFields",
    "QueryFilters",
    "QueryJobs",
    "WaitForJobChange",
];

/// What is to happen after a request was read.
#[derive(Debug)]
pub(super) enum Reply {
    /// This answer goes out once the log is durable up to that place.
    Held { answer: Vec<u8>, position: u64 },
    /// The answer comes when the job changes, or when time is up.
    Watch(Watch),
    /// The answer comes when any job changes, or when time is up.
    Follow(Follow),
    /// The answer comes when the locks are held, or when time is up.
    Lock(LockWish),
    /// The connection gives its locks back.
    Unlock,
    /// Another thread finds the answer.
    Errand(Errand),
    /// The loop itself finds the answer: that takes no time.
    AtOnce(Errand),
}

impl Reply {
    /// The answer with that result.
    pub(super) fn of(result: &Value, position: u64) -> Self {
        Self::Held { answer: success(result), position }
    }

    /// What that work finds, done by that lane; at once where there is none.
    pub(super) fn in_lane(
        lane: Option<Lane>,
        work: impl FnOnce(&Desk<'_>) -> Result<Held, Failure> + Send + 'static,
    ) -> Self {
        match lane {
            Some(lane) => Self::Errand(Errand::new(lane, work)),
            None => Self::AtOnce(Errand::new(Lane::Live, work)),
        }
    }
}

/// Carries a request out, as far as that is possible at once. What is refused is logged, but for
/// queries.
pub(super) fn carry_out(
    service: &dyn Service,
    (peer, rights): (Peer, Rights),
    request: &Request,
    now: Instant,
) -> Result<Reply, Failure> {
    let method = request.method.as_str();
    let is_query = QUERIES.contains(&method) || EMPTY.contains(&method);
    let reply = check_rights(peer, rights, method, is_query)
        .and_then(|()| dispatch(service, peer, request, now));
    if reply.is_err() && !is_query {
        peer.was_refused(method);
    }
    reply
}

fn check_rights(peer: Peer, rights: Rights, method: &str, is_query: bool) -> Result<(), Failure> {
    match rights {
        Rights::Everything => Ok(()),
        Rights::Query if is_query => Ok(()),
        Rights::Query => {
            let message = format!("{peer} may ask here, but not call {method}");
            Err(Failure::exception("GenericError", message).with_hint(ASK_FOR_RIGHTS))
        }
        Rights::Nothing => Err(Failure::Parse(format!("{peer} may not use this daemon"))),
    }
}

fn dispatch(
    service: &dyn Service,
    peer: Peer,
    request: &Request,
    now: Instant,
) -> Result<Reply, Failure> {
    let named = |result: Result<Reply, Failure>| result.map_err(|why| why.within(&request.method));
    match request.method.as_str() {
        "SubmitJob" => named(submit::job(service, peer, request)),
        "SubmitJobToDrainedQueue" => named(submit::job(service, peer, request)),
        "SubmitManyJobs" => named(submit::many_jobs(service, peer, request)),
        "LockmasterSubmit" => named(submit::our_jobs(service, peer, request)),
        "QueryJobs" => query_jobs(service, request),
        "Query" => query(service, request),
        "QueryFields" => query_fields(request),
        "QueryConfigValues" => cluster::config_values(service, request),
        "QueryClusterInfo" => Ok(cluster::info()),
        "SetDrainFlag" => cluster::set_drain_flag(service, peer, request),
        "SetWatcherPause" => cluster::set_watcher_pause(peer, request),
        "WaitForJobChange" => Ok(Reply::Watch(Watch::parse(request, now)?)),
        "CancelJob" => cancel_job(service, peer, request),
        "ChangeJobPriority" => change_priority(service, peer, request),
        "ArchiveJob" => archiving::archive_job(peer, request),
        "AutoArchiveJobs" => archiving::auto_archive(peer, request),
        "LockmasterChanges" => changes::follow(request, now),
        "LockmasterWhy" => why_job(request),
        "LockmasterLocks" => all_locks(request),
        "ReplaceFilter" => filters::replace_filter(peer, request),
        "DeleteFilter" => filters::delete_filter(peer, request),
        "QueryFilters" => filters::query_filters(request),
        "LockmasterFilters" => filters::our_filters(request),
        "LockmasterLevels" => lock_methods::levels(service),
        "LockmasterLock" => lock_methods::lock(service, peer, request, now),
        "LockmasterUnlock" => Ok(Reply::Unlock),
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

/// The id of a job as clients send it: a number or a string of digits. None for 0 and below.
pub(super) fn job_id(value: &Value) -> Result<(i64, Option<JobId>), Failure> {
    let number = number(value).ok_or_else(|| match value.as_str() {
        Some(text) => Failure::parse(format!("parsing job id: cannot parse string '{text}'")),
        None => Failure::parse("parsing job id: Unable to read Integer"),
    })?;
    Ok((number, select::job_id(number)))
}

/// `QueryJobs`: `[ids or null, names]`.
fn query_jobs(service: &dyn Service, request: &Request) -> Result<Reply, Failure> {
    let (ids, names): (Option<Vec<Value>>, Vec<String>) = request.args()?;
    let fields = Field::all_named(&names)?;
    let asked = ids.unwrap_or_default().iter().map(job_id).collect::<Result<Vec<_>, _>>()?;
    let all = match fields.contains(&Field::Archived) {
        true => Where::Everywhere,
        false => Where::Queue,
    };
    let all = Selection::Between(Span::ALL, all, Status::ALL.into());
    let selection = Selection::of(asked.into_iter().map(|(number, _)| number), all);
    let lane = selection.lane(service);
    Ok(Reply::in_lane(lane, move |desk| {
        let mut rows = Rows::list(desk.answer_bytes);
        let position = selection.write(desk, &mut rows, &|found| {
            let values = fields.iter().map(|field| match found {
                Found::Job(view) => field.of(view),
                Found::Nothing(number) if *field == Field::Id => json!(number),
                Found::Nothing(_) => Value::Null,
            });
            Ok(Some(row(&values.collect())))
        })?;
        Ok(Held { answer: rows.finish(), position })
    }))
}

fn cancel_job(service: &dyn Service, peer: Peer, request: &Request) -> Result<Reply, Failure> {
    let args: Vec<Value> = request.args()?;
    let ([id] | [id, Value::Bool(_)]) = args.as_slice() else {
        return Err(request.misfit_of_both("Unable to read Pair"));
    };
    let unreadable = |failure: Failure| request.misfit_of_both(failure.cause());
    let (number, id) = job_id(id).map_err(unreadable)?;
    let answer = id.map_or_else(|| Err(not_found()), |id| service.cancel(id));
    let (what, position) = match answer {
        Ok(answer) => (answer.value, answer.position),
        Err(error) if error.kind() == ErrorKind::NotFound => (CancelAnswer::AlreadyFinal, 0),
        Err(error) => return Err(error.into()),
    };
    let (done, message) = cancel_message(what, number);
    peer.did("CancelJob", &json!({ "job": number, "done": done }));
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
    peer.did("ChangeJobPriority", &json!({ "job": number, "priority": priority }));
    let said =
        format!("Priorities of pending opcodes for job {number} have been changed to {priority}");
    Ok(Reply::of(&json!([true, said]), answer.position))
}

/// Follows who waits for whom, which may lead through many jobs.
fn why_job(request: &Request) -> Result<Reply, Failure> {
    let (id,): (Value,) = request.args()?;
    let (number, id) = job_id(&id)?;
    Ok(Reply::Errand(Errand::new(Lane::Live, move |desk| {
        let found = id.and_then(|id| desk.service.explain(id));
        let Answer { value, position } = found.ok_or_else(|| {
            Failure::exception("JobLost", format!("Job {number} not found in queue"))
        })?;
        Ok(Held { answer: success(&explanation_to_json(&value)), position })
    })))
}

fn all_locks(request: &Request) -> Result<Reply, Failure> {
    let (graph,): (bool,) = request.args()?;
    Ok(Reply::Errand(Errand::new(Lane::Live, move |desk| {
        let Answer { value, position } = desk.service.locks(graph);
        Ok(Held { answer: success(&locks_to_json(&value)), position })
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_only_ask_changes_nothing_and_who_may_nothing_is_disconnected() {
        let check = |rights, method| {
            check_rights(Peer::default(), rights, method, QUERIES.contains(&method))
        };
        for method in ["SubmitJob", "CancelJob", "ArchiveJob", "SetDrainFlag", "NoSuchMethod"] {
            let refused = check(Rights::Query, method).unwrap_err();
            assert!(!refused.closes(), "{refused:?}");
            assert_eq!(check(Rights::Everything, method), Ok(()));
        }
        for method in QUERIES {
            assert_eq!(check(Rights::Query, method), Ok(()));
            assert!(check(Rights::Nothing, method).unwrap_err().closes());
        }
    }

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
