//! Locks asked of a daemon, by who holds them for a while without a job: a driver on any machine
//! that reaches the daemon, a command.
//!
//! The connection is the owner: what it holds in the daemon ends with it. Locks of scope `node`
//! are then taken as files by this process as well, so that they last while it does, whatever
//! becomes of the daemon, and keep out those who come without one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;
use crate::runtime::{LockDir, LockGuard, LockOptions, LockOwner, Locks, LocksBuilder};
use crate::vocabulary::{Error, ErrorKind, Hierarchy, LevelId, LevelLocks, LockRequest, Scope};

/// How locks are asked for: by default without end, in silence.
#[derive(Clone, Copy, Default)]
pub struct DaemonLockOptions<'a> {
    /// How long to wait for all of them. Zero is a try.
    pub timeout: Option<Duration>,
    /// The deepest level at which somebody else holds locks and waits until this is done.
    pub beneath: Option<LevelId>,
    /// Told once for each level, before waiting for it, who is in the way.
    pub waits: Option<&'a dyn Fn(&Error)>,
}

/// What was done under locks, and whether they were held to its end.
#[derive(Debug)]
pub struct Held<R> {
    /// What the body returned.
    pub value: R,
    /// Why the daemon's locks may have been lost meanwhile: its connection was.
    pub lost: Option<Error>,
}

/// The locks of a daemon.
pub struct DaemonLocks {
    client: Client,
    hierarchy: Hierarchy,
    lock_dir: Option<PathBuf>,
    title: String,
}

#[derive(Deserialize)]
struct Levels {
    levels: Vec<Level>,
    lock_dir: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Level {
    name: String,
    scope: Scope,
}

impl DaemonLocks {
    /// Asks the daemon for its levels. `title` is what whoever waits is told of this process.
    ///
    /// # Errors
    ///
    /// As [`Client::call`].
    pub fn of(mut client: Client, title: &str) -> Result<Self, Error> {
        let Levels { levels, lock_dir } = client.call("LockmasterLevels", &json!([]))?;
        let builder = levels.iter().fold(Hierarchy::builder(), |builder, level| {
            builder.scoped_level(&level.name, level.scope)
        });
        Ok(Self { client, hierarchy: builder.build()?, lock_dir, title: title.to_owned() })
    }

    /// The levels.
    #[must_use]
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// The lock directory of the daemon's machine.
    #[must_use]
    pub fn lock_dir(&self) -> Option<&Path> {
        self.lock_dir.as_deref()
    }

    /// Runs `body` with the locks held, level by level asked for; they are given back when it
    /// returns or panics. `dir` is where those of scope `node` are taken as files.
    ///
    /// # Errors
    ///
    /// `InUse` where they are not to be had in time; `Refused` where the request cannot be granted,
    /// or needs files and there is no `dir`; as [`Client::call`]. `body` does not run then.
    pub fn with<R>(
        &mut self,
        request: &LockRequest,
        options: DaemonLockOptions<'_>,
        dir: Option<LockDir>,
        body: impl FnOnce(&[LockGuard<'_>]) -> R,
    ) -> Result<Held<R>, Error> {
        let builder = Locks::builder(self.hierarchy.clone()).program(&self.title);
        let files = dir.into_iter().fold(builder, LocksBuilder::dir).open();
        let owner = files.owner();
        let until = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut asking = Asking { of: self, options, until, is_done: false };
        let (mut guards, mut alone) = (Vec::new(), false);
        for (level, locks) in request.levels() {
            asking.ask(level, locks)?;
            match asking.is_of_node(level) {
                true => guards.push(asking.fence(&owner, level, locks)?),
                false => alone = true,
            }
        }
        let value = body(&guards);
        // The files first: the next one then finds them free.
        drop(guards);
        // Where there are files for all of it, those were held all the while.
        let lost = asking.give_back().err().filter(|_| alone);
        Ok(Held { value, lost })
    }
}

/// A request that is being granted level by level, or has been.
struct Asking<'a> {
    of: &'a mut DaemonLocks,
    options: DaemonLockOptions<'a>,
    until: Option<Instant>,
    is_done: bool,
}

impl Asking<'_> {
    fn is_of_node(&self, level: LevelId) -> bool {
        self.of.hierarchy.get(level).scope() == Scope::Node
    }

    fn left(&self) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Who says who is in the way, where anybody wants to know before the waiting begins.
    fn teller(&self) -> Option<&dyn Fn(&Error)> {
        self.options.waits.filter(|_| self.options.timeout != Some(Duration::ZERO))
    }

    fn ask(&mut self, level: LevelId, locks: &LevelLocks) -> Result<(), Error> {
        let name = self.of.hierarchy.name(level).to_owned();
        let all = locks.all().map(|mode| (None, mode));
        let names = locks.names().map(|(name, mode)| (Some(name.as_str()), mode));
        let wire = |(lock, mode)| json!({ "level": name, "name": lock, "mode": mode });
        let wire: Value = all.into_iter().chain(names).map(wire).collect();
        if self.teller().is_some() {
            match self.ask_once(&wire, Some(Duration::ZERO)) {
                Err(busy) if busy.kind() == ErrorKind::InUse => self.tell(&busy),
                done => return done,
            }
        }
        self.ask_once(&wire, self.left())
    }

    fn tell(&self, busy: &Error) {
        if let Some(tell) = self.teller() {
            tell(busy);
        }
    }

    fn ask_once(&mut self, wire: &Value, timeout: Option<Duration>) -> Result<(), Error> {
        let beneath = self.options.beneath.map(|level| self.of.hierarchy.name(level));
        let options = json!({
            "timeout": timeout.map(|timeout| timeout.as_secs_f64()),
            "title": self.of.title,
            "beneath": beneath,
        });
        let answer: Value = self.of.client.wait_for("LockmasterLock", &json!([wire, options]))?;
        match answer["locked"] == json!(true) {
            true => Ok(()),
            false => {
                let why = answer["why"].as_str().unwrap_or("the locks are busy");
                Err(Error::new(ErrorKind::InUse, why))
            }
        }
    }

    /// Takes what the daemon has granted as files.
    fn fence<'o>(
        &self,
        owner: &'o LockOwner,
        level: LevelId,
        locks: &LevelLocks,
    ) -> Result<LockGuard<'o>, Error> {
        let mut part = LockRequest::new();
        part.add_level(level, locks.clone());
        if self.teller().is_some() {
            match owner.lock(&part, LockOptions::asap()).map_err(Error::from) {
                Err(busy) if busy.kind() == ErrorKind::InUse => self.tell(&busy),
                done => return done,
            }
        }
        let options = LockOptions { timeout: self.left(), ..LockOptions::default() };
        owner.lock(&part, options).map_err(Error::from)
    }

    fn give_back(mut self) -> Result<(), Error> {
        self.is_done = true;
        self.of.client.call::<Value>("LockmasterUnlock", &json!([])).map(drop)
    }
}

impl Drop for Asking<'_> {
    /// Where a part was refused, or the body panicked.
    fn drop(&mut self) {
        if !self.is_done {
            // Lost with the connection otherwise.
            _ = self.of.client.call::<Value>("LockmasterUnlock", &json!([]));
        }
    }
}

impl fmt::Debug for DaemonLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonLocks").field("client", &self.client).finish_non_exhaustive()
    }
}

impl fmt::Debug for DaemonLockOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timeout, beneath, .. } = self;
        write!(f, "timeout {timeout:?}, beneath {beneath:?}")
    }
}
