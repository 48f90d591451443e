//! What is said of locks that another process has, or that the system refuses.

use crate::engine::locks::LockError;
use crate::store::{FenceName, LockDir};
use crate::vocabulary::Error;

/// The system refuses a lock file.
pub(super) fn failed(name: &FenceName, error: &Error) -> LockError {
    LockError::FenceFailed { lock: name.to_string(), problem: error.to_string() }
}

/// Who has a lock, for people: what it wrote, or its process, or that nobody knows.
pub(super) fn holder(dir: &LockDir, name: &FenceName) -> String {
    let processes = dir.holding_processes(name);
    match dir.record(name) {
        Some(record) if record.is_alive() => return record.to_string(),
        Some(record) if processes.contains(&record.pid) => {
            return format!("what {record} left running");
        }
        _ => {}
    }
    let shown: Vec<String> = processes.iter().map(|pid| format!("process {pid}")).collect();
    match shown.is_empty() {
        true => "another process".to_owned(),
        false => shown.join(", "),
    }
}
