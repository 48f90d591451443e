//! The one thread that lets requests expire.
//!
//! No condition variable is ever waited for with a timeout: that a request ran out of time is an
//! event like a release, which either comes before its grant or finds it granted.

use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::super::clock;
use super::blocking::Shared;

/// Started by the first request with a deadline; ends when nobody refers to the locks any more.
#[derive(Debug, Default)]
pub(super) struct Timer {
    earlier: OnceLock<Sender<()>>,
}

impl Timer {
    /// Has the timer look at the deadlines again, one of which is new. Not under loom, which
    /// has no time: there a thread of the scenario is the timer.
    pub(super) fn look_again(&self, shared: &Arc<Shared>) {
        if cfg!(loom) {
            return;
        }
        let start = || {
            let (sender, earlier) = unbounded();
            let shared = Arc::downgrade(shared);
            thread::spawn(move || run(&shared, &earlier));
            sender
        };
        // The timer is gone only if the locks are, and then nobody can ask.
        _ = self.earlier.get_or_init(start).send(());
    }
}

fn run(shared: &Weak<Shared>, earlier: &Receiver<()>) {
    while let Some(wait) = expire(shared) {
        let woken = match wait {
            Some(wait) => earlier.recv_timeout(wait),
            None => earlier.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if woken == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Ends the waiting of those whose time is over; how long until the next, if there is one.
/// None where the locks are gone.
fn expire(shared: &Weak<Shared>) -> Option<Option<Duration>> {
    let shared = shared.upgrade()?;
    shared.expire_at(clock::now());
    let next = shared.next_deadline();
    // Times are in microseconds: waking up within the last one would be waking up for nothing.
    Some(next.map(|next| next.since(clock::now()) + Duration::from_micros(1)))
}
