//! What the server promises.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use lockmaster::interfaces::luxi::Client;
use lockmaster::vocabulary::{ErrorKind, JobId, JobRef, NewJob, OpCode, OpId, Params, Status};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::fake::{Served, request};

#[test]
fn requests_sent_together_are_answered_in_order() {
    let served = Served::new();
    let mut client = served.connect();
    client.submit();
    let many: String = (0..500)
        .map(|n| request("QueryJobs", &format!("[[{}],[\"id\",\"status\"]]", 1 + n % 2)))
        .collect();
    client.send(&many);
    for n in 0..500 {
        let expected = ["[[1,\"queued\"]]", "[[2,null]]"][n % 2];
        let answer = client.receive().unwrap();
        assert_eq!(answer, format!("{{\"success\":true,\"result\":{expected}}}"), "request {n}");
    }
}

#[test]
fn nothing_is_answered_before_it_is_durable() {
    let served = Served::new();
    served.queue.hold_durable(true);
    let (mut client, mut other) = (served.connect(), served.connect());
    client.send(&request("SubmitJob", r#"[[{"OP_ID":"OP_X","reason":[]}]]"#));
    served.queue.wait_for_held();
    client.stream.set_nonblocking(true).unwrap();
    let early = client.stream.read(&mut [0; 64]).unwrap_err();
    assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
    assert!(other.call("PickupJob", "[1]").contains("internal use only"), "others go on");
    client.stream.set_nonblocking(false).unwrap();
    served.queue.hold_durable(false);
    assert_eq!(client.receive().unwrap(), r#"{"success":true,"result":1}"#);
}

#[test]
fn a_watching_client_is_told_of_each_change_and_of_new_feedback() {
    let served = Served::new();
    let mut client = served.connect();
    client.submit();
    let watch = |known: &str, serial: &str| {
        request("WaitForJobChange", &format!("[1,[\"status\"],{known},{serial},60]"))
    };
    client.send(&watch("null", "null"));
    assert_eq!(client.receive().unwrap(), r#"{"success":true,"result":[["queued"],[]]}"#);
    client.send(&watch(r#"["queued"]"#, "null"));
    served.queue.wait_for_watchers(1);
    served.queue.set_status(1, Status::Running);
    assert_eq!(client.receive().unwrap(), r#"{"success":true,"result":[["running"],[]]}"#);
    client.send(&watch(r#"["running"]"#, "null"));
    served.queue.wait_for_watchers(1);
    served.queue.say(1, "héllo");
    let line = r#"[[1,[2,3],"message","héllo"]]"#;
    let expected = format!(r#"{{"success":true,"result":[["running"],{line}]}}"#);
    assert_eq!(client.receive().unwrap(), expected);
    client.send(&watch(r#"["running"]"#, "1"));
    served.queue.wait_for_watchers(1);
    served.queue.set_status(1, Status::Success);
    let last = r#"{"success":true,"result":[["success"],[]]}"#;
    assert_eq!(client.receive().unwrap(), last);
    client.send(&watch(r#"["success"]"#, "1"));
    assert_eq!(client.receive().unwrap(), last, "a final job is answered at once");
}

#[test]
fn a_change_that_is_none_for_the_client_does_not_wake_it_and_time_does() {
    let served = Served::new();
    let mut client = served.connect();
    client.submit();
    client.send(&request("WaitForJobChange", r#"[1,["status"],["queued"],null,0.3]"#));
    served.queue.wait_for_watchers(1);
    served.queue.set_status(1, Status::Queued);
    served.queue.wait_for_watchers(1);
    assert_eq!(client.receive().unwrap(), r#"{"success":true,"result":[["queued"],[]]}"#);
    served.queue.wait_for_watchers(0);
}

#[test]
fn a_client_that_leaves_takes_its_registration_with_it() {
    let served = Served::new();
    served.connect().submit();
    let mut clients: Vec<_> = (0..20).map(|_| served.connect()).collect();
    for client in &mut clients {
        client.send(&request("WaitForJobChange", r#"[1,["status"],["queued"],null,60]"#));
    }
    served.queue.wait_for_watchers(20);
    drop(clients);
    served.queue.wait_for_watchers(0);
}

#[test]
fn a_client_that_has_said_all_is_still_answered() {
    let served = Served::new();
    let mut client = served.connect();
    client.submit();
    client.send(&request("WaitForJobChange", r#"[1,["status"],["queued"],null,60]"#));
    client.stream.shutdown(Shutdown::Write).unwrap();
    served.queue.wait_for_watchers(1);
    served.queue.set_status(1, Status::Error);
    assert_eq!(client.receive().unwrap(), r#"{"success":true,"result":[["error"],[]]}"#);
    assert_eq!(client.receive(), None);
}

#[test]
fn thousands_of_idle_connections_stand_in_nobodys_way() {
    let served = Served::new();
    let mut idle: Vec<_> = (0..idle_clients()).map(|_| served.connect()).collect();
    let mut client = served.connect();
    client.submit();
    let answer = client.call("QueryJobs", r#"[[1],["id"]]"#);
    assert_eq!(answer, r#"{"success":true,"result":[[1]]}"#);
    for (n, client) in idle.iter_mut().enumerate() {
        assert_eq!(client.call("QueryJobs", r#"[[1],["id"]]"#), answer, "client {n}");
    }
}

/// Four thousand, or as many as this process may have, both of whose ends it holds.
fn idle_clients() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the limit can be raised");
    let most = limit.maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    4_000.min(most.saturating_sub(1_000) / 2)
}

#[test]
fn who_sends_on_while_an_answer_is_due_is_not_read() {
    let served = Served::new();
    served.queue.hold_durable(true);
    let mut client = served.connect();
    client.send(&request("SubmitJob", r#"[[{"OP_ID":"OP_X","reason":[]}]]"#));
    served.queue.wait_for_held();
    client.stream.set_nonblocking(true).unwrap();
    let more = request("QueryJobs", r#"[[1],["id"]]"#);
    let mut sent = 0;
    while client.stream.write_all(more.as_bytes()).is_ok() {
        sent += 1;
        assert!(sent * more.len() < 64 << 20, "the server reads what it cannot answer");
    }
    assert!(served.connect().call("PickupJob", "[1]").contains("internal use only"));
    client.stream.set_nonblocking(false).unwrap();
    served.queue.hold_durable(false);
    assert_eq!(client.receive().unwrap(), r#"{"success":true,"result":1}"#);
    for n in 0..sent {
        assert_eq!(client.receive().unwrap(), r#"{"success":true,"result":[[1]]}"#, "{n}");
    }
}

#[test]
fn clients_beyond_the_bound_wait_until_one_leaves() {
    let served = Served::with(|limits| limits.connections = 2);
    let mut first = served.connect();
    let mut second = served.connect();
    first.submit();
    second.submit();
    let mut third = served.connect();
    third.send(&request("QueryJobs", r#"[[2],["id"]]"#));
    first.submit();
    drop(second);
    assert_eq!(third.receive().unwrap(), r#"{"success":true,"result":[[2]]}"#);
}

#[test]
fn a_request_longer_than_the_bound_is_refused_and_the_connection_closed() {
    let served = Served::with(|limits| limits.request_bytes = 1000);
    let mut client = served.connect();
    client.send(&"x".repeat(1001));
    assert!(client.receive().unwrap().contains("longer than 1000 bytes"));
    assert_eq!(client.receive(), None);
}

#[test]
fn a_client_that_does_not_take_its_answer_is_disconnected() {
    let served = Served::with(|limits| limits.stall = Duration::from_millis(200));
    let mut client = served.connect();
    for _ in 0..200 {
        let comment = "c".repeat(20_000);
        let op = format!(r#"[[{{"OP_ID":"OP_X","reason":[],"comment":"{comment}"}}]]"#);
        client.call("SubmitJob", &op);
    }
    let (mut slow, mut quick) = (served.connect(), served.connect());
    slow.send(&request("QueryJobs", r#"[null,["ops"]]"#).repeat(3));
    assert!(quick.call("QueryJobs", r#"[[1],["status"]]"#).contains("queued"), "others go on");
    wait_until_closed(&mut slow.stream);
    let mut taken = Vec::new();
    // What was in the socket's buffer can still be read; then comes the end, or an error.
    let _ = slow.stream.read_to_end(&mut taken);
    assert!(taken.len() < 4_000_000, "the first answer was not taken whole: {}", taken.len());
}

/// A write waits while the server does not read, and fails once it has closed.
fn wait_until_closed(stream: &mut UnixStream) {
    while stream.write_all(&[b' '; 4096]).is_ok() {}
}

#[test]
fn memory_for_all_clients_together_is_bounded() {
    let served = Served::with(|limits| limits.buffered_bytes = 100_000);
    let mut greedy = served.connect();
    // Either the write fails or the end of the stream is read: the connection is gone.
    let _ = greedy.stream.write_all(&[b'x'; 300_000]);
    let end = greedy.stream.read(&mut [0; 16]);
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert!(served.connect().call("PickupJob", "[1]").contains("internal use only"));
}

#[test]
fn stopping_answers_who_waits_and_removes_the_socket() {
    let served = Served::new();
    let mut client = served.connect();
    client.submit();
    client.send(&request("WaitForJobChange", r#"[1,["status"],["queued"],null,60]"#));
    served.queue.wait_for_watchers(1);
    served.handle.stop();
    assert_eq!(client.receive().unwrap(), r#"{"success":true,"result":[["queued"],[]]}"#);
    assert_eq!(client.receive(), None);
    let path = served.path.clone();
    drop(served);
    assert!(!path.exists());
}

#[test]
fn our_own_client_submits_labels_any_priority_and_forward_dependencies() {
    let served = Served::new();
    let mut client = Client::connect(&served.path).unwrap();
    let op = |id: &str| OpCode::new(OpId::new(id).unwrap(), Params::default());
    let urgent = op("OP_X").with_priority(lockmaster::vocabulary::Priority::MOST_URGENT);
    let after = lockmaster::vocabulary::Dependency::success(JobRef::Batch(1));
    let jobs = [NewJob::of([urgent.after(after)]).labelled("first"), NewJob::of([op("OP_X")])];
    let ids = client.submit(&jobs).unwrap();
    assert_eq!(ids, [JobId::FIRST, JobId::FIRST.plus(1)]);
    let stored = lockmaster::interfaces::luxi::Service::job(&*served.queue, ids[0]).unwrap();
    assert_eq!(
        (stored.value.job.label.as_deref(), &stored.value.job.ops[0].opcode),
        (Some("first"), &jobs[0].ops[0])
    );
    let refused = client.submit(&[NewJob::of([op("OP_NO_SUCH")])]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert_eq!(refused.hint_text(), Some("there is OP_X"));
    let missing = client.wait_for_change(ids[0].plus(9), None, 0).unwrap_err();
    assert_eq!(missing.to_string(), "there is no job 10");
    assert_eq!(client.why(ids[0]).unwrap()["reason"], "worker");
}

#[test]
fn without_a_daemon_the_client_says_how_to_start_one() {
    let directory = tempfile::tempdir().unwrap();
    let error = Client::connect(&directory.path().join("none")).unwrap_err();
    assert!(error.to_string().starts_with("no daemon listens at "), "{error}");
    assert!(error.hint_text().unwrap().starts_with("start one with: lockmasterd --socket "));
}
