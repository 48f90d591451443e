//! The `[[job]]` tables of a job file.

use super::super::catalogue::Catalogue;
use super::super::located::{Fields, Located};
use super::depends::{self, Wait};
use super::for_each::{self, Row};
use super::{Budget, Draft, DraftOp, common, terms};
use crate::vocabulary::{Error, Priority, Status};

const FIELDS: [&str; 8] =
    ["label", "priority", "depends", "expect", "for_each", "op", "deadline", "keep_locks"];

pub(super) fn read<'d>(file: &Fields<'d>, catalogue: &Catalogue) -> Result<Vec<Draft<'d>>, Error> {
    let Some(tables) = file.get("job") else { return Ok(Vec::new()) };
    let (mut drafts, mut budget) = (Vec::new(), Budget::default());
    for table in tables.list("a list of jobs, [[job]]")? {
        let job = table.fields("a job", &FIELDS)?;
        for row in for_each::rows(&job, file.get("sets"))? {
            let draft = read_job(&job, catalogue, &row)?;
            budget.take(table, draft.ops.len())?;
            drafts.push(draft);
        }
    }
    Ok(drafts)
}

fn read_job<'d>(job: &Fields<'d>, catalogue: &Catalogue, row: &Row) -> Result<Draft<'d>, Error> {
    let label = job.get("label").map(|at| read_label(at, row)).transpose()?;
    let priority = job.get("priority").map_or(Ok(Priority::NORMAL), common::priority)?;
    let op_list = job.required("op")?;
    let mut ops = op_list
        .list("a list of opcodes, [[job.op]]")?
        .map(|at| read_op(at, catalogue, priority, row))
        .collect::<Result<Vec<_>, Error>>()?;
    let Some(first) = ops.first_mut() else {
        return Err(op_list.error("a job needs at least one opcode"));
    };
    if let Some(at) = job.get("depends") {
        first.waits.splice(0..0, read_waits(at, row)?);
    }
    let expect = job.get("expect").map_or(Ok(Status::Success), read_expectation)?;
    Ok(Draft { at: job.at(), label, expect, terms: terms::of_job(job)?, ops })
}

fn read_label(at: Located<'_>, row: &Row) -> Result<String, Error> {
    let label = for_each::text(at, "a name for people", row)?;
    match label.is_empty() || label.len() > 255 || label.chars().any(char::is_control) {
        true => Err(at.error("a label has 1 to 255 bytes and no control characters")),
        false => Ok(label),
    }
}

fn read_expectation(at: Located<'_>) -> Result<Status, Error> {
    let what = "\"success\", \"error\" or \"canceled\"";
    match at.text(what)?.parse::<Status>() {
        Ok(status) if status.is_final() => Ok(status),
        _ => Err(at.error(format!("expected {what}, found {}", at.kind()))),
    }
}

fn read_op<'d>(
    at: Located<'d>,
    catalogue: &Catalogue,
    priority: Priority,
    row: &Row,
) -> Result<DraftOp<'d>, Error> {
    let opcode = common::opcode(at, catalogue, priority, |value| for_each::value(value, row))?;
    let mut waits = Vec::new();
    for (key, value) in at.entries("an opcode")? {
        if key.as_str() == "depends" {
            waits = read_waits(value, row)?;
        }
    }
    Ok(DraftOp { opcode, waits })
}

fn read_waits<'d>(at: Located<'d>, row: &Row) -> Result<Vec<Wait<'d>>, Error> {
    let what = "the label of a job, or { on = \"label\", statuses = [\"success\"] }";
    at.one_or_more(what)?
        .into_iter()
        .map(|at| {
            if !at.is_table() {
                let label = for_each::text(at, what, row)?;
                return Ok(Wait::on_label(at, label, vec![Status::Success]));
            }
            let fields = at.fields("a dependency", &["on", "statuses"])?;
            let on = fields.required("on")?;
            let label = for_each::text(on, "the label of a job", row)?;
            let statuses =
                fields.get("statuses").map_or(Ok(vec![Status::Success]), depends::statuses)?;
            Ok(Wait::on_label(on, label, statuses))
        })
        .collect()
}
