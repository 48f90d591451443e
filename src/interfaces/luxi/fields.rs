//! The fields of a job that clients ask for by name, as JSON.

use serde_json::{Value, json};

use super::message::Failure;
use super::opcode::{echo, summary};
use crate::runtime::JobView;
use crate::vocabulary::{
    FeedbackEntry, FeedbackKind, Job, JobOp, JobTerms, OpError, OpErrorKind, OpTerms, Outcome,
    Timestamp, Tries, UndoState,
};

/// A field of a job: Ganeti's sixteen, and those of our own (from `label` on).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// `id`: the number.
    Id,
    /// `status`: one of the seven words.
    Status,
    /// `priority`: -20 to 19.
    Priority,
    /// `archived`: whether it is archived.
    Archived,
    /// `ops`: the opcodes as submitted.
    Ops,
    /// `opresult`: per opcode its result, its error as `[name, arguments]`, or null.
    OpResult,
    /// `opstatus`: per opcode its status.
    OpStatus,
    /// `oplog`: per opcode what it said, as `[serial, time, type, message]`.
    OpLog,
    /// `opstart`: per opcode when it was taken up.
    OpStart,
    /// `opexec`: per opcode when it held its locks.
    OpExec,
    /// `opend`: per opcode when it ended.
    OpEnd,
    /// `oppriority`: per opcode its priority.
    OpPriority,
    /// `summary`: per opcode one line.
    Summary,
    /// `received_ts`: when it was submitted.
    Received,
    /// `start_ts`: when its first opcode was taken up.
    Start,
    /// `end_ts`: when it ended.
    End,
    /// `label`: the name for people, or null. Our own.
    Label,
    /// `opundo`: per opcode null, `possible`, `wanted`, `done` or `failed`. Our own.
    OpUndo,
    /// `opundoerror`: per opcode why it could not be undone, or null. Our own.
    OpUndoError,
    /// `opterms`: per opcode null, or `within` how many seconds of its turn it has to end, and how often it was `tried` in vain; while
    /// it is to be tried again, `until` when and what is `lacking`. Our own.
    OpTerms,
    /// `terms`: null, or the `deadline` of the job and whether it will `keep_locks`. Our own.
    Terms,
}

const NAMES: [(&str, Field); 21] = [
    ("id", Field::Id),
    ("status", Field::Status),
    ("priority", Field::Priority),
    ("archived", Field::Archived),
    ("ops", Field::Ops),
    ("opresult", Field::OpResult),
    ("opstatus", Field::OpStatus),
    ("oplog", Field::OpLog),
    ("opstart", Field::OpStart),
    ("opexec", Field::OpExec),
    ("opend", Field::OpEnd),
    ("oppriority", Field::OpPriority),
    ("summary", Field::Summary),
    ("received_ts", Field::Received),
    ("start_ts", Field::Start),
    ("end_ts", Field::End),
    ("label", Field::Label),
    ("opundo", Field::OpUndo),
    ("opundoerror", Field::OpUndoError),
    ("opterms", Field::OpTerms),
    ("terms", Field::Terms),
];

impl Field {
    /// The field of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }

    /// The names of all fields.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }

    /// The fields of those names, or luxid's error with all that are unknown.
    pub(super) fn all_named(names: &[String]) -> Result<Vec<Self>, Failure> {
        let unknown: Vec<&str> =
            names.iter().filter(|name| Self::named(name).is_none()).map(String::as_str).collect();
        if unknown.is_empty() {
            return Ok(names.iter().filter_map(|name| Self::named(name)).collect());
        }
        let unknown = unknown.join(", ");
        Err(Failure::wrong_input(format!("Unknown output fields selected: {unknown}")))
    }

    /// The value for that job.
    pub(super) fn of(self, view: &JobView) -> Value {
        let job = &view.job;
        let ops = || job.ops.iter();
        match self {
            Self::Id => json!(job.id),
            Self::Status => json!(view.status),
            Self::Priority => json!(view.priority.get()),
            Self::Archived => json!(view.archived),
            Self::Ops => ops().enumerate().map(|(index, op)| echo(job, index, op)).collect(),
            Self::OpResult => ops().map(|op| op_result(job, op)).collect(),
            Self::OpStatus => json!(view.op_status),
            Self::OpLog => (0..job.ops.len()).map(|index| log_of(view, index)).collect(),
            Self::OpStart => ops().map(|op| time(op.start_time)).collect(),
            Self::OpExec => ops().map(|op| time(op.exec_time)).collect(),
            Self::OpEnd => ops().map(end_time).collect(),
            Self::OpPriority => ops().map(|op| json!(op.priority.get())).collect(),
            Self::Summary => ops().map(|op| json!(summary(&op.opcode))).collect(),
            Self::Received => time(Some(job.received)),
            Self::Start => time(job.start_time()),
            Self::End => time(job.end_time()),
            Self::Label => json!(job.label),
            Self::OpUndo => ops().map(undo).collect(),
            Self::OpUndoError => ops().map(undo_error).collect(),
            Self::OpTerms => ops().map(op_terms).collect(),
            Self::Terms => terms(job),
        }
    }
}

