//! A master whose steps are made by whoever has it, instead of by threads.

use std::fmt;
use std::sync::Arc;

use super::alarm::Alarm;
use super::inner::Inner;
use super::log_writer;
use super::master::{Master, THREADS, Threads};
use super::sync::Mutex;
use super::worker_pool::{self, Task, named};
use crate::vocabulary::{Error, Timestamp};

/// A master without threads: nothing is written and nothing executes but by these methods. With a
/// [`Clock`](super::Clock) of one's own, a run depends on nothing but the order of the calls.
///
/// What waits for a worker blocks for ever where the thread that has to act is the one that waits:
/// look at jobs instead of calling [`Master::wait`], and do not shut it down. Dropping it is as
/// good as killing it.
pub struct Core {
    master: Master,
    /// Handed out and not carried out, in the order in which they were.
    pending: Vec<Task>,
}

impl Core {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        inner.schedule();
        let master = Master { inner, threads: Mutex::new(&THREADS, None) };
        Self { master, pending: Vec::new() }
    }

    /// What clients call.
    #[must_use]
    pub fn master(&self) -> &Master {
        &self.master
    }

    /// What another thread calls while this one makes steps: for the scenarios in `loom-tests`.
    #[doc(hidden)]
    #[must_use]
    pub fn client(&self) -> Master {
        Master { inner: Arc::clone(&self.master.inner), threads: Mutex::new(&THREADS, None) }
    }

    /// How many tasks workers could carry out now, each at the same time as the others.
    pub fn tasks(&mut self) -> usize {
        let tasks = &self.master.inner.tasks;
        self.pending.extend(std::iter::from_fn(|| tasks.try_take()));
        self.pending.len()
    }

    /// Carries out the `which`th of those tasks, from 0 (the one handed out first). Whether there
    /// was one.
    pub fn work(&mut self, which: usize) -> bool {
        if which >= self.tasks() {
            return false;
        }
        let task = self.pending.remove(which);
        let inner = &self.master.inner;
        let _near = inner.tasks.taker();
        let next = inner.carry(task);
        inner.tasks.add(next);
        true
    }

    /// Writes what waits to be written, and hands out what waited for that. Whether there was
    /// something, and it could be written.
    pub fn write_log(&mut self) -> bool {
        let inner = &self.master.inner;
        let _near = inner.tasks.taker();
        let (written, task) = inner.write_for_worker();
        self.pending.extend(task);
        let news = std::mem::take(&mut inner.shell().news);
        inner.tell(news);
        written
    }

    /// Does what is due by the clock, as the alarm does: what waited for a time, deadlines that
    /// have passed. Gives when the next is due.
    pub fn pass_time(&mut self) -> Option<Timestamp> {
        self.master.inner.pass_time()
    }

    /// From now on threads make the steps.
    pub(super) fn start_threads(self) -> Result<Master, Error> {
        let Self { master, pending } = self;
        let inner = Arc::clone(&master.inner);
        inner.tasks.add(pending);
        let log_writer = named("log writer", move || log_writer::run(&inner))?;
        let workers = worker_pool::start(&master.inner)?;
        let alarm = Alarm::start(&master.inner)?;
        *master.threads.lock() = Some(Threads { workers, log_writer, alarm });
        Ok(master)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("master", &self.master).finish_non_exhaustive()
    }
}
