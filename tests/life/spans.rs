//! What is logged while a worker acts for an opcode stands in a span that says for which.

use std::time::Duration;

use lockmaster::runtime::Hook;
use lockmaster::{Context, NewJob, OpError, Status};
use serde_json::{Value, json};
use tracing::Level;

use super::observer::Observer;
use super::stage::{Script, Stage};

const OPCODE: &str = "opcode{job=1 op=0 id=OP_PLAY attempt=1}";

/// Logs whatever it does.
fn speaking() -> Script {
    let script = Script::default().locking(&["a"]).does(|_| {
        tracing::info!("executes");
        Ok(json!(7))
    });
    let script = script.checks(|_| {
        tracing::info!("checks");
        Ok(())
    });
    script.undoes(|_| {
        tracing::info!("undoes");
        Ok(())
    })
}

struct SpeakingHook;

impl Hook for SpeakingHook {
    fn before(&self, _: &Context) -> Result<(), OpError> {
        tracing::info!("looks");
        Ok(())
    }

    fn after(&self, _: &Context, _: &Value) -> Result<(), OpError> {
        tracing::info!("looks back");
        Ok(())
    }
}

#[test]
fn what_a_unit_and_a_hook_log_stands_in_their_spans() {
    let observer = Observer::up_to(Level::INFO);
    let mut stage = Stage::with(|builder| builder.hook(SpeakingHook));
    let op = stage.op("x", speaking());
    stage.submit(NewJob::of([op]));
    observer.during(|| stage.run());
    let expected = [
        format!("{OPCODE} checks"),
        format!("{OPCODE} hook{{hook=0 phase=\"before\"}} looks"),
        format!("{OPCODE} executes"),
        format!("{OPCODE} hook{{hook=0 phase=\"after\"}} looks back"),
    ];
    assert_eq!(observer.take(), expected);
    assert_eq!(observer.open(), 0);
}

#[test]
fn who_wants_to_know_more_sees_the_locks_the_token_and_the_end() {
    let observer = Observer::default();
    let mut stage = Stage::new();
    let op = stage.op("x", speaking());
    stage.submit(NewJob::of([op]));
    observer.during(|| stage.run());
    let lines = observer.take();
    let expected = [
        "asks for locks locks=cluster/BGL shared",
        "has its locks locks=cluster/BGL shared waited_us=0",
        "asks for locks locks=instance/a exclusive",
        "has its locks locks=instance/a exclusive waited_us=0",
        "starts token=2",
        "prerequisites{} checks",
        "execute{} executes",
        "has ended status=success",
    ];
    assert_eq!(lines, expected.map(|line| format!("{OPCODE} {line}")));
}

#[test]
fn an_undo_has_a_span_of_its_own_and_each_opcode_its_index() {
    let observer = Observer::up_to(Level::INFO);
    let mut stage = Stage::new();
    let (first, second) = (stage.op("x", speaking()), stage.op("y", Script::default().fails()));
    let id = stage.submit(NewJob::of([first, second]));
    observer.during(|| stage.run());
    assert_eq!(stage.status(id), Status::Error);
    let undo = "undo{job=1 op=0 id=OP_PLAY attempt=1} undoes";
    assert_eq!(observer.take().last().map(String::as_str), Some(undo));
}

#[test]
fn another_try_of_an_opcode_says_the_how_manieth_it_is() {
    let observer = Observer::up_to(Level::INFO);
    let mut stage = Stage::new();
    let op = stage.op(
        "x",
        Script::default().checks(|context| {
            tracing::info!("checks");
            match context.tried() {
                0 => Err(OpError::temporary("no room")),
                _ => Ok(()),
            }
        }),
    );
    stage.submit(NewJob::of([op]));
    observer.during(|| stage.run());
    stage.pass(Duration::from_secs(1));
    observer.during(|| stage.run());
    let checked = |attempt| format!("opcode{{job=1 op=0 id=OP_PLAY attempt={attempt}}} checks");
    assert_eq!(observer.take(), [1, 2].map(checked));
}

#[test]
fn a_job_that_waits_for_a_lock_is_in_no_span_and_its_grant_says_how_long_it_waited() {
    let observer = Observer::default();
    let mut stage = Stage::new();
    let op = stage.op("x", speaking());
    observer.during(|| {
        stage.submit(NewJob::of([op]));
        stage.submit(NewJob::of([stage.again("x")]));
        // The first has its locks and waits for the disk, the second waits for the first.
        stage.work();
        assert_eq!(observer.open(), 0);
        let second = "opcode{job=2 op=0 id=OP_PLAY attempt=1}";
        assert_eq!(observer.take().last(), Some(&format!("{second} waits for locks")));
        stage.pass(Duration::from_secs(5));
        stage.run();
        let granted =
            format!("{second} has its locks locks=instance/a exclusive waited_us=5000000");
        assert_eq!(observer.take().iter().filter(|line| **line == granted).count(), 1);
    });
}

#[test]
fn what_panics_leaves_its_span() {
    let observer = Observer::default();
    let mut stage = Stage::new();
    let op = stage.op("x", Script::default().does(|_| panic!("as asked")));
    stage.submit(NewJob::of([op]));
    observer.during(|| {
        stage.run();
        tracing::info!("outside");
    });
    assert_eq!(observer.take().last().map(String::as_str), Some("outside"));
    assert_eq!(observer.open(), 0);
}
