//! Another process: this executable, started again, which enters a critical section when told.

use std::path::{Path, PathBuf};

use lockmaster::runtime::{LockGuard, LockOptions, LockOwner};

use crate::another::Another;
pub(crate) use crate::another::lock_set::set;
pub(crate) use crate::another::{next_line, say, wait_until};
use crate::cinder_drivers::{hierarchy, locks};

/// The variable that names the lock directory to a process that is to help.
const DIRECTORY: &str = "CINDER_HELPER";

/// Starts a process that uses that lock directory.
pub(crate) fn helper(directory: &Path) -> Another {
    Another::start("helper::help", &[(DIRECTORY, directory)])
}

/// Stops until told to go on.
pub(crate) fn stop_here() {
    say("cut");
    next_line();
}

/// Not a test where nobody asks for help.
#[test]
fn help() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let (locks, hierarchy) = (locks(&directory).unwrap(), hierarchy().unwrap());
    say("ready");
    let owner: &'static LockOwner = Box::leak(Box::new(locks.owner()));
    let mut guards: Vec<LockGuard<'static>> = Vec::new();
    while let Some(line) = next_line() {
        let (order, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let options = if order == "try" { LockOptions::asap() } else { LockOptions::default() };
        match order {
            "lock" | "try" => match owner.lock(&set(&hierarchy, rest), options) {
                Ok(guard) => {
                    guards.push(guard);
                    say("held");
                }
                Err(error) => say(&format!("refused: {error}")),
            },
            "unlock" => {
                drop(guards.pop());
                say("free");
            }
            "tool" => crate::scopes::run_the_tool(&locks, rest),
            "target" => crate::targets::serve(&directory, rest),
            _ => panic!("what is {line:?}?"),
        }
    }
}
