//! Every recorded exchange between Ganeti's own clients and its own daemon, replayed.
//!
//! A recording is replayed on a stage where jobs have the ids that were recorded, and the answers
//! are compared. Those that cannot be are listed with the reason. A recording in no list fails.

mod compare;
mod followed;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use lockmaster::vocabulary::Status;
use serde::Deserialize;
use serde_json::{Value, json};

use compare::plain;
use stage::{Stage, ops_of};

const RECORDINGS: &str = include_str!("../recordings/ganeti.jsonl");

/// A request, what Ganeti answered, and whether it kept the connection open.
#[derive(Debug, Deserialize)]
pub(crate) struct Exchange {
    name: String,
    request: String,
    responses: Vec<String>,
    open: bool,
}

fn recordings() -> BTreeMap<String, Vec<Exchange>> {
    let mut all = BTreeMap::<String, Vec<Exchange>>::new();
    for line in RECORDINGS.lines() {
        let exchange: Exchange = serde_json::from_str(line).expect("a recording is JSON");
        all.entry(exchange.name.clone()).or_default().push(exchange);
    }
    all
}

/// Recordings that are not replayed, and why.
const APART: [(&str, &str); 22] = [
    ("cluster-info", "values of that cluster; ours are few: cluster_info_has_the_recorded_keys"),
    ("cluster-version", "as cluster-info"),
    ("cluster-modify-max-running", "an opcode of Ganeti's own"),
    ("cluster-modify-max-running-back", "an opcode of Ganeti's own"),
    ("cluster-verify", "opcodes of Ganeti's own, which submit jobs"),
    ("debug-delay-node-unknown", "there is no list of nodes: any name is taken and locked"),
    ("debug-delay-rejected", FILTERS),
    ("debug-locks", "opcodes ask for all their locks at once, and hold none while they wait"),
    ("debug-submit-job-jqueue", "nobody connects for 20 s; test_jqueue.rs takes its steps"),
    ("filter-add-bad", FILTERS),
    ("filter-add-reject", FILTERS),
    ("filter-delete", FILTERS),
    ("filter-info", FILTERS),
    ("filter-list", FILTERS),
    ("job-autoarchive-1s", "jobs of a second ago; archive.rs waits for none"),
    ("job-autoarchive-all", "Ganeti archives nothing here; lists.rs has what we do"),
    ("job-cancel-kill", "opcodes are no processes: a kill cancels"),
    ("job-info-waiting", "a job that waits for locks has not started yet"),
    ("job-list-after-kill", "the thousand jobs of a benchmark"),
    ("job-list-allfields", "a job of test-jobqueue with its log; see job-watch-finished"),
    ("job-watch-finished", "a job of test-jobqueue, which test_jqueue.rs goes through"),
    ("probe-raw/invalid-utf8", "the bytes that were sent are not in the recording"),
];
const FILTERS: &str = "it is replayed in tests/daemon/filters.rs";

/// Clients that submit jobs and follow them, each on a fresh stage.
const FOLLOWED: [&str; 12] = [
    "debug-delay",
    "debug-delay-dryrun",
    "debug-delay-interruptible",
    "debug-delay-node",
    "debug-delay-nomaster",
    "debug-delay-printjobid",
    "debug-delay-reason",
    "debug-delay-zero-fails",
    "debug-submit-job",
    "debug-submit-job-dep-fail",
    "debug-submit-job-dependency",
    "debug-submit-job-each",
];

/// Those who come to an empty queue.
const EMPTY: [&str; 14] = [
    "job-list-empty",
    "job-list-fields",
    "job-list-fields-some",
    "job-list-verbose-ids-missing",
    "filter-list-empty",
    "filter-list-fields",
    "cluster-list-tags",
    "cluster-watcher-continue",
    "cluster-queue-info",
    "cluster-queue-drain",
    "cluster-queue-info-drained",
    "debug-delay-drained",
    "debug-submit-job-drained",
    "cluster-queue-undrain",
];

/// Those who come when fifteen jobs have ended, which `job-list` names. The sixth is archived.
const HISTORY: [&str; 18] = [
    "job-list",
    "job-list-archived",
    "job-list-error",
    "job-list-filter",
    "job-list-filter-regex",
    "job-list-finished",
    "job-list-ids",
    "job-list-pending",
    "job-list-running",
    "job-list-unknown",
    "job-wait-finished",
    "job-wait-missing",
    "job-watch-missing",
    "job-cancel-finished",
    "job-cancel-missing",
    "job-change-priority-finished",
    "job-archive",
    "job-archive-again",
];

