//! The threads that execute opcodes.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::inner::Inner;
use super::processor::{Active, Found};
use super::tasks::Taker;
use crate::vocabulary::{Error, JobId};

/// What a worker is asked to do. Each belongs to a worker that is not free; none waits for
/// anything but locks inside a logical unit.
pub(super) enum Task {
    /// Take this job up: its opcode's arguments, names and locks.
    TakeUp(JobId, Option<Box<Found>>),
    /// The locks this one waited for are granted: go on.
    GoOn(Box<Active>),
    /// All that its start builds on is on disk: execute.
    Execute(Box<Active>),
    /// All that is to be taken back is on disk: undo.
    Undo(Box<Active>),
}

impl Task {
    /// The job it belongs to.
    pub(super) fn job(&self) -> JobId {
        match self {
            Self::TakeUp(job, _) => *job,
            Self::GoOn(active) | Self::Execute(active) | Self::Undo(active) => active.job(),
        }
    }
}

/// Starts the workers.
///
/// # Errors
///
/// `Io` where the system has no thread left.
pub(super) fn start(inner: &Arc<Inner>) -> Result<Vec<JoinHandle<()>>, Error> {
    (0..inner.workers.all())
        .map(|number| {
            let inner = Arc::clone(inner);
            named(&format!("worker {number}"), move || work(&inner))
        })
        .collect()
}

fn work(inner: &Arc<Inner>) {
    let taker = inner.tasks.taker();
    while let Some(task) = next(inner, &taker) {
        let mut next = Some(task);
        while let Some(task) = next {
            inner.see_to_the_log();
            next = inner.carry(task);
        }
    }
}

/// What to do next. Whoever finds nothing writes the log before it sleeps, if nobody does: what
/// waits for the disk is what there will be to do.
fn next(inner: &Arc<Inner>, taker: &Taker<'_, Task>) -> Option<Task> {
    loop {
        if let Some(task) = inner.tasks.try_take() {
            return Some(task);
        }
        match inner.write_for_worker() {
            (_, Some(task)) => return Some(task),
            (true, None) => {}
            (false, None) => return taker.take(),
        }
    }
}

/// A thread of that name.
///
/// # Errors
///
/// `Io` where the system has no thread left.
pub(super) fn named(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| Error::io(format!("cannot start the thread {name:?}"), error))
}
