//! `lockmaster submit`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use lockmaster::interfaces::catalogue::Catalogue;
use lockmaster::interfaces::job_file::JobFile;
use lockmaster::vocabulary::{
    Dependency, Error, Hierarchy, JobId, JobRef, NewJob, OpCode, OpId, Params, Priority, Status,
    SubmissionKey,
};
use serde_json::{Map, Value};

use crate::daemon::Daemon;
use crate::which::{Which, resolve};
use crate::{filter, follow, output, priority, times};

const ONE_OP: &str = "Options for one opcode";

/// Submit jobs to the daemon and print their ids
///
/// Either the jobs of a file, all or none; or one opcode with its parameters, where a value that
/// is JSON (a number, true, a list, ...) is taken as such and everything else as text:
///
///     lockmaster submit nightly.toml --wait
///     lockmaster submit OP_TEST_DELAY duration=0.5 'on_nodes=["alpha"]' --wait
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct SubmitArgs {
    /// A job file in TOML or JSON, or the id of an opcode
    #[arg(value_name = "FILE|OP_ID")]
    what: PathBuf,

    /// The parameters of the opcode
    #[arg(value_name = "KEY=VALUE", value_parser = parameter)]
    params: Vec<(String, Value)>,

    #[command(flatten)]
    one: OneOp,

    /// A name for this submission: where jobs were submitted under it before, print their ids
    /// and submit nothing
    #[arg(long, value_name = "KEY")]
    key: Option<SubmissionKey>,

    /// By when each job has to have ended, counted from now, such as 90s or 2h; of the jobs of a
    /// file, those that do not say so themselves. What is late fails and is undone
    #[arg(long, value_name = "DURATION", value_parser = times::parse_positive)]
    deadline: Option<Duration>,

    /// Wait until they have ended; print the status beside the id
    #[arg(short, long)]
    wait: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// What can be said about a job of one opcode; a file says it itself.
#[derive(Debug, Args)]
struct OneOp {
    /// A name for people
    #[arg(long, help_heading = ONE_OP)]
    label: Option<String>,

    /// -20 is the most urgent, 0 the normal, 19 the least urgent
    #[arg(long, help_heading = ONE_OP, allow_hyphen_values = true, value_parser = priority::parse)]
    priority: Option<Priority>,

    /// Run it only once this job has succeeded, or all those of a range or label; can be repeated
    #[arg(long, value_name = "JOB", help_heading = ONE_OP)]
    after: Vec<Which>,

    /// Why it exists; can be repeated. With rate-limit:N:NAME, at most N jobs of that name run at
    /// once
    #[arg(long, value_name = "TEXT", help_heading = ONE_OP)]
    reason: Vec<String>,

    /// Check arguments, locks and prerequisites only
    #[arg(long, help_heading = ONE_OP)]
    dry_run: bool,
}

impl OneOp {
    fn is_said(&self) -> bool {
        let lists = !self.after.is_empty() || !self.reason.is_empty();
        self.label.is_some() || self.priority.is_some() || lists || self.dry_run
    }
}

fn parameter(text: &str) -> Result<(String, Value), String> {
    let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        return Err("expected KEY=VALUE".to_owned());
    };
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((key.to_owned(), value))
}

/// Runs the verb.
pub(crate) fn run(args: &SubmitArgs) -> Result<ExitCode, Error> {
    let mut jobs = jobs(args)?;
    let mut client = args.daemon.connect()?;
    let after = resolve(&mut client, &args.one.after)?;
    jobs.iter_mut().for_each(|job| depend(job, &after));
    set_deadline(&mut jobs, args.deadline);
    let ids = match &args.key {
        Some(key) => client.submit_once(key, &jobs)?,
        None => client.submit(&jobs)?,
    };
    if !args.wait {
        ids.iter().try_for_each(output::print)?;
        return Ok(ExitCode::SUCCESS);
    }
    follow::all(&mut client, &ids, Status::is_final, None, false)
}

fn jobs(args: &SubmitArgs) -> Result<Vec<NewJob>, Error> {
    if let Some(Ok(id)) = args.what.to_str().map(OpId::new) {
        return Ok(vec![one_op(id, args)]);
    }
    if args.one.is_said() || !args.params.is_empty() {
        let file = args.what.display();
        return Err(Error::invalid(format!("{file} is a file, which says its parameters itself"))
            .hint("an opcode is written OP_NAME, in capital letters"));
    }
    let known = Catalogue::new(Hierarchy::default()).with_any_other();
    Ok(JobFile::load(&args.what, known).map_err(not_submitted)?.jobs)
}

/// A file that cannot be read is as bad as one with a mistake in it.
fn not_submitted(error: Error) -> Error {
    let hint = error.hint_text().map(str::to_owned);
    hint.into_iter().fold(Error::invalid(error.to_string()).caused_by(error), Error::hint)
}

fn one_op(id: OpId, args: &SubmitArgs) -> NewJob {
    let params: Map<String, Value> = args.params.iter().cloned().collect();
    let mut op = OpCode::new(id, Params::from_object(&params));
    op.priority = args.one.priority.unwrap_or_default();
    op.dry_run = args.one.dry_run;
    op.reason = filter::reasons(&args.one.reason);
    NewJob { label: args.one.label.clone(), ..NewJob::of([op]) }
}

/// Gives the jobs a deadline that have none.
pub(crate) fn set_deadline(jobs: &mut [NewJob], deadline: Option<Duration>) {
    jobs.iter_mut().for_each(|job| job.terms.within = job.terms.within.or(deadline));
}

fn depend(job: &mut NewJob, after: &[JobId]) {
    let depends = after.iter().map(|id| Dependency::success(JobRef::Id(*id)));
    job.ops.iter_mut().take(1).for_each(|op| op.depends.extend(depends.clone()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_json_where_they_can_be_and_text_otherwise() {
        let cases = [
            ("n=1.5", json!(1.5)),
            ("n=true", json!(true)),
            ("n=[\"a\"]", json!(["a"])),
            ("n=\"7\"", json!("7")),
            ("n=alpha", json!("alpha")),
            ("n=", json!("")),
            ("n=a=b", json!("a=b")),
        ];
        for (text, value) in cases {
            assert_eq!(parameter(text), Ok(("n".to_owned(), value)), "{text}");
        }
        assert!(parameter("duration").is_err() && parameter("=5").is_err());
    }
}
