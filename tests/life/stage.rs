//! A master without threads, and logical units made of closures.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockmaster::runtime::{Clock, Core, JobView, Registry, ResultType};
use lockmaster::store::MemoryStore;
use lockmaster::vocabulary::{Outcome, Record, Retries, Timestamp};
use lockmaster::{
    Context, CrashPolicy, DeclaredLocks, JobId, LogicalUnit, Master, MasterBuilder, NewJob, OpCode,
    OpError, OpId, Params, Status,
};
use serde_json::{Value, json};

type Declares = dyn Fn(&str, &mut DeclaredLocks<'_>) -> Result<(), OpError> + Send + Sync;
type Does<T> = dyn Fn(&Context) -> Result<T, OpError> + Send + Sync;

/// What a unit does. As it is by itself it locks nothing and succeeds.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) arguments: Option<OpError>,
    pub(crate) names: Arc<Does<()>>,
    pub(crate) locks: Arc<Declares>,
    pub(crate) at_once: bool,
    pub(crate) prereq: Arc<Does<()>>,
    pub(crate) execute: Arc<Does<Value>>,
    pub(crate) undo: Option<Arc<Does<()>>>,
    pub(crate) result: ResultType,
    pub(crate) retries: Retries,
    pub(crate) on_crash: CrashPolicy,
    pub(crate) grace: Option<Duration>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            arguments: None,
            names: Arc::new(|_| Ok(())),
            locks: Arc::new(|_, _| Ok(())),
            at_once: false,
            prereq: Arc::new(|_| Ok(())),
            execute: Arc::new(|_| Ok(Value::Null)),
            undo: None,
            result: ResultType::any(),
            retries: Retries::default(),
            on_crash: CrashPolicy::Fail,
            grace: None,
        }
    }
}

impl Script {
    /// Takes these instances alone.
    pub(crate) fn locking(mut self, names: &'static [&'static str]) -> Self {
        self.locks = Arc::new(move |level, locks| match level {
            "instance" => names.iter().try_for_each(|name| locks.exclusive(name)),
            _ => Ok(()),
        });
        self
    }

    pub(crate) fn declaring(
        mut self,
        locks: impl Fn(&str, &mut DeclaredLocks<'_>) -> Result<(), OpError> + Send + Sync + 'static,
    ) -> Self {
        self.locks = Arc::new(locks);
        self
    }

    pub(crate) fn checks(
        mut self,
        prereq: impl Fn(&Context) -> Result<(), OpError> + Send + Sync + 'static,
    ) -> Self {
        self.prereq = Arc::new(prereq);
        self
    }

    pub(crate) fn does(
        mut self,
        execute: impl Fn(&Context) -> Result<Value, OpError> + Send + Sync + 'static,
    ) -> Self {
        self.execute = Arc::new(execute);
        self
    }

    pub(crate) fn undoes(
        mut self,
        undo: impl Fn(&Context) -> Result<(), OpError> + Send + Sync + 'static,
    ) -> Self {
        self.undo = Some(Arc::new(undo));
        self
    }

    pub(crate) fn fails(self) -> Self {
        self.does(|_| Err(OpError::exec("as asked")))
    }
}

struct Unit(Script);

impl LogicalUnit for Unit {
    fn check_arguments(&mut self) -> Result<(), OpError> {
        self.0.arguments.clone().map_or(Ok(()), Err)
    }

    fn expand_names(&mut self, context: &Context) -> Result<(), OpError> {
        (self.0.names)(context)
    }

    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        (self.0.locks)(level, locks)
    }

    fn locks_known_at_once(&self) -> bool {
        self.0.at_once
    }

    fn retries(&self) -> Retries {
        self.0.retries
    }

    fn check_prereq(&mut self, context: &Context) -> Result<(), OpError> {
        (self.0.prereq)(context)
    }

    fn dry_run(&mut self, _: &Context) -> Result<Value, OpError> {
        Ok(json!("would"))
    }

    fn result_type(&self) -> ResultType {
        self.0.result
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        (self.0.execute)(context)
    }

    fn can_undo(&self) -> bool {
        self.0.undo.is_some()
    }

    fn undo(&mut self, context: &Context) -> Result<(), OpError> {
        self.0.undo.as_ref().map_or(Ok(()), |undo| undo(context))
    }

    fn on_crash(&self) -> CrashPolicy {
        self.0.on_crash
    }

    fn grace(&self) -> Option<Duration> {
        self.0.grace
    }
}

type Scripts = Arc<Mutex<HashMap<String, Script>>>;

/// Lines that units and hooks write, in order.
pub(crate) type Notes = Arc<Mutex<Vec<String>>>;

pub(crate) fn note(notes: &Notes, line: impl Into<String>) {
    notes.lock().unwrap().push(line.into());
}

