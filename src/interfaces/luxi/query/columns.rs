//! The fields that can be asked for by name, with what luxid says about them.

use serde_json::{Value, json};

/// A field: its name, its title in a table, its kind, and a sentence about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    title: &'static str,
    kind: &'static str,
    doc: &'static str,
}

const fn column(
    name: &'static str,
    title: &'static str,
    kind: &'static str,
    doc: &'static str,
) -> Column {
    Column { name, title, kind, doc }
}

/// Those of jobs, by name.
pub(super) const JOB: [Column; 16] = [
    column("archived", "Archived", "bool", "Whether job is archived"),
    column(
        "end_ts",
        "End",
        "other",
        "Timestamp of job end (tuple containing seconds and microseconds)",
    ),
    column("id", "ID", "number", "Job ID"),
    column("opend", "OpCode_end", "other", "List of opcode execution end timestamps"),
    column(
        "opexec",
        "OpCode_exec",
        "other",
        "List of opcode execution start timestamps (after acquiring locks)",
    ),
    column("oplog", "OpCode_log", "other", "List of opcode output logs"),
    column("oppriority", "OpCode_prio", "other", "List of opcode priorities"),
    column("opresult", "OpCode_result", "other", "List of opcodes results"),
    column("ops", "OpCodes", "other", "List of all opcodes"),
    column(
        "opstart",
        "OpCode_start",
        "other",
        "List of opcode start timestamps (before acquiring locks)",
    ),
    column("opstatus", "OpCode_status", "other", "List of opcodes status"),
    column("priority", "Priority", "number", "Current job priority (19 to -20)"),
    column(
        "received_ts",
        "Received",
        "other",
        "Timestamp of when job was received (tuple containing seconds and microseconds)",
    ),
    column(
        "start_ts",
        "Start",
        "other",
        "Timestamp of job start (tuple containing seconds and microseconds)",
    ),
    column("status", "Status", "text", "Job status"),
    column("summary", "Summary", "other", "List of per-opcode summaries"),
];

/// Those of jobs that Ganeti does not have: there for who asks, not listed among all.
pub(super) const OWN_JOB: [Column; 2] = [
    column("label", "Label", "text", "Name for people"),
    column("opundo", "OpCode_undo", "other", "List of how far opcodes are undone"),
];

/// Those of locks, by name.
pub(super) const LOCK: [Column; 4] = [
    column(
        "mode",
        "Mode",
        "other",
        "Mode in which the lock is currently acquired (exclusive or shared)",
    ),
    column("name", "Name", "other", "Lock name"),
    column("owner", "Owner", "other", "Current lock owner(s)"),
    column("pending", "Pending", "other", "Jobs waiting for the lock"),
];

/// Those of filter rules, by name.
pub(super) const FILTER: [Column; 6] = [
    column("action", "Action", "other", "Filter action"),
    column("predicates", "Predicates", "other", "List of filter predicates"),
    column("priority", "Priority", "other", "Filter priority"),
    column("reason_trail", "ReasonTrail", "other", "Reason why this filter was added"),
    column("uuid", "UUID", "other", "Filter ID"),
    column(
        "watermark",
        "Watermark",
        "other",
        "Highest job ID used at the time when the filter was added",
    ),
];

/// What there is to say about the field of that name, also where there is no such field.
pub(super) fn definition(known: Option<&Column>, name: &str) -> Value {
    known.map_or_else(
        || {
            let doc = format!("Unknown field '{name}'");
            json!({ "name": name, "title": name, "kind": "unknown", "doc": doc })
        },
        |Column { name, title, kind, doc }| {
            json!({ "name": name, "title": title, "kind": kind, "doc": doc })
        },
    )
}
