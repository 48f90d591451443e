//! `lockmaster list --watch`, and the clients that follow all jobs.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use lockmaster::interfaces::luxi::{Changes, Client, END, Request};
use lockmaster::vocabulary::{ErrorKind, JobId};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::process::{Place, text};

/// A list that is being watched.
struct Watched {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watched {
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut command = place.cli(&[&["list", "--watch"], args].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "it goes on");
        line
    }

    fn json(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    /// Reads until a line holds that.
    fn until(&mut self, job: &Value) {
        while !self.json().as_array().unwrap().contains(job) {}
    }

    /// Its exit code when it has ended by itself, and what it said of that.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = Vec::new();
        self.child.stderr.take().unwrap().read_to_end(&mut said).unwrap();
        (self.child.wait().unwrap().code(), text(&said))
    }
}

#[test]
fn a_watched_list_tells_of_new_jobs_and_changes_and_of_jobs_that_leave() {
    let place = Place::new();
    let _daemon = place.start();
    place.expect(0, &["submit", "OP_TEST_DELAY", "duration=1e-6", "--wait"]);
    let mut watched = Watched::start(&place, &["--json", "-o", "status,label"]);
    assert_eq!(watched.json(), json!([{"id": 1, "status": "success", "label": null}]));
    place.expect(0, &["submit", "OP_TEST_DELAY", "duration=1e-6", "--label", "nap", "--wait"]);
    watched.until(&json!({"id": 2, "status": "success", "label": "nap"}));
    place.expect(0, &["archive", "1"]);
    assert_eq!(watched.json(), json!([{"id": 1, "gone": true}]));
}

#[test]
fn a_job_comes_into_a_list_with_a_condition_and_leaves_it() {
    let place = Place::new();
    let _daemon = place.start();
    let holder = place.submit(&["duration=1000", "on_nodes=[\"alpha\"]"]);
    place.wait_for_status(&holder, "running");
    let args = ["--json", "-o", "status", "--where", "status=waiting", "--sort", "-id"];
    let mut watched = Watched::start(&place, &args);
    assert_eq!(watched.json(), json!([]));
    let waiter = place.submit(&["duration=1e-6", "on_nodes=[\"alpha\"]"]);
    assert_eq!(watched.json(), json!([{"id": 2, "status": "waiting"}]));
    place.expect(0, &["cancel", &waiter]);
    assert_eq!(watched.json(), json!([{"id": 2, "gone": true}]));
}

