//! The methods about filter rules, and rules as LUXI writes them.

use serde_json::{Value, json};

use super::errand::{Desk, Held, Lane};
use super::message::{Failure, Request, success};
use super::methods::Reply;
use super::opcode::reason_to_wire;
use super::peer::Peer;
use super::rows::{Rows, row};
use crate::runtime::{Answer, FilterState};
use crate::vocabulary::{FilterAction, FilterId, FilterRule, NewFilter, Predicates, Reason};

/// Answered aside: with a long queue, asking all jobs about a rule takes a while.
fn aside(
    work: impl FnOnce(&Desk<'_>) -> Result<Held, Failure> + Send + 'static,
) -> Result<Reply, Failure> {
    Ok(Reply::in_lane(Some(Lane::Live), work))
}

/// `ReplaceFilter`: `[uuid or null, priority, predicates, action, reason]`. The uuid.
pub(super) fn replace_filter(peer: Peer, request: &Request) -> Result<Reply, Failure> {
    type Args = (Option<String>, Value, Value, Value, Vec<(String, String, i64)>);
    let (id, priority, predicates, action, reason): Args = request.args()?;
    let id = id.map(|id| id.parse::<FilterId>()).transpose()?;
    let new = NewFilter {
        priority: read_priority(request, &priority)?,
        predicates: read_predicates(request, &predicates)?,
        action: FilterAction::from_json(&action).map_err(|why| request.misfit(why))?,
        reason: reason.into_iter().map(step).collect(),
    };
    aside(move |desk| {
        let Answer { value, position } = desk.service.set_filter(id, new)?;
        let id = value.to_string();
        peer.did("ReplaceFilter", &json!({ "filter": id }));
        Ok(Held { answer: success(&id), position })
    })
}

fn step((source, text, time_ns): (String, String, i64)) -> Reason {
    Reason { source, text, time_ns }
}

fn read_priority(request: &Request, value: &Value) -> Result<u32, Failure> {
    let priority = value.as_u64().and_then(|priority| u32::try_from(priority).ok());
    priority.ok_or_else(|| {
        request.misfit(format!("the priority of a filter rule is a number from 0, not {value}"))
    })
}

/// What is no predicate at all gets luxid's answer; what is wrong within one, a better one.
fn read_predicates(request: &Request, value: &Value) -> Result<Predicates, Failure> {
    Predicates::from_json(value).map_err(|error| {
        let malformed = error.to_string().starts_with("malformed FilterPredicate");
        if malformed { request.misfit(error) } else { error.into() }
    })
}

/// `DeleteFilter`: `[uuid]`. Null.
pub(super) fn delete_filter(peer: Peer, request: &Request) -> Result<Reply, Failure> {
    let (id,): (String,) = request.args()?;
    let id: FilterId = id.parse()?;
    aside(move |desk| {
        let position = desk.service.delete_filter(id)?.position;
        peer.did("DeleteFilter", &json!({ "filter": id.to_string() }));
        Ok(Held { answer: success(&Value::Null), position })
    })
}

/// `QueryFilters`: `[uuids or null, fields]`. Rows in the order asked; all in the order of the
/// rules where none are named. One that is not there is an error.
pub(super) fn query_filters(request: &Request) -> Result<Reply, Failure> {
    let (ids, names): (Option<Vec<String>>, Vec<String>) = request.args()?;
    check_names(&names)?;
    let ids = ids.unwrap_or_default().iter().map(|id| id.parse()).collect::<Result<Vec<_>, _>>()?;
    aside(move |desk| {
        let Answer { value, position } = desk.service.filters();
        let mut rows = Rows::list(desk.answer_bytes);
        for rule in chosen(&value, &ids)? {
            let cells = names.iter().map(|name| field(rule, name).unwrap_or_default());
            rows.push(&row(&cells.collect()))?;
        }
        Ok(Held { answer: rows.finish(), position })
    })
}

fn chosen<'r>(all: &'r [FilterState], ids: &[FilterId]) -> Result<Vec<&'r FilterRule>, Failure> {
    if ids.is_empty() {
        return Ok(all.iter().map(|state| &state.rule).collect());
    }
    let find = |id: &FilterId| {
        let found = all.iter().map(|state| &state.rule).find(|rule| rule.id == *id);
        found.ok_or_else(|| {
            let sentence = format!("Filter rule with UUID {id} does not exist");
            Failure::exception("GenericError", sentence)
        })
    };
    ids.iter().map(find).collect()
}

fn check_names(names: &[String]) -> Result<(), Failure> {
    const NAMES: [&str; 6] =
        ["uuid", "watermark", "priority", "predicates", "action", "reason_trail"];
    let unknown: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !NAMES.contains(name)).collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => {
            let unknown = unknown.join(", ");
            Err(Failure::wrong_input(format!("Unknown output fields selected: {unknown}")))
        }
    }
}

/// A field of a rule by its name. As in Ganeti, the reason trail ends with when the rule was set.
pub(super) fn field(rule: &FilterRule, name: &str) -> Option<Value> {
    Some(match name {
        "uuid" => json!(rule.id.to_string()),
        "watermark" => json!(rule.watermark),
        "priority" => json!(rule.priority),
        "predicates" => rule.predicates.to_json(),
        "action" => rule.action.to_json(),
        "reason_trail" => {
            let set = json!(["luxid", "", rule.time.as_nanos()]);
            rule.reason.iter().map(reason_to_wire).chain([set]).collect()
        }
        _ => return None,
    })
}

/// `LockmasterFilters`: `[]`. All rules with their fields as objects, and how many jobs each
/// decides about.
pub(super) fn our_filters(request: &Request) -> Result<Reply, Failure> {
    let _: [Value; 0] = request.args()?;
    aside(|desk| {
        let Answer { value, position } = desk.service.filters();
        let objects: Value = value.iter().map(object).collect();
        Ok(Held { answer: success(&objects), position })
    })
}

fn object(state: &FilterState) -> Value {
    let rule = &state.rule;
    json!({
        "uuid": rule.id.to_string(), "watermark": rule.watermark, "priority": rule.priority,
        "predicates": rule.predicates.to_json(), "action": rule.action.to_json(),
        "reason": rule.reason.iter().map(reason_to_wire).collect::<Value>(),
        "set": rule.time.seconds_and_micros(), "jobs": state.jobs, "running": state.running,
    })
}
