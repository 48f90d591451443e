//! What is to be done next, and the threads that wait for something to do.

use std::collections::VecDeque;

use super::lock_order::LockClass;
use super::sync::{Condvar, Mutex, MutexGuard};

static TASKS: LockClass = LockClass::new("tasks");

struct State<T> {
    waiting: VecDeque<T>,
    /// Threads that have nothing to do and sleep.
    idle: usize,
    /// One of them was woken and has not come yet.
    waking: bool,
    closed: bool,
}

/// Tasks in order, for threads that carry them out.
///
/// The promise: where tasks wait and threads sleep, one thread is on its way, or somebody who is
/// about to call wakes one. Only one is woken at a time, and wakes the next where there is more
/// to do than it takes itself: so short tasks are done by the threads that are awake, and nobody
/// pays for waking others; while a task that takes long keeps no other waiting.
pub struct Tasks<T> {
    state: Mutex<State<T>>,
    more: Condvar,
}

impl<T> Default for Tasks<T> {
    fn default() -> Self {
        let state = State { waiting: VecDeque::new(), idle: 0, waking: false, closed: false };
        Self { state: Mutex::new(&TASKS, state), more: Condvar::new() }
    }
}

impl<T> Tasks<T> {
    /// Adds tasks at the end, for whoever comes first.
    pub fn add(&self, tasks: impl IntoIterator<Item = T>) {
        let mut state = self.state.lock();
        state.waiting.extend(tasks);
        self.wake_one(state);
    }

    /// Adds tasks at the end, and takes the first of all.
    pub fn add_and_take(&self, tasks: impl IntoIterator<Item = T>) -> Option<T> {
        let mut state = self.state.lock();
        state.waiting.extend(tasks);
        let first = state.waiting.pop_front();
        self.wake_one(state);
        first
    }

    /// The first task, if there is one.
    pub fn try_take(&self) -> Option<T> {
        self.add_and_take(None)
    }

    /// Waits for a task; nothing where there are none any more.
    pub fn take(&self) -> Option<T> {
        let mut state = self.state.lock();
        while state.waiting.is_empty() && !state.closed {
            state.idle += 1;
            state = self.more.wait(state);
            state.idle -= 1;
            state.waking = false;
        }
        let first = state.waiting.pop_front();
        self.wake_one(state);
        first
    }

    /// No more tasks will come: who waits for one ends, once those that wait are taken.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.more.notify_all();
    }

    fn wake_one(&self, mut state: MutexGuard<'_, State<T>>) {
        if state.waiting.is_empty() || state.idle == 0 || state.waking {
            return;
        }
        state.waking = true;
        drop(state);
        self.more.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_taken_in_order_and_those_left_when_it_is_closed_too() {
        let tasks = Tasks::default();
        assert_eq!(tasks.add_and_take([1, 2]), Some(1));
        tasks.add([3]);
        assert_eq!(tasks.try_take(), Some(2));
        tasks.close();
        assert_eq!([tasks.take(), tasks.take(), tasks.try_take()], [Some(3), None, None]);
    }

    #[test]
    fn whoever_sleeps_is_woken_for_each_task_that_another_does_not_take() {
        let tasks = Tasks::<()>::default();
        // Each waits until all have a task.
        let all = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            (0..4).for_each(|_| _ = scope.spawn(|| tasks.take().map(|()| all.wait())));
            tasks.add([(), ()]);
            tasks.add([(), ()]);
        });
    }
}
