//! Another process that holds locks: this executable, started again, told what to do by lines.

use std::io::{BufRead, BufReader, Write, stdin};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use lockmaster::runtime::{LockDir, LockGuard, LockOptions, LockOwner, Locks};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Scope};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything that has to happen may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The variable that names the lock directory to a process that is to help.
const DIRECTORY: &str = "FENCE_HELPER";

/// Two levels among processes and one within: enough for everything here.
pub(crate) fn hierarchy() -> Hierarchy {
    let builder = Hierarchy::builder().scoped_level("pool", Scope::Node).reentrant();
    builder.level("memory").scoped_level("disk", Scope::Node).build().unwrap()
}

/// `"pool/a disk/b:s disk/*"`: exclusive unless marked shared, `*` for the whole level.
pub(crate) fn set(text: &str) -> LockRequest {
    let (hierarchy, mut request) = (hierarchy(), LockRequest::new());
    for word in text.split_whitespace() {
        let (lock, mode) = match word.strip_suffix(":s") {
            Some(lock) => (lock, LockMode::Shared),
            None => (word, LockMode::Exclusive),
        };
        let (level, name) = lock.split_once('/').unwrap();
        let level = hierarchy.level(level).unwrap();
        match name {
            "*" => request.add_all(level, mode).unwrap(),
            name => request.add(level, name, mode).unwrap(),
        };
    }
    request
}

/// The locks of that directory, as this process sees them.
pub(crate) fn locks(directory: &Path) -> Locks {
    Locks::builder(hierarchy()).dir(LockDir::open(directory).unwrap()).program("a test").open()
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
pub(crate) fn waits_in_kernel(pid: u32) -> bool {
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
    orders: Option<ChildStdin>,
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
        let orders = child.stdin.take();
        let helper = Self { child, orders, said };
        assert_eq!(helper.hear(), "ready");
        helper
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it something to do.
    pub(crate) fn tell(&mut self, order: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
    }

    /// What it says next.
    pub(crate) fn hear(&self) -> String {
        self.said.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{} is silent", self.pid()))
    }

    /// Waits until it has done something that takes long.
    pub(crate) fn hear_of_the_end(&self) {
        let said = self.said.recv_timeout(10 * PATIENCE);
        assert_eq!(said.as_deref(), Ok("done"), "{}", self.pid());
    }

    /// Whether it has said nothing since.
    pub(crate) fn is_silent(&self) -> bool {
        self.said.try_recv().is_err()
    }

    /// Tells it to lock and waits until it has.
    pub(crate) fn lock(&mut self, set: &str) {
        self.tell(&format!("lock {set}"));
        assert_eq!(self.hear(), "held");
    }

    /// Tells it to lock what another process has, and waits until it waits.
    pub(crate) fn wait_for(&mut self, set: &str) {
        self.tell(&format!("lock {set}"));
        let pid = self.pid();
        wait_until("the other process waits", || waits_in_kernel(pid));
    }

    /// Tells it to give back what it locked last.
    pub(crate) fn unlock(&mut self) {
        self.tell("unlock");
        assert_eq!(self.hear(), "free");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(mut self) -> u32 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child.id()
    }

    /// Lets it end, and waits for that.
    pub(crate) fn end(mut self) {
        drop(self.orders.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(what: &str) {
    // As the whole line, whatever stands before it.
    println!("@{what}");
}

/// Not a test where nobody asks for help.
#[test]
fn help() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let locks = locks(&directory);
    say("ready");
    let owner: &'static LockOwner = Box::leak(Box::new(locks.owner()));
    let mut guards: Vec<LockGuard<'static>> = Vec::new();
    for line in stdin().lines().map_while(Result::ok) {
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
