//! The words everything else is written in: locks, opcodes, jobs, records, errors.
//!
//! Values only: they are parsed, checked, printed and compared. Nothing here reads a clock,
//! opens a file or starts a thread, and nothing here knows the layers above.

#[cfg(test)]
pub(crate) mod corpus;
mod error;
mod feedback;
mod filter;
mod hierarchy;
mod job;
mod lock;
mod opcode;
mod priority;
mod record;
mod status;
mod submission_key;
mod terms;
mod time;
mod transition;

pub use error::{Error, ErrorKind, OpError, OpErrorKind};
pub use feedback::{FeedbackEntry, FeedbackKind, FeedbackLog};
pub use filter::{Candidate, FilterAction, FilterId, FilterRule, NewFilter, Predicates, RateLimit};
pub use hierarchy::{BIG_LOCK, Hierarchy, HierarchyBuilder, Level, LevelId, Scope};
pub use job::{Job, JobId, JobOp, NewJob, OpState, Outcome, UndoState};
pub use lock::{LevelLocks, LockMode, LockName, LockNameError, LockRequest, LockRequestError};
pub use opcode::{CrashPolicy, Dependency, JobRef, OpCode, OpId, Params, Reason};
pub use priority::Priority;
pub use record::{CloseCause, Record};
pub use status::Status;
pub use submission_key::SubmissionKey;
pub use terms::{Deadline, JobTerms, OpTerms, Retries, TermsOfOps, Tries};
pub use time::Timestamp;
pub use transition::{Subject, Transition};
