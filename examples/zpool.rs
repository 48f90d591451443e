//! Importing and exporting ZFS pools, by the threads of an agent and by commands beside it.
//!
//! The pool's lock is held from the look at what is imported to the export. It is a file, so a
//! command that a cluster manager starts and the agent keep each other out, no matter which of them
//! runs; what its owner noted tells the next one what to repair. Shows the two races of old without
//! the lock, and the same without a race with it. Run it with `cargo run --example zpool`.
#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method alone is not general enough in its lifetimes"
)]

#[path = "zpool/fake.rs"]
pub(crate) mod fake;
#[path = "zpool/play.rs"]
pub(crate) mod play;

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use fake::{Failed, Zpool};
use lockmaster::runtime::{
    ConditionalUpdate, ConfigWriter, LockDir, LockGuard, LockOptions, LockOwner, Locks,
};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Scope};
use play::Actor;
use serde_json::{Value, json};

/// How often an export is tried while the pool is busy.
const TRIES: usize = 12;

/// One level, among all processes of the host; who holds a pool may take it again.
pub(crate) fn locks(directory: &Path) -> Result<Locks, Failed> {
    let hierarchy = Hierarchy::builder().scoped_level("zpool", Scope::Node).reentrant().build()?;
    Ok(Locks::builder(hierarchy).dir(LockDir::open(&directory.join("locks"))?).open())
}

/// The pool of a dataset or of itself: what is locked.
pub(crate) fn pool_of(device: &str) -> Result<&str, Failed> {
    match device.split('/').next() {
        None | Some("" | "." | "..") => Err(Failed(format!("{device:?} is no pool or dataset"))),
        Some(pool) => Ok(pool),
    }
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// A look at it: imported read-only, where it is not there.
    ScanReadOnly,
    /// Work on it: imported to be written to.
    Use {
        /// Whether it stays imported afterwards.
        keep_imported: bool,
    },
}

impl Intent {
    /// What stands in the lock file while a pool is imported for it.
    fn note(self, pool: &str) -> String {
        match self {
            Self::Use { keep_imported: true } => format!("imports {pool} to stay"),
            _ => format!("imports {pool} for a while"),
        }
    }

    fn keeps(self) -> bool {
        matches!(self, Self::Use { keep_imported: true })
    }

    fn readonly(self) -> bool {
        self == Self::ScanReadOnly
    }
}

/// Somebody who works on pools: a thread of the agent, or a command.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) zpool: Zpool,
    /// None only to show what happens then.
    locks: Option<Locks>,
    /// Where it stands which host may write to which pool, for hosts that share pools.
    cluster: Option<Arc<ConfigWriter>>,
}

impl Agent {
    pub(crate) fn new(zpool: Zpool, locks: Option<Locks>) -> Self {
        Self { zpool, locks, cluster: None }
    }

    /// Has hosts that share pools agree on who may write to which.
    pub(crate) fn in_cluster(mut self, cluster: Arc<ConfigWriter>) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Runs `body` while the pool of `device` is imported, if it can be: `body` asks the session.
    pub(crate) fn session<R>(
        &self,
        device: &str,
        intent: Intent,
        options: LockOptions,
        body: impl FnOnce(&Session<'_>) -> Result<R, Failed>,
    ) -> Result<R, Failed> {
        let owner = self.locks.as_ref().map(Locks::here);
        self.session_of(owner.as_deref(), device, intent, options, body)
    }

    /// The same, for an owner that is not this thread.
    pub(crate) fn session_of<R>(
        &self,
        owner: Option<&LockOwner>,
        device: &str,
        intent: Intent,
        options: LockOptions,
        body: impl FnOnce(&Session<'_>) -> Result<R, Failed>,
    ) -> Result<R, Failed> {
        let session = self.open(owner, pool_of(device)?, intent, options)?;
        let result = body(&session);
        let closed = session.close();
        // What the body said comes first; that of the export is told where it is the only one.
        result.and_then(|result| closed.map(|()| result))
    }

    fn open<'a>(
        &'a self,
        owner: Option<&'a LockOwner>,
        pool: &str,
        intent: Intent,
        options: LockOptions,
    ) -> Result<Session<'a>, Failed> {
        let guard = match (owner, &self.locks) {
            (Some(owner), Some(locks)) => Some(self.locked(owner, locks, pool, options)?),
            _ => None,
        };
        let pool = pool.to_owned();
        let mut session =
            Session { agent: self, pool, intent, imported: false, problem: None, guard };
        session.begin()?;
        Ok(session)
    }

