//! `lockmaster bench`: how fast this machine and disk carry jobs, each figure beside a limit.

mod disk;
mod queue;
mod unit;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use lockmaster::vocabulary::Error;
use serde_json::{Value, json};

use crate::output;

/// Measure how fast jobs are carried out on this machine and disk
///
/// Figures are for comparing within one run: machines differ, and this one may be busy.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Queue(QueueArgs),
}

/// Measure the queue: submission, whole cycles, latency, reopening
#[derive(Debug, Args)]
pub(crate) struct QueueArgs {
    /// How many jobs each measurement takes
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    jobs: usize,

    /// How many jobs are submitted at a time
    #[arg(long, value_name = "B", default_value_t = 100)]
    batch: usize,

    /// How many opcodes execute at once
    #[arg(long, value_name = "W", default_value_t = 64)]
    workers: usize,

    /// How many opcodes each job has
    #[arg(long, value_name = "K", default_value_t = 1)]
    ops: usize,

    /// Where the queue is kept while it is measured: decides which disk is measured
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One measured figure, and what it stands beside.
pub(crate) struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    beside: Option<(String, f64)>,
}

impl Figure {
    fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, beside: None }
    }

    fn beside(mut self, what: impl Into<String>, value: f64) -> Self {
        self.beside = Some((what.into(), value));
        self
    }

    fn row(&self) -> Vec<String> {
        let beside = self.beside.as_ref().map(|(what, value)| {
            let ratio = self.value / value;
            format!("{ratio:.2} of {what}, {}", shown(*value))
        });
        let value = format!("{} {}", shown(self.value), self.unit);
        vec![self.what.clone(), value, beside.unwrap_or_default()]
    }

    fn machine(&self) -> Value {
        let beside = self.beside.as_ref();
        json!({
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "beside": beside.map(|(what, value)| json!({ "what": what, "value": value })),
        })
    }
}

fn shown(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Runs the verb.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode, Error> {
    let What::Queue(args) = &args.what;
    let figures = queue::measure(args)?;
    if args.json {
        output::print_json(&figures.iter().map(Figure::machine).collect())?;
    } else {
        let head = ["WHAT", "FIGURE", "BESIDE"].map(str::to_owned);
        output::print_table(&head, &figures.iter().map(Figure::row).collect::<Vec<_>>())?;
    }
    Ok(ExitCode::SUCCESS)
}
