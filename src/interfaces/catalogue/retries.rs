//! How often something is tried that lacks something for a while.

use super::super::located::{Fields, Located};
use super::durations;
use crate::vocabulary::{Error, Retries};

/// Trying more often than this is a loop and not a retry.
const MOST_TRIES: i64 = 1000;

/// A number of tries, or a table with the waits between them.
pub(crate) fn read(at: Located<'_>) -> Result<Retries, Error> {
    if !at.is_table() {
        return Ok(Retries { tries: tries(at)?, ..Retries::default() });
    }
    let fields = at.fields("retries", &["tries", "first", "most"])?;
    let known = Retries::default();
    let first = wait(&fields, "first")?.unwrap_or(known.first);
    let most = wait(&fields, "most")?.unwrap_or(known.most.max(first));
    if most < first {
        let at = fields.required("most")?;
        return Err(at.error("the longest wait is shorter than the first"));
    }
    Ok(Retries { tries: tries(fields.required("tries")?)?, first, most })
}

fn wait(fields: &Fields<'_>, name: &str) -> Result<Option<std::time::Duration>, Error> {
    fields.get(name).map(durations::read_positive).transpose()
}

fn tries(at: Located<'_>) -> Result<u32, Error> {
    let what = "how many times it is tried in all: 1 to 1000, or a table with tries, first, most";
    match at.integer(what)? {
        tries @ 1..=MOST_TRIES => Ok(u32::try_from(tries).unwrap_or(1)),
        tries => Err(at.error(format!("{tries} is not a number of tries from 1 to {MOST_TRIES}"))),
    }
}
