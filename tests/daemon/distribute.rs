//! The configuration that the daemon keeps goes to nodes.

use std::path::Path;

use lockmaster::interfaces::luxi::Client;
use serde_json::{Value, json};

use crate::process::{Daemon, Place, text};

/// Starts a daemon with those settings and waits until it has logged that.
fn start(place: &Place, settings: &str, what: &str) -> Daemon {
    std::fs::write(place.path("config.toml"), settings).unwrap();
    let mut command = place.command();
    command.arg("--config").arg(place.path("config.toml"));
    Daemon::start_saying(command, what)
}

/// Has the daemon write a version of its configuration.
fn pause_watchers(place: &Place) {
    let mut client = Client::connect(&place.path("socket")).unwrap();
    let _: Value = client.call("SetWatcherPause", &json!([4_000_000_000_u64])).unwrap();
}

fn content(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_version_goes_into_the_directories_of_the_nodes_and_a_missing_one_is_told_and_tried_again()
{
    let place = Place::new();
    std::fs::create_dir_all(place.path("nodes/one")).unwrap();
    let settings = "[distribute]\ndirectories = 'nodes'\nnodes = ['one', 'two']\n\
                    retry_first = '1h'\nretry_longest = '1h'\n";
    let daemon = start(&place, settings, "ready");
    pause_watchers(&place);
    daemon.wait_for_log("the node did not get the configuration node=\"two\" version=1");
    std::fs::create_dir(place.path("nodes/two")).unwrap();
    pause_watchers(&place);
    daemon.wait_for_log("the node has the configuration node=\"two\" version=2");
    let two = content(&place.path("nodes/two/config.json"));
    assert_eq!(two, content(&place.path("state/config.json")));
    assert_eq!((&two["version"], two["value"]["watcher_pause"].is_number()), (&json!(2), true));
}

#[test]
fn a_command_brings_it_to_the_nodes_that_the_configuration_names_also_after_a_restart() {
    let place = Place::new();
    std::fs::create_dir(place.path("state")).unwrap();
    let kept = json!({"format": 2, "version": 7, "serials": {}, "value": {"nodes": {"alpha": {}}}});
    std::fs::write(place.path("state/config.json"), kept.to_string()).unwrap();
    let settings = format!(
        "[distribute]\nnodes_in = '/nodes'\ntimeout = '30s'\n\
         command = ['sh', '-c', 'cat > \"$0/$1.$2\"', '{}', '{{node}}', '{{version}}']\n",
        place.path("").display()
    );
    for _ in 0..2 {
        let has_it = "the node has the configuration node=\"alpha\" version=7";
        let _daemon = start(&place, &settings, has_it);
        assert_eq!(content(&place.path("alpha.7")), kept);
        std::fs::remove_file(place.path("alpha.7")).unwrap();
    }
}

#[test]
fn settings_that_cannot_be_are_refused_at_the_start_with_their_place() {
    let place = Place::new();
    for (settings, expected) in [
        ("nodes = ['a']\n", "config.toml:2:1: this needs directories"),
        ("nodes = ['a/b']\ndirectories = 'd'\n", "config.toml:3:9: \"a/b\" cannot be"),
        ("nodes = ['a']\ncommand = ['ssh', '{host}']\n", "config.toml:4:11: "),
    ] {
        let settings = format!("workers = 2\n[distribute]\n{settings}");
        std::fs::write(place.path("config.toml"), settings).unwrap();
        let mut command = place.command();
        let output = command.arg("--config").arg(place.path("config.toml")).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.contains(expected)), (Some(2), true), "{said}");
    }
}
