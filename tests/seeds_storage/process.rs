//! Another process that works on pools: this executable, started again.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockmaster::runtime::LockOptions;

use super::another::{self, Another, next_line, say};
use super::zpool::fake::{Failed, Zpool};
use super::zpool::play::{Actor, act, ending};
use super::zpool::{Agent, Intent, locks};

/// The variable that tells a process where to work, and what to do: `who does locked`.
const DIRECTORY: &str = "STORAGE_DIRECTORY";
const DOES: &str = "STORAGE_DOES";

/// A process; killed when dropped.
pub(crate) struct Process {
    another: Another,
    pub(crate) actor: Actor,
}

impl Process {
    /// Starts one that does something with pool pA, under its lock or not.
    pub(crate) fn start(directory: &Path, who: &str, does: &str, locked: bool) -> Self {
        let does = PathBuf::from(format!("{who} {does} {locked}"));
        let variables = [(DIRECTORY, directory), (DOES, &*does)];
        let mut another = Another::start("process::work", &variables);
        let (said, mut orders) = another.hand_over();
        Self { another, actor: Actor::new(said, move || writeln!(orders, "go").unwrap()) }
    }

    /// Starts one and lets it go on until it is before that command.
    pub(crate) fn before(directory: &Path, does: &str, command: &str) -> Self {
        let mut process = Self::start(directory, "other", does, true);
        process.actor.go();
        process.actor.arrive();
        process.actor.pass_until(command);
        process
    }

    pub(crate) fn pid(&self) -> u32 {
        self.another.pid()
    }

    /// Waits until a thread of it waits in the kernel for a lock on a file.
    pub(crate) fn wait_until_it_waits(&self) {
        self.another.wait_until_it_waits();
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(self) -> u32 {
        self.another.kill()
    }
}

/// Waits until something is so.
pub(crate) fn wait_until(is_so: impl FnMut() -> bool) {
    another::wait_until("it is so", is_so);
}

fn say_and_wait(what: &str) {
    say(what);
    next_line();
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
    say(&ending(&result));
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