/// A master whose steps the test makes.
pub(crate) struct Stage {
    pub(crate) core: Core,
    scripts: Scripts,
    now: Arc<AtomicI64>,
    /// What it found when it started.
    kept: Vec<Record>,
    /// What it has written since.
    pub(crate) log: MemoryStore,
    pub(crate) notes: Notes,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(change: impl FnOnce(MasterBuilder) -> MasterBuilder) -> Self {
        Self::resumed(Scripts::default(), Vec::new(), change)
    }

    fn resumed(
        scripts: Scripts,
        kept: Vec<Record>,
        change: impl FnOnce(MasterBuilder) -> MasterBuilder,
    ) -> Self {
        let now = Arc::new(AtomicI64::new(0));
        let shown = Arc::clone(&now);
        let clock = Clock::of(move || Timestamp::from_micros(shown.load(Ordering::Relaxed)));
        let (log, known) = (MemoryStore::recording(), Arc::clone(&scripts));
        let make = move |params: &Params| -> Result<Box<dyn LogicalUnit>, OpError> {
            let name = params.to_object()["name"].as_str().unwrap().to_owned();
            let script = known.lock().unwrap().get(&name).cloned();
            Ok(Box::new(Unit(script.ok_or_else(|| OpError::prereq("no such script"))?)))
        };
        let builder = Master::builder("unused")
            .store(Box::new(log.clone()), kept.clone())
            .units(|registry: &mut Registry| registry.add(id(), make))
            .workers(4)
            .clock(clock);
        let core = change(builder).without_threads().unwrap();
        Self { core, scripts, now, kept, log, notes: Notes::default() }
    }

    /// The master is killed, having written so many of its transactions, and starts anew.
    pub(crate) fn killed_after(&self, transactions: usize) -> Self {
        let written = self.log.transactions().into_iter().take(transactions).flatten();
        self.resumed_from(self.kept.iter().cloned().chain(written).collect())
    }

    /// The next master, which finds these records.
    pub(crate) fn resumed_from(&self, kept: Vec<Record>) -> Self {
        let next = Self::resumed(Arc::clone(&self.scripts), kept, |builder| builder);
        Self { notes: Arc::clone(&self.notes), ..next }
    }

    /// The master is killed after everything it has written, at this very time.
    pub(crate) fn killed(&self) -> Self {
        let next = self.killed_after(usize::MAX);
        next.now.store(self.now.load(Ordering::Relaxed), Ordering::Relaxed);
        next
    }

    /// An opcode that does what the script says.
    pub(crate) fn op(&self, name: &str, script: Script) -> OpCode {
        self.scripts.lock().unwrap().insert(name.to_owned(), script);
        self.again(name)
    }

    /// One more opcode of a script that is known.
    pub(crate) fn again(&self, name: &str) -> OpCode {
        let params = json!({ "name": name });
        OpCode::new(id(), Params::from_object(params.as_object().unwrap()))
    }

    pub(crate) fn submit(&self, job: NewJob) -> JobId {
        self.core.master().begin_submit(vec![job], None).unwrap().value[0]
    }

    /// Makes all steps there are without time going on.
    pub(crate) fn run(&mut self) {
        self.core.pass_time();
        loop {
            while self.core.work(0) {}
            if !self.core.write_log() && self.core.tasks() == 0 {
                return;
            }
        }
    }

    /// Carries out tasks, but writes nothing.
    pub(crate) fn work(&mut self) {
        while self.core.work(0) {}
    }

    /// Lets so much time pass, at once: the clock is the test's own.
    pub(crate) fn pass(&mut self, time: Duration) {
        let micros = i64::try_from(time.as_micros()).unwrap();
        self.now.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn view(&self, id: JobId) -> JobView {
        self.core.master().job(id).unwrap().value
    }

    pub(crate) fn status(&self, id: JobId) -> Status {
        self.view(id).status
    }

    pub(crate) fn error(&self, id: JobId, op: usize) -> OpError {
        match self.view(id).job.ops[op].outcome() {
            Some(Outcome::Error(error)) => error.clone(),
            other => panic!("no error but {other:?}"),
        }
    }

    pub(crate) fn result(&self, id: JobId, op: usize) -> Value {
        match self.view(id).job.ops[op].outcome() {
            Some(Outcome::Success(text)) => serde_json::from_str(text).unwrap(),
            other => panic!("no result but {other:?}"),
        }
    }

    pub(crate) fn feedback(&self, id: JobId) -> Vec<String> {
        self.view(id).job.feedback.entries().map(|entry| entry.text.to_string()).collect()
    }

    /// Who holds which lock: `instance/a 1`.
    pub(crate) fn held(&self) -> Vec<String> {
        let locks = self.core.master().locks(false).value.locks;
        let holders = locks.iter().flat_map(|lock| {
            lock.holders.iter().map(|holder| format!("{} {}", lock.lock, holder.owner.0))
        });
        holders.filter(|line| line.starts_with("instance/")).collect()
    }

    pub(crate) fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock().unwrap())
    }
}

fn id() -> OpId {
    OpId::new("OP_PLAY").unwrap()
}
