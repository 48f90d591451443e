//! Nodes whose directories are mounted here.

use std::time::Duration;

use lockmaster::runtime::{ConfigOptions, ConfigWriter, Directories};

use crate::nodes::{named_in, set_nodes};

#[test]
fn each_node_has_the_file_in_its_directory_once_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::create_dir(dir.path().join("a")).unwrap();
    let config = ConfigOptions::new()
        .distribute(Directories::below(dir.path(), "copy.json"), named_in)
        .retry_after(Duration::from_millis(1), Duration::from_millis(1))
        .open(&path)
        .unwrap();
    let version = set_nodes(&config, &["a", "b"]);
    let behind = config.first_round(version).unwrap();
    let [state] = &behind[..] else { panic!("{behind:?}") };
    assert_eq!(state.node, "b");
    assert!(state.error.as_deref().unwrap().contains("b/copy.json.new"), "{state:?}");
    std::fs::create_dir(dir.path().join("b")).unwrap();
    config.flush(None).unwrap();
    for node in ["a", "b"] {
        let copy = ConfigWriter::open(dir.path().join(node).join("copy.json")).unwrap();
        assert_eq!(*copy.read(), *config.read());
        assert!(!dir.path().join(node).join("copy.json.new").exists());
    }
}

#[test]
fn a_node_whose_name_leads_elsewhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("below")).unwrap();
    let directories = Directories::below(dir.path().join("below"), "copy.json");
    let config = ConfigOptions::new().distribute(directories, named_in).in_memory().unwrap();
    let version = set_nodes(&config, &["..", "a/../..", "/", "", "x/"]);
    let behind = config.first_round(version).unwrap();
    assert_eq!(behind.len(), 5);
    for state in behind {
        assert!(state.error.as_deref().unwrap().contains("cannot be the name"), "{state:?}");
    }
    assert!(!dir.path().join("copy.json").exists());
}
