//! The graph of orders seen, and the findings. Everything here runs under the checker's mutex.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use petgraph::acyclic::Acyclic;
use petgraph::algo::astar;
use petgraph::data::Build;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::class::{ClassId, LockClass, Nesting};
use super::held::{Acquisition, HeldSet};
use super::report::{Order, Problem, Report};

/// So many findings are kept, and so many orders with their backtrace: what bounds the memory.
const MAX_KEPT: usize = 1000;

pub(super) struct Class {
    pub(super) name: &'static str,
    nesting: Nesting,
}

/// What makes a finding the same as an earlier one.
type Key = (Problem, ClassId, ClassId);

/// Invariant: the node of a class has its number, and every order in `graph` was first seen when
/// it contradicted none before it. Exceptions are outside the graph: they prove nothing.
pub(super) struct Book {
    capacity: usize,
    pub(super) graph: Acyclic<DiGraph<Class, Arc<Order>>>,
    pub(super) allowed: BTreeMap<(ClassId, ClassId), &'static str>,
    reports: Vec<Report>,
    seen: HashMap<Key, usize>,
}

impl Book {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            graph: Acyclic::new(),
            allowed: BTreeMap::new(),
            reports: Vec::new(),
            seen: HashMap::new(),
        }
    }

    pub(super) fn register(&mut self, class: &LockClass) -> Option<ClassId> {
        if self.graph.node_count() >= self.capacity {
            return None;
        }
        let node = self.graph.add_node(Class { name: class.name, nesting: class.nesting });
        ClassId::from_index(node.index())
    }

    /// Takes note that `wanted` is asked for while `held` is held. `Ok(true)` where that order is
    /// fine from now on, `Ok(false)` where it has to be looked at each time.
    pub(super) fn take(
        &mut self,
        held: &Acquisition,
        wanted: &Acquisition,
        all: &HeldSet,
    ) -> Result<bool, Box<Report>> {
        if self.allowed.contains_key(&(held.class, wanted.class)) {
            return Ok(true);
        }
        if held.class == wanted.class {
            return self.take_same(held, wanted, all).map(|()| false);
        }
        let (from, to) = (node(held.class), node(wanted.class));
        if !self.graph.is_valid_edge(from, to) {
            let report = |book: &Self| book.inversion(held, wanted, all);
            return self.find(Problem::Inversion, held, wanted, report).map(|()| false);
        }
        let order = Arc::new(self.order(held, wanted, all));
        Ok(self.graph.try_add_edge(from, to, order).is_ok())
    }

    fn take_same(
        &mut self,
        held: &Acquisition,
        wanted: &Acquisition,
        all: &HeldSet,
    ) -> Result<(), Box<Report>> {
        let nesting = self.graph[node(held.class)].nesting;
        nesting.problem(held, wanted).map_or(Ok(()), |problem| {
            let report = |book: &Self| vec![Arc::new(book.order(held, wanted, all))];
            self.find(problem, held, wanted, report)
        })
    }

    pub(super) fn wait(
        &mut self,
        held: &Acquisition,
        waiting: &Acquisition,
        all: &HeldSet,
    ) -> Option<Report> {
        if self.allowed.contains_key(&(held.class, waiting.class)) {
            return None;
        }
        let report = |book: &Self| vec![Arc::new(book.order(held, waiting, all))];
        self.find(Problem::WaitWhileHolding, held, waiting, report).err().map(|report| *report)
    }

    pub(super) fn busy(
        &mut self,
        held: &Acquisition,
        activity: &'static str,
        all: &HeldSet,
    ) -> Option<Report> {
        let report = |book: &Self| vec![Arc::new(book.order(held, held, all))];
        self.find(Problem::HeldDuring(activity), held, held, report).err().map(|report| *report)
    }

    /// An error the first time; later times are counted.
    fn find(
        &mut self,
        problem: Problem,
        held: &Acquisition,
        wanted: &Acquisition,
        orders: impl FnOnce(&Self) -> Vec<Arc<Order>>,
    ) -> Result<(), Box<Report>> {
        let key = (problem, held.class, wanted.class);
        if let Some(&place) = self.seen.get(&key) {
            self.reports[place].count += 1;
            return Ok(());
        }
        if self.reports.len() == MAX_KEPT {
            return Ok(());
        }
        let report = Report { problem, orders: orders(self), count: 1 };
        self.seen.insert(key, self.reports.len());
        self.reports.push(report.clone());
        Err(Box::new(report))
    }

    /// The new order, followed by the shortest chain of known ones that contradicts it.
    fn inversion(
        &self,
        held: &Acquisition,
        wanted: &Acquisition,
        all: &HeldSet,
    ) -> Vec<Arc<Order>> {
        let goal = node(held.class);
        let graph = self.graph.inner();
        let way = astar(graph, node(wanted.class), |at| at == goal, |_| 1, |_| 0);
        let nodes = way.map(|(_, nodes)| nodes).unwrap_or_default();
        let known = nodes.windows(2).filter_map(|step| graph.find_edge(step[0], step[1]));
        let new = Arc::new(self.order(held, wanted, all));
        std::iter::once(new).chain(known.map(|edge| Arc::clone(&graph[edge]))).collect()
    }

    fn order(&self, held: &Acquisition, wanted: &Acquisition, all: &HeldSet) -> Order {
        let name = |one: &Acquisition| self.graph[node(one.class)].name;
        let with_backtrace = self.graph.edge_count() < MAX_KEPT;
        Order::new(name(held), held, name(wanted), wanted).seen(
            all.holder(),
            all.held.iter().map(name).collect(),
            with_backtrace,
        )
    }

    /// Takes an order for safe: it is no longer evidence for or against any other.
    pub(super) fn allow(&mut self, held: ClassId, wanted: ClassId, why: &'static str) {
        self.allowed.insert((held, wanted), why);
        if let Some(edge) = self.graph.find_edge(node(held), node(wanted)) {
            self.graph.remove_edge(edge);
        }
    }

    pub(super) fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// The pairs found out of order: held, then wanted.
    pub(super) fn contradictions(&self) -> impl Iterator<Item = (ClassId, ClassId, u64)> + '_ {
        self.seen
            .iter()
            .filter(|((problem, ..), _)| problem.is_about_order())
            .map(|((_, held, wanted), place)| (*held, *wanted, self.reports[*place].count))
    }

    pub(super) fn edge_count(&self) -> usize {
        self.graph.edge_count()
    }

    pub(super) fn class_name(&self, class: ClassId) -> &'static str {
        self.graph[node(class)].name
    }

    /// The known orders as pairs of nodes, with who said so first.
    pub(super) fn orders(&self) -> impl Iterator<Item = (NodeIndex, NodeIndex, &Arc<Order>)> {
        let edges = self.graph.inner().edge_references();
        edges.map(|edge| (edge.source(), edge.target(), edge.weight()))
    }
}

pub(super) fn node(class: ClassId) -> NodeIndex {
    NodeIndex::new(class.index())
}
