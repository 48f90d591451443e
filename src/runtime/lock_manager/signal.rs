//! How a thread learns what became of its request.

use super::super::lock_order::LockClass;
use super::super::sync::{Condvar, Mutex};

static SIGNAL: LockClass = LockClass::new("signal of a waiting thread");

/// What became of a request that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The locks are held.
    Granted,
    /// The deadline passed first.
    Expired,
}

/// Set once, by whoever pumped or expired the request; waited for by its thread.
#[derive(Debug)]
pub(super) struct Signal {
    verdict: Mutex<Option<Verdict>>,
    set: Condvar,
}

impl Default for Signal {
    fn default() -> Self {
        Self { verdict: Mutex::new(&SIGNAL, None), set: Condvar::new() }
    }
}

impl Signal {
    pub(super) fn set(&self, verdict: Verdict) {
        *self.verdict.lock() = Some(verdict);
        self.set.notify_one();
    }

    /// Blocks until it is set.
    pub(super) fn wait(&self) -> Verdict {
        let mut verdict = self.verdict.lock();
        loop {
            match *verdict {
                Some(verdict) => return verdict,
                None => verdict = self.set.wait(verdict),
            }
        }
    }
}
