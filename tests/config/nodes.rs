//! Distribution: which node gets what, who waits for it, and who does not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockmaster::runtime::{
    ConfigCopy, ConfigOptions, ConfigWriter, Distributor, NodeState, SimulatedNodes,
};
use lockmaster::{CancelToken, Error, ErrorKind};
use serde_json::{Value, json};

/// Shorter than anything that could be waited for by mistake.
const SOON: Duration = Duration::from_millis(1);

/// The nodes that the value names.
pub(crate) fn named_in(value: &Value) -> BTreeSet<String> {
    let nodes = value["nodes"].as_array().into_iter().flatten();
    nodes.filter_map(Value::as_str).map(str::to_owned).collect()
}

pub(crate) fn set_nodes(config: &ConfigWriter, nodes: &[&str]) -> u64 {
    let written = config.update(None, |value| {
        value["nodes"] = json!(nodes);
        Ok(())
    });
    written.unwrap().version
}

fn write(config: &ConfigWriter) -> u64 {
    let written = config.update(None, |value| {
        value["count"] = json!(value["count"].as_u64().unwrap_or(0) + 1);
        Ok(())
    });
    written.unwrap().version
}

fn options(nodes: &SimulatedNodes) -> ConfigOptions {
    ConfigOptions::new().distribute(nodes.clone(), named_in).retry_after(SOON, SOON)
}

fn started(names: &[&str]) -> (SimulatedNodes, ConfigWriter) {
    let nodes = SimulatedNodes::new();
    let config = options(&nodes).in_memory().unwrap();
    set_nodes(&config, names);
    (nodes, config)
}

fn names(states: &[NodeState]) -> Vec<&str> {
    states.iter().map(|state| &*state.node).collect()
}

#[test]
fn a_flush_ends_when_every_node_has_what_is_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let nodes = SimulatedNodes::new();
    let config = options(&nodes).open(&path).unwrap();
    config.flush(None).unwrap();
    set_nodes(&config, &["a", "b"]);
    config.flush(None).unwrap();
    for node in ["a", "b"] {
        assert_eq!(*nodes.bytes(node), std::fs::read(&path).unwrap());
    }
    let states = config.nodes();
    assert_eq!(names(&states), ["a", "b"]);
    assert!(states.iter().all(|state| state.has == Some(1) && state.failures == 0));
}

#[test]
fn whoever_has_missed_something_gets_it_when_the_file_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    set_nodes(&ConfigWriter::open(&path).unwrap(), &["a"]);
    let nodes = SimulatedNodes::new();
    let config = options(&nodes).open(&path).unwrap();
    config.flush(None).unwrap();
    assert_eq!(nodes.got("a"), [1]);
}

#[test]
fn nodes_are_served_side_by_side_and_one_that_hangs_holds_up_nobody_else() {
    let (nodes, config) = started(&[]);
    ["a", "b", "c"].iter().for_each(|node| nodes.set_held(node, true));
    set_nodes(&config, &["a", "b", "c"]);
    ["a", "b", "c"].iter().for_each(|node| nodes.wait_tried(node, 1));
    ["a", "b"].iter().for_each(|node| nodes.set_held(node, false));
    let version = write(&config);
    assert_eq!(config.read().version, version, "neither reader nor writer waits for c");
    nodes.wait_tried("a", 2);
    nodes.wait_tried("b", 2);
    nodes.set_held("c", false);
    config.flush(None).unwrap();
    assert_eq!(nodes.version("c"), Some(version));
}

#[test]
fn a_later_version_overtakes_those_that_wait_and_no_node_has_two_uploads_at_once() {
    let (nodes, config) = started(&[]);
    nodes.set_held("a", true);
    set_nodes(&config, &["a"]);
    nodes.wait_tried("a", 1);
    let last = (0..5).map(|_| write(&config)).last().unwrap();
    nodes.set_held("a", false);
    config.flush(None).unwrap();
    assert_eq!(nodes.tried("a"), [2, last]);
    assert_eq!(nodes.most_at_once("a"), 1);
}

