//! `OP_TEST_JQUEUE`, with a client that does what Ganeti's acceptance test does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::net::UnixStream;

use lockmaster::TypedOp;
use lockmaster::interfaces::luxi::Client;
use lockmaster::interfaces::test_jqueue::TestJqueue;
use lockmaster::vocabulary::{JobId, NewJob, Status};
use serde_json::{Value, json};

use crate::process::Place;

fn submit(client: &mut Client, units: &[TestJqueue]) -> JobId {
    let ops = units.iter().map(|unit| unit.opcode().unwrap());
    client.submit(&[NewJob::of(ops)]).unwrap()[0]
}

/// Follows a job to its end. Connects where it is told to, looks at the status while connected,
/// and leaves. What it saw: the lines, and the statuses at the notifications.
fn follow(place: &Place, client: &mut Client, id: JobId) -> (Status, Vec<Value>) {
    let (mut known, mut after, mut seen) = (None, 0, Vec::new());
    loop {
        let change = client.wait_for_change(id, known, after).unwrap();
        if change.log.is_empty() && change.status.is_final() {
            return (change.status, seen);
        }
        known = Some(change.status);
        for (serial, _, kind, message) in change.log {
            assert_eq!(serial, after + 1, "no line is lost or told twice");
            after = serial;
            if kind == "jqueue-test" {
                let _connected = UnixStream::connect(message[0].as_str().unwrap()).unwrap();
                let mut other = Client::connect(&place.path("socket")).unwrap();
                let status = other.query(&[id], &["status"]).unwrap();
                seen.push(json!([message[1], message[2], status[0][0]]));
            } else {
                seen.push(message);
            }
        }
    }
}

#[test]
fn the_client_is_told_of_every_step_and_sees_the_status_of_it() {
    let place = Place::new();
    let _daemon = place.start();
    let mut client = Client::connect(&place.path("socket")).unwrap();
    let unit = TestJqueue {
        notify_waitlock: true,
        notify_exec: true,
        log_messages: vec!["a".into(), String::new()],
        fail: false,
    };
    let steps = [
        json!(["expandnames", null, "waiting"]),
        json!(" - INFO: Expanding names"),
        json!(["exec", null, "running"]),
        json!(" - INFO: Executing"),
        json!(["startmsg", 2, "running"]),
        json!(" - INFO: Sending log message 1"),
        json!("TESTMSG=a"),
        json!(["logmsg", 1, "running"]),
        json!(" - INFO: Sending log message 2"),
        json!("TESTMSG="),
        json!(["logmsg", 2, "running"]),
    ];
    let failing = TestJqueue { fail: true, ..unit.clone() };
    let id = submit(&mut client, &[unit.clone(), failing, unit]);
    let (status, seen) = follow(&place, &mut client, id);
    assert_eq!((status, seen), (Status::Error, [steps.clone(), steps].concat()));
    let row = client.query(&[id], &["opstatus", "opresult"]).unwrap();
    let failed = |why: &str| json!(["OpExecError", [why]]);
    let results =
        json!([true, failed("Opcode failure was requested"), failed("Preceding opcode failed")]);
    assert_eq!(row[0], [json!(["success", "error", "error"]), results]);
}

#[test]
fn cancelling_ends_the_wait_for_a_client_in_either_phase() {
    let place = Place::new();
    let _daemon = place.start();
    let mut client = Client::connect(&place.path("socket")).unwrap();
    for notify_waitlock in [true, false] {
        let unit = TestJqueue { notify_waitlock, notify_exec: true, ..TestJqueue::default() };
        let id = submit(&mut client, &[unit]);
        let (mut known, mut after, mut socket) = (None, 0, None);
        while socket.is_none() {
            let change = client.wait_for_change(id, known, after).unwrap();
            known = Some(change.status);
            for (serial, _, kind, message) in change.log {
                after = serial;
                socket = (kind == "jqueue-test").then(|| message[0].clone()).or(socket);
            }
        }
        let began = std::time::Instant::now();
        let (done, _) = client.cancel(id).unwrap();
        assert_eq!(done, notify_waitlock, "cancelled at once before it executes");
        place.expect(1, &["wait", &id.to_string()]);
        let socket = socket.unwrap();
        let directory = std::path::Path::new(socket.as_str().unwrap()).parent().unwrap();
        // The next opcode can only be taken up when the worker is free again, its socket gone.
        let next = submit(&mut client, &[TestJqueue::default()]);
        let (status, _) = follow(&place, &mut client, next);
        assert_eq!(status, Status::Success, "the lock of the node is free again");
        assert!(notify_waitlock || !directory.exists());
        assert!(began.elapsed().as_secs() < 15, "it did not wait for its time to be up");
    }
}
