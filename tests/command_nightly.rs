//! The nightly example, carried out by a master: who excluded whom, and who ran side by side,
//! read off the times at which commands said `begin` and `end`.
#![cfg(feature = "commands")]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the answer")]

use std::path::Path;

use lockmaster::interfaces::catalogue::Catalogue;
use lockmaster::interfaces::command::state_id;
use lockmaster::interfaces::job_file::JobFile;
use lockmaster::runtime::{JobView, Master, Shutdown};
use lockmaster::vocabulary::{Hierarchy, OpState, Outcome, Timestamp, UndoState};
use serde_json::{Map, Value};

/// The example, in another directory, so that no two runs of it meet.
fn example(directory: &Path) -> JobFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/nightly.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let moved = text.replace("\"target/nightly\"", &format!("{:?}", directory.join("work")));
    assert_ne!(text, moved);
    JobFile::parse("nightly.toml", &moved, Catalogue::new(Hierarchy::default())).unwrap()
}

fn carry_out(file: &JobFile, state: &Path) -> Vec<JobView> {
    std::fs::create_dir_all(state).unwrap();
    let id = state_id(state).unwrap();
    let master = Master::builder(state)
        .hierarchy(file.catalogue.hierarchy().clone())
        .workers(file.catalogue.settings().workers.unwrap())
        .units(|registry| file.catalogue.register(registry, &id))
        .start()
        .unwrap();
    let ids = master.submit(file.jobs.clone()).unwrap();
    let views = ids.into_iter().map(|id| master.wait(id).unwrap()).collect();
    master.shutdown(Shutdown::Finish, None).unwrap();
    views
}

/// One command that ran: for whom, and from when to when.
struct Run {
    name: String,
    parameters: Map<String, Value>,
    begin: Timestamp,
    end: Timestamp,
}

impl Run {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).and_then(Value::as_str)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.begin < other.end && other.begin < self.end
    }

    /// Whether the two must not run at once, by what the opcodes of the example lock.
    fn excludes(&self, other: &Self) -> bool {
        let same =
            |name| self.parameter(name).is_some() && self.parameter(name) == other.parameter(name);
        let scrub = |run: &Self| run.name.ends_with("OP_SCRUB");
        let alone =
            |run: &Self| run.name.ends_with("OP_PRUNE") || run.name.ends_with("OP_INVENTORY");
        let node_alone = (scrub(self) || scrub(other)) && same("node");
        same("instance") || node_alone || alone(self) || alone(other)
    }
}

fn runs(views: &[JobView]) -> Vec<Run> {
    let mut runs = Vec::new();
    for view in views {
        for (place, op) in (0u32..).zip(&view.job.ops) {
            let said = |text: &str| {
                let mut lines = view.job.feedback.entries();
                lines.find(|line| line.op == place && &*line.text == text).map(|line| line.time)
            };
            runs.push(Run {
                name: format!("{} {}", view.job.name(), op.opcode.id),
                parameters: op.opcode.params.to_object(),
                begin: said("begin").unwrap(),
                end: said("end").or(op.end_time).unwrap(),
            });
        }
    }
    runs
}

fn view<'v>(views: &'v [JobView], label: &str) -> &'v JobView {
    views.iter().find(|view| view.job.label.as_deref() == Some(label)).unwrap()
}

#[test]
fn the_nightly_example_excludes_overlaps_waits_and_undoes_as_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let file = example(directory.path());
    let views = carry_out(&file, &directory.path().join("state"));
    for (place, view) in views.iter().enumerate() {
        assert_eq!(view.status, file.expected(place), "{} {:?}", view.job.name(), view.job);
    }

    let runs = runs(&views);
    let mut together = Vec::new();
    for (place, one) in runs.iter().enumerate() {
        for other in &runs[place + 1..] {
            let overlap = one.overlaps(other);
            assert!(!(overlap && one.excludes(other)), "{} ran with {}", one.name, other.name);
            let one_node = one.parameter("node") == other.parameter("node");
            together.extend(overlap.then_some(one_node));
        }
    }
    assert!(together.contains(&true), "instances of one node ran side by side");
    assert!(together.contains(&false), "instances of different nodes ran side by side");

    let ended = |label: &str| view(&views, label).job.end_time().unwrap();
    assert!(ended("make-web1") <= view(&views, "backup-web1").job.ops[0].exec_time.unwrap());

    let work = directory.path().join("work");
    upgrade_was_undone(view(&views, "upgrade-db1"), &work);
    let snapshots = std::fs::read_dir(work.join("nodes/alpha/web1")).unwrap().count();
    assert_eq!(snapshots, 1, "only the data is left of web1");
    let again = carry_out(&file, &directory.path().join("state"));
    assert!(again.iter().enumerate().all(|(place, view)| view.status == file.expected(place)));
}

fn upgrade_was_undone(upgrade: &JobView, work: &Path) {
    let undo: Vec<_> = upgrade.job.ops.iter().map(|op| op.undo.clone()).collect();
    assert_eq!(undo, [UndoState::Done, UndoState::Done, UndoState::None]);
    let OpState::Finished(Outcome::Error(error)) = &upgrade.job.ops[2].state else { panic!() };
    assert_eq!(error.message, "sh failed, exit code 1: this is not schema 2: schema 2, half done");
    let version = std::fs::read_to_string(work.join("nodes/beta/db1/data/version")).unwrap();
    assert_eq!(version, "schema 1\n");
    assert!(!work.join("nodes/beta/db1/snapshot-upgrade").exists());
}
