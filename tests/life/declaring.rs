//! Locks: declared again where what was computed before them does not hold, taken as far as they
//! are free, released before the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lockmaster::vocabulary::OpErrorKind;
use lockmaster::{LockMode, LockRequest, Master, NewJob, OpError, Status};
use serde_json::{Value, json};

use super::stage::{Script, Stage, note};

/// Locks the node that an instance is on, which `moves` times is another one by then.
fn on_a_moving_instance(stage: &Stage, moves: usize) -> Script {
    let looked = Arc::new(AtomicUsize::new(0));
    let (at_declaration, notes) = (Arc::clone(&looked), Arc::clone(&stage.notes));
    let mut script = Script::default().checks(move |context| {
        let round = looked.fetch_add(1, Ordering::Relaxed);
        let nodes = context.held().levels().count();
        note(&notes, format!("check {round} with {nodes} levels"));
        if round < moves { Err(OpError::changed("the instance has moved")) } else { Ok(()) }
    });
    script.locks = Arc::new(move |level, locks| match level {
        "node" => locks.exclusive(&format!("n{}", at_declaration.load(Ordering::Relaxed))),
        _ => Ok(()),
    });
    script
}

#[test]
fn locks_that_do_not_fit_any_more_are_declared_again() {
    let mut stage = Stage::new();
    let script = on_a_moving_instance(&stage, 2);
    let notes = Arc::clone(&stage.notes);
    let op = stage.op(
        "move",
        script.does(move |context| {
            note(&notes, format!("execute with {:?}", context.held()));
            Ok(Value::Null)
        }),
    );
    let id = stage.submit(NewJob::of([op]));
    stage.run();
    let notes = stage.take_notes();
    assert_eq!(stage.status(id), Status::Success);
    assert_eq!(notes.len(), 4, "{notes:?}");
    assert!(notes[3].contains("n2") && !notes[3].contains("n1"), "{}", notes[3]);
}

#[test]
fn an_opcode_whose_locks_never_fit_fails_with_the_number_of_its_declarations() {
    let mut stage = Stage::new();
    let op = stage.op("move", on_a_moving_instance(&stage, 100));
    let id = stage.submit(NewJob::of([op]));
    stage.run();
    let error = stage.error(id, 0);
    assert_eq!(error.kind, OpErrorKind::Changed);
    assert_eq!(error.message, "the instance has moved (its locks were declared 5 times)");
    assert_eq!(stage.take_notes().len(), 5);
    assert!(stage.core.master().locks(false).value.locks.is_empty(), "nothing is held");
}

#[test]
fn while_locks_are_declared_again_others_get_them() {
    let mut stage = Stage::new();
    let other = stage.op("other", Script::default().locking(&["a"]));
    let first = Arc::new(AtomicUsize::new(0));
    let script = Script::default().locking(&["a"]).checks(move |_| {
        match first.fetch_add(1, Ordering::Relaxed) {
            0 => Err(OpError::changed("not yet")),
            _ => Ok(()),
        }
    });
    let op = stage.op("again", script);
    let id = stage.submit(NewJob::of([op]));
    stage.work();
    assert_eq!(stage.status(id), Status::Running);
    let waits = stage.submit(NewJob::of([other]));
    stage.work();
    assert_eq!(stage.held(), [format!("instance/a {id}")]);
    stage.core.write_log();
    assert!(stage.core.work(0));
    assert_eq!(stage.held(), [format!("instance/a {waits}")], "whoever waited comes first");
    assert_eq!(stage.status(id), Status::Waiting);
    stage.run();
    assert_eq!([stage.status(id), stage.status(waits)], [Status::Success; 2]);
}

#[test]
fn a_job_cancelled_while_its_prerequisites_are_checked_is_not_declared_again() {
    for error in [OpError::changed("moved"), OpError::temporary("full")] {
        let mut stage = Stage::new();
        let op = stage.op(
            "x",
            Script::default().checks(move |context| {
                assert!(context.cancel_token().is_set());
                Err(error.clone())
            }),
        );
        let id = stage.submit(NewJob::of([op]));
        stage.work();
        stage.core.master().cancel(id).unwrap();
        stage.run();
        assert_eq!(stage.status(id), Status::Canceled);
    }
}

/// Takes those of three instances that are free, two at least.
fn what_is_free() -> Script {
    Script::default().declaring(|level, locks| {
        if level == "instance" {
            ["a", "b", "c"].iter().try_for_each(|name| locks.exclusive(name))?;
            locks.opportunistic(2);
        }
        Ok(())
    })
}