#[test]
fn jobs_of_one_label_are_watched_also_those_to_come() {
    let place = Place::new();
    let _daemon = place.start();
    let submit = ["submit", "OP_TEST_DELAY", "duration=1e-6", "--wait", "--label"];
    place.expect(0, &[&submit[..], &["nap"]].concat());
    let mut watched = Watched::start(&place, &["nap", "--json", "-o", "id"]);
    assert_eq!(watched.json(), json!([{"id": 1}]));
    place.expect(0, &[&submit[..], &["other"]].concat());
    place.expect(0, &[&submit[..], &["nap"]].concat());
    assert_eq!(watched.json(), json!([{"id": 3}]), "the other one is not told");
    let output = place.run(&["list", "--watch", "77"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("error: there is no job 77\n"));
}

#[test]
fn all_jobs_of_a_submission_come_into_the_list() {
    let place = Place::new();
    let _daemon = place.start();
    let mut watched = Watched::start(&place, &["--json", "-o", "id", "--status", "queued"]);
    assert_eq!(watched.json(), json!([]));
    let blocked: String = (0..100)
        .map(|_| "[[job]]\n[[job.op]]\nOP_ID = \"OP_TEST_DELAY\"\nduration = 1000\n")
        .collect();
    std::fs::write(place.path("jobs.toml"), blocked).unwrap();
    place.expect(0, &["submit", place.path("jobs.toml").to_str().unwrap()]);
    let mut seen = std::collections::BTreeSet::new();
    // The workers take up some before they are seen queued; the last one is behind all of them.
    while !seen.contains(&100) {
        let jobs = watched.json();
        seen.extend(jobs.as_array().unwrap().iter().map(|job| job["id"].as_u64().unwrap()));
    }
    assert!(seen.len() > 50, "{} of 100", seen.len());
}

#[test]
fn in_a_pipe_a_watched_list_is_a_table_and_then_a_line_for_each_change() {
    let place = Place::new();
    let daemon = place.start();
    let mut watched = Watched::start(&place, &["-o", "id,status,label"]);
    assert_eq!(watched.line(), "ID     STATUS     LABEL\n");
    place.expect(0, &["submit", "OP_TEST_DELAY", "duration=1e-6", "--label", "nap", "--wait"]);
    while watched.line() != "1      success    nap\n" {}
    place.expect(0, &["archive", "1"]);
    assert_eq!(watched.line(), "job 1 is in the list no more\n");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
    let socket = place.path("socket");
    let expected = format!("error: the daemon at {} closed the connection\n", socket.display());
    let (code, said) = watched.end();
    assert_eq!((code, said.lines().count()), (Some(3), 2), "{said}");
    assert!(said.starts_with(&expected), "{said}");
}

#[test]
fn a_watched_list_ends_when_nobody_reads_it_also_while_nothing_changes() {
    let place = Place::new();
    let _daemon = place.start();
    let mut watched = Watched::start(&place, &["-o", "id"]);
    watched.line();
    let Watched { mut child, lines } = watched;
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn connect(place: &Place) -> Client {
    Client::connect(&place.path("socket")).unwrap()
}

#[test]
fn who_follows_is_told_which_jobs_have_changed_since_the_mark() {
    let place = Place::new();
    let _daemon = place.start();
    let mut client = connect(&place);
    let begin = client.changes(None, Duration::ZERO).unwrap();
    assert_eq!((begin.last, &begin.jobs), (None, &None));
    place.expect(0, &["submit", "OP_TEST_DELAY", "duration=1e-6", "--wait"]);
    let Changes { mark, last, jobs } = client.changes(Some(begin.mark), Duration::ZERO).unwrap();
    assert_eq!((last, jobs), (Some(JobId::FIRST), Some(vec![JobId::FIRST])));
    let timed_out: Value = client.call("LockmasterChanges", &json!([mark, 0, 0])).unwrap();
    assert_eq!(timed_out, json!({"mark": mark, "last": 1, "jobs": []}));
    let unknown: Value = client.call("LockmasterChanges", &json!([mark + 99, null, 0])).unwrap();
    assert_eq!(unknown["jobs"], Value::Null, "anything may have changed");
    for (wrong, words) in [
        (json!([]), "a tuple of size 3"),
        (json!([1, 2]), "a tuple of size 3"),
        (json!(["x", null, 0]), "expected u64"),
        (json!([1, -1, 0]), "-1 seconds are no time"),
    ] {
        let refused = client.call::<Value>("LockmasterChanges", &wrong).unwrap_err();
        assert!(refused.to_string().contains(words), "{wrong}: {refused}");
        client = connect(&place);
    }
}

#[test]
fn changes_are_gathered_into_one_answer_where_the_client_wants_that() {
    let place = Place::new();
    let daemon = place.start();
    // Marks hold as long as somebody follows.
    let mut client = connect(&place);
    let Changes { mark, .. } = client.changes(None, Duration::ZERO).unwrap();
    let mut stream = UnixStream::connect(place.path("socket")).unwrap();
    stream.write_all(&Request::encode("LockmasterChanges", &json!([mark, null, 60]))).unwrap();
    for _ in 0..3 {
        place.expect(0, &["submit", "OP_TEST_DELAY", "duration=1e-6", "--wait"]);
    }
    // What is in the way of an answer now is only that more is gathered, and a stop ends that.
    daemon.signal(Signal::TERM);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.pop();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((end, &answer["result"]["jobs"]), (Some(END), &json!([1, 2, 3])));
}

#[test]
fn hundreds_who_follow_cost_no_thread_and_who_is_slow_or_gone_stands_in_nobodys_way() {
    let place = Place::new();
    let daemon = place.start();
    let threads = daemon.threads();
    let mut marks: Vec<(Client, u64)> = (0..300)
        .map(|_| {
            let mut client = connect(&place);
            let mark = client.changes(None, Duration::ZERO).unwrap().mark;
            (client, mark)
        })
        .collect();
    // One in three waits, one does not ask again, and one leaves; others leave while they wait.
    let waiting = marks.split_off(200);
    for (_, mark) in marks.drain(100..) {
        let mut gone = UnixStream::connect(place.path("socket")).unwrap();
        let request = Request::encode("LockmasterChanges", &json!([mark, null, 0]));
        gone.write_all(&request).unwrap();
    }
    let told: Vec<Option<Vec<JobId>>> = std::thread::scope(|scope| {
        let ask = |(mut client, mark): (Client, u64)| {
            client.changes(Some(mark), Duration::ZERO).unwrap().jobs
        };
        let asked: Vec<_> = waiting.into_iter().map(|it| scope.spawn(move || ask(it))).collect();
        assert_eq!(daemon.threads(), threads);
        place.expect(0, &["submit", "OP_TEST_DELAY", "duration=1e-6", "--wait"]);
        asked.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert!(told.iter().all(|jobs| *jobs == Some(vec![JobId::FIRST])), "{told:?}");
    let (mut slow, mark) = marks.pop().unwrap();
    let late = slow.changes(Some(mark), Duration::ZERO).unwrap();
    assert_eq!(late.jobs, Some(vec![JobId::FIRST]), "who asks late misses nothing");
}

#[test]
fn when_the_daemon_stops_who_follows_is_answered_and_then_disconnected() {
    let place = Place::new();
    let daemon = place.start();
    let mut client = connect(&place);
    let Changes { mark, .. } = client.changes(None, Duration::ZERO).unwrap();
    let last = std::thread::scope(|scope| {
        let asked = scope.spawn(|| client.changes(Some(mark), Duration::ZERO));
        daemon.signal(Signal::TERM);
        asked.join().unwrap()
    });
    // It may have asked too late to be heard at all.
    assert!(
        last.is_ok_and(|it| it.jobs == Some(vec![]))
            || client.changes(None, Duration::ZERO).is_err()
    );
    assert_eq!(daemon.wait().code(), Some(0));
    let gone = client.changes(Some(mark), Duration::ZERO).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Protocol);
}
