//! The one thread that waits for times: deadlines that pass, opcodes that are tried again, locks
//! that are waited for long.
//!
//! It makes events of times, and decides nothing: the queue knows what is due when. It sleeps
//! until the next of these moments, or until somebody says that an earlier one has come up.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::cancel::{CancelCause, CancelToken};
use super::inner::Inner;
use super::shell::Shell;
use super::worker_pool::named;
use crate::vocabulary::{Error, JobId, Record, Timestamp};

/// How many jobs are seen to while the queue lock is held once.
const AT_ONCE: usize = 256;

/// What the thread is told.
enum Ring {
    /// A moment has come up that is earlier than the one it waits for.
    Earlier,
    /// End.
    End,
}

/// How the thread is told something.
pub(super) struct Alarm {
    bell: Sender<Ring>,
    heard: Receiver<Ring>,
}

impl Default for Alarm {
    fn default() -> Self {
        let (bell, heard) = unbounded();
        Self { bell, heard }
    }
}

impl Alarm {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// `Io` where the system has no thread left.
    pub(super) fn start(inner: &Arc<Inner>) -> Result<JoinHandle<()>, Error> {
        let (inner, heard) = (Arc::clone(inner), inner.alarm.heard.clone());
        named("alarm", move || run(&inner, &heard))
    }

    /// Has the thread look again what is next.
    pub(super) fn look_again(&self) {
        // The receiver lives as long as this.
        _ = self.bell.send(Ring::Earlier);
    }

    /// Ends the thread.
    pub(super) fn end(&self) {
        // The receiver lives as long as this.
        _ = self.bell.send(Ring::End);
    }
}

fn run(inner: &Arc<Inner>, heard: &Receiver<Ring>) {
    loop {
        let next = inner.pass_time();
        let rung = match next {
            // Times are in microseconds: waking up within the last one would be for nothing.
            Some(next) => heard.recv_timeout(next.since(inner.now()) + Duration::from_micros(1)),
            None => heard.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match rung {
            Ok(Ring::Earlier) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Ring::End) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Inner {
    /// Does what is due by now; gives when the next is.
    pub(super) fn pass_time(self: &Arc<Self>) -> Option<Timestamp> {
        let in_queue = self.pass_time_in_queue();
        [in_queue, self.warn_of_slow_locks()].into_iter().flatten().min()
    }

    fn pass_time_in_queue(self: &Arc<Self>) -> Option<Timestamp> {
        loop {
            let mut shell = self.shell();
            if shell.closed {
                return None;
            }
            let passed = shell.queue.pass_time(self.now(), AT_ONCE);
            let ended: Vec<JobId> = passed.records.iter().filter_map(Record::job).collect();
            self.append(&mut shell, passed.records);
            let token = |id: JobId| Some((id, shell.active.get(&id).cloned()?));
            let over: Vec<(JobId, CancelToken)> =
                passed.over.into_iter().filter_map(token).collect();
            let next = shell.queue.next_time();
            shell.alarm = next;
            drop(shell);
            for (id, token) in over {
                self.stop_waiting(id);
                token.set(CancelCause::Deadline);
            }
            ended.into_iter().for_each(|id| self.release_if_ended(id));
            self.schedule();
            if !passed.more {
                return next;
            }
        }
    }

    /// Has the thread look again, where something is due before what it waits for.
    pub(super) fn set_alarm(&self, shell: &mut Shell) {
        let next = shell.queue.next_time();
        if next.is_some_and(|next| shell.alarm.is_none_or(|alarm| next < alarm)) {
            shell.alarm = next;
            self.alarm.look_again();
        }
    }

    /// Releases the locks that a job has kept which has ended while nobody had it in hands.
    pub(super) fn release_if_ended(&self, id: JobId) {
        let shell = self.shell();
        let ended = shell.queue.get(id).is_none_or(|job| job.status().is_final());
        // Whoever has it in hands releases them itself.
        let free = !shell.active.contains_key(&id);
        drop(shell);
        if ended && free {
            self.release_of_job(id);
        }
    }
}