#[test]
fn of_opportunistic_locks_those_are_taken_that_are_free() {
    let mut stage = Stage::new();
    let holder = stage.op("holder", Script::default().locking(&["b"]));
    let script = what_is_free().does(|context| {
        let names: Vec<String> = context
            .held()
            .levels()
            .flat_map(|(_, locks)| {
                locks.names().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
            })
            .filter(|name| name.len() == 1)
            .collect();
        Ok(json!(names))
    });
    stage.submit(NewJob::of([holder]));
    stage.work();
    let op = stage.op("free", script);
    let id = stage.submit(NewJob::of([op]));
    stage.run();
    assert_eq!(stage.result(id, 0), json!(["a", "c"]));
}

#[test]
fn where_too_few_opportunistic_locks_are_free_the_opcode_is_tried_later() {
    let mut stage = Stage::new();
    let holder = stage.op("holder", Script::default().locking(&["a", "b"]));
    stage.submit(NewJob::of([holder]));
    stage.work();
    let op = stage.op("free", what_is_free());
    let id = stage.submit(NewJob::of([op]));
    stage.run();
    assert_eq!(stage.status(id), Status::Queued);
    stage.pass(std::time::Duration::from_secs(1));
    stage.run();
    assert_eq!(stage.status(id), Status::Success);
}

/// The instance `name`, as a request.
fn instance(stage: &Stage, name: &str) -> LockRequest {
    let level = stage.core.master().hierarchy().level("instance").unwrap();
    let mut request = LockRequest::new();
    request.add(level, name, LockMode::Exclusive).unwrap();
    request
}

/// Who holds the instance `a`: the numbers of their jobs.
fn holders_of_a(master: &Master) -> Vec<u64> {
    let locks = master.locks(false).value.locks;
    let a = locks.iter().find(|lock| lock.lock == "instance/a");
    a.map(|a| a.holders.iter().map(|holder| holder.owner.0).collect()).unwrap_or_default()
}

#[test]
fn a_lock_released_inside_goes_to_who_waits_for_it() {
    let mut stage = Stage::new();
    let (a, master) = (instance(&stage, "a"), stage.core.client());
    let op = stage.op(
        "early",
        Script::default().locking(&["a", "b"]).does(move |context| {
            let before = holders_of_a(&master);
            context.release(&a)?;
            let again = context.release(&a).unwrap_err().to_string();
            Ok(json!([before, holders_of_a(&master), again]))
        }),
    );
    let id = stage.submit(NewJob::of([op]));
    stage.work();
    let waiting = stage.op("waiting", Script::default().locking(&["a"]));
    let waiting = stage.submit(NewJob::of([waiting]));
    stage.work();
    assert_eq!(stage.status(waiting), Status::Waiting);
    stage.run();
    let result = stage.result(id, 0);
    assert_eq!((&result[0], &result[1]), (&json!([id]), &json!([waiting])));
    assert!(result[2].as_str().unwrap().contains("instance/a"), "{result}");
    assert_eq!(stage.status(waiting), Status::Success);
}

#[test]
fn what_gave_up_a_lock_before_it_failed_takes_all_of_them_to_be_undone() {
    let mut stage = Stage::new();
    let a = instance(&stage, "a");
    let notes = Arc::clone(&stage.notes);
    let script = Script::default().locking(&["a", "b"]);
    let script = script.does(move |context| {
        context.release(&a)?;
        Err(OpError::exec("failed without a"))
    });
    let op = stage.op(
        "early",
        script.undoes(move |context| {
            note(&notes, format!("{:?}", context.held()));
            Ok(())
        }),
    );
    let id = stage.submit(NewJob::of([op]));
    stage.run();
    assert_eq!(stage.status(id), Status::Error);
    let held = stage.take_notes().join(" ");
    assert!(held.contains("\"a\"") && held.contains("\"b\""), "{held}");
}

#[test]
fn a_lock_made_shared_inside_lets_others_share_it() {
    let mut stage = Stage::new();
    let (a, master) = (instance(&stage, "a"), stage.core.client());
    let notes = Arc::clone(&stage.notes);
    let op = stage.op(
        "down",
        Script::default().locking(&["a"]).does(move |context| {
            let before = holders_of_a(&master);
            context.downgrade(&a)?;
            note(&notes, format!("{:?}", context.held()));
            Ok(json!([before, holders_of_a(&master)]))
        }),
    );
    let id = stage.submit(NewJob::of([op]));
    stage.work();
    let sharing = Script::default().declaring(|level, locks| match level {
        "instance" => locks.shared("a"),
        _ => Ok(()),
    });
    let sharing = stage.op("sharing", sharing);
    let sharing = stage.submit(NewJob::of([sharing]));
    stage.work();
    assert_eq!(stage.status(sharing), Status::Waiting);
    stage.run();
    assert_eq!(stage.result(id, 0), json!([[id], [id, sharing]]));
    assert_eq!(stage.status(sharing), Status::Success);
    let held = stage.take_notes().join(" ");
    assert!(held.contains("Shared") && !held.contains("Exclusive"), "{held}");
}