    /// The pool's lock; whoever has it first puts right what a dead owner left.
    fn locked<'a>(
        &self,
        owner: &'a LockOwner,
        locks: &Locks,
        pool: &str,
        options: LockOptions,
    ) -> Result<LockGuard<'a>, Failed> {
        let lock = format!("zpool/{pool}");
        let again = locks.locks().iter().any(|report| {
            report.lock == lock && report.holders.iter().any(|holder| holder.owner == owner.id())
        });
        let mut request = LockRequest::new();
        let level = locks.hierarchy().level("zpool")?;
        request.add(level, pool, LockMode::Exclusive).map_err(|error| Failed(error.to_string()))?;
        let guard = owner.lock(&request, options)?;
        if !again && !guard.died().is_empty() {
            self.repair(&guard, pool)?;
            guard.note(&format!("has put {pool} right"))?;
        }
        Ok(guard)
    }

    /// Exports what a dead owner imported for a while. The last one that noted anything decides:
    /// it had put right what those before it left. What is of an earlier boot is not imported now.
    fn repair(&self, guard: &LockGuard<'_>, pool: &str) -> Result<(), Failed> {
        let died = guard.died();
        let last = died.iter().map(|dead| &dead.record).find(|record| !record.note.is_empty());
        let for_a_while = Intent::ScanReadOnly.note(pool);
        match last.filter(|record| record.is_of_this_boot() && record.note == for_a_while) {
            Some(_) => self.export(pool),
            None => Ok(()),
        }
    }

    /// Exports a pool, which may be gone already. Busy ones are tried again: between the tries, a
    /// real agent waits for some seconds where this one says that it waits.
    fn export(&self, pool: &str) -> Result<(), Failed> {
        let mut result = Ok(());
        for _ in 0..TRIES {
            result = self.zpool.export(pool);
            match &result {
                Err(Failed(problem)) if problem.ends_with("pool is busy") => {}
                Err(Failed(problem)) if problem.ends_with("no such pool") => return Ok(()),
                _ => break,
            }
        }
        result
    }

    /// Looks at each of the pools, one lock at a time: who wants to mount one waits for that one.
    pub(crate) fn scan(&self, pools: &[&str], options: LockOptions) -> Result<(), Failed> {
        let look = |pool: &&str| {
            self.session(pool, Intent::ScanReadOnly, options, |session| session.available())
        };
        pools.iter().try_for_each(look)
    }

    /// Makes a dataset, in a pool that is imported for that only.
    pub(crate) fn create(&self, dataset: &str, options: LockOptions) -> Result<(), Failed> {
        let work = Intent::Use { keep_imported: false };
        self.session(dataset, work, options, |session| {
            session.available()?;
            self.zpool.create(dataset)
        })
    }

    /// Mounts a dataset; its pool stays imported.
    pub(crate) fn mount(&self, dataset: &str, options: LockOptions) -> Result<(), Failed> {
        let work = Intent::Use { keep_imported: true };
        self.session(dataset, work, options, |session| {
            session.available()?;
            self.zpool.mount(dataset)
        })
    }

    /// Unmounts a dataset, and exports its pool unless others of it are mounted.
    pub(crate) fn unmount(&self, dataset: &str, options: LockOptions) -> Result<(), Failed> {
        let work = Intent::Use { keep_imported: true };
        self.session(dataset, work, options, |session| {
            self.zpool.unmount(dataset)?;
            match self.zpool.export(&session.pool) {
                Err(Failed(problem)) if problem.ends_with("pool is busy") => Ok(()),
                Err(Failed(problem)) if problem.ends_with("no such pool") => Ok(()),
                exported => exported.and_then(|()| self.give_up(&session.pool)),
            }
        })
    }

    /// Has this host be the one that writes to the pool; it outlives sessions and processes, so
    /// it is no lock. Locks of the host do not reach the others.
    fn claim(&self, pool: &str) -> Result<(), Failed> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let place = format!("/{pool}");
        let ours = json!(self.zpool.host);
        let claim = ConditionalUpdate::new()
            .expect_one_of(&place, [Value::Null, ours.clone()])
            .set(&place, ours);
        match cluster.update_where(claim) {
            Ok(_) => Ok(()),
            Err(error) => Err(Failed(match error.mismatch() {
                Some(mismatch) => format!(
                    "{pool} is written to by {}",
                    mismatch.unmet[0].current.as_ref().unwrap_or(&Value::Null)
                ),
                None => error.to_string(),
            })),
        }
    }

    fn give_up(&self, pool: &str) -> Result<(), Failed> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let place = format!("/{pool}");
        let ours = ConditionalUpdate::new().expect(&place, json!(self.zpool.host));
        let given_up = cluster.update_where(ours.set(&place, Value::Null));
        given_up.map(|_| ()).map_err(|error| Failed(error.to_string()))
    }

    /// Takes a pool over from a host that was fenced: only for who has made sure of that.
    pub(crate) fn take_over(&self, pool: &str) -> Result<(), Failed> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let ours = ConditionalUpdate::new().set(&format!("/{pool}"), json!(self.zpool.host));
        cluster.update_where(ours).map(|_| ()).map_err(|error| Failed(error.to_string()))
    }
}

