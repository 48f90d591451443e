//! What the master promises to those who embed it.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use lockmaster::runtime::{CancelAnswer, JobView, LockWait, Why};
use lockmaster::vocabulary::{OpErrorKind, Outcome, UndoState};
use lockmaster::{
    Context, CrashPolicy, DeclaredLocks, Dependency, ErrorKind, JobId, JobRef, Limits, LogicalUnit,
    Master, MasterBuilder, NewJob, OpCode, OpError, OpId, Params, Priority, Shutdown, Status,
    TypedOp,
};
use serde_json::{Value, json};
use support::{PATIENCE, Step, is_quiet, next_note, open};
use tempfile::TempDir;

fn builder(dir: &TempDir) -> MasterBuilder {
    Master::builder(dir.path()).unit::<Step>().workers(4)
}

fn started() -> (TempDir, Master) {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).start().unwrap();
    (dir, master)
}

fn job(steps: impl IntoIterator<Item = Step>) -> NewJob {
    NewJob::of(steps.into_iter().map(|step| step.opcode().unwrap()))
}

fn gated(gate: &str) -> Step {
    Step { gate: gate.to_owned(), ..Step::default() }
}

fn on_instance(gate: &str, instance: &str) -> Step {
    Step { instance: vec![instance.to_owned()], ..gated(gate) }
}

fn error_of(view: &JobView, op: usize) -> OpError {
    match view.job.ops[op].outcome() {
        Some(Outcome::Error(error)) => error.clone(),
        other => panic!("no error but {other:?}"),
    }
}

/// Waits until the job is in that status; no sleeping: every change is announced.
fn wait_for(master: &Master, id: JobId, status: Status) -> JobView {
    loop {
        let (sender, changed) = std::sync::mpsc::channel();
        master.on_change(id, move || _ = sender.send(()));
        let view = master.job(id).unwrap().value;
        if view.status == status {
            return view;
        }
        assert!(!view.status.is_final(), "{} instead of {status}", view.status);
        changed.recv_timeout(PATIENCE).unwrap();
    }
}

