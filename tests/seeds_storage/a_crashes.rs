//! a master that is killed at every arrow of attaching and detaching.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lockmaster::{Master, Status};

use super::attach_detach::backend::Backend;
use super::attach_detach::calls::Volume;
use super::attach_detach::jobs::{self, Subject};
use super::attach_detach::{make, start};
use super::hold_up::{self, STOPS_AT};

const DIRECTORY: &str = "STORAGE_MASTER_IN";
const DOES: &str = "STORAGE_MASTER_DOES";

type Left = (&'static str, (bool, bool, bool));

const FREE: Left = ("available", (false, false, false));
const IN_USE: Left = ("in-use", (true, true, true));

/// Where the master is killed, what its recovery comes to then, and what is left at the end.
const ARROWS: [(&str, &str, &str, Left); 12] = [
    ("attach", "reserved", "undo", FREE),
    ("attach", "intent", "undo", FREE),
    ("attach", "exported", "undo", FREE),
    ("attach", "saved", "undo", FREE),
    ("attach", "initialized", "undo", FREE),
    // May be repeated, so it is resumed.
    ("attach", "connected", "connected", IN_USE),
    // What is written down is true.
    ("attach", "recorded", "recorded", IN_USE),
    ("detach", "detaching", "undo", IN_USE),
    ("detach", "terminating", "terminating", FREE),
    ("detach", "disconnected", "disconnected", FREE),
    ("detach", "terminated", "terminated", FREE),
    ("detach", "detached", "detached", FREE),
];

/// Starts a master in a process that stops at that point, and kills it there.
fn killed(directory: &Path, does: &str, point: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_crashes::be_a_master", "--nocapture", "--test-threads=1"]);
    command.env(DIRECTORY, directory).env(DOES, does).env(STOPS_AT, point);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let came = lines.filter_map(|line| Some(line.split_once('@')?.1.to_owned())).next();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(came.as_deref(), Some(point), "{does}");
}

/// Not a test where nobody asks for a master.
#[test]
fn be_a_master() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    hold_up::set();
    let master = start(&directory.join("state")).unwrap();
    let subject = Subject::new("v1", "web1", &Backend::new(&directory));
    let does = std::env::var(DOES).unwrap();
    if does != "recover" {
        make(master.config(), "v1").unwrap();
        let attach = master.submit_one(jobs::attach(&subject).unwrap()).unwrap();
        master.wait(attach).unwrap();
        let detach = master.submit_one(jobs::detach(&subject).unwrap()).unwrap();
        master.wait(detach).unwrap();
    }
    wait_for_all(&master);
    // It should have been stopped, and killed, before.
    println!("@the end");
}

fn wait_for_all(master: &Master) {
    master.jobs().value.iter().for_each(|view| drop(master.wait(view.job.id).unwrap()));
}

/// Recovers to the end; what is left.
fn recovered(directory: &Path) -> (String, (bool, bool, bool)) {
    let master = start(&directory.join("state")).unwrap();
    wait_for_all(&master);
    let backend = Backend::new(directory);
    let volume = Volume { config: master.config(), backend: &backend, name: "v1" };
    (volume.status(), backend.of("v1").unwrap())
}

/// It can be used again: attached where it is free, detached where it is not.
fn is_usable(directory: &Path) {
    let master = start(&directory.join("state")).unwrap();
    let backend = Backend::new(directory);
    let volume = Volume { config: master.config(), backend: &backend, name: "v1" };
    let subject = Subject::new("v1", "web1", &backend);
    let job =
        if volume.status() == "in-use" { jobs::detach(&subject) } else { jobs::attach(&subject) };
    let id = master.submit_one(job.unwrap()).unwrap();
    assert_eq!(master.wait(id).unwrap().status, Status::Success);
}

fn plays(recovery_is_killed: bool) {
    for (does, point, then, (status, backend)) in ARROWS {
        let directory = tempfile::tempdir().unwrap();
        killed(directory.path(), does, point);
        if recovery_is_killed {
            killed(directory.path(), "recover", then);
        }
        let expected = (status.to_owned(), backend);
        assert_eq!(recovered(directory.path()), expected, "{does}, killed at {point}");
        assert_eq!(recovered(directory.path()), expected, "{does}, {point}, once more");
        is_usable(directory.path());
    }
}

#[test]
fn a19_wherever_the_master_is_killed_the_next_one_ends_it() {
    plays(false);
}

#[test]
fn a19_wherever_the_recovery_is_killed_too_the_next_one_ends_it() {
    plays(true);
}
