//! The configuration file of a process that is killed: the old one or the new one, never half.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use lockmaster::runtime::ConfigWriter;
use serde_json::json;

/// Says which file the test below, run again as a child, should write.
const CHILD_WRITES: &str = "LOCKMASTER_TEST_CHILD_WRITES";

/// Of a length that changes from version to version, so that a mixture of two would not parse.
fn filler(version: u64) -> String {
    "x".repeat(usize::try_from(version % 7).unwrap() * 5000)
}

/// Writes one version after the other and tells of each when it is durable.
fn write_until_killed(path: &Path) -> ! {
    let writer = ConfigWriter::open(path).unwrap();
    loop {
        let version = writer.read().version + 1;
        let written = writer.update(Some(version - 1), |value| {
            *value = json!({"number": version, "filler": filler(version)});
            Ok(())
        });
        println!("acknowledged {}", written.unwrap().version);
    }
}

/// Starts a child that writes, kills it after `count` versions more, and returns the last one it
/// acknowledged.
fn kill_after(path: &Path, count: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "killed::a_killed_writer_leaves_the_old_configuration_or_the_new",
            "--nocapture",
        ])
        .env(CHILD_WRITES, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut numbers = lines.map_while(Result::ok).filter_map(|line| {
        line.split("acknowledged ").nth(1).map(|number| number.parse::<u64>().unwrap())
    });
    let seen = numbers.by_ref().take(count).last();
    child.kill().unwrap();
    child.wait().unwrap();
    numbers.last().max(seen).expect("the child acknowledged something")
}

#[test]
fn a_killed_writer_leaves_the_old_configuration_or_the_new() {
    if let Some(path) = std::env::var_os(CHILD_WRITES) {
        write_until_killed(Path::new(&path));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    for count in [1, 5, 30, 2] {
        let acknowledged = kill_after(&path, count);
        let found = ConfigWriter::open(&path).unwrap().read();
        assert!((acknowledged..=acknowledged + 1).contains(&found.version));
        let expected = json!({"number": found.version, "filler": filler(found.version)});
        assert_eq!(found.value, expected);
    }
}
