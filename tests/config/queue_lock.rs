//! The lock on the state directory between real processes: masters, and helpers beside them.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use lockmaster::store::QueueLock;
use lockmaster::{ErrorKind, Master};
use tempfile::TempDir;

/// Says which directory the child should have a master or a helper on, and which of them.
const CHILD: &str = "LOCKMASTER_TEST_QUEUE_LOCK";

/// A process that says how its opening went, and lives until its input is closed.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Process {
    fn start(what: &str, dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "queue_lock::child", "--nocapture"])
            .env(CHILD, format!("{what} {}", dir.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { stdin: child.stdin.take(), child, lines }
    }

    /// What it says next.
    fn says(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the child says nothing more");
            if let Some((_, said)) = line.split_once("child: ") {
                return said.trim_end().to_owned();
            }
        }
    }

    /// Lets it end by itself.
    fn end(mut self) {
        drop(self.stdin.take());
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
    }
}

impl Drop for Process {
    /// Kills it, if it has not ended.
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What a child does; nothing where this runs as a test.
#[test]
fn child() {
    let Some(what) = std::env::var(CHILD).ok() else { return };
    let (what, dir) = what.split_once(' ').unwrap();
    let kept: Box<dyn std::any::Any> = match what {
        "master" => Box::new(Master::builder(dir).program("the master").start().inspect_err(told)),
        _ => Box::new(QueueLock::open(Path::new(dir), "the helper").inspect_err(told)),
    };
    match kept.downcast_ref::<Result<QueueLock, lockmaster::Error>>() {
        Some(Ok(lock)) => match lock.write("from-helper", b"written") {
            Ok(()) => println!("child: wrote"),
            Err(error) => println!("child: {error}"),
        },
        _ => println!("child: opened"),
    }
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn told(error: &lockmaster::Error) {
    println!("child: {error}");
}

fn state() -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    (dir, path)
}

#[test]
fn a_helper_beside_a_master_relies_on_it_reads_and_does_not_write() {
    let (_dir, path) = state();
    let mut master = Process::start("master", &path);
    assert_eq!(master.says(), "opened");
    std::fs::write(path.join("note"), "from the master").unwrap();
    let helper = QueueLock::open(&path, "the helper").unwrap();
    assert!(!helper.is_exclusive());
    assert_eq!(helper.read("note", 100).unwrap().unwrap(), b"from the master");
    let error = helper.write("note", b"changed").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    let pid = format!("pid {}", master.child.id());
    assert!(
        error.to_string().contains("the master") && error.to_string().contains(&pid),
        "{error}"
    );
    assert_eq!(std::fs::read(path.join("note")).unwrap(), b"from the master");
    drop(master);
    helper.write("note", b"changed").expect_err("he was second, and stays so");
    let helper = QueueLock::open(&path, "the helper").unwrap();
    assert!(helper.is_exclusive(), "the kernel gives back what a dead process had");
    helper.write("note", b"changed").unwrap();
    assert_eq!(std::fs::read(path.join("note")).unwrap(), b"changed");
}

#[test]
fn of_two_helpers_the_second_does_not_write_and_no_master_starts_beside_them() {
    let (_dir, path) = state();
    let mut first = Process::start("helper", &path);
    assert_eq!(first.says(), "wrote");
    let mut second = Process::start("helper", &path);
    let refusal = second.says();
    assert!(refusal.contains("from-helper is not written"), "{refusal}");
    assert!(refusal.contains("in use by the helper, pid"), "{refusal}");
    let mut master = Process::start("master", &path);
    let refusal = master.says();
    assert!(refusal.contains("in use by the helper"), "{refusal}");
    first.end();
    let mut master = Process::start("master", &path);
    assert_eq!(master.says(), "opened", "the second helper holds nothing");
    master.end();
    second.end();
}

#[test]
fn a_helper_that_comes_first_checks_the_log() {
    let (_dir, path) = state();
    let master = Master::builder(&path).paused().start().unwrap();
    drop(master);
    drop(QueueLock::open(&path, "the helper").unwrap());
    let segment = std::fs::read_dir(path.join("log")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[5] ^= 0xff;
    std::fs::write(&segment, &bytes).unwrap();
    let error = QueueLock::open(&path, "the helper").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(std::fs::read(&segment).unwrap(), bytes, "nothing is changed");
    assert_eq!(
        QueueLock::open(&path, "the helper").unwrap_err().kind(),
        ErrorKind::Corrupt,
        "the lock was given back"
    );
}

#[test]
fn what_is_the_logs_is_out_of_reach() {
    let (_dir, path) = state();
    let helper = QueueLock::open(&path, "the helper").unwrap();
    for name in ["lock", "log", "archive", "log/1", "../x", "/etc/passwd", "", ".", ".."] {
        assert_eq!(helper.write(name, b"").unwrap_err().kind(), ErrorKind::Invalid, "{name}");
        assert_eq!(helper.read(name, 9).unwrap_err().kind(), ErrorKind::Invalid, "{name}");
    }
    assert_eq!(helper.read("nothing", 9).unwrap(), None);
    helper.write("long", b"0123456789").unwrap();
    assert_eq!(helper.read("long", 9).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(helper.read("long", 10).unwrap().unwrap(), b"0123456789");
    drop(helper);
    Master::builder(&path).start().expect("nothing of the log was touched");
}
