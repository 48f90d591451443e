//! What a unit is asked before it executes, in which order, and what its job holds meanwhile.

use std::sync::Arc;

use lockmaster::{Hierarchy, JobId, NewJob, OpError, Priority, Status};

use super::stage::{Script, Stage, note};

/// Takes an instance and a node, and writes down at which level it is asked.
fn instance_and_node(stage: &Stage, at_once: bool) -> Script {
    let notes = Arc::clone(&stage.notes);
    let script = Script::default().declaring(move |level, locks| {
        note(&notes, level);
        match level {
            "instance" => locks.exclusive("a"),
            "node" => locks.exclusive("n"),
            _ => Ok(()),
        }
    });
    Script { at_once, ..script }
}

/// A job that holds a lock of that level, and executes.
fn holder(stage: &mut Stage, wanted: &'static str, name: &'static str) -> JobId {
    let script =
        Script::default().declaring(
            move |level, locks| {
                if level == wanted { locks.exclusive(name) } else { Ok(()) }
            },
        );
    let op = stage.op("holder", script);
    let id = stage.submit(NewJob::of([op]));
    stage.work();
    assert_eq!(stage.status(id), Status::Running);
    id
}

#[test]
fn what_the_arguments_or_the_names_refuse_fails_before_any_lock_is_asked_for() {
    let no = || OpError::prereq("no such instance");
    for late in [false, true] {
        let mut stage = Stage::new();
        let script = instance_and_node(&stage, false);
        let refusing = match late {
            false => Script { arguments: Some(no()), ..script },
            true => Script {
                names: Arc::new(move |context| {
                    assert!(context.held().is_empty());
                    Err(no())
                }),
                ..script
            },
        };
        let op = stage.op("x", refusing);
        let id = stage.submit(NewJob::of([op]));
        stage.run();
        assert_eq!(stage.error(id, 0), no());
        assert_eq!(stage.take_notes(), [""; 0], "it is not asked for its locks");
    }
}

#[test]
fn each_level_is_declared_when_the_locks_before_it_are_held() {
    let mut stage = Stage::new();
    let first = holder(&mut stage, "instance", "a");
    let op = stage.op("x", instance_and_node(&stage, false));
    let id = stage.submit(NewJob::of([op]));
    stage.work();
    assert_eq!(stage.status(id), Status::Waiting);
    assert_eq!(stage.take_notes(), ["instance"], "nobody has asked about deeper levels");
    assert_eq!(stage.held(), [format!("instance/a {first}")]);
    stage.run();
    let hierarchy = Hierarchy::default();
    let deeper: Vec<&str> = hierarchy.levels().skip(2).map(|level| hierarchy.name(level)).collect();
    assert_eq!(stage.take_notes(), deeper);
    assert_eq!((stage.status(id), stage.held().len()), (Status::Success, 0), "all is given back");
}

#[test]
fn locks_known_at_once_are_one_request_that_holds_nothing_while_it_waits() {
    for at_once in [false, true] {
        let mut stage = Stage::new();
        holder(&mut stage, "node", "n");
        let op = stage.op("x", instance_and_node(&stage, at_once));
        let id = stage.submit(NewJob::of([op]));
        stage.work();
        assert_eq!(stage.status(id), Status::Waiting);
        assert_eq!(stage.take_notes(), ["instance", "node"]);
        let held = if at_once { vec![] } else { vec![format!("instance/a {id}")] };
        assert_eq!(stage.held(), held);
        stage.run();
        assert_eq!(stage.status(id), Status::Success);
    }
}

#[test]
fn a_new_priority_counts_at_once_for_a_wait_for_a_lock() {
    let mut stage = Stage::new();
    holder(&mut stage, "instance", "a");
    let op = stage.op("x", Script::default().locking(&["a"]));
    let ids = [0, 1].map(|_| stage.submit(NewJob::of([op.clone()])));
    stage.work();
    assert_eq!(ids.map(|id| stage.status(id)), [Status::Waiting; 2]);
    stage.core.master().change_priority(ids[1], Priority::HIGH).unwrap();
    stage.core.write_log();
    assert!(stage.core.work(0));
    assert_eq!(
        stage.held(),
        [format!("instance/a {}", ids[1])],
        "it waits less and is more urgent"
    );
    stage.run();
    assert_eq!(ids.map(|id| stage.status(id)), [Status::Success; 2]);
}
