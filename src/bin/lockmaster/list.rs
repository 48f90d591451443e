//! `lockmaster list`.

mod condition;
mod screen;
mod watch;

use std::cmp::Ordering;
use std::process::ExitCode;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use lockmaster::interfaces::luxi::{Client, Field};
use lockmaster::vocabulary::{Error, Status};
use serde_json::{Value, json};

use crate::daemon::{Daemon, query, query_where};
use crate::which::{Which, resolve};
use crate::{output, times};
use condition::Condition;

/// List jobs
///
/// Conditions compare a field with a value; all of them have to hold. Fields that are lists have
/// an entry for each opcode: = and != say whether it is among them. Times are compared with a
/// date, with or without the time of day, or with seconds since 1970:
///
///     lockmaster list --where label=nightly --where 'priority<0'
///     lockmaster list --where summary=BACKUP --where 'end_ts>2026-11-20' --sort -end_ts
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ListArgs {
    /// Only these jobs: ids, ranges such as 7-12, or labels
    #[arg(value_name = "JOB")]
    jobs: Vec<Which>,

    /// The columns, separated by commas
    #[arg(
        short = 'o',
        long,
        value_delimiter = ',',
        value_name = "FIELD",
        default_value = "id,status,priority,label,summary,received_ts",
        value_parser = PossibleValuesParser::new(Field::names())
    )]
    fields: Vec<String>,

    /// Only jobs with one of these statuses, separated by commas
    #[arg(short, long, value_delimiter = ',', value_name = "STATUS", value_parser = statuses())]
    status: Vec<Status>,

    /// Only jobs for which this holds: FIELD=VALUE, or with != < <= > >=, or ~ for a pattern
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<Condition>,

    /// Order by this field; downwards with a - before it
    #[arg(long, value_name = "[-]FIELD", allow_hyphen_values = true, value_parser = sorting)]
    sort: Option<Sorting>,

    /// Archived jobs too; says of each whether it is archived
    #[arg(long)]
    archived: bool,

    /// Go on showing the list as it changes, until Ctrl-C or until the daemon stops
    ///
    /// At a terminal the list is kept up to date in place. Elsewhere, each line after the list
    /// is a job that has changed, as it is now; with --json each line is an array of those that
    /// changed together, and of one that is in the list no more {"gone":true,"id":ID}
    #[arg(long)]
    watch: bool,

    /// Print JSON: a list of objects
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// By what rows are ordered.
#[derive(Clone, Debug)]
struct Sorting {
    field: String,
    down: bool,
}

fn statuses() -> impl TypedValueParser<Value = Status> {
    let words = Status::ALL.map(Status::as_str);
    PossibleValuesParser::new(words).try_map(|word| word.parse::<Status>())
}

fn sorting(text: &str) -> Result<Sorting, String> {
    let (field, down) = text.strip_prefix('-').map_or((text, false), |field| (field, true));
    match Field::names().any(|name| name == field) {
        true => Ok(Sorting { field: field.to_owned(), down }),
        false => {
            let all: Vec<&str> = Field::names().collect();
            Err(format!("there is no field {field:?}; the fields are {}", all.join(", ")))
        }
    }
}

