//! `lockmaster timeline`.

mod chart;
mod picture;
mod text;

use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use lockmaster::vocabulary::Error;
use serde_json::json;

use crate::daemon::{Daemon, query, query_where};
use crate::output;
use crate::which::{Which, resolve};
use chart::{Chart, FIELDS};

/// Draw jobs as bars over time: queued, waiting for locks, executing
///
/// In the terminal, or as a picture for a browser:
///
///     lockmaster timeline --svg night.svg
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct TimelineArgs {
    /// Only these jobs: ids, ranges such as 7-12, or labels
    #[arg(value_name = "JOB")]
    jobs: Vec<Which>,

    /// How many jobs at most, where none are named: the latest ones
    #[arg(long, value_name = "N", default_value = "40", conflicts_with = "jobs")]
    last: NonZero<usize>,

    /// Write an SVG picture into this file; - prints it
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the verb.
pub(crate) fn run(args: &TimelineArgs) -> Result<ExitCode, Error> {
    let mut client = args.daemon.connect()?;
    let ids = resolve(&mut client, &args.jobs)?;
    let mut jobs = match ids.is_empty() {
        true => query_where(&mut client, &json!(null), &FIELDS)?,
        false => query(&mut client, &ids, &FIELDS)?,
    };
    if ids.is_empty() {
        jobs.drain(..jobs.len().saturating_sub(args.last.get()));
    }
    let chart = Chart::of(&jobs, jiff::Timestamp::now().as_microsecond());
    match args.svg.as_deref() {
        None => output::print(text::drawn(&chart, text::columns()))?,
        Some(path) if path.as_os_str() == "-" => output::print(picture::drawn(&chart))?,
        Some(path) => {
            let failed = |error| Error::io(format!("cannot write {}", path.display()), error);
            std::fs::write(path, picture::drawn(&chart)).map_err(failed)?;
            output::progress(format!("{}: {}", path.display(), output::count(jobs.len(), "job")));
        }
    }
    Ok(ExitCode::SUCCESS)
}
