//! `Query` and `QueryFields`: tables of jobs and locks, with a filter; and the empty tables of
//! what Ganeti has and we have not.

mod columns;
mod filter;
mod row;

use serde_json::{Value, json};

use super::errand::{Desk, Held, Lane};
use super::message::{Failure, Request};
use super::methods::{Reply, job_id};
use super::rows::{Rows, row};
use super::select::{Selection, Span, Where};
use super::service::Service;
use crate::vocabulary::Status;
use columns::{Column, FILTER, JOB, LOCK, OWN_JOB, definition};
use filter::{Filter, Operand};
use row::Row;

/// What a client asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Job,
    Lock,
    /// Filter rules.
    Filter,
    /// What belongs to a cluster of Ganeti: there is nothing, whatever its fields are.
    Foreign,
}

impl What {
    fn parse(request: &Request, word: &str) -> Result<Self, Failure> {
        match word {
            "job" => Ok(Self::Job),
            "lock" => Ok(Self::Lock),
            "filter" => Ok(Self::Filter),
            "node" | "group" | "instance" | "network" | "export" => Ok(Self::Foreign),
            "cluster" | "os" | "extstorage" => Err(Failure::exception(
                "GenericError",
                format!("Query of '{word}' is not supported by lockmasterd"),
            )),
            _ => Err(request.misfit(format!(
                "Can't parse value '{word}' as neitherQueryTypeLuxi nor QueryTypeOp"
            ))),
        }
    }

    const fn columns(self) -> &'static [Column] {
        match self {
            Self::Job => &JOB,
            Self::Lock => &LOCK,
            Self::Filter => &FILTER,
            Self::Foreign => &[],
        }
    }

    /// The definition of a field, known or not. Of what there is nothing of, every name will do.
    fn definition(self, name: &str) -> Value {
        match self {
            Self::Foreign => json!({ "name": name, "title": name, "kind": "other", "doc": name }),
            _ => definition(self.column(name), name),
        }
    }

    fn column(self, name: &str) -> Option<&'static Column> {
        let own: &[Column] = if self == Self::Job { &OWN_JOB } else { &[] };
        self.columns().iter().chain(own).find(|column| column.name == name)
    }

    fn knows(self, name: &str) -> bool {
        self == Self::Foreign || self.column(name).is_some()
    }

    fn check_filter(self, filter: &Filter) -> Result<(), Failure> {
        let mut unknown = None;
        filter.fields(&mut |name| {
            if !self.knows(name) {
                unknown = unknown.or(Some(name));
            }
        });
        unknown.map_or(Ok(()), |name| {
            let message = format!("Can't find field named '{name}'");
            Err(Failure::exception("ParameterError", message))
        })
    }
}

/// `Query`: `[what, fields, filter]`.
pub(super) fn query(service: &dyn Service, request: &Request) -> Result<Reply, Failure> {
    let (what, names, filter): (String, Vec<String>, Value) = request.args()?;
    let what = What::parse(request, &what)?;
    let filter = Filter::parse(&filter).map_err(|why| request.misfit(why))?;
    what.check_filter(&filter)?;
    let table = Table { what, names, filter };
    match what {
        What::Job => {
            let selection = table.selection()?;
            let lane = selection.lane(service);
            Ok(Reply::in_lane(lane, move |desk| table.of_jobs(desk, &selection)))
        }
        What::Lock => Ok(Reply::in_lane(Some(Lane::Live), move |desk| table.of_locks(desk))),
        What::Filter => Ok(Reply::in_lane(Some(Lane::Live), move |desk| table.of_filters(desk))),
        What::Foreign => Ok(Reply::in_lane(None, move |desk| {
            Ok(Held { answer: table.begin(desk).finish(), position: 0 })
        })),
    }
}

/// What a client wants to see: which fields of which rows.
#[derive(Debug)]
struct Table {
    what: What,
    names: Vec<String>,
    filter: Filter,
}

