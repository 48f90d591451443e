//! Who holds a lock, as it stands in the lock file.

use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::vocabulary::Timestamp;

/// Who holds a lock, as it stands in the lock file: told to those who wait and, where the owner
/// died, to the next one. Never obeyed: who holds a lock is what the kernel says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRecord {
    /// The process, by its number in its own namespace.
    pub pid: u32,
    /// When the process started, in ticks since the machine did: numbers of processes come again.
    pub start: u64,
    /// Which run of the machine that was.
    pub boot: String,
    /// What runs in it: the program, the job, the command.
    pub who: String,
    /// Since when the lock is held, in microseconds since 1970.
    pub since: i64,
    /// What the owner noted while it held the lock: what it was about to do.
    #[serde(default)]
    pub note: String,
}

impl OwnerRecord {
    /// A record of this process.
    #[must_use]
    pub fn of_this_process(who: &str, since: Timestamp) -> Self {
        let pid = std::process::id();
        Self {
            pid,
            start: start_of_this_process(),
            boot: boot().to_owned(),
            who: who.to_owned(),
            since: since.as_micros(),
            note: String::new(),
        }
    }

    /// Whether the process that wrote it still lives: the same one, not one with its number.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.is_of_this_boot() && start_of(self.pid) == Some(self.start)
    }

    /// Whether it was written since the machine was started.
    #[must_use]
    pub fn is_of_this_boot(&self) -> bool {
        self.boot == boot()
    }

    pub(super) fn to_line(&self) -> String {
        // Numbers and texts become JSON without fail.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// None where the line is not whole: its owner was killed while it wrote.
    pub(super) fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

impl fmt::Display for OwnerRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.who)?;
        if !self.note.is_empty() {
            write!(f, ": {}", self.note)?;
        }
        Ok(())
    }
}

/// The number of this run of the machine.
fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.trim().to_owned()
    })
}

fn start_of_this_process() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    *START.get_or_init(|| start_of(std::process::id()).unwrap_or_default())
}

/// When a process started, in ticks since the machine did; none where there is no such process.
fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name, second, is in parentheses and may hold anything; the time of start is the 22nd.
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_of_a_process_and_not_of_whoever_has_its_number() {
        let ours = OwnerRecord::of_this_process("a test", Timestamp::default());
        assert!(ours.is_alive());
        assert_eq!(OwnerRecord::parse(ours.to_line().trim_end()), Some(ours.clone()));
        assert!(!OwnerRecord { start: ours.start + 1, ..ours.clone() }.is_alive());
        let earlier = OwnerRecord { boot: "another".to_owned(), ..ours };
        assert!(!earlier.is_alive() && !earlier.is_of_this_boot());
    }
}
