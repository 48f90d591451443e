//! Why a job waits, and who holds which lock, as JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fields::time;
use crate::runtime::{Bucket, Explanation, LockOverview, LockWait, WaitLink, Why};
use crate::runtime::{LockReport, OwnerId, Reserves, is_client};
use crate::vocabulary::{JobId, Timestamp};

type Labels = BTreeMap<JobId, String>;

/// Why a job waits: an object with a `reason` and what belongs to it, and under `behind` the same
/// for the job at the end of its chain, for the one at the end of that one's, and so on.
#[must_use]
pub fn explanation_to_json(explanation: &Explanation) -> Value {
    let labels = &explanation.labels;
    let mut steps = explanation.steps.iter().map(|(job, why)| step(*job, why, labels));
    let mut first = steps.next().unwrap_or_default();
    first.insert("now".to_owned(), time(Some(explanation.now)));
    first.insert("behind".to_owned(), steps.map(Value::Object).collect());
    Value::Object(first)
}

fn step(job: JobId, why: &Why, labels: &Labels) -> Map<String, Value> {
    let mut step = object(match why {
        Why::Executing { opcode, since, told, killed } => json!({
            "reason": "executing", "opcode": opcode, "since": time(*since), "told": time(*told),
            "killed": time(*killed),
        }),
        Why::Undoing { opcode } => json!({ "reason": "undoing", "opcode": opcode }),
        Why::Final { status } => json!({ "reason": "final", "status": status }),
        Why::Dependency { on } => {
            json!({ "reason": "dependency", "on": on, "on_label": labels.get(on) })
        }
        Why::Lock(wait) => lock_wait(wait, labels),
        Why::OtherProcess { lock, mode, since, holder } => json!({
            "reason": "process", "lock": lock, "mode": mode, "since": time(Some(*since)),
            "holder": holder,
        }),
        Why::Filter { rule, action, remark } => json!({
            "reason": "filter", "rule": rule.to_string(), "action": action.to_json(),
            "remark": remark,
        }),
        Why::RateLimit { .. } => rate_limit(why, labels),
        Why::Later { until, tried, lacking } => json!({
            "reason": "later", "until": time(Some(*until)), "tried": tried, "lacking": lacking,
        }),
        Why::Starting => json!({ "reason": "starting" }),
        Why::Worker { before } => json!({ "reason": "worker", "before": before }),
        Why::Stopping => json!({ "reason": "stopping" }),
    });
    step.insert("job".to_owned(), json!(job));
    step.insert("label".to_owned(), json!(labels.get(&job)));
    step
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn rate_limit(why: &Why, labels: &Labels) -> Value {
    let Why::RateLimit { bucket, most, running, inside, before } = why else { return json!({}) };
    let (rule, name) = match bucket {
        Bucket::Rule(id) => (Some(id.to_string()), None),
        Bucket::Label(limit) => (None, Some(limit.name.as_str())),
    };
    let inside = inside.iter().map(|job| json!({ "job": job, "label": labels.get(job) }));
    json!({
        "reason": "rate-limit", "rule": rule, "bucket": name, "most": most, "running": running,
        "inside": inside.collect::<Value>(), "before": before,
    })
}

fn lock_wait(wait: &LockWait, labels: &Labels) -> Value {
    let in_the_way = wait.in_the_way.iter().map(|who| {
        json!({
            "job": number(who.job), "label": labels.get(&who.job), "mode": who.mode.to_string(),
            "since": time(who.since), "reserved": who.since.is_none(),
        })
    });
    json!({
        "reason": "lock", "lock": wait.lock, "mode": wait.mode.to_string(),
        "capacity": wait.capacity,
        "since": time(Some(wait.since)), "in_the_way": in_the_way.collect::<Value>(),
        "chain": wait.chain.iter().map(|each| link(each, labels)).collect::<Value>(),
        "passed": wait.passed, "reserves": reserves(wait.reserves),
    })
}

fn link(link: &WaitLink, labels: &Labels) -> Value {
    json!({
        "job": number(link.job), "label": labels.get(&link.job),
        "lock": link.lock, "mode": link.mode.to_string(),
        "blocker": number(link.blocker), "blocker_label": labels.get(&link.blocker),
        "held": link.held.to_string(), "since": time(link.since),
        "reserved": link.since.is_none(),
    })
}

/// The number of a job; null for a client of the daemon, which has none but a label.
fn number(id: JobId) -> Option<JobId> {
    (!is_client(id)).then_some(id)
}

fn reserves(reserves: Reserves) -> Value {
    match reserves {
        Reserves::Already => json!({ "when": "already" }),
        Reserves::WhenThereIsRoom => json!({ "when": "room" }),
        Reserves::After { grants, time } => {
            json!({ "when": "after", "grants": grants, "seconds": time.as_secs_f64() })
        }
        Reserves::Never => json!({ "when": "never" }),
    }
}

/// Every lock with its holders and, in the order of their turn, those who wait for it.
pub(super) fn locks_to_json(overview: &LockOverview) -> Value {
    let lock = |lock| lock_to_json(lock, &overview.labels);
    json!({
        "now": time(Some(overview.now)),
        "locks": overview.locks.iter().map(lock).collect::<Value>(),
        "graph": overview.graph,
    })
}

fn lock_to_json(lock: &LockReport, labels: &Labels) -> Value {
    let who = |owner: OwnerId, mode: String, since: Timestamp| {
        let id = JobId::new(owner.0);
        let label = id.and_then(|id| labels.get(&id));
        json!({ "job": id.map(number), "owner": owner.0, "label": label, "mode": mode, "since": time(Some(since)) })
    };
    let holders = lock.holders.iter().map(|one| who(one.owner, one.mode.to_string(), one.since));
    let waiters = lock.waiters.iter().map(|one| {
        let mut wanter = who(one.owner, one.mode.to_string(), one.since);
        wanter["priority"] = json!(one.priority.get());
        wanter
    });
    json!({
        "lock": lock.lock,
        "capacity": lock.capacity,
        "holders": holders.collect::<Value>(),
        "waiters": waiters.collect::<Value>(),
    })
}
