//! `lockmaster man`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, Args, Command, CommandFactory};
use lockmaster::vocabulary::Error;

use crate::{Cli, output};

/// Write the manual pages, one for each verb
///
/// That of the daemon is printed by lockmasterd --man:
///
///     lockmaster man /usr/local/share/man/man1
///     lockmasterd --man > /usr/local/share/man/man8/lockmasterd.8
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
    clap_mangen::generate_to(for_everybody(Cli::command()), directory).map_err(failed)?;
    output::print(format!("manual pages are in {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The same without the defaults that are other ones for everybody.
fn for_everybody(command: Command) -> Command {
    let hide = |argument: Arg| match argument.get_id().as_str() {
        "socket" | "lock_dir" | "state_dir" if !argument.get_default_values().is_empty() => {
            argument.hide_default_value(true)
        }
        _ => argument,
    };
    command.mut_args(hide).mut_subcommands(for_everybody)
}

fn cannot_write(directory: &Path, error: std::io::Error) -> Error {
    Error::io(format!("cannot write manual pages into {}", directory.display()), error)
}