/// Waits until the job waits for a lock, and says for which.
fn wait_for_lock(master: &Master, id: JobId) -> LockWait {
    loop {
        let (sender, changed) = std::sync::mpsc::channel();
        master.on_change(id, move || _ = sender.send(()));
        match master.why(id) {
            Some(Why::Lock(wait)) => return wait,
            why => assert!(!matches!(why, None | Some(Why::Final { .. })), "{why:?}"),
        }
        changed.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn a_job_runs_and_its_result_and_feedback_can_be_read() {
    let (_dir, master) = started();
    let step = Step { say: vec!["one".to_owned(), "two".to_owned()], ..Step::default() };
    let id = master.submit_one(job([step.clone(), step])).unwrap();
    let view = master.wait(id).unwrap();
    assert_eq!(view.status, Status::Success);
    assert_eq!(view.job.ops[0].outcome(), Some(&Outcome::Success("true".into())));
    let said: Vec<_> = view.job.feedback.entries().map(|e| (e.serial, e.op, &*e.text)).collect();
    assert_eq!(said, [(1, 0, "one"), (2, 0, "two"), (3, 1, "one"), (4, 1, "two")]);
}

#[test]
fn jobs_on_one_instance_never_overlap_and_others_go_on_meanwhile() {
    let (_dir, master) = started();
    let first = master.submit_one(job([on_instance("alone-a", "web1")])).unwrap();
    assert_eq!(next_note("alone-a"), "begin");
    let jobs = vec![job([on_instance("alone-b", "web1")]), job([on_instance("alone-c", "web2")])];
    let ids = master.submit(jobs).unwrap();
    assert_eq!(next_note("alone-c"), "begin");
    wait_for_lock(&master, ids[0]);
    assert!(is_quiet("alone-b"));
    open("alone-a");
    assert_eq!(next_note("alone-b"), "begin");
    open("alone-b");
    open("alone-c");
    for id in ids.into_iter().chain([first]) {
        assert_eq!(master.wait(id).unwrap().status, Status::Success);
    }
}

#[test]
fn a_waiting_job_says_which_lock_who_holds_it_and_since_when() {
    let (_dir, master) = started();
    let holder = master.submit_one(job([on_instance("why", "db1")])).unwrap();
    assert_eq!(next_note("why"), "begin");
    let waiting = master.submit_one(job([on_instance("why2", "db1")])).unwrap();
    let ids = [holder, waiting];
    let wait = wait_for_lock(&master, waiting);
    assert_eq!((wait.lock.as_str(), wait.in_the_way[0].job), ("instance/db1", ids[0]));
    let chain: Vec<(JobId, JobId)> =
        wait.chain.iter().map(|link| (link.job, link.blocker)).collect();
    assert_eq!(chain, [(ids[1], ids[0])]);
    let held_since = wait.in_the_way[0].since.unwrap();
    assert!(held_since <= wait.since, "held before it was waited for");
    assert!(matches!(master.why(ids[0]), Some(Why::Executing { .. })));
    open("why");
    open("why2");
    master.wait(ids[1]).unwrap();
    assert_eq!(master.why(ids[1]), Some(Why::Final { status: Status::Success }));
}

#[test]
fn the_big_lock_taken_alone_empties_the_cluster() {
    let (_dir, master) = started();
    let cluster = Step { cluster: true, ..gated("big-alone") };
    master.submit(vec![job([gated("big-before")]), job([gated("big-after")])]).unwrap();
    assert_eq!((next_note("big-before"), next_note("big-after")), ("begin", "begin"));
    let alone = master.submit_one(job([cluster])).unwrap();
    wait_for_lock(&master, alone);
    open("big-before");
    open("big-after");
    assert_eq!(next_note("big-alone"), "begin");
    let late = master.submit_one(job([gated("big-late")])).unwrap();
    wait_for_lock(&master, late);
    open("big-alone");
    assert_eq!(next_note("big-late"), "begin");
    open("big-late");
    assert_eq!(master.wait(late).unwrap().status, Status::Success);
}

#[test]
fn nodes_are_shared_by_backups_and_taken_alone_by_maintenance() {
    let (_dir, master) = started();
    let backup = |gate| Step { shared_node: vec!["n1".into()], at_once: true, ..gated(gate) };
    let maintenance = Step { node: vec!["n1".into()], ..gated("node-alone") };
    master.submit(vec![job([backup("node-a")]), job([backup("node-b")])]).unwrap();
    assert_eq!((next_note("node-a"), next_note("node-b")), ("begin", "begin"));
    let alone = master.submit_one(job([maintenance])).unwrap();
    wait_for_lock(&master, alone);
    open("node-a");
    assert_eq!(next_note("node-a"), "end");
    assert!(is_quiet("node-alone"));
    open("node-b");
    assert_eq!(next_note("node-alone"), "begin");
    open("node-alone");
    assert_eq!(master.wait(alone).unwrap().status, Status::Success);
}

#[test]
fn waiting_jobs_take_no_worker() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).workers(2).start().unwrap();
    let holder = master.submit_one(job([on_instance("slots-holder", "x")])).unwrap();
    assert_eq!(next_note("slots-holder"), "begin");
    let mut jobs: Vec<_> = (0..50).map(|_| job([on_instance("", "x")])).collect();
    jobs.push(job([gated("slots-free")]));
    let mut ids = master.submit(jobs).unwrap();
    ids.push(holder);
    assert_eq!(next_note("slots-free"), "begin");
    open("slots-free");
    open("slots-holder");
    for id in ids {
        assert_eq!(master.wait(id).unwrap().status, Status::Success);
    }
}

