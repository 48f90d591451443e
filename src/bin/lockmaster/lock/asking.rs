//! Locks asked of the daemon. Those of the machine are then taken by this process as well, so that
//! they last while it does, whatever becomes of the daemon.

use std::error::Error as _;
use std::io::ErrorKind as IoErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lockmaster::interfaces::held::place_of;
use lockmaster::interfaces::luxi::Client;
use lockmaster::runtime::{LockGuard, LockOwner, Locks};
use lockmaster::vocabulary::{
    Error, ErrorKind, Hierarchy, LevelId, LevelLocks, LockRequest, Scope,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::outer::Outer;
use super::{LockArgs, Refused, code, direct};
use crate::output;

/// The daemon, if one listens.
pub(super) fn connect(args: &LockArgs) -> Result<Option<Client>, Error> {
    match args.daemon.connect() {
        Ok(client) => Ok(Some(client)),
        Err(error) if nobody_listens(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn nobody_listens(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let nobody = [IoErrorKind::NotFound, IoErrorKind::ConnectionRefused];
    cause.is_some_and(|cause| nobody.contains(&cause.kind()))
}

#[derive(Deserialize)]
struct Levels {
    levels: Vec<DaemonLevel>,
    lock_dir: Option<PathBuf>,
}

#[derive(Deserialize)]
struct DaemonLevel {
    name: String,
    scope: Scope,
}

impl Levels {
    fn hierarchy(&self) -> Result<Hierarchy, Error> {
        let builder = self.levels.iter().fold(Hierarchy::builder(), |builder, level| {
            builder.scoped_level(&level.name, level.scope)
        });
        builder.build()
    }
}

/// What is locked through the daemon, and until when.
struct Asking<'a> {
    args: &'a LockArgs,
    client: Client,
    until: Option<Instant>,
    /// Whether the daemon alone keeps some of the locks.
    alone: bool,
    /// The deepest level at which a call holds anything that runs this one.
    beneath: Option<String>,
}

/// Takes the locks through the daemon, and runs the command.
pub(super) fn run(args: &LockArgs, mut client: Client) -> Result<u8, Refused> {
    let levels: Levels = client.call("LockmasterLevels", &json!([]))?;
    let hierarchy = levels.hierarchy()?;
    let request = args.request(&hierarchy)?;
    let until = args.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let of_node = |level| hierarchy.get(level).scope() == Scope::Node;
    if args.fcntl.is_some() && !of_node(hierarchy.level(&args.level)?) {
        let message = format!("locks of the level {} are no files of this machine", args.level);
        let error = Error::invalid(message);
        return Err(error.hint("--fcntl goes with levels of scope node").into());
    }
    let place = place_of(levels.lock_dir.as_deref());
    let outer = Outer::calls(&hierarchy, place, false);
    let request = outer.rest_of(&request)?;
    let alone = request.levels().any(|(level, _)| !of_node(level));
    let beneath = outer.deepest().map(|level| hierarchy.name(level).to_owned());
    let mut asking = Asking { args, client, until, alone, beneath };
    let locks = Locks::builder(hierarchy.clone()).program(args.title());
    let locks = match &levels.lock_dir {
        Some(path) => locks.dir(direct::open(args, path)?).open(),
        None => locks.open(),
    };
    let owner = locks.owner();
    let mut guards = Vec::new();
    for (level, part) in request.levels() {
        asking.ask(hierarchy.name(level), part)?;
        if of_node(level) {
            guards.push(asking.fence(&owner, level, part)?);
        }
    }
    let guards: Vec<&LockGuard<'_>> = guards.iter().collect();
    let ended = direct::under(args, &outer, &request, &guards)?;
    Ok(asking.end(ended))
}

impl Asking<'_> {
    fn ask(&mut self, level: &str, locks: &LevelLocks) -> Result<(), Refused> {
        let wire = |(name, mode)| json!({ "level": level, "name": name, "mode": mode });
        let wire: Value = locks.names().map(wire).collect();
        if self.args.says_why_it_waits() {
            match self.ask_once(&wire, Some(Duration::ZERO)) {
                Err(Refused::Busy(busy)) => direct::say_why(&busy),
                done => return done,
            }
        }
        self.ask_once(&wire, self.left())
    }

    fn left(&self) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(Instant::now()))
    }

    fn ask_once(&mut self, wire: &Value, timeout: Option<Duration>) -> Result<(), Refused> {
        let options = json!({
            "timeout": timeout.map(|timeout| timeout.as_secs_f64()),
            "title": self.args.title(),
            "beneath": self.beneath,
        });
        let answer: Value = self.client.wait_for("LockmasterLock", &json!([wire, options]))?;
        match answer["locked"] == json!(true) {
            true => Ok(()),
            false => {
                let why = answer["why"].as_str().unwrap_or("the locks are busy").to_owned();
                Err(Refused::Busy(Error::new(ErrorKind::InUse, output::harmless(&why))))
            }
        }
    }

    fn fence<'o>(
        &self,
        owner: &'o LockOwner,
        level: LevelId,
        locks: &LevelLocks,
    ) -> Result<LockGuard<'o>, Refused> {
        let mut part = LockRequest::new();
        for (name, mode) in locks.names() {
            part.add(level, name.as_str(), mode).map_err(Error::from)?;
        }
        direct::lock(self.args, owner, &part, self.left())
    }

    /// Gives the locks back; the exit code says so if the daemon did not keep them all the while.
    fn end(mut self, ended: u8) -> u8 {
        match self.client.call::<Value>("LockmasterUnlock", &json!([])) {
            Ok(_) => ended,
            // Their files were held all the while.
            Err(_) if !self.alone => ended,
            Err(error) => {
                output::explain(&error);
                output::progress("error: the daemon's locks were lost while the command ran");
                if ended == 0 { code::LOST } else { ended }
            }
        }
    }
}
