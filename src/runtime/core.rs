//! A master whose steps are made by whoever has it, instead of by threads.

use std::fmt;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::alarm::Alarm;
use super::inner::Inner;
use super::log_writer::LogWriter;
use super::master::{Master, THREADS, Threads};
use super::sync::Mutex;
use super::worker_pool::{self, Task, named};
use crate::vocabulary::{Error, Timestamp};

/// A master without threads: nothing is written and nothing executes but by these methods. With a
/// [`Clock`](super::Clock) of one's own, a run depends on nothing but the order of the calls.
///
/// What waits blocks for ever where the thread that has to act is the one that waits: use
/// [`Master::begin_submit`] and look at jobs instead of [`Master::submit`] and
/// [`Master::wait`], and do not shut it down. Dropping it is as good as killing it.
pub struct Core {
    master: Master,
    tasks: Receiver<Task>,
    /// Handed out and not carried out, in the order in which they were.
    pending: Vec<Task>,
    log_writer: LogWriter,
}

impl Core {
    pub(super) fn new(inner: Arc<Inner>, tasks: Receiver<Task>, log_writer: LogWriter) -> Self {
        inner.schedule();
        let master = Master { inner, threads: Mutex::new(&THREADS, None) };
        Self { master, tasks, pending: Vec::new(), log_writer }
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
        self.pending.extend(self.tasks.try_iter());
        self.pending.len()
    }

    /// Carries out the `which`th of those tasks, from 0 (the one handed out first). Whether there
    /// was one.
    pub fn work(&mut self, which: usize) -> bool {
        if which >= self.tasks() {
            return false;
        }
        let task = self.pending.remove(which);
        let next = self.master.inner.carry(task);
        next.into_iter().for_each(|task| self.master.inner.send(task));
        true
    }

    /// Writes what waits to be written, and hands out what waited for that. Whether there was
    /// something, and it could be written.
    pub fn write_log(&mut self) -> bool {
        self.log_writer.step(&self.master.inner)
    }

    /// Does what is due by the clock, as the alarm does: what waited for a time, deadlines that
    /// have passed. Gives when the next is due.
    pub fn pass_time(&mut self) -> Option<Timestamp> {
        self.master.inner.pass_time()
    }

    /// From now on threads make the steps.
    pub(super) fn start_threads(self) -> Result<Master, Error> {
        let Self { master, tasks, log_writer, pending: _ } = self;
        let inner = Arc::clone(&master.inner);
        let log_writer = named("log writer", move || log_writer.run(&inner))?;
        let workers = worker_pool::start(&master.inner, &tasks)?;
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
