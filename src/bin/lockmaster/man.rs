//! `lockmaster man`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use lockmaster::vocabulary::Error;

use crate::{Cli, output};

/// Write the manual pages, one for each verb
///
///     lockmaster man /usr/local/share/man/man1
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ManArgs {
    /// The directory for them; made where it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Runs the verb.
pub(crate) fn run(args: &ManArgs) -> Result<ExitCode, Error> {
    let directory = args.directory.as_path();
    let failed = |error| cannot_write(directory, error);
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(failed)?;
    output::print(format!("manual pages are in {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn cannot_write(directory: &Path, error: std::io::Error) -> Error {
    Error::io(format!("cannot write manual pages into {}", directory.display()), error)
}
