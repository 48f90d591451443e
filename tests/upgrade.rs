//! A state directory that an earlier version wrote is opened as it was left, and goes on.
//!
//! `tests/fixtures/` says which version wrote each, and how to add one.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lockmaster::vocabulary::Reason;
use lockmaster::{
    CrashPolicy, Dependency, ErrorKind, JobId, JobRef, Master, MasterBuilder, NewJob, OpCode,
    Priority, Status, TypedOp,
};
use serde_json::{Value, json};
use support::{Step, next_note, open};

/// Says where a new fixture is to be written.
const WRITE: &str = "LOCKMASTER_WRITE_FIXTURE";

fn builder(dir: &Path) -> MasterBuilder {
    Master::builder(dir).unit::<Step>().workers(2)
}

fn op(step: &Step) -> OpCode {
    step.opcode().unwrap()
}

fn say(text: &str) -> Step {
    Step { say: vec![text.to_owned(), "a second line, é".to_owned()], ..Step::default() }
}

fn holding(gate: &str) -> Step {
    let instance = vec!["alpha".to_owned()];
    Step { gate: gate.to_owned(), instance, on_crash: Some(CrashPolicy::Retry), ..Step::default() }
}

fn submit(master: &Master, job: NewJob) -> JobId {
    let answer = master.begin_submit(vec![job], Some("a fixture".to_owned())).unwrap();
    master.wait_durable(answer.position).unwrap();
    answer.value[0]
}

fn run(master: &Master, job: NewJob) -> (JobId, Status) {
    let id = submit(master, job);
    (id, master.wait(id).unwrap().status)
}

/// Jobs that have ended, in every way; the first two are archived.
fn write_ended(master: &Master) -> Vec<JobId> {
    let undone = Step { undo: true, ..say("undone later") };
    let failing = Step { fail: true, undo: true, ..Step::default() };
    let unprepared = Step { fail_prereq: true, ..Step::default() };
    let ended = [
        (NewJob::of([op(&say("archived"))]).labelled("archived"), Status::Success),
        (NewJob::of([op(&Step { fail: true, ..Step::default() })]), Status::Error),
        (NewJob::of([op(&say("kept")), op(&Step::default())]).labelled("kept"), Status::Success),
        (NewJob::of([op(&undone), op(&failing), op(&say("never"))]), Status::Error),
        (NewJob::of([op(&unprepared)]), Status::Error),
        (NewJob::default(), Status::Success),
    ];
    let ids: Vec<JobId> = ended
        .into_iter()
        .map(|(job, expected)| {
            let (id, status) = run(master, job);
            assert_eq!(status, expected, "job {id}");
            id
        })
        .collect();
    ids[..2].iter().for_each(|id| assert!(master.archive(*id).unwrap().value));
    ids
}

/// Jobs that have not ended: one executes, one waits for its lock, others for them or nobody.
fn write_unended(master: &Master, archived: JobId, gate: &str) {
    let running = submit(master, NewJob::of([op(&holding(gate))]).labelled("running"));
    assert_eq!(next_note(gate), "begin");
    submit(master, NewJob::of([op(&holding(""))]).labelled("waiting"));
    let mut late = op(&Step::default())
        .after(Dependency::success(JobRef::Id(archived)))
        .after(Dependency { on: JobRef::Id(running), statuses: vec![] });
    late.comment = Some("a comment".to_owned());
    late.reason.push(Reason { source: "test".into(), text: "why".into(), time_ns: 7 });
    late.dry_run = true;
    let dependent = submit(master, NewJob::of([late]));
    master.change_priority(dependent, Priority::LOW).unwrap();
    let canceled = submit(master, NewJob::of([op(&Step::default()).after_job(running)]));
    master.cancel(canceled).unwrap();
}

trait AfterJob {
    fn after_job(self, on: JobId) -> Self;
}

impl AfterJob for OpCode {
    fn after_job(self, on: JobId) -> Self {
        self.after(Dependency { on: JobRef::Id(on), statuses: vec![] })
    }
}

/// Writes a state directory with something of everything, as a kill leaves it, into `out`. What
/// executes in it waits at that gate.
fn write(out: &Path, gate: &str) {
    let dir = tempfile::tempdir().unwrap();
    // The queue is copied once, so that the log begins with a copy.
    let copied = builder(dir.path()).spare_log(0).start().unwrap();
    let ended = write_ended(&copied);
    while dir.path().join("log/00000001.log").exists() {
        let (id, _) = run(&copied, NewJob::default());
        copied.archive(id).unwrap();
    }
    drop(copied);
    let master = builder(dir.path()).start().unwrap();
    let config = |value: &mut Value| {
        *value = json!({"cluster": "a fixture", "nodes": ["node1"]});
        Ok::<(), lockmaster::Error>(())
    };
    master.config().update(None, config).unwrap();
    write_unended(&master, ended[0], gate);
    let drained = master.set_drained(true).unwrap();
    master.wait_durable(drained.position).unwrap();
    copy(dir.path(), out);
    open(gate);
}

/// Copies a state directory, of the zeros at the end of a file no more than a frame may end with.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            copy(&path, &to.join(&name));
        } else if name != "lock" {
            let mut bytes = std::fs::read(&path).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(used + 64);
            std::fs::write(to.join(&name), bytes).unwrap();
        }
    }
}

