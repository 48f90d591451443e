//! Cancelling a job, in whatever state it is.

use super::{Queue, Refusal};
use crate::vocabulary::{JobId, OpState, Record, Timestamp};

/// How far a job was when it was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It had not been taken up; it is cancelled (or its undos are due).
    Queued,
    /// It is taken up and waits for locks, or is about to start: it will not.
    Waiting,
    /// An opcode executes, or is being undone: it has to be told.
    Running,
}

impl Queue {
    /// Cancels a job: at once where nothing of it runs, else as soon as its opcode ends.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchJob`], [`Refusal::AlreadyFinal`].
    pub fn cancel(
        &mut self,
        id: JobId,
        now: Timestamp,
    ) -> Result<(Cancelled, Vec<Record>), Refusal> {
        let job = self.unfinished_job(id)?;
        let how = match job.ops.iter().any(|op| op.state == OpState::Running) {
            _ if job.to_undo().is_some() => Cancelled::Running,
            true => Cancelled::Running,
            false if self.ready.is_taken(id) => Cancelled::Waiting,
            false => Cancelled::Queued,
        };
        let mut records = Vec::new();
        if job.cancel_requested.is_none() {
            self.record(&mut records, Record::CancelRequested { job: id, time: now });
        }
        if how != Cancelled::Running {
            self.unwind(id, None, now, &mut records);
        }
        Ok((how, records))
    }
}
