//! What a logical unit sees of the world while it checks prerequisites, executes or undoes.

use std::fmt;
use std::sync::Arc;

use super::cancel::CancelToken;
use super::config_writer::ConfigWriter;
use crate::vocabulary::{FeedbackKind, JobId, LockRequest, OpCode};

/// Where what a unit says goes.
pub(crate) type Sink = Box<dyn Fn(FeedbackKind, &str) + Send + Sync>;

/// Handed to a logical unit: without any locks for expanding names, else with its locks held.
pub struct Context {
    pub(crate) job: JobId,
    pub(crate) op: u32,
    pub(crate) opcode: OpCode,
    pub(crate) token: u64,
    pub(crate) cancel: CancelToken,
    pub(crate) held: LockRequest,
    pub(crate) config: Arc<ConfigWriter>,
    pub(crate) sink: Sink,
}

impl Context {
    /// The job this belongs to.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.job
    }

    /// Which opcode of the job this is, from 0.
    #[must_use]
    pub fn op_index(&self) -> u32 {
        self.op
    }

    /// The opcode as it was submitted.
    #[must_use]
    pub fn opcode(&self) -> &OpCode {
        &self.opcode
    }

    /// A number that grows with every start of any opcode: whatever is written elsewhere can
    /// carry it, and the receiver can refuse anything older. 0 while names are expanded: nothing
    /// has started then.
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.token
    }

    /// Tells when to stop.
    #[must_use]
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// The locks held.
    #[must_use]
    pub fn held(&self) -> &LockRequest {
        &self.held
    }

    /// The configuration: read by many, changed atomically. Which locks protect which part of
    /// it is for the embedder to say.
    #[must_use]
    pub fn config(&self) -> &ConfigWriter {
        &self.config
    }

    /// Adds a line to the job's feedback log.
    pub fn feedback(&self, text: &str) {
        self.feedback_of(FeedbackKind::Message, text);
    }

    /// Adds a line of that kind to the job's feedback log.
    pub fn feedback_of(&self, kind: FeedbackKind, text: &str) {
        (self.sink)(kind, text);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("job", &self.job)
            .field("op", &self.op)
            .field("opcode", &self.opcode.id)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}
