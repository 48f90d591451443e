//! How many workers are free, and whose turn it is to give them something to do.

use std::time::Instant;

use super::lock_order::LockClass;
use super::sync::{Condvar, Mutex, MutexGuard};

static WORKERS: LockClass = LockClass::new("workers");

/// Whether somebody is handing out work, and whether there is reason to look again after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Nobody,
    Somebody,
    SomebodyLooksAgain,
}

#[derive(Debug)]
struct State {
    /// How many have nothing to do and are in nobody's hands.
    free: usize,
    turn: Turn,
}

/// Gives so many workers something to do; how many it was enough for.
pub type Give<'a> = dyn FnMut(usize) -> usize + 'a;

/// The workers of a master, as numbers.
///
/// The promise: once all calls of [`hand_out`](Self::hand_out) have returned, there is no free
/// worker beside work that could be done. Whoever makes work, or sets a worker free, calls it
/// afterwards.
#[derive(Debug)]
pub struct Workers {
    all: usize,
    state: Mutex<State>,
    /// Some have become free.
    freed: Condvar,
}

impl Workers {
    /// So many, all free.
    #[must_use]
    pub fn new(all: usize) -> Self {
        let state = State { free: all, turn: Turn::Nobody };
        Self { all, state: Mutex::new(&WORKERS, state), freed: Condvar::new() }
    }

    /// How many there are.
    #[must_use]
    pub const fn all(&self) -> usize {
        self.all
    }

    /// How many are not free.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.all - self.state.lock().free
    }

    /// One has done what it was given.
    pub fn set_free(&self) {
        self.give_back(&mut self.state.lock(), 1);
    }

    /// Gives free workers something to do, if there is something: `give` is told how many are
    /// free, and says how many it gave something to do. No lock is held while it is called.
    ///
    /// Only one thread at a time hands out work; whoever comes meanwhile makes it look again, and
    /// returns. So nothing is overlooked that came between finding nothing and giving the workers
    /// back.
    pub fn hand_out(&self, give: &mut Give<'_>) {
        self.begin(self.state.lock(), give);
    }

    /// [`set_free`](Self::set_free), and then [`hand_out`](Self::hand_out).
    pub fn set_free_and_hand_out(&self, give: &mut Give<'_>) {
        let mut state = self.state.lock();
        self.give_back(&mut state, 1);
        self.begin(state, give);
    }

    fn begin<'a>(&'a self, mut state: MutexGuard<'a, State>, give: &mut Give<'_>) {
        if state.turn != Turn::Nobody {
            state.turn = Turn::SomebodyLooksAgain;
            return;
        }
        state.turn = Turn::Somebody;
        loop {
            let free = std::mem::take(&mut state.free);
            drop(state);
            let busy = if free == 0 { 0 } else { give(free) };
            state = self.state.lock();
            if self.end(&mut state, free.saturating_sub(busy)) {
                return;
            }
        }
    }

    /// Whether that is all; else the turn goes on.
    fn end(&self, state: &mut State, unused: usize) -> bool {
        self.give_back(state, unused);
        let over = state.turn == Turn::Somebody;
        state.turn = if over { Turn::Nobody } else { Turn::Somebody };
        over
    }

    fn give_back(&self, state: &mut State, count: usize) {
        state.free += count;
        if state.free == self.all {
            self.freed.notify_all();
        }
    }

    /// Waits until all are free, at the latest until `deadline`. How many are still busy.
    pub fn wait_until_all_are_free(&self, deadline: Option<Instant>) -> usize {
        let mut state = self.state.lock();
        while state.free < self.all {
            state = match deadline {
                None => self.freed.wait(state),
                Some(deadline) if Instant::now() < deadline => self.wait_until(state, deadline),
                Some(_) => break,
            };
        }
        self.all - state.free
    }

    fn wait_until<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> MutexGuard<'a, State> {
        self.freed.wait_until(state, deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_while_work_is_handed_out_makes_it_look_again() {
        let workers = Workers::new(2);
        let mut told = Vec::new();
        workers.hand_out(&mut |free| {
            told.push(free);
            if told.len() == 1 {
                workers.hand_out(&mut |_| unreachable!("one at a time"));
            }
            1
        });
        assert_eq!(told, [2, 1]);
        assert_eq!(workers.busy(), 2);
        workers.hand_out(&mut |_| unreachable!("nobody is free"));
        workers.set_free();
        assert_eq!(workers.wait_until_all_are_free(Some(Instant::now())), 1);
        workers.set_free();
        assert_eq!((workers.wait_until_all_are_free(None), workers.busy()), (0, 0));
    }
}
