//! Jobs: opcodes in sequence, and what has become of them.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Error, OpError};
use super::feedback::FeedbackLog;
use super::opcode::{CrashPolicy, OpCode, OpId, Params, Reason};
use super::priority::Priority;
use super::status::Status;
use super::terms::{Deadline, JobTerms, OpTerms, TermsOfOps, Tries};
use super::time::Timestamp;

/// The number of a job, from 1; never given twice within one state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(NonZeroU64);

impl JobId {
    /// The first job of a new state directory.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The id of that number; none for 0.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The id `by` places further on.
    #[must_use]
    pub fn plus(self, by: u64) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse().ok().and_then(Self::new).ok_or_else(|| {
            Error::invalid(format!("{text:?} is not the id of a job"))
                .hint("a job id is a whole number from 1")
        })
    }
}

/// A job as its submitter describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewJob {
    /// A name for people; need not be unique.
    pub label: Option<String>,
    /// The opcodes, carried out one after the other.
    pub ops: Vec<OpCode>,
    /// Until when, and under which locks. Kept in records of their own.
    #[serde(skip)]
    pub terms: JobTerms,
}

impl NewJob {
    /// A job of those opcodes without a label.
    #[must_use]
    pub fn of(ops: impl IntoIterator<Item = OpCode>) -> Self {
        Self { ops: ops.into_iter().collect(), ..Self::default() }
    }

    /// The same job with a name for people.
    #[must_use]
    pub fn labelled(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The same job, on terms of its own.
    #[must_use]
    pub fn on_terms(mut self, terms: JobTerms) -> Self {
        self.terms = terms;
        self
    }
}

/// How an opcode ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done; the result is JSON.
    Success(Box<str>),
    /// Failed.
    Error(OpError),
    /// Cancelled.
    Canceled,
}

impl Outcome {
    /// The final status that goes with it.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::Success(_) => Status::Success,
            Self::Error(_) => Status::Error,
            Self::Canceled => Status::Canceled,
        }
    }
}

/// How far an opcode has come, as far as the disk knows.
///
/// Waiting for locks is not here: locks die with the process, so whoever waited is queued again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpState {
    /// Not executing yet.
    #[default]
    Pending,
    /// Executing.
    Running,
    /// Ended. Never changes again.
    Finished(Outcome),
}

/// Whether what an opcode did is to be taken back, and how far that has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UndoState {
    /// The logical unit declares no undo, or the opcode never started.
    #[default]
    None,
    /// It could be undone, should the job fail.
    Possible,
    /// To be undone: the job has failed or was cancelled.
    Wanted,
    /// Undone.
    Done,
    /// The undo was tried and failed.
    Failed(OpError),
}

/// What the numbers of an opcode take in the log, roughly.
const OP_BYTES: usize = 48;

/// One opcode of a job and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOp {
    /// What was asked for.
    pub opcode: OpCode,
    /// How urgent it is now.
    pub priority: Priority,
    /// How far it has come.
    pub state: OpState,
    /// Whether it is to be undone.
    pub undo: UndoState,
    /// What a crash while it runs means.
    pub on_crash: CrashPolicy,
    /// When it was first taken up (before locks).
    pub start_time: Option<Timestamp>,
    /// When it held all its locks and began to execute.
    pub exec_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// A number that grows with every start of any opcode or undo: what it writes elsewhere can
    /// carry it, and the receiver can refuse anything older. Of an opcode that is being undone, or
    /// was, that of its undo.
    pub fencing_token: Option<u64>,
    /// How it has fared so far, where it has not ended. Kept in records of their own.
    #[serde(skip)]
    pub tries: Tries,
}

impl JobOp {
    /// An opcode not started yet.
    #[must_use]
    pub fn new(opcode: OpCode) -> Self {
        Self {
            priority: opcode.priority,
            opcode,
            state: OpState::Pending,
            undo: UndoState::None,
            on_crash: CrashPolicy::Fail,
            start_time: None,
            exec_time: None,
            end_time: None,
            fencing_token: None,
            tries: Tries::default(),
        }
    }