/// All there is to see in a state directory that is opened.
fn seen(master: &Master) -> Value {
    let jobs = master.jobs().value;
    let next = jobs.iter().map(|view| view.job.id.get()).max().unwrap_or_default() + 1;
    let archived = (1..next).filter_map(|id| master.archived(JobId::new(id)?).unwrap());
    json!({
        "archived": archived.map(|view| json!(view.job)).collect::<Value>(),
        "config": master.config().read().value,
        "drained": master.is_drained().value,
        "jobs": jobs.iter().map(|view| json!(view.job)).collect::<Value>(),
    })
}

/// Whether all of `old` is in `new`, which may know more.
fn says_all(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(key, old)| new.get(key).is_some_and(|new| says_all(new, old)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| says_all(new, old))
        }
        _ => new == old,
    }
}

fn fixtures() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let entries = std::fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    fixtures.sort();
    fixtures
}

fn expected(fixture: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(fixture.join("expected.json")).unwrap()).unwrap()
}

/// What nobody has ended is ended, with the right order among them.
fn goes_on(master: &Master, gate: &str) {
    open(gate);
    let last = master.jobs().value.last().unwrap().job.id;
    let unended = |label: &str| {
        let jobs = master.jobs_where(|job| job.label.as_deref() == Some(label)).value;
        jobs[0].job.id
    };
    for label in ["running", "waiting"] {
        assert_eq!(master.wait(unended(label)).unwrap().status, Status::Success, "{label}");
    }
    for view in master.jobs().value {
        assert!(master.wait(view.job.id).unwrap().status.is_final());
    }
    assert_eq!(master.submit_one(NewJob::default()).unwrap_err().kind(), ErrorKind::Refused);
    master.set_drained(false).unwrap();
    assert_eq!(master.submit_one(NewJob::default()).unwrap(), last.plus(1));
    let all = master.auto_archive(Duration::ZERO, Duration::MAX).unwrap().value;
    assert_eq!(all.left, 0);
}

#[test]
fn what_earlier_versions_wrote_is_read_as_it_was_and_goes_on() {
    if let Some(out) = std::env::var_os(WRITE) {
        let (out, copied) = (PathBuf::from(out), tempfile::tempdir().unwrap());
        write(&out, "fixture");
        copy(&out, copied.path());
        let seen = seen(&builder(copied.path()).paused().start().unwrap());
        std::fs::write(out.join("expected.json"), format!("{seen:#}\n")).unwrap();
    }
    assert!(!fixtures().is_empty());
    for fixture in fixtures() {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixture, dir.path());
        let master = builder(dir.path()).paused().start().unwrap();
        let (seen, expected) = (seen(&master), expected(&fixture));
        assert!(says_all(&seen, &expected), "{}:\n{seen:#}", fixture.display());
        master.resume();
        goes_on(&master, "fixture");
    }
}

#[test]
fn what_this_version_writes_it_reads_in_the_same_way() {
    let (dir, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(dir.path(), "again");
    copy(dir.path(), again.path());
    let first = seen(&builder(again.path()).paused().start().unwrap());
    let master = builder(again.path()).paused().start().unwrap();
    assert_eq!(seen(&master), first, "reading twice changes nothing");
    assert_eq!(first["archived"][0]["label"], "archived");
    assert_eq!(first["jobs"].as_array().unwrap().len(), 8);
    master.resume();
    goes_on(&master, "again");
}

/// Says of the first frame of the log, or of the header before it, that it is of format 200.
fn make_newer(dir: &Path, version_at: usize, covered: &[(usize, usize)], sum_at: usize) {
    let path = std::fs::read_dir(dir.join("log")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[version_at] = 200;
    let append = |sum, (from, to): &(usize, usize)| crc32c::crc32c_append(sum, &bytes[*from..*to]);
    let sum = covered.iter().fold(0, append);
    bytes[sum_at..sum_at + 4].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn what_a_newer_version_wrote_is_refused_in_words_and_left_alone() {
    let fixture = fixtures().remove(0);
    let segment = fixture.join("log/00000003.log");
    let length = u32::from_le_bytes(std::fs::read(segment).unwrap()[48..52].try_into().unwrap());
    let of_frame = [(48, 52), (56, 56 + length as usize)];
    for (version_at, covered, sum_at, what) in [
        (8, &[(0, 44)][..], 44, "format 200 of log"),
        (64, &of_frame[..], 52, "format 200 of records"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixture, dir.path());
        make_newer(dir.path(), version_at, covered, sum_at);
        let before = std::fs::read(dir.path().join("log/00000003.log")).unwrap();
        let error = builder(dir.path()).start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let said = error.to_string();
        assert!(said.contains("00000003.log was written by a newer lockmaster"), "{said}");
        assert!(said.contains(what) && said.contains("this one reads up to"), "{said}");
        assert!(error.hint_text().unwrap().contains("use the newer lockmaster"), "{error:?}");
        assert_eq!(std::fs::read(dir.path().join("log/00000003.log")).unwrap(), before);
    }
}
