//! Hooks, dry runs, results.

use std::sync::Arc;

use lockmaster::runtime::{Hook, ResultType};
use lockmaster::vocabulary::{OpErrorKind, UndoState};
use lockmaster::{Context, NewJob, OpError, Status};
use serde_json::{Value, json};

use super::stage::{Notes, Script, Stage, note};

/// Writes down what it is called for; refuses and fails where asked to.
struct Watcher {
    name: &'static str,
    notes: Notes,
    refuses: bool,
    fails: bool,
}

impl Watcher {
    fn new(name: &'static str, notes: &Notes) -> Self {
        Self { name, notes: Arc::clone(notes), refuses: false, fails: false }
    }
}

impl Hook for Watcher {
    fn before(&self, context: &Context) -> Result<(), OpError> {
        note(&self.notes, format!("{} before {} with locks", self.name, context.op_index()));
        assert!(!context.held().is_empty(), "hooks run with the locks held");
        if self.refuses { Err(OpError::exec("not today")) } else { Ok(()) }
    }

    fn after(&self, _: &Context, result: &Value) -> Result<(), OpError> {
        note(&self.notes, format!("{} after {result}", self.name));
        assert!(!self.fails, "as asked");
        Ok(())
    }
}

fn stage(change: impl FnOnce(&mut Watcher)) -> Stage {
    let notes = Notes::default();
    let mut second = Watcher::new("second", &notes);
    change(&mut second);
    let first = Watcher::new("first", &notes);
    let mut stage = Stage::with(|builder| builder.hook(first).hook(second));
    stage.notes = notes;
    stage
}

/// An opcode that writes down that it executes, and can be undone.
fn noted(stage: &Stage) -> Script {
    let notes = Arc::clone(&stage.notes);
    Script::default().undoes(|_| Ok(())).does(move |_| {
        note(&notes, "execute");
        Ok(json!(7))
    })
}

#[test]
fn hooks_are_called_in_order_around_the_execution() {
    let mut stage = stage(|_| ());
    let op = stage.op("x", noted(&stage));
    let id = stage.submit(NewJob::of([op]));
    stage.run();
    let expected = [
        "first before 0 with locks",
        "second before 0 with locks",
        "execute",
        "first after 7",
        "second after 7",
    ];
    assert_eq!(stage.take_notes(), expected);
    assert_eq!(stage.status(id), Status::Success);
}

#[test]
fn a_hook_that_refuses_fails_the_opcode_before_it_executes() {
    let mut stage = stage(|second| second.refuses = true);
    let op = stage.op("x", noted(&stage));
    let id = stage.submit(NewJob::of([op]));
    stage.run();
    let error = stage.error(id, 0);
    assert_eq!(error.kind, OpErrorKind::Hook);
    assert_eq!(error.message, "a hook refuses: not today");
    assert!(!stage.take_notes().contains(&"execute".to_owned()));
    assert_eq!(stage.view(id).job.ops[0].undo, UndoState::None, "there is nothing to undo");
}

#[test]
fn a_hook_that_fails_or_panics_afterwards_is_a_line_of_feedback() {
    let mut stage = stage(|second| second.fails = true);
    let op = stage.op("x", noted(&stage));
    let id = stage.submit(NewJob::of([op]));
    stage.run();
    assert_eq!(stage.status(id), Status::Success);
    let said = stage.feedback(id);
    assert_eq!(said, ["WARNING: a hook failed after the execution: panicked: as asked"]);
}

#[test]
fn a_dry_run_asks_the_hooks_does_nothing_and_gives_what_the_unit_says() {
    let mut stage = stage(|_| ());
    let mut op = stage.op("x", noted(&stage));
    op.dry_run = true;
    let failing = stage.op("fails", Script::default().fails());
    let id = stage.submit(NewJob::of([op, failing]));
    stage.run();
    assert_eq!(stage.result(id, 0), json!("would"));
    assert_eq!(
        stage.take_notes()[..2],
        ["first before 0 with locks", "second before 0 with locks"]
    );
    assert_eq!(stage.view(id).job.ops[0].undo, UndoState::None, "and is not undone");
}

#[test]
fn a_result_of_another_type_than_declared_fails_the_opcode_and_undoes_it() {
    let mut stage = stage(|_| ());
    let mut script = noted(&stage);
    script.result = ResultType::of::<Vec<String>>();
    let op = stage.op("x", script);
    let id = stage.submit(NewJob::of([op]));
    stage.run();
    let error = stage.error(id, 0);
    assert_eq!(error.kind, OpErrorKind::WrongResult);
    assert!(error.message.contains("Vec<alloc::string::String>"), "{}", error.message);
    assert_eq!(stage.view(id).job.ops[0].undo, UndoState::Done);
    assert!(!stage.take_notes().iter().any(|line| line.contains("after")), "no hook hears of it");
}
