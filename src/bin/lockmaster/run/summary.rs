//! What became of the jobs of a run, and what one is doing, in words.

use std::time::Duration;

use lockmaster::interfaces::luxi::explanation_to_json;
use lockmaster::runtime::{Answer, JobView, Why};
use lockmaster::vocabulary::{Error, FeedbackKind, JobOp, Outcome, Status, Timestamp, UndoState};
use serde_json::{Value, json};

use super::follow::Run;
use super::plan::Plan;
use crate::{output, times, wording};

/// How many lines of a failed opcode are repeated in the summary.
const LAST_LINES: usize = 3;

/// What a job is doing or waiting for, as the rest of a sentence that begins with its name.
pub(super) fn doing(run: &Run<'_>, view: &JobView) -> String {
    let Some(Answer { value, .. }) = run.master.explain(view.job.id) else { return ended(view) };
    match &value.steps[0].1 {
        Why::Executing { .. } => format!("runs {}", current(view)),
        Why::Starting => format!("takes up {}", current(view)),
        Why::Final { .. } => ended(view),
        _ => wording::brief(&explanation_to_json(&value), &called),
    }
}

/// How long a job has been executing or waiting for a lock.
pub(super) fn how_long(run: &Run<'_>, view: &JobView) -> Option<String> {
    let explanation = run.master.explain(view.job.id)?.value;
    let since = match &explanation.steps[0].1 {
        Why::Executing { since, .. } => (*since)?,
        Why::Lock(wait) => wait.since,
        _ => return None,
    };
    Some(times::said(explanation.now.since(since)))
}

/// The jobs of a run have labels; those without are called by their number.
fn called(job: &Value, label: &Value) -> String {
    label.as_str().map_or_else(|| format!("job {job}"), output::harmless)
}

fn current(view: &JobView) -> String {
    let op = view.job.current().unwrap_or_default();
    let id = view.job.ops.get(op).map_or("", |op| op.opcode.id.as_str());
    format!("{id} ({} of {})", op + 1, view.job.ops.len())
}

/// How a job ended, with the reason where it failed.
fn ended(view: &JobView) -> String {
    match failure(view) {
        Some((op, Outcome::Error(error))) => {
            format!("{}: {}: {error}{}", view.status, op.opcode.id, taken_back(view))
        }
        Some((op, _)) => format!("{} in {}{}", view.status, op.opcode.id, taken_back(view)),
        None => view.status.to_string(),
    }
}

fn failure(view: &JobView) -> Option<(&JobOp, &Outcome)> {
    let ops = view.job.ops.iter().filter_map(|op| Some((op, op.outcome()?)));
    ops.into_iter().find(|(_, outcome)| outcome.status() != Status::Success)
}

fn taken_back(view: &JobView) -> String {
    let count =
        |done: fn(&UndoState) -> bool| view.job.ops.iter().filter(|op| done(&op.undo)).count();
    let undone = count(|undo| *undo == UndoState::Done);
    let failed = count(|undo| matches!(undo, UndoState::Failed(_)));
    match (undone, failed) {
        (0, 0) => String::new(),
        (undone, 0) => format!(" ({undone} undone)"),
        (0, failed) => format!(" ({failed} could not be undone)"),
        (undone, failed) => format!(" ({undone} undone, {failed} could not be)"),
    }
}

/// Prints what became of every job. Whether all ended as the file expects.
pub(super) fn print(views: &[JobView], plan: &Plan, as_json: bool) -> Result<bool, Error> {
    let expected: Vec<bool> =
        views.iter().zip(0..).map(|(view, place)| view.status == plan.expected(place)).collect();
    let all = expected.iter().all(|expected| *expected);
    match as_json {
        true => output::print_if_read(format!("{:#}", machine(views, plan, all)))?,
        false => people(views, plan, &expected)?,
    }
    Ok(all)
}