/// A pool that is worked on. Only who imported it exports it.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    agent: &'a Agent,
    pool: String,
    intent: Intent,
    imported: bool,
    problem: Option<Failed>,
    guard: Option<LockGuard<'a>>,
}

impl Session<'_> {
    /// Looks whether the pool is there, and imports it where it is not. That it cannot be imported
    /// is for the body to deal with; the lock stays. Without the lock, as it was of old: what is
    /// listed is taken to be there.
    fn begin(&mut self) -> Result<(), Failed> {
        let found = self.agent.zpool.list()?.get(&self.pool).copied();
        let imported = match (found, self.intent) {
            (None, _) => self.import(),
            (Some(true), Intent::Use { .. }) if self.guard.is_some() => self.import_again(),
            _ => return Ok(()),
        };
        self.imported = imported.is_ok();
        self.problem = imported.err();
        Ok(())
    }

    fn import(&self) -> Result<(), Failed> {
        if !self.intent.readonly() {
            self.agent.claim(&self.pool)?;
        }
        if let Some(guard) = &self.guard {
            guard.note(&self.intent.note(&self.pool))?;
        }
        self.agent.zpool.import(&self.pool, self.intent.readonly())
    }

    /// What is imported read-only has to go before it can be written to.
    fn import_again(&self) -> Result<(), Failed> {
        let exported = self.agent.zpool.export(&self.pool);
        exported.map_err(|Failed(problem)| {
            Failed(format!("{problem}: it can only be imported readonly, is it in use?"))
        })?;
        self.import()
    }

    /// # Errors
    ///
    /// Why the pool could not be imported.
    pub(crate) fn available(&self) -> Result<(), Failed> {
        self.problem.clone().map_or(Ok(()), Err)
    }

    /// Exports what this session imported, unless it is to stay, and gives the lock back.
    fn close(mut self) -> Result<(), Failed> {
        self.leave()
    }

    fn leave(&mut self) -> Result<(), Failed> {
        if !std::mem::take(&mut self.imported) || self.intent.keeps() {
            return Ok(());
        }
        self.agent.export(&self.pool)?;
        if self.intent.readonly() { Ok(()) } else { self.agent.give_up(&self.pool) }
    }
}

