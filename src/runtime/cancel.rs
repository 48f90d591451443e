//! How a running opcode learns that it should stop.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::lock_order::{self, LockClass};
use super::sync::{Condvar, Mutex, MutexGuard};

static CANCEL: LockClass = LockClass::new("cancel token");

/// Why an opcode should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelCause {
    /// Somebody cancelled the job.
    Requested,
    /// The time of the job, or of the opcode, is over.
    Deadline,
    /// The master shuts down at once; the opcode will be treated as after a crash.
    Shutdown,
}

type Callback = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    cause: Option<CancelCause>,
    callbacks: Vec<(u64, Callback)>,
    next: u64,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// After how long its opcode is ended by force once it was told to stop, if it is.
    grace: OnceLock<Duration>,
}

impl Default for Shared {
    fn default() -> Self {
        let state = Mutex::new(&CANCEL, State::default());
        Self { state, changed: Condvar::new(), grace: OnceLock::new() }
    }
}

/// Set once when an opcode should stop; looked at, waited for or listened to by its unit.
///
/// Cancellation is cooperative: a unit that never looks is never stopped.
#[derive(Clone, Default)]
pub struct CancelToken {
    shared: Arc<Shared>,
}

impl CancelToken {
    /// A token that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Why to stop, if so.
    #[must_use]
    pub fn cause(&self) -> Option<CancelCause> {
        self.shared.state.lock().cause
    }

    /// Whether to stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.cause().is_some()
    }

    /// Notes what its unit says of its grace, for those who ask why it still executes.
    pub(super) fn set_grace(&self, grace: Option<Duration>) {
        // The same unit says the same each time.
        let _ = grace.map(|grace| self.shared.grace.set(grace));
    }

    /// What its unit says of its grace.
    pub(super) fn grace(&self) -> Option<Duration> {
        self.shared.grace.get().copied()
    }

    /// Sets the token, wakes who waits and calls who listens, on this thread.
    ///
    /// The first cause stays, but for a shutdown, which takes the place of any other.
    pub fn set(&self, cause: CancelCause) {
        let mut state = self.shared.state.lock();
        if state.cause != Some(CancelCause::Shutdown) {
            state.cause = Some(cause);
        }
        let callbacks = std::mem::take(&mut state.callbacks);
        drop(state);
        self.shared.changed.notify_all();
        if !callbacks.is_empty() {
            lock_order::assert_no_locks_held("while those who listen to a cancel token are called");
        }
        callbacks.into_iter().for_each(|(_, callback)| callback());
    }

    /// Sleeps until the token is set. Why it is.
    #[must_use]
    pub fn wait(&self) -> CancelCause {
        let mut state = self.shared.state.lock();
        loop {
            match state.cause {
                Some(cause) => return cause,
                None => state = self.shared.changed.wait(state),
            }
        }
    }

    /// Sleeps for that long, or until the token is set. Whether it is set.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.shared.state.lock();
        while state.cause.is_none() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            state = self.wait_until(state, deadline);
        }
        state.cause.is_some()
    }

    /// One wait, which may end early. A deadline beyond what the clock can say is none.
    fn wait_until<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        match deadline {
            Some(deadline) => self.shared.changed.wait_until(state, deadline),
            None => self.shared.changed.wait(state),
        }
    }

    /// Calls `callback` once when the token is set, at once if it is; not after the returned
    /// value was dropped. It runs on the thread that sets the token and must not block.
    #[must_use = "the callback is forgotten when this is dropped"]
    pub fn on_cancel(&self, callback: impl FnOnce() + Send + 'static) -> OnCancel {
        let mut state = self.shared.state.lock();
        let id = state.next;
        state.next += 1;
        if state.cause.is_some() {
            drop(state);
            callback();
        } else {
            state.callbacks.push((id, Box::new(callback)));
        }
        OnCancel { token: self.clone(), id }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelToken").field(&self.cause()).finish()
    }
}

/// Keeps a callback registered with a [`CancelToken`] until dropped.
#[derive(Debug)]
pub struct OnCancel {
    token: CancelToken,
    id: u64,
}

impl Drop for OnCancel {
    fn drop(&mut self) {
        self.token.shared.state.lock().callbacks.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_listener_is_called_once_and_not_after_it_was_dropped() {
        let token = CancelToken::new();
        let (sender, calls) = mpsc::channel();
        let (first, second) = (sender.clone(), sender);
        let _kept = token.on_cancel(move || first.send("kept").unwrap());
        drop(token.on_cancel(move || second.send("dropped").unwrap()));
        token.set(CancelCause::Requested);
        token.set(CancelCause::Requested);
        assert_eq!(calls.into_iter().collect::<Vec<_>>(), ["kept"]);
    }

    #[test]
    fn a_shutdown_takes_the_place_of_a_request_and_not_the_other_way_round() {
        let token = CancelToken::new();
        token.set(CancelCause::Requested);
        token.set(CancelCause::Shutdown);
        token.set(CancelCause::Requested);
        assert_eq!(token.cause(), Some(CancelCause::Shutdown));
        assert!(token.wait_timeout(Duration::MAX));
    }

    #[test]
    fn a_sleep_ends_when_its_time_is_over_and_not_before() {
        let token = CancelToken::new();
        let (asked, began) = (Duration::from_millis(20), Instant::now());
        assert!(!token.wait_timeout(asked));
        assert!(began.elapsed() >= asked);
        assert!(!token.is_set());
        token.set(CancelCause::Requested);
        assert!(token.is_set());
    }
}
