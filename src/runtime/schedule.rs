//! Handing out work: as much as there are free workers, in the order in which it is due.

use std::sync::Arc;

use super::inner::Inner;
use super::processor::Found;
use super::shell::Shell;
use super::worker_pool::Task;
use super::workers::{Give, Workers};
use crate::engine::queue::Next;
use crate::vocabulary::{JobId, Timestamp};

/// How many ready jobs are taken up before the queue lock is let go of once.
const AT_ONCE: usize = 16;

impl Inner {
    /// Gives every free worker something to do, if there is something. To be called whenever a
    /// lock or a job has become free. Says whether it gave some worker something.
    pub(super) fn schedule(self: &Arc<Self>) -> bool {
        let tasks = self.hand_out(Workers::hand_out);
        let any = !tasks.is_empty();
        if any {
            self.tasks.add(tasks);
        }
        any
    }

    /// What free workers are to do, if there is something.
    pub(super) fn hand_out(self: &Arc<Self>, hand_out: fn(&Workers, &mut Give<'_>)) -> Vec<Task> {
        self.serve_clients();
        let (mut tasks, mut stopping) = (Vec::new(), None);
        hand_out(&self.workers, &mut |free| {
            let before = tasks.len();
            stopping = Some(self.give(free, &mut tasks));
            tasks.len() - before
        });
        // Who waits for the last opcode to end hears of it when its worker is free, too: the
        // end itself can be on disk, and told, before that.
        if stopping.unwrap_or_else(|| self.look_up(&mut self.shell())) {
            self.watch.notify_all();
        }
        tasks
    }

    /// Sets the alarm where something has come up; whether the master is stopping.
    fn look_up(&self, shell: &mut Shell) -> bool {
        self.set_alarm(shell);
        shell.stopping
    }

    /// Finds something to do for so many workers, in the order in which it is due: jobs whose
    /// locks have become free, and ready ones. Whether the master is stopping.
    fn give(&self, workers: usize, tasks: &mut Vec<Task>) -> bool {
        let most = tasks.len() + workers;
        // How many ready jobs are known to be due before all that wait for locks.
        let mut ready = 0;
        loop {
            let contested = self.somebody_may_go_on();
            let take = if contested { ready } else { AT_ONCE }.min(most - tasks.len());
            let mut shell = self.shell();
            let stopping = self.look_up(&mut shell);
            let ended = self.take_ready(&mut shell, take, tasks);
            let (open, due) = (shell.is_open(), self.due(&shell));
            drop(shell);
            self.release_of_ended(&ended);
            if open && contested {
                self.grant(most, due, tasks);
            }
            if tasks.len() == most || due.is_none() {
                return stopping;
            }
            ready = 1;
        }
    }

    /// Whether somebody waits whose locks may have become free. Whoever makes that so after this
    /// has said no has the work handed out again.
    fn somebody_may_go_on(&self) -> bool {
        self.locks.has_to_try() || self.fenced.has_granted()
    }

    /// When the next ready job is due; nothing where there is none.
    fn due(&self, shell: &Shell) -> Option<Timestamp> {
        let (priority, since) = shell.queue.peek_next().filter(|_| shell.is_open())?;
        Some(self.policy.due(since, priority))
    }

    /// Lets jobs go on that wait for locks which are free now, as long as they are due before
    /// the next ready job, and there are not `most` tasks.
    fn grant(&self, most: usize, before: Option<Timestamp>, tasks: &mut Vec<Task>) {
        if tasks.len() < most {
            tasks.extend(self.fenced.all_granted().take(most - tasks.len()).map(Task::GoOn));
            self.grant_jobs(most, before, tasks);
        }
    }

    /// Takes the next ready jobs up, so many at most. Gives those that have ended instead.
    fn take_ready(&self, shell: &mut Shell, most: usize, tasks: &mut Vec<Task>) -> Vec<JobId> {
        let (mut left, mut ended) = (most, Vec::new());
        while left > 0 && shell.is_open() {
            match shell.queue.take_next(self.now()) {
                Some(Next::Take(id)) => {
                    left -= 1;
                    tasks.push(Task::TakeUp(id, Found::in_queue(shell, id)));
                }
                Some(Next::Ended(id, records)) => {
                    self.append(shell, records);
                    ended.push(id);
                }
                None => break,
            }
        }
        ended
    }

    /// Releases what jobs had kept that have ended without being taken up, and has whoever hands
    /// out work look again.
    fn release_of_ended(&self, ended: &[JobId]) {
        if !ended.is_empty() {
            ended.iter().for_each(|id| self.release_if_ended(*id));
            self.workers.hand_out(&mut |_| 0);
        }
    }
}
