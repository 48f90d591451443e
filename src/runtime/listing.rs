//! Looking at many jobs, a piece at a time: nobody waits long for the queue lock, and nobody
//! holds copies of all jobs at once.
//!
//! Each piece is of one moment; what changes between two pieces may be seen in the later one
//! only. A submission is seen whole by whoever looks up to an id that was given out before.

use super::master::Master;
use super::view::{Answer, JobView};
use crate::store::Archive;
use crate::vocabulary::{Error, JobId};

/// How many jobs are copied while the queue lock is held once.
const LOOK_AT: usize = 256;
/// About how many bytes of jobs are copied while the queue lock is held once.
const PIECE_BYTES: usize = 256 << 10;

impl Master {
    /// The next jobs above that id, by id, as they are now; none where there are no more. Costs
    /// O(what is handed out), which is bounded.
    #[must_use]
    pub fn jobs_after(&self, after: Option<JobId>) -> Answer<Vec<JobView>> {
        let (mut value, mut bytes) = (Vec::new(), 0);
        let shell = self.inner.shell();
        for job in shell.queue.after(after).take(LOOK_AT) {
            if bytes > PIECE_BYTES {
                break;
            }
            bytes += job.bytes();
            value.push(JobView::of(&shell.queue, &job, &self.inner.registry));
        }
        Answer { value, position: shell.position }
    }

    /// The highest id that was given out, archived jobs included; none where none was.
    #[must_use]
    pub fn last_id(&self) -> Option<JobId> {
        let next = self.inner.shell().queue.next_id().get();
        JobId::new(next.saturating_sub(1))
    }

    /// The last of the ids whose jobs are archived in the same files as that one.
    #[must_use]
    pub fn archived_together(&self, id: JobId) -> JobId {
        Archive::together(id)
    }

    /// Calls `each` for the archived jobs from that id up to the last that is
    /// [`archived_together`](Self::archived_together) with it, each once, in any order. Reads
    /// from the archive, and holds one job at a time beside the file it is in.
    ///
    /// What of the archive is damaged is passed over, and logged.
    ///
    /// # Errors
    ///
    /// `Io`, `Corrupt` where a file cannot be read at all; what `each` says.
    pub fn archived_from(
        &self,
        from: JobId,
        each: &mut dyn FnMut(JobView) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.inner.archive.visit(from, &mut |job| {
            let gone = self.inner.shell().queue.was_archived(job.id);
            match gone && job.id >= from {
                true => each(JobView::of_archived(job, &self.inner.registry)),
                false => Ok(()),
            }
        })
    }
}