/// A time as `[seconds, microseconds]`, or null.
pub(super) fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(at.seconds_and_micros()))
}

/// Ganeti keeps no end time for what never ran because it was cancelled.
fn end_time(op: &JobOp) -> Value {
    let canceled = matches!(op.outcome(), Some(Outcome::Canceled)) && op.exec_time.is_none();
    time(op.end_time.filter(|_| !canceled))
}

fn op_result(job: &Job, op: &JobOp) -> Value {
    match op.outcome() {
        Some(Outcome::Success(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(Outcome::Error(error)) => exception(error),
        Some(Outcome::Canceled) if job.cancel_requested.is_some() => {
            json!("Job canceled by request")
        }
        // Nobody asked: a filter rule rejects it, or the opcode has cancelled itself.
        Some(Outcome::Canceled) | None => Value::Null,
    }
}

/// An error as the Python exception that Ganeti's clients raise for it.
fn exception(error: &OpError) -> Value {
    let name = match error.kind {
        OpErrorKind::Prereq => "OpPrereqError",
        OpErrorKind::Changed | OpErrorKind::Temporary => "OpPrereqError",
        OpErrorKind::Unknown => "OpCodeUnknown",
        OpErrorKind::WrongResult => "OpResultError",
        OpErrorKind::Hook => "HooksAbort",
        _ => "OpExecError",
    };
    match &error.code {
        Some(code) => json!([name, [error.message, code]]),
        None => json!([name, [error.message]]),
    }
}

fn undo(op: &JobOp) -> Value {
    match op.undo {
        UndoState::None => Value::Null,
        UndoState::Possible => json!("possible"),
        UndoState::Wanted => json!("wanted"),
        UndoState::Done => json!("done"),
        UndoState::Failed(_) => json!("failed"),
    }
}

fn undo_error(op: &JobOp) -> Value {
    match &op.undo {
        UndoState::Failed(error) => json!(error.message),
        _ => Value::Null,
    }
}

fn terms(job: &Job) -> Value {
    if job.terms == JobTerms::default() {
        return Value::Null;
    }
    let deadline = job.terms.within.map(|within| job.received.plus(within));
    json!({ "deadline": time(deadline), "keep_locks": job.terms.keep_locks })
}

fn op_terms(op: &JobOp) -> Value {
    if op.opcode.terms == OpTerms::default() && op.tries == Tries::default() {
        return Value::Null;
    }
    let Tries { count, not_before, lacking, .. } = &op.tries;
    json!({
        "within": op.opcode.terms.within.map(|within| within.as_secs_f64()),
        "tried": count,
        "until": time(*not_before),
        "lacking": lacking.as_ref().map(|error| &error.message),
    })
}

fn log_of(view: &JobView, index: usize) -> Value {
    let entries = view.job.feedback.entries();
    entries.filter(|entry| entry.op as usize == index).map(log_entry).collect()
}

/// A line of the feedback log: `[serial, time, type, message]`.
pub(super) fn log_entry(entry: &FeedbackEntry) -> Value {
    let structured = || serde_json::from_str(&entry.text).unwrap_or_default();
    let (kind, message) = match entry.kind {
        FeedbackKind::JqueueTest => ("jqueue-test", structured()),
        FeedbackKind::DelayTest => ("delay-test", structured()),
        FeedbackKind::Message | FeedbackKind::Stdout | FeedbackKind::Stderr => {
            ("message", json!(entry.text))
        }
    };
    json!([entry.serial, entry.time.seconds_and_micros(), kind, message])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_field_and_unknown_ones_are_listed() {
        assert!(Field::names().all(|name| Field::named(name).is_some()));
        let asked = ["id", "nosuch", "neither"].map(str::to_owned);
        let refused = Field::all_named(&asked).unwrap_err();
        let sentence = "Unknown output fields selected: nosuch, neither";
        assert_eq!(refused, Failure::wrong_input(sentence));
    }

    #[test]
    fn errors_carry_their_code_where_there_is_one() {
        let error = OpError::prereq("Node 'x' not known");
        assert_eq!(exception(&error), json!(["OpPrereqError", ["Node 'x' not known"]]));
        let error = error.with_code("unknown_entity");
        assert_eq!(exception(&error)[1], json!(["Node 'x' not known", "unknown_entity"]));
        let error = OpError::exec("Opcode failure was requested");
        assert_eq!(exception(&error), json!(["OpExecError", ["Opcode failure was requested"]]));
    }
}
