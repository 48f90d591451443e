//! Starting and ending the processes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

const PATIENCE: Duration = Duration::from_secs(30);

/// A place for a daemon: it outlives the daemons started in it.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command that starts a daemon here.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockmasterd"));
        command.arg("--state-dir").arg(self.path("state"));
        command.arg("--socket").arg(self.path("socket"));
        command.arg("--lock-dir").arg(self.path("locks"));
        command.env_remove("LOCKMASTER_LOG");
        command
    }

    /// Starts a daemon here for which a write beyond a limit is an error and not its end.
    pub(crate) fn start_for_full_disk(&self) -> Daemon {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
        let daemon = self.command();
        command.arg(daemon.get_program()).args(daemon.get_args());
        Daemon::start(command)
    }

    /// Starts a daemon here.
    pub(crate) fn start(&self) -> Daemon {
        Daemon::start(self.command())
    }

    /// Runs the command line against the daemon here.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.cli(args).output().expect("the command line can be started")
    }

    pub(crate) fn cli(&self, args: &[&str]) -> Command {
        cli(&self.path("socket"), args)
    }

    /// Runs the command line, which has to end with that code; what it printed.
    pub(crate) fn expect(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
        out
    }

    /// Submits a delay with those parameters and gives its id.
    pub(crate) fn submit(&self, params: &[&str]) -> String {
        let args = [&["submit", "OP_TEST_DELAY"], params].concat();
        self.expect(0, &args).trim().to_owned()
    }

    /// Waits until a job has that status.
    pub(crate) fn wait_for_status(&self, id: &str, status: &str) {
        let mut watch = self.cli(&["watch", id]);
        let mut watch = watch.stdout(Stdio::null()).stderr(Stdio::piped());
        watch = watch.stdin(Stdio::null());
        let mut child = watch.spawn().expect("the command line can be started");
        let lines = lines(child.stderr.take().expect("stderr is piped"));
        let wanted = format!("job {id} {status}");
        wait_for_line(&lines, &wanted);
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }
}

/// The command line against that socket.
pub(crate) fn cli(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockmaster"));
    command.args(args).env("LOCKMASTER_SOCKET", socket);
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What was said with every duration as `T`: how long a test takes is nobody's promise.
pub(crate) fn without_durations(text: &str) -> String {
    let duration = regex::Regex::new(r"less than a second|\d+ (s|min)\b").expect("a pattern");
    duration.replace_all(text, "T").into_owned()
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    log: Receiver<String>,
}

impl Daemon {
    /// Starts a daemon and waits until it is ready.
    pub(crate) fn start(command: Command) -> Self {
        Self::start_saying(command, "ready")
    }

    /// Starts a daemon and waits until it has logged that.
    pub(crate) fn start_saying(mut command: Command, what: &str) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the daemon can be started");
        let log = lines(child.stderr.take().expect("stderr is piped"));
        wait_for_line(&log, what);
        Self { child, log }
    }

    /// Starts a daemon, waits until it is ready, and gives the line before that with `what`.
    pub(crate) fn start_and_find(mut command: Command, what: &str) -> (Self, String) {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the daemon can be started");
        let log = lines(child.stderr.take().expect("stderr is piped"));
        let line = wait_for_line(&log, what);
        wait_for_line(&log, "ready");
        (Self { child, log }, line)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("the daemon lives");
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        tasks.expect("the daemon lives").count()
    }

    /// Makes every further write of it to a file fail.
    pub(crate) fn fill_the_disk(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let none = Rlimit { current: Some(0), maximum: None };
        prlimit(pid, Resource::Fsize, none).expect("the limit can be set");
    }

    /// Waits until it has logged something; the line.
    pub(crate) fn wait_for_log(&self, what: &str) -> String {
        wait_for_line(&self.log, what)
    }

    /// Kills it as a power failure would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the daemon lives");
        self.child.wait().expect("it can be waited for");
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(mut self) -> ExitStatus {
        // The log ends with the process.
        while self.log.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().expect("it can be waited for")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already where the test has made it end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let read = BufReader::new(from).lines().map_while(Result::ok);
        read.for_each(|line| drop(sender.send(line)));
    });
    lines
}

fn wait_for_line(lines: &Receiver<String>, what: &str) -> String {
    let mut seen = Vec::new();
    while let Ok(line) = lines.recv_timeout(PATIENCE) {
        if line.contains(what) {
            return line;
        }
        seen.push(line);
    }
    panic!("no line with {what:?} within {PATIENCE:?}, only:\n{}", seen.join("\n"));
}
