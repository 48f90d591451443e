//! Another process that holds locks: this executable, started again, told what to do by lines.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lockmaster::runtime::{LockDir, LockGuard, LockOptions, LockOwner, Locks};
use lockmaster::vocabulary::{Hierarchy, LockRequest, Scope};

use super::another::{self, Another, next_line, say};
pub(crate) use super::another::{PATIENCE, wait_until, waits_in_kernel};

/// The variable that names the lock directory to a process that is to help.
const DIRECTORY: &str = "FENCE_HELPER";

/// Two levels among processes and one within: enough for everything here.
pub(crate) fn hierarchy() -> Hierarchy {
    let builder = Hierarchy::builder().scoped_level("pool", Scope::Node).reentrant();
    builder.level("memory").scoped_level("disk", Scope::Node).build().unwrap()
}

/// `"pool/a disk/b:s disk/*"`: exclusive unless marked shared, `*` for the whole level.
pub(crate) fn set(text: &str) -> LockRequest {
    another::lock_set::set(&hierarchy(), text)
}

/// The locks of that directory, as this process sees them.
pub(crate) fn locks(directory: &Path) -> Locks {
    Locks::builder(hierarchy()).dir(LockDir::open(directory).unwrap()).program("a test").open()
}

/// Another process that uses locks.
pub(crate) struct Helper(Another);

impl Deref for Helper {
    type Target = Another;

    fn deref(&self) -> &Another {
        &self.0
    }
}

impl DerefMut for Helper {
    fn deref_mut(&mut self) -> &mut Another {
        &mut self.0
    }
}

impl Helper {
    /// Starts one that uses that lock directory.
    pub(crate) fn start(directory: &Path) -> Self {
        Self(Another::start("helper::help", &[(DIRECTORY, directory)]))
    }

    /// Waits until it has done something that takes long.
    pub(crate) fn hear_of_the_end(&self) {
        assert_eq!(self.hear_within(10 * PATIENCE), "done");
    }

    /// Tells it to lock and waits until it has.
    pub(crate) fn lock(&mut self, set: &str) {
        assert_eq!(self.ask(&format!("lock {set}")), "held");
    }

    /// Tells it to lock what another process has, and waits until it waits.
    pub(crate) fn wait_for(&mut self, set: &str) {
        self.tell(&format!("lock {set}"));
        self.wait_until_it_waits();
    }

    /// Tells it to give back what it locked last.
    pub(crate) fn unlock(&mut self) {
        assert_eq!(self.ask("unlock"), "free");
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(self) -> u32 {
        self.0.kill()
    }

    /// Lets it end, and waits for that.
    pub(crate) fn end(self) {
        self.0.end();
    }
}

/// Not a test where nobody asks for help.
#[test]
fn help() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let locks = locks(&directory);
    say("ready");
    let owner: &'static LockOwner = Box::leak(Box::new(locks.owner()));
    let mut guards: Vec<LockGuard<'static>> = Vec::new();
    while let Some(line) = next_line() {
        let (order, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match order {
            "lock" => report(owner.lock(&set(rest), LockOptions::default()), &mut guards),
            "try" => report(owner.lock(&set(rest), LockOptions::asap()), &mut guards),
            "unlock" => {
                drop(guards.pop());
                say("free");
            }
            "note" => guards.last().unwrap().note(rest).unwrap(),
            "died" => say(&format!("{:?}", guards.last().unwrap().died())),
            "fcntl" => say(crate::foreign::as_fasteners_do(Path::new(rest))),
            "child" => {
                let child = Command::new("sleep").arg("10").stdout(Stdio::null()).spawn();
                say(&format!("child started{}", child.map(|_| "").unwrap()));
            }
            "hammer" => hammer(&directory, rest),
            "random" => crate::order::random_locks(&locks, rest.parse().unwrap()),
            _ => panic!("what is {line:?}?"),
        }
        if matches!(order, "hammer" | "random" | "note") {
            say("done");
        }
    }
}

type Locked = Result<LockGuard<'static>, lockmaster::engine::locks::LockError>;

fn report(locked: Locked, guards: &mut Vec<LockGuard<'static>>) {
    match locked {
        Ok(guard) => {
            guards.push(guard);
            say("held");
        }
        Err(error) => say(&format!("refused: {error}")),
    }
}

/// Reads a number in a file and writes the next, so many times, under a lock whose file it removes
/// before it releases it.
fn hammer(directory: &Path, rounds: &str) {
    let locks = locks(directory);
    let counter = directory.join("counter");
    for _ in 0..rounds.parse::<u32>().unwrap() {
        locks
            .with(&set("disk/counter"), LockOptions::default(), |_| {
                let count: u64 = std::fs::read_to_string(&counter).unwrap().parse().unwrap();
                std::fs::write(&counter, (count + 1).to_string()).unwrap();
                std::fs::remove_file(directory.join("disk/counter.lock")).unwrap();
            })
            .unwrap();
    }
}
