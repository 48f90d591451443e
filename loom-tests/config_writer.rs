//! Readers and writers of the configuration: no update is lost, no reader sees a version twice
//! with different content or goes back.

use std::sync::Arc;

use lockmaster::runtime::ConfigWriter;
use serde_json::{Value, json};

use crate::{model, thread};

fn add_one(value: &mut Value) {
    value["count"] = json!(value["count"].as_u64().unwrap_or(0) + 1);
}

/// The version, after checking that the value is the one of that version.
fn version(writer: &ConfigWriter) -> u64 {
    let snapshot = writer.read();
    assert_eq!(snapshot.value["count"].as_u64().unwrap_or(0), snapshot.version);
    snapshot.version
}

#[test]
fn two_writers_and_a_reader_agree_on_every_version() {
    model("config: two writers, one reader", || {
        let config = Arc::new(ConfigWriter::in_memory());
        let writers = [(); 2].map(|()| {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                config.update(None, |value| {
                    add_one(value);
                    Ok(())
                })
            })
        });
        let (first, second) = (version(&config), version(&config));
        assert!(first <= second, "a reader never goes back");
        let mut versions = writers.map(|writer| writer.join().unwrap().unwrap().version);
        versions.sort_unstable();
        assert_eq!((versions, version(&config)), ([1, 2], 2));
    });
}

#[test]
fn of_two_who_write_for_one_version_exactly_one_succeeds() {
    model("config: compare and swap", || {
        let config = Arc::new(ConfigWriter::in_memory());
        let other = Arc::clone(&config);
        let swap = |config: &ConfigWriter| config.update(Some(0), |_| Ok(())).is_ok();
        let writer = thread::spawn(move || swap(&other));
        let mine = config.update(Some(0), |_| Ok(())).is_ok();
        assert!(mine != writer.join().unwrap());
        assert_eq!(config.read().version, 1);
    });
}
