//! The lock directory of the machine, as the daemon finds and leaves it.

use std::path::Path;

use lockmaster::interfaces::places::default_lock_dir;
use lockmaster::runtime::{ForeignLocks, LockDir};
use lockmaster::vocabulary::{Error, Hierarchy, Scope};

/// The level of `lockmaster lock` where nobody names one. The deepest, so that whoever holds
/// anything else may still take one of its locks.
const PLAIN: &str = "lock";

/// Opens the directory, sweeps it, and writes down the levels, of which [`PLAIN`] is the last.
///
/// Where nobody has named a directory and no level needs one, the daemon goes without it and
/// without that level if the usual place cannot be used.
pub(crate) fn open(
    named: Option<&Path>,
    hierarchy: Hierarchy,
    foreign: Vec<ForeignLocks>,
) -> Result<(Hierarchy, Option<LockDir>), Error> {
    let mut levels = hierarchy.levels().map(|level| hierarchy.get(level));
    let needed = named.is_some() || levels.any(|level| level.scope() == Scope::Node);
    let usual = default_lock_dir();
    match prepare(named.unwrap_or(&usual), hierarchy.clone(), foreign) {
        Err(error) if !needed => {
            tracing::warn!(%error, "no lock directory: lockmaster lock will not work here");
            Ok((hierarchy, None))
        }
        prepared => prepared.map(|(hierarchy, dir)| (hierarchy, Some(dir))),
    }
}

/// The same levels, and [`PLAIN`] as the last of them.
pub(crate) fn with_plain(hierarchy: Hierarchy) -> Result<Hierarchy, Error> {
    match hierarchy.level(PLAIN) {
        Ok(_) => Ok(hierarchy),
        Err(_) => hierarchy.with_level(PLAIN, Scope::Node),
    }
}

fn prepare(
    path: &Path,
    hierarchy: Hierarchy,
    foreign: Vec<ForeignLocks>,
) -> Result<(Hierarchy, LockDir), Error> {
    let dir = foreign.into_iter().fold(LockDir::open(path)?, LockDir::with_foreign);
    let hierarchy = with_plain(hierarchy)?;
    dir.declare(&hierarchy)?;
    let swept = dir.sweep()?;
    for (lock, record) in swept.died.iter().chain(&swept.earlier) {
        tracing::warn!(%lock, %record, "its owner died with it");
    }
    swept.failed.iter().for_each(|error| tracing::warn!(%error, "the sweep left a lock file"));
    let (removed, held) = (swept.removed, swept.held.len());
    tracing::info!(path = %path.display(), removed, held, "lock directory");
    Ok((hierarchy, dir))
}
