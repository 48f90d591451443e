//! `lockmaster locks`.

mod drawing;
mod files;
mod sweep;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use lockmaster::interfaces::places::default_lock_dir;
use lockmaster::vocabulary::Error;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::follow::said;
use crate::{output, times};

/// Show who holds which lock, and who waits for it, the next one first
#[derive(Debug, Args)]
pub(crate) struct LocksArgs {
    /// Print who waits for whom: as SVG for a browser, or for dot
    #[arg(
        long,
        value_name = "FORMAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "dot",
        conflicts_with = "json"
    )]
    graph: Option<Format>,

    /// Remove the files of locks that nobody holds, without asking a daemon
    #[arg(long, conflicts_with_all = ["json", "graph"])]
    sweep: bool,

    /// Only the files of those locks; a * stands for any text
    #[arg(long, value_name = "LEVEL/NAME", requires = "sweep")]
    only: Option<String>,

    /// Show the locks that are files of this machine, and which processes have them, without
    /// asking a daemon
    #[arg(long, conflicts_with_all = ["sweep", "graph"])]
    files: bool,

    /// The lock directory of --files and --sweep
    #[arg(long, value_name = "DIR", env = "LOCKMASTER_LOCK_DIR", default_value_os_t = default_lock_dir())]
    lock_dir: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    daemon: Daemon,
}

/// How a graph is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Dot,
    Svg,
}

/// Runs the verb.
pub(crate) fn run(args: &LocksArgs) -> Result<ExitCode, Error> {
    if args.sweep {
        return sweep::run(&args.lock_dir, args.only.as_deref());
    }
    if args.files {
        return files::run(&args.lock_dir, args.json);
    }
    let overview = args.daemon.connect()?.locks(args.graph == Some(Format::Dot))?;
    match (args.graph, args.json) {
        (Some(Format::Dot), _) => {
            output::print(overview["graph"].as_str().unwrap_or_default().trim_end())?;
        }
        (Some(Format::Svg), _) => output::print(drawing::draw(&overview))?,
        (_, true) => output::print_json(&overview)?,
        _ => print_table(&overview)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_table(overview: &Value) -> Result<(), Error> {
    let head = ["LOCK", "WHO", "JOB", "LABEL", "MODE", "FOR"].map(str::to_owned);
    let locks = overview["locks"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = locks.flat_map(|lock| rows(lock, &overview["now"])).collect();
    output::print_table(&head, &rows)
}

fn rows(lock: &Value, now: &Value) -> Vec<Vec<String>> {
    let all = |who: &str| lock[who].as_array().into_iter().flatten();
    let row = |who: String, one: &Value| {
        let label = one["label"].as_str().map_or("-".to_owned(), output::harmless);
        let long = times::said_between(&one["since"], now);
        let job = one["job"].as_u64().map_or("-".to_owned(), |job| job.to_string());
        vec![said(&lock["lock"]), who, job, label, said(&one["mode"]), long]
    };
    let holders = all("holders").map(|one| row("holds".to_owned(), one));
    let waiters = all("waiters").zip(1..).map(|(one, turn)| row(format!("waits, {turn}."), one));
    holders.chain(waiters).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn holders_come_before_waiters_and_waiters_in_the_order_of_their_turn() {
        let who = |job: u64| json!({"job": job, "label": null, "mode": "shared", "since": [0, 0]});
        let lock = json!({
            "lock": "node/n1", "holders": [who(3)], "waiters": [who(2), who(1)],
        });
        let rows = rows(&lock, &json!([60, 0]));
        assert_eq!(rows[0], ["node/n1", "holds", "3", "-", "shared", "1 min"]);
        let turns: Vec<&[String]> = rows[1..].iter().map(|row| &row[1..3]).collect();
        assert_eq!(turns, [["waits, 1.", "2"], ["waits, 2.", "1"]]);
    }
}
