//! `lockmaster list`.

use std::process::ExitCode;

use clap::Args;
use lockmaster::interfaces::luxi::Field;
use lockmaster::vocabulary::{Error, JobId, Status};
use serde_json::Value;

use crate::daemon::{Daemon, query};
use crate::{output, times};

/// List jobs
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only these jobs
    #[arg(value_name = "JOB")]
    ids: Vec<JobId>,

    /// The columns, separated by commas
    #[arg(
        short = 'o',
        long,
        value_delimiter = ',',
        value_name = "FIELD",
        default_value = "id,status,priority,label,summary,received_ts",
        value_parser = clap::builder::PossibleValuesParser::new(Field::names())
    )]
    fields: Vec<String>,

    /// Only jobs with one of these statuses, separated by commas
    #[arg(short, long, value_delimiter = ',', value_name = "STATUS")]
    status: Vec<Status>,

    /// Print JSON: a list of objects
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the verb.
pub(crate) fn run(args: &ListArgs) -> Result<ExitCode, Error> {
    let fields: Vec<&str> = args.fields.iter().map(String::as_str).collect();
    let mut jobs = query(&mut args.daemon.connect()?, &args.ids, &fields)?;
    let statuses: Vec<&str> = args.status.iter().map(|status| status.as_str()).collect();
    jobs.retain(|job| {
        statuses.is_empty()
            || job["status"].as_str().is_some_and(|status| statuses.contains(&status))
    });
    match args.json {
        true => output::print_json(&jobs.iter().map(|job| only(job, &fields)).collect())?,
        false => print_table(&jobs, &fields)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn only(job: &Value, fields: &[&str]) -> Value {
    fields.iter().map(|field| ((*field).to_owned(), job[*field].clone())).collect()
}

fn print_table(jobs: &[Value], fields: &[&str]) -> Result<(), Error> {
    let head: Vec<String> = fields.iter().map(|field| title(field)).collect();
    let row = |job: &Value| fields.iter().map(|field| cell(field, &job[*field])).collect();
    let rows: Vec<Vec<String>> = jobs.iter().map(row).collect();
    output::print_table(&head, &rows)
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
