//! Another process: the test's executable, started again, and told what to do by lines.
#![allow(dead_code)] // Every test binary uses its own part of this.

#[path = "lock_set.rs"]
pub(crate) mod lock_set;

use std::io::{BufRead as _, BufReader, Write as _, stdin};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything that has to happen may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

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
pub(crate) struct Another {
    child: Child,
    orders: Option<ChildStdin>,
    said: Option<Receiver<String>>,
}

impl Another {
    /// Starts the test of that name, which finds the variables and does what it is told; waits
    /// until it is ready.
    pub(crate) fn start(test: &str, variables: &[(&str, &Path)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        command.envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
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
        let another = Self { child, orders, said: Some(said) };
        assert_eq!(another.hear(), "ready");
        another
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
        self.hear_within(PATIENCE)
    }

    pub(crate) fn hear_within(&self, patience: Duration) -> String {
        let said = self.said.as_ref().unwrap().recv_timeout(patience);
        said.unwrap_or_else(|_| panic!("{} is silent", self.pid()))
    }

    /// Whether it has said nothing since.
    pub(crate) fn is_silent(&self) -> bool {
        self.said.as_ref().unwrap().try_recv().is_err()
    }

    /// Tells it something and waits until it is done.
    pub(crate) fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        self.hear()
    }

    /// What it says from now on, and where it is told what to do: for somebody else.
    pub(crate) fn hand_over(&mut self) -> (Receiver<String>, ChildStdin) {
        (self.said.take().unwrap(), self.orders.take().unwrap())
    }

    /// Waits until it waits for what another process has.
    pub(crate) fn wait_until_it_waits(&self) {
        wait_until("the other process waits", || waits_in_kernel(self.pid()));
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

impl Drop for Another {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the other process says.
pub(crate) fn say(what: &str) {
    // As the whole line, whatever stands before it.
    println!("@{what}");
}

/// What it is told next.
pub(crate) fn next_line() -> Option<String> {
    let mut line = String::new();
    let read = stdin().read_line(&mut line).unwrap();
    (read > 0).then(|| line.trim_end().to_owned())
}
