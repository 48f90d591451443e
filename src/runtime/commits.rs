//! How far the log is on disk, and who waits for it to get further.

use std::collections::BTreeMap;

use super::contained::call_back;
use super::lock_order::{LockClass, assert_no_locks_held};
use super::sync::{Condvar, Mutex};
use crate::vocabulary::{Error, ErrorKind};

static COMMITS: LockClass = LockClass::new("commits");

type Callback = Box<dyn FnOnce(Result<(), Error>) + Send>;

#[derive(Default)]
struct State {
    durable: u64,
    syncs: u64,
    failed: Option<String>,
    callbacks: BTreeMap<u64, Vec<Callback>>,
}

impl State {
    fn verdict(&self, position: u64) -> Option<Result<(), Error>> {
        if self.durable >= position {
            return Some(Ok(()));
        }
        self.failed.as_deref().map(|why| Err(stopped(why)))
    }
}

/// The place up to which the log is on disk.
pub struct Commits {
    state: Mutex<State>,
    advanced: Condvar,
}

impl Default for Commits {
    /// Nothing is on disk.
    fn default() -> Self {
        Self { state: Mutex::new(&COMMITS, State::default()), advanced: Condvar::new() }
    }
}

impl Commits {
    /// Everything up to `position` is on disk.
    pub fn advance(&self, position: u64) {
        let mut state = self.state.lock();
        state.durable = position;
        state.syncs += 1;
        let later = state.callbacks.split_off(&(position + 1));
        let due = std::mem::replace(&mut state.callbacks, later);
        drop(state);
        self.advanced.notify_all();
        due.into_values().flatten().for_each(|callback| call_back(|| callback(Ok(()))));
    }

    /// How many times the log was written and synced.
    pub(super) fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Nothing more will ever be on disk.
    pub fn fail(&self, why: &str) {
        let mut state = self.state.lock();
        state.failed.get_or_insert_with(|| why.to_owned());
        let all = std::mem::take(&mut state.callbacks);
        drop(state);
        self.advanced.notify_all();
        let all = all.into_values().flatten();
        all.for_each(|callback| call_back(|| callback(Err(stopped(why)))));
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
        let mut state = self.state.lock();
        loop {
            match state.verdict(position) {
                Some(verdict) => return verdict,
                None => state = self.advanced.wait(state),
            }
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
    use std::sync::{Arc, mpsc};

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
        let waiting = Arc::clone(&commits);
        let thread = std::thread::spawn(move || waiting.wait(5));
        commits.fail("disk full");
        commits.fail("again");
        let error = thread.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("disk full"), "{error}");
        assert!(commits.wait(1).is_ok());
        assert!(commits.failure().unwrap().to_string().contains("disk full"));
    }
}
