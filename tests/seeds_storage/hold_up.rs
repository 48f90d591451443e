//! Holding up what is done to a volume, at a point; in another process, until it is killed.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::thread;

use super::attach_detach::backend::AT;

/// The variable that names the point at which a process is to stop.
pub(crate) const STOPS_AT: &str = "STORAGE_STOPS_AT";

type Gates = HashMap<(String, String), (Sender<()>, Receiver<()>)>;

static GATES: LazyLock<Mutex<Gates>> = LazyLock::new(Mutex::default);

/// Somebody who will come to a point and wait there.
pub(crate) struct Gate {
    arrived: Receiver<()>,
    go: Sender<()>,
}

impl Gate {
    /// Stops who comes to that point with that volume next.
    pub(crate) fn at(point: &str, volume: &str) -> Self {
        set();
        let ((arrives, arrived), (go, gone)) = (channel(), channel());
        GATES.lock().unwrap().insert((point.to_owned(), volume.to_owned()), (arrives, gone));
        Self { arrived, go }
    }

    /// Waits until somebody is there.
    pub(crate) fn wait(&self) {
        self.arrived.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
    }

    /// Lets it go on.
    pub(crate) fn open(self) {
        self.go.send(()).unwrap();
    }
}

/// Has this process look at the gates.
pub(crate) fn set() {
    let _ = AT.set(hook);
}

fn hook(point: &str, volume: &str) {
    if std::env::var(STOPS_AT).is_ok_and(|stops| stops == point) {
        println!("@{point}");
        loop {
            thread::park();
        }
    }
    let gate = GATES.lock().unwrap().remove(&(point.to_owned(), volume.to_owned()));
    if let Some((arrives, gone)) = gate {
        arrives.send(()).unwrap();
        // Nobody opens it where the test has failed.
        let _ = gone.recv();
    }
}
