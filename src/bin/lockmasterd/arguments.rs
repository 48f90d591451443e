//! The command line of the daemon.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, ValueEnum};
use lockmaster::interfaces::places::{default_socket, default_state_dir};

const AFTER_HELP: &str = "\
Signals:
  TERM, INT  stop: start no opcode, let those that execute finish,
             put the rest back; a second one interrupts what executes,
             and the next start recovers it

Exit codes:
  0  stopped as told
  2  the command line or a configuration file is not valid
  3  could not start (state directory or socket in use, ...)
     or had to stop";

/// Keep a durable queue of jobs, run them under locks, and answer LUXI on a socket
///
/// Stays in the foreground and logs to stderr. What is in the state directory is taken up where
/// it was left, also after a crash.
#[derive(Debug, Parser)]
#[command(name = "lockmasterd", version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The directory that holds the queue; made where it is missing
    #[arg(long, value_name = "DIR", env = "LOCKMASTER_STATE_DIR", default_value_os_t = default_state_dir())]
    pub(crate) state_dir: PathBuf,

    /// The socket to listen on
    #[arg(long, value_name = "PATH", env = "LOCKMASTER_SOCKET", default_value_os_t = default_socket())]
    pub(crate) socket: PathBuf,

    /// The lock directory of this machine; /run/lockmaster/locks for root
    #[arg(long, value_name = "DIR", env = "LOCKMASTER_LOCK_DIR")]
    pub(crate) lock_dir: Option<PathBuf>,

    /// A file with levels, catalogues, workers and limits, in TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Show metrics for Prometheus at this loopback address, such as 127.0.0.1:9641
    #[arg(long, value_name = "ADDRESS", env = "LOCKMASTER_METRICS")]
    pub(crate) metrics: Option<SocketAddr>,

    /// How to write the log; LOCKMASTER_LOG says what, such as `debug` or `lockmaster=trace`
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,

    /// Print the manual page and exit
    #[arg(long)]
    pub(crate) man: bool,
}

impl Arguments {
    /// The manual page, for the section of what administrators run.
    pub(crate) fn manual_page() -> std::io::Result<Vec<u8>> {
        // Where things are by default depends on who runs the daemon, not on who made the page.
        let places = ["state_dir", "socket"];
        let command = places.iter().fold(Self::command(), |command, place| {
            command.mut_arg(place, |argument| argument.hide_default_value(true))
        });
        let mut page = Vec::new();
        clap_mangen::Man::new(command).section("8").render(&mut page)?;
        Ok(page)
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}
