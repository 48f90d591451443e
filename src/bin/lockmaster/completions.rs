//! `lockmaster completions`.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use lockmaster::vocabulary::Error;

use crate::{Cli, output};

/// Print a script that lets a shell complete verbs and options
///
///     lockmaster completions bash > /usr/share/bash-completion/completions/lockmaster
///     lockmaster completions zsh  > /usr/share/zsh/site-functions/_lockmaster
///     lockmaster completions fish > ~/.config/fish/completions/lockmaster.fish
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Runs the verb.
pub(crate) fn run(args: &CompletionsArgs) -> Result<ExitCode, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lockmaster", &mut script);
    output::print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
