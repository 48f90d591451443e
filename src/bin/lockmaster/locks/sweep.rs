//! `lockmaster locks --sweep`.

use std::path::Path;
use std::process::ExitCode;

use lockmaster::runtime::LockDir;
use lockmaster::vocabulary::Error;

use crate::output;

/// Removes what nobody holds, and says what is left and why.
pub(super) fn run(path: &Path) -> Result<ExitCode, Error> {
    let dir = LockDir::open(path)?;
    dir.warnings().iter().for_each(|warning| output::progress(format!("warning: {warning}")));
    let swept = dir.sweep()?;
    for lock in &swept.held {
        output::print(format!("{lock} is held"))?;
    }
    for (lock, record) in &swept.died {
        output::print(format!("{lock} is kept for its next owner: {record} died with it"))?;
    }
    for (lock, record) in &swept.earlier {
        output::print(format!("{lock}: {record} died with it before the machine was started"))?;
    }
    output::print(format!("removed {}", output::count(swept.removed, "file")))?;
    for error in &swept.failed {
        output::explain(error);
    }
    Ok(if swept.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
