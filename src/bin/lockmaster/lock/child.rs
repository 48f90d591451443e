//! The command under the locks: started, signalled, waited for.

use std::ffi::OsString;
use std::io::{ErrorKind as IoErrorKind, IsTerminal, stdin};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::thread;

use lockmaster::interfaces::held;
use lockmaster::vocabulary::Error;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals};

use super::code;
use crate::output;

/// The running command.
pub(super) struct Child {
    process: std::process::Child,
    signals: Handle,
    forwarder: thread::JoinHandle<()>,
}

impl Child {
    /// Starts the command, with our input and output; the exit code where it cannot be started.
    /// `held` tells calls within it what they need not ask for.
    pub(super) fn start(command: &[OsString], held: &str) -> Result<Result<Self, u8>, Error> {
        // Before the start: what comes from now on is for the command.
        let signals = listen().map_err(|error| Error::io("cannot listen for signals", error))?;
        let Some((program, arguments)) = command.split_first() else {
            return Err(Error::invalid("there is no command"));
        };
        match Command::new(program).args(arguments).env(held::VARIABLE, held).spawn() {
            Ok(process) => Self::forward(process, signals).map(Ok),
            Err(error) => {
                output::progress(format!("error: {}: {error}", program.to_string_lossy()));
                let missing = error.kind() == IoErrorKind::NotFound;
                Ok(Err(if missing { code::NOT_FOUND } else { code::NOT_EXECUTABLE }))
            }
        }
    }

    fn forward(process: std::process::Child, mut signals: Signals) -> Result<Self, Error> {
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        let handle = signals.handle();
        let forward = move || {
            for signal in signals.forever() {
                // It may have ended; nobody has waited for it yet, so the number is still its own.
                if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
                    let _ = kill_process(pid, signal);
                }
            }
        };
        let builder = thread::Builder::new().name("signals".to_owned());
        let forwarder =
            builder.spawn(forward).map_err(|error| Error::io("cannot start a thread", error))?;
        Ok(Self { process, signals: handle, forwarder })
    }

    /// Waits for its end; its exit code, or 128 and the signal that ended it.
    pub(super) fn wait(mut self) -> Result<u8, Error> {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            wait_for_end(pid).map_err(|error| Error::io("cannot wait for the command", error))?;
        }
        // Nothing is forwarded any more before its number can become another's.
        self.signals.close();
        let _ = self.forwarder.join();
        let status = self.process.wait();
        status.map(exit_code).map_err(|error| Error::io("cannot wait for the command", error))
    }
}

/// Waits until a child has ended, and leaves it to be waited for.
fn wait_for_end(pid: Pid) -> std::io::Result<()> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(rustix::io::Errno::INTR) => {}
            waited => return waited.map(drop).map_err(Into::into),
        }
    }
}

/// The signals that are forwarded. A terminal sends its own to the command as well.
fn listen() -> std::io::Result<Signals> {
    let always = [SIGTERM, SIGHUP, SIGUSR1, SIGUSR2];
    match stdin().is_terminal() {
        true => {
            let signals = Signals::new(always)?;
            ignore_the_terminals()?;
            Ok(signals)
        }
        false => Signals::new(always.into_iter().chain([SIGINT, SIGQUIT])),
    }
}

/// Ctrl-C and the like end the command, and we wait for it.
fn ignore_the_terminals() -> std::io::Result<()> {
    let unused = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in [SIGINT, SIGQUIT] {
        signal_hook::flag::register(signal, unused.clone())?;
    }
    Ok(())
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
