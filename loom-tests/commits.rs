//! Waiting for the log: whoever waits for a place hears of it, and only of what became of it.

use std::sync::Arc;

use lockmaster::runtime::Commits;
use lockmaster::runtime::lock_order::LockClass;
use lockmaster::runtime::sync::Mutex;

use crate::{model, thread};

static HEARD: LockClass = LockClass::new("heard");

type Heard = Arc<Mutex<Vec<(u64, bool)>>>;

/// Asks for a call when that place is on disk, which notes whether it is.
fn note(commits: &Commits, heard: &Heard, place: u64) {
    let heard = Arc::clone(heard);
    commits.then(place, Box::new(move |verdict| heard.lock().push((place, verdict.is_ok()))));
}

#[test]
fn each_who_waits_for_a_place_returns_when_it_is_reached() {
    model("commits: wait against advance", || {
        let commits = Arc::new(Commits::default());
        let waiters = [1, 2].map(|place| {
            let commits = Arc::clone(&commits);
            thread::spawn(move || commits.wait(place).is_ok())
        });
        commits.advance(1);
        commits.advance(2);
        assert_eq!(waiters.map(|waiter| waiter.join().unwrap()), [true, true]);
    });
}

#[test]
fn a_failure_reaches_all_who_wait_for_more_than_is_on_disk_and_nobody_else() {
    model("commits: wait against advance and fail", || {
        let commits = Arc::new(Commits::default());
        let waiters = [1, 2].map(|place| {
            let commits = Arc::clone(&commits);
            thread::spawn(move || commits.wait(place).is_ok())
        });
        commits.advance(1);
        commits.fail("the disk is full");
        assert_eq!(waiters.map(|waiter| waiter.join().unwrap()), [true, false]);
        assert!(commits.failure().is_some());
    });
}

#[test]
fn who_asks_for_a_call_is_called_once_whatever_comes_first() {
    model("commits: callback against advance and fail", || {
        let (commits, heard) = (Arc::new(Commits::default()), new_heard());
        let asker = {
            let (commits, heard) = (Arc::clone(&commits), Arc::clone(&heard));
            thread::spawn(move || [1, 2].map(|place| note(&commits, &heard, place)))
        };
        commits.advance(1);
        commits.fail("the disk is full");
        asker.join().unwrap();
        let mut heard = heard.lock().clone();
        heard.sort_unstable();
        assert_eq!(heard, [(1, true), (2, false)]);
    });
}

#[test]
fn two_who_ask_are_called_for_their_own_places() {
    model("commits: two callbacks against advance", || {
        let (commits, heard) = (Arc::new(Commits::default()), new_heard());
        let askers = [1, 2].map(|place| {
            let (commits, heard) = (Arc::clone(&commits), Arc::clone(&heard));
            thread::spawn(move || note(&commits, &heard, place))
        });
        commits.advance(1);
        assert!(!heard.lock().contains(&(2, true)), "not before it is on disk");
        commits.advance(2);
        askers.into_iter().for_each(|asker| asker.join().unwrap());
        let mut heard = heard.lock().clone();
        heard.sort_unstable();
        assert_eq!(heard, [(1, true), (2, true)]);
    });
}

fn new_heard() -> Heard {
    Arc::new(Mutex::new(&HEARD, Vec::new()))
}