    /// About how many bytes it takes, and not less than its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts =
            |error: &OpError| error.message.len() + error.code.as_ref().map_or(0, String::len);
        let outcome = match self.outcome() {
            Some(Outcome::Success(result)) => result.len(),
            Some(Outcome::Error(error)) => texts(error),
            Some(Outcome::Canceled) | None => 0,
        };
        let undo = if let UndoState::Failed(error) = &self.undo { texts(error) } else { 0 };
        let lacking = self.tries.lacking.as_ref().map_or(0, texts);
        OP_BYTES + self.opcode.bytes() + outcome + undo + lacking
    }

    /// What [`bytes`](Self::bytes) says of an opcode with nothing to it but that.
    pub(crate) fn plain_bytes(id: &OpId, params: &Params) -> usize {
        OP_BYTES + OpCode::plain_bytes(id, params)
    }

    /// How it ended, if it has.
    #[must_use]
    pub const fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            OpState::Finished(outcome) => Some(outcome),
            OpState::Pending | OpState::Running => None,
        }
    }
}

/// A job in the queue: what was submitted and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// A name for people.
    pub label: Option<String>,
    /// When it was submitted.
    pub received: Timestamp,
    /// The opcodes, in order.
    pub ops: Vec<JobOp>,
    /// What the opcodes said.
    pub feedback: FeedbackLog,
    /// When somebody asked to cancel it.
    pub cancel_requested: Option<Timestamp>,
    /// Where it came from: jobs of one submission share it.
    pub origin: Option<String>,
    /// On what terms it is carried out. Kept in records of their own.
    #[serde(skip)]
    pub terms: JobTerms,
}

impl Job {
    /// What the numbers of a job take in the log, roughly.
    pub(crate) const BYTES: usize = 32;

    /// A job of those opcodes that was submitted, without a name, and of which nothing has become
    /// yet.
    #[must_use]
    pub fn submitted(id: JobId, received: Timestamp, ops: Vec<JobOp>) -> Self {
        Self {
            id,
            label: None,
            received,
            ops,
            feedback: FeedbackLog::default(),
            cancel_requested: None,
            origin: None,
            terms: JobTerms::default(),
        }
    }

    /// The status, computed from the opcodes: the first failed or cancelled one decides, else
    /// the last that runs; all done is success; the rest is queued.
    ///
    /// While opcodes are still to be undone the job counts as running (or canceling). The
    /// status `waiting` is known to the live queue only.
    #[must_use]
    pub fn status(&self) -> Status {
        let ended = self.ops.iter().filter_map(JobOp::outcome).map(Outcome::status);
        let failed = ended.into_iter().find(|status| *status != Status::Success);
        if self.to_undo().is_some() || (failed.is_some() && self.has_undo(&UndoState::Possible)) {
            return self.unless_canceling(Status::Running);
        }
        if let Some(status) = failed {
            return status;
        }
        if self.ops.iter().any(|op| op.state == OpState::Running) {
            return self.unless_canceling(Status::Running);
        }
        match self.ops.iter().any(|op| op.state == OpState::Pending) {
            true => self.unless_canceling(Status::Queued),
            false => Status::Success,
        }
    }

    fn unless_canceling(&self, status: Status) -> Status {
        if self.cancel_requested.is_some() { Status::Canceling } else { status }
    }

    /// The priority: that of the most urgent opcode not finished yet; normal where all are.
    #[must_use]
    pub fn priority(&self) -> Priority {
        let open = self.ops.iter().filter(|op| op.outcome().is_none());
        open.map(|op| op.priority).min().unwrap_or_default()
    }

    /// The first opcode that has not ended.
    #[must_use]
    pub fn current(&self) -> Option<usize> {
        self.ops.iter().position(|op| op.outcome().is_none())
    }

    fn has_undo(&self, state: &UndoState) -> bool {
        self.ops.iter().any(|op| op.undo == *state)
    }

    /// The opcode to undo next: the last of those that are to be undone.
    #[must_use]
    pub fn to_undo(&self) -> Option<usize> {
        self.ops.iter().rposition(|op| op.undo == UndoState::Wanted)
    }

    /// When its first opcode was taken up.
    #[must_use]
    pub fn start_time(&self) -> Option<Timestamp> {
        self.ops.iter().filter_map(|op| op.start_time).min()
    }

    /// When it ended, if it has.
    #[must_use]
    pub fn end_time(&self) -> Option<Timestamp> {
        let ended = self.status().is_final();
        self.ops.iter().filter_map(|op| op.end_time).max().filter(|_| ended)
    }

