//! Locks asked of the daemon. Those of the machine are then taken by this process as well, so that
//! they last while it does, whatever becomes of the daemon.

use std::error::Error as _;
use std::io::ErrorKind as IoErrorKind;

use lockmaster::interfaces::held::place_of;
use lockmaster::interfaces::luxi::{Client, DaemonLockOptions, DaemonLocks};
use lockmaster::runtime::LockGuard;
use lockmaster::vocabulary::{Error, ErrorKind, Hierarchy, Scope};

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

/// Takes the locks through the daemon, and runs the command.
pub(super) fn run(args: &LockArgs, client: Client) -> Result<u8, Refused> {
    let mut locks = DaemonLocks::of(client, &args.title())?;
    let hierarchy = locks.hierarchy().clone();
    let request = args.request(&hierarchy)?;
    refuse_fcntl_without_files(args, &hierarchy)?;
    let outer = Outer::calls(&hierarchy, place_of(locks.lock_dir()), false);
    let request = outer.rest_of(&request)?;
    let dir = locks.lock_dir().map(|path| direct::open(args, path)).transpose()?;
    let say_why = |busy: &Error| direct::say_why(&output::harmless(&busy.to_string()));
    let waits: Option<&dyn Fn(&Error)> = args.says_why_it_waits().then_some(&say_why);
    let options = DaemonLockOptions { timeout: args.timeout, beneath: outer.deepest(), waits };
    let held = locks.with(&request, options, dir, |guards| {
        let guards: Vec<&LockGuard<'_>> = guards.iter().collect();
        direct::under(args, &outer, &request, &guards)
    });
    let held = held.map_err(|error| match error.kind() {
        // What the daemon says of others is not to move the cursor.
        ErrorKind::InUse => Error::new(ErrorKind::InUse, output::harmless(&error.to_string())),
        _ => error,
    })?;
    let ended = held.value?;
    Ok(held.lost.map_or(ended, |lost| said_to_be_lost(&lost, ended)))
}

/// The daemon did not keep the locks all the while.
fn said_to_be_lost(lost: &Error, ended: u8) -> u8 {
    output::explain(lost);
    output::progress("error: the daemon's locks were lost while the command ran");
    if ended == 0 { code::LOST } else { ended }
}

fn refuse_fcntl_without_files(args: &LockArgs, hierarchy: &Hierarchy) -> Result<(), Error> {
    let scope = hierarchy.get(hierarchy.level(&args.level)?).scope();
    if args.fcntl.is_none() || scope == Scope::Node {
        return Ok(());
    }
    let message = format!("locks of the level {} are no files of this machine", args.level);
    Err(Error::invalid(message).hint("--fcntl goes with levels of scope node"))
}
