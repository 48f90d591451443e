//! Which node has which version of the configuration, and whose turn it is. Pure: it uploads
//! nothing, and times are passed in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::vocabulary::Timestamp;

/// How long a node that failed is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    /// After the first failure; twice as long after each further one.
    pub(super) first: Duration,
    /// Never longer than that.
    pub(super) longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(300) }
    }
}

impl Backoff {
    fn after(self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// What is known of a node that gets the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeState {
    /// Its name.
    pub node: String,
    /// The version it got last from this process; none yet where nothing.
    pub has: Option<u64>,
    /// The version that is on its way to it.
    pub uploading: Option<u64>,
    /// How many times in a row it did not get one.
    pub failures: u32,
    /// Why the last time.
    pub error: Option<String>,
    /// When it is tried again, where it waits for that.
    pub retry_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Node {
    /// Not among the nodes any more; forgotten when its upload has ended.
    gone: bool,
    has: Option<u64>,
    uploading: Option<u64>,
    /// The newest version it was tried with, to the end.
    tried: u64,
    failures: u32,
    error: Option<String>,
    retry_at: Option<Timestamp>,
}

impl Node {
    fn is_due(&self, newest: u64) -> bool {
        let idle = !self.gone && self.uploading.is_none() && self.retry_at.is_none();
        idle && self.has.unwrap_or(0) < newest
    }
}

/// The nodes, and the newest version.
///
/// Invariant: whoever is due is in `due`, which may also hold some that are not any more. A node
/// has one upload at a time.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    newest: u64,
    nodes: BTreeMap<String, Node>,
    due: VecDeque<String>,
    backoff: Backoff,
}

impl Nodes {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { backoff, ..Self::default() }
    }

    /// There is a newer version, which these nodes are to get: also those that failed, at once,
    /// since its writer wants to know. An older one than the newest changes nothing.
    pub(super) fn publish(&mut self, version: u64, names: &BTreeSet<String>) {
        if version <= self.newest {
            return;
        }
        self.newest = version;
        self.nodes.iter_mut().for_each(|(name, node)| node.gone = !names.contains(name));
        self.nodes.retain(|_, node| !node.gone || node.uploading.is_some());
        for name in names {
            self.nodes.entry(name.clone()).or_default().retry_at = None;
        }
        let due = self.nodes.iter().filter(|(_, node)| node.is_due(version));
        self.due = due.map(|(name, _)| name.clone()).collect();
    }

    /// How many uploads could begin now, at most.
    pub(super) fn due(&self) -> usize {
        self.due.len()
    }

    /// The next node whose turn it is; it is uploading the newest version from here on.
    pub(super) fn take(&mut self) -> Option<(String, u64)> {
        let newest = self.newest;
        while let Some(name) = self.due.pop_front() {
            if let Some(node) = self.nodes.get_mut(&name).filter(|node| node.is_due(newest)) {
                node.uploading = Some(newest);
                return Some((name, newest));
            }
        }
        None
    }