#[test]
fn a_failing_opcode_is_undone_and_so_are_those_before_it() {
    let (_dir, master) = started();
    let undoable = |gate| Step { undo: true, ..on_instance(gate, "u") };
    let failing = Step { fail: true, ..undoable("undo-2") };
    let id = master.submit_one(job([undoable("undo-1"), failing, undoable("undo-3")])).unwrap();
    open("undo-1");
    open("undo-2");
    let view = master.wait(id).unwrap();
    assert_eq!(view.op_status, [Status::Success, Status::Error, Status::Error]);
    for gate in ["undo-1", "undo-2"] {
        let notes = [next_note(gate), next_note(gate), next_note(gate)];
        assert_eq!(notes, ["begin", "end", "undo"], "{gate}");
    }
    assert!(is_quiet("undo-3"));
    assert_eq!(view.job.ops[0].undo, UndoState::Done);
}

#[test]
fn an_opcode_whose_prerequisites_fail_changes_and_undoes_nothing() {
    let (_dir, master) = started();
    let step = Step { fail_prereq: true, undo: true, ..gated("prereq") };
    let id = master.submit_one(job([step])).unwrap();
    let view = master.wait(id).unwrap();
    assert_eq!(error_of(&view, 0).kind, OpErrorKind::Prereq);
    assert!(is_quiet("prereq"));
}

#[test]
fn a_dry_run_stops_before_executing() {
    let (_dir, master) = started();
    let opcode = OpCode { dry_run: true, ..gated("dry").opcode().unwrap() };
    let id = master.submit_one(NewJob::of([opcode])).unwrap();
    assert_eq!(master.wait(id).unwrap().status, Status::Success);
    assert!(is_quiet("dry"));
}

#[test]
fn a_panic_fails_its_opcode_and_nothing_else() {
    let (_dir, master) = started();
    let panicking = Step { panic: true, ..on_instance("", "p") };
    let ids = master.submit(vec![job([panicking]), job([on_instance("", "p")])]).unwrap();
    let view = master.wait(ids[0]).unwrap();
    let error = error_of(&view, 0);
    assert_eq!(error.kind, OpErrorKind::Panicked);
    assert!(error.message.contains("as asked"), "{error}");
    assert_eq!(master.wait(ids[1]).unwrap().status, Status::Success);
}

#[test]
fn queued_waiting_and_executing_jobs_can_be_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).workers(1).start().unwrap();
    let ids = master
        .submit(vec![
            job([on_instance("cancel-run", "c")]),
            job([on_instance("cancel-wait", "c")]),
            job([gated("cancel-queued")]),
        ])
        .unwrap();
    assert_eq!(next_note("cancel-run"), "begin");
    assert_eq!(master.cancel(ids[2]).unwrap().value, CancelAnswer::Dequeued);
    assert_eq!(master.cancel(ids[0]).unwrap().value, CancelAnswer::Informed);
    for id in [ids[0], ids[2]] {
        assert_eq!(master.wait(id).unwrap().status, Status::Canceled);
    }
    assert_eq!(next_note("cancel-wait"), "begin");
    open("cancel-wait");
    assert_eq!(master.wait(ids[1]).unwrap().status, Status::Success);
    assert_eq!(master.cancel(ids[1]).unwrap().value, CancelAnswer::AlreadyFinal);
}

#[test]
fn cancelling_a_wait_for_locks_is_immediate_and_frees_those_behind_it() {
    let (_dir, master) = started();
    let holder = Step { shared_node: vec!["w".into()], ..gated("cw-holder") };
    let alone = Step { node: vec!["w".into()], ..gated("cw-alone") };
    master.submit_one(job([holder])).unwrap();
    assert_eq!(next_note("cw-holder"), "begin");
    let alone = master.submit_one(job([alone])).unwrap();
    wait_for_lock(&master, alone);
    assert_eq!(master.cancel(alone).unwrap().value, CancelAnswer::StoppedWaiting);
    assert_eq!(master.wait(alone).unwrap().status, Status::Canceled);
    let sharing = Step { shared_node: vec!["w".into()], ..gated("cw-sharing") };
    let sharing = master.submit_one(job([sharing])).unwrap();
    assert_eq!(next_note("cw-sharing"), "begin");
    open("cw-sharing");
    open("cw-holder");
    assert_eq!(master.wait(sharing).unwrap().status, Status::Success);
    assert!(is_quiet("cw-alone"));
}

