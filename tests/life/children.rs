//! Jobs that are submitted together with the end of an opcode.

use lockmaster::vocabulary::{FilterAction, NewFilter, Reason, UndoState};
use lockmaster::{CrashPolicy, Dependency, JobId, JobRef, NewJob, OpCode, Priority, Status};
use serde_json::{Value, json};

use super::stage::{Script, Stage};

fn children(stage: &Stage) -> Script {
    let child = Script { on_crash: CrashPolicy::Retry, ..Script::default() };
    let (first, second) = (stage.op("child", child), stage.again("child"));
    Script::default().does(move |context| {
        let place = context.submit_with_end(NewJob::of([first.clone()]).labelled("first"));
        let after = second.clone().after(Dependency::success(place));
        let after = after.after(Dependency::success(JobRef::Id(context.job())));
        context.submit_with_end(NewJob::of([after]).labelled("second"));
        Ok(json!({ "moved": 2 }))
    })
}

fn id(number: u64) -> JobId {
    JobId::new(number).unwrap()
}

fn parent(stage: &Stage) -> OpCode {
    let reason = Reason { source: "gnt:user".into(), text: "night".into(), time_ns: 1 };
    let mut op = stage.op("parent", children(stage)).with_priority(Priority::HIGH);
    op.reason.push(reason);
    op
}

#[test]
fn jobs_that_follow_come_with_the_end_and_its_result_names_them() {
    let mut stage = Stage::new();
    let op = parent(&stage);
    let job = stage.submit(NewJob::of([op]));
    stage.run();
    assert_eq!(stage.result(job, 0), json!({ "jobs": [[true, 2], [true, 3]], "moved": 2 }));
    assert_eq!([stage.status(id(2)), stage.status(id(3))], [Status::Success; 2]);
    let child = &stage.view(id(3)).job.ops[0].opcode;
    assert_eq!(child.comment.as_deref(), Some("Submitted by OP_PLAY"));
    assert_eq!((child.priority, child.reason[0].text.as_str()), (Priority::HIGH, "night"));
}

#[test]
fn what_an_opcode_that_fails_wanted_to_follow_is_not_submitted() {
    let mut stage = Stage::new();
    let child = stage.op("child", Script::default());
    let op = stage.op(
        "parent",
        Script::default().does(move |context| {
            context.submit_with_end(NewJob::of([child.clone()]));
            Err(lockmaster::OpError::exec("no"))
        }),
    );
    stage.submit(NewJob::of([op]));
    stage.run();
    assert_eq!(stage.core.master().jobs().value.len(), 1);
}

#[test]
fn jobs_that_are_refused_fail_the_opcode_which_is_undone() {
    for (unknown, expected) in [(true, "OP_NONE"), (false, "depends on job 77")] {
        let mut stage = Stage::new();
        let mut child = stage.op("child", Script::default());
        match unknown {
            true => child.id = lockmaster::OpId::new("OP_NONE").unwrap(),
            false => child.depends.push(Dependency::success(JobRef::Id(id(77)))),
        }
        let script = Script::default().undoes(|_| Ok(())).does(move |context| {
            context.submit_with_end(NewJob::of([child.clone()]));
            Ok(Value::Null)
        });
        let op = stage.op("parent", script);
        let job = stage.submit(NewJob::of([op]));
        stage.run();
        let message = stage.error(job, 0).message;
        assert!(message.contains("refused") && message.contains(expected), "{message}");
        assert_eq!(stage.view(job).job.ops[0].undo, UndoState::Done);
        assert_eq!(stage.core.master().jobs().value.len(), 1);
    }
}

#[test]
fn jobs_follow_although_the_queue_is_drained() {
    let mut stage = Stage::new();
    let op = parent(&stage);
    stage.submit(NewJob::of([op]));
    stage.core.master().set_drained(true).unwrap();
    stage.run();
    assert_eq!(stage.status(id(3)), Status::Success);
}

#[test]
fn wherever_the_master_is_killed_jobs_follow_once_or_not_at_all() {
    let mut whole = Stage::new();
    let mut script = children(&whole);
    script.on_crash = CrashPolicy::Retry;
    let op = whole.op("parent", script);
    whole.submit(NewJob::of([op]));
    whole.run();
    for cut in 1..=whole.log.transactions().len() {
        let mut stage = whole.killed_after(cut);
        let before = stage.core.master().jobs().value.len();
        let ended = stage.status(id(1)).is_final();
        assert_eq!(before, if ended { 3 } else { 1 }, "the end and the jobs are one, cut {cut}");
        stage.run();
        let jobs = stage.core.master().jobs().value;
        assert_eq!(jobs.len(), 3, "cut {cut}");
        assert!(jobs.iter().all(|job| job.status == Status::Success), "cut {cut}");
    }
}

#[test]
fn jobs_that_follow_and_that_a_rule_rejects_are_cancelled_with_the_end_of_their_parent() {
    let mut stage = Stage::with(|builder| builder.workers(1));
    let first = stage.op("first", children(&stage).locking(&["a"]));
    let waiting = stage.op("waiting", Script::default().locking(&["a"]));
    let parent = stage.submit(NewJob::of([first]));
    while stage.status(parent) != Status::Running {
        assert!(stage.core.work(0) || stage.core.write_log());
    }
    let next = stage.submit(NewJob::of([waiting]));
    let reject = NewFilter {
        predicates: format!(r#"[["jobid", [">", "id", {next}]]]"#).parse().unwrap(),
        action: FilterAction::Reject,
        ..NewFilter::default()
    };
    stage.core.master().add_filter(reject).unwrap();
    while !stage.status(parent).is_final() {
        assert!(stage.core.work(0) || stage.core.write_log());
    }
    assert!(!stage.status(next).is_final(), "the only worker has come no further");
    assert_eq!(stage.status(next.plus(1)), Status::Canceled);
}
