//! Locks taken by this process itself, as files of the machine.

use std::path::Path;
use std::time::Duration;

use lockmaster::runtime::{GlobalLocks, LockDir, LockGuard, LockOptions, LockOwner, Locks};
use lockmaster::vocabulary::{Error, ErrorKind, Hierarchy, LockRequest, Scope};

use super::child::Child;
use super::{LockArgs, Refused, code};
use crate::output;

/// Takes the locks without a daemon, and runs the command.
pub(super) fn run(args: &LockArgs) -> Result<u8, Refused> {
    let dir = open(&args.lock_dir)?;
    let declared = dir.declared()?.map_or_else(plain_levels, Ok)?;
    let request = args.request(&declared)?;
    let hierarchy = if args.on_this_node { as_node(&declared)? } else { declared };
    refuse_beyond(&hierarchy, &request)?;
    let locks = Locks::builder(hierarchy).dir(dir).global(GlobalLocks::Refused);
    let locks = locks.program(args.title()).open();
    let owner = locks.owner();
    let guard = lock(&owner, &request, args.timeout)?;
    under(args, &[&guard])
}

/// Opens the lock directory, and says what is doubtful about it.
pub(super) fn open(path: &Path) -> Result<LockDir, Error> {
    let dir = LockDir::open(path)?;
    dir.warnings().iter().for_each(|warning| output::progress(format!("warning: {warning}")));
    Ok(dir)
}

/// Takes those locks as this process.
pub(super) fn lock<'a>(
    owner: &'a LockOwner,
    request: &LockRequest,
    timeout: Option<Duration>,
) -> Result<LockGuard<'a>, Refused> {
    let options = LockOptions { timeout, ..LockOptions::default() };
    owner.lock(request, options).map_err(|error| Refused::from(Error::from(error)))
}

/// Runs the command; the locks are given back after it.
pub(super) fn under(args: &LockArgs, guards: &[&LockGuard<'_>]) -> Result<u8, Refused> {
    // All guards of one owner tell the same.
    for dead in guards.first().iter().flat_map(|guard| guard.died()) {
        output::progress(format!("warning: {} died while it held {}", dead.record, dead.lock));
    }
    if !args.close {
        guards.iter().try_for_each(|guard| guard.keep_in_children()).map_err(Error::from)?;
    }
    let ended = match Child::start(&args.command)? {
        Ok(child) => child.wait()?,
        Err(not_started) => return Ok(not_started),
    };
    match guards.iter().try_for_each(|guard| guard.verify()) {
        Err(error) => {
            output::explain(&Error::from(error));
            Ok(if ended == 0 { code::LOST } else { ended })
        }
        Ok(()) => Ok(ended),
    }
}

/// The levels where nobody has said which: one, among the processes of the machine.
fn plain_levels() -> Result<Hierarchy, Error> {
    Hierarchy::builder().scoped_level("lock", Scope::Node).build()
}

/// The same levels, all of them among the processes of the machine.
fn as_node(hierarchy: &Hierarchy) -> Result<Hierarchy, Error> {
    let names = hierarchy.levels().map(|level| hierarchy.name(level));
    names.fold(Hierarchy::builder(), |all, name| all.scoped_level(name, Scope::Node)).build()
}

/// Refuses what only a daemon can give: nothing is taken for less than it was declared as.
fn refuse_beyond(hierarchy: &Hierarchy, request: &LockRequest) -> Result<(), Error> {
    for (level, _) in request.levels() {
        let level = hierarchy.get(level);
        if level.scope() != Scope::Node {
            let name = level.name();
            let message = format!("locks of the level {name} are the daemon's, and none answers");
            return Err(Error::new(ErrorKind::Refused, message).hint(
                "start lockmasterd, or say --on-this-node if keeping out what runs on this \
                 machine without the daemon is enough",
            ));
        }
    }
    Ok(())
}
