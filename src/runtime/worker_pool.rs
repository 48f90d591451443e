//! The threads that execute opcodes.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::inner::Inner;
use super::processor::Active;
use crate::vocabulary::{Error, JobId};

/// What a worker is asked to do. Each belongs to a worker that is not free; none waits for
/// anything but locks inside a logical unit.
pub(super) enum Task {
    /// Take this job up: its opcode's arguments, names and locks.
    TakeUp(JobId),
    /// The locks this one waited for are granted: go on.
    GoOn(Box<Active>),
    /// All that its start builds on is on disk: execute.
    Execute(Box<Active>),
    /// All that is to be taken back is on disk: undo.
    Undo(Box<Active>),
    /// End.
    End,
}

impl Task {
    /// The job it belongs to.
    pub(super) fn job(&self) -> Option<JobId> {
        match self {
            Self::TakeUp(job) => Some(*job),
            Self::GoOn(active) | Self::Execute(active) | Self::Undo(active) => Some(active.job()),
            Self::End => None,
        }
    }
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
        if matches!(task, Task::End) {
            return;
        }
        let mut next = Some(task);
        while let Some(task) = next {
            next = inner.carry(task);
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
