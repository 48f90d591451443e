//! Commands that outlived the master that started them.
//!
//! A master that is killed cannot end its commands. Before the next one on the same state takes
//! up work, they have to be gone: they work without their locks.

use std::io;
use std::time::{Duration, Instant};

use super::environment::{Environment, carrying};
use super::output::Streams;
use super::processes::{Process, end_all};
use crate::vocabulary::{Error, ErrorKind, FeedbackKind, JobId};

/// How long a killed process may take to disappear.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process of an earlier master that was found running, and ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its number.
    pub pid: u32,
    /// The name of its program.
    pub program: String,
    /// The job it worked for.
    pub job: Option<JobId>,
}

/// Ends every process of this user that was started, directly or not, by commands of a master
/// on that state: TERM, and after `grace` KILL. Returns when none is left.
///
/// They are found by `LOCKMASTER_STATE` in the environment they were started with: a process
/// that changed its user or overwrote its environment is not found, and one that was started
/// with `env -u LOCKMASTER_STATE`, because it is meant to stay, is left alone.
///
/// # Errors
///
/// `Refused` where a killed process does not end within half a minute, `Io` where `/proc`
/// cannot be read.
pub fn end_leftovers(state_id: &str, grace: Duration) -> Result<Vec<Leftover>, Error> {
    let wanted = format!("LOCKMASTER_STATE={state_id}");
    let mut seen: Vec<Leftover> = Vec::new();
    let ours = || {
        let found = carrying(&[&wanted])?;
        for process in &found {
            let leftover = describe(process);
            if !seen.iter().any(|known| known.pid == leftover.pid) {
                seen.push(leftover);
            }
        }
        Ok(found)
    };
    let now = Instant::now();
    let kill_at = now.checked_add(grace).unwrap_or(now);
    let silent = |_: FeedbackKind, _: &str| {};
    let ended = Streams::new([], &silent)
        .and_then(|mut streams| end_all(ours, kill_at, Some(PATIENCE), &mut streams));
    match ended {
        Ok(()) => Ok(seen),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(Error::new(ErrorKind::Refused, format!("commands of an earlier run: {error}"))
                .hint("they hang in the kernel, mostly on a file system that does not answer"))
        }
        Err(error) => Err(Error::io("commands of an earlier run cannot be looked for", error)),
    }
}

fn describe(process: &Process) -> Leftover {
    let number = process.pid.as_raw_pid();
    let name = std::fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
    let environment = Environment::of(process.pid).ok().flatten();
    let job = environment.as_ref().and_then(|environment| environment.get("LOCKMASTER_JOB="));
    Leftover {
        pid: number.unsigned_abs(),
        program: name.trim_end().to_owned(),
        job: job.and_then(|job| job.parse().ok()),
    }
}
