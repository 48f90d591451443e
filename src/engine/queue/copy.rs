//! A copy of the whole queue as records, made piece by piece while the queue goes on; and a
//! queue made from such a copy.
//!
//! A copy begins with where the numbering stands, has every job that was there then and still is
//! when its turn comes, by id, and ends with what else is known. A queue whose first record
//! begins a copy does not know the jobs whose turn is yet to come: what is said of them is
//! passed over, because it is in the copy that follows. For a queue that knows all jobs, a copy
//! says nothing new. The keys of submissions come after the jobs: so it is known by then which
//! of their jobs are still there.

use super::Queue;
use super::apply::misfit;
use crate::vocabulary::{Error, ErrorKind, Job, JobId, JobOp, Record};

/// How far a queue has come that is made from a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copying {
    /// The last job copied.
    after: Option<JobId>,
    /// Jobs with an id from here on came after the copy began.
    below: JobId,
}

/// Where a copy goes on that is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyPlace {
    /// With the job after that one.
    Jobs(Option<JobId>),
    /// With the key of the submission after that one, told by its first job.
    Keys(Option<JobId>),
}

impl CopyPlace {
    /// Where every copy begins.
    pub const START: Self = Self::Jobs(None);
}

/// A part of a copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// What is copied: each job and key in one transaction, or a job in several.
    pub transactions: Vec<Vec<Record>>,
    /// Where to go on; none where nothing was left.
    pub next: Option<CopyPlace>,
}

impl Queue {
    /// What begins a copy, and the id from which on jobs need no copy.
    #[must_use]
    pub fn begin_copy(&self) -> (Record, JobId) {
        let (next_id, last_token, drained) = (self.next_id, self.last_token, self.drained);
        (Record::CopyBegun { next_id, last_token, drained }, next_id)
    }

    /// What comes next in a copy: at most `most` jobs or keys, and about `bytes` of jobs, but at
    /// least one. The keys come after all jobs.
    #[must_use]
    pub fn copy_some(&self, place: CopyPlace, below: JobId, most: usize, bytes: usize) -> Piece {
        match place {
            CopyPlace::Jobs(after) => {
                let piece = self.copy_jobs(after, below, most, bytes);
                match piece.next {
                    None => self.copy_keys(None, below, most),
                    Some(_) => piece,
                }
            }
            CopyPlace::Keys(after) => self.copy_keys(after, below, most),
        }
    }

    fn copy_jobs(&self, after: Option<JobId>, below: JobId, most: usize, bytes: usize) -> Piece {
        let (mut piece, mut taken) = (Piece::default(), 0);
        let due = self.after(after).take_while(|job| job.id < below);
        for job in due.take(most) {
            piece.next = Some(CopyPlace::Jobs(Some(job.id)));
            piece.transactions.extend(Record::copies_of(&job, Record::PIECE_BYTES));
            taken += job.bytes();
            if taken > bytes {
                break;
            }
        }
        piece
    }

    fn copy_keys(&self, after: Option<JobId>, below: JobId, most: usize) -> Piece {
        let mut piece = Piece::default();
        for (first, key, jobs) in self.keys.after(after, below).take(most) {
            piece.next = Some(CopyPlace::Keys(Some(first)));
            piece.transactions.push(vec![Record::Keyed { key: key.clone(), first, jobs }]);
        }
        piece
    }

    /// What ends a copy: the filter rules, and what else is known.
    #[must_use]
    pub fn end_copy(&self) -> Vec<Record> {
        let ended = self.ended.iter().map(|(id, status)| (*id, *status)).collect();
        self.copies_of_filters().chain([Record::CopyDone { ended }]).collect()
    }

    /// About how many bytes a copy takes. O(opcodes of the queue).
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.jobs.bytes()
    }

    /// To be called after replay: whether all is there.
    ///
    /// # Errors
    ///
    /// `Corrupt` where the records began with a copy that was never done.
    pub fn replayed(&self) -> Result<(), Error> {
        if self.copying.is_none() {
            return Ok(());
        }
        let message = "the log begins with a copy of the queue that is not whole";
        Err(Error::new(ErrorKind::Corrupt, message)
            .hint("earlier segments are missing: put them back"))
    }

    /// Whether nothing is known of a job because its turn in the copy is yet to come.
    pub(super) fn is_yet_to_be_copied(&self, id: JobId) -> bool {
        let Some(Copying { after, below }) = self.copying else { return false };
        id < below && after.is_none_or(|after| id > after)
    }

    pub(super) fn apply_copy(&mut self, record: &Record) -> Result<(), Error> {
        match record {
            Record::CopyBegun { next_id, last_token, drained } => {
                self.begun((*next_id, *last_token), *drained, record)
            }
            Record::Copied { job, .. } => self.copied(job, record),
            Record::CopiedOps { job, ops } => self.copied_ops(*job, ops, record),
            Record::CopyDone { ended } => {
                self.ended = ended.iter().copied().collect();
                self.copying = None;
                // Jobs may have been put somewhere before all rules were known.
                self.filters.forget_jobs(&mut self.ready.order);
                let ids: Vec<JobId> = self.jobs.keys().collect();
                let others = ids.into_iter().filter(|id| !self.place_plain(*id));
                others.collect::<Vec<_>>().into_iter().for_each(|id| self.place(id));
                self.jobs.forget_looks();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A queue that knows nothing, or only part of an earlier copy, begins anew.
    fn begun(
        &mut self,
        numbering: (JobId, u64),
        drained: bool,
        record: &Record,
    ) -> Result<(), Error> {
        let blank = self.next_id == JobId::FIRST;
        if blank || self.copying.is_some() {
            let (next_id, last_token) = numbering;
            let begins = Copying { after: None, below: next_id };
            let copying = (next_id > JobId::FIRST).then_some(begins);
            let keys = self.keys.emptied();
            let empty = Self::new(self.feedback_bytes);
            // Rules that are known are true, also where the copy is never done.
            let mut filters = std::mem::take(&mut self.filters);
            filters.forget_jobs(&mut self.ready.order);
            *self = Self { next_id, last_token, drained, copying, keys, filters, ..empty };
            return Ok(());
        }
        match (numbering, drained) == ((self.next_id, self.last_token), self.drained) {
            true => Ok(()),
            false => Err(misfit(record, "the queue stands elsewhere")),
        }
    }

    fn copied(&mut self, job: &Job, record: &Record) -> Result<(), Error> {
        if self.is_yet_to_be_copied(job.id) {
            self.jobs.insert(job.clone());
            self.count_in(job.id);
            if let Some(copying) = &mut self.copying {
                copying.after = Some(job.id);
            }
            return Ok(());
        }
        match self.copying {
            None => self.known(job.id, record).map(|_| ()),
            Some(_) => Err(misfit(record, "it is not this job's turn")),
        }
    }

    fn copied_ops(&mut self, id: JobId, ops: &[JobOp], record: &Record) -> Result<(), Error> {
        let last = self.known(id, record)?;
        let Some(copying) = self.copying else { return Ok(()) };
        if copying.after != Some(id) {
            return Err(misfit(record, "it is not this job's turn"));
        }
        if !last.status().is_final() {
            self.count_out(id);
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.ops.extend_from_slice(ops);
        }
        self.count_in(id);
        Ok(())
    }
}