fn people(views: &[JobView], plan: &Plan, expected: &[bool]) -> Result<(), Error> {
    let head = ["JOB", "NAME", "STATUS", "WAITED", "RAN", ""].map(str::to_owned);
    let rows: Vec<Vec<String>> =
        views.iter().zip(0..).map(|(view, place)| row(view, plan, place)).collect();
    output::print_if_read(output::table(&head, &rows))?;
    views
        .iter()
        .zip(expected)
        .filter(|(_, expected)| !**expected)
        .for_each(|(view, _)| explain(view));
    let ok = expected.iter().filter(|expected| **expected).count();
    let rest = views.len() - ok;
    let jobs = output::count(ok, "job");
    let verdict = match (ok, rest) {
        (1, 0) => "the job ended as expected".to_owned(),
        (_, 0) => format!("all {jobs} ended as expected"),
        (0, 1) => "the job did not end as expected".to_owned(),
        _ => format!("{jobs} ended as expected, {rest} did not"),
    };
    output::print_if_read(format!("\n{verdict}"))
}

fn row(view: &JobView, plan: &Plan, place: usize) -> Vec<String> {
    let (waited, ran) = times(view);
    let expected = plan.expected(place);
    let remark = match (view.status == expected, expected) {
        (true, Status::Success) => String::new(),
        (true, _) => format!("as expected{}", taken_back(view)),
        (false, _) if view.status.is_final() && expected != Status::Success => {
            format!("expected {expected}")
        }
        (false, _) => taken_back(view).trim_start().to_owned(),
    };
    let label = output::harmless(view.job.label.as_deref().unwrap_or_default());
    vec![
        view.job.id.to_string(),
        label,
        view.status.to_string(),
        seconds(waited),
        seconds(ran),
        remark,
    ]
}

fn explain(view: &JobView) {
    if !view.status.is_final() {
        return;
    }
    let say = |text: String| output::progress(output::harmless(&text));
    say(format!("{}: {}", view.job.name(), ended(view)));
    let loud = |kind| matches!(kind, FeedbackKind::Stderr | FeedbackKind::Message);
    let lines: Vec<_> = view.job.feedback.entries().filter(|entry| loud(entry.kind)).collect();
    for entry in &lines[lines.len().saturating_sub(LAST_LINES)..] {
        say(format!("  | {}", entry.text));
    }
    for op in &view.job.ops {
        if let UndoState::Failed(error) = &op.undo {
            say(format!("  {} could not be undone: {error}", op.opcode.id));
        }
    }
}

/// How long a job waited (for other jobs, locks and workers) and how long its opcodes executed.
fn times(view: &JobView) -> (Duration, Duration) {
    let ran = view.job.ops.iter().filter_map(|op| Some(op.end_time?.since(op.exec_time?)));
    let ran: Duration = ran.sum();
    let whole = view.job.end_time().map(|end: Timestamp| end.since(view.job.received));
    (whole.unwrap_or_default().saturating_sub(ran), ran)
}

fn seconds(duration: Duration) -> String {
    format!("{:.2}s", duration.as_secs_f64())
}

fn machine(views: &[JobView], plan: &Plan, all: bool) -> Value {
    let jobs: Vec<Value> =
        views.iter().zip(0..).map(|(view, place)| job(view, plan, place)).collect();
    json!({ "as_expected": all, "jobs": jobs })
}

fn job(view: &JobView, plan: &Plan, place: usize) -> Value {
    let (waited, ran) = times(view);
    json!({
        "id": view.job.id.get(),
        "label": view.job.label,
        "status": view.status.as_str(),
        "expected": plan.expected(place).as_str(),
        "waited_seconds": waited.as_secs_f64(),
        "ran_seconds": ran.as_secs_f64(),
        "ops": view.job.ops.iter().zip(&view.op_status).map(|(op, status)| opcode(op, *status)).collect::<Vec<_>>(),
    })
}

fn opcode(op: &JobOp, status: Status) -> Value {
    let error = match op.outcome() {
        Some(Outcome::Error(error)) => Some(error.message.clone()),
        _ => None,
    };
    let undo_error = match &op.undo {
        UndoState::Failed(error) => Some(error.message.clone()),
        _ => None,
    };
    json!({
        "id": op.opcode.id.as_str(),
        "status": status.as_str(),
        "error": error,
        "undone": op.undo == UndoState::Done,
        "undo_error": undo_error,
    })
}
