//! Ctrl-C while a job is watched: whoever sits at a terminal is asked what was meant.

use std::io::{IsTerminal, stdin};
use std::thread;

use lockmaster::vocabulary::{Error, JobId};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

use crate::daemon::Daemon;
use crate::output;

/// The exit code of a command that was interrupted.
const INTERRUPTED: i32 = 130;

/// Asks from now on, at every Ctrl-C, whether to go on, to leave, or to cancel the job. Where
/// nobody sits at a terminal, Ctrl-C ends the command as ever.
pub(super) fn ask(daemon: &Daemon, id: JobId) -> Result<(), Error> {
    if !stdin().is_terminal() {
        return Ok(());
    }
    let failed = |error| Error::io("cannot listen to signals", error);
    let mut signals = Signals::new([SIGINT]).map_err(failed)?;
    let daemon = daemon.clone();
    let run = move || signals.forever().for_each(|_| act(&daemon, id, read_answer(id)));
    thread::Builder::new().spawn(run).map(|_| ()).map_err(failed)
}

/// What somebody wants who pressed Ctrl-C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    GoOn,
    Leave,
    Cancel,
}

impl Wish {
    /// What was typed; an end of input leaves.
    fn of(line: Option<&str>) -> Self {
        match line.map(str::trim) {
            None | Some("d" | "detach") => Self::Leave,
            Some("c" | "cancel") => Self::Cancel,
            Some(_) => Self::GoOn,
        }
    }
}

fn read_answer(id: JobId) -> Wish {
    output::progress(format!(
        "\njob {id} goes on by itself. [d]etach from it, [c]ancel it, or Enter to keep watching:"
    ));
    let mut line = String::new();
    let read = stdin().read_line(&mut line).ok().filter(|bytes| *bytes > 0);
    Wish::of(read.map(|_| line.as_str()))
}

fn act(daemon: &Daemon, id: JobId, wish: Wish) {
    match wish {
        Wish::GoOn => {}
        Wish::Leave => {
            output::progress(format!("hint: lockmaster watch {id} goes on where this was"));
            std::process::exit(INTERRUPTED);
        }
        // How the job ends is seen by who watches it.
        Wish::Cancel => match daemon.connect().and_then(|mut client| client.cancel(id)) {
            Ok((_, message)) => output::progress(message),
            Err(error) => output::explain(&error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_what_is_done_and_anything_else_goes_on() {
        let cases = [
            (None, Wish::Leave),
            (Some("d\n"), Wish::Leave),
            (Some(" cancel \n"), Wish::Cancel),
            (Some("\n"), Wish::GoOn),
            (Some("no\n"), Wish::GoOn),
        ];
        for (line, wish) in cases {
            assert_eq!(Wish::of(line), wish, "{line:?}");
        }
    }
}
