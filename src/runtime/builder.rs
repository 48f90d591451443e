//! Opening a state directory and starting a master on it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::compaction::Compaction;
use super::config_writer::{ConfigOptions, ConfigWriter};
use super::core::Core;
use super::fenced_jobs::FencedJobs;
use super::fences::{Fences, GlobalLocks};
use super::hooks::{Hook, Hooks};
use super::inner::{Inner, Parts};
use super::lock_manager::LockManager;
use super::log_writer::LogWriter;
use super::logical_unit::TypedOp;
use super::master::{Limits, Master};
use super::registry::Registry;
use super::shell::Shell;
use super::slow_locks::{SLOW_LOCK, SlowLocks};
use crate::engine::locks::WaitPolicy;
use crate::engine::queue::Queue;
use crate::store::{Archive, LockDir, LogStore, MemoryStore, Store};
use crate::vocabulary::{Error, Hierarchy, JobId, Record, Scope};

type BeforeRecovery = Box<dyn FnOnce(&[JobId]) -> Result<(), Error>>;

/// Builds a [`Master`].
#[must_use = "a builder does nothing until it is started"]
pub struct MasterBuilder {
    state_dir: PathBuf,
    store: Option<(Box<dyn Store>, Vec<Record>)>,
    program: String,
    registry: Registry,
    hierarchy: Hierarchy,
    policy: WaitPolicy,
    lock_dir: Option<LockDir>,
    workers: usize,
    limits: Limits,
    config: Option<PathBuf>,
    config_options: ConfigOptions,
    spare_log: u64,
    paused: bool,
    before_recovery: Option<BeforeRecovery>,
    clock: Clock,
    hooks: Hooks,
    slow_lock: Option<Duration>,
    error: Option<Error>,
}

