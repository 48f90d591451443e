//! The threads that wait in the kernel: one for each lock that other processes keep from us.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread;

use super::waits::{Pushed, Ticket};
use super::{Fences, errors};
use crate::engine::locks::LockError;
use crate::store::{Fence, FenceName, Line};
use crate::vocabulary::{Error, LockMode};

/// The most locks that are waited for at a time. Each has a thread that sleeps in the kernel, with
/// a stack of [`STACK_BYTES`]; who comes beyond it is refused.
const MOST_LINES: usize = 4096;
/// A waiting thread does little.
const STACK_BYTES: usize = 128 << 10;

/// Who of this process waits for which lock, in order.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: HashMap<FenceName, VecDeque<(Ticket, LockMode)>>,
}

/// Whether a line needs a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Needed,
    Running,
}

impl Lines {
    /// Adds one who waits.
    pub(super) fn join(
        &mut self,
        name: &FenceName,
        mode: LockMode,
        ticket: Ticket,
    ) -> Result<Start, LockError> {
        let lines = self.lines.len();
        match self.lines.get_mut(name) {
            Some(line) => {
                line.push_back((ticket, mode));
                Ok(Start::Running)
            }
            None if lines == MOST_LINES => {
                let problem = format!("{MOST_LINES} locks of other processes are waited for");
                Err(LockError::FenceFailed { lock: name.to_string(), problem })
            }
            None => {
                self.lines.insert(name.clone(), VecDeque::from([(ticket, mode)]));
                Ok(Start::Needed)
            }
        }
    }

    /// The next one in line; the line ends where there is none.
    fn next(&mut self, name: &FenceName) -> Option<(Ticket, LockMode)> {
        let next = self.lines.get_mut(name)?.pop_front();
        if next.is_none() {
            self.lines.remove(name);
        }
        next
    }
}

impl<W: Send + 'static> Fences<W> {
    /// Starts the thread of a line where it needs one.
    pub(super) fn start_line(
        self: &Arc<Self>,
        name: &FenceName,
        start: Start,
    ) -> Result<(), LockError> {
        if start == Start::Running {
            return Ok(());
        }
        let (this, line) = (Arc::clone(self), name.clone());
        let builder = thread::Builder::new().stack_size(STACK_BYTES).name("fence".to_owned());
        let started = builder.spawn(move || this.serve(&line));
        started.map(drop).map_err(|error| {
            self.state.lock().lines.lines.remove(name);
            errors::failed(name, &Error::io("cannot start a thread", error))
        })
    }

    /// Gets the lock for one after the other who waits for it, until nobody does.
    fn serve(self: &Arc<Self>, name: &FenceName) {
        loop {
            let mut state = self.state.lock();
            let Some((ticket, mode)) = state.lines.next(name) else { return };
            let waits = state.waits.record(ticket).is_some();
            drop(state);
            if waits {
                match self.get(name, mode, ticket) {
                    Ok(Some(fence)) => self.go_on(ticket, fence),
                    Ok(None) => {}
                    Err(error) => self.fail(ticket, &errors::failed(name, &error)),
                }
            }
        }
    }

    /// Blocks until the lock is held for that ticket; none where it is not wanted any more.
    fn get(
        &self,
        name: &FenceName,
        mode: LockMode,
        ticket: Ticket,
    ) -> Result<Option<Fence>, Error> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let line: Arc<Line> = Arc::new(dir.join_line(name)?);
        let mut state = self.state.lock();
        let record = state.waits.record(ticket).filter(|_| state.waits.at_head(ticket, &line));
        drop(state);
        let Some(record) = record else { return Ok(None) };
        dir.lock(name, mode, &record).map(Some)
    }

    /// One more file is held: takes the rest of the plan, or waits for the next one of it. The
    /// wait stays where it can be ended from outside all the while.
    fn go_on(self: &Arc<Self>, ticket: Ticket, fence: Fence) {
        let mut got = fence;
        loop {
            let (name, mode, record) = match self.state.lock().push(ticket, got) {
                Pushed::Unwanted(fence) => return drop(fence),
                Pushed::Done(_, wait) => return wait.end(Ok(())),
                Pushed::More(name, mode, record) => (name, mode, record),
            };
            let Some(dir) = &self.dir else { return };
            match dir.try_lock(&name, mode, &record) {
                Ok(Some(fence)) => got = fence,
                Ok(None) => return self.queue(&name, mode, ticket),
                Err(error) => return self.fail(ticket, &errors::failed(&name, &error)),
            }
        }
    }

    fn queue(self: &Arc<Self>, name: &FenceName, mode: LockMode, ticket: Ticket) {
        let queued = self.state.lock().lines.join(name, mode, ticket);
        if let Err(error) = queued.and_then(|start| self.start_line(name, start)) {
            self.fail(ticket, &error);
        }
    }

    fn fail(&self, ticket: Ticket, error: &LockError) {
        let wait = self.state.lock().waits.remove(ticket);
        wait.into_iter().for_each(|wait| wait.end(Err(error.clone())));
    }
}
