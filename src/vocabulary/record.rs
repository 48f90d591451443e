//! What has happened: the facts that the log keeps and the queue is rebuilt from.

use serde::{Deserialize, Serialize};

use super::error::OpError;
use super::feedback::FeedbackEntry;
use super::filter::{FilterId, FilterRule};
use super::job::{Job, JobId, JobOp, NewJob, Outcome};
use super::opcode::CrashPolicy;
use super::priority::Priority;
use super::status::Status;
use super::submission_key::SubmissionKey;
use super::terms::{JobTerms, TermsOfOps};
use super::time::Timestamp;

/// Why the opcodes that never ran are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseCause {
    /// A preceding opcode failed.
    Failed,
    /// The job was cancelled.
    Canceled,
}

/// One fact about the queue.
///
/// Stored with bincode, which writes the variant's place and its fields in order: variants may
/// only be added **at the end**, and a changed field is a new format version (`design/log.md`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// Jobs were submitted together; their ids are contiguous from `first`.
    Submitted {
        /// When.
        time: Timestamp,
        /// The id of the first.
        first: JobId,
        /// The jobs, dependencies resolved to ids.
        jobs: Vec<NewJob>,
        /// Where they come from.
        origin: Option<String>,
    },
    /// An opcode holds its locks and begins to execute.
    Started {
        /// Which job.
        job: JobId,
        /// Which of its opcodes, from 0.
        op: u32,
        /// When it was taken up, before it waited for locks.
        taken: Timestamp,
        /// When it began to execute.
        time: Timestamp,
        /// Its fencing token.
        token: u64,
        /// Whether its unit declares an undo.
        undo: bool,
        /// What a crash means for it.
        on_crash: CrashPolicy,
    },
    /// Opcodes of a job said something.
    Feedback {
        /// Which job.
        job: JobId,
        /// The lines, in order.
        entries: Vec<FeedbackEntry>,
    },
    /// An opcode ended (also: could not start).
    Finished {
        /// Which job.
        job: JobId,
        /// Which of its opcodes.
        op: u32,
        /// When.
        time: Timestamp,
        /// How.
        outcome: Outcome,
    },
    /// The job has failed or was cancelled: what `Possible` undos there are, are wanted.
    UndoWanted {
        /// Which job.
        job: JobId,
        /// Opcodes whose undo is not wanted after all, because nobody knows what they did.
        except: Option<u32>,
    },
    /// The undo of an opcode was carried out, or tried in vain.
    Undone {
        /// Which job.
        job: JobId,
        /// Which of its opcodes.
        op: u32,
        /// When.
        time: Timestamp,
        /// What went wrong, if something did.
        error: Option<OpError>,
    },
    /// The opcodes that never ran are ended; the job is final.
    Closed {
        /// Which job.
        job: JobId,
        /// When.
        time: Timestamp,
        /// Why.
        cause: CloseCause,
    },
    /// Somebody asked to cancel the job.
    CancelRequested {
        /// Which job.
        job: JobId,
        /// When.
        time: Timestamp,
    },
    /// An opcode that was running when the master died is to run again.
    Requeued {
        /// Which job.
        job: JobId,
        /// Which of its opcodes.
        op: u32,
    },
    /// The opcodes of the job that have not started have a new priority.
    PriorityChanged {
        /// Which job.
        job: JobId,
        /// The new priority.
        priority: Priority,
    },
    /// Whether new jobs are refused.
    DrainSet {
        /// When.
        time: Timestamp,
        /// Whether they are.
        drained: bool,
    },
    /// A final job has left the queue; the archive has it.
    Archived {
        /// Which job.
        job: JobId,
        /// How it ended.
        status: Status,
    },
    /// How archived jobs ended that the jobs submitted next depend on.
    Recalled {
        /// The jobs and their final statuses.
        ended: Vec<(JobId, Status)>,
    },
    /// A copy of the whole queue begins: once it is done, what stands before this is not needed.
    CopyBegun {
        /// The id the next job gets.
        next_id: JobId,
        /// The last fencing token given.
        last_token: u64,
        /// Whether new jobs are refused.
        drained: bool,
    },
    /// A job as it is, or its first opcodes where it is long. In a copy, jobs come by id.
    Copied {
        /// The job.
        job: Box<Job>,
        /// How many more opcodes it has.
        more: u32,
    },
    /// Further opcodes of the job copied last.
    CopiedOps {
        /// Which job.
        job: JobId,
        /// Its next opcodes.
        ops: Vec<JobOp>,
    },
    /// The copy is whole.
    CopyDone {
        /// How archived jobs ended that others in the queue depend on.
        ended: Vec<(JobId, Status)>,
    },
    /// On what terms a job is carried out, where they are not the usual ones: behind its
    /// submission, and behind each copy of it.
    Terms {
        /// Which job.
        job: JobId,
        /// Its own terms.
        terms: JobTerms,
        /// Those of its opcodes that have any, or were tried in vain.
        ops: TermsOfOps,
    },
    /// An opcode that had started did nothing yet, because what was computed before its locks no
    /// longer held: it is pending again.
    Returned {
        /// Which job.
        job: JobId,
        /// Which of its opcodes.
        op: u32,
    },
    /// An opcode lacks something for a while, and did nothing: it is pending again, for later.
    Postponed {
        /// Which job.
        job: JobId,
        /// Which of its opcodes.
        op: u32,
        /// When.
        time: Timestamp,
        /// When it is tried again.
        until: Timestamp,
        /// What it lacks.
        lacking: OpError,
    },
    /// Under which key jobs were submitted: along with them, and in a copy.
    Keyed {
        /// The key.
        key: SubmissionKey,
        /// The first of the jobs.
        first: JobId,
        /// How many there are.
        jobs: u32,
    },
    /// A filter rule is in force, in place of the one of the same id if there is one. Also part
    /// of a copy, before its end.
    FilterSet {
        /// The rule.
        rule: Box<FilterRule>,
    },
    /// A filter rule is no longer there.
    FilterDeleted {
        /// Which.
        id: FilterId,
        /// When.
        time: Timestamp,
    },
    /// The undo of an opcode holds its locks and begins.
    UndoStarted {
        /// Which job.
        job: JobId,
        /// Which of its opcodes.
        op: u32,
        /// When.
        time: Timestamp,
        /// Its fencing token: greater than any given before, that of the opcode's start included.
        token: u64,
    },
}

