//! A directory with job files whose commands wait until the test lets them go on.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

/// How long a test waits, in seconds, before it gives up.
const PATIENCE: i64 = 30;

/// Opcodes of the tests: a note that waits for the test, one that does not, one that fails.
const OPCODES: &str = r#"
[settings]
directory = "DIR"
workers = 3

[[opcode]]
id = "OP_STEP"
params.name = "string"
argv = ["sh", "-c", 'echo "begin $1" >> notes; echo "$1" > began; read line < "go"; echo "end $1" >> notes', "sh", "{name}"]
locks.instance = { exclusive = "i" }
on_crash = "retry"

[[opcode]]
id = "OP_NOTE"
params.name = "string"
argv = ["sh", "-c", 'echo "$1" >> notes; echo "said $1" >&2', "sh", "{name}"]

[[opcode]]
id = "OP_FAIL"
params.name = "string"
argv = ["sh", "-c", 'echo "$1" >> notes; echo "no luck with $1" >&2; exit 3', "sh", "{name}"]
undo = ["sh", "-c", 'echo "undo $1" >> notes', "sh", "{name}"]
"#;

pub(crate) struct Place {
    directory: tempfile::TempDir,
    began: File,
    go: File,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [began, go] = ["began", "go"].map(|name| fifo(&directory.path().join(name)));
        Self { directory, began, go }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a job file with those jobs behind the opcodes.
    pub(crate) fn jobs(&self, name: &str, jobs: &str) -> PathBuf {
        let directory = self.directory.path().display().to_string();
        let path = self.path(name);
        fs::write(&path, OPCODES.replace("DIR", &directory) + jobs).unwrap();
        path
    }

    /// `lockmaster run` of that file with the state directory of this place.
    pub(crate) fn command(&self, file: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockmaster"));
        command.arg("run").arg(self.path(file)).arg("--state-dir").arg(self.path("state"));
        command.args(args).current_dir(self.directory.path());
        command
    }

    pub(crate) fn run(&self, file: &str, args: &[&str]) -> Ended {
        Ended::of(self.command(file, args).output().unwrap())
    }

    pub(crate) fn start(&self, file: &str) -> Running {
        let mut command = self.command(file, &[]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running { child }
    }

    /// Waits until a step has begun, and says which.
    pub(crate) fn began(&self) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            wait_until_readable(&self.began);
            (&self.began).read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap().trim().to_owned()
    }

    /// Lets the step that waits go on.
    pub(crate) fn go_on(&self) {
        (&self.go).write_all(b"on\n").unwrap();
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        let notes = fs::read_to_string(self.path("notes")).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }
}

/// A fifo, open for both, so that neither end waits for the other to open it.
fn fifo(path: &Path) -> File {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

fn wait_until_readable(file: &File) {
    let patience = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&patience)).unwrap();
    assert_eq!(ready, 1, "no step has begun within {PATIENCE} seconds");
}

pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Reads what it says on stderr until it says that.
    pub(crate) fn wait_until_it_says(&mut self, what: &str) {
        let mut seen = Vec::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        let mut byte = [0];
        while stderr.read(&mut byte).unwrap() == 1 {
            seen.push(byte[0]);
            if seen.ends_with(what.as_bytes()) {
                return;
            }
        }
        panic!("it never said {what:?}, but {}", String::from_utf8_lossy(&seen));
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait(self) -> Ended {
        Ended::of(self.child.wait_with_output().unwrap())
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}
