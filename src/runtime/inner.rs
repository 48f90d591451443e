//! What all threads of a master share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::alarm::Alarm;
use super::clients::{Clients, Waiting};
use super::clock::Clock;
use super::commits::Commits;
use super::config_writer::ConfigWriter;
use super::fenced_jobs::FencedJobs;
use super::hooks::Hooks;
use super::lock_manager::LockManager;
use super::lock_order::{LevelClasses, LockClass};
use super::master::Limits;
use super::metrics::Metrics;
use super::registry::Registry;
use super::shell::{Shell, Writer};
use super::slow_locks::SlowLocks;
use super::sync::{Condvar, Mutex, MutexGuard};
use super::tasks::Tasks;
use super::watch::Watch;
use super::worker_pool::Task;
use super::workers::Workers;
use crate::engine::locks::{OwnerId, WaitPolicy};
use crate::store::Archive;
use crate::vocabulary::{Hierarchy, JobId, Record, Timestamp};

/// The queue lock. Released before any opcode, callback, client wait or sync.
pub(super) static QUEUE: LockClass = LockClass::new("queue");

/// What all threads of a master share.
pub(super) struct Inner {
    shell: Mutex<Shell>,
    /// There is something to do for the log writer's thread.
    pub(super) appended: Condvar,
    /// Something waits to be written, and nobody writes or was told to.
    pub(super) unattended: AtomicBool,
    /// Somebody writes.
    pub(super) writing: AtomicBool,
    /// A client lets a worker write first.
    pub(super) giving_way: AtomicBool,
    pub(super) commits: Commits,
    pub(super) watch: Arc<Watch>,
    pub(super) locks: LockManager<Waiting>,
    pub(super) clients: Clients,
    /// What the jobs hold among processes.
    pub(super) fenced: FencedJobs,
    /// The levels, as the lock-order checker knows them.
    pub(super) levels: LevelClasses,
    pub(super) config: Arc<ConfigWriter>,
    pub(super) archive: Archive,
    pub(super) tasks: Tasks<Task>,
    pub(super) registry: Registry,
    pub(super) hierarchy: Hierarchy,
    pub(super) limits: Limits,
    pub(super) metrics: Metrics,
    /// How age and priority make an order, for locks and for workers.
    pub(super) policy: WaitPolicy,
    pub(super) workers: Workers,
    pub(super) clock: Clock,
    pub(super) hooks: Hooks,
    pub(super) alarm: Alarm,
    pub(super) slow_locks: SlowLocks,
}

/// What an [`Inner`] is made of that is not made by itself.
pub(super) struct Parts {
    pub(super) workers: usize,
    pub(super) shell: Shell,
    pub(super) locks: LockManager<Waiting>,
    pub(super) fenced: FencedJobs,
    pub(super) config: ConfigWriter,
    pub(super) archive: Archive,
    pub(super) registry: Registry,
    pub(super) hierarchy: Hierarchy,
    pub(super) limits: Limits,
    pub(super) policy: WaitPolicy,
    pub(super) clock: Clock,
    pub(super) hooks: Hooks,
    pub(super) slow_locks: SlowLocks,
}

impl Inner {
    pub(super) fn new(parts: Parts) -> Self {
        let metrics = Metrics::new(&parts.hierarchy, parts.clock.now());
        Self {
            workers: Workers::new(parts.workers),
            shell: Mutex::new(&QUEUE, parts.shell),
            appended: Condvar::new(),
            unattended: AtomicBool::new(false),
            writing: AtomicBool::new(false),
            giving_way: AtomicBool::new(false),
            commits: Commits::default(),
            watch: Arc::new(Watch::new(u64::try_from(parts.clock.now().as_micros()).unwrap_or(0))),
            locks: parts.locks,
            clients: Clients::new(),
            fenced: parts.fenced,
            levels: LevelClasses::new(&parts.hierarchy),
            config: Arc::new(parts.config),
            archive: parts.archive,
            tasks: Tasks::default(),
            registry: parts.registry,
            hierarchy: parts.hierarchy,
            limits: parts.limits,
            metrics,
            policy: parts.policy,
            clock: parts.clock,
            hooks: parts.hooks,
            alarm: Alarm::default(),
            slow_locks: parts.slow_locks,
        }
    }

    /// The time now, by this master's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Takes the queue lock.
    #[track_caller]
    pub(super) fn shell(&self) -> MutexGuard<'_, Shell> {
        self.shell.lock()
    }

    /// Appends one transaction and has it written. Gives its place in the log.
    pub(super) fn append(&self, shell: &mut Shell, records: Vec<Record>) -> u64 {
        let position = self.append_unattended(shell, records);
        self.see_to_the_log();
        position
    }

    /// Appends one transaction. The caller has it written: by writing it, by handing out a task,
    /// or by [`see_to_the_log`](Self::see_to_the_log).
    pub(super) fn append_unattended(&self, shell: &mut Shell, records: Vec<Record>) -> u64 {
        let position = shell.append(records);
        // Who writes looks whether there is more before it lets others write.
        if matches!(shell.writer, Writer::Idle(_)) && !shell.log.transactions.is_empty() {
            self.unattended.store(true, Ordering::Relaxed);
        }
        position
    }
}

/// A job owns its locks under its own number.
pub(super) const fn owner(id: JobId) -> OwnerId {
    OwnerId(id.get())
}
