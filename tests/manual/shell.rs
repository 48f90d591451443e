//! A shell that finds the two binaries, and a place of its own.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// Stands at the end of what a command prints.
const END: &str = "\u{1}end of output";

/// A running shell; ended with all it started when dropped.
#[derive(Debug)]
pub(crate) struct Shell {
    directory: TempDir,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Where a daemon says that it is ready.
    ready: UnixDatagram,
}

impl Shell {
    /// Starts a shell in a new directory.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ready = UnixDatagram::bind(directory.path().join(".ready")).unwrap();
        ready.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let binaries = Path::new(env!("CARGO_BIN_EXE_lockmaster")).parent().unwrap();
        let path = format!("{}:/usr/bin:/bin", binaries.display());
        let mut child = Command::new("sh")
            .current_dir(directory.path())
            .env_clear()
            .envs([("PATH", path.as_str()), ("TZ", "UTC"), ("LC_ALL", "C"), ("HOME", "/nowhere")])
            .env("LOCKMASTER_STATE_DIR", directory.path().join(".state"))
            .env("LOCKMASTER_SOCKET", directory.path().join(".socket"))
            .env("LOCKMASTER_LOCK_DIR", directory.path().join(".locks"))
            .env("NOTIFY_SOCKET", directory.path().join(".ready"))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        writeln!(input, "exec 2>&1").unwrap();
        Self { directory, child, input, output, ready }
    }

    /// Where it began.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs a command to its end; what it printed. Of a daemon in the background, waits until it
    /// is ready.
    pub(crate) fn run(&mut self, command: &str) -> String {
        let remember = "status=$?; printf '\\001end of output\\n'; (exit $status)";
        writeln!(self.input, "{command}\n{remember}").unwrap();
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "the shell has ended after {command}, having said {said}");
            if let Some(last) = line.trim_end().strip_suffix(END) {
                said.push_str(last);
                break;
            }
            said.push_str(&line);
        }
        if command.starts_with("lockmasterd ") && command.ends_with('&') {
            self.wait_until_ready();
        }
        said.replace(&self.directory.path().display().to_string(), "/home/ann")
    }

    fn wait_until_ready(&self) {
        let mut message = [0; 1024];
        let length = loop {
            match self.ready.recv(&mut message) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                heard => break heard.unwrap(),
            }
        };
        assert!(message[..length].starts_with(b"READY=1"), "the first message is that it is ready");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}
