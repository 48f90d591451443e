//! `lockmaster run`: jobs of a file, here and now, without a daemon.

mod follow;
mod lines;
mod opening;
mod plan;
mod screen;
mod shown;
mod stopping;
mod summary;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use lockmaster::vocabulary::Error;

use crate::{output, times};
use follow::{Ended, Follow, Show};
use lines::Lines;
use screen::Screen;
use shown::Shown;

/// Run the jobs of a file here and now, without a daemon
///
/// Opens or creates a state directory, submits all jobs of the file at once and carries them out
/// under their locks. Interrupted and started again with the same state directory, it goes on
/// where it was: what has finished is not done again. Ctrl-C lets executing opcodes finish and
/// stops; a second Ctrl-C stops them.
///
/// Exits with 0 when every job came to the end the file expects (success, where it does not
/// say), 1 when one did not, 130 when it was interrupted.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The job file: TOML, or JSON in Ganeti's shape
    file: PathBuf,

    /// Where jobs and what became of them are kept [default: .lockmaster/NAME-OF-FILE]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// How many opcodes execute at once [default: what the file says, else the processors, at
    /// least 4]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,

    /// Further opcodes, described in a TOML file (can be repeated)
    #[arg(long, value_name = "FILE")]
    catalogue: Vec<PathBuf>,

    /// By when each job has to have ended, counted from its submission, such as 90s or 2h, where
    /// the file does not say so itself. What is late fails and is undone
    #[arg(long, value_name = "DURATION", value_parser = times::parse_positive)]
    deadline: Option<Duration>,

    /// Give up the unfinished jobs of an earlier run that are not those of this file
    #[arg(long)]
    cancel_unfinished: bool,

    /// Show what the jobs say while they run
    #[arg(short, long)]
    verbose: bool,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Error> {
    let file = opening::read(args)?;
    let state_dir = opening::state_dir(args);
    let master = opening::open(args, &file, &state_dir)?;
    let shown = Shown::of(&state_dir);
    let jobs = plan::plan(&master, &file, args, &shown)?;
    output::progress(jobs.announcement(&state_dir, master.workers()));
    let stop = stopping::listen()?;
    let mut follow = Follow::new(&master, jobs.ids(), stop);
    master.resume();
    let mut show = presentation(args.verbose);
    let ended = follow.until_the_end(&mut *show);
    drop(show);
    let views = follow.views();
    let stopped = stopping::shut_down(&master, ended);
    let as_expected = summary::print(&views, &jobs, args.json)?;
    shown.mark(&views);
    stopped?;
    Ok(match ended {
        Ended::All if as_expected => ExitCode::SUCCESS,
        Ended::All => ExitCode::from(1),
        Ended::Interrupted | Ended::InterruptedTwice => {
            output::progress(stopping::advice(args, &views));
            ExitCode::from(130)
        }
        Ended::Stopped => ExitCode::from(3),
    })
}

fn presentation(verbose: bool) -> Box<dyn Show> {
    match std::io::stderr().is_terminal() {
        true => Box::new(Screen::new(verbose)),
        false => Box::new(Lines::new(verbose)),
    }
}
