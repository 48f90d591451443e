//! Another process: this executable, started again, which enters a critical section when told.

use std::io::{BufRead as _, BufReader, Write as _, stdin};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use lockmaster::runtime::{LockGuard, LockOptions, LockOwner};
use lockmaster::{Hierarchy, LockMode, LockRequest};

use crate::cinder_drivers::{hierarchy, locks};

/// How long anything that has to happen may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The variable that names the lock directory to a process that is to help.
const DIRECTORY: &str = "CINDER_HELPER";

/// `"volume/v1 snapshot/s1:s"`: exclusive unless marked shared.
pub(crate) fn set(hierarchy: &Hierarchy, text: &str) -> LockRequest {
    let mut request = LockRequest::new();
    for word in text.split_whitespace() {
        let (lock, mode) = match word.strip_suffix(":s") {
            Some(lock) => (lock, LockMode::Shared),
            None => (word, LockMode::Exclusive),
        };
        let (level, name) = lock.split_once('/').unwrap();
        request.add(hierarchy.level(level).unwrap(), name, mode).unwrap();
    }
    request
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::yield_now();
    }
}

/// Whether a thread of that process waits in the kernel for a lock on a file.
fn waits_in_kernel(pid: u32) -> bool {
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let waits = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1) == Some(&"->") && words.get(5) == Some(&&*pid.to_string())
    };
    locks.lines().any(waits)
}

/// Another process; killed when dropped.
pub(crate) struct Helper {
    child: Child,
    orders: ChildStdin,
    said: Receiver<String>,
}

impl Helper {
    /// Starts one that uses that lock directory.
    pub(crate) fn start(directory: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "helper::help", "--nocapture", "--test-threads=1"]);
        command.env(DIRECTORY, directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, said) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            let lines = out.lines().map_while(Result::ok);
            // What the test harness says of itself is on the same pipe.
            let ours = lines.filter_map(|line| Some(line.split_once('@')?.1.to_owned()));
            ours.for_each(|line| drop(sender.send(line)));
        });
        let orders = child.stdin.take().unwrap();
        let helper = Self { child, orders, said };
        assert_eq!(helper.hear(), "ready");
        helper
    }

    /// Tells it something to do.
    pub(crate) fn tell(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// What it says next.
    pub(crate) fn hear(&self) -> String {
        self.said.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{} is silent", self.pid()))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it something and waits until it is done.
    pub(crate) fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        self.hear()
    }

    /// Waits until it waits for what another process has.
    pub(crate) fn wait_until_it_waits(&self) {
        wait_until("the other process waits", || waits_in_kernel(self.pid()));
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn say(what: &str) {
    // As the whole line, whatever stands before it.
    println!("@{what}");
}

/// What this process is told next.
pub(crate) fn next_line() -> Option<String> {
    let mut line = String::new();
    let read = stdin().read_line(&mut line).unwrap();
    (read > 0).then(|| line.trim_end().to_owned())
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
