//! What the command line says about who waits for whom, of a master whose jobs hold some locks
//! while they wait for others.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use lockmaster::interfaces::luxi::{Server, ServerHandle, ServerLimits, Service};
use lockmaster::{JobId, Master, NewJob, TypedOp};
use serde_json::{Value, json};

use crate::process::{cli, text, without_durations};
use crate::support::{Step, next_note, open};

/// A master served to the command line.
struct Served {
    master: Arc<Master>,
    directory: tempfile::TempDir,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let builder = Master::builder(directory.path()).volatile().workers(2);
        let master = Arc::new(
            builder.units(lockmaster::runtime::Registry::add_typed::<Step>).start().unwrap(),
        );
        let service: Arc<dyn Service> = Arc::<Master>::clone(&master);
        let socket = directory.path().join("socket");
        let server = Server::bind(&socket, service, ServerLimits::default()).unwrap();
        let handle = server.handle();
        let thread = std::thread::spawn(move || server.run().unwrap());
        UnixStream::connect(&socket).unwrap();
        Self { master, directory, handle, thread: Some(thread) }
    }

    fn submit(&self, label: &str, step: &Step) -> JobId {
        let job = NewJob::of([step.opcode().unwrap()]).labelled(label);
        self.master.submit_one(job).unwrap()
    }

    /// Submits a job and waits until it stands in line for that lock.
    fn submit_waiting(&self, label: &str, step: &Step, lock: &str) -> JobId {
        let id = self.submit(label, step);
        let lock = format!("the lock {lock}");
        loop {
            let (sender, changed) = std::sync::mpsc::channel();
            self.master.on_change(id, move || _ = sender.send(()));
            if self.say(&["why", &id.to_string()]).contains(&lock) {
                return id;
            }
            changed.recv_timeout(crate::support::PATIENCE).unwrap();
        }
    }

    fn say(&self, args: &[&str]) -> String {
        let output = cli(&self.directory.path().join("socket"), args).output().unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{args:?}: {out}{err}");
        out
    }

    /// Three jobs: the last waits for a lock of the second, which waits for one of the first.
    fn with_three_jobs() -> Self {
        let served = Self::new();
        let names = |name: &str| vec![name.to_owned()];
        let gate = || "explain".to_owned();
        let first = Step { gate: gate(), shared_node: names("n1"), ..Step::default() };
        served.submit("maintain n1", &first);
        assert_eq!(next_note("explain"), "begin");
        let second = Step { instance: names("web1"), node: names("n1"), ..Step::default() };
        served.submit_waiting("snapshot \"web1\"", &second, "node/n1");
        let third = Step { instance: names("web1"), ..Step::default() };
        served.submit_waiting("resize web1", &third, "instance/web1");
        served
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        open("explain");
        self.handle.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

#[test]
fn a_chain_of_three_jobs_and_the_locks_between_them_are_told() {
    let served = Served::with_three_jobs();
    let expected = "\
job 3 (resize web1) has waited T for the lock instance/web1 (exclusive)
  job 2 (snapshot \"web1\") has held it (exclusive) for T, and itself waits for node/n1 (exclusive)
    job 1 (maintain n1) has held that (shared) for T; it executes OP_STEP
nobody was let in before it so far; after 1000 others, or in T, nobody is let in before it any more
";
    assert_eq!(without_durations(&served.say(&["why", "3"])), expected);
    let info = served.say(&["info", "3"]);
    assert!(info.contains("\n      job 2 (snapshot \"web1\") has held it "), "{info}");

    let why: Value = serde_json::from_str(&served.say(&["why", "3", "--json"])).unwrap();
    let link = |place: usize| {
        let link = &why["chain"][place];
        ["job", "lock", "mode", "blocker", "blocker_label", "held", "reserved"]
            .map(|key| link[key].clone())
    };
    let second =
        json!([3, "instance/web1", "exclusive", 2, "snapshot \"web1\"", "exclusive", false]);
    assert_eq!(json!(link(0)), second);
    assert_eq!(
        json!(link(1)),
        json!([2, "node/n1", "exclusive", 1, "maintain n1", "shared", false])
    );
    let end = ["job", "label", "reason", "opcode"].map(|key| why["behind"][0][key].clone());
    assert_eq!(json!(end), json!([1, "maintain n1", "executing", "OP_STEP"]));
    assert_eq!(why["reserves"]["grants"], 1000);

    let table = without_durations(&served.say(&["locks"]));
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    let expected = [
        vec!["LOCK", "WHO", "JOB", "LABEL", "MODE", "FOR"],
        vec!["cluster/BGL", "holds", "1", "maintain n1", "shared", "T"],
        vec!["cluster/BGL", "holds", "2", "snapshot \"web1\"", "shared", "T"],
        vec!["cluster/BGL", "holds", "3", "resize web1", "shared", "T"],
        vec!["instance/web1", "holds", "2", "snapshot \"web1\"", "exclusive", "T"],
        vec!["instance/web1", "waits, 1.", "3", "resize web1", "exclusive", "T"],
        vec!["node/n1", "holds", "1", "maintain n1", "shared", "T"],
        vec!["node/n1", "waits, 1.", "2", "snapshot \"web1\"", "exclusive", "T"],
    ];
    assert_eq!(lines, expected, "{table}");
    let expected = r#"digraph waits {
  "owner 1" [label="job 1\nmaintain n1"];
  "owner 2" [label="job 2\nsnapshot \"web1\""];
  "owner 3" [label="job 3\nresize web1"];
  "owner 2" -> "owner 1" [label="node/n1 (exclusive)", style=solid];
  "owner 3" -> "owner 2" [label="instance/web1 (exclusive)", style=solid];
}
"#;
    assert_eq!(served.say(&["locks", "--graph"]), expected);
    let locks: Value = serde_json::from_str(&served.say(&["locks", "--json"])).unwrap();
    assert_eq!(locks["locks"][1]["waiters"][0]["job"], 3);
}
