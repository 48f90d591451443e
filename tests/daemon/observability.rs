//! What the daemon's log says of jobs and of locks that are waited for long.

use std::fs;

use serde_json::Value;

use crate::lock::Held;
use crate::process::{Daemon, Place};

/// A daemon with that configuration, which logs everything.
fn start(place: &Place, config: &str, args: &[&str]) -> Daemon {
    fs::write(place.path("lockmasterd.toml"), config).unwrap();
    let mut command = place.command();
    command.arg("--config").arg(place.path("lockmasterd.toml")).args(args);
    command.env("LOCKMASTER_LOG", "debug");
    Daemon::start(command)
}

#[test]
fn a_line_of_an_opcode_says_which_it_is() {
    let place = Place::new();
    let daemon = start(&place, "", &[]);
    place.submit(&["duration=1e-6", "on_nodes=[\"a\"]"]);
    let line = daemon.wait_for_log("has its locks locks=cluster/BGL shared, node/a exclusive");
    assert!(line.contains(" opcode{job=1 op=0 id=OP_TEST_DELAY attempt=1}: "), "{line}");
}

#[test]
fn as_objects_lines_have_the_ids_as_fields() {
    let place = Place::new();
    let daemon = start(&place, "", &["--log-format", "json"]);
    place.submit(&["duration=0"]);
    let line: Value = serde_json::from_str(&daemon.wait_for_log("has ended")).unwrap();
    let span = &line["span"];
    assert_eq!((&span["job"], &span["op"], &span["attempt"]), (&1.into(), &0.into(), &1.into()));
    assert_eq!((&span["id"], &span["name"]), (&"OP_TEST_DELAY".into(), &"opcode".into()), "{line}");
}

#[test]
fn a_lock_that_is_waited_for_long_is_told_of_with_its_holder() {
    let place = Place::new();
    let daemon = start(&place, "slow_lock = '50ms'", &[]);
    place.submit(&["duration=1000", "on_nodes=[\"a\"]"]);
    place.expect(0, &["wait", "--until", "running", "1"]);
    place.submit(&["duration=1e-6", "on_nodes=[\"a\"]"]);
    let line = daemon.wait_for_log("waits long for a lock");
    let who = "job=2 op=0 id=\"OP_TEST_DELAY\" lock=node/a mode=exclusive waited=";
    assert!(line.contains(" WARN ") && line.contains(who), "{line}");
    assert!(line.contains("holders=job 1 (OP_TEST_DELAY), exclusive for "), "{line}");
    place.run(&["cancel", "1"]);
}

#[test]
fn a_lock_that_another_process_has_is_told_of_with_that_process() {
    let place = Place::new();
    let daemon = start(&place, "slow_lock = '50ms'\n[scopes]\nnode = 'node'", &[]);
    let args = ["--without-daemon", "--on-this-node", "--level", "node", "a"];
    let outside = Held::inside(&place, &args);
    place.submit(&["duration=1e-6", "on_nodes=[\"a\"]"]);
    let line = daemon.wait_for_log("waits long for a lock");
    assert!(line.contains("job=1 op=0 id=\"OP_TEST_DELAY\" lock=node/a mode=exclusive"), "{line}");
    let pid = outside.id().to_string();
    assert!(line.split_once("holders=").unwrap().1.contains(&pid), "{pid}: {line}");
    assert_eq!(outside.end().0, 0);
}
