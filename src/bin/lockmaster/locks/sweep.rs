//! `lockmaster locks --sweep`.

use std::path::Path;
use std::process::ExitCode;

use lockmaster::runtime::LockDir;
use lockmaster::vocabulary::Error;

use crate::output;

/// Removes what nobody holds, and says what is left and why.
pub(super) fn run(path: &Path, only: Option<&str>) -> Result<ExitCode, Error> {
    let dir = LockDir::open(path)?;
    dir.warnings().iter().for_each(|warning| output::progress(format!("warning: {warning}")));
    let swept = dir.sweep_those(&|lock| only.is_none_or(|only| fits(only, &lock.to_string())))?;
    for lock in &swept.held {
        output::print(format!("{lock} is held"))?;
    }
    for (lock, record) in &swept.died {
        output::print(format!("{lock} is kept for its next owner: {record} died with it"))?;
    }
    for (lock, record) in &swept.earlier {
        output::print(format!("{lock}: {record} died with it before the machine was started"))?;
    }
    output::print(format!("removed the files of {}", output::count(swept.removed, "lock")))?;
    for error in &swept.failed {
        output::explain(error);
    }
    Ok(if swept.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// Whether a lock fits a pattern in which a `*` stands for any text.
fn fits(pattern: &str, lock: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| lock.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    let after = parts.try_fold(rest, |rest, part| Some(rest.split_once(part)?.1));
    after.is_some_and(|rest| rest.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_any_text() {
        let lock = "volume/attachment_update-v1-h1";
        for pattern in [lock, "*", "volume/*", "volume/attachment_update-v1-*", "*v1*h*1", "v*-*-*"]
        {
            assert!(fits(pattern, lock), "{pattern}");
        }
        for pattern in ["", "volume", "volume/attachment_update-v2-*", "*h1h1", "*-h1*h1", "h*"] {
            assert!(!fits(pattern, lock), "{pattern}");
        }
    }
}
