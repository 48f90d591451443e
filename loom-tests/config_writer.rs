//! Readers and writers of the configuration: no update is lost, no reader sees a version twice
//! with different content or goes back. Its nodes: what was published gets there, and nothing is
//! begun after the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lockmaster::Error;
use lockmaster::runtime::{ConfigCopy, ConfigWriter, Distribution, Distributor};
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

/// A node that asserts that it has one upload at a time, and never an older version after a
/// newer one. What it keeps is std's: the scenarios are about the mutex around it.
#[derive(Default)]
struct Node {
    busy: AtomicBool,
    has: AtomicU64,
    /// Nothing may begin any more.
    closed: AtomicBool,
    /// Somebody may look between the beginning and the end of an upload.
    pause: bool,
}

impl Distributor for Node {
    fn upload(&self, _: &str, copy: &ConfigCopy) -> Result<(), Error> {
        assert!(!self.closed.load(Ordering::SeqCst), "an upload began after the end");
        assert!(!self.busy.swap(true, Ordering::SeqCst), "one node has two uploads at once");
        if self.pause {
            thread::yield_now();
        }
        let before = self.has.swap(copy.snapshot.version, Ordering::SeqCst);
        assert!(before < copy.snapshot.version, "a node never goes back");
        self.busy.store(false, Ordering::SeqCst);
        Ok(())
    }
}

/// The first two versions of a configuration.
fn two_versions() -> [ConfigCopy; 2] {
    let config = ConfigWriter::in_memory();
    [(); 2].map(|()| ConfigCopy::new(config.update(None, |_| Ok(())).unwrap(), []))
}

fn publish(distribution: &Arc<Distribution>, copy: ConfigCopy, nodes: &[&str]) {
    let nodes: BTreeSet<String> = nodes.iter().map(ToString::to_string).collect();
    let hired = distribution.publish(copy, &nodes);
    (0..hired).for_each(|_| distribution.serve());
}

#[test]
fn what_is_published_while_a_thread_leaves_is_not_overlooked() {
    model("distribution: two who publish, one who flushes", || {
        let node = Arc::new(Node { pause: true, ..Node::default() });
        let distribution = Arc::new(Distribution::new(Box::new(Arc::clone(&node)), 1));
        let threads = two_versions().map(|copy| {
            let distribution = Arc::clone(&distribution);
            thread::spawn(move || publish(&distribution, copy, &["a"]))
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        distribution.flush(2, None).unwrap();
        assert_eq!(node.has.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn who_flushes_is_woken_by_the_last_upload() {
    model("distribution: publish against flush", || {
        let node = Arc::new(Node::default());
        let distribution = Arc::new(Distribution::new(Box::new(Arc::clone(&node)), 1));
        let [first, second] = two_versions();
        // Somebody has to be waited for: the version is known, its upload has yet to begin.
        let nodes = BTreeSet::from(["a".to_owned()]);
        assert_eq!(distribution.publish(first, &nodes), 1);
        let uploads = Arc::clone(&distribution);
        let thread = thread::spawn(move || {
            uploads.serve();
            publish(&uploads, second, &["a"]);
        });
        distribution.flush(1, None).unwrap();
        assert!(node.has.load(Ordering::SeqCst) >= 1);
        assert!(distribution.first_round(2).is_ok());
        thread.join().unwrap();
        assert_eq!(node.has.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn after_the_end_nothing_is_uploaded() {
    model("distribution: publish against stop", || {
        let node = Arc::new(Node { pause: true, ..Node::default() });
        let distribution = Arc::new(Distribution::new(Box::new(Arc::clone(&node)), 2));
        let uploads = Arc::clone(&distribution);
        let [first, second] = two_versions();
        let thread = thread::spawn(move || {
            publish(&uploads, first, &["a"]);
            publish(&uploads, second, &["a"]);
        });
        distribution.stop();
        assert!(!node.busy.load(Ordering::SeqCst), "it waits for what is underway");
        node.closed.store(true, Ordering::SeqCst);
        thread.join().unwrap();
    });
}
