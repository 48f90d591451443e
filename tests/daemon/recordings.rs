//! What Ganeti's own clients sent and were answered, replayed against the daemon.
//!
//! Compared up to the ids of jobs, times, and the statuses between submission and end, of which
//! a client may see any.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::process::Place;

const RECORDINGS: [(&str, &str); 8] = [
    ("debug-delay", include_str!("recordings/debug-delay.jsonl")),
    ("debug-delay-nomaster", include_str!("recordings/debug-delay-nomaster.jsonl")),
    ("debug-delay-dryrun", include_str!("recordings/debug-delay-dryrun.jsonl")),
    ("debug-delay-zero-fails", include_str!("recordings/debug-delay-zero-fails.jsonl")),
    ("debug-delay-reason", include_str!("recordings/debug-delay-reason.jsonl")),
    ("debug-submit-job", include_str!("recordings/debug-submit-job.jsonl")),
    ("debug-submit-job-dep-fail", include_str!("recordings/debug-submit-job-dep-fail.jsonl")),
    ("debug-submit-job-dependency", include_str!("recordings/debug-submit-job-dependency.jsonl")),
];

/// A client that sends recorded bytes, with the ids of its jobs in place of the recorded ones.
struct Replay {
    stream: UnixStream,
    ids: HashMap<u64, u64>,
}

impl Replay {
    fn call(&mut self, request: &Value) -> Value {
        self.stream.write_all(format!("{request}\n\u{3}").as_bytes()).expect("the daemon reads");
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(&[3]) {
            self.stream.read_exact(&mut byte).expect("an answer");
            answer.extend(byte);
        }
        serde_json::from_slice(&answer[..answer.len() - 1]).expect("answers are JSON")
    }

    /// The id of ours that stands for a recorded one.
    fn id(&self, recorded: &Value) -> Value {
        json!(self.ids[&recorded.as_u64().expect("a job id")])
    }

    fn learn(&mut self, recorded: &Value, ours: &Value) {
        if let (Some(recorded), Some(ours)) = (recorded.as_u64(), ours.as_u64()) {
            self.ids.insert(recorded, ours);
        }
        let pairs =
            recorded.as_array().into_iter().flatten().zip(ours.as_array().into_iter().flatten());
        pairs.for_each(|(recorded, ours)| self.learn(recorded, ours));
    }

    /// Waits until the job is final, as Ganeti's clients do: its status, and what it said.
    fn poll(&mut self, id: &Value) -> (Value, Vec<Value>) {
        let (mut known, mut serial, mut log) = (Value::Null, Value::Null, Vec::new());
        loop {
            let args = json!([id, ["status"], known, serial, 60]);
            let answer = self.call(&json!({"method": "WaitForJobChange", "args": args}));
            let (values, new) = (answer["result"][0].clone(), answer["result"][1].as_array());
            let new = new.expect("a list of log lines").clone();
            if new.is_empty()
                && ["success", "error"].contains(&values[0].as_str().expect("a status"))
            {
                return (values, log);
            }
            serial = new.last().map_or(serial, |line| line[0].clone());
            log.extend(new);
            known = values;
        }
    }
}

fn field(text: &str, name: &str) -> Value {
    let line: Value = serde_json::from_str(text).expect("a recording is JSON");
    serde_json::from_str(line[name].as_str().expect("text")).expect("a message is JSON")
}

/// What was said, without when, and without Ganeti's prefix: the master's own lines have none.
fn said(log: &[Value]) -> Vec<Value> {
    let text = |line: &Value| line[3].as_str().map(|text| text.replace(" - INFO: ", ""));
    log.iter().map(|line| json!([line[0], line[2], text(line)])).collect()
}

/// Ids in sentences are recorded ones.
fn in_our_words(replay: &Replay, recorded: &Value) -> Value {
    let mut text = recorded.to_string();
    for (recorded, ours) in &replay.ids {
        text = text.replace(&format!("job {recorded} "), &format!("job {ours} "));
    }
    serde_json::from_str(&text).expect("only digits were changed")
}

fn replay(name: &str, recording: &str, replay: &mut Replay) {
    let mut polled: HashMap<String, (Value, Vec<Value>)> = HashMap::new();
    let mut recorded_log: HashMap<String, Vec<Value>> = HashMap::new();
    for line in recording.lines() {
        let (request, expected) = (field(line, "request"), field(line, "response"));
        let args = request["args"].clone();
        match request["method"].as_str().expect("a method") {
            "SubmitJob" | "SubmitManyJobs" => {
                let answer = replay.call(&request);
                assert_eq!(answer["success"], true, "{name}: {answer}");
                replay.learn(&expected["result"], &answer["result"]);
            }
            "WaitForJobChange" => {
                let id = replay.id(&args[0]);
                let log = recorded_log.entry(id.to_string()).or_default();
                log.extend(expected["result"][1].as_array().into_iter().flatten().cloned());
                let (status, log) =
                    polled.entry(id.to_string()).or_insert_with(|| replay.poll(&id)).clone();
                if ["success", "error"].contains(&expected["result"][0][0].as_str().expect("text"))
                {
                    assert_eq!(status, expected["result"][0], "{name}");
                    assert_eq!(said(&log), said(&recorded_log[&id.to_string()]), "{name}");
                }
            }
            "QueryJobs" if args[1] != json!(["status"]) => {
                let ids: Vec<Value> =
                    args[0].as_array().expect("ids").iter().map(|id| replay.id(id)).collect();
                let answer = replay.call(&json!({"method": "QueryJobs", "args": [ids, args[1]]}));
                assert_eq!(answer, in_our_words(replay, &expected), "{name}: {args}");
            }
            _ => {}
        }
    }
    assert!(!polled.is_empty(), "{name} has a job that ends");
}

#[test]
fn ganetis_clients_are_answered_as_by_ganeti() {
    let place = Place::new();
    let _daemon = place.start();
    for (name, recording) in RECORDINGS {
        let stream = UnixStream::connect(place.path("socket")).unwrap();
        replay(name, recording, &mut Replay { stream, ids: HashMap::new() });
    }
}
