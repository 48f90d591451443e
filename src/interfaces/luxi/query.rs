//! `Query` and `QueryFields`: tables of jobs and locks, with a filter; and the empty tables of
//! what Ganeti has and we have not.

mod columns;
mod filter;
mod row;

use std::collections::HashSet;

use serde_json::{Value, json};

use super::message::{Failure, Request, success_of_table};
use super::methods::{Reply, job_id};
use super::service::Service;
use columns::{Column, FILTER, JOB, LOCK, OWN_JOB, definition};
use filter::{Filter, Operand};
use row::Row;

/// What a client asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Job,
    Lock,
    /// Filter rules: there are none.
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
    let (rows, position) = rows(service, what, &filter)?;
    let mut wanted = Vec::new();
    for row in rows {
        if filter.admits(&|name| row.to_compare(name))? {
            wanted.push(row);
        }
    }
    let fields = names.iter().map(|name| what.definition(name)).collect::<Vec<_>>();
    let cells = |row: &Row| names.iter().map(|name| cell(what, row, name)).collect();
    let answer = success_of_table(&fields, wanted.iter().map(cells));
    Ok(Reply::Held { answer, position })
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
fn cell(what: What, row: &Row, name: &str) -> Value {
    match row.value(name) {
        _ if !what.knows(name) => json!([1, null]),
        Some(value) => json!([0, value]),
        None => json!([3, null]),
    }
}

fn rows(service: &dyn Service, what: What, filter: &Filter) -> Result<(Vec<Row>, u64), Failure> {
    match what {
        What::Job => match filter.named("id") {
            Some(ids) if !ids.is_empty() => named_jobs(service, &ids),
            _ => {
                let answer = service.jobs();
                let rows = answer.value.into_iter().map(|view| Row::Job(Box::new(view)));
                Ok((rows.collect(), answer.position))
            }
        },
        What::Lock => {
            let answer = service.locks(false);
            Ok((answer.value.locks.into_iter().map(Row::Lock).collect(), answer.position))
        }
        What::Filter | What::Foreign => Ok((Vec::new(), 0)),
    }
}

/// The jobs of those ids in that order, each once, also those that do not exist.
fn named_jobs(service: &dyn Service, ids: &[&Operand]) -> Result<(Vec<Row>, u64), Failure> {
    let (mut rows, mut position, mut seen) = (Vec::new(), 0, HashSet::new());
    for operand in ids {
        let (number, id) = match operand {
            Operand::Text(text) => job_id(&json!(text))?,
            Operand::Number(number) => job_id(&json!(number))?,
        };
        if !seen.insert(number) {
            continue;
        }
        rows.push(id.and_then(|id| service.job(id)).map_or(Row::NoJob(number), |answer| {
            position = position.max(answer.position);
            Row::Job(Box::new(answer.value))
        }));
    }
    Ok((rows, position))
}