    /// About how many bytes it takes in the log, and not less than its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts = [&self.label, &self.origin].map(|text| text.as_ref().map_or(0, String::len));
        let ops: usize = self.ops.iter().map(JobOp::bytes).sum();
        Self::BYTES + texts.iter().sum::<usize>() + self.feedback.bytes() + ops
    }

    /// The job as it is, but for its opcodes.
    pub(super) fn without_ops(&self) -> Self {
        Self {
            id: self.id,
            label: self.label.clone(),
            received: self.received,
            ops: Vec::new(),
            feedback: self.feedback.clone(),
            cancel_requested: self.cancel_requested,
            origin: self.origin.clone(),
            terms: self.terms.clone(),
        }
    }

    /// Where in the queue an opcode ended up, as the last step of its reason trail. As in
    /// Ganeti, clients see it and filter rules find it; it is not stored.
    #[must_use]
    pub fn place_as_reason(&self, index: usize) -> Reason {
        let id = self.ops[index].opcode.id.as_str().trim_start_matches("OP_").to_lowercase();
        Reason {
            source: format!("gnt:opcode:{id}"),
            text: format!("job={};index={index}", self.id),
            time_ns: self.received.as_nanos(),
        }
    }

    /// Whether one of its opcodes has begun to execute, or has ended.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.ops.iter().any(|op| op.exec_time.is_some() || op.outcome().is_some())
    }

    /// What is to be kept of it beside itself: the terms of the job and of those opcodes that
    /// have any, and how these have fared. Nothing where all is as it is by itself.
    #[must_use]
    pub fn terms(&self) -> Option<(JobTerms, TermsOfOps)> {
        let plain =
            |op: &JobOp| (&op.opcode.terms, &op.tries) == (&OpTerms::default(), &Tries::default());
        let all = (0u32..).zip(&self.ops).filter(|(_, op)| !plain(op));
        let of_ops: TermsOfOps =
            all.map(|(index, op)| (index, op.opcode.terms.clone(), op.tries.clone())).collect();
        let any = self.terms != JobTerms::default() || !of_ops.is_empty();
        any.then(|| (self.terms.clone(), of_ops))
    }

    /// Takes in what [`terms`](Self::terms) gave. Whether it has all these opcodes.
    pub fn set_terms(&mut self, of_job: &JobTerms, of_ops: &[(u32, OpTerms, Tries)]) -> bool {
        self.terms = of_job.clone();
        of_ops.iter().all(|(index, terms, tries)| {
            let Some(op) = self.ops.get_mut(*index as usize) else { return false };
            (op.opcode.terms, op.tries) = (terms.clone(), tries.clone());
            true
        })
    }

    /// When the job, or the opcode to be carried out next, has to have ended. Nothing where it
    /// has ended, or where it is being undone: an undo takes the time it takes.
    #[must_use]
    pub fn deadline(&self) -> Option<(Timestamp, Deadline)> {
        let op = self.current().filter(|_| self.to_undo().is_none())?;
        let of_job =
            self.terms.within.map(|within| (self.received, Deadline::OfJob(within), within));
        let within = self.ops[op].opcode.terms.within;
        let turn = op.checked_sub(1).and_then(|before| self.ops[before].end_time);
        let turn = turn.unwrap_or(self.received);
        let of_op = within.map(|within| (turn, Deadline::OfOpcode(within), within));
        let both = of_job.into_iter().chain(of_op);
        both.map(|(from, which, within)| (from.plus(within), which)).min_by_key(|(when, _)| *when)
    }

    /// When its next opcode is tried again, where that lacks something for a while.
    #[must_use]
    pub fn not_before(&self) -> Option<Timestamp> {
        let op = self.current().filter(|_| self.to_undo().is_none())?;
        self.ops[op].tries.not_before.filter(|_| self.cancel_requested.is_none())
    }

    /// What went wrong while opcodes were undone: which of them, and how. The error that made the
    /// job fail is that of its first failed opcode.
    pub fn undo_errors(&self) -> impl Iterator<Item = (usize, &OpError)> {
        self.ops.iter().enumerate().filter_map(|(index, op)| match &op.undo {
            UndoState::Failed(error) => Some((index, error)),
            _ => None,
        })
    }

    /// The name for people: the label, or the id.
    #[must_use]
    pub fn name(&self) -> String {
        self.label.clone().unwrap_or_else(|| self.id.to_string())
    }
}