#[test]
fn dependent_jobs_wait_and_share_the_fate() {
    let (_dir, master) = started();
    let after = |place, step: Step| {
        let dependency = Dependency::success(JobRef::Batch(place));
        NewJob::of([step.opcode().unwrap().after(dependency)])
    };
    let failing = Step { fail: true, ..gated("dep-first") };
    let jobs = vec![job([failing]), after(0, gated("dep-second")), after(1, gated("dep-third"))];
    let ids = master.submit(jobs).unwrap();
    assert_eq!(next_note("dep-first"), "begin");
    assert_eq!(master.why(ids[1]), Some(Why::Dependency { on: ids[0] }));
    open("dep-first");
    let view = master.wait(ids[2]).unwrap();
    let expected = format!(
        "Dependency job {} finished with status 'error', not one of 'success' as required",
        ids[1]
    );
    assert_eq!(error_of(&view, 0).message, expected);
}

#[test]
fn more_urgent_jobs_come_first() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).workers(1).start().unwrap();
    let first = master.submit_one(job([gated("prio-first")])).unwrap();
    assert_eq!(next_note("prio-first"), "begin");
    let urgent = gated("prio-urgent").opcode().unwrap().with_priority(Priority::HIGH);
    let ids = master.submit(vec![job([gated("prio-normal")]), NewJob::of([urgent])]).unwrap();
    open("prio-first");
    assert_eq!(next_note("prio-urgent"), "begin");
    assert!(is_quiet("prio-normal"));
    open("prio-urgent");
    open("prio-normal");
    for id in ids.into_iter().chain([first]) {
        assert_eq!(master.wait(id).unwrap().status, Status::Success);
    }
}

#[test]
fn a_worker_goes_to_whoever_is_due_whether_it_waited_for_a_lock_or_for_a_worker() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).workers(2).start().unwrap();
    let mut ids = vec![master.submit_one(job([on_instance("due-holder", "hot")])).unwrap()];
    assert_eq!(next_note("due-holder"), "begin");
    let waiting: Vec<NewJob> = (0..3).map(|_| job([on_instance("due-waiting", "hot")])).collect();
    let waiting = master.submit(waiting).unwrap();
    waiting.iter().for_each(|id| drop(wait_for_lock(&master, *id)));
    ids.push(master.submit_one(job([gated("due-other")])).unwrap());
    assert_eq!(next_note("due-other"), "begin");
    let urgent = gated("due-urgent").opcode().unwrap().with_priority(Priority::HIGH);
    let jobs = vec![job([gated("due-normal")]), NewJob::of([urgent])];
    ids.extend(master.submit(jobs).unwrap());
    open("due-holder");
    assert_eq!(next_note("due-urgent"), "begin", "the urgent job comes before those that wait");
    open("due-urgent");
    assert_eq!(next_note("due-waiting"), "begin", "which come before a job that came later");
    assert!(is_quiet("due-normal"));
    (0..3).for_each(|_| open("due-waiting"));
    open("due-normal");
    open("due-other");
    for id in ids.into_iter().chain(waiting) {
        assert_eq!(master.wait(id).unwrap().status, Status::Success);
    }
}

