//! What the one queue lock protects: the queue, what is yet to be written, who is executing.

use std::collections::{HashMap, VecDeque};

use super::cancel::CancelToken;
use super::log_writer::{LogWriter, News};
use super::worker_pool::Task;
use crate::engine::queue::Queue;
use crate::vocabulary::{JobId, Record, Timestamp};

/// Transactions that are applied but not written yet.
#[derive(Debug, Default)]
pub(super) struct LogBuffer {
    pub(super) transactions: Vec<Vec<Record>>,
    pub(super) changed: Vec<JobId>,
}

/// What becomes of a task that needs a place of the log to be on disk.
pub(super) enum WhenDurable {
    /// It is: go on.
    Now(Task),
    /// The log writer hands it out when it is.
    Later,
    /// It never will be.
    Never,
}

/// Where the means to write the log are.
pub(super) enum Writer {
    /// Here: whoever wants to write takes them.
    Idle(Box<LogWriter>),
    /// With somebody who writes.
    Busy,
    /// Nobody writes any more.
    Gone,
}

/// How many transactions may wait for the disk before opcodes that talk have to wait for it, too.
const MOST_UNWRITTEN: u64 = 4096;

/// The state behind the queue lock.
pub(super) struct Shell {
    pub(super) queue: Queue,
    pub(super) log: LogBuffer,
    pub(super) writer: Writer,
    /// What the log writer's thread has to tell for those who write in its place.
    pub(super) news: News,
    /// The place in the log of the last transaction appended.
    pub(super) position: u64,
    /// The place up to which the log is on disk.
    durable: u64,
    /// What goes on when the log is on disk up to a place, in the order of the places.
    awaiting: VecDeque<(u64, Task)>,
    /// The log could not be written: nothing more will ever be on disk.
    failed: bool,
    /// Jobs in the processor's hands, and how to stop what executes.
    pub(super) active: HashMap<JobId, CancelToken>,
    /// Some opcode has started since the log was opened.
    pub(super) has_started: bool,
    /// The moment for which the alarm is set.
    pub(super) alarm: Option<Timestamp>,
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
    pub(super) fn new(queue: Queue, writer: LogWriter) -> Self {
        Self {
            queue,
            writer: Writer::Idle(Box::new(writer)),
            news: News::default(),
            log: LogBuffer::default(),
            position: 0,
            durable: 0,
            awaiting: VecDeque::new(),
            failed: false,
            active: HashMap::new(),
            has_started: false,
            alarm: None,
            paused: false,
            stopping: false,
            interrupted: false,
            closed: false,
        }
    }

    /// Whether somebody who waits for that place still has to, and it will come.
    pub(super) fn lacks(&self, position: u64) -> bool {
        self.durable < position && !self.failed
    }

    /// Up to which place the log has to be on disk before an opcode that talks may go on, if it is
    /// not yet: so that what it says fills the disk and not the memory.
    pub(super) fn must_be_durable_first(&self) -> Option<u64> {
        let position = self.position.saturating_sub(MOST_UNWRITTEN);
        self.lacks(position).then_some(position)
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

    /// Keeps a task until everything up to `position` is on disk. Places are asked for in
    /// order: each is the last one of the log at that moment, or the one before it.
    pub(super) fn when_durable(&mut self, position: u64, task: Task) -> WhenDurable {
        if position <= self.durable {
            return WhenDurable::Now(task);
        }
        if self.failed {
            return WhenDurable::Never;
        }
        // A place may be one less than that asked for last.
        let place = self.awaiting.back().map_or(position, |(last, _)| position.max(*last));
        self.awaiting.push_back((place, task));
        WhenDurable::Later
    }

    /// The log is on disk up to there: what goes on now, in order.
    pub(super) fn is_durable(&mut self, position: u64) -> Vec<Task> {
        self.durable = position;
        let due = self.awaiting.partition_point(|(place, _)| *place <= position);
        self.awaiting.drain(..due).map(|(_, task)| task).collect()
    }

    /// The log could not be written: what waited for it, in vain.
    pub(super) fn nothing_more_is_durable(&mut self) -> Vec<Task> {
        self.failed = true;
        self.awaiting.drain(..).map(|(_, task)| task).collect()
    }
}
