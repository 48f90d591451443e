//! What is to be done next, and the threads that wait for something to do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::lock_order::LockClass;
use super::sync::{Condvar, Mutex, MutexGuard};

static TASKS: LockClass = LockClass::new("tasks");

struct State<T> {
    waiting: VecDeque<T>,
    /// Takers that have nothing to do and sleep; the last one has slept shortest.
    idle: Vec<Arc<Condvar>>,
    /// One of them was woken and has not come yet.
    waking: bool,
    closed: bool,
}

/// Tasks in order, for threads that carry them out.
///
/// The promise: where tasks wait and takers sleep, some taker is [near](Self::taker), or one is on
/// its way, or somebody who is about to call wakes one. A taker that is near comes for the next
/// task in a moment; one that goes [away](Self::away), into code that may take as long as it
/// likes, wakes another first, unless one is still near. So short tasks are done by the threads
/// that are awake, and nobody pays for waking others; while a task that takes long keeps no other
/// waiting. The one that has slept shortest is woken first: its memory is still at hand.
pub struct Tasks<T> {
    state: Mutex<State<T>>,
    /// How many takers are near. Changed by each at any time; before it sleeps, under the mutex.
    /// Not one of loom's: it keeps only the last few values of those, and what has to be ordered
    /// here is ordered by the mutex.
    near: AtomicUsize,
}

/// A thread that comes for tasks, as one that is near.
pub struct Taker<'a, T> {
    tasks: &'a Tasks<T>,
    sleeps: Arc<Condvar>,
}

/// A taker that is in code that may take long; near again when this is dropped.
#[must_use = "it is near again when this is dropped"]
pub struct Away<'a, T>(&'a Tasks<T>);

impl<T> Default for Tasks<T> {
    fn default() -> Self {
        let (waiting, idle) = (VecDeque::new(), Vec::new());
        let state = State { waiting, idle, waking: false, closed: false };
        Self { state: Mutex::new(&TASKS, state), near: AtomicUsize::new(0) }
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

    /// This thread will come for tasks, until that is dropped.
    pub fn taker(&self) -> Taker<'_, T> {
        self.near.fetch_add(1, Ordering::SeqCst);
        Taker { tasks: self, sleeps: Arc::default() }
    }

    /// To be held while a thread that has a [taker](Self::taker) is in code that may take long.
    pub fn away(&self) -> Away<'_, T> {
        self.leave();
        Away(self)
    }

    /// No more tasks will come: who waits for one ends, once those that wait are taken.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        idle.iter().for_each(|sleeps| sleeps.notify_one());
    }

    /// A taker is near no more. Where it was the last, tasks that wait need another: either it
    /// sees them here, or whoever adds them later sees that nobody is near.
    fn leave(&self) {
        if self.near.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.wake_one(self.state.lock());
        }
    }

    fn wake_one(&self, mut state: MutexGuard<'_, State<T>>) {
        if state.waiting.is_empty() || state.waking || self.near.load(Ordering::SeqCst) > 0 {
            return;
        }
        if let Some(sleeps) = state.idle.pop() {
            state.waking = true;
            drop(state);
            sleeps.notify_one();
        }
    }
}

impl<T> Taker<'_, T> {
    /// Waits for a task; nothing where there are none any more.
    pub fn take(&self) -> Option<T> {
        let Tasks { state, near } = self.tasks;
        let mut state = state.lock();
        while state.waiting.is_empty() && !state.closed {
            state.idle.push(Arc::clone(&self.sleeps));
            near.fetch_sub(1, Ordering::SeqCst);
            state = self.sleeps.wait(state);
            near.fetch_add(1, Ordering::SeqCst);
            self.has_come(&mut state);
        }
        state.waiting.pop_front()
    }

    /// It was woken, or has come by itself, as any wait may end.
    fn has_come(&self, state: &mut State<T>) {
        match state.idle.iter().rposition(|other| Arc::ptr_eq(other, &self.sleeps)) {
            Some(place) => _ = state.idle.remove(place),
            None => state.waking = false,
        }
    }
}

impl<T> Drop for Taker<'_, T> {
    fn drop(&mut self) {
        self.tasks.leave();
    }
}

impl<T> Drop for Away<'_, T> {
    fn drop(&mut self) {
        self.0.near.fetch_add(1, Ordering::SeqCst);
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
        let taker = tasks.taker();
        assert_eq!([taker.take(), taker.take(), tasks.try_take()], [Some(3), None, None]);
    }

    #[test]
    fn whoever_sleeps_is_woken_for_each_task_that_another_does_not_take() {
        let tasks = Tasks::<()>::default();
        // Each waits until all have a task.
        let all = std::sync::Barrier::new(4);
        let meet = |()| {
            let _away = tasks.away();
            all.wait()
        };
        std::thread::scope(|scope| {
            (0..4).for_each(|_| _ = scope.spawn(|| tasks.taker().take().map(meet)));
            tasks.add([(), ()]);
            tasks.add([(), ()]);
        });
    }

    #[test]
    fn nobody_is_woken_while_somebody_is_near() {
        let tasks = Tasks::<()>::default();
        let near = tasks.taker();
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| tasks.taker().take());
            while tasks.state.lock().idle.is_empty() {
                std::thread::yield_now();
            }
            tasks.add([()]);
            assert!(!tasks.state.lock().waking, "the one that is near takes it");
            drop(tasks.away());
            assert_eq!(sleeper.join().unwrap(), Some(()), "it had gone away");
        });
        drop(near);
    }
}
