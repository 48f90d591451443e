//! `lockmaster filter`.

use std::fmt::Write;
use std::num::NonZeroU32;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use lockmaster::interfaces::luxi::Client;
use lockmaster::vocabulary::{
    Error, ErrorKind, FilterAction, FilterId, NewFilter, OpId, Predicates, Reason,
};
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::follow::said;
use crate::{output, times};

/// Say which jobs may start, and how many of a kind at once
///
/// A rule is meant for the jobs for which all its predicates hold. The first rule that is meant
/// for a job, by priority, decides about it: a job that has begun is left alone in any case.
///
///     lockmaster filter add pause --opcode OP_BACKUP --reason 'the tape robot is stuck'
///     lockmaster filter add rate-limit:2 --opcode OP_BACKUP
///     lockmaster filter add reject --predicates '[["jobid", [">", "id", "watermark"]]]'
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct FilterArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(AddArgs),
    Replace(ReplaceArgs),
    List(ListArgs),
    Info(InfoArgs),
    Delete(DeleteArgs),
}

/// Add a rule and print its id
#[derive(Debug, Args)]
struct AddArgs {
    #[command(flatten)]
    rule: RuleArgs,

    #[command(flatten)]
    daemon: Daemon,
}

/// Put a rule in the place of another, as if it were new
#[derive(Debug, Args)]
struct ReplaceArgs {
    /// The rule; it is added under this id where there is none
    #[arg(value_name = "RULE")]
    id: FilterId,

    #[command(flatten)]
    rule: RuleArgs,

    #[command(flatten)]
    daemon: Daemon,
}

/// List the rules in the order in which they are asked
#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON: a list of objects
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// Show all that is known of rules
#[derive(Debug, Args)]
struct InfoArgs {
    /// The rules
    #[arg(required = true, value_name = "RULE")]
    ids: Vec<FilterId>,

    /// Print JSON: a list of objects
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// Delete rules: what they held back may start
#[derive(Debug, Args)]
struct DeleteArgs {
    /// The rules
    #[arg(required = true, value_name = "RULE")]
    ids: Vec<FilterId>,

    #[command(flatten)]
    daemon: Daemon,
}

/// What a rule is.
#[derive(Debug, Args)]
struct RuleArgs {
    /// accept (and ask no further rule), pause, reject, rate-limit:N, or continue (do nothing)
    #[arg(value_parser = action)]
    action: FilterAction,

    /// Only jobs with such an opcode; can be repeated: one of them will do
    #[arg(long, value_name = "OP_ID", value_parser = op_id)]
    opcode: Vec<OpId>,

    /// Only jobs for which all of these hold: a JSON list of [NAME, EXPRESSION]
    ///
    /// NAME is jobid (field id, which can be compared with "watermark", the highest job id there
    /// was when the rule was set), opcode (OP_ID, priority, dry_run, comment and every parameter,
    /// a.b for one inside another; one opcode has to satisfy the expression) or reason (source,
    /// reason and timestamp; one entry has to). EXPRESSION is ["&", ...], ["|", ...], ["!", X],
    /// ["?", FIELD], or one of = != < > <= >= =~ =[] with FIELD and a text or a number.
    #[arg(long, value_name = "JSON", default_value = "[]", value_parser = predicates)]
    predicates: Predicates,

    /// Rules of a lower priority are asked first
    #[arg(long, default_value_t = 0)]
    priority: u32,

    /// Why there is such a rule; those whose jobs it holds back are told
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

fn action(text: &str) -> Result<FilterAction, String> {
    let limit = text.strip_prefix("rate-limit:").and_then(|most| most.parse::<NonZeroU32>().ok());
    match (text, limit) {
        (_, Some(most)) => Ok(FilterAction::RateLimit(most)),
        ("accept" | "continue" | "pause" | "reject", _) => {
            FilterAction::from_json(&json!(text.to_uppercase())).map_err(|why| why.to_string())
        }
        _ => Err("expected accept, continue, pause, reject or rate-limit:N with N from 1".into()),
    }
}

fn op_id(text: &str) -> Result<OpId, String> {
    OpId::new(text).map_err(|error| error.to_string())
}

fn predicates(text: &str) -> Result<Predicates, String> {
    text.parse().map_err(|error: Error| match error.hint_text() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    })
}

impl RuleArgs {
    fn rule(&self) -> Result<NewFilter, Error> {
        let mut predicates = self.predicates.to_json();
        if let (Some(list), false) = (predicates.as_array_mut(), self.opcode.is_empty()) {
            let each = self.opcode.iter().map(|id| json!(["=", "OP_ID", id.as_str()]));
            let any: Value = std::iter::once(json!("|")).chain(each).collect();
            list.push(json!(["opcode", any]));
        }
        Ok(NewFilter {
            priority: self.priority,
            predicates: Predicates::from_json(&predicates)?,
            action: self.action,
            reason: reasons(self.reason.as_slice()),
        })
    }