    /// An upload has ended. Where there is a newer version by now, the node's turn comes at once.
    pub(super) fn ended(&mut self, name: &str, result: Result<(), String>, now: Timestamp) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let Some(version) = node.uploading.take() else { return };
        node.tried = version;
        if node.gone {
            self.nodes.remove(name);
            return;
        }
        match result {
            Ok(()) => (node.has, node.failures, node.error) = (Some(version), 0, None),
            Err(error) => {
                (node.failures, node.error) = (node.failures.saturating_add(1), Some(error));
                let retry_at = now.plus(self.backoff.after(node.failures));
                node.retry_at = (version == self.newest).then_some(retry_at);
            }
        }
        if node.is_due(self.newest) {
            self.due.push_back(name.to_owned());
        }
    }

    /// When a node that failed is to be tried again, the first of them.
    pub(super) fn next_retry(&self) -> Option<Timestamp> {
        self.nodes.values().filter_map(|node| node.retry_at).min()
    }

    /// It is that late: whoever waited until then is due.
    pub(super) fn wake(&mut self, now: Timestamp) {
        let late = |node: &Node| node.retry_at.is_some_and(|at| at <= now);
        for (name, node) in self.nodes.iter_mut().filter(|(_, node)| late(node)) {
            node.retry_at = None;
            self.due.push_back(name.clone());
        }
    }

    /// Whether every node was tried with that version or a later one.
    pub(super) fn all_tried(&self, version: u64) -> bool {
        self.present().all(|(_, node)| node.tried >= version)
    }

    /// Those that do not have that version or a later one.
    pub(super) fn behind(&self, version: u64) -> Vec<NodeState> {
        self.states().into_iter().filter(|state| state.has.unwrap_or(0) < version).collect()
    }

    /// All, by name.
    pub(super) fn states(&self) -> Vec<NodeState> {
        let states = self.present().map(|(name, node)| NodeState {
            node: name.clone(),
            has: node.has,
            uploading: node.uploading,
            failures: node.failures,
            error: node.error.clone(),
            retry_at: node.retry_at,
        });
        states.collect()
    }

    fn present(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.iter().filter(|(_, node)| !node.gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(0);

    fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
        names.map(str::to_owned).into()
    }

    fn taken(nodes: &mut Nodes) -> Vec<(String, u64)> {
        std::iter::from_fn(|| nodes.take()).collect()
    }

    fn failed() -> Result<(), String> {
        Err("no route".into())
    }

    #[test]
    fn a_node_has_one_upload_at_a_time_and_the_newest_version_is_next() {
        let mut nodes = Nodes::default();
        nodes.publish(1, &names(["a", "b"]));
        assert_eq!(taken(&mut nodes), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
        nodes.publish(2, &names(["a", "b"]));
        nodes.publish(3, &names(["a", "b"]));
        assert_eq!(nodes.take(), None, "both are uploading");
        nodes.ended("a", Ok(()), NOW);
        assert_eq!(taken(&mut nodes), [("a".to_owned(), 3)], "2 is overtaken");
        nodes.ended("a", Ok(()), NOW);
        assert_eq!(nodes.behind(3).len(), 1);
        nodes.publish(2, &names([]));
        assert_eq!(nodes.states().len(), 2, "an older version changes nothing");
    }

    #[test]
    fn a_failed_node_is_tried_again_later_and_later_but_at_once_with_a_newer_version() {
        let mut nodes =
            Nodes::new(Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(3) });
        nodes.publish(1, &names(["a"]));
        for seconds in [1, 2, 3, 3] {
            assert!(nodes.take().is_some());
            nodes.ended("a", failed(), NOW);
            let retry_at = NOW.plus(Duration::from_secs(seconds));
            assert_eq!(nodes.next_retry(), Some(retry_at));
            nodes.wake(NOW);
            assert_eq!(nodes.take(), None, "not before its time");
            nodes.wake(retry_at);
        }
        assert!(nodes.all_tried(1));
        assert!(nodes.take().is_some());
        nodes.publish(2, &names(["a"]));
        assert!(!nodes.all_tried(2));
        nodes.ended("a", failed(), NOW);
        assert_eq!(nodes.next_retry(), None);
        assert_eq!(nodes.take(), Some(("a".to_owned(), 2)), "the failure was an older version's");
        nodes.ended("a", Ok(()), NOW);
        assert_eq!(nodes.states()[0].failures, 0);
        assert_eq!(nodes.behind(2), []);
    }

    #[test]
    fn a_node_that_leaves_and_comes_back_still_has_one_upload_at_a_time() {
        let mut nodes = Nodes::default();
        nodes.publish(1, &names(["a"]));
        assert!(nodes.take().is_some());
        nodes.publish(2, &names([]));
        assert_eq!(nodes.states(), [], "nobody waits for a node that left");
        nodes.publish(3, &names(["a"]));
        assert_eq!(nodes.take(), None);
        nodes.ended("a", Ok(()), NOW);
        assert_eq!(nodes.take(), Some(("a".to_owned(), 3)));
        nodes.publish(4, &names([]));
        nodes.ended("a", failed(), NOW);
        assert!(nodes.nodes.is_empty(), "nothing is kept of a node that left");
    }

    #[test]
    fn a_backoff_does_not_overflow() {
        let backoff = Backoff { first: Duration::MAX, longest: Duration::from_secs(9) };
        assert_eq!(backoff.after(u32::MAX), Duration::from_secs(9));
        assert_eq!(Backoff::default().after(40), Duration::from_secs(300));
    }
}
