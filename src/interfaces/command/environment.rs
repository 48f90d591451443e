//! Finding processes by the environment they were started with: it passes to whatever they
//! start, also to what leaves their process group.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use rustix::process::{Pid, geteuid};

use super::processes::{Process, find, unless_gone};

/// The largest environment looked into, in bytes: what Linux lets a process have.
const ENVIRONMENT_BYTES: u64 = 6 << 20;

/// The processes of this user that have all these `NAME=value` in their environment.
pub(super) fn carrying(entries: &[&str]) -> io::Result<Vec<Process>> {
    find(|pid| {
        let environment = Environment::of(pid)?;
        Ok(environment.is_some_and(|found| entries.iter().all(|entry| found.has(entry))))
    })
}

/// The environment a process was started with: `NAME=value` after `NAME=value`, NUL after each.
pub(super) struct Environment(Vec<u8>);

impl Environment {
    /// None where it is of another user, has ended, or does not let us look.
    pub(super) fn of(pid: Pid) -> io::Result<Option<Self>> {
        match Self::read(&format!("/proc/{}", pid.as_raw_pid())) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            read => Ok(unless_gone(read)?.flatten()),
        }
    }

    fn read(directory: &str) -> io::Result<Option<Self>> {
        if std::fs::metadata(directory)?.uid() != geteuid().as_raw() {
            return Ok(None);
        }
        let file = File::open(format!("{directory}/environ"))?;
        let mut bytes = Vec::new();
        file.take(ENVIRONMENT_BYTES).read_to_end(&mut bytes)?;
        Ok(Some(Self(bytes)))
    }

    fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == 0)
    }

    fn has(&self, entry: &str) -> bool {
        self.entries().any(|other| other == entry.as_bytes())
    }

    pub(super) fn get(&self, name_and_equals: &str) -> Option<&str> {
        let mut values =
            self.entries().filter_map(|entry| entry.strip_prefix(name_and_equals.as_bytes()));
        std::str::from_utf8(values.next()?).ok()
    }
}
