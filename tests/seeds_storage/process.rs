//! Another process that works on pools: this executable, started again.

use std::io::{BufRead, BufReader, Write, stdin};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use lockmaster::runtime::LockOptions;

use super::zpool::fake::{Failed, Zpool};
use super::zpool::play::{Actor, act, ending};
use super::zpool::{Agent, Intent, locks};

/// How long anything that has to happen may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The variable that tells a process where to work, and what to do: `who does locked`.
const DIRECTORY: &str = "STORAGE_DIRECTORY";
const DOES: &str = "STORAGE_DOES";

/// A process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) actor: Actor,
}

impl Process {
    /// Starts one that does something with pool pA, under its lock or not.
    pub(crate) fn start(directory: &Path, who: &str, does: &str, locked: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "process::work", "--nocapture", "--test-threads=1"]);
        command.env(DIRECTORY, directory).env(DOES, format!("{who} {does} {locked}"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (say, said) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            // What the test harness says of itself is on the same pipe.
            let lines = out.lines().map_while(Result::ok);
            let ours = lines.filter_map(|line| Some(line.split_once('@')?.1.to_owned()));
            ours.for_each(|line| _ = say.send(line));
        });
        let mut orders = child.stdin.take().unwrap();
        let actor = Actor::new(said, move || writeln!(orders, "go").unwrap());
        let mut process = Self { child, actor };
        assert_eq!(process.actor.arrive(), "ready");
        process
    }

    /// Starts one and lets it go on until it is before that command.
    pub(crate) fn before(directory: &Path, does: &str, command: &str) -> Self {
        let mut process = Self::start(directory, "other", does, true);
        process.actor.pass("ready");
        process.actor.pass_until(command);
        process
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a thread of it waits in the kernel for a lock on a file.
    pub(crate) fn wait_until_it_waits(&self) {
        let pid = self.pid().to_string();
        let waits = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.get(1) == Some(&"->") && words.get(5) == Some(&&*pid)
        };
        wait_until(|| std::fs::read_to_string("/proc/locks").unwrap().lines().any(waits));
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(mut self) -> u32 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        thread::yield_now();
    }
}

fn say_and_wait(what: &str) {
    println!("@{what}");
    stdin().lines().next();
}

/// Not a test where nobody asks for work.
#[test]
fn work() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let told = std::env::var(DOES).unwrap();
    let [who, does, locked] = told.split(' ').collect::<Vec<&str>>()[..] else { panic!("{told}") };
    let locks = (locked == "true").then(|| locks(&directory).unwrap());
    say_and_wait("ready");
    let zpool = Zpool::new(&directory, who);
    let result = if let Some(seed) = does.strip_prefix("random:") {
        rounds(&Agent::new(zpool, locks), seed.parse().unwrap())
    } else if does == "reserve" {
        super::a_calls::reserve_in_this_process(&directory)
    } else if does == "try" {
        let agent = Agent::new(zpool, locks);
        agent.session("pA", Intent::ScanReadOnly, LockOptions::asap(), |_| Ok(()))
    } else {
        act(&Agent::new(zpool.before(Arc::new(say_and_wait)), locks), does)
    };
    println!("@{}", ending(&result));
}

/// A hundred acts at random.
pub(crate) fn rounds(agent: &Agent, seed: u64) -> Result<(), Failed> {
    let mut random = seed;
    for _ in 0..100 {
        // Knuth's constants for a linear congruential generator.
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let does = ["scan", "mount", "unmount", "create"][(random >> 62) as usize];
        act(agent, does)
            .map_err(|Failed(problem)| Failed(format!("seed {seed}: {does}: {problem}")))?;
    }
    Ok(())
}
