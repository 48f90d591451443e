//! The processes that are measured.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockmaster::interfaces::luxi::Client;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::Outcome;

/// How long a process may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that listens on a socket; killed when dropped.
pub(crate) struct Daemon {
    pub(crate) socket: PathBuf,
    child: Child,
}

impl Daemon {
    /// A daemon with that configuration, on a queue of its own.
    pub(crate) fn start(dir: &Path, config: &str) -> Outcome<Self> {
        let place = tempfile::tempdir_in(dir)?.keep();
        std::fs::write(place.join("config.toml"), config)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockmasterd"));
        command.arg("--state-dir").arg(place.join("state"));
        command.arg("--config").arg(place.join("config.toml"));
        command.arg("--socket").arg(place.join("socket")).env("LOCKMASTER_LOG", "error");
        Self::spawn(command, place.join("socket"))
    }

    /// An echo server.
    pub(crate) fn echo(dir: &Path) -> Outcome<Self> {
        let socket = tempfile::tempdir_in(dir)?.keep().join("socket");
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("echo").arg(&socket);
        Self::spawn(command, socket)
    }

    fn spawn(mut command: Command, socket: PathBuf) -> Outcome<Self> {
        let daemon = Self { socket, child: command.stdin(Stdio::null()).spawn()? };
        let began = Instant::now();
        while UnixStream::connect(&daemon.socket).is_err() {
            if began.elapsed() > PATIENCE {
                return Err("it does not listen".into());
            }
            std::thread::yield_now();
        }
        Ok(daemon)
    }

    pub(crate) fn client(&self) -> Outcome<Client> {
        Ok(Client::connect(&self.socket)?)
    }

    /// How much of its memory is in use.
    pub(crate) fn resident_bytes(&self) -> Outcome<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? << 10)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It is of no use any more, whatever became of it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets this process have as many connections as the system allows.
pub(crate) fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}
