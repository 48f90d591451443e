//! What the master answers with: values, copied out from under the queue lock.

use std::collections::BTreeMap;

use super::registry::Registry;
use crate::engine::locks::{LockReport, Mode, Reserves};
use crate::engine::queue::{Bucket, Queue};
use crate::vocabulary::{
    FilterAction, FilterId, Job, JobId, LockMode, OpId, Priority, Status, Timestamp,
};

/// A value together with the place in the log it depends on: it may be told to the outside
/// once [`Master::wait_durable`](super::Master::wait_durable) has returned for that place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The value.
    pub value: T,
    /// The place in the log.
    pub position: u64,
}

/// A job at one moment: what is stored, and what only the live queue knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobView {
    /// What is stored.
    pub job: Job,
    /// The status, `waiting` included.
    pub status: Status,
    /// The status of each opcode, `waiting` included.
    pub op_status: Vec<Status>,
    /// The priority now.
    pub priority: Priority,
    /// Whether it is in the archive and not in the queue.
    pub archived: bool,
}

impl JobView {
    /// Of a job in the queue. What leaves the master is without secrets.
    pub(super) fn of(queue: &Queue, job: &Job, registry: &Registry) -> Self {
        Self {
            status: queue.status(job),
            op_status: (0..job.ops.len()).map(|op| queue.op_status(job, op)).collect(),
            priority: job.priority(),
            archived: false,
            job: registry.secrets().redacted(job.clone()),
        }
    }

    /// Of a job in the archive. It went in there without secrets; what became one since is
    /// taken out here.
    pub(super) fn of_archived(job: Job, registry: &Registry) -> Self {
        let op_status = job.ops.iter().filter_map(|op| Some(op.outcome()?.status())).collect();
        let (status, priority) = (job.status(), job.priority());
        Self { status, op_status, priority, archived: true, job: registry.secrets().redacted(job) }
    }
}

/// What became of a request to cancel a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelAnswer {
    /// It had not started and is cancelled.
    Dequeued,
    /// It waited for locks and is cancelled.
    StoppedWaiting,
    /// It executes; it was told to stop.
    Informed,
    /// It was final already.
    AlreadyFinal,
}

/// Who is in the way of a job that waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTheWay {
    /// The job.
    pub job: JobId,
    /// In which mode it holds the lock, or has it reserved.
    pub mode: Mode,
    /// Since when it holds it; nothing where it does not hold it but has it reserved, having
    /// waited too long itself.
    pub since: Option<Timestamp>,
}

/// One step from a waiting job to whoever is in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitLink {
    /// The job that waits.
    pub job: JobId,
    /// The lock that blocks it, as `level/name`.
    pub lock: String,
    /// How it wants that lock.
    pub mode: Mode,
    /// The job in the way.
    pub blocker: JobId,
    /// In which mode the blocker holds the lock, or has it reserved.
    pub held: Mode,
    /// Since when it holds it; nothing where it does not hold it but has it reserved, having
    /// waited too long itself.
    pub since: Option<Timestamp>,
}

/// A wait for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockWait {
    /// The lock that blocks it, as `level/name`.
    pub lock: String,
    /// How it wants that lock.
    pub mode: Mode,
    /// How many may share that lock at once, where there is a limit.
    pub capacity: Option<u8>,
    /// Since when it waits.
    pub since: Timestamp,
    /// Who is in the way there.
    pub in_the_way: Vec<InTheWay>,
    /// From the job to the first in the way, from that one to the first in the way of it, and so
    /// on; the last blocker waits for no lock.
    pub chain: Vec<WaitLink>,
    /// How many requests were granted to others meanwhile.
    pub passed: u64,
    /// When it will reserve its locks and be passed no more.
    pub reserves: Reserves,
}

/// Why a job is not executing: the answer to "why is my job waiting?".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It executes.
    Executing {
        /// Which opcode.
        opcode: OpId,
        /// Since when.
        since: Option<Timestamp>,
        /// Since when it is told to stop, if it is: the job was cancelled, or is late.
        told: Option<Timestamp>,
        /// When it is ended by force, if it is told to stop and its unit says that
        /// ([`LogicalUnit::grace`](super::LogicalUnit::grace)).
        killed: Option<Timestamp>,
    },
    /// What it did is being taken back.
    Undoing {
        /// What this opcode did, at the moment.
        opcode: OpId,
    },
    /// It is final.
    Final {
        /// How it ended.
        status: Status,
    },
    /// It waits for another job to end.
    Dependency {
        /// That job.
        on: JobId,
    },
    /// A filter rule keeps it in the queue; or is about to cancel it.
    Filter {
        /// The rule.
        rule: FilterId,
        /// What it does with the job: pause or reject it.
        action: FilterAction,
        /// Why the rule exists, where that was said.
        remark: Option<String>,
    },
    /// Only so many jobs of a kind run at once, and others come first.
    RateLimit {
        /// What bounds them: a filter rule, or a name that the jobs bring along.
        bucket: Bucket,
        /// How many run at once.
        most: usize,
        /// How many run now.
        running: usize,
        /// The oldest of them.
        inside: Vec<JobId>,
        /// How many that wait for the same come before it.
        before: usize,
    },
    /// It waits for a lock.
    Lock(LockWait),
    /// It waits for a lock that another process of this machine has.
    OtherProcess {
        /// The lock, as `level/name`.
        lock: String,
        /// How it wants it.
        mode: LockMode,
        /// Since when it waits.
        since: Timestamp,
        /// Who has it, as far as that is known.
        holder: String,
    },
    /// It lacks something for a while, and waits for its next try.
    Later {
        /// When that is.
        until: Timestamp,
        /// How many times it was tried so far.
        tried: u32,
        /// What was lacking the last time.
        lacking: String,
    },
    /// It is about to start.
    Starting,
    /// It could run; all workers are busy.
    Worker {
        /// How many jobs will be taken up before it, as things are.
        before: usize,
    },
    /// The master is stopping or paused, and starts nothing.
    Stopping,
}

impl Why {
    /// The job at whose door the search goes on: the last of the chain.
    pub(super) fn waits_behind(&self) -> Option<JobId> {
        match self {
            Self::Dependency { on } => Some(*on),
            Self::Lock(wait) => wait.chain.last().map(|link| link.blocker),
            Self::RateLimit { inside, .. } => inside.first().copied(),
            _ => None,
        }
    }
}

/// Why a job is not executing, followed to its end.
///
/// Each step is true when it is looked at; with jobs that move meanwhile, two steps may be of
/// different moments. The links within one step are of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// When that was.
    pub now: Timestamp,
    /// The job, then the one at the end of its chain, then the one at the end of that one's, and
    /// so on: the last waits for nobody.
    pub steps: Vec<(JobId, Why)>,
    /// The names for people of all jobs in it, where they have one.
    pub labels: BTreeMap<JobId, String>,
}

/// Who holds and who waits for which lock. The owners are jobs, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOverview {
    /// When that was.
    pub now: Timestamp,
    /// All locks somebody holds or waits for, by level and name.
    pub locks: Vec<LockReport>,
    /// The names for people of all jobs in it, where they have one.
    pub labels: BTreeMap<JobId, String>,
    /// Who waits for whom, in the language of Graphviz, where asked for.
    pub graph: Option<String>,
}
