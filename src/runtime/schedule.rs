//! Handing out work: as much as there are free workers, in the order in which it is due.

use std::sync::Arc;

use super::inner::Inner;
use super::shell::Shell;
use super::worker_pool::Task;
use crate::engine::queue::Next;
use crate::vocabulary::{JobId, Timestamp};

impl Inner {
    /// Gives every free worker something to do, if there is something. To be called whenever a
    /// worker, a lock or a job has become free.
    pub(super) fn schedule(self: &Arc<Self>) {
        self.serve_clients();
        self.workers.hand_out(|free| self.give(free));
        // Who waits for the last opcode to end hears of it when its worker is free, too: the
        // end itself can be on disk, and told, before that.
        let mut shell = self.shell();
        self.set_alarm(&mut shell);
        let stopping = shell.stopping;
        drop(shell);
        if stopping {
            self.watch.notify_all();
        }
    }

    /// Gives so many workers something to do, in the order in which it is due: jobs whose locks
    /// have become free, and ready ones. How many it was enough for.
    fn give(&self, workers: usize) -> usize {
        if !self.shell().is_open() {
            return 0;
        }
        let (mut free, mut due) = (workers, self.next_due());
        loop {
            free -= self.grant(free, due);
            if free == 0 || due.is_none() {
                return workers - free;
            }
            let (task, next) = self.take_next();
            free -= usize::from(task.is_some());
            task.into_iter().for_each(|task| self.send(task));
            due = next;
        }
    }

    /// When the next ready job is due; nothing where there is none.
    fn next_due(&self) -> Option<Timestamp> {
        self.due(&self.shell())
    }

    fn due(&self, shell: &Shell) -> Option<Timestamp> {
        let (priority, since) = shell.queue.peek_next().filter(|_| shell.is_open())?;
        Some(self.policy.due(since, priority))
    }

    /// Lets jobs go on that wait for locks which are free now, as long as they are due before
    /// the next ready job. How many.
    fn grant(&self, want: usize, before: Option<Timestamp>) -> usize {
        if want == 0 {
            return 0;
        }
        let fenced = self.send_granted(want);
        fenced + self.grant_jobs(want - fenced, before)
    }

    /// Takes the next ready job up, and says when the one after it is due.
    fn take_next(&self) -> (Option<Task>, Option<Timestamp>) {
        let (mut taken, mut ended) = ((None, None), Vec::new());
        let mut shell = self.shell();
        while shell.is_open() {
            match shell.queue.take_next(self.now()) {
                Some(Next::Take(id)) => {
                    taken = (Some(Task::TakeUp(id)), self.due(&shell));
                    break;
                }
                Some(Next::Ended(id, records)) => {
                    self.append(&mut shell, records);
                    ended.push(id);
                }
                None => break,
            }
        }
        drop(shell);
        self.release_of_ended(&ended);
        taken
    }

    /// Releases what jobs had kept that have ended without being taken up, and has whoever hands
    /// out work look again.
    fn release_of_ended(&self, ended: &[JobId]) {
        if !ended.is_empty() {
            ended.iter().for_each(|id| self.release_if_ended(*id));
            self.workers.hand_out(|_| 0);
        }
    }

    /// Has a worker carry out a task.
    pub(super) fn send(&self, task: Task) {
        // The receivers live as long as the workers, which end after the last task.
        let sent = self.tasks.send(task);
        debug_assert!(sent.is_ok(), "workers outlive tasks");
    }
}
