//! How far the log is on disk, and who waits for it to get further.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::contained::call_back;
use super::lock_order::{LockClass, assert_no_locks_held};
use super::sync::{Condvar, Mutex};
use crate::vocabulary::{Error, ErrorKind};

static COMMITS: LockClass = LockClass::new("commits");
static WAITER: LockClass = LockClass::new("thread that waits for the log");

type Callback = Box<dyn FnOnce(Result<(), Error>) + Send>;

#[derive(Default)]
struct State {
    durable: u64,
    syncs: u64,
    failed: Option<String>,
    callbacks: BTreeMap<u64, Vec<Callback>>,
    /// Threads that wait for a place.
    waiting: Vec<(u64, Arc<Waiter>)>,
}

impl State {
    fn verdict(&self, position: u64) -> Option<Result<(), Error>> {
        if self.durable >= position {
            return Some(Ok(()));
        }
        self.failed.as_deref().map(|why| Err(stopped(why)))
    }

    /// Takes out who waits for a place up to that one.
    fn reached(&mut self, position: u64) -> (Vec<Arc<Waiter>>, Vec<Callback>) {
        // Who waits for the last place there is waits for a failure.
        let next = position.checked_add(1);
        let later = next.map(|next| self.callbacks.split_off(&next)).unwrap_or_default();
        let callbacks = std::mem::replace(&mut self.callbacks, later);
        let waiting = std::mem::take(&mut self.waiting);
        let (due, later) = waiting.into_iter().partition(|(place, _)| *place <= position);
        self.waiting = later;
        let threads: Vec<(u64, Arc<Waiter>)> = due;
        let threads = threads.into_iter().map(|(_, waiter)| waiter).collect();
        (threads, callbacks.into_values().flatten().collect())
    }
}

/// One thread that sleeps until its place is reached, or nothing is any more.
struct Waiter {
    /// Set once: those whom it has to wake in turn.
    woken: Mutex<Option<Vec<Arc<Waiter>>>>,
    set: Condvar,
}

impl Waiter {
    fn new() -> Self {
        Self { woken: Mutex::new(&WAITER, None), set: Condvar::new() }
    }

    fn sleep(&self) {
        let mut woken = self.woken.lock();
        let others = loop {
            match woken.take() {
                Some(others) => break others,
                None => woken = self.set.wait(woken),
            }
        };
        drop(woken);
        wake(others);
    }
}

/// Wakes them all: the first, who wakes half of the others in turn, then the first of the other
/// half, and so on. So a sync that many wait for costs the thread that writes the log a few
/// wake-ups, and the rest is shared by all processors.
fn wake(mut all: Vec<Arc<Waiter>>) {
    while let Some(first) = all.pop() {
        let rest = all.split_off(all.len().div_ceil(2));
        let others = std::mem::replace(&mut all, rest);
        *first.woken.lock() = Some(others);
        first.set.notify_one();
    }
}

/// The place up to which the log is on disk.
pub struct Commits {
    state: Mutex<State>,
}

impl Default for Commits {
    /// Nothing is on disk.
    fn default() -> Self {
        Self { state: Mutex::new(&COMMITS, State::default()) }
    }
}

/// Callbacks that are due.
#[must_use = "who asked to be called waits for it"]
#[derive(Default)]
pub(super) struct Due(Vec<Callback>, Option<String>);

impl Due {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls them, with no lock held.
    pub(super) fn call(self) {
        let Self(callbacks, failed) = self;
        let verdict = || failed.as_deref().map_or(Ok(()), |why| Err(stopped(why)));
        callbacks.into_iter().for_each(|callback| call_back(|| callback(verdict())));
    }
}

impl Commits {
    /// Everything up to `position` is on disk.
    pub fn advance(&self, position: u64) {
        self.reach(position).call();
    }

    /// The same, but leaves calling those who asked for it to the caller.
    pub(super) fn reach(&self, position: u64) -> Due {
        let mut state = self.state.lock();
        // Two who write one after the other may tell in the other order.
        state.durable = state.durable.max(position);
        state.syncs += 1;
        let (threads, callbacks) = state.reached(position);
        drop(state);
        wake(threads);
        Due(callbacks, None)
    }

    /// How many times the log was written and synced.
    pub(super) fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Nothing more will ever be on disk.
    pub fn fail(&self, why: &str) {
        let mut state = self.state.lock();
        state.failed.get_or_insert_with(|| why.to_owned());
        let (threads, callbacks) = state.reached(u64::MAX);
        drop(state);
        wake(threads);
        Due(callbacks, Some(why.to_owned())).call();
    }

    /// Why nothing more will ever be on disk, if so.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.state.lock().failed.as_deref().map(stopped)
    }

    /// Waits until everything up to `position` is on disk.
    ///
    /// # Errors
    ///
    /// `Stopped` where it never will be.
    pub fn wait(&self, position: u64) -> Result<(), Error> {
        assert_no_locks_held("while a place of the log is waited for");
        self.wait_with_locks(position)
    }

    /// The same for a thread that may hold locks of its own. Who is called back must not want them.
    pub(super) fn wait_with_locks(&self, position: u64) -> Result<(), Error> {
        loop {
            let mut state = self.state.lock();
            if let Some(verdict) = state.verdict(position) {
                return verdict;
            }
            let waiter = Arc::new(Waiter::new());
            state.waiting.push((position, Arc::clone(&waiter)));
            drop(state);
            waiter.sleep();
        }
    }

    /// Calls `then` when everything up to `position` is on disk, at once if it is.
    pub fn then(&self, position: u64, then: Callback) {
        let mut state = self.state.lock();
        match state.verdict(position) {
            Some(verdict) => {
                drop(state);
                assert_no_locks_held("while somebody is called back");
                call_back(|| then(verdict));
            }
            None => state.callbacks.entry(position).or_default().push(then),
        }
    }
}

fn stopped(why: &str) -> Error {
    Error::new(ErrorKind::Stopped, format!("the job queue has stopped: {why}"))
        .hint("nothing acknowledged is lost; mend the cause and start again")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_waits_is_told_when_its_place_is_reached_and_not_before() {
        let commits = Commits::default();
        let (sender, told) = mpsc::channel();
        for position in [3, 1, 2] {
            let sender = sender.clone();
            commits
                .then(position, Box::new(move |ok| sender.send((position, ok.is_ok())).unwrap()));
        }
        commits.advance(2);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [(1, true), (2, true)]);
        commits.then(2, Box::new(move |ok| sender.send((0, ok.is_ok())).unwrap()));
        commits.advance(3);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [(0, true), (3, true)]);
        assert_eq!(commits.syncs(), 2);
    }

    #[test]
    fn after_a_failure_everybody_hears_why_but_what_is_on_disk_stays_so() {
        let commits = Arc::new(Commits::default());
        commits.advance(1);
        let (sender, told) = mpsc::channel();
        commits.then(u64::MAX, Box::new(move |ok| sender.send(ok.is_err()).unwrap()));
        let waiting = Arc::clone(&commits);
        let thread = std::thread::spawn(move || waiting.wait(5));
        commits.fail("disk full");
        commits.fail("again");
        let error = thread.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("disk full"), "{error}");
        assert_eq!(told.recv(), Ok(true), "also who waits for nothing else");
        assert!(commits.wait(1).is_ok());
        assert!(commits.failure().unwrap().to_string().contains("disk full"));
    }
}
