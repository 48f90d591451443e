//! `lockmaster info`.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use lockmaster::interfaces::luxi::{Client, Field};
use lockmaster::vocabulary::{Error, JobId};
use serde_json::{Map, Value};

use crate::daemon::{Daemon, query};
use crate::follow::{result_text, said};
use crate::which::{Which, resolve};
use crate::{output, times, wording};

/// The common keys of an opcode; the rest are its parameters.
const COMMON: [&str; 7] =
    ["OP_ID", "comment", "debug_level", "depends", "dry_run", "priority", "reason"];

/// Show all that is known of jobs
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// The jobs: ids, ranges such as 7-12, or labels
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<Which>,

    /// Print JSON: a list of objects
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the verb.
pub(crate) fn run(args: &InfoArgs) -> Result<ExitCode, Error> {
    let mut client = args.daemon.connect()?;
    let fields: Vec<&str> = Field::names().collect();
    let ids = resolve(&mut client, &args.jobs)?;
    let jobs = query(&mut client, &ids, &fields)?;
    if args.json {
        output::print_json(&Value::Array(jobs))?;
        return Ok(ExitCode::SUCCESS);
    }
    for (id, job) in ids.iter().zip(&jobs) {
        let why = waits(&mut client, *id, job)?;
        output::print(describe(job, why.as_deref()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Why the job is not executing, where it should be.
fn waits(client: &mut Client, id: JobId, job: &Value) -> Result<Option<String>, Error> {
    match job["status"].as_str() {
        Some("queued" | "waiting") => Ok(Some(wording::explained(&client.why(id)?))),
        _ => Ok(None),
    }
}

fn describe(job: &Value, why: Option<&str>) -> String {
    let mut text = format!("job {}", job["id"]);
    if let Some(label) = job["label"].as_str() {
        text.push_str(&format!(" ({})", output::harmless(label)));
    }
    let status = output::status(job["status"].as_str().unwrap_or_default());
    line(&mut text, 1, "status", &status);
    why.into_iter().for_each(|why| line(&mut text, 1, "why", &why.replace('\n', "\n    ")));
    line(&mut text, 1, "priority", &job["priority"].to_string());
    for (name, field) in [("received", "received_ts"), ("started", "start_ts"), ("ended", "end_ts")]
    {
        line(&mut text, 1, name, &times::shown(&job[field]));
    }
    describe_terms(&mut text, &job["terms"]);
    let ops = job["ops"].as_array().map_or(0, Vec::len);
    (0..ops).for_each(|index| describe_op(&mut text, job, index));
    text
}

fn describe_op(text: &mut String, job: &Value, index: usize) {
    let of = |field: &str| &job[field][index];
    let status = output::status(of("opstatus").as_str().unwrap_or_default());
    line(text, 1, "opcode", &format!("{} {status}", said(of("summary"))));
    let params: Map<_, _> = of("ops")
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !COMMON.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    line(text, 2, "parameters", &Value::Object(params).to_string());
    if !of("ops")["depends"].is_null() {
        line(text, 2, "depends", &of("ops")["depends"].to_string());
    }
    describe_times(text, of("opstart"), of("opexec"), of("opend"));
    if !of("opresult").is_null() {
        line(text, 2, "result", &result_text(of("opresult")));
    }
    if !of("opundo").is_null() {
        let why = of("opundoerror").as_str().map(|why| format!(": {}", output::harmless(why)));
        line(text, 2, "undo", &format!("{}{}", said(of("opundo")), why.unwrap_or_default()));
    }
    describe_tries(text, of("opterms"));
    for entry in of("oplog").as_array().into_iter().flatten() {
        line(text, 2, &format!("log {}", entry[0]), &said(&entry[3]));
    }
}

fn describe_terms(text: &mut String, terms: &Value) {
    if !terms["deadline"].is_null() {
        line(text, 1, "deadline", &times::shown(&terms["deadline"]));
    }
    if terms["keep_locks"] == true {
        line(text, 1, "locks", "kept from its first opcode to its end");
    }
}

fn describe_tries(text: &mut String, terms: &Value) {
    if let Some(within) = terms["within"].as_f64() {
        let within = Duration::try_from_secs_f64(within).unwrap_or_default();
        line(text, 2, "deadline", &format!("{} after its turn", times::said(within)));
    }
    let again = match terms["until"].is_null() {
        true => String::new(),
        false => {
            format!("; again at {}: {}", times::shown(&terms["until"]), said(&terms["lacking"]))
        }
    };
    if let Some(tried) = terms["tried"].as_u64().filter(|tried| *tried > 0) {
        line(text, 2, "tried in vain", &format!("{tried} times{again}"));
    }
}

fn describe_times(text: &mut String, start: &Value, exec: &Value, end: &Value) {
    if let Some(waited) = times::between(start, exec) {
        line(text, 2, "waited", &waited);
    }
    if let Some(ran) = times::between(exec, end) {
        line(text, 2, "ran", &ran);
    }
}

fn line(text: &mut String, depth: usize, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = write!(text, "\n{:1$}{name}: {value}", "", 2 * depth);
}