/// Those who come when 43 jobs were submitted, which `job-list-afterarchive` names.
const LATER: [&str; 3] = ["job-list-afterarchive", "job-archive-missing", "job-archive-running"];

/// Those who come while job 24 holds a lock that others wait for.
const CONTENTION: [&str; 5] = [
    "job-info-running",
    "job-change-priority",
    "job-change-priority-running",
    "job-cancel-waiting",
    "job-cancel-running",
];

/// Those who come while nothing is started: another job, 47, was cancelled.
const PAUSED: [&str; 6] = [
    "debug-delay-paused-submit",
    "job-list-paused",
    "job-cancel-queued",
    "debug-delay-paused-submit2",
    "job-change-priority-queued",
    "job-list-paused2",
];

/// All that is replayed one by one, beside the probes.
const SINGLE: [&str; 9] = [
    "debug-delay-submit",
    "debug-delay-submit-prio-high",
    "debug-delay-submit-printjobid",
    "job-info",
    "job-list-unpaused",
    "job-wait-live",
    "job-watch-live",
    "job-watch-archived",
    "probe",
];

#[test]
fn every_recording_is_replayed_or_listed_with_a_reason() {
    let lists: [&[&str]; 7] = [&FOLLOWED, &EMPTY, &HISTORY, &LATER, &CONTENTION, &PAUSED, &SINGLE];
    let apart = APART.iter().map(|(name, _)| *name);
    let listed: Vec<&str> = lists.concat().into_iter().chain(apart).collect();
    let names: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(names.len(), listed.len(), "no recording is listed twice");
    let recordings = recordings();
    let is_probe = |name: &str| name.starts_with("probe-") && !names.contains(name);
    let missing: Vec<&String> = recordings
        .keys()
        .filter(|name| !names.contains(name.as_str()) && !is_probe(name))
        .collect();
    assert!(missing.is_empty(), "in no list: {missing:?}");
    let unknown: Vec<&&str> =
        names.iter().filter(|name| **name != "probe" && !recordings.contains_key(**name)).collect();
    assert!(unknown.is_empty(), "no recordings: {unknown:?}");
}

/// Sends what was recorded under those names, in order, and compares the answers.
fn replay(stage: &Stage, names: &[&str]) {
    let recordings = recordings();
    names.iter().for_each(|name| replay_exactly(stage, name, &recordings[*name]));
}

fn replay_exactly(stage: &Stage, name: &str, exchanges: &[Exchange]) {
    for exchange in exchanges {
        let (answers, open) = stage.exchange(&exchange.request);
        let plain = |all: &[String]| -> Vec<Value> { all.iter().map(|one| plain(one)).collect() };
        let (ours, recorded) = (plain(&answers), plain(&exchange.responses));
        assert_eq!(ours, recorded, "{name}: {}", exchange.request);
        assert_eq!(open, exchange.open, "{name}: whether the connection stays open");
    }
}

/// The first recorded request of that name as the opcodes it submits, and the id they got.
fn submitted(name: &str) -> (u64, Value) {
    let exchange = &recordings()[name][0];
    let request: Value = serde_json::from_str(&exchange.request).expect("a request is JSON");
    let answer: Value = serde_json::from_str(&exchange.responses[0]).expect("an answer is JSON");
    let id = &answer["result"];
    let id = id.as_u64().or_else(|| id[0][1].as_u64()).expect("the id of a job");
    (id, request["args"][0].clone())
}

#[test]
fn clients_that_follow_their_jobs_are_told_the_same() {
    for (name, exchanges) in recordings() {
        if FOLLOWED.contains(&name.as_str()) {
            let stage = Stage::real();
            stage.skip_to(submitted(&name).0);
            followed::replay(&stage, &name, &exchanges);
        }
    }
}

#[test]
fn clients_that_watch_are_told_the_same() {
    for (name, id, repeat) in [("job-wait-live", 42, 3), ("job-watch-live", 41, 4)] {
        let stage = Stage::real();
        let op = json!({
            "OP_ID": "OP_TEST_DELAY", "reason": [], "duration": 1e-3, "repeat": repeat,
        });
        stage.submit(id, &json!([op]));
        followed::replay(&stage, name, &recordings()[name]);
        if name == "job-watch-live" {
            stage.skip_to(43);
            stage.archive(id);
            replay(&stage, &["job-watch-archived"]);
        }
    }
}

#[test]
fn an_empty_queue_looks_the_same() {
    replay(&Stage::real(), &EMPTY);
}

