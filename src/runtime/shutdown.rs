//! The end of a master: nothing is started, what waits is put back, what executes ends, the
//! log is written to its end, and every thread is joined.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::cancel::{CancelCause, CancelToken};
use super::lock_order::assert_no_locks_held;
use super::master::{Master, THREADS, Threads};
use super::sync::Mutex;
use super::worker_pool::named;
use crate::vocabulary::{Error, ErrorKind, JobId};

/// How to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Start no opcode, let those that execute finish, put waiting ones back.
    Finish,
    /// Tell executing opcodes to stop; what they did counts as interrupted, as after a crash.
    Now,
}

impl Master {
    /// Starts no further opcode, and takes no further job. What executes goes on.
    pub fn stop_starting(&self) {
        let mut shell = self.inner.shell();
        shell.stopping = true;
        let active: Vec<JobId> = shell.active.keys().copied().collect();
        drop(shell);
        active.into_iter().for_each(|id| self.inner.stop_waiting(id));
    }

    /// How many workers are busy: with executing opcodes, or for a moment with taking jobs up.
    #[must_use]
    pub fn busy_workers(&self) -> usize {
        self.inner.workers.busy()
    }

    /// Whether the log could not be written, so that nothing goes on.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.inner.commits.failure().is_some()
    }

    /// Tells executing opcodes to stop, for good: their crash policy decides at the next start.
    pub fn interrupt(&self) {
        let mut shell = self.inner.shell();
        shell.interrupted = true;
        let tokens: Vec<CancelToken> = shell.active.values().cloned().collect();
        drop(shell);
        tokens.iter().for_each(|token| token.set(CancelCause::Shutdown));
    }

    /// Shuts down: returns when everything decided is on disk and all threads have ended.
    ///
    /// Waits at most `patience` for executing opcodes, for ever where nothing is said.
    ///
    /// # Errors
    ///
    /// `Refused` where opcodes still execute after `patience`: call again to go on waiting. Also
    /// where an opcode of this master, or one of its callbacks, calls it: that would wait for
    /// itself.
    /// `Stopped` where the log could not be written.
    pub fn shutdown(&self, how: Shutdown, patience: Option<Duration>) -> Result<(), Error> {
        assert_no_locks_held("while the master shuts down");
        if self.is_own_thread() {
            return Err(from_inside());
        }
        self.stop_starting();
        if how == Shutdown::Now {
            self.interrupt();
        }
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        let executing = self.inner.workers.wait_until_all_are_free(deadline);
        if executing > 0 {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("{executing} opcodes are still executing"),
            ));
        }
        self.close();
        self.inner.commits.failure().map_or(Ok(()), Err)
    }

    fn close(&self) {
        self.inner.shell().closed = true;
        self.inner.appended.notify_all();
        let Some(Threads { workers, log_writer, alarm }) = self.threads.lock().take() else {
            return;
        };
        self.inner.tasks.close();
        self.inner.alarm.end();
        // A thread that panicked has been reported by its panic; there is nothing to add.
        workers.into_iter().for_each(|worker| _ = worker.join());
        _ = log_writer.join();
        _ = alarm.join();
        self.inner.watch.notify_all();
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        // Shut down before, or made without threads: there is nobody to wait for.
        if self.threads.lock().is_none() {
            return;
        }
        if self.is_own_thread() {
            return self.end_elsewhere();
        }
        if let Err(error) = self.shutdown(Shutdown::Finish, None) {
            tracing::error!(%error, "the master did not shut down cleanly");
        }
    }
}

fn from_inside() -> Error {
    Error::new(ErrorKind::Refused, "a master cannot be shut down by what it executes itself")
        .hint("call stop_starting() there, and shutdown() on another thread")
}

impl Master {
    /// Whether this is a thread that a shutdown joins.
    fn is_own_thread(&self) -> bool {
        let this = std::thread::current().id();
        let threads = self.threads.lock();
        let own =
            threads.iter().flat_map(|own| own.workers.iter().chain([&own.log_writer, &own.alarm]));
        own.into_iter().any(|thread| thread.thread().id() == this)
    }

    /// The last handle was dropped by what the master executes: the threads are joined by
    /// another thread, after that has ended.
    fn end_elsewhere(&self) {
        let (sender, receiver) = mpsc::channel::<Self>();
        let ending = named("ending", move || receiver.into_iter().for_each(drop));
        self.stop_starting();
        if let Err(error) = ending {
            return tracing::error!(%error, "the master's threads are not joined");
        }
        let threads = self.threads.lock().take();
        let rest = Self { inner: Arc::clone(&self.inner), threads: Mutex::new(&THREADS, threads) };
        // It has been started and waits for this.
        _ = sender.send(rest);
    }
}