    fn set(&self, client: &mut Client, id: Option<FilterId>) -> Result<(), Error> {
        let id = client.set_filter(id, &self.rule()?)?;
        output::print(id)?;
        let rule = found(client, &[id])?.remove(0);
        output::progress(format!("it {}", decides(&rule)));
        Ok(())
    }
}

/// Texts as steps of a reason trail, said by the user now.
pub(crate) fn reasons(texts: &[String]) -> Vec<Reason> {
    let now = jiff::Timestamp::now().as_nanosecond();
    let time_ns = i64::try_from(now).unwrap_or(i64::MAX);
    let step = |text: &String| Reason { source: "gnt:user".into(), text: text.clone(), time_ns };
    texts.iter().map(step).collect()
}

/// Runs the verb.
pub(crate) fn run(args: &FilterArgs) -> Result<ExitCode, Error> {
    match &args.verb {
        Verb::Add(args) => args.rule.set(&mut args.daemon.connect()?, None)?,
        Verb::Replace(args) => args.rule.set(&mut args.daemon.connect()?, Some(args.id))?,
        Verb::List(args) => list(args)?,
        Verb::Info(args) => info(args)?,
        Verb::Delete(args) => delete(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The rules of those ids, all of which have to exist.
fn found(client: &mut Client, ids: &[FilterId]) -> Result<Vec<Value>, Error> {
    let rules = client.filters()?;
    let find = |id: &FilterId| {
        let is_it = |rule: &&Value| rule["uuid"] == id.to_string();
        rules.iter().find(is_it).cloned().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no filter rule {id}"))
                .hint("lockmaster filter list shows those there are")
        })
    };
    ids.iter().map(find).collect()
}

fn list(args: &ListArgs) -> Result<(), Error> {
    let rules = args.daemon.connect()?.filters()?;
    if args.json {
        return output::print_json(&Value::Array(rules));
    }
    let head = ["RULE", "PRIORITY", "ACTION", "JOBS", "RUNNING", "PREDICATES"].map(str::to_owned);
    let row = |rule: &Value| {
        let of = |key: &str| said(&rule[key]);
        vec![
            of("uuid"),
            of("priority"),
            shown(&rule["action"]),
            of("jobs"),
            of("running"),
            of("predicates"),
        ]
    };
    output::print_table(&head, &rules.iter().map(row).collect::<Vec<_>>())
}

/// An action as it is typed.
fn shown(action: &Value) -> String {
    match action.as_str() {
        Some(word) => word.to_lowercase(),
        None => format!("rate-limit:{}", action[1]),
    }
}

fn info(args: &InfoArgs) -> Result<(), Error> {
    let rules = found(&mut args.daemon.connect()?, &args.ids)?;
    if args.json {
        return output::print_json(&Value::Array(rules));
    }
    rules.iter().try_for_each(|rule| output::print(describe(rule)))
}

fn describe(rule: &Value) -> String {
    let mut text = format!("rule {}", said(&rule["uuid"]));
    let mut line = |name: &str, value: String| {
        // Writing to a string does not fail.
        _ = write!(text, "\n  {name}: {value}");
    };
    line("action", shown(&rule["action"]));
    line("priority", said(&rule["priority"]));
    line("predicates", said(&rule["predicates"]));
    line("watermark", format!("job {}", rule["watermark"]));
    line("set", times::shown(&rule["set"]));
    for step in rule["reason"].as_array().into_iter().flatten() {
        line("reason", format!("{} ({})", said(&step[1]), said(&step[0])));
    }
    line("jobs", decides(rule));
    text
}

fn decides(rule: &Value) -> String {
    let count = |key: &str| usize::try_from(rule[key].as_u64().unwrap_or_default()).unwrap_or(0);
    let jobs = output::count(count("jobs"), "job");
    format!("decides about {jobs} in the queue, {} of them running", count("running"))
}

fn delete(args: &DeleteArgs) -> Result<(), Error> {
    let mut client = args.daemon.connect()?;
    found(&mut client, &args.ids)?;
    for id in &args.ids {
        client.delete_filter(*id)?;
        output::print(format!("{id}: deleted"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_typed_in_small_letters() {
        for text in ["accept", "continue", "pause", "reject", "rate-limit:3"] {
            assert_eq!(shown(&action(text).unwrap().to_json()), text);
        }
        for text in ["PAUSE", "rate-limit", "rate-limit:0", "rate-limit:x", ""] {
            assert!(action(text).is_err(), "{text}");
        }
    }
}
