//! Locks for clients: `LockmasterLevels`, `LockmasterLock`, `LockmasterUnlock`.
//!
//! The connection is the owner: what it holds and waits for ends with it.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::message::{Failure, Request};
use super::methods::Reply;
use super::peer::Peer;
use super::service::Service;
use crate::runtime::LockOptions;
use crate::vocabulary::{Error, Hierarchy, LockMode, LockRequest, Priority};

/// How many locks a client may ask for at once.
const MOST_LOCKS: usize = 10_000;
/// The longest a client may say what it is.
const TITLE_CHARS: usize = 300;

/// A request for locks, read and understood.
#[derive(Debug)]
pub(super) struct LockWish {
    pub(super) request: LockRequest,
    pub(super) options: LockOptions,
    /// Who asks, for those who wait for it.
    pub(super) title: String,
    /// When the client wants an answer in any case.
    pub(super) until: Option<Instant>,
}

#[derive(Deserialize)]
struct WireLock {
    level: String,
    /// All locks of the level where there is no name.
    name: Option<String>,
    mode: LockMode,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireOptions {
    timeout: Option<f64>,
    priority: i64,
    title: String,
    /// The deepest level at which a call holds locks that runs this one.
    beneath: Option<String>,
}

/// The levels, how far each reaches, and where the locks of the machine are.
pub(super) fn levels(service: &dyn Service) -> Result<Reply, Failure> {
    let (hierarchy, dir) = service.levels().ok_or_else(no_locks)?;
    let level = |level| {
        let level = hierarchy.get(level);
        json!({ "name": level.name(), "scope": level.scope() })
    };
    let levels: Value = hierarchy.levels().map(level).collect();
    Ok(Reply::of(&json!({ "levels": levels, "lock_dir": dir }), 0))
}

/// Reads `[[{level, name, mode}], {timeout, priority, title, beneath}]`.
pub(super) fn lock(
    service: &dyn Service,
    peer: Peer,
    request: &Request,
    now: Instant,
) -> Result<Reply, Failure> {
    let (locks, options): (Vec<WireLock>, WireOptions) = request.args()?;
    let (hierarchy, _) = service.levels().ok_or_else(no_locks)?;
    let timeout = options.timeout.map(timeout).transpose()?;
    let until = timeout.and_then(|timeout| now.checked_add(timeout));
    let kind = match timeout {
        Some(Duration::ZERO) => LockOptions::asap().kind,
        _ => LockOptions::default().kind,
    };
    let priority = Priority::new(options.priority)?;
    let beneath = options.beneath.map(|level| hierarchy.level(&level)).transpose()?;
    Ok(Reply::Lock(LockWish {
        request: read(&hierarchy, &locks)?,
        options: LockOptions { priority, kind, timeout: None, beneath },
        title: title(&options.title, peer),
        until,
    }))
}

fn read(hierarchy: &Hierarchy, locks: &[WireLock]) -> Result<LockRequest, Error> {
    if locks.len() > MOST_LOCKS {
        let many = locks.len();
        return Err(Error::invalid(format!("{many} locks in one request; at most {MOST_LOCKS}"))
            .hint("a lock without a name is the whole of its level"));
    }
    let mut request = LockRequest::new();
    for lock in locks {
        let level = hierarchy.level(&lock.level)?;
        match &lock.name {
            Some(name) => request.add(level, name, lock.mode)?,
            None => request.add_all(level, lock.mode)?,
        };
    }
    Ok(request)
}

fn timeout(seconds: f64) -> Result<Duration, Error> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| Error::invalid(format!("a timeout of {seconds} seconds: {error}")))
}

fn title(said: &str, peer: Peer) -> String {
    let said: String = said.chars().filter(|c| !c.is_control()).take(TITLE_CHARS).collect();
    match peer.pid {
        Some(pid) => format!("process {pid} ({said})"),
        None => format!("a process ({said})"),
    }
}

fn no_locks() -> Failure {
    Failure::exception("GenericError", "there are no locks for clients here")
}

/// The answer to who has its locks, and to who cannot have them in time.
pub(super) fn outcome(why_not: Option<&str>) -> Value {
    json!({ "locked": why_not.is_none(), "why": why_not })
}