/// Runs the verb.
pub(crate) fn run(args: &ListArgs) -> Result<ExitCode, Error> {
    let mut fields: Vec<&str> = args.fields.iter().map(String::as_str).collect();
    if args.archived && !fields.contains(&"archived") {
        fields.push("archived");
    }
    let mut client = args.daemon.connect()?;
    if args.watch {
        return watch::run(args, &mut client, &fields);
    }
    let jobs = wanted(args, &mut client, &fields)?;
    match args.json {
        true => output::print_json(&jobs.iter().map(|job| only(job, &fields)).collect())?,
        false => print_table(&jobs, &fields)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn wanted(args: &ListArgs, client: &mut Client, fields: &[&str]) -> Result<Vec<Value>, Error> {
    let ids = resolve(client, &args.jobs)?;
    let asked = asked(args, fields);
    let mut jobs = match (ids.is_empty(), filter(args)) {
        // Jobs that are named have to exist.
        (false, Value::Null) => query(client, &ids, &asked)?,
        (true, filter) => query_where(client, &filter, &asked)?,
        (false, filter) => query_where(client, &json!(["&", one_of("id", &ids), filter]), &asked)?,
    };
    sort(args, &mut jobs);
    Ok(jobs)
}

/// The fields that are shown or sorted by.
fn asked<'a>(args: &'a ListArgs, fields: &[&'a str]) -> Vec<&'a str> {
    let sort: Vec<&str> = args.sort.iter().map(|sort| sort.field.as_str()).collect();
    [fields, &sort].concat()
}

fn sort(args: &ListArgs, jobs: &mut [Value]) {
    if let Some(sort) = &args.sort {
        jobs.sort_by(|a, b| in_order(&a[&sort.field], &b[&sort.field], sort.down));
    }
}

/// What the daemon is to look for; null for everything.
fn filter(args: &ListArgs) -> Value {
    let statuses: Vec<&str> = args.status.iter().map(|status| status.as_str()).collect();
    let status = (!statuses.is_empty()).then(|| one_of("status", &statuses));
    let parts: Vec<Value> =
        status.into_iter().chain(args.conditions.iter().map(Condition::filter)).collect();
    match parts.is_empty() {
        true => Value::Null,
        false => [json!("&")].into_iter().chain(parts).collect(),
    }
}

fn one_of<T: serde::Serialize>(field: &str, values: &[T]) -> Value {
    let parts = values.iter().map(|value| json!(["=", field, value]));
    [json!("|")].into_iter().chain(parts).collect()
}

/// Numbers and times by size, texts by letters; what has no value comes last.
fn in_order(a: &Value, b: &Value, down: bool) -> Ordering {
    let missing = a.is_null().cmp(&b.is_null());
    let order = match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let pairs = a.iter().zip(b).map(|(a, b)| in_order(a, b, false));
            pairs.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
        }
        _ => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
    };
    missing.then(if down { order.reverse() } else { order })
}

fn only(job: &Value, fields: &[&str]) -> Value {
    fields.iter().map(|field| ((*field).to_owned(), job[*field].clone())).collect()
}

fn print_table(jobs: &[Value], fields: &[&str]) -> Result<(), Error> {
    let rows: Vec<Vec<String>> = jobs.iter().map(|job| cells(job, fields)).collect();
    output::print_table(&head(fields), &rows)
}

fn head(fields: &[&str]) -> Vec<String> {
    fields.iter().map(|field| title(field)).collect()
}

fn cells(job: &Value, fields: &[&str]) -> Vec<String> {
    fields.iter().map(|field| cell(field, &job[*field])).collect()
}

fn title(field: &str) -> String {
    field.trim_end_matches("_ts").to_uppercase()
}

fn cell(field: &str, value: &Value) -> String {
    match value {
        _ if field.ends_with("_ts") => times::shown(value),
        Value::Null => "-".to_owned(),
        Value::String(text) => output::harmless(text),
        Value::Array(all) if all.iter().all(Value::is_string) => all
            .iter()
            .filter_map(Value::as_str)
            .map(output::harmless)
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_value_comes_last_in_either_order() {
        let values = [json!([5, 1]), json!([5, 0]), Value::Null, json!([3, 9])];
        for (down, sorted) in [(false, [3, 1, 0, 2]), (true, [0, 1, 3, 2])] {
            let mut places = [0, 1, 2, 3];
            places.sort_by(|a: &usize, b: &usize| in_order(&values[*a], &values[*b], down));
            assert_eq!(places, sorted, "down: {down}");
        }
        assert_eq!(in_order(&json!("a"), &json!("b"), false), Ordering::Less);
        assert_eq!(in_order(&json!(-3), &json!(2), true), Ordering::Greater);
    }
}