#[test]
fn what_is_wrong_with_a_submission_is_said_and_nothing_is_submitted() {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    limits.queued_jobs = 3;
    let master = builder(&dir).limits(limits).start().unwrap();
    let unknown = OpCode::new(OpId::new("OP_NOBODY").unwrap(), Params::default());
    let wrong =
        OpCode::new(OpId::new("OP_STEP").unwrap(), Params::from_json(r#"{"gate":5}"#).unwrap());
    let cases = [
        (vec![job([]), NewJob::of([unknown])], "unknown opcode OP_NOBODY"),
        (vec![NewJob::of([wrong])], "wrong parameters for OP_STEP: invalid type: integer"),
        (vec![job([gated("")]); 4], "the queue is full"),
    ];
    for (jobs, expected) in cases {
        let error = master.submit(jobs).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(master.jobs().value, []);
    assert_eq!(master.submit_one(job([])).unwrap(), JobId::FIRST, "no id was used up");
    let missing = JobId::new(99).unwrap();
    assert_eq!(master.wait(missing).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_restart_goes_on_where_the_last_master_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).workers(1).start().unwrap();
    let two = job([gated("restart-1"), gated("restart-2")]);
    let ids = master.submit(vec![two, job([gated("restart-3")])]).unwrap();
    open("restart-1");
    assert_eq!((next_note("restart-1"), next_note("restart-1")), ("begin", "end"));
    assert_eq!(next_note("restart-2"), "begin");
    master.stop_starting();
    open("restart-2");
    master.shutdown(Shutdown::Finish, None).unwrap();
    drop(master);
    assert!(is_quiet("restart-3"));

    let master = builder(&dir).start().unwrap();
    let before = master.job(ids[0]).unwrap().value;
    assert_eq!(before.status, Status::Success);
    open("restart-3");
    assert_eq!(master.wait(ids[1]).unwrap().status, Status::Success);
    assert!(is_quiet("restart-1"), "what has finished is not run again");
    assert_eq!(master.submit_one(job([])).unwrap(), ids[1].plus(1));
}

#[test]
fn a_drained_queue_refuses_jobs_also_after_a_restart_and_goes_on_with_those_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).paused().start().unwrap();
    let before = master.submit_one(job([Step::default()])).unwrap();
    master.set_drained(true).unwrap();
    drop(master);
    let master = builder(&dir).start().unwrap();
    assert!(master.is_drained().value);
    assert_eq!(master.wait(before).unwrap().status, Status::Success);
    let refused = master.submit_one(job([Step::default()])).unwrap_err();
    assert_eq!((refused.kind(), refused.to_string()), (ErrorKind::Refused, "Queue drained".into()));
    let known = master.begin_submit_although_drained(vec![job([Step::default()])], None).unwrap();
    assert_eq!(master.wait(known.value[0]).unwrap().status, Status::Success);
    let set = master.set_drained(false).unwrap();
    assert_eq!(master.set_drained(false).unwrap(), set, "what is so already is not logged again");
    assert!(master.submit_one(job([Step::default()])).is_ok());
}

#[test]
fn a_hurried_shutdown_leaves_executing_opcodes_to_their_crash_policy() {
    let table = [
        ("now-fail", CrashPolicy::Fail, Status::Error, "begin"),
        ("now-retry", CrashPolicy::Retry, Status::Success, "begin"),
        ("now-undo", CrashPolicy::Undo, Status::Error, "undo"),
    ];
    for (gate, policy, status, next) in table {
        let dir = tempfile::tempdir().unwrap();
        let master = builder(&dir).start().unwrap();
        let step = Step { on_crash: Some(policy), undo: true, ..on_instance(gate, gate) };
        let id = master.submit_one(job([step])).unwrap();
        assert_eq!(next_note(gate), "begin");
        master.shutdown(Shutdown::Now, Some(PATIENCE)).unwrap();
        assert_eq!(master.submit_one(job([])).unwrap_err().kind(), ErrorKind::Stopped);
        drop(master);

        let told = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let hears = std::rc::Rc::clone(&told);
        let before = move |jobs: &[JobId]| {
            hears.borrow_mut().extend_from_slice(jobs);
            Ok(())
        };
        let master = builder(&dir).before_recovery(before).start().unwrap();
        assert_eq!(*told.borrow(), [id], "{gate}");
        if policy == CrashPolicy::Fail {
            assert!(is_quiet(gate));
        } else {
            assert_eq!(next_note(gate), next);
            open(gate);
        }
        let view = master.wait(id).unwrap();
        assert_eq!(view.status, status, "{gate}");
        if status == Status::Error {
            assert_eq!(error_of(&view, 0).kind, OpErrorKind::Interrupted);
        }
    }
}

#[test]
fn shutting_down_is_patient_only_as_long_as_told() {
    let (_dir, master) = started();
    master.submit_one(job([gated("patience")])).unwrap();
    assert_eq!(next_note("patience"), "begin");
    let error = master.shutdown(Shutdown::Finish, Some(Duration::ZERO)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    open("patience");
    master.shutdown(Shutdown::Finish, Some(PATIENCE)).unwrap();
}

#[test]
fn waiting_jobs_are_put_back_at_shutdown_and_run_after_the_restart() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).start().unwrap();
    master.submit_one(job([on_instance("back-1", "b")])).unwrap();
    assert_eq!(next_note("back-1"), "begin");
    let waiting = master.submit_one(job([on_instance("back-2", "b")])).unwrap();
    wait_for_lock(&master, waiting);
    master.stop_starting();
    wait_for(&master, waiting, Status::Queued);
    assert_eq!(master.why(waiting), Some(Why::Stopping));
    open("back-1");
    drop(master);
    let master = builder(&dir).start().unwrap();
    assert_eq!(next_note("back-2"), "begin");
    open("back-2");
    assert_eq!(master.wait(waiting).unwrap().status, Status::Success);
}

