//! `lockmaster stats`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use lockmaster::vocabulary::Error;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::{output, times};

/// Show what the daemon has done since it started, and how it stands
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Print what Prometheus reads, for its textfile collector
    #[arg(long, conflicts_with = "json")]
    prometheus: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the verb.
pub(crate) fn run(args: &StatsArgs) -> Result<ExitCode, Error> {
    let mut stats = args.daemon.connect()?.stats()?;
    let prometheus = stats["prometheus"].take();
    match (args.json, args.prometheus) {
        (true, _) => {
            stats.as_object_mut().map(|stats| stats.remove("prometheus"));
            output::print_json(&stats)?;
        }
        (_, true) => output::print(prometheus.as_str().unwrap_or_default().trim_end())?,
        _ => output::print(described(&stats))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn described(stats: &Value) -> String {
    let number = |field: &str| stats[field].to_string();
    let up = times::said_between(&stats["since"], &stats["now"]);
    let jobs = format!(
        "{} in the queue, {} not ended, {} active, {} waiting for locks",
        number("jobs"),
        number("unfinished"),
        number("active"),
        number("waiting")
    );
    let longest = &stats["longest_wait"];
    let waits = format!("job {} for {}", longest["job"], said(&longest["seconds"]));
    let submitted = format!("{} jobs; {} refused", number("submitted"), number("refused"));
    let opcodes = format!(
        "{} succeeded, {} failed, {} canceled",
        number("succeeded"),
        number("failed"),
        number("canceled")
    );
    let workers = format!("{}, {} free", number("workers"), number("free_workers"));
    let mut lines = vec![("up", up), ("jobs", jobs)];
    if !longest.is_null() {
        lines.push(("waits longest", waits));
    }
    lines.extend([("submissions", submitted), ("opcodes", opcodes), ("workers", workers)]);
    let lines = lines.iter().map(|(name, value)| format!("{name:15}{value}"));
    lines.chain([String::new(), table(stats)]).collect::<Vec<_>>().join("\n")
}

/// How long things took.
fn table(stats: &Value) -> String {
    let head = ["", "COUNT", "MEAN", "HALF WITHIN", "99 % WITHIN"].map(str::to_owned);
    let levels = stats["levels"].as_array().into_iter().flatten();
    let levels = levels.flat_map(|level| {
        let name = level["level"].as_str().unwrap_or_default();
        [
            row(&format!("wait for {name}"), &level["wait"]),
            row(&format!("hold {name}"), &level["hold"]),
        ]
    });
    let rows: Vec<Vec<String>> = levels.chain([row("sync the log", &stats["sync"])]).collect();
    output::table(&head, &rows)
}

fn row(what: &str, all: &Value) -> Vec<String> {
    let time = |field: &str| match all["count"].as_u64() {
        None | Some(0) => "-".to_owned(),
        Some(_) => all[field].as_f64().map_or("> 18 min".to_owned(), times::precisely),
    };
    vec![what.to_owned(), all["count"].to_string(), time("mean"), time("p50"), time("p99")]
}

fn said(seconds: &Value) -> String {
    let seconds = Duration::try_from_secs_f64(seconds.as_f64().unwrap_or_default());
    times::said(seconds.unwrap_or_default())
}