impl Table {
    /// Which jobs have to be looked at.
    fn selection(&self) -> Result<Selection, Failure> {
        let mut archived = self.names.iter().any(|name| name == "archived");
        self.filter.fields(&mut |name| archived |= name == "archived");
        let wheres = if archived { Where::Everywhere } else { Where::Queue };
        let span = Span::of(self.filter.bounds("id"));
        let all = Selection::Between(span, wheres, self.statuses());
        if let Some(named) = self.filter.named("id") {
            return Ok(Selection::of(numbers(&named)?, all));
        }
        let named = self.filter.parts().iter().find_map(|part| part.named("id"));
        Ok(match named {
            // A value of another kind is an error where it is compared, if it is.
            Some(named) if named.iter().all(|it| matches!(it, Operand::Number(_))) => {
                Selection::Among(numbers(&named)?, wheres)
            }
            _ => all,
        })
    }

    /// Which statuses jobs have that are wanted; all where nothing of that kind is said.
    fn statuses(&self) -> Vec<Status> {
        let named = self.filter.parts().iter().find_map(|part| part.named("status"));
        let status = |operand: &&Operand| match operand {
            Operand::Text(text) => text.parse().ok(),
            // Of another kind, which is an error as soon as a job is compared with it.
            Operand::Number(_) => None,
        };
        let statuses: Option<Vec<Status>> =
            named.and_then(|named| named.iter().map(status).collect());
        statuses.unwrap_or_else(|| Status::ALL.into())
    }

    fn of_jobs(&self, desk: &Desk<'_>, selection: &Selection) -> Result<Held, Failure> {
        let mut rows = self.begin(desk);
        let position = selection.write(desk, &mut rows, &|found| self.row(&Row::Job(found)))?;
        Ok(Held { answer: rows.finish(), position })
    }

    fn of_locks(&self, desk: &Desk<'_>) -> Result<Held, Failure> {
        let (mut rows, answer) = (self.begin(desk), desk.service.locks(false));
        for lock in &answer.value.locks {
            self.row(&Row::Lock(lock))?.map_or(Ok(()), |row| rows.push(&row))?;
        }
        Ok(Held { answer: rows.finish(), position: answer.position })
    }

    fn of_filters(&self, desk: &Desk<'_>) -> Result<Held, Failure> {
        let (mut rows, answer) = (self.begin(desk), desk.service.filters());
        for state in &answer.value {
            self.row(&Row::Filter(&state.rule))?.map_or(Ok(()), |row| rows.push(&row))?;
        }
        Ok(Held { answer: rows.finish(), position: answer.position })
    }

    fn begin(&self, desk: &Desk<'_>) -> Rows {
        let fields = self.names.iter().map(|name| self.what.definition(name));
        Rows::table(&fields.collect(), desk.answer_bytes)
    }

    /// The cells of a row, if it is wanted.
    fn row(&self, of: &Row<'_>) -> Result<Option<Vec<u8>>, Failure> {
        if !self.filter.admits(&|name| of.to_compare(name))? {
            return Ok(None);
        }
        let cells = self.names.iter().map(|name| cell(self.what, of, name));
        Ok(Some(row(&cells.collect())))
    }
}

fn numbers(named: &[&Operand]) -> Result<Vec<i64>, Failure> {
    let number = |operand: &&Operand| match operand {
        Operand::Text(text) => job_id(&json!(text)),
        Operand::Number(number) => job_id(&json!(number)),
    };
    named.iter().map(|operand| number(operand).map(|(number, _)| number)).collect()
}

/// `QueryFields`: `[what, names or null]`.
pub(super) fn query_fields(request: &Request) -> Result<Reply, Failure> {
    let (what, names): (String, Option<Vec<String>>) = request.args()?;
    let what = What::parse(request, &what)?;
    let all = || what.columns().iter().map(|column| column.name.to_owned()).collect();
    // As in luxid, no names are all names.
    let names: Vec<String> = names.filter(|names| !names.is_empty()).unwrap_or_else(all);
    let fields = names.iter().map(|name| what.definition(name));
    Ok(Reply::of(&json!({ "fields": fields.collect::<Value>() }), 0))
}

/// A value with its status: 0 for one that is there, 1 for an unknown field, 3 for one that is
/// not there (yet).
fn cell(what: What, row: &Row<'_>, name: &str) -> Value {
    match row.value(name) {
        _ if !what.knows(name) => json!([1, null]),
        Some(value) => json!([0, value]),
        None => json!([3, null]),
    }
}