#[test]
fn a_thousand_small_jobs_on_shared_names_all_end() {
    let (_dir, master) = started();
    let step = |i: usize| Step {
        instance: vec![format!("i{}", i % 7)],
        shared_node: vec![format!("n{}", i % 3)],
        node: if i % 50 == 0 { vec!["n3".into(), "n4".into()] } else { Vec::new() },
        at_once: i % 2 == 0,
        ..Step::default()
    };
    let jobs = (0..1000).map(|i| job([step(i), step(i + 1)])).collect();
    let ids = master.submit(jobs).unwrap();
    for id in ids {
        assert_eq!(master.wait(id).unwrap().status, Status::Success);
    }
}

#[test]
fn units_registered_twice_and_masters_without_workers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let twice = builder(&dir).unit::<Step>().start().unwrap_err();
    assert!(twice.to_string().contains("OP_STEP is declared twice"), "{twice}");
    let none = builder(&dir).workers(0).start().unwrap_err();
    assert!(none.to_string().contains("at least one worker"), "{none}");
    let mut limits = Limits::default();
    limits.result_bytes = usize::MAX;
    let huge = builder(&dir).limits(limits).start().unwrap_err();
    assert!(huge.to_string().contains("in one transaction"), "{huge}");
}

#[test]
fn a_paused_master_takes_nothing_up_until_it_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).paused().start().unwrap();
    let ids = master.submit(vec![job([gated("pause-1")]), job([gated("pause-2")])]).unwrap();
    assert_eq!(master.why(ids[0]), Some(Why::Stopping));
    assert_eq!(master.cancel(ids[0]).unwrap().value, CancelAnswer::Dequeued);
    master.resume();
    assert_eq!(next_note("pause-2"), "begin");
    open("pause-2");
    assert_eq!(master.wait(ids[1]).unwrap().status, Status::Success);
    assert!(is_quiet("pause-1"));
}

/// Adds one to the configuration's count.
#[derive(serde::Serialize, serde::Deserialize)]
struct Count {}

impl TypedOp for Count {
    const ID: &'static str = "OP_COUNT";
}

impl LogicalUnit for Count {
    fn declare_locks(&mut self, _: &str, _: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        Ok(())
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        let more = |config: &mut Value| {
            config["count"] = json!(config["count"].as_u64().unwrap_or_default() + 1);
            Ok(())
        };
        Ok(json!(context.config().update(None, more)?.version))
    }
}

#[test]
fn opcodes_share_a_configuration_that_outlives_the_master() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).unit::<Count>().start().unwrap();
    let count = || NewJob::of([Count {}.opcode().unwrap()]);
    let ids = master.submit((0..20).map(|_| count()).collect()).unwrap();
    for id in ids {
        assert_eq!(master.wait(id).unwrap().status, Status::Success);
    }
    drop(master);
    let master = builder(&dir).start().unwrap();
    let config = master.config().read();
    assert_eq!((config.version, &config.value), (20, &json!({ "count": 20 })));
}

#[test]
fn a_second_master_on_the_directory_is_refused() {
    let (dir, master) = started();
    let error = builder(&dir).start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    drop(master);
    builder(&dir).start().unwrap();
}
