//! The mutex and the condition variable themselves.

use std::sync::Arc;

use lockmaster::runtime::lock_order::LockClass;
use lockmaster::runtime::sync::{Condvar, Mutex};

use crate::{model, thread};

static COUNTER: LockClass = LockClass::new("counter");

struct Place {
    state: Mutex<u32>,
    changed: Condvar,
}

impl Place {
    fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(&COUNTER, 0), changed: Condvar::new() })
    }

    fn add_one(&self) {
        *self.state.lock() += 1;
        self.changed.notify_all();
    }

    fn wait_for(&self, goal: u32) -> u32 {
        let mut state = self.state.lock();
        while *state < goal {
            state = self.changed.wait(state);
        }
        *state
    }
}

#[test]
fn a_mutex_lets_one_in_at_a_time() {
    model("mutex: two increments", || {
        let place = Place::new();
        let other = Arc::clone(&place);
        let increment = thread::spawn(move || other.add_one());
        place.add_one();
        increment.join().unwrap();
        assert_eq!(*place.state.lock(), 2);
    });
}

#[test]
fn a_notification_between_the_look_and_the_wait_is_not_lost() {
    model("condvar: notify against wait", || {
        let place = Place::new();
        let other = Arc::clone(&place);
        let waiter = thread::spawn(move || other.wait_for(1));
        place.add_one();
        assert_eq!(waiter.join().unwrap(), 1);
    });
}

#[test]
fn one_notification_for_all_wakes_both_who_wait() {
    model("condvar: one notify, two waiters", || {
        let place = Place::new();
        let waiters = [(); 2].map(|()| {
            let other = Arc::clone(&place);
            thread::spawn(move || other.wait_for(1))
        });
        place.add_one();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 1);
        }
    });
}

#[test]
fn a_waiter_passes_the_notification_for_one_on() {
    model("condvar: notify_one handed on", || {
        let place = Place::new();
        let waiters = [(); 2].map(|()| {
            let other = Arc::clone(&place);
            thread::spawn(move || {
                other.wait_for(1);
                other.changed.notify_one();
            })
        });
        *place.state.lock() += 1;
        place.changed.notify_one();
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn trying_never_waits_and_never_gets_in_beside_the_holder() {
    model("mutex: try_lock against lock", || {
        let place = Place::new();
        let other = Arc::clone(&place);
        let holder = thread::spawn(move || other.add_one());
        let tried = place.state.try_lock().map(|mut state| *state += 1).is_some();
        holder.join().unwrap();
        assert_eq!(*place.state.lock(), 1 + u32::from(tried));
    });
}

/// What `--cfg spurious` is for: without it loom would pass an `if` in the place of a `while`.
#[cfg(spurious)]
#[test]
fn the_first_wait_returns_without_a_notification() {
    model("condvar: spurious return", || {
        let place = Place::new();
        let other = Arc::clone(&place);
        let increment = thread::spawn(move || *other.state.lock() += 1);
        drop(place.changed.wait(place.state.lock()));
        increment.join().unwrap();
    });
}
