//! Locks taken by this process itself, as files of the machine.

use std::path::Path;
use std::time::Duration;

use lockmaster::interfaces::held::place_of;
use lockmaster::runtime::{
    ForeignLocks, GlobalLocks, LockDir, LockGuard, LockOptions, LockOwner, Locks,
};
use lockmaster::vocabulary::{Error, ErrorKind, Hierarchy, LockRequest, Scope};

use super::child::Child;
use super::outer::Outer;
use super::{LockArgs, Refused, code};
use crate::output;

/// Takes the locks without a daemon, and runs the command.
pub(super) fn run(args: &LockArgs) -> Result<u8, Refused> {
    let dir = open(args, &args.lock_dir)?;
    let declared = dir.declared()?.map_or_else(plain_levels, Ok)?;
    let request = args.request(&declared)?;
    let outer = Outer::calls(&declared, place_of(Some(dir.path())), args.on_this_node);
    let request = outer.rest_of(&request)?;
    let hierarchy = if args.on_this_node { as_node(&declared)? } else { declared.clone() };
    refuse_beyond(&hierarchy, &request)?;
    let locks = Locks::builder(hierarchy).dir(dir).global(GlobalLocks::Refused);
    let locks = locks.program(args.title()).open();
    let owner = locks.owner();
    let guard = lock(args, &owner, &request, args.timeout)?;
    under(args, &outer, &request, &[&guard])
}

/// Opens the lock directory, and says what is doubtful about it.
pub(super) fn open(args: &LockArgs, path: &Path) -> Result<LockDir, Error> {
    let mut dir = LockDir::open(path)?;
    dir.warnings().iter().for_each(|warning| output::progress(format!("warning: {warning}")));
    // The first that is named for a level counts.
    if let Some(path) = &args.fcntl {
        dir = dir.with_foreign(ForeignLocks::at(&args.level, path));
    }
    dir.with_declared_foreign()
}

/// Takes those locks as this process.
pub(super) fn lock<'a>(
    args: &LockArgs,
    owner: &'a LockOwner,
    request: &LockRequest,
    timeout: Option<Duration>,
) -> Result<LockGuard<'a>, Refused> {
    let with = |options| owner.lock(request, options).map_err(Error::from);
    if args.says_why_it_waits() {
        match with(LockOptions::asap()) {
            Err(busy) if busy.kind() == ErrorKind::InUse => say_why(&busy),
            done => return done.map_err(Refused::from),
        }
    }
    with(LockOptions { timeout, ..LockOptions::default() }).map_err(Refused::from)
}

/// Says why this call does not go on.
pub(super) fn say_why(why: &dyn std::fmt::Display) {
    output::progress(format!("waiting: {why}"));
}

/// Runs the command; the locks are given back after it.
pub(super) fn under(
    args: &LockArgs,
    outer: &Outer<'_>,
    request: &LockRequest,
    guards: &[&LockGuard<'_>],
) -> Result<u8, Refused> {
    // All guards of one owner tell the same.
    for dead in guards.first().iter().flat_map(|guard| guard.died()) {
        output::progress(format!("warning: {} died while it held {}", dead.record, dead.lock));
    }
    if !args.close {
        guards.iter().try_for_each(|guard| guard.keep_in_children()).map_err(Error::from)?;
    }
    let ended = match Child::start(&args.command, &outer.with(&args.title(), request))? {
        Ok(child) => child.wait()?,
        Err(not_started) => return Ok(not_started),
    };
    let verified = guards.iter().try_for_each(|guard| guard.verify()).map_err(Error::from);
    match verified.and_then(|()| outer.verify()) {
        Err(error) => {
            output::explain(&error);
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
