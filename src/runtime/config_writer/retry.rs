//! The one thread that has nodes tried again that failed.
//!
//! As with locks, that a time has come is an event: nothing here waits with a lock held, and
//! nothing looks twice without a reason.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::super::clock;
use super::super::worker_pool::named;
use super::distribution::Distribution;

/// Started by the first failure; ends when the distribution is gone.
#[derive(Debug, Default)]
pub(super) struct RetryTimer {
    earlier: OnceLock<Option<Sender<()>>>,
}

impl RetryTimer {
    /// Has the timer look at the times again, one of which is new. Not under loom, which has no
    /// time: there a thread of the scenario is the timer.
    pub(super) fn look_again(&self, distribution: &Arc<Distribution>) {
        if cfg!(loom) {
            return;
        }
        let start = || {
            let (sender, earlier) = unbounded();
            let distribution = Arc::downgrade(distribution);
            let started = named("config retry", move || run(&distribution, &earlier));
            started
                .inspect_err(
                    |error| tracing::error!(%error, "failed nodes wait for a newer version"),
                )
                .ok()
                .map(|_| sender)
        };
        if let Some(timer) = self.earlier.get_or_init(start) {
            // It is gone only if the distribution is, and then nobody can ask.
            _ = timer.send(());
        }
    }
}

fn run(distribution: &Weak<Distribution>, earlier: &Receiver<()>) {
    while let Some(wait) = wake(distribution) {
        let woken = match wait {
            Some(wait) => earlier.recv_timeout(wait),
            None => earlier.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if woken == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Has those tried whose time it is; how long until the next, if there is one. None where the
/// distribution is gone.
fn wake(distribution: &Weak<Distribution>) -> Option<Option<Duration>> {
    let distribution = distribution.upgrade()?;
    let next = distribution.wake(clock::now());
    // Times are in microseconds: waking up within the last one would be waking up for nothing.
    Some(next.map(|next| next.since(clock::now()) + Duration::from_micros(1)))
}
