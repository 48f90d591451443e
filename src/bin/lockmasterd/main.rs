//! `lockmasterd`: the daemon that keeps a queue, runs its jobs, and answers LUXI.

mod access;
mod arguments;
mod config;
mod daemon;
mod distribute;
mod lock_dir;
mod logging;
mod service_manager;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use lockmaster::vocabulary::{Error, ErrorKind};

fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    if arguments.man {
        return print_manual_page();
    }
    logging::start(arguments.log_format);
    let result = config::Config::read(arguments.config.as_deref())
        .and_then(|config| daemon::run(&arguments, &config));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => explain(&error),
    }
}

fn print_manual_page() -> ExitCode {
    let page = arguments::Arguments::manual_page();
    match page.and_then(|page| std::io::stdout().write_all(&page)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => explain(&Error::io("cannot print the manual page", error)),
    }
}

/// Says what went wrong; the exit code says whose turn it is.
fn explain(error: &Error) -> ExitCode {
    anstream::eprintln!("error: {error}");
    error.hint_text().into_iter().for_each(|hint| anstream::eprintln!("hint: {hint}"));
    ExitCode::from(if error.kind() == ErrorKind::Invalid { 2 } else { 3 })
}