#[test]
fn a_node_that_fails_is_reported_to_the_writer_and_tried_until_it_works() {
    let (nodes, config) = started(&[]);
    nodes.set_failing("b", true);
    let version = set_nodes(&config, &["a", "b"]);
    let behind = config.first_round(version).unwrap();
    assert_eq!(names(&behind), ["b"]);
    assert_eq!(behind[0].error.as_deref(), Some("it fails as asked"));
    let error = config.flush(Some(SOON)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("b has got none yet (it fails as asked)"), "{error}");
    nodes.wait_tried("b", 4);
    nodes.set_failing("b", false);
    config.flush(None).unwrap();
    assert_eq!((nodes.got("a"), nodes.got("b")), (vec![version], vec![version]));
}

#[test]
fn a_node_that_was_taken_out_is_not_waited_for() {
    let (nodes, config) = started(&["a", "dead"]);
    nodes.set_held("dead", true);
    let version = write(&config);
    nodes.wait_tried("dead", 1);
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| config.flush(None));
        let round = scope.spawn(|| config.first_round(version));
        set_nodes(&config, &["a"]);
        flush.join().unwrap().unwrap();
        assert_eq!(round.join().unwrap().unwrap(), []);
    });
    assert_eq!(names(&config.nodes()), ["a"]);
}

#[test]
fn an_opcode_that_flushes_can_be_cancelled() {
    let (nodes, config) = started(&[]);
    nodes.set_failing("a", true);
    set_nodes(&config, &["a"]);
    let cancel = CancelToken::new();
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| config.flush_unless(&cancel));
        nodes.wait_tried("a", 3);
        cancel.set(lockmaster::runtime::CancelCause::Requested);
        assert_eq!(flush.join().unwrap().unwrap_err().kind(), ErrorKind::Refused);
    });
    nodes.set_failing("a", false);
    config.flush_unless(&CancelToken::new()).unwrap();
}

#[test]
fn a_configuration_that_is_closed_waits_for_what_is_underway_and_begins_nothing() {
    let (nodes, config) = started(&[]);
    nodes.set_held("a", true);
    set_nodes(&config, &["a"]);
    nodes.wait_tried("a", 1);
    write(&config);
    drop(config);
    assert_eq!((nodes.tried("a"), nodes.got("a")), (vec![2], vec![2]));
}

/// Counts how many uploads there are at once, and panics for some nodes.
#[derive(Default)]
struct Counting {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Distributor for Counting {
    fn upload(&self, node: &str, _: &ConfigCopy) -> Result<(), Error> {
        assert!(!node.starts_with("bad"), "a bug of the embedder's");
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        std::thread::yield_now();
        self.now.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn there_are_never_more_uploads_at_once_than_allowed() {
    let counting = Arc::new(Counting::default());
    let config = ConfigOptions::new().distribute(counting.clone(), named_in).uploads_at_once(2);
    let config = config.in_memory().unwrap();
    let names: Vec<String> = (0..100).map(|number| format!("n{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for _ in 0..10 {
        set_nodes(&config, &names);
    }
    config.flush(None).unwrap();
    assert!((1..=2).contains(&counting.most.load(Ordering::SeqCst)));
}

#[test]
fn a_distributor_that_panics_has_failed_and_the_others_are_served() {
    let config = ConfigOptions::new().distribute(Counting::default(), named_in).uploads_at_once(1);
    let config = config.in_memory().unwrap();
    let version = set_nodes(&config, &["bad", "good"]);
    let behind = config.first_round(version).unwrap();
    assert_eq!(names(&behind), ["bad"]);
    assert!(behind[0].error.as_deref().unwrap().contains("a bug of the embedder's"));
}

#[test]
fn whatever_fails_in_between_every_node_ends_with_the_last_version() {
    const WRITES: usize = 40;
    let names = ["a", "b", "c", "d", "e"];
    let nodes = SimulatedNodes::new();
    let config = options(&nodes).uploads_at_once(3).in_memory().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..WRITES).for_each(|_| _ = set_nodes(&config, &names)));
        }
        scope.spawn(|| {
            for round in 0..WRITES {
                nodes.set_failing(names[round % 5], round % 3 != 0);
            }
        });
    });
    names.iter().for_each(|node| nodes.set_failing(node, false));
    config.flush(None).unwrap();
    for node in names {
        let got = nodes.got(node);
        assert!(got.is_sorted_by(|one, next| one < next), "{node} went back: {got:?}");
        assert_eq!(got.last(), Some(&(3 * WRITES as u64)));
        assert_eq!(nodes.most_at_once(node), 1);
    }
}
