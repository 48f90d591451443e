//! `lockmaster`: the command line. One file per verb.

mod archive;
mod bench;
mod cancel;
mod check;
mod completions;
mod daemon;
mod drain;
mod filter;
mod follow;
mod info;
mod list;
mod lock;
mod locks;
mod man;
mod output;
mod priority;
mod run;
mod stats;
mod submit;
mod svg;
mod timeline;
mod times;
mod wait;
mod watch;
mod which;
mod why;
mod wording;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lockmaster::vocabulary::{Error, ErrorKind};

const AFTER_HELP: &str = "\
Exit codes:
  0    done; every job in question succeeded
  1    a job failed or was cancelled, or the daemon refused
  2    the command line or a file is not valid, or there is no such job
  3    the daemon cannot be reached, or a state directory not be used
  124  time is up (of wait and lock with --timeout)

LOCKMASTER_SOCKET names the daemon's socket where --socket does not.";

/// Queue jobs, run them under locks, and see what waits for what
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::RunArgs),
    Submit(submit::SubmitArgs),
    List(list::ListArgs),
    Info(info::InfoArgs),
    Watch(watch::WatchArgs),
    Wait(wait::WaitArgs),
    Cancel(cancel::CancelArgs),
    Priority(priority::PriorityArgs),
    Why(why::WhyArgs),
    Check(check::CheckArgs),
    Lock(lock::LockArgs),
    Locks(locks::LocksArgs),
    Filter(filter::FilterArgs),
    Archive(archive::ArchiveArgs),
    Timeline(timeline::TimelineArgs),
    Stats(stats::StatsArgs),
    Drain(drain::DrainArgs),
    Bench(bench::BenchArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Run(args) => run::run(&args),
        Verb::Submit(args) => submit::run(&args),
        Verb::List(args) => list::run(&args),
        Verb::Info(args) => info::run(&args),
        Verb::Watch(args) => watch::run(&args),
        Verb::Wait(args) => wait::run(&args),
        Verb::Cancel(args) => cancel::run(&args),
        Verb::Priority(args) => priority::run(&args),
        Verb::Why(args) => why::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Lock(args) => return lock::run(&args),
        Verb::Locks(args) => locks::run(&args),
        Verb::Filter(args) => filter::run(&args),
        Verb::Archive(args) => archive::run(&args),
        Verb::Timeline(args) => timeline::run(&args),
        Verb::Stats(args) => stats::run(&args),
        Verb::Drain(args) => drain::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
    };
    result.unwrap_or_else(|error| {
        output::explain(&error);
        ExitCode::from(exit_code(&error))
    })
}

fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Refused => 1,
        ErrorKind::Invalid | ErrorKind::NotFound => 2,
        _ => 3,
    }
}
