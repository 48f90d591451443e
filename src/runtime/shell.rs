//! What the one queue lock protects: the queue, what is yet to be written, who is executing.

use std::collections::HashMap;

use super::cancel::CancelToken;
use crate::engine::queue::Queue;
use crate::vocabulary::{JobId, Record};

/// Transactions that are applied but not written yet.
#[derive(Debug, Default)]
pub(super) struct LogBuffer {
    pub(super) transactions: Vec<Vec<Record>>,
    pub(super) changed: Vec<JobId>,
}

/// The state behind the queue lock.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) queue: Queue,
    pub(super) log: LogBuffer,
    /// The place in the log of the last transaction appended.
    pub(super) position: u64,
    /// Jobs in the processor's hands, and how to stop what executes.
    pub(super) active: HashMap<JobId, CancelToken>,
    /// No job is to be taken up until somebody says so.
    pub(super) paused: bool,
    /// No opcode is to be started any more.
    pub(super) stopping: bool,
    /// What executes is told to stop.
    pub(super) interrupted: bool,
    /// No transaction is to be appended any more; the log writer ends.
    pub(super) closed: bool,
}

impl Shell {
    pub(super) fn new(queue: Queue) -> Self {
        Self {
            queue,
            log: LogBuffer::default(),
            position: 0,
            active: HashMap::new(),
            paused: false,
            stopping: false,
            interrupted: false,
            closed: false,
        }
    }

    /// Whether jobs may be taken up.
    pub(super) fn is_open(&self) -> bool {
        !self.paused && !self.stopping
    }

    /// Appends one transaction; gives its place in the log, or the last one where it is empty.
    pub(super) fn append(&mut self, records: Vec<Record>) -> u64 {
        if !records.is_empty() && !self.closed {
            self.position += 1;
            self.log.changed.extend(records.iter().filter_map(Record::job));
            self.log.transactions.push(records);
        }
        self.position
    }
}
