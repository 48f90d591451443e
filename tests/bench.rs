//! `lockmaster bench` measures what it says it measures.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use serde_json::Value;

#[test]
fn every_figure_is_there_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["bench", "queue", "--jobs", "70", "--batch", "30", "--workers", "2", "--ops", "2"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockmaster"));
    let output = command.args(args).args(["--json", "--dir"]).arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    for what in ["submit one by one", "submit in batches of 30", "whole cycle, repeatable"] {
        let figure = figures.iter().find(|figure| figure["what"] == what).unwrap();
        assert!(figure["value"].as_f64().unwrap() > 0.0, "{figure}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn there_has_to_be_something_to_measure() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockmaster"));
    let output = command.args(["bench", "queue", "--jobs", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
