//! Recordings of a client that submits jobs and follows them to their ends. Of the statuses in
//! between, a client may see any: what is compared is what was said, how it ended, and the rest.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Exchange;
use super::compare::plain;
use super::stage::Stage;

/// How a job ended, and what it said.
type Followed = (Value, Vec<Value>);

/// Sends what was recorded, and compares. Jobs that are followed and not submitted exist.
pub(super) fn replay(stage: &Stage, name: &str, exchanges: &[Exchange]) {
    let mut recorded: BTreeMap<String, Followed> = BTreeMap::new();
    for exchange in exchanges {
        let request: Value = serde_json::from_str(&exchange.request).expect("a request is JSON");
        let expected: Value = serde_json::from_str(&exchange.responses[0]).expect("JSON");
        match request["method"].as_str().expect("a method") {
            "WaitForJobChange" if expected["success"] == true => {
                let id = request["args"][0].to_string();
                let (status, said) = recorded.entry(id).or_default();
                *status = expected["result"][0].clone();
                said.extend(expected["result"][1].as_array().into_iter().flatten().cloned());
            }
            // Which jobs have ended by then is chance.
            "QueryJobs" if request["args"][1] == json!(["status"]) => {}
            "QueryJobs" => {
                compare_ends(stage, name, &mut recorded);
                compare(stage, name, exchange);
            }
            _ => compare(stage, name, exchange),
        }
    }
    compare_ends(stage, name, &mut recorded);
}

fn compare(stage: &Stage, name: &str, exchange: &Exchange) {
    let (answers, expected) =
        (stage.talk(&format!("{}\u{3}", exchange.request)), &exchange.responses);
    let plain = |all: &[String]| all.iter().map(|one| plain(one)).collect::<Vec<_>>();
    assert_eq!(plain(&answers), plain(expected), "{name}: {}", exchange.request);
}

/// Follows those jobs as the client did.
fn compare_ends(stage: &Stage, name: &str, recorded: &mut BTreeMap<String, Followed>) {
    for (id, (status, said)) in std::mem::take(recorded) {
        let id: Value = serde_json::from_str(&id).expect("an id is JSON");
        let (ended, says) = follow(stage, &id);
        assert_eq!(ended, status, "{name}: how job {id} ended");
        assert_eq!(without_times(&says), without_times(&said), "{name}: what job {id} said");
    }
}

fn follow(stage: &Stage, id: &Value) -> Followed {
    let (mut known, mut serial, mut said) = (Value::Null, Value::Null, Vec::new());
    loop {
        let args = json!([id, ["status"], known, serial, 60]);
        let answer = stage.call(&json!({ "method": "WaitForJobChange", "args": args }));
        let new = answer["result"][1].as_array().expect("a list of lines").clone();
        known = answer["result"][0].clone();
        let ended = ["success", "error", "canceled"].contains(&known[0].as_str().expect("text"));
        if ended && new.is_empty() {
            return (known, said);
        }
        serial = new.last().map_or(serial, |line| line[0].clone());
        said.extend(new);
    }
}

/// What was said, without when, and without Ganeti's prefix: the master's own lines have none.
fn without_times(said: &[Value]) -> Vec<Value> {
    let message = |line: &Value| match line[3].as_str() {
        Some(text) => json!(text.trim_start_matches(" - INFO: ")),
        // Where the socket is differs.
        None => json!(line[3].as_array().map(|parts| parts[1..].to_vec())),
    };
    said.iter().map(|line| json!([line[0], line[2], message(line)])).collect()
}
