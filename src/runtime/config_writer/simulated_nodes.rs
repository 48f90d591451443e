//! Nodes for tests: they keep what they get in memory, and fail or hang on request.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::lock_order::LockClass;
use super::super::sync::{Condvar, Mutex};
use super::distributor::{ConfigCopy, Distributor};
use crate::vocabulary::{Error, ErrorKind};

static NODES: LockClass = LockClass::new("simulated nodes");

/// A [`Distributor`] for tests. Clones are the same nodes; a node is there from its first upload.
#[derive(Clone, Debug)]
pub struct SimulatedNodes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    nodes: Mutex<BTreeMap<String, Node>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Node {
    fails: bool,
    held: bool,
    uploading: usize,
    most_uploading: usize,
    tried: Vec<u64>,
    got: Vec<u64>,
    bytes: Arc<[u8]>,
}

impl Default for SimulatedNodes {
    fn default() -> Self {
        let nodes = Mutex::new(&NODES, BTreeMap::new());
        Self(Arc::new(Shared { nodes, changed: Condvar::new() }))
    }
}

impl SimulatedNodes {
    /// Nodes that work.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, node: &str, body: impl FnOnce(&mut Node) -> T) -> T {
        let done = body(self.0.nodes.lock().entry(node.to_owned()).or_default());
        self.0.changed.notify_all();
        done
    }

    /// Has uploads to that node fail from now on, or not any more.
    pub fn set_failing(&self, node: &str, fails: bool) {
        self.with(node, |node| node.fails = fails);
    }

    /// Has uploads to that node hang until they are not held any more.
    pub fn set_held(&self, node: &str, held: bool) {
        self.with(node, |node| node.held = held);
    }

    /// The version that the node has; none yet where nothing.
    #[must_use]
    pub fn version(&self, node: &str) -> Option<u64> {
        self.got(node).last().copied()
    }

    /// The versions that the node has got, in order.
    #[must_use]
    pub fn got(&self, node: &str) -> Vec<u64> {
        self.with(node, |node| node.got.clone())
    }

    /// The versions that were on their way to the node, in order, also those it did not get.
    #[must_use]
    pub fn tried(&self, node: &str) -> Vec<u64> {
        self.with(node, |node| node.tried.clone())
    }

    /// The content of the node's file.
    #[must_use]
    pub fn bytes(&self, node: &str) -> Arc<[u8]> {
        self.with(node, |node| node.bytes.clone())
    }

    /// How many uploads the node had at the same time, at most.
    #[must_use]
    pub fn most_at_once(&self, node: &str) -> usize {
        self.with(node, |node| node.most_uploading)
    }

    fn release_all(&self) {
        self.0.nodes.lock().values_mut().for_each(|node| node.held = false);
        self.0.changed.notify_all();
    }

    /// Waits until uploads to that node have begun so many times.
    pub fn wait_tried(&self, node: &str, times: usize) {
        let mut nodes = self.0.nodes.lock();
        while nodes.get(node).is_none_or(|node| node.tried.len() < times) {
            nodes = self.0.changed.wait(nodes);
        }
    }
}

impl Distributor for SimulatedNodes {
    fn upload(&self, node: &str, copy: &ConfigCopy) -> Result<(), Error> {
        let version = copy.snapshot.version;
        self.with(node, |node| node.begin(version));
        let mut nodes = self.0.nodes.lock();
        while nodes.get(node).is_some_and(|node| node.held) {
            nodes = self.0.changed.wait(nodes);
        }
        nodes.entry(node.to_owned()).or_default().end(version, copy)
    }

    fn stop(&self) {
        self.release_all();
    }
}

impl Node {
    fn begin(&mut self, version: u64) {
        self.tried.push(version);
        self.uploading += 1;
        self.most_uploading = self.most_uploading.max(self.uploading);
    }

    fn end(&mut self, version: u64, copy: &ConfigCopy) -> Result<(), Error> {
        self.uploading -= 1;
        if self.fails {
            return Err(Error::new(ErrorKind::Io, "it fails as asked"));
        }
        self.got.push(version);
        self.bytes = copy.bytes.clone();
        Ok(())
    }
}
