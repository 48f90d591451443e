//! Handing out work: when all has calmed down, no worker is free beside work to do.

use std::sync::Arc;

use lockmaster::runtime::Workers;
use lockmaster::runtime::lock_order::LockClass;
use lockmaster::runtime::sync::Mutex;

use crate::{model, thread};

static WORK: LockClass = LockClass::new("work");

/// What is to be done and what is being done, each behind its own mutex, as in the master the
/// queue and the lock table are.
struct Place {
    workers: Workers,
    to_do: Mutex<usize>,
    given: Mutex<usize>,
}

impl Place {
    fn new(workers: usize) -> Arc<Self> {
        let none = || Mutex::new(&WORK, 0);
        Arc::new(Self { workers: Workers::new(workers), to_do: none(), given: none() })
    }

    /// There is more to do.
    fn add_one(&self) {
        *self.to_do.lock() += 1;
        self.schedule();
    }

    /// A worker has done what it was given.
    fn finish_one(&self) {
        self.workers.set_free_and_hand_out(&mut |free| self.give(free));
    }

    fn schedule(&self) {
        self.workers.hand_out(&mut |free| self.give(free));
    }

    fn give(&self, free: usize) -> usize {
        let mut to_do = self.to_do.lock();
        let taken = free.min(*to_do);
        *to_do -= taken;
        drop(to_do);
        *self.given.lock() += taken;
        taken
    }

    /// Everything was given to a worker so far, or all workers are busy.
    fn check(&self, added: usize) {
        let to_do = *self.to_do.lock();
        let given = *self.given.lock();
        assert_eq!(to_do + given, added, "nothing is given twice or lost");
        assert!(to_do == 0 || self.workers.busy() == self.workers.all(), "{to_do} overlooked");
    }
}

fn spawn(place: &Arc<Place>, act: impl FnOnce(&Place) + Send + 'static) -> thread::JoinHandle<()> {
    let place = Arc::clone(place);
    thread::spawn(move || act(&place))
}

#[test]
fn what_comes_while_another_hands_out_is_not_overlooked() {
    model("workers: two who bring work", || {
        let place = Place::new(2);
        let other = spawn(&place, Place::add_one);
        place.add_one();
        other.join().unwrap();
        place.check(2);
    });
}

#[test]
fn three_who_bring_work_at_once_find_a_worker_each() {
    model("workers: three who bring work", || {
        let place = Place::new(3);
        let others = [(); 2].map(|()| spawn(&place, Place::add_one));
        place.add_one();
        others.into_iter().for_each(|other| other.join().unwrap());
        place.check(3);
    });
}

#[test]
fn a_worker_that_becomes_free_while_another_hands_out_is_not_overlooked() {
    model("workers: work against a worker set free", || {
        let place = Place::new(1);
        place.add_one();
        let worker = spawn(&place, Place::finish_one);
        place.add_one();
        worker.join().unwrap();
        place.check(2);
        assert_eq!(*place.to_do.lock(), 0, "one worker is enough for one after the other");
    });
}

#[test]
fn who_waits_until_all_are_free_returns_when_they_are() {
    model("workers: shutdown against the last one", || {
        let place = Place::new(2);
        place.add_one();
        place.add_one();
        let workers = [(); 2].map(|()| spawn(&place, Place::finish_one));
        assert_eq!(place.workers.wait_until_all_are_free(None), 0);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}
