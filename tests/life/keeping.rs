//! Locks that a job keeps from its first opcode to its end.

use std::sync::Arc;
use std::time::Duration;

use lockmaster::vocabulary::{JobTerms, OpErrorKind};
use lockmaster::{JobId, NewJob, OpCode, OpError, Status};
use serde_json::Value;

use super::stage::{Script, Stage, note};

fn keeping(ops: impl IntoIterator<Item = OpCode>) -> NewJob {
    NewJob::of(ops).on_terms(JobTerms { within: None, keep_locks: true })
}

/// Writes down that it executes, or is undone, and what is held meanwhile.
fn noted(stage: &Stage, name: &'static str, locks: &'static [&'static str]) -> Script {
    let (at_work, at_undo) = (Arc::clone(&stage.notes), Arc::clone(&stage.notes));
    let held = |context: &lockmaster::Context| {
        let held = context.held();
        let all = held.levels().flat_map(|(_, locks)| locks.names());
        let names: Vec<&str> =
            all.map(|(name, _)| name.as_str()).filter(|n| n.len() == 1).collect();
        names.join("")
    };
    Script::default()
        .locking(locks)
        .does(move |context| {
            note(&at_work, format!("{name} {}", held(context)));
            Ok(Value::Null)
        })
        .undoes(move |context| {
            note(&at_undo, format!("undo {name} {}", held(context)));
            Ok(())
        })
}

/// Two opcodes, one on `a` and one on `b`, and another job that wants `a`.
fn two_and_a_rival(stage: &mut Stage) -> (JobId, JobId) {
    let first = stage.op("first", noted(stage, "first", &["a"]));
    let second = stage.op("second", noted(stage, "second", &["b"]));
    let rival = stage.op("rival", noted(stage, "rival", &["a"]));
    let id = stage.submit(keeping([first, second]));
    stage.work();
    let rival = stage.submit(NewJob::of([rival]));
    stage.work();
    (id, rival)
}

#[test]
fn all_locks_of_all_opcodes_are_held_from_the_first_to_the_last() {
    let mut stage = Stage::new();
    let (id, rival) = two_and_a_rival(&mut stage);
    assert_eq!(stage.held(), [format!("instance/a {id}"), format!("instance/b {id}")]);
    stage.run();
    assert_eq!(stage.take_notes(), ["first ab", "second ab", "rival a"]);
    assert_eq!([stage.status(id), stage.status(rival)], [Status::Success; 2]);
    assert!(stage.held().is_empty());
}

#[test]
fn the_stronger_mode_of_two_opcodes_is_taken() {
    let mut stage = Stage::new();
    let mut reads = noted(&stage, "reads", &[]);
    reads.locks = Arc::new(|level, locks| match level {
        "instance" => locks.shared("a"),
        _ => Ok(()),
    });
    let reads = stage.op("reads", reads);
    let writes = stage.op("writes", noted(&stage, "writes", &["a"]));
    let id = stage.submit(keeping([reads, writes]));
    stage.run();
    assert_eq!(stage.status(id), Status::Success);
}

#[test]
fn an_opcode_that_needs_more_than_the_job_took_fails_and_the_rest_is_undone_under_the_locks() {
    let mut stage = Stage::new();
    let first = stage.op("first", noted(&stage, "first", &["a"]));
    let mut other = Script::default();
    let job = std::sync::atomic::AtomicUsize::new(0);
    // What it declares at the start of the job is not what it declares at its own turn.
    other.locks = Arc::new(move |level, locks| match level {
        "instance" => match job.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => locks.exclusive("b"),
            _ => locks.exclusive("c"),
        },
        _ => Ok(()),
    });
    let second = stage.op("second", other);
    let id = stage.submit(keeping([first, second]));
    stage.run();
    let error = stage.error(id, 1);
    assert_eq!(error.kind, OpErrorKind::Prereq);
    assert!(error.message.contains("instance/c, which the job did not take"), "{}", error.message);
    assert_eq!(stage.take_notes(), ["first ab", "undo first ab"]);
    assert!(stage.held().is_empty());
}

#[test]
fn locks_are_kept_while_a_later_opcode_waits_for_its_next_try() {
    let mut stage = Stage::new();
    let first = stage.op("first", noted(&stage, "first", &["a"]));
    let script = noted(&stage, "second", &["b"]).checks(|context| match context.tried() {
        0 => Err(OpError::temporary("full")),
        _ => Ok(()),
    });
    let second = stage.op("second", script);
    let id = stage.submit(keeping([first, second]));
    stage.run();
    assert_eq!(stage.held(), [format!("instance/a {id}"), format!("instance/b {id}")]);
    assert_eq!(stage.core.master().busy_workers(), 0);
    stage.pass(Duration::from_secs(1));
    stage.run();
    assert_eq!((stage.status(id), stage.held()), (Status::Success, vec![]));
}

#[test]
fn nothing_is_kept_while_nothing_is_done_yet() {
    let mut stage = Stage::new();
    let script = noted(&stage, "first", &["a"]).checks(|_| Err(OpError::temporary("full")));
    let first = stage.op("first", script);
    let id = stage.submit(keeping([first]));
    stage.run();
    assert_eq!((stage.status(id), stage.held()), (Status::Queued, vec![]));
}

#[test]
fn a_job_cancelled_or_out_of_time_between_two_opcodes_lets_its_locks_go() {
    for cancel in [true, false] {
        let mut stage = Stage::new();
        let first = stage.op("first", Script::default().locking(&["a"]));
        let later = Script::default().checks(|_| Err(OpError::temporary("full")));
        let second = stage.op("second", later);
        let within = Some(Duration::from_millis(500));
        let terms = JobTerms { within, keep_locks: true };
        let id = stage.submit(NewJob::of([first, second]).on_terms(terms));
        let rival = stage.op("rival", Script::default().locking(&["a"]));
        stage.run();
        let rival = stage.submit(NewJob::of([rival]));
        stage.run();
        assert_eq!(stage.status(rival), Status::Waiting);
        if cancel {
            stage.core.master().cancel(id).unwrap();
        } else {
            stage.pass(Duration::from_millis(500));
        }
        stage.run();
        assert!(stage.status(id).is_final());
        assert_eq!(stage.status(rival), Status::Success);
    }
}

#[test]
fn after_a_restart_the_locks_that_are_still_needed_are_taken_again_before_it_goes_on() {
    let mut whole = Stage::new();
    let first = whole.op("first", noted(&whole, "first", &["a"]));
    let second = whole.op("second", noted(&whole, "second", &["b"]));
    let third = whole.op("third", noted(&whole, "third", &["c"]).fails());
    let id = whole.submit(keeping([first, second, third]));
    whole.run();
    let expected =
        ["first abc", "second abc", "undo third abc", "undo second abc", "undo first abc"];
    assert_eq!(whole.take_notes(), expected);
    // Between the first and the second opcode: submitted, started, ended.
    let mut stage = whole.killed_after(3);
    stage.run();
    let expected = ["second abc", "undo third abc", "undo second abc", "undo first abc"];
    assert_eq!(stage.take_notes(), expected, "also those of what may have to be undone");
    assert_eq!((stage.status(id), stage.held()), (Status::Error, vec![]));
}

#[test]
fn a_job_that_keeps_its_locks_cannot_give_them_up_inside() {
    let mut stage = Stage::new();
    let op = stage.op(
        "x",
        Script::default().locking(&["a"]).does(|context| {
            context.release(&context.held())?;
            Ok(Value::Null)
        }),
    );
    let id = stage.submit(keeping([op]));
    stage.run();
    assert!(stage.error(id, 0).message.contains("keeps its locks"));
}