impl Record {
    /// The fencing token that it gives, where it gives one.
    #[must_use]
    pub const fn token(&self) -> Option<u64> {
        match self {
            Self::Started { token, .. } | Self::UndoStarted { token, .. } => Some(*token),
            _ => None,
        }
    }

    /// The job it is about: of a submission, the first. None where it is about the queue.
    #[must_use]
    pub const fn job(&self) -> Option<JobId> {
        match self {
            Self::Submitted { first, .. } => Some(*first),
            Self::Copied { job, .. } => Some(job.id),
            Self::Started { job, .. }
            | Self::Feedback { job, .. }
            | Self::Finished { job, .. }
            | Self::UndoWanted { job, .. }
            | Self::Undone { job, .. }
            | Self::Closed { job, .. }
            | Self::CancelRequested { job, .. }
            | Self::Requeued { job, .. }
            | Self::PriorityChanged { job, .. }
            | Self::Archived { job, .. }
            | Self::CopiedOps { job, .. }
            | Self::Terms { job, .. }
            | Self::Returned { job, .. }
            | Self::UndoStarted { job, .. }
            | Self::Postponed { job, .. } => Some(*job),
            Self::DrainSet { .. }
            | Self::Recalled { .. }
            | Self::CopyBegun { .. }
            | Self::CopyDone { .. }
            | Self::Keyed { .. }
            | Self::FilterSet { .. }
            | Self::FilterDeleted { .. } => None,
        }
    }

    /// A job of more bytes than this is kept in several records.
    pub const PIECE_BYTES: usize = 16 << 20;

    /// A whole job as transactions: one, or several where it takes more than `bytes` or so. The
    /// last has its terms too, where they are to be kept. What one
    /// opcode takes is not divided.
    #[must_use]
    pub fn copies_of(job: &Job, bytes: usize) -> Vec<Vec<Self>> {
        let head = job.without_ops();
        let mut room = bytes.saturating_sub(head.bytes());
        let mut chunks: Vec<Vec<JobOp>> = vec![Vec::new()];
        for op in &job.ops {
            if op.bytes() > room && chunks.last().is_some_and(|chunk| !chunk.is_empty()) {
                chunks.push(Vec::new());
                room = bytes;
            }
            room = room.saturating_sub(op.bytes());
            if let Some(chunk) = chunks.last_mut() {
                chunk.push(op.clone());
            }
        }
        let mut chunks = chunks.into_iter();
        let first = Job { ops: chunks.next().unwrap_or_default(), ..head };
        let more = u32::try_from(job.ops.len() - first.ops.len()).unwrap_or(u32::MAX);
        let copied = Self::Copied { job: Box::new(first), more };
        let rest = chunks.map(|ops| Self::CopiedOps { job: job.id, ops });
        let mut copies: Vec<_> =
            [copied].into_iter().chain(rest).map(|record| vec![record]).collect();
        copies.last_mut().into_iter().for_each(|last| last.extend(Self::terms_of(job)));
        copies
    }

    /// On what terms a job is carried out and how it has fared, where that is to be kept.
    #[must_use]
    pub fn terms_of(job: &Job) -> Option<Self> {
        let (terms, ops) = job.terms()?;
        Some(Self::Terms { job: job.id, terms, ops })
    }
}
