//! Threads that wait for tasks: none is overlooked while one of them sleeps.

use std::sync::Arc;

use lockmaster::runtime::Tasks;
use lockmaster::runtime::lock_order::LockClass;
use lockmaster::runtime::sync::{Condvar, Mutex};

use crate::{model, thread};

static MET: LockClass = LockClass::new("met");

/// Where two meet: who comes first waits for the other.
struct Meeting {
    there: Mutex<usize>,
    both: Condvar,
}

impl Meeting {
    fn come(&self) {
        let mut there = self.there.lock();
        *there += 1;
        self.both.notify_all();
        while *there < 2 {
            there = self.both.wait(there);
        }
    }
}

#[test]
fn two_who_sleep_are_woken_for_two_tasks_that_need_each_other() {
    model("tasks: two that wait for each other", || {
        let tasks = Arc::new(Tasks::default());
        let meeting = Arc::new(Meeting { there: Mutex::new(&MET, 0), both: Condvar::new() });
        let workers = [(); 2].map(|()| {
            let (tasks, meeting) = (Arc::clone(&tasks), Arc::clone(&meeting));
            thread::spawn(move || {
                let taker = tasks.taker();
                taker.take().unwrap();
                let _away = tasks.away();
                meeting.come();
            })
        });
        tasks.add([(), ()]);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

#[test]
fn each_task_is_taken_once_and_who_sleeps_ends_when_there_are_no_more() {
    model("tasks: two takers against two who add", || {
        let tasks = Arc::new(Tasks::default());
        let takers = [(); 2].map(|()| {
            let tasks = Arc::clone(&tasks);
            thread::spawn(move || {
                let taker = tasks.taker();
                std::iter::from_fn(|| taker.take()).collect::<Vec<u8>>()
            })
        });
        tasks.add([1]);
        tasks.add([2]);
        tasks.close();
        let mut taken: Vec<u8> =
            takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect();
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
    });
}
