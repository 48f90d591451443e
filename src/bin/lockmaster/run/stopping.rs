//! Ctrl-C, once and twice, and the end of the master.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use lockmaster::runtime::{JobView, Master, Shutdown};
use lockmaster::vocabulary::Error;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::RunArgs;
use super::follow::{Ended, Event};

/// How long executing opcodes may take to stop when told.
const PATIENCE: Duration = Duration::from_secs(30);

/// A channel on which requests to stop arrive.
pub(super) fn listen() -> Result<(Sender<Event>, Receiver<Event>), Error> {
    let (sender, events) = channel();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| Error::io("cannot listen for signals", error))?;
    let stop = sender.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || signals.forever().for_each(|_| _ = stop.send(Event::Stop)))
        .map_err(|error| Error::io("cannot start a thread", error))?;
    Ok((sender, events))
}

/// Shuts the master down in the way the run came to its end.
pub(super) fn shut_down(master: &Master, ended: Ended) -> Result<(), Error> {
    match ended {
        Ended::InterruptedTwice => master.shutdown(Shutdown::Now, Some(PATIENCE)),
        _ => master.shutdown(Shutdown::Finish, None),
    }
}

/// How to go on after an interruption.
pub(super) fn advice(args: &RunArgs, views: &[JobView]) -> String {
    let left = views.iter().filter(|view| !view.status.is_final()).count();
    let are = if left == 1 { "1 job is".to_owned() } else { format!("{left} jobs are") };
    let state_dir = args.state_dir.as_ref();
    let option = state_dir.map(|dir| format!(" --state-dir {}", dir.display())).unwrap_or_default();
    format!(
        "interrupted; {are} left\nhint: `lockmaster run {}{option}` goes on with them",
        args.file.display()
    )
}