impl Drop for Session<'_> {
    /// Where the body panicked: as far as it goes. The lock is given back after that.
    fn drop(&mut self) {
        let _ = self.leave();
    }
}

type Race = fn(&mut Actor, &mut Actor) -> String;

/// Two threads in the order of events that was fatal, with nothing that keeps them apart.
fn without(directory: &Path, a_does: &str, race: Race) -> Result<(String, Vec<String>), Failed> {
    let zpool = Zpool::new(directory, "nobody");
    zpool.make("pA")?;
    let mut a = Actor::thread(directory, "tA", a_does, None);
    let mut b = Actor::thread(directory, "tB", "scan", None);
    let ending = race(&mut a, &mut b);
    b.finish();
    Ok((ending, zpool.log()?))
}

/// The same two; the second one comes while the first is between list and import. It is refused
/// where it does not wait, and comes after the first where it does.
fn with(directory: &Path, a_does: &str) -> Result<(String, Vec<String>), Failed> {
    let zpool = Zpool::new(directory, "nobody");
    zpool.make("pA")?;
    let locks = locks(directory)?;
    let mut b = Actor::thread(directory, "tB", "scan", Some(locks.clone()));
    b.arrive();
    b.pass_until("import");
    let at_once = Agent::new(zpool.clone(), Some(locks.clone())).scan(&["pA"], LockOptions::asap());
    let mut a = Actor::thread(directory, "tA", a_does, Some(locks));
    b.finish();
    a.arrive();
    let at_once = at_once.map_or_else(|failed| failed.to_string(), |()| "done".to_owned());
    Ok((format!("{}; at once: {at_once}", a.finish()), zpool.log()?))
}

/// Two hosts that share a pool: each has locks of its own, so what they share says who writes.
fn hosts(directory: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let cluster = Arc::new(ConfigWriter::in_memory());
    cluster.update_where(ConditionalUpdate::new().set("/pA", Value::Null))?;
    let host = |name: &str| -> Result<Agent, Box<dyn Error>> {
        std::fs::create_dir_all(directory.join(name))?;
        let locks = locks(&directory.join(name))?;
        let zpool = Zpool::new(directory, name).on(name);
        Ok(Agent::new(zpool, Some(locks)).in_cluster(Arc::clone(&cluster)))
    };
    let (one, two) = (host("hA")?, host("hB")?);
    one.zpool.make("pA")?;
    let mounts = |host: &Agent| play::ending(&host.mount("pA/ds", LockOptions::default()));
    writeln!(out, "hA, to mount: {}", mounts(&one))?;
    writeln!(out, "hB, to mount: {}", mounts(&two))?;
    two.zpool.fail("export", "cannot export 'pA': pool is busy")?;
    let looked = two.scan(&["pA"], LockOptions::default());
    writeln!(out, "hB, to scan, busy at first: {}", play::ending(&looked))?;
    two.take_over("pA")?;
    writeln!(out, "hB, to mount when hA is fenced: {}", mounts(&two))?;
    Ok(())
}

/// Prints what it shows, with that directory for its files.
pub(crate) fn show(directory: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let races: [(&str, &str, Race); 2] =
        [("1", "mount", play::first_race), ("2", "create", play::second_race)];
    for (number, does, race) in races {
        let place = |how: &str| directory.join(format!("{number}-{how}"));
        let (before, after) = (place("without"), place("with"));
        std::fs::create_dir_all(&before)?;
        std::fs::create_dir_all(&after)?;
        for (how, (ending, log)) in
            [("without", without(&before, does, race)?), ("with", with(&after, does)?)]
        {
            writeln!(out, "scenario {number}, {how} the lock: {}", log.join(", "))?;
            writeln!(out, "  tA, to {does}: {ending}")?;
        }
    }
    hosts(&directory.join("hosts"), out)
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let place = std::env::temp_dir().join(format!("lockmaster-zpool-{}", std::process::id()));
    show(&place, &mut std::io::stdout())?;
    Ok(std::fs::remove_dir_all(&place)?)
}