impl MasterBuilder {
    pub(super) fn new(state_dir: &Path) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            state_dir: state_dir.to_owned(),
            store: None,
            program: "lockmaster (embedded)".to_owned(),
            registry: Registry::default(),
            hierarchy: Hierarchy::default(),
            policy: WaitPolicy::default(),
            lock_dir: None,
            workers: processors.max(4),
            limits: Limits::default(),
            config: None,
            config_options: ConfigOptions::new(),
            spare_log: 128 << 20,
            paused: false,
            before_recovery: None,
            clock: Clock::default(),
            hooks: Hooks::new(),
            slow_lock: Some(SLOW_LOCK),
            error: None,
        }
    }

    /// Adds the logical units of type `U`.
    pub fn unit<U: TypedOp>(self) -> Self {
        self.units(Registry::add_typed::<U>)
    }

    /// Adds logical units by hand: command opcodes, the built-in ones, ...
    pub fn units(mut self, add: impl FnOnce(&mut Registry) -> Result<(), Error>) -> Self {
        let added = add(&mut self.registry);
        self.error = self.error.or(added.err());
        self
    }

    /// Adds a hook: what is called before and after each opcode. Hooks are called in the order in
    /// which they were added.
    pub fn hook(mut self, hook: impl Hook) -> Self {
        self.hooks.push(Arc::new(hook));
        self
    }

    /// The levels of locks; Ganeti's where not said.
    pub fn hierarchy(mut self, hierarchy: Hierarchy) -> Self {
        self.hierarchy = hierarchy;
        self
    }

    /// How waiting for locks is kept fair.
    pub fn wait_policy(mut self, policy: WaitPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Where locks of levels of scope `node` are files, so that jobs and other processes of this
    /// machine keep each other out. Needed where there is such a level.
    pub fn lock_dir(mut self, dir: LockDir) -> Self {
        self.lock_dir = Some(dir);
        self
    }

    /// How many opcodes execute at once; the number of processors (at least 4) where not said.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// What is allowed at most.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What this program calls itself, for whoever finds the state directory in use.
    pub fn program(mut self, program: impl Into<String>) -> Self {
        self.program = program.into();
        self
    }

    /// Keeps everything in memory only: for tests, and where losing the queue is acceptable.
    pub fn volatile(self) -> Self {
        self.store(Box::new(MemoryStore::volatile()), Vec::new())
    }

    /// Keeps the records in a store of the embedder's own instead of the state directory;
    /// `kept` are those it kept so far, in order. Archived jobs are then kept in memory only.
    pub fn store(mut self, store: Box<dyn Store>, kept: Vec<Record>) -> Self {
        self.store = Some((store, kept));
        self
    }

    /// The file of the configuration; `config.json` in the state directory where not said.
    pub fn config(mut self, path: impl Into<PathBuf>) -> Self {
        self.config = Some(path.into());
        self
    }

    /// What the configuration has in it, what is right, and which nodes it goes to.
    pub fn config_options(mut self, options: ConfigOptions) -> Self {
        self.config_options = options;
        self
    }

    /// How many bytes the log may have beyond twice what the queue takes, before it is made
    /// shorter; 128 MiB where not said.
    pub fn spare_log(mut self, bytes: u64) -> Self {
        self.spare_log = bytes;
        self
    }

    /// Takes no job up until [`Master::resume`]: time to look at what there is.
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// How long a request waits for a lock before a warning is logged that says who holds it, and
    /// again each time the wait has doubled; one minute where not said, never where none.
    pub fn slow_lock(mut self, threshold: Option<Duration>) -> Self {
        self.slow_lock = threshold;
        self
    }

    /// Where the time comes from; the system where not said. For tests.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Calls `end_leftovers` before recovery, with the jobs whose opcodes were executing when the
    /// last master ended. It has to make sure that nothing of any opcode still runs: also of
    /// those with crash policy `retry`, whose start the log need not know.
    pub fn before_recovery(
        mut self,
        end_leftovers: impl FnOnce(&[JobId]) -> Result<(), Error> + 'static,
    ) -> Self {
        self.before_recovery = Some(Box::new(end_leftovers));
        self
    }

    /// Opens the state directory, recovers, and starts the workers.
    ///
    /// # Errors
    ///
    /// `InUse` where another process has the state directory, `Io` where it cannot be read or
    /// written, `Corrupt` where its log is damaged or of a newer version, `Invalid` where a
    /// logical unit was registered twice or there are no workers.
    pub fn start(self) -> Result<Master, Error> {
        self.without_threads()?.start_threads()
    }

    /// Opens the state directory and recovers, and leaves each further step to the caller: for
    /// tests that choose the order in which things happen.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn without_threads(self) -> Result<Core, Error> {
        self.with_archive(None)
    }

    /// As [`without_threads`](Self::without_threads), with an archive where it is not to be that
    /// of the state directory.
    pub(super) fn with_archive(mut self, archive: Option<Archive>) -> Result<Core, Error> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.workers == 0 {
            return Err(Error::invalid("a master needs at least one worker"));
        }
        self.limits.check()?;
        self.check_lock_dir()?;
        let mut queue = Queue::new(self.limits.feedback_bytes);
        let in_memory = self.store.is_some();
        let store = self.open(&mut queue)?;
        let archive = archive.unwrap_or_else(|| match in_memory {
            true => Archive::in_memory(),
            false => Archive::open(&self.state_dir),
        });
        let config = self.open_config(in_memory)?;
        let recovered = self.recover(&mut queue)?;
        Ok(self.core(queue, recovered, store, config, archive))
    }

    fn check_lock_dir(&self) -> Result<(), Error> {
        let levels = self.hierarchy.levels().map(|level| self.hierarchy.get(level));
        let of_node = levels.into_iter().find(|level| level.scope() == Scope::Node);
        match of_node.filter(|_| self.lock_dir.is_none()) {
            Some(level) => Err(Error::invalid(format!(
                "locks of the level {} reach beyond this process and need a lock directory",
                level.name()
            ))
            .hint("name one with MasterBuilder::lock_dir")),
            None => Ok(()),
        }
    }

    fn open(&mut self, queue: &mut Queue) -> Result<Box<dyn Store>, Error> {
        if let Some((store, kept)) = self.store.take() {
            kept.iter().try_for_each(|record| queue.apply(record))?;
            return queue.replayed().map(|()| store);
        }
        let mut misfit = None;
        let mut replay = |record: Record| {
            if misfit.is_none() {
                misfit = queue.apply(&record).err();
            }
        };
        let (store, _) = LogStore::open(&self.state_dir, &self.program, &mut replay)?;
        match misfit.or(queue.replayed().err()) {
            Some(error) => Err(error.at(self.state_dir.display())),
            None => Ok(Box::new(store)),
        }
    }

    fn open_config(&mut self, in_memory: bool) -> Result<ConfigWriter, Error> {
        let options = std::mem::take(&mut self.config_options);
        match &self.config {
            Some(path) => options.open(path),
            None if in_memory => options.in_memory(),
            None => options.open(self.state_dir.join("config.json")),
        }
    }

    fn recover(&mut self, queue: &mut Queue) -> Result<Vec<Record>, Error> {
        let interrupted: Vec<JobId> = queue.executing().map(|(id, _)| id).collect();
        if let Some(end_leftovers) = self.before_recovery.take() {
            end_leftovers(&interrupted)?;
        }
        Ok(queue.recover(self.clock.now()))
    }

    fn core(
        self,
        queue: Queue,
        recovered: Vec<Record>,
        store: Box<dyn Store>,
        config: ConfigWriter,
        archive: Archive,
    ) -> Core {
        let log_writer = LogWriter::new(store, Compaction::new(&queue, self.spare_log));
        let mut shell = Shell::new(queue, log_writer);
        shell.paused = self.paused;
        shell.append(recovered);
        let locks =
            LockManager::with_clock(self.hierarchy.clone(), self.policy, self.clock.clone());
        // A master is whom all machines ask: what is global is decided in it.
        let global = GlobalLocks::InThisProcess;
        let fences = Fences::new(&self.hierarchy, self.lock_dir, global, &self.program);
        let inner = Arc::new(Inner::new(Parts {
            workers: self.workers,
            shell,
            locks,
            fenced: FencedJobs::new(fences),
            config,
            archive,
            registry: self.registry,
            hierarchy: self.hierarchy,
            limits: self.limits,
            policy: self.policy,
            clock: self.clock,
            hooks: self.hooks,
            slow_locks: SlowLocks::new(self.slow_lock),
        }));
        Core::new(inner)
    }
}

impl fmt::Debug for MasterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterBuilder")
            .field("state_dir", &self.state_dir)
            .field("registry", &self.registry)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}
