//! Waiting until a number that only grows has come far enough: how callers wait until their
//! records are durable, and how the writer stops.

use std::sync::Arc;

use lockmaster::runtime::lock_order::LockClass;
use lockmaster::runtime::sync::{Condvar, Mutex};

use crate::{model, thread};

static WATCH: LockClass = LockClass::new("watch");

#[derive(Clone, Copy, Default)]
struct Mark {
    position: u64,
    closed: bool,
}

struct Watch {
    mark: Mutex<Mark>,
    moved: Condvar,
}

impl Watch {
    fn new() -> Arc<Self> {
        Arc::new(Self { mark: Mutex::new(&WATCH, Mark::default()), moved: Condvar::new() })
    }

    fn publish(&self, change: impl FnOnce(&mut Mark)) {
        change(&mut self.mark.lock());
        self.moved.notify_all();
    }

    /// Whether it came that far before it was closed.
    fn reached(&self, position: u64) -> bool {
        let mut mark = self.mark.lock();
        while mark.position < position && !mark.closed {
            mark = self.moved.wait(mark);
        }
        mark.position >= position
    }
}

#[test]
fn each_waiter_returns_when_its_own_position_is_reached() {
    model("watch: two positions", || {
        let watch = Watch::new();
        let waiters = [1, 2].map(|position| {
            let watch = Arc::clone(&watch);
            thread::spawn(move || watch.reached(position))
        });
        watch.publish(|mark| mark.position = 1);
        watch.publish(|mark| mark.position = 2);
        for waiter in waiters {
            assert!(waiter.join().unwrap());
        }
    });
}

#[test]
fn closing_wakes_who_would_wait_for_ever_and_nobody_is_told_of_what_never_came() {
    model("watch: close against wait", || {
        let watch = Watch::new();
        let waiters = [1, 2].map(|position| {
            let watch = Arc::clone(&watch);
            thread::spawn(move || watch.reached(position))
        });
        watch.publish(|mark| mark.position = 1);
        watch.publish(|mark| mark.closed = true);
        assert_eq!(waiters.map(|waiter| waiter.join().unwrap()), [true, false]);
    });
}
