//! Nodes that a command reaches.
#![cfg(feature = "commands")]

use std::io::BufRead;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lockmaster::ErrorKind;
use lockmaster::interfaces::command::CommandDistributor;
use lockmaster::runtime::{ConfigOptions, ConfigWriter};

use crate::nodes::{named_in, set_nodes};
use crate::support::PATIENCE;

/// What a shell does with the directory of the nodes as `$1`, the node as `$2`.
fn shell(dir: &Path, script: &str, timeout: Duration) -> CommandDistributor {
    let nodes = dir.display().to_string();
    let command = ["sh", "-c", script, "sh", &nodes, "{node}", "{version}", "{file}"];
    CommandDistributor::new(command, dir.join("spool"), timeout).unwrap()
}

fn config(distributor: CommandDistributor) -> ConfigWriter {
    ConfigOptions::new().distribute(distributor, named_in).in_memory().unwrap()
}

#[test]
fn the_command_gets_node_version_and_content() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        "cmp - $4 < $4 && cat > $1/$2.new && mv $1/$2.new $1/$2 && echo $3 > $1/$2.version";
    let config = config(shell(dir.path(), script, PATIENCE));
    let version = set_nodes(&config, &["a", "b.example.org"]);
    assert_eq!(config.first_round(version).unwrap(), []);
    for node in ["a", "b.example.org"] {
        let copy = ConfigWriter::open(dir.path().join(node)).unwrap();
        assert_eq!(*copy.read(), *config.read());
        let told = std::fs::read_to_string(dir.path().join(format!("{node}.version"))).unwrap();
        assert_eq!(told.trim(), "1");
    }
    let left = std::fs::read_dir(dir.path().join("spool")).unwrap().count();
    assert_eq!(left, 0, "nothing is left in the spool");
}

#[test]
fn why_a_command_failed_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo no route to $2 >&2; exit 3";
    let config = config(shell(dir.path(), script, PATIENCE));
    let version = set_nodes(&config, &["a", "-oProxyCommand=x", "a b", "../a", ""]);
    let behind = config.first_round(version).unwrap();
    assert_eq!(behind.len(), 5);
    for state in behind {
        let error = state.error.as_deref().unwrap();
        match &*state.node {
            "a" => assert!(error.contains("sh failed, exit code 3: no route to a"), "{error}"),
            _ => assert!(error.contains("is not the name or address of a node"), "{error}"),
        }
    }
}

#[test]
fn a_command_that_hangs_is_ended_and_has_failed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(shell(dir.path(), "sleep 1000", Duration::from_millis(20)));
    let version = set_nodes(&config, &["a"]);
    let behind = config.first_round(version).unwrap();
    assert!(behind[0].error.as_deref().unwrap().contains("ran longer than 20ms"), "{behind:?}");
}

#[test]
fn what_is_underway_is_broken_off_when_the_configuration_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("begun");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let config = config(shell(dir.path(), "echo begun > $1/begun; sleep 1000", PATIENCE * 10));
    set_nodes(&config, &["a"]);
    assert_eq!(std::fs::read_to_string(&fifo).unwrap(), "begun\n");
    let started = std::time::Instant::now();
    drop(config);
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn what_an_earlier_process_left_running_is_ended_first() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    let id = lockmaster::interfaces::command::state_id(&spool).unwrap();
    let mut left = Command::new("sh")
        .args(["-c", "echo begun; exec sleep 1000"])
        .env("LOCKMASTER_STATE", format!("config-{id}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(left.stdout.take().unwrap()).read_line(&mut line).unwrap();
    // Somebody has to take note of its end, or it stays in the table of processes.
    let reaper = std::thread::spawn(move || left.wait().unwrap());
    let config = config(shell(dir.path(), "true", PATIENCE));
    assert!(!reaper.is_finished(), "nothing is uploaded yet: it may be another process that is");
    let version = set_nodes(&config, &["a"]);
    assert_eq!(config.first_round(version).unwrap(), []);
    assert!(!reaper.join().unwrap().success());
}

#[test]
fn a_command_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    for command in [&[][..], &["ssh", "{host}"], &["ssh", "{node"]] {
        let error = CommandDistributor::new(command, &spool, PATIENCE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(!spool.exists());
    }
}