/// Submits the jobs that were recorded in a list, and waits until they are as they were.
fn stage_of_list(name: &str) -> Stage {
    let stage = Stage::told();
    let listed: Value = serde_json::from_str(&recordings()[name][0].responses[0]).expect("JSON");
    for row in listed["result"]["data"].as_array().expect("rows") {
        let cell = |place: usize| &row[place][1];
        let (id, status) = (cell(0).as_u64().expect("an id"), cell(1).as_str().expect("a status"));
        let held = status == "canceled";
        stage.submit(id, &ops_of(cell(2), if held { "running" } else { status }));
        if held {
            stage.wait_for(id, Status::Running);
            stage.call(&json!({ "method": "CancelJob", "args": [id] }));
        }
        stage.wait_for(id, status.parse().expect("a status"));
    }
    stage
}

#[test]
fn a_queue_of_ended_jobs_looks_the_same() {
    replay(&stage_of_list("job-list"), &HISTORY);
}

#[test]
fn a_queue_that_was_archived_in_part_looks_the_same() {
    replay(&stage_of_list("job-list-afterarchive"), &LATER);
}

#[test]
fn jobs_that_wait_for_a_lock_look_the_same() {
    let stage = Stage::real();
    let submit = |name: &str| {
        stage.skip_to(submitted(name).0);
        replay(&stage, &[name]);
    };
    submit("debug-delay-submit");
    stage.wait_for(24, Status::Running);
    let (_, mut ops) = submitted("debug-delay-submit-printjobid");
    ops[0]["priority"] = json!(10);
    stage.submit(25, &ops);
    submit("debug-delay-submit-prio-high");
    submit("debug-delay-submit-printjobid");
    (25..=27).for_each(|id| stage.wait_for(id, Status::Waiting));
    replay(&stage, &CONTENTION);
}

#[test]
fn jobs_that_are_not_started_look_the_same() {
    let stage = Stage::paused();
    stage.submit(47, &submitted("debug-delay-paused-submit").1);
    stage.call(&json!({ "method": "CancelJob", "args": [47] }));
    replay(&stage, &PAUSED);
    stage.master.resume();
    stage.wait_for(49, Status::Success);
    replay(&stage, &["job-list-unpaused"]);
}

#[test]
fn what_is_told_of_a_job_is_the_same() {
    let stage = Stage::real();
    let (_, mut ops) = submitted("debug-delay");
    ops[0]["duration"] = json!(0.1);
    stage.submit(5, &ops);
    stage.wait_for(5, Status::Success);
    replay(&stage, &["job-info"]);
}

#[test]
fn requests_made_by_hand_are_answered_the_same() {
    let stage = Stage::paused();
    for name in ["debug-delay-paused-submit", "debug-delay-paused-submit"] {
        let id = stage.master.last_id().map_or(47, |last| last.get() + 1);
        stage.submit(id, &submitted(name).1);
        stage.call(&json!({ "method": "CancelJob", "args": [id] }));
    }
    stage.master.resume();
    for id in 49..70 {
        stage.submit(id, &ops_of(&json!(["TEST_DELAY(0.1)"]), "success"));
        stage.wait_for(id, Status::Success);
    }
    for (name, exchanges) in recordings() {
        let apart = APART.iter().any(|(apart, _)| *apart == name);
        if name.starts_with("probe-raw/") && !apart {
            replay_exactly(&stage, &name, &exchanges);
        }
    }
}

#[test]
fn waits_are_answered_the_same_in_time() {
    let running = Stage::real();
    let (_, ops) = submitted("debug-delay-submit");
    running.submit(1131, &ops);
    running.wait_for(1131, Status::Running);
    running.submit(1132, &ops);
    running.wait_for(1132, Status::Waiting);
    let ended = Stage::told();
    ended.submit(1131, &ops);
    ended.wait_for(1131, Status::Success);
    for (name, exchanges) in recordings() {
        if name.starts_with("probe-wait-timeout/") {
            let was_over = exchanges[0].responses[0].contains("success\"],");
            replay_exactly(if was_over { &ended } else { &running }, &name, &exchanges);
        }
    }
}

#[test]
fn cluster_info_has_the_recorded_keys() {
    let recorded: Value =
        serde_json::from_str(&recordings()["cluster-info"][0].responses[0]).expect("JSON");
    let ours = Stage::real().call(&json!({ "method": "QueryClusterInfo", "args": [] }));
    let keys = |answer: &Value| -> BTreeSet<String> {
        answer["result"].as_object().expect("an object").keys().cloned().collect()
    };
    let missing: Vec<_> = keys(&recorded).difference(&keys(&ours)).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
}
