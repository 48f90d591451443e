//! Looking at many jobs, a piece at a time: nobody waits long for the queue lock, and nobody
//! holds copies of all jobs at once.
//!
//! Each piece is of one moment; what changes between two pieces may be seen in the later one
//! only. A submission is seen whole by whoever looks up to an id that was given out before.

use super::master::Master;
use super::view::{Answer, JobView};
use crate::store::Archive;
use crate::vocabulary::{Error, JobId, Status};

/// How many jobs are copied while the queue lock is held once.
const LOOK_AT: usize = 256;
/// How many jobs are looked at while the queue lock is held once, to see which are wanted.
const PASS_OVER: usize = 2048;
/// About how many bytes of jobs are copied while the queue lock is held once.
const PIECE_BYTES: usize = 256 << 10;

/// Jobs, and how far was looked for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PieceOfList {
    /// Those that are wanted, by id.
    pub jobs: Vec<JobView>,
    /// The last job that was looked at; none where there are no more.
    pub end: Option<JobId>,
}

impl Master {
    /// The next jobs above that id, by id, as they are now; none where there are no more. Costs
    /// O(what is handed out), which is bounded.
    #[must_use]
    pub fn jobs_after(&self, after: Option<JobId>) -> Answer<Vec<JobView>> {
        let Answer { value, position } = self.jobs_of_status_after(after, &Status::ALL);
        Answer { value: value.jobs, position }
    }

    /// Of the next jobs above that id, those with one of these statuses. Others are passed over
    /// without a copy: as many jobs as are looked at, which is bounded, cost about what few copies
    /// do.
    #[must_use]
    pub fn jobs_of_status_after(
        &self,
        after: Option<JobId>,
        statuses: &[Status],
    ) -> Answer<PieceOfList> {
        let mut piece = PieceOfList { jobs: Vec::new(), end: None };
        let mut bytes = 0;
        let shell = self.inner.shell();
        for job in shell.queue.after(after).take(PASS_OVER) {
            if bytes > PIECE_BYTES || piece.jobs.len() == LOOK_AT {
                break;
            }
            piece.end = Some(job.id);
            if statuses.contains(&shell.queue.status(&job)) {
                bytes += job.bytes();
                piece.jobs.push(JobView::of(&shell.queue, &job, &self.inner.registry));
            }
        }
        Answer { value: piece, position: shell.position }
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
