//! Requests that would keep the event loop from its clients: they look at many jobs or wait for
//! a disk. A few threads do them, and the answer comes to the loop as news.

use std::sync::{Arc, Weak};

use super::message::Failure;
use super::service::Service;
use crate::runtime::Aside;
use crate::vocabulary::Error;

/// Who does an errand. Each does one after the other, so that one slow kind of request does not
/// keep the others waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Looks at many live jobs, or at all locks: takes a processor, not a disk.
    Live,
    /// Reads the archive.
    Archive,
    /// Moves jobs into the archive, or waits for another write.
    Writing,
}

/// What an errand has at hand.
pub(super) struct Desk<'d> {
    pub(super) service: &'d dyn Service,
    /// How many bytes the answer may have.
    pub(super) answer_bytes: usize,
    /// Dangles once the client has left.
    client: Weak<()>,
}

impl<'d> Desk<'d> {
    pub(super) const fn new(
        service: &'d dyn Service,
        answer_bytes: usize,
        client: Weak<()>,
    ) -> Self {
        Self { service, answer_bytes, client }
    }

    /// Fails once nobody waits for the answer any more.
    pub(super) fn check_wanted(&self) -> Result<(), Failure> {
        match self.client.strong_count() {
            0 => Err(Failure::exception("GenericError", "the client has left")),
            _ => Ok(()),
        }
    }
}

/// An answer, and the place in the log it depends on.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) answer: Vec<u8>,
    pub(super) position: u64,
}

/// Finds the answer.
type Work = Box<dyn FnOnce(&Desk<'_>) -> Result<Held, Failure> + Send>;

/// What is to be done, by which thread.
pub(super) struct Errand {
    pub(super) lane: Lane,
    work: Work,
}

impl Errand {
    pub(super) fn new(
        lane: Lane,
        work: impl FnOnce(&Desk<'_>) -> Result<Held, Failure> + Send + 'static,
    ) -> Self {
        Self { lane, work: Box::new(work) }
    }

    /// Does it, here and now.
    pub(super) fn run(self, desk: &Desk<'_>) -> Result<Held, Failure> {
        (self.work)(desk)
    }
}

impl std::fmt::Debug for Errand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Errand").field("lane", &self.lane).finish_non_exhaustive()
    }
}

/// The threads that do errands.
#[derive(Debug)]
pub(super) struct Errands {
    live: Aside,
    archive: Aside,
    writing: Aside,
}

impl Errands {
    /// Starts the threads.
    pub(super) fn start() -> Result<Self, Error> {
        Ok(Self {
            live: Aside::start("luxi-live")?,
            archive: Aside::start("luxi-archive")?,
            writing: Aside::start("luxi-writing")?,
        })
    }

    /// Has an errand done; `then` is called with what came of it in any case, also where the
    /// errand panics. Holds as many errands as there are connections at most.
    pub(super) fn send(
        &self,
        errand: Errand,
        service: Arc<dyn Service>,
        answer_bytes: usize,
        client: Weak<()>,
        then: impl FnOnce(Result<Held, Failure>) + Send + 'static,
    ) {
        let aside = match errand.lane {
            Lane::Live => &self.live,
            Lane::Archive => &self.archive,
            Lane::Writing => &self.writing,
        };
        let mut report = Report(Some(then));
        aside.give(move || {
            let outcome = errand.run(&Desk::new(&*service, answer_bytes, client));
            report.tell(outcome);
        });
    }
}

/// Tells what came of an errand, once: that it failed, where it was dropped without a word.
struct Report<F: FnOnce(Result<Held, Failure>)>(Option<F>);

impl<F: FnOnce(Result<Held, Failure>)> Report<F> {
    fn tell(&mut self, outcome: Result<Held, Failure>) {
        if let Some(then) = self.0.take() {
            then(outcome);
        }
    }
}

impl<F: FnOnce(Result<Held, Failure>)> Drop for Report<F> {
    fn drop(&mut self) {
        let why = "the request failed inside the daemon; its log says more";
        self.tell(Err(Failure::exception("GenericError", why)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn an_errand_that_panics_is_told_as_failed() {
        let (sender, told) = channel();
        let report = Report(Some(move |outcome: Result<Held, Failure>| {
            sender.send(outcome.is_err()).unwrap();
        }));
        let aside = Aside::start("panics").unwrap();
        aside.give(move || {
            let report = report;
            assert!(report.0.is_none(), "this fails, and is contained");
        });
        assert!(told.recv().unwrap());
        assert!(told.recv().is_err(), "it is told once");
    }
}
