//! The threads that execute opcodes.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::inner::Inner;
use super::processor::Active;
use crate::vocabulary::{Error, JobId};

/// What a worker is asked to do. There are never more tasks than workers.
pub(super) enum Task {
    /// Take this job up: its opcode's arguments, names and locks.
    TakeUp(JobId),
    /// The locks this one waited for are granted: go on.
    GoOn(Box<Active>),
    /// End.
    End,
}

/// The channel that tasks go through.
pub(super) fn channel() -> (Sender<Task>, Receiver<Task>) {
    unbounded()
}

/// Starts the workers.
///
/// # Errors
///
/// `Io` where the system has no thread left.
pub(super) fn start(
    inner: &Arc<Inner>,
    tasks: &Receiver<Task>,
) -> Result<Vec<JoinHandle<()>>, Error> {
    (0..inner.workers.all())
        .map(|number| {
            let (inner, tasks) = (Arc::clone(inner), tasks.clone());
            named(&format!("worker {number}"), move || work(&inner, &tasks))
        })
        .collect()
}

fn work(inner: &Arc<Inner>, tasks: &Receiver<Task>) {
    for task in tasks {
        match task {
            Task::TakeUp(job) => inner.take_up(job),
            Task::GoOn(active) => inner.acquire(active),
            Task::End => return,
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
